"""ws_echo, the peer that conformance suites need: the relay's own WebSocket code judged by somebody else's client."""
import asyncio
import os
import random
import subprocess
import unittest

import websockets

from harness import BIN, environment, free_port

LIMIT = 2_000_000


class EchoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        program = os.path.join(BIN, "../tests/ws_echo")
        argv = [program, "--port", str(cls.port), "--max-message", str(LIMIT)]
        cls.process = subprocess.Popen(argv, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        while cls.process.stdout.readline().strip() not in ("ready", ""):
            pass

    @classmethod
    def tearDownClass(cls):
        cls.process.terminate()
        code = cls.process.wait(10)
        cls.process.stdout.close()
        assert code == 0, code

    async def connect(self, compression=None):
        return await websockets.connect(f"ws://127.0.0.1:{self.port}/", compression=compression, max_size=None)

    def echoes(self, compression):
        async def talk():
            relay = await self.connect(compression)
            noise = random.Random(1).randbytes(LIMIT - 10_000)  # deflate makes noise a little longer
            large = (noise[:70_000], "x" * 1_500_000, noise, "", noise[:1_000_000])
            for message in ("hello", "é" * 1000, "", b"", *large, ["frag", "", "mented"], "z"):
                await relay.send(message)
                self.assertEqual(await relay.recv(), "".join(message) if isinstance(message, list) else message)
            await (await relay.ping(b"still there"))
            await relay.close()
            self.assertEqual(relay.close_code, 1000)

        asyncio.run(asyncio.wait_for(talk(), 30))

    def test_plain(self):
        """Every message comes back once, as it was, whole or fragmented, larger than a read and larger than a queue."""
        self.echoes(None)

    def test_deflate(self):
        """The same with permessage-deflate."""
        self.echoes("deflate")

    def test_too_big(self):
        """Beyond the limit: 1009."""
        async def talk():
            relay = await self.connect()
            with self.assertRaises(websockets.ConnectionClosed) as closed:
                await relay.send("y" * (LIMIT + 1))
                await relay.recv()
            self.assertEqual(closed.exception.code, 1009)

        asyncio.run(asyncio.wait_for(talk(), 30))

"""slowhttptest (Debian): many slow clients at once; the relay goes on serving everybody else."""
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from buckets import data_event, pair, send_data
from harness import OVER_TLS, RelayTest, pause
from wsclient import http

ATTACKERS = 500
ATTACK_S = 5


@unittest.skipIf(OVER_TLS, "the tool's TLS is slower than what it attacks")
@unittest.skipUnless(shutil.which("slowhttptest"), "no slowhttptest: apt-get install slowhttptest")
class SlowTest(RelayTest):
    OPTIONS = ("--http-timeout", "2s")

    def attack(self, *options):
        """Runs the tool against the relay; meanwhile answers and messages of others come promptly."""
        directory = tempfile.mkdtemp(prefix="shardrelay-e2e-")
        self.addCleanup(shutil.rmtree, directory)
        argv = ["slowhttptest", *options, "-c", str(ATTACKERS), "-r", "500", "-l", str(ATTACK_S), "-p", "3", "-g", "-o", "result",
                "-u", f"http://127.0.0.1:{self.server.port}/health"]
        tool = subprocess.Popen(argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watchdog = threading.Timer(ATTACK_S + 30, tool.kill)
        watchdog.start()
        first, second = self.strangers()
        pair(first, second)
        slowest = 0
        try:
            while tool.poll() is None:
                started = time.monotonic()
                response = http(self.server.port, "/health")
                response.wire.close()
                self.assertEqual(response.body, b"OK")
                data = os.urandom(1000)
                first.command(send_data(second.pk, data))
                second.expect(data_event(first.pk, data))
                pause(0.02)
                slowest = max(slowest, time.monotonic() - started)
        finally:
            watchdog.cancel()
            if tool.poll() is None:
                tool.kill()
            tool.wait()
        self.assertLess(slowest, 2, "others had to wait")
        with open(os.path.join(directory, "result.csv"), encoding="ascii") as file:
            rows = [[int(value) for value in line.split(",")] for line in file.read().split("\n")[1:] if line]
        self.assertGreater(max(closed + connected for _, closed, _, connected, _ in rows), ATTACKERS // 2, "the attack never got going")
        self.assertTrue(all(available for *_, available in rows), "the tool's own probe found the service down")

    def test_slow_heads(self):
        """Slowloris: heads that never end."""
        self.attack("-H", "-i", "1")

    def test_slow_bodies(self):
        """Bodies that never come."""
        self.attack("-B", "-i", "1")

    def test_slow_readers(self):
        """Pipelined requests whose answers are read a few bytes at a time."""
        self.attack("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "3")

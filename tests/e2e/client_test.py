"""relayclient against the relay: keys, send, receive, chat, exit codes (protocols/buckets.md, issue "Foundation" section 4)."""
import base64
import os
import shutil
import subprocess
import tempfile

from buckets import DATA_MAX, Key, connect, connected, disconnected, parse, send_data
from harness import BIN, OVER_TLS, PASSWORD, RelayTest, environment, free_port

LIMIT_S = 60


class ClientTest(RelayTest):
    def setUp(self):
        super().setUp()
        self.directory = tempfile.mkdtemp(prefix="relayclient-e2e-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.processes = []
        self.url = f"{'https' if OVER_TLS else 'http'}://127.0.0.1:{self.server.port}/v1/relay"
        self.trust = ["--cafile", self.server.root] if OVER_TLS else []
        self.keys = [self.keep_key(name) for name in ("one", "two")]

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        super().tearDown()

    def folder(self, name):
        return os.path.join(self.directory, name)

    def keep_key(self, name):
        """A key in the files of the original: base64 of 32 and of 64 bytes (seed and public) and a newline."""
        key = Key()
        os.mkdir(self.folder(name))
        for suffix, data in (("public", key.public), ("secret", key.secret.encode() + key.public)):
            with open(os.path.join(self.folder(name), "relay.key." + suffix), "wb") as file:
                file.write(base64.b64encode(data) + b"\n")
        return key

    def client(self, name, *words, env=None, stdout=subprocess.PIPE):
        argv = [os.path.join(BIN, "relayclient"), *words]
        process = subprocess.Popen(argv, cwd=self.folder(name), stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE,
                                   env=environment(env))
        self.processes.append(process)
        return process

    def command(self, name, what, peer, *options, password=PASSWORD, url=None, **rest):
        text = base64.b64encode(peer.public).decode()
        return self.client(name, what, *self.trust, "-u", self.account[0], "-p", password, *options, url or self.url, text, **rest)

    def done(self, process, data=b""):
        out, err = process.communicate(data, timeout=LIMIT_S)
        return process.returncode, out, err.decode()

    def transfer(self, data, *options):
        with tempfile.TemporaryFile(dir=self.directory) as output:
            receiver = self.command("one", "receive", self.keys[1], stdout=output)
            sender = self.command("two", "send", self.keys[0], *options)
            code, _, said = self.done(sender, data)
            self.assertEqual(code, 0, said)
            code, _, said = self.done(receiver)
            self.assertEqual(code, 0, said)
            output.seek(0)
            return output.read()

    def test_genkeys(self):
        """genkeys writes relay.key.public and relay.key.secret, base64 of 32 and 64 bytes; it does not overwrite."""
        os.mkdir(self.folder("new"))
        self.assertEqual(self.done(self.client("new", "genkeys"))[0], 0)
        read = {}
        for name, size in (("public", 32), ("secret", 64)):
            with open(os.path.join(self.folder("new"), "relay.key." + name), "rb") as file:
                text = file.read()
            self.assertTrue(text.endswith(b"\n"))
            read[name] = base64.b64decode(text)
            self.assertEqual(len(read[name]), size)
        self.assertEqual(Key(read["secret"][:32]).public, read["public"])
        self.assertEqual(read["secret"][32:], read["public"])
        self.assertEqual(os.stat(os.path.join(self.folder("new"), "relay.key.secret")).st_mode & 0o077, 0, "secret to others")

    def test_send_and_receive(self):
        """What send reads, receive prints, with a newline behind it, as the original's."""
        self.assertEqual(self.transfer(b"hello"), b"hello\n")

    def test_any_size(self):
        """Empty input, and inputs larger than a message, arrive whole."""
        for size in (1, DATA_MAX, DATA_MAX + 1, 5_000_000):
            data = os.urandom(size)
            self.assertEqual(self.transfer(data), data + b"\n")

    def test_piece_size(self):
        """--piece changes nothing of what arrives."""
        data = os.urandom(100_000)
        self.assertEqual(self.transfer(data, "--piece", "1k"), data + b"\n")

    def test_receive_from_another_implementation(self):
        """receive takes data of the independent client and ends when that one leaves."""
        receiver = self.command("one", "receive", self.keys[1])
        device = self.device(self.server.account(), key=self.keys[1])
        device.command(connect(self.keys[0].public))
        device.expect(connected(self.keys[0].public))
        device.command(send_data(self.keys[0].public, b"from ") + send_data(self.keys[0].public, b"python"))
        device.close()
        self.assertEqual(self.done(receiver)[:2], (0, b"from python\n"))

    def test_send_to_another_implementation(self):
        """send reaches the independent client, then leaves properly."""
        sender = self.command("two", "send", self.keys[0])
        device = self.device(self.server.account(), key=self.keys[0])
        device.command(connect(self.keys[1].public))
        device.expect(connected(self.keys[1].public))
        self.assertEqual(self.done(sender, b"to python")[0], 0)
        got = b""
        event = device.event()
        while event != disconnected(self.keys[1].public):
            got += parse(event)[2]
            event = device.event()
        self.assertEqual(got, b"to python")

    def test_chat(self):
        """chat passes lines both ways and ends with its input."""
        first = self.command("one", "chat", self.keys[1])
        second = self.command("two", "chat", self.keys[0])
        for process, other, text in ((first, second, b"ping over there\n"), (second, first, b"pong back\n")):
            process.stdin.write(text)
            process.stdin.flush()
            seen = other.stdout.readline()
            while text.strip() not in seen:
                self.assertTrue(seen, "the chat ended early")
                seen = other.stdout.readline()
        first.stdin.close()
        self.assertEqual(first.wait(LIMIT_S), 0)
        second.stdin.close()
        self.assertEqual(second.wait(LIMIT_S), 0)

    def test_credentials_from_the_environment(self):
        """User and password may come from the environment."""
        text = base64.b64encode(self.keys[1].public).decode()
        env = {"RELAY_USERNAME": self.account[0], "RELAY_PASSWORD": PASSWORD}
        receiver = self.client("one", "receive", *self.trust, self.url, text, env=env)
        self.assertEqual(self.done(self.command("two", "send", self.keys[0]), b"x")[0], 0)
        self.assertEqual(self.done(receiver)[:2], (0, b"x\n"))

    def test_refused_credentials(self):
        """Wrong password: exit code 3 and a sentence."""
        code, _, said = self.done(self.command("one", "receive", self.keys[1], password="wrong"))
        self.assertEqual(code, 3, said)
        self.assertTrue(said.strip())

    def test_wrong_use(self):
        """Missing arguments, unknown commands and options, bad keys and URLs: exit code 2, or 1 for what cannot be read."""
        for words in ((), ("receive",), ("frobnicate",), ("send", "--nonsense", self.url, "x")):
            self.assertEqual(self.done(self.client("one", *words))[0], 2, words)
        for words in (("send", self.url, "not-a-key"), ("send", "ftp://x/", base64.b64encode(bytes(32)).decode())):
            self.assertIn(self.done(self.client("one", *words))[0], (1, 2), words)

    def test_no_keys(self):
        """Without key files it fails and says so."""
        os.mkdir(self.folder("empty"))
        code, _, said = self.done(self.command("empty", "receive", self.keys[1]))
        self.assertIn(code, (1, 2))
        self.assertIn("relay.key", said)

    def test_nobody_listens(self):
        """No relay at the URL: a failure, not a wait for ever."""
        url = f"http://127.0.0.1:{free_port()}/v1/relay"
        code, _, said = self.done(self.command("one", "receive", self.keys[1], "--retries", "0", url=url))
        self.assertEqual(code, 1, said)

    def test_peer_does_not_come(self):
        """--timeout: exit code 4 when the peer does not come."""
        self.assertEqual(self.done(self.command("two", "send", self.keys[0], "--timeout", "1s"), b"x")[0], 4)

    def test_peer_leaves_in_the_middle(self):
        """The peer leaves while send has more: exit code 4."""
        sender = self.command("two", "send", self.keys[0])
        device = self.device(self.server.account(), key=self.keys[0])
        device.command(connect(self.keys[1].public))
        device.expect(connected(self.keys[1].public))
        sender.stdin.write(os.urandom(1000))
        sender.stdin.flush()
        device.event()
        device.wire.reset()
        self.assertEqual(sender.wait(LIMIT_S), 4)

    def test_waits_for_the_peer(self):
        """send waits until the peer comes, however late."""
        sender = self.command("two", "send", self.keys[0], "-v")
        sender.stdin.write(b"patience")
        sender.stdin.close()
        watcher = self.device()
        watcher_saw = watcher.event()
        self.assertEqual(parse(watcher_saw)[1], self.keys[1].public)
        self.assertIsNone(sender.poll())
        receiver = self.command("one", "receive", self.keys[1])
        self.assertEqual(self.done(receiver)[:2], (0, b"patience\n"))
        self.assertEqual(sender.wait(LIMIT_S), 0)

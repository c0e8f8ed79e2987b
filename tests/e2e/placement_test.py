"""Where sessions go: evenly to the shards, however the kernel deals them out; every way of connecting; and the exact limit."""
import json
import os
import resource
import socket
import tempfile

from harness import RelayTest, wait_for
from wsclient import WebSocket, basic, request_head

SESSIONS = 1000
SHARES = 4
UPGRADE = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
           ("Sec-WebSocket-Version", "13")]


class PlacementTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.directory.name, "socket")
        cls.OPTIONS = ("--shards", str(SHARES), "--listen", f"unix:{cls.path}", "--iam-timeout", "120s")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.directory.cleanup()

    def tearDown(self):
        super().tearDown()
        wait_for("all sessions to end", lambda: not self.sessions())

    def sessions(self):
        done = self.server.command("sessions", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def handed_over(self):
        lines = self.server.command("metrics").stdout.splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("shardrelay_handed_over_total"))

    def open_sessions(self, count):
        for _ in range(count):
            session = WebSocket(self.server.port, user=self.account[0], password=self.account[1])
            self.assertEqual(session.response.status, 101)
            self.sockets.append(session)

    def assert_even(self, count):
        shares = [0] * SHARES
        for session in self.sessions():
            shares[session["shard"]] += 1
        self.assertEqual(sum(shares), count)
        self.assertLessEqual(max(shares), 1.15 * count / SHARES, f"{shares}, {self.handed_over()} handed over")

    def test_thousand_sessions(self):
        """Of 1,000 sessions no shard has more than 1.15 x its share; few had to be handed over."""
        before = self.handed_over()
        self.open_sessions(SESSIONS)
        self.assert_even(SESSIONS)
        self.assertLess(self.handed_over() - before, SESSIONS / 2)

    def test_uneven_leaving(self):
        """When all sessions of one shard have left, the next ones fill it again."""
        self.open_sessions(400)
        emptied = {session["address"] for session in self.sessions() if session["shard"] == 0}
        self.assertGreater(len(emptied), 50)
        for session in self.sockets:
            if session.wire.source in emptied:
                session.wire.reset()
        self.sockets = [session for session in self.sockets if session.wire.source not in emptied]
        wait_for("one shard to be empty", lambda: not any(session["shard"] == 0 for session in self.sessions()))
        self.open_sessions(400 - len(self.sockets))
        self.assert_even(400)

    def test_unix_socket(self):
        """A UNIX socket is one queue for all shards, of which any may take everything: they share all the same."""
        held = []
        for _ in range(200):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(one.close)
            one.settimeout(20)
            one.connect(self.path)
            held.append(one)
        head = request_head("/v1/relay", headers=UPGRADE + [("Authorization", basic(*self.account))])
        for one in held:
            one.sendall(head)
        for one in held:
            self.assertTrue(one.recv(12).startswith(b"HTTP/1.1 101"))
        self.assert_even(200)
        for one in held:
            one.close()

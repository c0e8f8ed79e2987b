"""Backbone over TLS (tls+backbone:, proxy+tls+backbone:): login, messages cut anywhere, every way to hang up, and what was kept."""
import os
import shutil
import subprocess
import tempfile
import unittest
import uuid

import backbone
from backbone import c2c, c2s
from backbone_queue_test import KEPT, KeepingTest
from certificates import Authority
from harness import BIN, OVER_TLS, free_port, wait_for


def setUpModule():
    if OVER_TLS:
        raise unittest.SkipTest("has TLS of its own")


class TlsTest(KeepingTest):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="shardrelay-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.authority = Authority(os.path.join(cls.directory, "authority"))
        certificate, key = cls.authority.issue("relay")
        cls.port, cls.proxied = free_port(), free_port()
        cls.OPTIONS = ("--listen", f"tls+backbone:127.0.0.1:{cls.port}", "--listen", f"proxy+tls+backbone:127.0.0.1:{cls.proxied}",
                       "--trusted-proxy", "127.0.0.1", "--tls-cert", certificate, "--tls-key", key, *cls.EXTRA)
        cls.keys = [backbone.new_key() for _ in range(3)]
        cls.start()

    def stranger(self, key=None, identity=None, **options):
        return super().stranger(key, identity, **{"tls": self.authority.context(), **options})

    def test_chat(self):
        """Login and messages both ways, around the chunks and up to the largest; frames and heads cut by TLS records of one byte."""
        a, b = self.client(), self.client()
        for size in (0, 1, 173, 174, 5000, 48433):
            payload = os.urandom(size)
            a.say(c2c(b.id, payload))
            self.assertEqual(b.read_c2c(), payload)
            b.say(c2c(a.id, payload[:100]))
            self.assertEqual(a.read_c2c(), payload[:100])
        for byte in a.sealed(c2c(b.id, b"slowly")):
            a.send(bytes([byte]))
        self.assertEqual(b.read_c2c(), b"slowly")
        a.send(b"".join(a.sealed(c2c(b.id, b"%d" % i)) for i in range(40)))
        self.assertEqual([b.read_c2c() for _ in range(40)], [b"%d" % i for i in range(40)])

    def test_behind_a_proxy(self):
        """A PROXY head, then TLS, then Backbone."""
        head = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 4000\r\n"
        key, identity = self.enrolled()
        client = backbone.Client(self.proxied, key, identity, tls=self.authority.context(), before_tls=head)
        self.addCleanup(client.close)
        client.login()
        client.say(c2c(client.id, b"through"))
        self.assertEqual(client.read_c2c(), b"through")

    def test_hang_ups(self):
        """With close_notify, without, and by a reset: noticed at once, so the id can log in again; what was sent before an end arrives."""
        def notify(client):
            client.socket.unwrap()
            client.close()

        for end in (notify, backbone.Client.close, backbone.Client.reset):
            a, b = self.client(), self.client()
            a.say(c2c(b.id, b"first"))
            self.assertEqual(b.read_c2c(), b"first")
            if end is not backbone.Client.reset:
                a.send(b"".join(a.sealed(c2c(b.id, b"%d" % i)) for i in range(20)))
            end(a)
            if end is not backbone.Client.reset:
                self.assertEqual([b.read_c2c() for _ in range(20)], [b"%d" % i for i in range(20)])
            wait_for("the id to be free", lambda: self.try_login(a.key, a.id))
            b.say(c2c(b.id, b"on"))
            self.assertEqual(b.read_c2c(), b"on")

    def test_stop_and_refusals(self):
        """STOP is answered; a broken frame gets STOP; a refused login, a duplicate and clear text are closed."""
        a, b = self.client(), self.client()
        a.send(a.sealed(c2c(b.id, b"last words")) + a.sealed(c2s(backbone.STOP)))
        self.assertEqual(a.read_stop(), "handler stopping")
        self.assertEqual(b.read_c2c(), b"last words")
        second = self.stranger(b.key, b.id).read_challenge()
        second.say(second.response())
        self.assertEqual(second.read_stop(), "already connected")
        b.send(backbone.framed(os.urandom(256)))
        self.assertEqual(b.read_stop(), "frame cannot be decrypted")
        nobody = self.stranger().read_challenge()
        nobody.say(nobody.response())
        nobody.read_end()
        plain = self.stranger(tls=None)
        plain.send(backbone.framed(os.urandom(512)))
        try:
            while plain.read(1):
                pass
        except backbone.Closed:
            pass

    def test_absent_and_kept(self):
        """Unknown: undelivered. Away: kept, given in order before anything newer, once."""
        (key, identity), sender = self.enrolled(), self.sender()
        sender.say(c2c(uuid.uuid4(), b"x"))
        self.assertEqual(sender.read_c2s()[1][0], 1)
        expected = [b"%d" % i + os.urandom(20000) for i in range(10)]
        for payload in expected:
            sender.say(c2c(identity, payload))
        self.told(sender, *[KEPT] * len(expected))
        receiver = self.client(identity, key)
        sender.say(c2c(identity, b"newer"))
        for payload in [*expected, b"newer"]:
            self.assertEqual(receiver.read_c2c(), payload)
        self.stop(receiver)
        self.quiet(self.client(identity, key))

    def test_program(self):
        """relayclient over TLS, with the authority's certificate and without."""
        key, identity = self.enrolled()
        path = os.path.join(self.server.directory, f"{identity}.pem")
        with open(path, "wb") as file:
            file.write(backbone.private_pem(key))
        argv = [os.path.join(BIN, "relayclient"), "backbone", "status", "--id", str(identity), "--key", path]

        def run(*options):
            server = f"tls:localhost:{self.port}"
            return subprocess.run([*argv, *options, server], capture_output=True, text=True, timeout=60, check=False)

        done = run("--cafile", self.authority.path("root.pem"))
        self.assertEqual((done.returncode, '"running"' in done.stdout), (0, True), done.stderr)
        self.assertNotEqual(run().returncode, 0, "a certificate that nobody trusts")

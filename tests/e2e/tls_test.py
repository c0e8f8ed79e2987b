"""TLS on listeners: versions, resumption on every shard, reload, stapling, and what is said about files that are wrong."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

from buckets import Device, data_event, pair, send_data
from certificates import Authority
from harness import OVER_TLS, RelayTest, Server, free_port, wait_for
from wsclient import Ended, Response, Wire, frame, http, request_head

ONE_SHARD_PER_CONNECTION = 12  # connections enough to meet every shard


def setUpModule():
    if OVER_TLS:
        raise unittest.SkipTest("has TLS of its own")


class TlsCase(RelayTest):
    """A relay with a plain listener (server.port) and one with TLS (server.tls_port)."""

    EXTRA = ()

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="shardrelay-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.authority = Authority(os.path.join(cls.directory, "authority"))
        cls.tls_port = free_port()
        certificate, key = cls.authority.issue("relay")
        cls.OPTIONS = ("--listen", f"tls:127.0.0.1:{cls.tls_port}", "--tls-cert", certificate, "--tls-key", key, *cls.more_options())
        cls.context = cls.authority.context()
        super().setUpClass()

    @classmethod
    def more_options(cls):
        return cls.EXTRA

    def secure(self, context=None, **options):
        wire = Wire(self.tls_port, tls=context or self.context, **options)
        self.addCleanup(wire.close)
        return wire

    def health(self, wire):
        self.assertEqual(http(None, "/health", wire=wire).body, b"OK")

    def certificate_seen(self):
        return ssl.get_server_certificate(("127.0.0.1", self.tls_port))

    def own(self, name):
        with open(self.authority.path(f"{name}.own"), encoding="ascii") as file:
            return file.read()

    def replace(self, name):
        """The relay's files become those of another certificate, one after the other, as tools do it."""
        for suffix in ("pem", "key"):
            shutil.copy(self.authority.path(f"{name}.{suffix}"), self.authority.path("new"))
            os.replace(self.authority.path("new"), self.authority.path(f"relay.{suffix}"))


class TlsTest(TlsCase):
    EXTRA = ("--http-timeout", "500ms")

    def secure_device(self, account=None, **options):
        device = Device(self.tls_port, account or self.server.account(), tls=self.context, **options)
        self.sockets.append(device)
        return device.authenticate()

    def test_versions(self):
        """1.3 and 1.2 are spoken, with HTTP/1.1 agreed on; 1.1 is refused."""
        wire = self.secure()
        self.assertEqual((wire.socket.version(), wire.socket.selected_alpn_protocol()), ("TLSv1.3", "http/1.1"))
        self.health(wire)
        context = self.authority.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        wire = self.secure(context)
        self.assertEqual(wire.socket.version(), "TLSv1.2")
        self.assertRegex(wire.socket.cipher()[0], "^ECDHE-.*(GCM|POLY1305)")
        self.health(wire)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertRaises(ssl.SSLError):
            self.secure(context)

    def test_old_ciphers_are_refused(self):
        """1.2 without forward secrecy or without authenticated encryption: no agreement."""
        for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"):
            context = self.authority.context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
            with self.subTest(ciphers=ciphers), self.assertRaisesRegex(ssl.SSLError, "HANDSHAKE_FAILURE"):
                self.secure(context)

    def test_other_protocol_alone_is_refused(self):
        """A client that offers HTTP/2 only is told so."""
        context = self.authority.context()
        context.set_alpn_protocols(["h2"])
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            self.secure(context)

    def test_large_messages_between_plain_and_tls(self):
        """Sessions over TLS and plain TCP are peers; messages of every size arrive whole, both ways."""
        secure, plain = self.secure_device(), self.device()
        pair(secure, plain)
        for size in (0, 1, 16383, 16384, 16385, 65536, 300_000, 999_955):
            data = os.urandom(size)
            secure.command(send_data(plain.pk, data))
            plain.expect(data_event(secure.pk, data))
            plain.command(send_data(secure.pk, data))
            secure.expect(data_event(plain.pk, data))

    def test_receiver_that_reads_late(self):
        """What waits for a slow receiver over TLS comes whole and in order, and its sender waits."""
        sender, receiver = self.secure_device(send_buffer=65536), self.secure_device(receive_buffer=65536)
        pair(sender, receiver)
        messages = [bytes([i]) * 400_000 for i in range(60)]
        stream = b"".join(frame(send_data(receiver.pk, m)) for m in messages)
        sent = sender.wire.try_send(stream, 0.5)
        self.assertLess(sent, len(stream), "nothing held the sender back")
        rest = threading.Thread(target=sender.wire.send, args=(stream[sent:],))
        rest.start()
        for message in messages:
            receiver.expect(data_event(sender.pk, message))
        rest.join()

    def test_end_is_said(self):
        """A response that ends the connection, and a WebSocket close, are followed by close_notify: nothing can be cut off unseen."""
        context = self.authority.context()
        raw = socket.create_connection(("127.0.0.1", self.tls_port), timeout=20)
        with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as wire:
            wire.sendall(request_head("/nothing-here", headers=[("Connection", "close")]))
            seen = b""
            while piece := wire.recv(65536):
                seen += piece
            self.assertTrue(seen.startswith(b"HTTP/1.1 404"), seen)
        device = self.secure_device()
        self.assertEqual(device.close()[0], 1000)

    def test_client_that_ends_first(self):
        """close_notify in the same segment as a request: the request is answered, then the end."""
        raw = socket.create_connection(("127.0.0.1", self.tls_port), timeout=20)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        self.addCleanup(raw.close)

        def step(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    incoming.write(raw.recv(65536))

        step(tls.do_handshake)
        tls.write(request_head("/health"))
        with self.assertRaises(ssl.SSLWantReadError):
            tls.unwrap()
        raw.sendall(outgoing.read())
        self.assertIn(b"200 OK", step(lambda: tls.read(65536)))

    def test_sessions_resume_on_every_shard(self):
        """A ticket is good wherever the kernel puts the next connection."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.authority.context()
            context.minimum_version = context.maximum_version = version
            first = self.secure(context)
            self.health(first)  # a ticket of 1.3 comes after the handshake
            session = first.socket.session
            for _ in range(ONE_SHARD_PER_CONNECTION):
                wire = self.secure(context, session=session)
                self.assertTrue(wire.socket.session_reused)
                self.health(wire)

    def test_http_on_the_tls_port(self):
        """Whoever speaks plain HTTP there is told what is wrong, in HTTP."""
        wire = Wire(self.tls_port)
        self.addCleanup(wire.close)
        wire.send(request_head("/"))
        response = Response(wire)
        self.assertEqual(response.status, 400)
        self.assertIn(b"TLS", response.body)
        self.assertEqual(wire.rest(), b"")

    def test_garbage_and_silence(self):
        """Garbage ends the connection at once; silence and half a handshake end with --http-timeout. Others do not notice."""
        for first in (b"\x16\x03\x01\x00\x05hello", b"\x00" * 100, os.urandom(4096)):
            wire = Wire(self.tls_port)
            self.addCleanup(wire.close)
            wire.send(first)
            wire.rest()
        waiting = []
        for first in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01"):
            wire = Wire(self.tls_port)
            self.addCleanup(wire.close)
            wire.send(first)
            waiting.append(wire)
        started = time.monotonic()
        self.health(self.secure())
        for wire in waiting:
            self.assertEqual(wire.rest(), b"")
        self.assertLess(time.monotonic() - started, 5)

    def test_dripping_handshake(self):
        """Bytes that keep coming do not extend the time for the handshake."""
        wire = Wire(self.tls_port)
        self.addCleanup(wire.close)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
        started = time.monotonic()
        with self.assertRaises((ConnectionError, Ended, TimeoutError)):
            for i in range(400):
                wire.send(hello[i:i + 1])
                wire.socket.settimeout(0.02)
                try:
                    if not wire.socket.recv(1):
                        raise Ended("as it should")
                except TimeoutError:
                    continue
        self.assertLess(time.monotonic() - started, 5)


class OtherListenersTest(TlsCase):
    @classmethod
    def more_options(cls):
        cls.path = os.path.join(cls.directory, "socket")
        cls.port6 = free_port()
        return ("--listen", f"tls:[::1]:{cls.port6}", "--listen", f"tls:unix:{cls.path}")

    def test_ipv6_and_unix(self):
        """TLS on IPv6 and on a UNIX socket."""
        for address, family in ((("::1", self.port6), socket.AF_INET6), (self.path, socket.AF_UNIX)):
            raw = socket.socket(family)
            raw.settimeout(20)
            raw.connect(address)
            with self.context.wrap_socket(raw, server_hostname="localhost") as wire:
                wire.sendall(request_head("/health", headers=[("Connection", "close")]))
                self.assertTrue(wire.recv(65536).startswith(b"HTTP/1.1 200 OK"))


class ReloadTest(TlsCase):
    def said(self, what, times=1):
        wait_for(f"{what} in the log", lambda: self.server.stderr().count(what) >= times)

    def test_reload(self):
        """New files count on SIGHUP and when they change; old sessions go on; bad ones are refused loudly and the old certificate stays."""
        for name in ("second", "third"):
            self.authority.issue(name)
        self.authority.issue("expired", first_day=-10, last_day=-1)
        old = self.secure()
        self.health(old)
        first = self.certificate_seen()
        with self.subTest("SIGHUP"):
            self.replace("second")
            self.server.signal(signal.SIGHUP)
            self.said("TLS_LOADED", 2)
            wait_for("the new certificate on every shard", lambda: all(self.certificate_seen() == self.own("second") for _ in range(8)))
            self.assertNotEqual(first, self.own("second"))
            self.health(old)
        with self.subTest("bad files"):
            for bad, why in (("expired", "has expired"), ("root", "")):
                if bad == "root":
                    self.authority.write("relay.pem", "nothing\n")
                    why = "holds no certificate"
                else:
                    self.replace(bad)
                self.server.signal(signal.SIGHUP)
                self.said(why)
                self.assertIn("TLS_REFUSED", self.server.stderr())
                self.assertEqual(self.certificate_seen(), self.own("second"))
        with self.subTest("changed without a signal"):
            self.replace("third")
            wait_for("the new certificate", lambda: self.certificate_seen() == self.own("third"))
            self.health(old)
        with self.subTest("tickets outlive a reload"):
            first = self.secure()
            self.health(first)
            loaded = self.server.stderr().count("TLS_LOADED")
            self.server.signal(signal.SIGHUP)
            self.said("TLS_LOADED", loaded + 1)
            wait_for("resumption", lambda: self.secure(session=first.socket.session).socket.session_reused)


class StaplingTest(TlsCase):
    @classmethod
    def more_options(cls):
        return ("--tls-ocsp", cls.authority.staple("relay"))

    def test_answer_is_stapled(self):
        """The authority's answer comes with the certificate."""
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.tls_port}", "-status", "-CAfile",
                               self.authority.path("root.pem")], input="", capture_output=True, text=True, timeout=60, check=False)
        self.assertIn("OCSP Response Status: successful", done.stdout)
        self.assertIn("Cert Status: good", done.stdout)
        self.health(self.secure())


class BadFilesTest(unittest.TestCase):
    """Everything wrong with the files is told in one sentence, exit code 1; with the options, exit code 2."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(first_user=False)
        cls.server.add_user("first@example.com", "correct horse")
        cls.authority = Authority(os.path.join(cls.server.directory, "authority"))
        cls.certificate, cls.key = cls.authority.issue("relay")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def assert_refused(self, code, sentence, *options, tls=True):
        listen = ["--listen", f"{'tls:' if tls else ''}127.0.0.1:{free_port()}"]
        done = self.server.command("server", *listen, *options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(sentence, done.stderr.split("\n")[0])

    def assert_files_refused(self, sentence, certificate=None, key=None, *more):
        self.assert_refused(1, sentence, "--tls-cert", certificate or self.certificate, "--tls-key", key or self.key, *more)

    def test_files(self):
        """Missing, unreadable, not PEM, damaged, mismatched, expired, not yet valid, locked, weak."""
        path, issue = self.authority.path, self.authority.issue
        self.authority.write("nothing", "nothing\n")
        self.authority.write("damaged.pem", self.authority.read("relay.pem")[:-100])
        self.authority.openssl("ec", "-in", "relay.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
        expired, early = issue("expired", -10, -1), issue("early", 5, 10)
        other, weak = issue("other"), issue("weak", algorithm=("rsa:1024",))
        cases = [(f"--tls-cert: cannot read {path('absent')}: No such file", path("absent"), None),
                 (f"--tls-key: cannot read {path('absent')}: No such file", None, path("absent")),
                 ("Is a directory", path("."), None),
                 ("nothing holds no certificate in PEM", path("nothing"), None),
                 ("nothing holds no private key in PEM", None, path("nothing")),
                 ("damaged.pem is damaged behind certificate 1", path("damaged.pem"), None),
                 (f"{other[1]} is not the key of the certificate in {self.certificate}", None, other[1]),
                 ("expired.pem has expired: it was valid until", *expired),
                 ("early.pem is not valid before", *early),
                 ("locked.key needs a passphrase", None, path("locked.key")),
                 ("weak.pem cannot be used: ee key too small", *weak)]
        for sentence, certificate, key in cases:
            with self.subTest(sentence):
                self.assert_files_refused(sentence, certificate, key)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable(self):
        """A key that this user may not read."""
        self.authority.write("unreadable", self.authority.read("relay.key"))
        os.chmod(self.authority.path("unreadable"), 0)
        self.assert_files_refused("Permission denied", None, self.authority.path("unreadable"))

    def test_stapling_files(self):
        """An OCSP answer that is none, about another certificate, revoked, or not to be matched."""
        path = self.authority.path
        self.authority.issue("else")
        self.authority.write("nothing.der", "nothing\n")
        other = self.authority.staple("else")
        own = self.authority.staple("relay")
        self.authority.issue("bad")
        self.authority.openssl("ca", "-config", "ca.cnf", "-cert", "root.pem", "-keyfile", "root.key", "-revoke", "bad.own")
        revoked = self.authority.staple("bad")
        self.assert_files_refused("holds no successful OCSP answer", None, None, "--tls-ocsp", path("nothing.der"))
        self.assert_files_refused("is about another certificate", None, None, "--tls-ocsp", other)
        self.assert_files_refused("says that the certificate is not good", path("bad.pem"), path("bad.key"), "--tls-ocsp", revoked)
        self.assert_files_refused("lacks the authority's certificate", path("relay.own"), None, "--tls-ocsp", own)

    def test_options(self):
        """Options that make no sense together."""
        both = ("--tls-cert", self.certificate, "--tls-key", self.key)
        self.assert_refused(2, "must be given together", *both[:2])
        self.assert_refused(2, "must be given together", *both[2:])
        self.assert_refused(2, "tls: needs --tls-cert and --tls-key")
        self.assert_refused(2, "need a listener with TLS", *both, tls=False)
        self.assert_refused(2, "proxy: needs --trusted-proxy", "--listen", "proxy:127.0.0.1:1", tls=False)
        self.assert_refused(2, "is not a range of addresses", "--trusted-proxy", "10.0.0.1/8", tls=False)

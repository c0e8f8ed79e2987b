"""Who the client is: fields of trusted proxies, PROXY heads, and what others claim. Statistics show which address the relay believes."""
import os
import shutil
import ssl
import struct
import tempfile

from buckets import Device
from certificates import Authority
from harness import OVER_TLS, RelayTest, free_port, wait_for
from wsclient import Wire, basic, http, request_head

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY = "127.0.0.1"  # the address that the relay trusts; other clients come from elsewhere in 127.0.0.0/8


def v2_head(address, command=0x21, extensions=b""):
    parts = bytes(int(p) for p in address.split("."))
    body = parts + bytes([127, 0, 0, 1]) + struct.pack(">HH", 1234, 443) + extensions
    return V2_SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


class ProxiesTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="shardrelay-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.proxy_port, cls.secure_port = free_port(), free_port()
        cls.OPTIONS = ["--store-interval", "1s", "--trusted-proxy", PROXY, "--trusted-proxy", "10.0.0.0/8", "--http-timeout", "700ms",
                       "--listen", f"proxy:127.0.0.1:{cls.proxy_port}", "--listen", f"proxy+tls:127.0.0.1:{cls.secure_port}"]
        cls.authority = Authority(os.path.join(cls.directory, "authority"))
        cls.context = cls.authority.context()
        if not OVER_TLS:
            certificate, key = cls.authority.issue("relay")
            cls.OPTIONS += ["--tls-cert", certificate, "--tls-key", key]
        super().setUpClass()

    def believed(self, address):
        """Waits until statistics know that address."""
        wait_for(f"usage of {address}: {self.server.stats()['ips']}",
                 lambda: any(row["ip"] == address for row in self.server.stats()["ips"]))

    def never_believed(self, address):
        self.assertNotIn(address, [row["ip"] for row in self.server.stats()["ips"]])

    def use(self, port=None, **options):
        device = Device(port or self.server.port, self.account, **options)
        self.sockets.append(device)
        device.authenticate()
        self.assertEqual(device.close()[0], 1000)
        return device

    def test_fields_of_a_trusted_proxy(self):
        """True-Client-IP, X-Real-IP, X-Forwarded-For (right-most that is not trusted) and Forwarded name the client."""
        for fields, address in (([("True-Client-IP", "192.0.2.1"), ("X-Real-IP", "192.0.2.66")], "192.0.2.1"),
                                ([("X-Real-IP", "192.0.2.2"), ("X-Forwarded-For", "192.0.2.66")], "192.0.2.2"),
                                ([("X-Forwarded-For", "192.0.2.66, 192.0.2.3, 10.1.1.1")], "192.0.2.3"),
                                ([("Forwarded", 'for=192.0.2.66, for="[2001:db8::4]:99";proto=https')], "2001:db8::4")):
            with self.subTest(fields=fields):
                self.use(source=PROXY, headers=fields)
                self.believed(address)
        self.never_believed("192.0.2.66")

    def test_fields_of_anyone_else(self):
        """From others the fields count nothing: the socket's address does."""
        device = self.use(headers=[("X-Forwarded-For", "192.0.2.77"), ("X-Real-IP", "192.0.2.77"), ("True-Client-IP", "192.0.2.77"),
                                   ("Forwarded", "for=192.0.2.77")])
        self.believed(device.wire.source)
        self.never_believed("192.0.2.77")

    def test_throttle_is_by_client(self):
        """One client behind the proxy that guesses passwords does not lock out its neighbours."""
        def guess(address):
            fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"), ("X-Real-IP", address),
                      ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Authorization", basic(f"nobody-{os.urandom(4).hex()}", "wrong"))]
            wire = self.wire(source=PROXY)
            return http(None, "/v1/relay", wire=wire, headers=fields).status
        answers = [guess("192.0.2.200") for _ in range(20)]
        self.assertEqual(answers[0], 403)
        self.assertIn(429, answers)
        self.assertEqual(guess("192.0.2.201"), 403)

    def test_proxy_heads(self):
        """Version 1 and 2, plain and in front of TLS; with extensions; in pieces."""
        for number, (port, tls) in enumerate(((self.proxy_port, None), (self.secure_port, self.context))):
            if OVER_TLS and tls is None:
                continue
            for kind, head in enumerate((f"PROXY TCP4 198.51.{number}.0 127.0.0.1 1234 443\r\n".encode(), v2_head(f"198.51.{number}.1"),
                                         v2_head(f"198.51.{number}.2", extensions=b"\x04\0\x20" + bytes(32)))):
                with self.subTest(tls=bool(tls), kind=kind):
                    self.use(port, source=PROXY, tls=tls, before_tls=head)
                    self.believed(f"198.51.{number}.{kind}")

    def test_client_may_not_name_itself_behind_a_head(self):
        """The client that a PROXY head names is not a trusted proxy: its fields count nothing."""
        self.use(self.secure_port, source=PROXY, tls=self.context, before_tls=v2_head("198.51.100.9"),
                 headers=[("X-Real-IP", "192.0.2.88")])
        self.believed("198.51.100.9")
        self.never_believed("192.0.2.88")

    def test_heads_without_an_address(self):
        """LOCAL and UNKNOWN (health checks of the proxy) are served."""
        for head in (v2_head("192.0.2.99", command=0x20), b"PROXY UNKNOWN\r\n"):
            wire = Wire(self.secure_port, source=PROXY, tls=self.context, before_tls=head)
            self.addCleanup(wire.close)
            self.assertEqual(http(None, "/health", wire=wire).body, b"OK")
        self.never_believed("192.0.2.99")

    def raw(self, port, data, source=PROXY):
        """What comes back when these bytes are all that is sent."""
        tls, Wire.tls = Wire.tls, None
        try:
            wire = Wire(port, source=source)
        finally:
            Wire.tls = tls
        self.addCleanup(wire.close)
        try:
            wire.send(data)
        except ConnectionError:
            return b""
        return wire.rest()

    def test_bad_heads(self):
        """No head, a malformed one, half of one, one from who is not trusted: the connection ends, without a word."""
        request = request_head("/health")
        for data in (request, b"PROXY TCP4 1.2.3.4\r\n" + request, b"PROXY NONSENSE\r\n" + request,
                     V2_SIGNATURE + b"\x31\x11\0\0" + request, b"PROXY TCP4 192.0.2.7 127", V2_SIGNATURE, b""):
            for port in (self.proxy_port, self.secure_port):
                with self.subTest(data=data, port=port):
                    self.assertEqual(self.raw(port, data), b"")
        self.assertEqual(self.raw(self.proxy_port, b"PROXY UNKNOWN\r\n" + request, source="127.9.9.9"), b"")
        request = request_head("/health", headers=[("Connection", "close")])
        self.assertIn(b"200 OK", self.raw(self.proxy_port, b"PROXY UNKNOWN\r\n" + request))

    def test_head_in_pieces_behind_which_tls_begins(self):
        """The PROXY head and the first TLS record, cut anywhere."""
        head = v2_head("198.51.100.7")
        for cut in (1, 12, 15, 16, len(head) - 1):
            wire = PiecesWire(self.secure_port, head[:cut], head[cut:], self.context)
            self.addCleanup(wire.close)
            self.assertEqual(http(None, "/health", wire=wire).body, b"OK")


class PiecesWire(Wire):
    """Sends the PROXY head in two segments, the second together with the first TLS record."""

    def __init__(self, port, first, second, context):
        tls, Wire.tls = Wire.tls, None
        try:
            super().__init__(port, source=PROXY, before_tls=first)
        finally:
            Wire.tls = tls
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.inner = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.prefix = second
        self.step(self.inner.do_handshake)

    def step(self, action):
        while True:
            try:
                result = action()
                self.push()
                return result
            except ssl.SSLWantReadError:
                self.push()
                data = self.socket.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def push(self):
        data = self.prefix + self.outgoing.read()
        self.prefix = b""
        if data:
            self.socket.sendall(data)

    def send(self, data):
        self.step(lambda: self.inner.write(data))

    def fill(self, deadline):
        data = self.step(lambda: self.inner.read(65536))
        self.buffer += data
        self.ended = not data
        return bool(data)

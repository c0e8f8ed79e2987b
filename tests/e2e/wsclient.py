"""A small WebSocket client of its own (RFC 6455, 7692) with control over every bit, so that the relay is judged by other code than its own.

Nothing here is polite by itself: no automatic pong, no automatic close. Every wait has a deadline.
"""
import base64
import hashlib
import os
import random
import select
import socket
import ssl
import struct
import time
import zlib

DEADLINE_S = float(os.environ.get("E2E_DEADLINE_S", "20"))
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Timeout(AssertionError):
    """What was waited for did not come in time."""


class Ended(AssertionError):
    """The relay closed the TCP connection while more was expected."""


def loopback_address():
    """A source address of its own for a client, so that limits per address do not reach from test to test."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


class Wire:
    """One TCP or TLS connection with a receive buffer."""

    tls = None  # ssl.SSLContext: what connections use that name none

    def __init__(self, port, source=None, receive_buffer=None, send_buffer=None, tls=None, session=None, before_tls=b""):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.source = source or loopback_address()
        self.socket.bind((self.source, 0))
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.ended = False
        self.tls = tls or Wire.tls
        self.socket.sendall(before_tls)
        if self.tls:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname="localhost", session=session)

    def send(self, data):
        self.socket.settimeout(DEADLINE_S)
        self.socket.sendall(data)

    def try_send(self, data, patience_s):
        """Sends what the connection takes before it stays full for patience_s; returns the number of bytes."""
        sent = 0
        view = memoryview(data)
        self.socket.setblocking(False)
        while sent < len(data):
            if not select.select([], [self.socket], [], patience_s)[1]:
                break
            try:
                sent += self.socket.send(view[sent:sent + 65536])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                continue
        return sent

    def fill(self, deadline):
        """Waits for more bytes; False at the end of the stream."""
        left = deadline - time.monotonic()
        unread = self.socket.pending() if self.tls else 0
        if left <= 0 or not (unread or select.select([self.socket], [], [], left)[0]):
            raise Timeout(f"nothing more came; so far {bytes(self.buffer[:200])!r}")
        try:
            self.socket.settimeout(left)
            data = self.socket.recv(1 << 18)
        except TimeoutError:  # less than a TLS record
            raise Timeout(f"nothing more came; so far {bytes(self.buffer[:200])!r}") from None
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.buffer += data
        self.ended = not data
        return bool(data)

    def exactly(self, count, deadline=None):
        deadline = deadline or time.monotonic() + DEADLINE_S
        while len(self.buffer) < count:
            if not self.fill(deadline):
                raise Ended(f"ended {count - len(self.buffer)} bytes early; have {bytes(self.buffer[:200])!r}")
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def until(self, marker):
        deadline = time.monotonic() + DEADLINE_S
        while marker not in self.buffer:
            if not self.fill(deadline):
                raise Ended(f"ended before {marker!r}; have {bytes(self.buffer[:200])!r}")
        return self.exactly(self.buffer.index(marker) + len(marker))

    def rest(self):
        """Everything up to the end of the stream."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.ended and self.fill(deadline):
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection the rude way: RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Response:
    """One HTTP response."""

    def __init__(self, wire, head_only=False):
        self.raw_head = wire.until(b"\r\n\r\n")
        lines = self.raw_head.decode("ascii").split("\r\n")
        self.status_line = lines[0]
        self.status = int(lines[0].split(" ")[1])
        self.fields = [tuple(line.split(": ", 1)) for line in lines[1:] if line]
        length = self.header("content-length")
        self.body = b"" if self.status == 101 or head_only else wire.exactly(int(length)) if length is not None else wire.rest()

    def header(self, name):
        values = [value for field, value in self.fields if field.lower() == name.lower()]
        return values[0] if values else None


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def request_head(path, method="GET", host="relay.test", headers=(), version="1.1"):
    lines = [f"{method} {path} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    return ("\r\n".join(lines + [f"{k}: {v}" for k, v in headers]) + "\r\n\r\n").encode()


def http(port, path, wire=None, **request):
    """One request and its response; the wire stays open as response.wire."""
    wire = wire or Wire(port)
    wire.send(request_head(path, **request))
    response = Response(wire, head_only=request.get("method") == "HEAD")
    response.wire = wire
    return response


def mask_bytes(payload, mask):
    if not payload:
        return payload
    repeated = (mask * (len(payload) // 4 + 1))[:len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def frame(payload=b"", opcode=BINARY, fin=True, rsv=0, mask=None, masked=True, length_form=None, claimed=None):
    """Bytes of one frame. length_form 7, 16 or 64 forces an encoding, claimed a length that is not the payload's."""
    length = len(payload) if claimed is None else claimed
    form = length_form or (7 if length < 126 else 16 if length < 65536 else 64)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mark = 0x80 if masked else 0
    if form == 7:
        head += bytes([mark | length])
    elif form == 16:
        head += bytes([mark | 126]) + struct.pack(">H", length)
    else:
        head += bytes([mark | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4) if mask is None else mask
    return head + mask + mask_bytes(payload, mask)


class Frame:
    """One frame as received."""

    def __init__(self, wire, deadline=None):
        head = wire.exactly(2, deadline)
        self.fin, self.rsv, self.opcode = bool(head[0] & 0x80), head[0] >> 4 & 7, head[0] & 15
        assert not head[1] & 0x80, "a server must not mask"
        length = head[1] & 0x7F
        if length >= 126:
            more = wire.exactly(2 if length == 126 else 8, deadline)
            head += more
            length = int.from_bytes(more, "big")
        self.head = head
        self.payload = wire.exactly(length, deadline)

    def close_code(self):
        return struct.unpack(">H", self.payload[:2])[0] if len(self.payload) >= 2 else 1005

    def close_reason(self):
        return self.payload[2:].decode("utf-8")


def close_payload(code, reason=""):
    return struct.pack(">H", code) + reason.encode()


class WebSocket:
    """An upgraded connection."""

    def __init__(self, port, path="/v1/relay", user=None, password=None, extensions=None, headers=(), ending=b"", **wire):
        self.wire = Wire(port, **wire)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
        if user is not None:
            fields.append(("Authorization", basic(user, password)))
        if extensions is not None:
            fields.append(("Sec-WebSocket-Extensions", extensions))
        self.wire.send(request_head(path, headers=fields + list(headers)) + ending)
        self.response = Response(self.wire)
        if self.response.status != 101:
            return
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert self.response.header("sec-websocket-accept") == accept, self.response.raw_head

    def send(self, payload, **options):
        self.wire.send(frame(payload, **options))

    def read_frame(self, deadline=None):
        return Frame(self.wire, deadline)

    def read_message(self):
        """The next data message: (payload, was it compressed). Pings are answered, pongs skipped; a close frame is an error here."""
        parts, compressed = [], False
        while True:
            got = self.read_frame()
            if got.opcode == PING:
                self.send(got.payload, opcode=PONG)
            elif got.opcode == CLOSE:
                raise Ended(f"closed with {got.close_code()} {got.close_reason()!r}")
            elif got.opcode != PONG:
                compressed = compressed or got.rsv == 4
                parts.append(got.payload)
                if got.fin:
                    return (inflate(b"".join(parts)) if compressed else b"".join(parts)), compressed

    def read_close(self):
        """Skips everything up to the close frame, echoes it and sees the end of the stream. Returns (code, reason)."""
        while True:
            got = self.read_frame()
            if got.opcode == CLOSE:
                break
        code, reason = got.close_code(), got.close_reason()
        try:
            self.send(got.payload, opcode=CLOSE)
        except OSError:
            pass
        rest = self.wire.rest()
        assert rest == b"", f"bytes after the close frame: {rest[:100]!r}"
        self.wire.close()
        return code, reason

    def close(self, code=1000, reason=""):
        """The whole polite close; returns (code, reason) of the answer."""
        self.send(close_payload(code, reason), opcode=CLOSE)
        while True:
            got = self.read_frame()
            if got.opcode == CLOSE:
                break
        assert self.wire.rest() == b""
        self.wire.close()
        return got.close_code(), got.close_reason()


def deflate(data):
    """A message's compressed form (RFC 7692 7.2.1), without context."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\0\0\xff\xff")
    return data[:-4]


def inflate(data):
    decompressor = zlib.decompressobj(-15)
    return decompressor.decompress(data + b"\0\0\xff\xff")

"""An independent Backbone client (protocols/backbone.md), with the cryptography package: nothing of it shares code with the relay."""
import json
import socket
import ssl
import struct
import time
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from wsclient import DEADLINE_S, Timeout

OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
HEARTBEAT, CONFIG, UNDELIVERED, CLIENT_QUERY, SERVER_QUERY, CLIENT_STATUS, SERVER_STATE = range(0x10, 0x17)
STOP = 0x1F


def pss(salt=222):
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)


def new_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


def encrypt(public, plain, chunk=190):
    return b"".join(public.encrypt(plain[i:i + chunk], OAEP) for i in range(0, len(plain), chunk))


def framed(body):
    return struct.pack(">H", len(body)) + body


def c2c(recipient, payload):
    return b"\0" + recipient.bytes + payload


def c2s(kind, payload=b"", at=None):
    return bytes([kind]) + struct.pack(">I", int(time.time()) if at is None else at) + payload


class Closed(Exception):
    """The relay has closed the connection."""


class Client:
    """One connection. Its methods name what goes over the wire."""

    def __init__(self, port, key, identity, address="127.0.0.1", receive_buffer=None, tls=None, before_tls=b""):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_S)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((address, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(before_tls)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.key = key
        self.id = identity
        self.server = None
        self.challenge_data = None
        self.config = None
        self.wire = self  # as harness closes it

    def close(self):
        self.socket.close()

    def reset(self):
        """Gone without a word, as a client whose machine fails."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except socket.timeout as error:
                raise Timeout(f"{len(data)} of {count} bytes") from error
            except (ConnectionResetError, ssl.SSLError) as error:
                raise Closed("reset") from error
            if not piece:
                raise Closed(data)
            data += piece
        return data

    def read_body(self):
        return self.read(struct.unpack(">H", self.read(2))[0])

    def read_plain(self):
        """The next message, decrypted; empty frames (probes) are skipped, as Backbone's clients do."""
        while True:
            body = self.read_body()
            if body:
                return b"".join(self.key.decrypt(body[i:i + 256], OAEP) for i in range(0, len(body), 256))

    def read_c2s(self):
        plain = self.read_plain()
        return plain[0], plain[5:]

    def read_c2c(self):
        plain = self.read_plain()
        assert plain[:17] == b"\0" + self.id.bytes, plain[:40]
        return plain[17:]

    def read_stop(self):
        """STOP and then the end: its reason."""
        kind, reason = self.read_c2s()
        assert kind == STOP, (kind, reason)
        self.read_end()
        return reason.decode()

    def read_end(self):
        try:
            more = self.read(1)
        except Closed:
            return
        raise AssertionError(f"the relay goes on: {more}")

    def read_challenge(self):
        body = self.read_body()
        length = struct.unpack(">H", body[:2])[0]
        self.server = serialization.load_pem_public_key(body[2:2 + length])
        self.challenge_data = body[2 + length:]
        return self

    def response(self, salt=222, data=None):
        signature = self.key.sign(self.challenge_data if data is None else data, pss(salt), hashes.SHA256())
        return self.id.bytes + signature

    def send(self, data):
        self.socket.sendall(data)

    def sealed(self, plain, chunk=190):
        return framed(encrypt(self.server, plain, chunk))

    def say(self, plain, chunk=190):
        self.send(self.sealed(plain, chunk))

    def read_config(self):
        kind, payload = self.read_c2s()
        assert kind == CONFIG, (kind, payload)
        self.config = json.loads(payload)
        return self

    def login(self):
        self.read_challenge()
        self.say(self.response())
        return self.read_config()

    def ask(self):
        """Shows that it knows the relay's own types; only then it is told of them."""
        self.say(c2s(SERVER_QUERY))
        kind, _ = self.read_c2s()
        assert kind == SERVER_STATE, kind
        return self


def new_id():
    return uuid.uuid4()

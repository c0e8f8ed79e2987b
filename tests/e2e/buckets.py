"""Buckets v1 as an independent client speaks it (protocols/buckets.md): netstrings, commands, events; Device is one session."""
import nacl.signing

from wsclient import PING, PONG, Frame, WebSocket, inflate

SIGNATURE_REFUSED = bytes.fromhex("33323a45373a47656e657269632c31373a496e76616c6964207369676e61747572652c2c")
NO_MORE_CHANCES = b"70:E7:Generic,55:Authentication cannot proceed. Reconnect and try again.,,"
CONNECT_FORBIDDEN = bytes.fromhex("33353a45373a47656e657269632c32303a436f6e6e656374696f6e20666f7262696464656e2c2c")
SEND_FORBIDDEN = bytes.fromhex("33323a45373a47656e657269632c31373a53656e64696e6720666f7262696464656e2c2c")
CONNECT_SELF = bytes.fromhex("33363a45373a47656e657269632c32313a43616e277420636f6e6e65637420746f2073656c662c2c")
NO_SUCH_CONNECTION = bytes.fromhex("33333a45373a47656e657269632c31383a4e6f207375636820636f6e6e656374696f6e2c2c")
AUTHENTICATED = b"1:+,"
DATA_MAX = 999_955  # bytes of payload: body 1,000,000


def netstring(data):
    return str(len(data)).encode() + b":" + data + b","


def message(kind, *arguments):
    return netstring(kind.encode() + b"".join(netstring(a) for a in arguments))


def parse(data):
    """(kind, arguments...) of one whole message; refuses anything not canonical."""
    digits, colon, rest = data.partition(b":")
    assert colon and str(int(digits)).encode() == digits and len(rest) == int(digits) + 1 and rest.endswith(b","), data[:120]
    body, found = rest[1:-1], [rest[:1].decode()]
    while body:
        digits, _, rest = body.partition(b":")
        size = int(digits)
        assert rest[size:size + 1] == b",", data[:120]
        found.append(rest[:size])
        body = rest[size + 1:]
    return tuple(found)


class Key:
    """An ed25519 key pair."""

    def __init__(self, seed=None):
        self.secret = nacl.signing.SigningKey(seed) if seed else nacl.signing.SigningKey.generate()
        self.public = self.secret.verify_key.encode()

    def sign(self, data):
        return self.secret.sign(data).signature


def iam(signature, public):
    return message("i", signature, public)


def connect(peer):
    return message("c", peer)


def disconnect(peer):
    return message("x", peer)


def send_data(peer, data):
    return message("d", peer, data)


def who(challenge):
    return message("?", challenge)


def connected(peer):
    return message("c", peer)


def disconnected(peer):
    return message("x", peer)


def data_event(sender, data):
    return message("d", sender, data)


def entered(peer):
    return message(">", peer)


def exited(peer):
    return message("^", peer)


class Device(WebSocket):
    """A session of the relay. Counts bytes as the relay's statistics should."""

    def __init__(self, port, account, key=None, **options):
        super().__init__(port, user=account[0], password=account[1], **options)
        assert self.response.status == 101, self.response.raw_head
        self.key = key or Key()
        self.pk = self.key.public
        self.sent_bytes = self.recv_bytes = 0
        first = self.event()
        parsed = parse(first)
        assert parsed[0] == "?" and len(parsed[1]) == 32, first
        self.challenge = parsed[1]

    def command(self, data, **options):
        """One message of one or more commands."""
        self.sent_bytes += len(data)
        self.send(data, **options)

    def event(self):
        """The next event's bytes; each comes whole in one frame."""
        while True:
            got = self.read_frame()
            if got.opcode == PING:
                self.send(got.payload, opcode=PONG)
                continue
            assert got.opcode == 2 and got.fin, f"opcode {got.opcode}: {got.payload[:80]!r}"
            data = inflate(got.payload) if got.rsv == 4 else got.payload
            self.recv_bytes += len(data)
            return data

    def expect(self, *events):
        for wanted in events:
            got = self.event()
            assert got == wanted, f"wanted {wanted[:120]!r}, got {got[:120]!r}"

    def expect_any_order(self, *events):
        got = sorted(self.event() for _ in events)
        assert got == sorted(events), f"wanted {sorted(events)!r}, got {got!r}"

    def authenticate(self):
        self.command(iam(self.key.sign(self.challenge), self.pk))
        self.expect(AUTHENTICATED)
        return self

    def quiet(self):
        """Nothing is under way to this session: a pong is the next thing that comes."""
        self.send(b"quiet?", opcode=PING)
        got = Frame(self.wire)
        assert (got.opcode, got.payload) == (PONG, b"quiet?"), f"opcode {got.opcode}: {got.payload[:120]!r}"


def pair(first, second):
    """Connects two authenticated devices."""
    first.command(connect(second.pk))
    second.command(connect(first.pk))
    first.expect(connected(second.pk))
    second.expect(connected(first.pk))

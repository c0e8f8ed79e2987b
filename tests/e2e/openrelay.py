"""OpenRelay as an independent client speaks it (protocols/openrelay.md): JSON texts, both dialects; Device is one connection."""
import json
import os
import time
import uuid

from harness import RelayTest
from wsclient import CLOSE, PING, PONG, TEXT, Ended, Timeout, WebSocket


def dump(kind, payload=None):
    """Compact, as the original's serde writes it."""
    envelope = {"type": kind} if payload is None else {"type": kind, "payload": payload}
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)


def error(text, code):
    return dump("Error", {"message": text, "code": code})


BAD_FORMAT = error("Invalid message format", 400)
NOT_REGISTERED = error("Must register with hardware ID first", 403)
MISMATCH = error("Hardware ID mismatch", 403)
NOT_CONNECTED = error("Recipient not connected", 404)
REPLACED = error("Replaced by a newer connection", 409)
QUEUE_FULL = error("Recipient queue full", 507)
NO_BANDWIDTH = error("Server has reached monthly bandwidth limit. Please try again next month.", 509)
PONG_TEXT = dump("Pong")


def fresh_id():
    return os.urandom(32).hex()


def ack(message_id):
    return dump("Ack", {"message_id": message_id})


def send_payload(sender, recipient, data="QUJD", ttl=0, message_id=None, **changes):
    payload = {"recipient_id": recipient, "sender_id": sender, "encrypted_data": data, "message_id": message_id or str(uuid.uuid4()),
               "timestamp": 1700000000, "ttl": ttl, "signature": None, "hardware_id": sender, "content_type": "Text",
               "size_bytes": len(data)}
    payload.update(changes)
    return payload


class Device:
    """One connection; texts in and out are compared as they are on the wire."""

    def __init__(self, port, hardware_id=None, path="/relay", **options):
        self.ws = WebSocket(port, path=path, **options)
        assert self.ws.response.status == 101, self.ws.response.raw_head
        self.wire = self.ws.wire
        self.pings = 0
        self.id = hardware_id or fresh_id()

    def say(self, kind, payload=None):
        self.text(dump(kind, payload))

    def text(self, text):
        self.ws.send(text if isinstance(text, bytes) else text.encode(), opcode=TEXT)

    def read(self, deadline=None):
        """The next text; pings are answered."""
        while True:
            got = self.ws.read_frame(deadline)
            if got.opcode == PING:
                self.pings += 1
                self.ws.send(got.payload, opcode=PONG)
            elif got.opcode == CLOSE:
                raise Ended(f"closed with {got.close_code()} {got.close_reason()!r}")
            else:
                assert got.opcode == TEXT and got.fin, (got.opcode, got.fin)
                return got.payload.decode()

    def expect(self, *texts):
        for text in texts:
            got = self.read()
            assert got == text, f"got      {got[:2000]}\nexpected {text[:2000]}"

    def quiet(self):
        """Nothing more has come: a Ping is answered at once."""
        self.say("Ping")
        self.expect(PONG_TEXT)

    def silent(self, seconds):
        try:
            got = self.read(time.monotonic() + seconds)
        except Timeout:
            return
        raise AssertionError(f"unexpected {got}")

    def register(self, hardware_id=None):
        self.id = hardware_id or self.id
        self.say("Register", {"hardware_id": self.id})
        self.expect(dump("RegisterResponse", {"hardware_id": self.id, "device_id": self.id}))
        return self

    def send(self, recipient, data="QUJD", ttl=0, **changes):
        """Sends; returns (what the recipient gets, the Ack)."""
        payload = send_payload(self.id, recipient, data, ttl, **changes)
        self.say("Send", payload)
        return dump("Receive", payload), ack(payload["message_id"])


class OpenRelayTest(RelayTest):
    """Tests against `shardrelay openrelay`."""

    OPTIONS = ("--openrelay", "--openrelay-requests", "1000000", "--openrelay-points", "1000000")

    def anonymous(self, **options):
        device = Device(self.server.port, **options)
        self.sockets.append(device)
        return device

    def registered(self, hardware_id=None, **options):
        return self.anonymous(hardware_id=hardware_id, **options).register()

    def both(self):
        return self.registered(), self.registered()

    def wait_gone(self, peer, target):
        for _ in range(200):
            payload = send_payload(peer.id, target)
            peer.say("Send", payload)
            if peer.read() == NOT_CONNECTED:
                return
        self.fail("still connected")

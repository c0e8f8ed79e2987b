"""OpenRelay: registering, sending to devices that are there, every type, code and text."""
import json
import uuid

import wsclient
from openrelay import (BAD_FORMAT, MISMATCH, NOT_CONNECTED, NOT_REGISTERED, PONG_TEXT, REPLACED, OpenRelayTest, ack, dump, fresh_id,
                       send_payload)
from wsclient import BINARY, CLOSE, PING, PONG, TEXT, close_payload


class HttpTest(OpenRelayTest):
    def test_health(self):
        """Any method and anything below: 200 OK, two bytes."""
        for path in ("/health", "/health/x/y", "/health?x=1"):
            response = self.get(path)
            self.assertEqual((response.status, response.body), (200, b"OK"))
            self.assertEqual(response.header("content-type"), "text/plain; charset=utf-8")
        self.assertEqual(self.get("/health", method="POST").body, b"OK")
        self.assertEqual(self.get("/healthy").status, 404)

    def test_bandwidth_status(self):
        """Two decimals, no newline."""
        response = self.get("/bandwidth-status")
        self.assertEqual((response.status, response.body), (200, b"Bandwidth Usage: 0.00 TB / 10.00 TB (0.00%)"))

    def test_other_paths_and_methods(self):
        """/Relay is 404, POST /relay is 405 with the original's text."""
        self.assertEqual(self.get("/Relay").status, 404)
        response = self.get("/relay", method="POST")
        self.assertEqual((response.status, response.body), (405, b"HTTP method not allowed"))

    def test_upgrade_below_and_with_query(self):
        """/relay/abc?x=1 upgrades; header names and order as the original; no extension is negotiated."""
        device = self.anonymous(path="/relay/abc?x=1", extensions="permessage-deflate")
        names = [line.split(b":")[0] for line in device.ws.response.raw_head.split(b"\r\n")[1:-2]]
        self.assertEqual(names, [b"connection", b"upgrade", b"sec-websocket-accept", b"date"])
        device.quiet()

    def test_refusals(self):
        """Each missing header has its text."""
        sound = {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Key": "abc", "Sec-WebSocket-Version": "13"}
        for name, value, text in (("Connection", "close", b"Connection header did not include 'upgrade'"),
                                  ("Sec-WebSocket-Version", "12", b'Invalid request header "sec-websocket-version"'),
                                  ("Sec-WebSocket-Key", None, b'Invalid request header "sec-websocket-key"'),
                                  ("Upgrade", "h2c", b'Invalid request header "upgrade"')):
            fields = {**sound, name: value}
            response = self.get("/relay", headers=[(k, v) for k, v in fields.items() if v is not None])
            self.assertEqual((response.status, response.body), (400, text))
        self.assertEqual(self.get("/relay", headers=list(sound.items())).status, 101)

    def test_first_frame_with_the_request(self):
        """A Ping in the same segment as the request is answered."""
        device = self.anonymous(ending=wsclient.frame(dump("Ping").encode(), opcode=TEXT))
        device.expect(PONG_TEXT)


class FrameTest(OpenRelayTest):
    def test_ping_close_binary(self):
        """WebSocket ping is answered, binary ignored, close echoed with its code."""
        device = self.registered()
        device.ws.send(b"abc", opcode=PING)
        got = device.ws.read_frame()
        self.assertEqual((got.opcode, got.payload), (PONG, b"abc"))
        device.ws.send(b"{}", opcode=BINARY)
        device.ws.send(b"", opcode=PONG)
        device.quiet()
        device.ws.send(close_payload(1000, "bye"), opcode=CLOSE)
        self.assertEqual(device.ws.read_frame().close_code(), 1000)
        self.assertEqual(device.wire.rest(), b"")

    def test_fragments(self):
        """A text in fragments, with a ping between them."""
        device = self.registered()
        text = dump("Ping").encode()
        device.ws.send(text[:5], opcode=TEXT, fin=False)
        device.ws.send(b"", opcode=PING)
        self.assertEqual(device.ws.read_frame().opcode, PONG)
        device.ws.send(text[5:], opcode=0)
        device.expect(PONG_TEXT)

    def test_invalid_text(self):
        """Invalid UTF-8 ends the connection."""
        device = self.registered()
        device.ws.send(b"\xff", opcode=TEXT)
        self.assertEqual(device.ws.read_close()[0], 1007)


class EnvelopeTest(OpenRelayTest):
    def test_broken_texts(self):
        """Every broken text gets the same answer and keeps the connection."""
        device = self.anonymous()
        for text in ("", " ", "{}", "null", "[]", "x", '{"type":"Ping","type":"Ping"}', '{"type":"Ping","payload":{}}', '["Ping"]',
                     '{"type":"Register","payload":{"hardware_id":1}}', '{"type":"Register","payload":{"hardware_id":"\\ud800"}}',
                     dump("Ping") + "x", "\ufeff" + dump("Ping"), '{"type":"Ping","x":' + "[" * 128 + "]" * 128 + "}"):
            device.text(text)
            device.expect(BAD_FORMAT)
        device.quiet()

    def test_lenient_forms(self):
        """Arrays, any order, unknown keys."""
        device = self.anonymous()
        for text in ('["Ping",null]', '{"payload":null,"type":"Ping"}', ' {"x":[1],"type":"Ping"} '):
            device.text(text)
            device.expect(PONG_TEXT)
        device.text(json.dumps(["Register", {"hardware_id": device.id, "more": {}}]))
        device.expect(dump("RegisterResponse", {"hardware_id": device.id, "device_id": device.id}))

    def test_ignored_types(self):
        """Ack, Receive, RegisterResponse, Pong and Error from a client: silence."""
        device = self.registered()
        device.say("Ack", {"message_id": "x"})
        device.say("Receive", send_payload("a", "b"))
        device.say("RegisterResponse", {"hardware_id": "x"})
        device.say("Pong")
        device.say("Error", {"message": "m", "code": None})
        device.quiet()

    def test_values_survive(self):
        """Texts of every kind arrive as they were; message_id is written in its one form."""
        one, two = self.both()
        data = 'quote " back \\ / \u00e9 \U0001f600 \x00\x1f\x7f\n\t end'
        payload = send_payload(one.id, two.id, data, message_id=str(uuid.uuid4()), size_bytes=1, timestamp=2**64 - 1, signature=data)
        sent = {**payload, "message_id": "urn:uuid:" + payload["message_id"].upper()}
        one.text(json.dumps({"payload": list(sent.values()), "type": "Send"}))
        two.expect(dump("Receive", payload))
        one.expect(ack(payload["message_id"]))

    def test_strange_ids(self):
        """Ids are any text: 100,000 characters, NUL, unicode; an empty one registers nothing."""
        peer = self.registered()
        for hardware_id in ("x" * 100_000, "\x00", "\U0001f600", '"\\', " "):
            device = self.registered(hardware_id)
            receive, done = device.send(peer.id)
            peer.expect(receive)
            device.expect(done)
            receive, done = peer.send(device.id)
            device.expect(receive)
            peer.expect(done)
        empty = self.anonymous()
        empty.say("Register", {"hardware_id": ""})
        empty.expect(dump("RegisterResponse", {"hardware_id": "", "device_id": ""}))
        empty.say("Send", send_payload("", peer.id))
        empty.expect(NOT_REGISTERED)


class SendTest(OpenRelayTest):
    def test_online(self):
        """Receive to the recipient, Ack to the sender; to oneself the Receive comes first."""
        one, two = self.both()
        receive, done = one.send(two.id, "x" * 3000)
        two.expect(receive)
        one.expect(done)
        receive, done = one.send(one.id)
        one.expect(receive, done)

    def test_refusals(self):
        """Unregistered, another's id, nobody there."""
        device = self.anonymous()
        device.say("Send", send_payload(device.id, fresh_id()))
        device.expect(NOT_REGISTERED)
        device.register()
        device.say("Send", send_payload(fresh_id(), fresh_id()))
        device.expect(MISMATCH)
        device.send(fresh_id())
        device.expect(NOT_CONNECTED)

    def test_sender_id_is_the_registered_one(self):
        """A sender_id that differs is set right."""
        one, two = self.both()
        payload = send_payload(one.id, two.id)
        one.say("Send", {**payload, "sender_id": "somebody"})
        two.expect(dump("Receive", payload))
        one.expect(ack(payload["message_id"]))

    def test_order(self):
        """Pipelined Sends arrive and are acknowledged in order."""
        one, two = self.both()
        sent = [one.send(two.id, str(i)) for i in range(200)]
        two.expect(*(receive for receive, _ in sent))
        one.expect(*(done for _, done in sent))

    def test_many_recipients(self):
        """Each Send reaches whom it names, whomever the last one went to; one that leaves is gone, one that comes back is there."""
        common = fresh_id()
        sender, ids = self.registered(), [common, common[:-1] + "g", common + "0", common[:-1], "\u00e9"]
        devices = [self.registered(hardware_id) for hardware_id in ids]
        for index in (0, 0, 1, 0, 2, 2, 3, 2, 4, 4, 0):
            receive, done = sender.send(ids[index], str(index))
            devices[index].expect(receive)
            sender.expect(done)
        devices[0].ws.close()
        self.wait_gone(sender, ids[0])
        again = self.registered(ids[0])
        receive, done = sender.send(ids[0])
        again.expect(receive)
        sender.expect(done)

    def test_one_send_in_many_forms(self):
        """However a client writes a Send, the recipient reads the same."""
        one, two = self.both()
        payload = send_payload(one.id, two.id, "QUJD+/==", ttl=7, signature="s")
        turned = dict(reversed(payload.items()))
        upper = {**payload, "message_id": payload["message_id"].upper()}
        forms = [dump("Send", payload), json.dumps({"type": "Send", "payload": payload}), dump("Send", turned), dump("Send", upper),
                 dump("Send", {**payload, "sender_id": two.id}), json.dumps({"payload": payload, "type": "Send"}, indent=1),
                 dump("Send", payload).replace("+", "\\u002B"), dump("Send", {**payload, "more": [1, {"ttl": 2}]})]
        for form in forms:
            one.text(form)
            two.expect(dump("Receive", payload))
            one.expect(ack(payload["message_id"]))

    def test_large(self):
        """Two MiB, as one frame and in fragments of 16 KiB."""
        one, two = self.both()
        payload = send_payload(one.id, two.id, "A" * (2 << 20))
        text = dump("Send", payload).encode()
        one.ws.send(text, opcode=TEXT)
        two.expect(dump("Receive", payload))
        one.expect(ack(payload["message_id"]))
        for at in range(0, len(text), 16384):
            one.ws.send(text[at:at + 16384], opcode=TEXT if at == 0 else 0, fin=at + 16384 >= len(text))
        two.expect(dump("Receive", payload))
        one.expect(ack(payload["message_id"]))

    def test_auth(self):
        """All four are forwarded with the sender in both dialects' keys; the target stands under either key."""
        one, two = self.both()
        for kind, rest in (("AuthRequest", {"public_key": "p", "challenge": "c"}),
                           ("AuthResponse", {"challenge_response": "r", "challenge": "c"}),
                           ("AuthVerify", {"challenge_response": "r"}), ("AuthSuccess", {"trusted": True})):
            for target in ("recipient_id", "device_id"):
                one.say(kind, {target: two.id, **rest, "hardware_id": one.id})
                two.expect(dump(kind, {"recipient_id": one.id, **rest, "hardware_id": one.id, "device_id": one.id}))
            one.say(kind, {"recipient_id": fresh_id(), **rest, "hardware_id": one.id})
            one.expect(NOT_CONNECTED)
            one.say(kind, {"recipient_id": two.id, **rest, "hardware_id": two.id})
            one.expect(MISMATCH)
        one.quiet()
        two.quiet()

    def test_key_rotation(self):
        """Forwarded with sender_id for the older dialect; no Ack."""
        one, two = self.both()
        one.say("KeyRotationUpdate", {"hardware_id": one.id, "recipient_id": two.id, "encrypted_key_package": "k", "key_id": 7})
        two.expect(dump("KeyRotationUpdate", {"hardware_id": one.id, "recipient_id": two.id, "encrypted_key_package": "k", "key_id": 7,
                                              "sender_id": one.id}))
        one.say("KeyRotationAck", {"sender_id": one.id, "recipient_id": two.id, "key_id": 7, "success": False, "hardware_id": one.id})
        two.expect(dump("KeyRotationAck", {"hardware_id": one.id, "recipient_id": two.id, "key_id": 7, "success": False,
                                           "sender_id": one.id}))
        one.say("KeyRotationAck", {"recipient_id": two.id, "key_id": 7, "success": False, "hardware_id": two.id})
        one.expect(MISMATCH)
        one.quiet()
        two.quiet()


class IdentityTest(OpenRelayTest):
    def reach(self, sender, receiver):
        receive, done = sender.send(receiver.id)
        receiver.expect(receive)
        sender.expect(done)

    def test_takeover(self):
        """The newest connection has the id; the older is told and closed, and its end changes nothing."""
        peer = self.registered()
        older = self.registered()
        for _ in range(8):
            newer = self.registered(older.id)
            older.expect(REPLACED)
            self.assertEqual(older.ws.read_close()[0], 4000)
            self.reach(peer, newer)
            older = newer
        self.reach(older, peer)

    def test_register_again_moves(self):
        """Another id on the same connection: the old one is gone, the new one works, both ways and repeatedly."""
        peer, device = self.both()
        for _ in range(5):
            old = device.id
            device.register(fresh_id())
            peer.send(old)
            peer.expect(NOT_CONNECTED)
            self.reach(peer, device)
            self.reach(device, peer)
            device.say("Send", send_payload(old, peer.id))
            device.expect(MISMATCH)

    def test_register_the_same_again(self):
        """The same id on the same connection: answered, nothing else."""
        device = self.registered()
        device.register().register()
        self.reach(device, device)

    def test_pipelined_registers(self):
        """Registers, pings and Sends without waiting: answers in order."""
        peer, device = self.both()
        ids = [fresh_id() for _ in range(10)]
        expected = []
        for each in ids:
            device.say("Register", {"hardware_id": each})
            payload = send_payload(each, peer.id)
            device.say("Send", payload)
            device.say("Ping")
            expected += [dump("RegisterResponse", {"hardware_id": each, "device_id": each}), ack(payload["message_id"]), PONG_TEXT]
        device.expect(*expected)

    def test_status(self):
        """Offline takes the route but not the voice; Register brings it back; Online and Away change nothing."""
        peer, device = self.both()
        device.say("Status", {"hardware_id": device.id, "status": "Away"})
        device.say("Status", {"hardware_id": device.id, "status": "Offline"})
        device.say("Status", {"hardware_id": device.id, "status": "Online"})
        device.say("Status", {"device_id": device.id, "hardware_id": fresh_id(), "status": "Online"})
        device.expect(MISMATCH)
        peer.send(device.id)
        peer.expect(NOT_CONNECTED)
        receive, done = device.send(peer.id)
        peer.expect(receive)
        device.expect(done)
        device.register()
        self.reach(peer, device)

    def test_gone_at_once(self):
        """After a close or a reset the id is not connected."""
        peer = self.registered()
        for end in ("close", "reset"):
            device = self.registered()
            if end == "close":
                device.ws.close()
            else:
                device.wire.reset()
            self.wait_gone(peer, device.id)


class TimeoutTest(OpenRelayTest):
    OPTIONS = ("--openrelay", "--openrelay-timeout", "2s")

    def test_silent_client_is_pinged_and_gone(self):
        """Pinged after half the time; one that answers stays, one that does not is closed and unreachable."""
        peer, device = self.both()
        deadline = wsclient.time.monotonic() + 4
        silent = self.registered()
        while wsclient.time.monotonic() < deadline:
            peer.silent(0.3)
        self.assertGreaterEqual(peer.pings, 2)
        self.assertEqual(silent.ws.read_frame().opcode, PING)
        got = silent.ws.read_frame()
        self.assertEqual((got.opcode, got.close_code()), (CLOSE, 4004))
        peer.send(silent.id)
        peer.expect(NOT_CONNECTED)
        del device

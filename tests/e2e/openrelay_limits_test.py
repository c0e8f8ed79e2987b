"""OpenRelay's limits per id and month, logins, the command openrelay with its environment, and the older dialect's client."""
import os
import re
import subprocess
import uuid

import wsclient
from harness import Server, wait_for
from openrelay import (NO_BANDWIDTH, NOT_CONNECTED, PONG_TEXT, Device, OpenRelayTest, ack, dump, error, fresh_id, send_payload)
from wsclient import TEXT

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")
REQUESTS = error("Request limit exceeded (60/60). Try again in a minute.", 429)


class RateTest(OpenRelayTest):
    OPTIONS = ("--openrelay",)

    def test_requests(self):
        """60 Sends a minute and id; reconnecting and other connections do not help; other types are free."""
        sender, receiver = self.both()
        for number in range(60):
            receive, done = sender.send(receiver.id)
            receiver.expect(receive)
            sender.expect(done)
            if number == 30:
                sender.ws.close()
                sender = self.registered(sender.id)
        sender.send(receiver.id)
        sender.expect(REQUESTS)
        for end in ("close", "reset", "takeover", "move"):
            if end == "close":
                sender.ws.close()
            elif end == "reset":
                sender.wire.reset()
            elif end == "move":
                old = sender.id
                sender.register(fresh_id())
                sender.send(receiver.id)
                receiver.read()
                sender.read()
                sender.id = old
            sender = self.registered(sender.id)
            sender.send(receiver.id)
            sender.expect(REQUESTS)
        sender.say("AuthSuccess", {"recipient_id": receiver.id, "trusted": True, "hardware_id": sender.id})
        self.assertIn("AuthSuccess", receiver.read())
        receive, done = receiver.send(sender.id)
        sender.expect(receive)
        receiver.expect(done)

    def test_points(self):
        """A point per KiB: 512; a refusal costs nothing; a false size_bytes is charged at the real size."""
        sender, receiver = self.both()
        quota = "Quota exceeded for message size {}KB. {}/512 points remaining. Try again in a minute."
        sender.send(receiver.id, size_bytes=512 * 1024 + 1)
        sender.expect(error(quota.format(513, 512), 429))
        sender.send(receiver.id, "A" * (513 * 1024), size_bytes=1)
        sender.expect(error(quota.format(513, 512), 429))
        receive, done = sender.send(receiver.id, size_bytes=511 * 1024)
        receiver.expect(receive)
        sender.expect(done)
        sender.send(receiver.id, "A" * 1025)
        sender.expect(error(quota.format(2, 1), 429))
        receive, done = sender.send(receiver.id, "")
        receiver.expect(receive)
        sender.expect(done)
        sender.send(receiver.id, size_bytes=2**64 - 1)
        sender.expect(error(quota.format(4294967295, 0), 429))


class MonthTest(OpenRelayTest):
    OPTIONS = ("--openrelay", "--openrelay-stop-bytes", "2000000", "--openrelay-month-bytes", "4000000")

    def test_stop(self):
        """The Send that crosses the limit is refused, and from then on everything but HTTP; also on the other shards, soon."""
        sender, receiver = self.both()
        for _ in range(3):
            receive, done = sender.send(receiver.id, size_bytes=100)
            receiver.expect(receive)
            sender.expect(done)
        sender.send(receiver.id, size_bytes=500_000)
        receiver.read()
        sender.read()
        for _ in range(3):
            sender.say("Send", send_payload(sender.id, receiver.id, "A" * 500_000, ttl=300))
            if sender.read() == NO_BANDWIDTH:
                break
        for each in (self.anonymous(), sender, self.anonymous(), self.anonymous()):
            self.refused(each)
        self.assertEqual(self.get("/health").status, 200)
        body = self.get("/bandwidth-status").body.decode()
        self.assertRegex(body, r"^Bandwidth Usage: 0\.00 TB / 0\.00 TB \((5|6)\d\.\d\d%\)$")

    def refused(self, device):
        for _ in range(500):
            device.say("Ping")
            got = device.read()
            if got == NO_BANDWIDTH:
                return
            self.assertEqual(got, PONG_TEXT)
            wsclient.select.select([], [], [], 0.02)
        self.fail("not refused")


class LoginTest(OpenRelayTest):
    OPTIONS = ("--openrelay", "--openrelay-auth", "basic")

    def test_accounts_are_apart(self):
        """Without a login 403; the same id in two accounts is two devices, and no one meets the other."""
        self.assertEqual(wsclient.WebSocket(self.server.port, path="/relay").response.status, 403)
        first, second = self.server.account(), self.server.account()
        one = self.registered("same", user=first[0], password=first[1])
        two = self.registered("same", user=second[0], password=second[1])
        mate = self.registered("mate", user=first[0], password=first[1])
        receive, done = mate.send("same")
        one.expect(receive)
        mate.expect(done)
        two.send("mate")
        two.expect(NOT_CONNECTED)
        two.quiet()
        one.quiet()

    def test_buckets_beside_it(self):
        """Buckets devices of the account see nothing of OpenRelay's presence."""
        account = self.server.account()
        bucket = self.device(account)
        self.registered(user=account[0], password=account[1])
        bucket.quiet()


class CommandTest(OpenRelayTest):
    @classmethod
    def setUpClass(cls):
        cls.server = None

    @classmethod
    def tearDownClass(cls):
        pass

    def test_replaces_openrelay_server(self):
        """The command openrelay reads PORT, BIND_ADDR and LOG_LEVEL, imports bandwidth_data.txt once, and has no Buckets."""
        server = Server(database=False)
        server.env.update(PORT=str(server.port), BIND_ADDR="127.0.0.1", LOG_LEVEL="trace")
        with open(os.path.join(server.directory, "bandwidth_data.txt"), "w", encoding="ascii") as file:
            file.write(wsclient.time.strftime("1234567890123,%m,%Y", wsclient.time.gmtime()).replace(",0", ","))
        try:
            for expected in ("1.23", "1.23"):
                self.launch(server)
                device = Device(server.port).register()
                device.quiet()
                self.assertEqual(wsclient.WebSocket(server.port, user="nobody", password="nobody").response.status, 404)
                response = wsclient.http(server.port, "/bandwidth-status")
                self.assertEqual(response.body.decode(), f"Bandwidth Usage: {expected} TB / 10.00 TB (12.35%)")
                response.wire.close()
                device.ws.close()
                server.signal()
                self.assertEqual(server.wait(), 0, server.stderr())
            self.assertFalse(re.search(device.id[:16], server.stderr()), "ids are not logged")
        finally:
            server.stop()

    def test_recipe(self):
        """The README's recipe, run as written but for the port, which must be free here."""
        with open(README, encoding="utf-8") as file:
            section = file.read().split("## Replace OpenRelay-Server")[1].split("\n## ")[0]
        lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
        self.assertEqual(len(lines), 3)
        server = Server(database=False)
        script = f"bin={os.path.dirname(server.program)}\n" + "\n".join(lines).replace("3000", str(server.port)) + "\nkill $!; wait $!"
        try:
            done = subprocess.run(["bash", "-ec", script], env=server.env, cwd=server.directory, capture_output=True, text=True, timeout=60,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, r"OKBandwidth Usage: 0\.00 TB / 10\.00 TB \(0\.00%\)")
        finally:
            server.stop()

    def launch(self, server):
        with open(os.path.join(server.directory, "stderr"), "ab") as stderr:
            server.process = subprocess.Popen([server.program, "openrelay"], env=server.env, cwd=server.directory, stdin=subprocess.DEVNULL,
                                              stdout=stderr, stderr=stderr)
        wait_for("the relay to listen", server.listens)


class OlderClientTest(OpenRelayTest):
    """What the published C# client does (protocols/openrelay.md 9): its keys, its habits, its order."""

    OPTIONS = ("--openrelay",)

    def older_send(self, device, peer, data):
        payload = {"recipient_id": peer, "sender_id": device.id, "encrypted_data": data, "message_id": str(uuid.uuid4()),
                   "timestamp": 1700000000, "ttl": 300, "hardware_id": device.id, "content_type": "Text", "size_bytes": len(data)}
        text = dump("Send", payload).encode()
        for at in range(0, len(text), 16384):
            device.ws.send(text[at:at + 16384], opcode=TEXT if at == 0 else 0, fin=at + 16384 >= len(text))
        received = {**payload, "signature": None, "hardware_id": device.id}
        order = ["recipient_id", "sender_id", "encrypted_data", "message_id", "timestamp", "ttl", "signature", "hardware_id"]
        order += ["content_type", "size_bytes"]
        return dump("Receive", {key: received[key] for key in order}), ack(payload["message_id"]), payload["message_id"]

    def test_session(self):
        """Register, pair by the four Auth messages, talk, rotate keys, lose the line, catch up."""
        laptop, phone = self.both()
        for kind, rest in (("AuthRequest", {"public_key": "p", "challenge": "c"}),
                           ("AuthResponse", {"challenge_response": "r", "challenge": "d"}),
                           ("AuthVerify", {"challenge_response": "s"}),
                           ("AuthSuccess", {"trusted": True})):
            laptop.say(kind, {"device_id": phone.id, **rest, "hardware_id": laptop.id})
            got = phone.read()
            self.assertIn(f'"device_id":"{laptop.id}"', got)
            laptop, phone = phone, laptop
        for size in (10, 100_000):
            receive, done, message_id = self.older_send(laptop, phone.id, "A" * size)
            phone.expect(receive)
            phone.say("Ack", {"message_id": message_id})
            laptop.expect(done)
        laptop.say("KeyRotationUpdate", {"sender_id": laptop.id, "recipient_id": phone.id, "encrypted_key_package": "k", "key_id": 1,
                                         "hardware_id": laptop.id})
        self.assertIn(f'"sender_id":"{laptop.id}"', phone.read())
        phone.say("Status", {"device_id": phone.id, "status": "Offline", "hardware_id": phone.id})
        phone.ws.close()
        receive, done, _ = self.older_send(laptop, phone.id, "while away")
        laptop.expect(done)
        phone = self.registered(phone.id)
        phone.expect(receive)
        phone.quiet()
        laptop.quiet()

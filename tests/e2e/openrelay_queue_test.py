"""OpenRelay's offline queue: order, expiry, limits, cuts, restarts and kill -9."""
import json
import os
import shutil
import signal
import threading

from harness import COMPLAINTS, Server, pause
from openrelay import NOT_CONNECTED, QUEUE_FULL, Device, OpenRelayTest, ack, dump, error, fresh_id, send_payload

OPTIONS = ("--openrelay-requests", "1000000", "--openrelay-points", "1000000", "--openrelay")


class QueueTest(OpenRelayTest):
    def test_kept_and_given_in_order(self):
        """Messages for an absent device are acknowledged, and given right after RegisterResponse, before anything newer."""
        sender, other, target = self.registered(), self.registered(), fresh_id()
        expected = []
        for i in range(50):
            receive, done = sender.send(target, str(i), ttl=300)
            sender.expect(done)
            expected.append(receive)
        rotation = {"hardware_id": other.id, "recipient_id": target, "encrypted_key_package": "k", "key_id": 7}
        other.say("KeyRotationUpdate", rotation)
        other.expect(error("Key rotation queued for offline recipient", 202))
        expected.append(dump("KeyRotationUpdate", {**rotation, "sender_id": other.id}))
        done = {"hardware_id": other.id, "recipient_id": target, "key_id": 7, "success": True}
        other.say("KeyRotationAck", done)
        other.expect(error("Key rotation acknowledgement queued for offline recipient", 202))
        expected.append(dump("KeyRotationAck", {**done, "sender_id": other.id}))
        receiver = self.registered(target)
        receiver.expect(*expected)
        receive, done = sender.send(target, "live")
        receiver.expect(receive)
        sender.expect(done)
        receiver.quiet()

    def test_given_once(self):
        """What the recipient's TCP has is not given again."""
        sender, target = self.registered(), fresh_id()
        receive, done = sender.send(target, ttl=300)
        sender.expect(done)
        receiver = self.registered(target)
        receiver.expect(receive)
        pause(0.4)
        receiver.ws.close()
        again = self.registered(target)
        again.quiet()

    def test_pipelined_sends_around_a_registration(self):
        """A sender that pipelines while the recipient comes: everything arrives, in order."""
        sender = self.registered()
        for _ in range(5):
            target = fresh_id()
            sent = [sender.send(target, str(i), ttl=300) for i in range(100)]
            receiver = self.registered(target)
            sent += [sender.send(target, str(i), ttl=300) for i in range(100, 150)]
            receiver.expect(*(receive for receive, _ in sent))
            sender.expect(*(done for _, done in sent))
            receiver.quiet()

    def test_cut_before_it_was_read(self):
        """A recipient that vanishes without having taken everything gets the rest, and perhaps more, next time."""
        sender, target = self.registered(), fresh_id()
        sent = []
        for i in range(60):
            receive, done = sender.send(target, f"{i:05}" + "x" * 100_000, ttl=300)
            sender.expect(done)
            sent.append(receive)
        deaf = Device(self.server.port, target, receive_buffer=8192)
        deaf.register()
        deaf.expect(*sent[:3])
        pause(0.3)
        taken = 3 + len(deaf.wire.buffer) // 100_000
        deaf.wire.reset()
        receiver = self.registered(target)
        first = receiver.read()
        self.assertTrue(first in sent[:taken + 2], "what only the relay's kernel had must be given again")
        receiver.expect(*sent[sent.index(first) + 1:])
        receiver.quiet()

    def test_large_queue(self):
        """Thousands of messages of several senders: each sender's order holds, nothing is lost or doubled."""
        target, count = fresh_id(), 500
        senders = [self.registered() for _ in range(4)]

        def work(sender):
            for i in range(count):
                payload = send_payload(sender.id, target, str(i), 300)
                sender.say("Send", payload)
                sender.expect(ack(payload["message_id"]))

        threads = [threading.Thread(target=work, args=(each,)) for each in senders]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        receiver = self.registered(target)
        seen = {each.id: 0 for each in senders}
        for _ in range(4 * count):
            payload = json.loads(receiver.read())["payload"]
            self.assertEqual(payload["encrypted_data"], str(seen[payload["sender_id"]]))
            seen[payload["sender_id"]] += 1
        receiver.quiet()

    def test_expiry(self):
        """ttl 0 is never kept; ttl 1 is gone after two seconds, ttl 300 is not."""
        sender, target = self.registered(), fresh_id()
        sender.send(target, "no", ttl=0)
        sender.expect(NOT_CONNECTED)
        _, done = sender.send(target, "short", ttl=1)
        sender.expect(done)
        receive, done = sender.send(target, "long", ttl=300)
        sender.expect(done)
        pause(2.2)
        receiver = self.registered(target)
        receiver.expect(receive)
        receiver.quiet()

    def test_offline_status_queues(self):
        """After Status Offline messages are kept until the next Register."""
        sender, device = self.both()
        device.say("Status", {"hardware_id": device.id, "status": "Offline"})
        device.quiet()
        receive, done = sender.send(device.id, ttl=300)
        sender.expect(done)
        device.quiet()
        device.register()
        device.expect(receive)


class LimitsTest(OpenRelayTest):
    OPTIONS = OPTIONS + ("--queue-messages", "3", "--queue-sender-messages", "5", "--queue-message-bytes", "10k")

    def test_full(self):
        """Beyond each limit: 507, and room again when something was taken."""
        sender, targets = self.registered(), [fresh_id() for _ in range(3)]
        for target, expected in ((targets[0], 3), (targets[1], 2)):
            for i in range(4):
                _, done = sender.send(target, str(i), ttl=300)
                sender.expect(done if i < expected else QUEUE_FULL)
        other = self.registered()
        other.send(targets[2], "x" * 10_000, ttl=300)
        other.expect(QUEUE_FULL)
        receiver = self.registered(targets[0])
        for _ in range(3):
            receiver.read()
        pause(0.4)
        _, done = sender.send(targets[1], "room", ttl=300)
        sender.expect(done)


class RestartTest(OpenRelayTest):
    OPTIONS = OPTIONS

    @classmethod
    def setUpClass(cls):
        cls.server = None

    @classmethod
    def tearDownClass(cls):
        pass

    def start(self, *options):
        self.server = Server(*OPTIONS, *options)
        self.addCleanup(shutil.rmtree, self.server.directory, ignore_errors=True)
        self.server.start()

    def end(self, number):
        self.server.signal(number)
        self.assertEqual(self.server.wait(), 0 if number == signal.SIGTERM else -number, self.server.stderr())
        self.assertFalse(COMPLAINTS.search(self.server.stderr()), self.server.stderr())
        self.server.process = None

    def test_restart_and_kill(self):
        """What was acknowledged is there after SIGTERM and after SIGKILL, in order."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.start()
            target, acknowledged = fresh_id(), []
            sender = self.registered()
            for i in range(300):
                payload = send_payload(sender.id, target, str(i), 300)
                sender.say("Send", payload)
                sender.expect(ack(payload["message_id"]))
                acknowledged.append(dump("Receive", payload))
            for i in range(20):
                sender.send(target, f"perhaps {i}", ttl=300)
            self.end(number)
            self.server.start()
            receiver = self.registered(target)
            receiver.expect(*acknowledged)
            self.end(signal.SIGTERM)

    def test_memory_only(self):
        """--queue-memory keeps nothing on disk."""
        self.start("--queue-memory")
        sender, target = self.registered(), fresh_id()
        receive, done = sender.send(target, ttl=300)
        sender.expect(done)
        self.registered(target).expect(receive)
        self.assertEqual([f for f in os.listdir(self.server.directory) if f.startswith("openrelay")], [])
        self.end(signal.SIGTERM)

    def test_file_is_private(self):
        """The queue's file is its owner's only."""
        self.start()
        self.assertEqual(os.stat(os.path.join(self.server.directory, "openrelay.sqlite")).st_mode & 0o777, 0o600)
        self.end(signal.SIGTERM)

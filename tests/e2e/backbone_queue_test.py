"""Backbone's messages for clients that are away: order, answers, expiry, limits, full disks, restarts and kill -9, who may have them."""
import contextlib
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import uuid

import backbone
from backbone import c2c, c2s
from backbone_test import BackboneTest
from harness import BIN, COMPLAINTS, Server, free_port, pause, wait_for

ABSENT, CONGESTED, KEPT, FULL, NOT_KEPT = range(1, 6)


class KeepingTest(BackboneTest):
    EXTRA = ("--backbone-queue", "300s")

    def enrolled(self):
        """Somebody who is known and away: key and id."""
        key = self.keys[self.taken % len(self.keys)]
        self.taken += 1
        return key, self.enrol(key)

    def sender(self):
        """A client that has shown that it wants to be told what became of its messages."""
        return self.client().ask()

    def told(self, sender, *whys):
        """The sender is told these reasons, one for each message. The last answer is returned."""
        seen = []
        for _ in whys:
            kind, payload = sender.read_c2s()
            self.assertEqual((kind, len(payload)), (backbone.UNDELIVERED, 21))
            seen.append(payload[0])
        self.assertEqual(seen, list(whys))
        return payload

    def quiet(self, client, seconds=0.3):
        """Nothing comes; empty frames are probes."""
        client.socket.settimeout(seconds)
        try:
            self.fail(f"unexpected: {client.read_plain()}")
        except backbone.Timeout:
            client.socket.settimeout(backbone.DEADLINE_S)

    def stop(self, client):
        """Ends a session in order: what it had is acknowledged."""
        client.say(c2s(backbone.STOP))
        client.read_stop()
        client.close()

    def try_login(self, key, identity):
        """Refused while the relay has not noticed the end of the session before."""
        client = self.stranger(key, identity).read_challenge()
        client.say(client.response())
        kind, payload = client.read_c2s()
        return client if kind == backbone.CONFIG else self.assertEqual((kind, payload), (backbone.STOP, b"already connected"))


class QueueTest(KeepingTest):
    def test_kept_and_given_in_order(self):
        """Kept for who is known and away, said so to the sender, given right after CONFIG and before anything newer, once."""
        (key, identity), sender = self.enrolled(), self.sender()
        sizes = [1, 0, 190, 5000, 48433, 3, 1000] + [1, 200, 700] * 6
        expected = [os.urandom(size) for size in sizes]
        for payload in expected:
            sender.say(c2c(identity, payload))
        payload = self.told(sender, *[KEPT] * len(expected))
        self.assertEqual(payload[1:], identity.bytes + len(expected).to_bytes(4, "big"))
        receiver = self.client(identity, key)
        sender.say(c2c(identity, b"newer"))
        for payload in [*expected, b"newer"]:
            self.assertEqual(receiver.read_c2c(), payload)
        self.quiet(receiver)
        self.stop(receiver)
        self.quiet(self.client(identity, key))

    def test_unknown(self):
        """Ids that nobody has enrolled, or that were deleted: undelivered, as without a queue. Answers come in order."""
        (_, known), (_, gone), sender = self.enrolled(), self.enrolled(), self.sender()
        self.assertEqual(self.server.command("backbone", "deluser", str(gone)).returncode, 0)
        for identity in (known, uuid.uuid4(), gone, known):
            sender.say(c2c(identity, b"x"))
        self.told(sender, KEPT, ABSENT, ABSENT, KEPT)

    def test_next_owner(self):
        """What was kept for an id is for the key that it had: who is enrolled later under the same id gets nothing of it."""
        (_, identity), sender = self.enrolled(), self.sender()
        sender.say(c2c(identity, b"for the old key"))
        self.told(sender, KEPT)
        self.assertEqual(self.server.command("backbone", "deluser", str(identity)).returncode, 0)
        key = backbone.new_key()
        self.enrol(key, identity)
        receiver = self.client(identity, key)
        self.quiet(receiver)
        sender.say(c2c(identity, b"for the new one"))
        self.assertEqual(receiver.read_c2c(), b"for the new one")

    def test_pipelined_around_a_login(self):
        """A sender that does not wait while the recipient comes: all arrives, in order; the answers tell which was kept."""
        for _ in range(3):
            (key, identity), sender = self.enrolled(), self.sender()
            expected = [b"%d" % i for i in range(80)]
            writer = threading.Thread(target=lambda: [sender.say(c2c(identity, payload)) for payload in expected])
            writer.start()
            wait_for("the first to be kept", lambda: self.told(sender, KEPT))
            receiver = self.client(identity, key)
            self.assertEqual([receiver.read_c2c() for _ in expected], expected)
            writer.join()
            self.quiet(receiver)

    def test_last_words(self):
        """STOP or a hang-up behind messages: they are kept all the same, and STOP is answered after the last was told."""
        (key, identity), polite, rude = self.enrolled(), self.sender(), self.sender()
        polite.send(b"".join(polite.sealed(c2c(identity, b"polite %d" % i)) for i in range(5)) + polite.sealed(c2s(backbone.STOP)))
        self.told(polite, *[KEPT] * 5)
        polite.read_stop()
        rude.send(b"".join(rude.sealed(c2c(identity, b"rude %d" % i)) for i in range(10)))
        rude.socket.shutdown(socket.SHUT_WR)
        wait_for("the hang-up", lambda: self.hung_up(rude))
        receiver = self.client(identity, key)
        got = [receiver.read_c2c() for _ in range(15)]
        self.assertEqual(got, [b"polite %d" % i for i in range(5)] + [b"rude %d" % i for i in range(10)])

    def hung_up(self, client):
        try:
            client.read_plain()
        except backbone.Closed:
            return True
        return False

    def test_cut_before_it_was_read(self):
        """A recipient that vanishes without having taken everything gets the rest, and perhaps more, next time."""
        (key, identity), sender = self.enrolled(), self.sender()
        expected = [b"%05d" % i + b"x" * 40_000 for i in range(12)]
        for payload in expected:
            sender.say(c2c(identity, payload))
            self.told(sender, KEPT)
        deaf = self.stranger(key, identity, receive_buffer=8192).login()
        self.assertEqual([deaf.read_c2c() for _ in range(3)], expected[:3])
        pause(0.3)
        deaf.reset()
        receiver = wait_for("the older to be gone", lambda: self.try_login(key, identity))
        first = receiver.read_c2c()
        self.assertIn(first, expected[:10], "what only the relay's kernel had must be given again")
        for payload in expected[expected.index(first) + 1:]:
            self.assertEqual(receiver.read_c2c(), payload)
        self.quiet(receiver)

    def test_original_client(self):
        """Who has sent none of our types is told nothing, and its messages are kept all the same."""
        (key, identity), sender = self.enrolled(), self.client()
        sender.say(c2c(identity, b"kept"))
        sender.say(c2c(sender.id, b"still here"))
        self.assertEqual(sender.read_c2c(), b"still here")
        self.assertEqual(self.client(identity, key).read_c2c(), b"kept")

    def test_query_between(self):
        """Queries still say who is away, and are answered in their turn."""
        (_, identity), sender = self.enrolled(), self.sender()
        sender.say(c2c(identity, b"x"))
        sender.say(c2s(backbone.CLIENT_QUERY, identity.bytes))
        sender.say(c2c(identity, b"y"))
        self.told(sender, KEPT)
        self.assertEqual(sender.read_c2s(), (backbone.CLIENT_STATUS, identity.bytes + b"\0"))
        self.told(sender, KEPT)

    def test_many_senders(self):
        """Several senders at once for one who is away: each one's order holds, nothing is lost or doubled."""
        (key, identity), count = self.enrolled(), 30
        senders = [self.sender() for _ in range(4)]

        def work(number):
            for i in range(count):
                senders[number].say(c2c(identity, b"%d %d" % (number, i)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for each in senders:
            self.told(each, *[KEPT] * count)
        receiver = self.client(identity, key)
        seen = [0] * 4
        for _ in range(4 * count):
            number, i = map(int, receiver.read_c2c().split())
            self.assertEqual(i, seen[number])
            seen[number] += 1
        self.quiet(receiver)

    def test_flood(self):
        """A flood for who is away, its answers unread, stops being read; others do not notice."""
        (_, identity), flooder, a, b = self.enrolled(), self.sender(), self.client(), self.client()
        one = flooder.sealed(c2c(identity, b"x"))
        flooder.socket.settimeout(0.2)
        try:
            for _ in range(2000):
                flooder.send(one)
        except socket.timeout:
            pass
        a.say(c2c(b.id, b"unhurt"))
        self.assertEqual(b.read_c2c(), b"unhurt")


    def test_program(self):
        """relayclient says that a message is kept, which is no failure, and receives it."""
        (key, identity), (own_key, own) = self.enrolled(), self.enrolled()

        def run(who, private, *arguments, text=None):
            path = os.path.join(self.server.directory, f"{who}.pem")
            with open(path, "wb") as file:
                file.write(backbone.private_pem(private))
            argv = [os.path.join(BIN, "relayclient"), "backbone", arguments[0], "--id", str(who), "--key", path, *arguments[1:]]
            return subprocess.run(argv, input=text, capture_output=True, timeout=60, check=False)

        done = run(own, own_key, "send", f"127.0.0.1:{self.port}", str(identity), text=b"for later")
        self.assertEqual((done.returncode, b"message 1 is kept by the server" in done.stderr), (0, True), done.stderr)
        done = run(identity, key, "receive", "--count", "1", f"127.0.0.1:{self.port}")
        self.assertEqual((done.returncode, done.stdout), (0, b"for later"), done.stderr)


class ExpiryTest(KeepingTest):
    EXTRA = ("--backbone-queue", "1s")

    def test_expiry(self):
        """What was not fetched in time is gone."""
        (key, identity), sender = self.enrolled(), self.sender()
        sender.say(c2c(identity, b"old"))
        self.told(sender, KEPT)
        pause(2.2)
        sender.say(c2c(identity, b"fresh"))
        self.told(sender, KEPT)
        receiver = self.client(identity, key)
        self.assertEqual(receiver.read_c2c(), b"fresh")
        self.quiet(receiver)


class LimitsTest(KeepingTest):
    EXTRA = ("--backbone-queue", "300s", "--queue-messages", "3", "--queue-sender-messages", "5", "--queue-message-bytes", "10k")

    def test_full(self):
        """Beyond each limit the sender is told; there is room again when something was taken."""
        sender, other = self.sender(), self.sender()
        away = [self.enrolled() for _ in range(3)]
        for (_, identity), room in ((away[0], 3), (away[1], 2)):
            for i in range(4):
                sender.say(c2c(identity, b"%d" % i))
                self.told(sender, KEPT if i < room else FULL)
        other.say(c2c(away[2][1], b"x" * 20_000))
        self.told(other, FULL)
        receiver = self.client(away[0][1], away[0][0])
        self.assertEqual([receiver.read_c2c() for _ in range(3)], [b"0", b"1", b"2"])
        self.stop(receiver)
        sender.say(c2c(away[1][1], b"room"))
        self.told(sender, KEPT)


class BesideTest(KeepingTest):
    EXTRA = ("--backbone-queue", "300s", "--openrelay", "--queue-memory")

    def test_in_memory_beside_openrelay(self):
        """One queue serves both rooms, also in memory only: then nothing is on the disk."""
        (key, identity), sender = self.enrolled(), self.sender()
        sender.say(c2c(identity, b"in memory"))
        self.told(sender, KEPT)
        self.assertEqual(self.client(identity, key).read_c2c(), b"in memory")
        self.assertEqual([f for f in os.listdir(self.server.directory) if f.startswith("openrelay")], [])


class RestartTest(KeepingTest):
    @classmethod
    def setUpClass(cls):
        cls.server = None
        cls.keys = [backbone.new_key() for _ in range(2)]

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        super().setUp()
        type(self).port = free_port()
        self.server = Server("--listen", f"backbone:127.0.0.1:{self.port}", *self.EXTRA)
        self.addCleanup(shutil.rmtree, self.server.directory, ignore_errors=True)
        self.server.start()

    def tearDown(self):
        server = self.server
        super().tearDown()
        self.end(server, signal.SIGTERM)

    def end(self, server, number):
        server.signal(number)
        self.assertEqual(server.wait(), 0 if number == signal.SIGTERM else -number, server.stderr())
        self.assertFalse(COMPLAINTS.search(server.stderr()), server.stderr())

    def test_restart_and_kill(self):
        """What was said to be kept is there after SIGTERM and after SIGKILL, in order; the file is its owner's only."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            (key, identity), sender = self.enrolled(), self.sender()
            expected = [b"%d" % i for i in range(50)]
            for payload in expected:
                sender.say(c2c(identity, payload))
            self.told(sender, *[KEPT] * len(expected))
            for i in range(20):
                sender.say(c2c(identity, b"perhaps %d" % i))
            self.end(self.server, number)
            self.server.start()
            receiver = self.client(identity, key)
            self.assertEqual([receiver.read_c2c() for _ in expected], expected)
            self.assertEqual(os.stat(os.path.join(self.server.directory, "openrelay.sqlite")).st_mode & 0o777, 0o600)

    def test_full_disk(self):
        """What cannot be written is not said to be kept; with room again all goes on, in order."""
        (key, identity), sender = self.enrolled(), self.sender()
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        sender.say(c2c(identity, b"no room"))
        sender.say(c2c(identity, b"no room either"))
        self.told(sender, NOT_KEPT, NOT_KEPT)
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sender.say(c2c(identity, b"room"))
        self.told(sender, KEPT)
        receiver = self.client(identity, key)
        self.assertEqual(receiver.read_c2c(), b"room")
        self.quiet(receiver)

    def test_taken_is_deleted(self):
        """What its recipient has is not on the disk any more when the relay has ended, not even in free pages."""
        (key, identity), sender = self.enrolled(), self.sender()
        secret = os.urandom(24).hex().encode()
        sender.say(c2c(identity, secret))
        self.told(sender, KEPT)
        receiver = self.client(identity, key)
        self.assertEqual(receiver.read_c2c(), secret)
        self.stop(receiver)
        path = os.path.join(self.server.directory, "openrelay.sqlite")

        def rows():
            with contextlib.closing(sqlite3.connect(path, timeout=5)) as file:
                return file.execute("SELECT count(*) FROM message").fetchone()[0]

        wait_for("the message to be deleted", lambda: rows() == 0)
        self.end(self.server, signal.SIGTERM)
        for name in os.listdir(self.server.directory):
            with open(os.path.join(self.server.directory, name), "rb") as file:
                self.assertFalse(secret in file.read(), name)
        self.server.start()

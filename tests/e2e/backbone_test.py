"""Backbone: login, messages, failures, limits, time, identities, stopping; with an independent client and real RSA."""
import json
import os
import signal
import socket
import struct
import subprocess
import time
import uuid

import backbone
from backbone import Client, c2c, c2s, encrypt, framed
from harness import BIN, RelayTest, Server, free_port, pause

HANDLER = "handler stopping"


class BackboneTest(RelayTest):
    """A relay with a Backbone listener, and keys, which are slow to make, for all tests of the class."""

    EXTRA = ()

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.OPTIONS = ("--listen", f"backbone:127.0.0.1:{cls.port}", "--backbone-challenge-bytes", "1000", *cls.EXTRA)
        cls.keys = [backbone.new_key() for _ in range(3)]
        cls.start()

    @classmethod
    def start(cls):
        RelayTest.setUpClass.__func__(cls)

    def setUp(self):
        super().setUp()
        self.taken = 0

    def enrol(self, key, identity=None):
        """A client's identity as its file and CLI make it; effective at once."""
        identity = identity or backbone.new_id()
        path = os.path.join(self.server.directory, f"{identity}.pub")
        with open(path, "wb") as file:
            file.write(backbone.public_pem(key))
        done = self.server.command("backbone", "adduser", "--uuid", str(identity), "--key", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return identity

    def stranger(self, key=None, identity=None, **options):
        client = Client(self.port, key or self.keys[0], identity or backbone.new_id(), **options)
        self.addCleanup(client.close)
        return client

    def client(self, identity=None, key=None, **options):
        """Logged in, with an identity of its own."""
        if key is None:
            key = self.keys[self.taken % len(self.keys)]
            self.taken += 1
        return self.stranger(key, identity or self.enrol(key), **options).login()


class LoginTest(BackboneTest):
    def test_chat(self):
        """Two clients talk both ways, and to themselves; the plaintext goes through unchanged."""
        a, b = self.client(), self.client()
        self.assertEqual(a.config, {"heartbeat_timeout": 30, "heartbeat_interval": 10})
        for number in range(3):
            a.say(c2c(b.id, b"hello %d" % number))
            self.assertEqual(b.read_c2c(), b"hello %d" % number)
            b.say(c2c(a.id, b"answer"))
            self.assertEqual(a.read_c2c(), b"answer")
        a.say(c2c(a.id, b"note to self"))
        self.assertEqual(a.read_c2c(), b"note to self")

    def test_plan(self):
        """The start's plan says what each listener is."""
        self.assertIn(f"listening on backbone:127.0.0.1:{self.port} (every shard)", self.server.stderr())

    def test_challenge(self):
        """One write of 1430 bytes: fits a segment; PKCS#1 text of 426 bytes; never the same twice."""
        client = self.stranger()
        head = client.read(4)
        self.assertEqual(struct.unpack(">HH", head), (1428, 426))
        self.assertTrue(client.read(426).startswith(b"-----BEGIN RSA PUBLIC KEY-----\n"))
        other = self.stranger().read_challenge()
        self.assertNotEqual(client.read(1000), other.challenge_data)

    def refused(self, client, frame):
        """Closed without a word, as the original does."""
        client.send(frame)
        client.read_end()

    def test_failures(self):
        """Unknown id, wrong salt, wrong padding, wrong data, wrong length, clear text, empty frame: closed without a word."""
        identity = self.enrol(self.keys[0])
        def fresh():
            return self.stranger(self.keys[0], identity).read_challenge()
        client = self.stranger().read_challenge()
        self.refused(client, client.sealed(client.response()))
        for salt in (32, 0, 221):
            client = fresh()
            self.refused(client, client.sealed(client.response(salt)))
        client = fresh()
        pkcs1 = client.key.sign(client.challenge_data, backbone.padding.PKCS1v15(), backbone.hashes.SHA256())
        self.refused(client, client.sealed(identity.bytes + pkcs1))
        client = fresh()
        self.refused(client, client.sealed(client.response(data=b"x" * 1000)))
        for wrong in (lambda r: r[:-1], lambda r: r + b"x", lambda r: r[:15]):
            client = fresh()
            self.refused(client, client.sealed(wrong(client.response())))
        client = fresh()
        self.refused(client, framed(client.response()))
        self.refused(fresh(), framed(b""))
        self.refused(fresh(), framed(b"x" * 65535))
        self.refused(fresh(), framed(b"x" * 512))
        client = fresh()
        self.refused(client, client.sealed(client.response(), chunk=10))  # more than four blocks
        client = fresh()
        client.say(client.response(), chunk=100)
        client.read_config()

    def test_replay(self):
        """A response recorded on another connection is refused."""
        identity = self.enrol(self.keys[0])
        first = self.stranger(self.keys[0], identity).read_challenge()
        recorded = first.sealed(first.response())
        second = self.stranger(self.keys[0], identity).read_challenge()
        self.refused(second, recorded)
        first.send(recorded)
        first.read_config()

    def test_wrong_server_key(self):
        """A response encrypted for another key is refused."""
        client = self.stranger(self.keys[0], self.enrol(self.keys[0])).read_challenge()
        self.refused(client, framed(encrypt(self.keys[1].public_key(), client.response())))

    def test_splits(self):
        """Response and messages byte by byte, and many frames in one write."""
        identity = self.enrol(self.keys[0])
        client = self.stranger(self.keys[0], identity).read_challenge()
        for byte in client.sealed(client.response()):
            client.send(bytes([byte]))
        client.read_config()
        for byte in client.sealed(c2c(client.id, b"slowly")):
            client.send(bytes([byte]))
        self.assertEqual(client.read_c2c(), b"slowly")
        client.send(b"".join(client.sealed(c2c(client.id, b"%d" % i)) + framed(b"") for i in range(40)))
        self.assertEqual([client.read_c2c() for _ in range(40)], [b"%d" % i for i in range(40)])

    def test_silent_login(self):
        """A silent client delays no other login."""
        silent = [self.stranger() for _ in range(5)]
        half = self.stranger().read_challenge()
        half.send(b"\x02")
        start = time.monotonic()
        self.client()
        self.assertLess(time.monotonic() - start, 5)
        for each in silent:
            each.read_challenge()

    def test_duplicate(self):
        """A second login of a client that is alive is refused before CONFIG, with STOP; the first is untouched."""
        first = self.client()
        second = self.stranger(first.key, first.id).read_challenge()
        second.say(second.response())
        self.assertEqual(second.read_stop(), "already connected")
        first.say(c2c(first.id, b"still here"))
        self.assertEqual(first.read_c2c(), b"still here")
        first.close()
        self.stranger(first.key, first.id).login()

    def test_clean_hang_up(self):
        """A client that hangs up without STOP is noticed: its id can log in again, and what it sent arrives."""
        a, b = self.client(), self.client()
        for number in range(20):
            a.say(c2c(b.id, b"%d" % number))
        a.close()
        self.assertEqual([b.read_c2c() for _ in range(20)], [b"%d" % n for n in range(20)])
        self.client(a.id, a.key)


class MessageTest(BackboneTest):
    EXTRA = ("--queue-bytes", "256k")  # so that a receiver that does not read is noticed soon

    def test_sizes(self):
        """Around the chunks and up to the largest; the empty one is delivered, harmlessly."""
        a, b = self.client(), self.client()
        for size in (0, 1, 172, 173, 174, 363, 364, 5000, 48433):
            payload = os.urandom(size)
            a.say(c2c(b.id, payload))
            self.assertEqual(b.read_c2c(), payload, size)

    def test_small_chunks(self):
        """Chunks need not be full, and a block may be empty."""
        client = self.client()
        client.say(c2c(client.id, b"in small pieces"), chunk=10)
        self.assertEqual(client.read_c2c(), b"in small pieces")
        body = client.server.encrypt(b"", backbone.OAEP) + encrypt(client.server, c2c(client.id, b"x"))
        client.send(framed(body))
        self.assertEqual(client.read_c2c(), b"x")

    def test_order(self):
        """Order per sender is kept, small and large frames mixed."""
        a, b = self.client(), self.client()
        sizes = [1, 40000, 2, 3, 10000, 1, 1, 20000, 5, 1] * 2
        expected = [b"%03d" % i + b"x" * size for i, size in enumerate(sizes)]
        for payload in expected:
            a.say(c2c(b.id, payload))
        self.assertEqual([b.read_c2c() for _ in expected], expected)

    def test_unknown_recipient(self):
        """The sender stays and is told, in order; the original drops it."""
        a, b = self.client().ask(), self.client()
        nobody = uuid.uuid4()
        a.say(c2c(b.id, b"one"))
        a.say(c2c(nobody, b"two"))
        a.say(c2c(b.id, b"three"))
        self.assertEqual(a.read_c2s(), (backbone.UNDELIVERED, b"\x01" + nobody.bytes + b"\0\0\0\x02"))
        self.assertEqual([b.read_c2c(), b.read_c2c()], [b"one", b"three"])
        b.say(c2s(backbone.STOP))
        b.read_stop()
        a.say(c2c(b.id, b"four"))
        self.assertEqual(a.read_c2s(), (backbone.UNDELIVERED, b"\x01" + b.id.bytes + b"\0\0\0\x04"))

    def test_original_client(self):
        """Who has sent none of our types is sent none (the original's client would end), and stays."""
        a = self.client()
        a.say(c2c(uuid.uuid4(), b"to nobody"))
        a.say(c2c(a.id, b"still here"))
        self.assertEqual(a.read_c2c(), b"still here")
        a.say(c2s(backbone.STOP))
        self.assertEqual(a.read_stop(), HANDLER)

    def test_ignored(self):
        """Unknown formats and types, short C2C, CONFIG from a client and empty frames are dropped silently."""
        client = self.client()
        ignored = [bytes([f << 4 | t]) + bytes(20) for f in range(16) for t in (0, 1, 2, 5, 7, 14, 15) if (f, t) not in ((0, 0), (1, 15))]
        ignored += [b"\0", b"\0" + bytes(15), b"\x10", b"\x11", b"\x13" + bytes(4), b"\x13" + bytes(4 + 15), b"\x13" + bytes(4 + 65 * 16)]
        for plain in ignored:
            client.say(plain)
            client.send(framed(b""))
        client.say(c2c(client.id, b"after all"))
        seen = []
        while True:
            plain = client.read_plain()
            if plain[0] == 0:
                self.assertEqual(plain[17:], b"after all")
                break
            seen.append(plain[0])
        self.assertEqual(set(seen) - {backbone.CLIENT_STATUS, backbone.SERVER_STATE}, set())

    def test_stop(self):
        """STOP, even without a time, is answered with the original's words, and what came before is done first."""
        a, b = self.client(), self.client()
        a.send(a.sealed(c2c(b.id, b"last words")) + a.sealed(b"\x1f"))
        self.assertEqual(a.read_stop(), HANDLER)
        self.assertEqual(b.read_c2c(), b"last words")
        b.say(c2s(backbone.STOP, b"a reason"))
        self.assertEqual(b.read_stop(), HANDLER)

    def test_broken_frames(self):
        """What cannot be decrypted: STOP says so, others go on."""
        other = self.client()
        for body in (os.urandom(256), os.urandom(100), b"x", os.urandom(257), os.urandom(65535), b"\0" * 512):
            client = self.client()
            client.send(framed(body))
            self.assertEqual(client.read_stop(), "frame cannot be decrypted")
        other.say(c2c(other.id, b"on"))
        self.assertEqual(other.read_c2c(), b"on")

    def test_queries(self):
        """Status of clients and of the server."""
        a, b = self.client(), self.client()
        nobody = uuid.uuid4()
        a.say(c2s(backbone.CLIENT_QUERY, b.id.bytes + nobody.bytes + a.id.bytes))
        self.assertEqual(a.read_c2s(), (backbone.CLIENT_STATUS, b.id.bytes + b"\1" + nobody.bytes + b"\0" + a.id.bytes + b"\1"))
        a.say(c2s(backbone.SERVER_QUERY))
        kind, payload = a.read_c2s()
        state = json.loads(payload)
        self.assertEqual((kind, state["state"]), (backbone.SERVER_STATE, "running"))
        self.assertGreaterEqual(state["clients"], 2)
        self.assertIn("version", state)

    def test_many_ids(self):
        """A full query, pipelined with others: answers come in order."""
        a = self.client()
        ids = [uuid.uuid4() for _ in range(63)] + [a.id]
        for _ in range(5):
            a.say(c2s(backbone.CLIENT_QUERY, b"".join(i.bytes for i in ids)))
        expected = b"".join(i.bytes + (b"\1" if i == a.id else b"\0") for i in ids)
        for _ in range(5):
            self.assertEqual(a.read_c2s(), (backbone.CLIENT_STATUS, expected))

    def test_flood(self):
        """A flood of messages to nobody, unread, stops being read; the others do not notice and nothing is lost."""
        flooder, a, b = self.client(), self.client(), self.client()
        one = flooder.sealed(c2c(uuid.uuid4(), b"x"))
        flooder.socket.settimeout(0.2)
        sent = 0
        try:
            while sent < 2000:
                flooder.send(one)
                sent += 1
        except socket.timeout:
            pass
        a.say(c2c(b.id, b"unhurt"))
        self.assertEqual(b.read_c2c(), b"unhurt")

    def test_slow_receiver(self):
        """A receiver that does not read makes its sender wait; all arrives in order once it reads."""
        a, b = self.client(), self.client(receive_buffer=65536)
        a.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        payload = os.urandom(48000)
        sent, partial = 0, b""
        for number in range(200):
            frame = a.sealed(c2c(b.id, b"%04d" % number + payload))
            try:
                a.socket.settimeout(1)
                done = 0
                while done < len(frame):
                    done += a.socket.send(frame[done:])
                sent += 1
            except socket.timeout:
                partial = frame[done:]
                break
        self.assertTrue(partial, "the sender was never made to wait")
        a.socket.settimeout(60)
        for number in range(sent):
            b.say(c2s(backbone.HEARTBEAT))  # to decrypt all this takes a while
            self.assertEqual(b.read_c2c(), b"%04d" % number + payload)
        a.send(partial)
        self.assertEqual(b.read_c2c(), b"%04d" % sent + payload)


class TimeTest(BackboneTest):
    EXTRA = ("--backbone-heartbeat-interval", "1s", "--backbone-heartbeat-timeout", "2s", "--iam-timeout", "1s", "--http-timeout", "1s")

    def test_heartbeats(self):
        """What CONFIG announces is what happens: a client with heartbeats stays, a silent one is closed."""
        talker, silent = self.client(), self.client()
        self.assertEqual(talker.config, {"heartbeat_timeout": 2, "heartbeat_interval": 1})
        start = time.monotonic()
        for _ in range(4):
            pause(0.8)
            talker.say(c2s(backbone.HEARTBEAT))
        self.assertEqual(silent.read_stop(), "heartbeat timeout")
        talker.say(c2c(talker.id, b"alive"))
        self.assertEqual(talker.read_c2c(), b"alive")
        self.assertGreater(time.monotonic() - start, 2)

    def test_login_limit(self):
        """Who does not answer the challenge in time is closed without a word."""
        client = self.stranger().read_challenge()
        start = time.monotonic()
        client.send(b"\x02")
        client.read_end()
        self.assertLess(time.monotonic() - start, 5)

    def test_frame_limit(self):
        """A frame that does not end is not waited for, though its bytes keep coming."""
        client = self.client()
        frame = client.sealed(c2c(client.id, b"drip"))
        for byte in frame[:12]:
            client.send(bytes([byte]))
            pause(0.15)
        self.assertEqual(client.read_stop(), "frame took too long")


class TakeoverTest(BackboneTest):
    EXTRA = ("--backbone-heartbeat-interval", "1s", "--backbone-heartbeat-timeout", "20s")

    def test_takeover(self):
        """A client that missed two heartbeats counts as dead: the next login takes over, and the first is told."""
        first = self.client()
        pause(2.3)
        second = self.client(first.id, first.key)
        self.assertEqual(first.read_stop(), "superseded")
        second.say(c2c(second.id, b"mine"))
        self.assertEqual(second.read_c2c(), b"mine")


class IdentityTest(BackboneTest):
    def test_delete(self):
        """A deleted client is gone within a second and cannot come back; others stay."""
        a, b = self.client(), self.client()
        done = self.server.command("backbone", "deluser", str(a.id))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(a.read_stop(), "account blocked, deleted or changed")
        again = self.stranger(a.key, a.id).read_challenge()
        again.say(again.response())
        again.read_end()
        b.say(c2c(b.id, b"here"))
        self.assertEqual(b.read_c2c(), b"here")
        self.assertEqual(self.server.command("backbone", "deluser", str(a.id)).returncode, 1)

    def test_made_pair(self):
        """adduser makes a pair that logs in; listusers names it; files are private."""
        out = os.path.join(self.server.directory, "keys")
        os.mkdir(out)
        done = self.server.command("backbone", "adduser", "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        name = next(n for n in os.listdir(out) if not n.endswith(".pub.pem"))
        path = os.path.join(out, name)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, "rb") as file:
            key = backbone.serialization.load_pem_private_key(file.read(), None)
        identity = uuid.UUID(name[:-4])
        self.assertEqual(identity.version, 4)
        self.client(identity, key)
        self.assertIn(str(identity), self.server.command("backbone", "listusers").stdout)
        self.assertEqual(os.stat(os.path.join(self.server.directory, "backbone.sqlite")).st_mode & 0o777, 0o600)

    def test_refused_keys(self):
        """Other sizes than 2048, ids that are taken and things that are no UUID are refused with a clear message."""
        path = os.path.join(self.server.directory, "odd.pem")
        for bits in (1024, 3072):
            with open(path, "wb") as file:
                file.write(backbone.public_pem(backbone.new_key(bits)))
            done = self.server.command("backbone", "adduser", "--key", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn("2048", done.stderr)
        identity = self.enrol(self.keys[0])
        done = self.server.command("backbone", "adduser", "--uuid", str(identity))
        self.assertEqual((done.returncode, "exists" in done.stderr), (1, True))
        self.assertIn("UUID", self.server.command("backbone", "adduser", "--uuid", "xyz").stderr)
        self.assertEqual(self.server.command("backbone", "dance").returncode, 2)


class StopTest(BackboneTest):
    def setUp(self):
        super().setUp()
        self.server = Server(*self.OPTIONS).start()

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.OPTIONS = ("--listen", f"backbone:127.0.0.1:{cls.port}")
        cls.keys = [backbone.new_key() for _ in range(2)]

    @classmethod
    def tearDownClass(cls):
        pass

    def tearDown(self):
        server, self.server = self.server, None
        super().tearDown()
        server.stop()

    def test_stop(self):
        """SIGTERM: clients are told the state, then STOP; the relay ends with 0."""
        clients = [self.client().ask() for _ in range(4)]
        original = self.client()
        self.stranger()
        self.server.signal(signal.SIGTERM)
        self.assertEqual(original.read_stop(), "relay is stopping")
        original.close()
        for client in clients:
            kind, payload = client.read_c2s()
            self.assertEqual((kind, json.loads(payload)["state"]), (backbone.SERVER_STATE, "stopping"))
            self.assertEqual(client.read_stop(), "relay is stopping")
            client.close()
        self.assertEqual(self.server.wait(), 0)

    def test_import(self):
        """The original's folder: its server key and clients go on as they were."""
        folder = os.path.join(self.server.directory, "state", ".server")
        os.makedirs(os.path.join(folder, ".clients"))
        identity = uuid.uuid4()
        with open(os.path.join(folder, "key.pem"), "wb") as file:
            file.write(backbone.private_pem(self.keys[0]))
        with open(os.path.join(folder, ".clients", identity.hex), "wb") as file:
            file.write(backbone.public_pem(self.keys[1]))
        fresh = os.path.join(self.server.directory, "fresh.sqlite")
        done = self.server.command("backbone", "import", folder, "--backbone-database", fresh)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)
        self.server.options += ["--backbone-database", fresh]
        self.server.start()
        client = self.stranger(self.keys[1], identity).login()
        self.assertEqual(client.server.public_numbers(), self.keys[0].public_key().public_numbers())


class ManyTest(BackboneTest):
    def test_idle(self):
        """Many idle clients cost no CPU to speak of, and one key may serve many ids."""
        clients = [self.client(self.enrol(self.keys[0]), self.keys[0]) for _ in range(30)]
        def ticks():
            with open(f"/proc/{self.server.process.pid}/stat", encoding="ascii") as file:
                return sum(int(n) for n in file.read().rsplit(")", 1)[1].split()[11:13])
        before = ticks()
        pause(2)
        self.assertLess(ticks() - before, 20)
        for number, client in enumerate(clients):
            client.say(c2c(clients[number - 1].id, b"%d" % number))
        for number, client in enumerate(clients):
            self.assertEqual(client.read_c2c(), b"%d" % ((number + 1) % len(clients)))

    def test_reset(self):
        """A client that resets is gone at once."""
        client = self.client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self.client(client.id, client.key)

    def test_many_at_once(self):
        """Logins at once, then everybody to everybody."""
        ids = [self.enrol(self.keys[i % 3]) for i in range(8)]
        clients = [self.stranger(self.keys[i % 3], identity).read_challenge() for i, identity in enumerate(ids)]
        for client in clients:
            client.say(client.response())
        for client in clients:
            client.read_config()
        for sender in clients:
            for receiver in clients:
                sender.say(c2c(receiver.id, sender.id.bytes))
        for receiver in clients:
            self.assertEqual(sorted(receiver.read_c2c() for _ in clients), sorted(c.id.bytes for c in clients))



class ProgramTest(BackboneTest):
    """relayclient backbone, against the relay and the independent client."""

    def files(self, identity, key):
        path = os.path.join(self.server.directory, f"{identity}.pem")
        with open(path, "wb") as file:
            file.write(backbone.private_pem(key))
        return path

    def program(self, *arguments, **options):
        argv = [os.path.join(BIN, "relayclient"), "backbone", *arguments]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.server.directory,
                                   **options)
        self.addCleanup(process.kill)
        return process

    def finished(self, process, text=None):
        out, err = process.communicate(text, timeout=30)
        return process.returncode, out, err.decode()

    def known(self):
        key = self.keys[0]
        identity = self.enrol(key)
        return ("--id", str(identity), "--key", self.files(identity, key)), identity

    def test_send_and_receive(self):
        """A large file in pieces, to the independent client and to relayclient."""
        who, _ = self.known()
        peer = self.client()
        data = os.urandom(200000)
        sender = self.program("send", *who, f"127.0.0.1:{self.port}", str(peer.id))
        sender.stdin.write(data)
        sender.stdin.close()
        got = b""
        while len(got) < len(data):
            got += peer.read_c2c()
        self.assertEqual(got, data)
        self.assertEqual(sender.wait(30), 0, sender.stderr.read())
        other, identity = self.known()
        receiver = self.program("receive", "--count", "2", "--verbose", *other, f"127.0.0.1:{self.port}")
        self.assertIn(b"logged in", receiver.stderr.readline())
        for text in (b"one\n", b"two\n"):
            self.assertEqual(self.finished(self.program("send", *who, f"127.0.0.1:{self.port}", str(identity)), text)[0], 0)
        self.assertEqual(self.finished(receiver)[:2], (0, b"one\ntwo\n"))

    def test_absent(self):
        """Nobody there: exit code 4 and a sentence; unknown id: 3; wrong server key: 3."""
        who, _ = self.known()
        code, _, err = self.finished(self.program("send", *who, f"127.0.0.1:{self.port}", str(uuid.uuid4())), b"hello")
        self.assertEqual(code, 4, err)
        self.assertIn("is not connected", err)
        code, _, err = self.finished(self.program("status", "--id", str(uuid.uuid4()), *who[2:], f"127.0.0.1:{self.port}"))
        self.assertEqual(code, 3, err)
        path = os.path.join(self.server.directory, "wrong.pub")
        with open(path, "wb") as file:
            file.write(backbone.public_pem(self.keys[1]))
        code, _, err = self.finished(self.program("status", *who, "--server-key", path, f"127.0.0.1:{self.port}"))
        self.assertEqual((code, "another key" in err), (3, True), err)

    def test_status(self):
        """The server's state, and who is connected."""
        who, _ = self.known()
        peer, nobody = self.client(), uuid.uuid4()
        code, out, err = self.finished(self.program("status", *who, f"127.0.0.1:{self.port}", str(peer.id), str(nobody)))
        self.assertEqual(code, 0, err)
        state, first, second = out.decode().splitlines()
        self.assertEqual(json.loads(state)["state"], "running")
        self.assertEqual((first, second), (f"{peer.id} connected", f"{nobody} absent"))

    def test_keygen(self):
        """Makes a pair and says how to enrol it; the line works as printed."""
        code, out, err = self.finished(self.program("keygen", "--out", "mine.pem"))
        self.assertEqual(code, 0, err)
        line = out.decode().splitlines()[-1].split()
        self.assertEqual(line[:2], ["shardrelay", "backbone"])
        done = self.server.command(*line[1:])
        self.assertEqual(done.returncode, 0, done.stderr)
        identity = line[line.index("--uuid") + 1]
        code, _, err = self.finished(self.program("status", "--id", identity, "--key", "mine.pem", f"127.0.0.1:{self.port}"))
        self.assertEqual(code, 0, err)

    def test_chat(self):
        """Both ways."""
        who, identity = self.known()
        peer = self.client()
        chat = self.program("chat", "--verbose", *who, f"127.0.0.1:{self.port}", str(peer.id))
        self.assertIn(b"logged in", chat.stderr.readline())
        chat.stdin.write(b"hello\n")
        chat.stdin.flush()
        self.assertEqual(peer.read_c2c(), b"hello\n")
        peer.say(c2c(identity, b"well met\n"))
        self.assertEqual(chat.stdout.readline(), b"well met\n")
        chat.stdin.close()
        self.assertEqual(chat.wait(30), 0)

"""Who, Iam, Authenticated: proving a key, once, and what an unproved session may not do (protocols/buckets.md "Commands", "Events")."""
from buckets import (AUTHENTICATED, CONNECT_FORBIDDEN, NO_MORE_CHANCES, SEND_FORBIDDEN, SIGNATURE_REFUSED, Key, connect, connected,
                     data_event, disconnect, disconnected, entered, exited, iam, message, pair, send_data)
from harness import RelayTest
from wsclient import WebSocket, frame

A = Key(b"\x01" * 32)
B = Key(b"\x02" * 32)


class IdentityTest(RelayTest):
    def test_our_client_speaks_the_measured_bytes(self):
        """The test client's own commands equal the hex of protocols/buckets.md."""
        self.assertEqual(A.public.hex(), "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c")
        challenge = bytes.fromhex("89c79e2ab988f7310a28b0a9861c178b56fafca94cfe3c168347e7f6b677415d")
        self.assertTrue(A.sign(challenge).hex().startswith("4e9d08743cf24c401a72f7d8ee8b49a40a4b9a5ac3a7bb8026ecb95edb056f01"))
        self.assertEqual(connect(B.public).hex(), "33373a6333323a" + B.public.hex() + "2c2c")
        self.assertEqual(disconnect(B.public).hex(), "33373a7833323a" + B.public.hex() + "2c2c")
        self.assertEqual(send_data(B.public, b"hello").hex(), "34353a6433323a" + B.public.hex() + "2c353a68656c6c6f2c2c")
        self.assertEqual(len(iam(bytes(64), A.public)), 110)

    def test_who_byte_exact(self):
        """Who is 82 29 "37:?32:" challenge ",,", the first thing after the 101."""
        session = WebSocket(self.server.port, user=self.account[0], password=self.account[1])
        self.sockets.append(session)
        got = session.read_frame()
        self.assertEqual(got.head, b"\x82\x29")
        self.assertEqual((got.payload[:7], got.payload[-2:], len(got.payload)), (b"37:?32:", b",,", 41))

    def test_challenges_differ(self):
        """Every session has a challenge of its own."""
        self.assertEqual(len({self.unauthenticated().challenge for _ in range(20)}), 20)

    def test_authenticated_byte_exact(self):
        """Authenticated is 82 04 "1:+,"."""
        device = self.unauthenticated()
        device.command(iam(device.key.sign(device.challenge), device.pk))
        got = device.read_frame()
        self.assertEqual((got.head, got.payload), (b"\x82\x04", AUTHENTICATED))
        device.quiet()

    def test_events_byte_exact(self):
        """Connected, Data (also empty), Disconnected: the bytes of protocols/buckets.md with their frame heads."""
        first, second = self.device(self.server.account(), key=A), self.device(self.server.account(), key=B)
        first.command(connect(B.public))
        second.command(connect(A.public))
        for device, peer in ((first, B), (second, A)):
            got = device.read_frame()
            self.assertEqual((got.head.hex(), got.payload.hex()), ("8229", "33373a6333323a" + peer.public.hex() + "2c2c"))
        first.command(send_data(B.public, b"hello"))
        first.command(send_data(B.public, b""))
        got = second.read_frame()
        self.assertEqual((got.head.hex(), got.payload.hex()), ("8231", "34353a6433323a" + A.public.hex() + "2c353a68656c6c6f2c2c"))
        self.assertEqual(second.read_frame().payload, b"40:d32:" + A.public + b",0:,,")
        first.command(disconnect(B.public))
        self.assertEqual(first.read_frame().payload.hex(), "33373a7833323a" + B.public.hex() + "2c2c")
        self.assertEqual(second.read_frame().payload.hex(), "33373a7833323a" + A.public.hex() + "2c2c")

    def test_wrong_signature(self):
        """A wrong signature: the error event Invalid signature, byte-exact; the session stays open."""
        device = self.unauthenticated()
        device.command(iam(bytes(64), device.pk))
        got = device.read_frame()
        self.assertEqual((got.head, got.payload), (b"\x82\x24", SIGNATURE_REFUSED))
        device.quiet()

    def test_challenge_is_spent_by_a_wrong_iam(self):
        """After a wrong Iam every further one, also a right one, gets "Authentication cannot proceed" and nothing else."""
        device = self.unauthenticated()
        device.command(iam(bytes(64), device.pk))
        device.expect(SIGNATURE_REFUSED)
        for signature in (device.key.sign(device.challenge), bytes(64), device.key.sign(b""), device.key.sign(bytes(32))):
            device.command(iam(signature, device.pk))
            got = device.read_frame()
            self.assertEqual((got.head, got.payload), (b"\x82\x4a", NO_MORE_CHANCES))
        device.quiet()
        device.command(connect(A.public))
        device.expect(CONNECT_FORBIDDEN)

    def test_signatures_over_other_bytes_never_work(self):
        """Over the empty string, another session's challenge, the challenge in hex or with a byte more: refused."""
        other = self.unauthenticated()
        for number in range(6):
            device = self.unauthenticated()
            own = device.challenge
            signed = (b"", other.challenge, own.hex().encode(), own + b"\0", own[:31], bytes(32))[number]
            device.command(iam(device.key.sign(signed), device.pk))
            device.expect(SIGNATURE_REFUSED)

    def test_signature_of_another_key(self):
        """A right signature by a key other than the named one: refused."""
        device = self.unauthenticated()
        device.command(iam(Key().sign(device.challenge), device.pk))
        device.expect(SIGNATURE_REFUSED)

    def test_wrong_lengths_of_signature_and_key(self):
        """A signature or key of another length is a wrong signature, not a protocol error."""
        for signature_len, key_len in ((63, 32), (65, 32), (0, 32), (64, 31), (64, 33), (64, 0)):
            device = self.unauthenticated()
            signature = (device.key.sign(device.challenge) + b"\0")[:signature_len]
            device.command(iam(signature, (device.pk + b"\0")[:key_len]))
            device.expect(SIGNATURE_REFUSED)

    def test_weak_key_is_refused(self):
        """The all-zero key with an all-zero signature (small order) proves nothing."""
        device = self.unauthenticated()
        device.command(iam(bytes(64), bytes(32)))
        device.expect(SIGNATURE_REFUSED)

    def test_second_iam_changes_nothing(self):
        """A second Iam after success, right, wrong or for another key, is an error event; connections stand."""
        first, second = self.strangers()
        pair(first, second)
        stolen = Key()
        for key in (first.key, stolen):
            first.command(iam(key.sign(first.challenge), key.public))
            self.assertTrue(first.event().startswith((b"70:E7:Generic,", b"32:E7:Generic,")))
        first.command(iam(bytes(64), first.pk))
        self.assertTrue(first.event().startswith((b"70:E7:Generic,", b"32:E7:Generic,")))
        first.command(send_data(second.pk, b"still here"))
        second.expect(data_event(first.pk, b"still here"))
        third = self.device(self.server.account(), key=stolen)
        third.quiet()
        first.quiet()

    def test_second_iam_is_silent_to_others(self):
        """Nobody else sees a second Iam."""
        first = self.device()
        second = self.device()
        first.expect(entered(second.pk))
        second.expect(entered(first.pk))
        first.command(iam(first.key.sign(first.challenge), first.pk))
        first.event()
        second.quiet()

    def test_forbidden_before_authentication(self):
        """Connect and SendData before Iam: their error events; Disconnect: silence; Iam works afterwards."""
        device = self.unauthenticated()
        device.command(connect(A.public))
        got = device.read_frame()
        self.assertEqual((got.head, got.payload), (b"\x82\x27", CONNECT_FORBIDDEN))
        device.command(send_data(A.public, b"x"))
        got = device.read_frame()
        self.assertEqual((got.head, got.payload), (b"\x82\x24", SEND_FORBIDDEN))
        device.command(disconnect(A.public))
        device.quiet()
        device.authenticate()

    def test_commands_pipelined_with_iam(self):
        """Iam, Connect, SendData, SendData in one message are honoured."""
        second = self.device(self.server.account())
        first = self.unauthenticated()
        second.command(connect(first.pk))
        second.quiet()
        proof = iam(first.key.sign(first.challenge), first.pk)
        first.command(proof + connect(second.pk) + send_data(second.pk, b"1") + send_data(second.pk, b"2"))
        first.expect(AUTHENTICATED, connected(second.pk))
        second.expect(connected(first.pk), data_event(first.pk, b"1"), data_event(first.pk, b"2"))

    def test_same_key_in_another_process_of_the_same_account(self):
        """One key, one live session: the newer gets Authenticated, the older is closed with 4000 "superseded"."""
        old = self.device(key=Key())
        new = self.device(key=old.key)
        self.assertEqual(old.read_close(), (4000, "superseded"))
        new.quiet()

    def test_takeover_order_at_a_peer_of_the_same_account(self):
        """Peers see Disconnected, Exited, Entered, in that order; the older session learns nothing but the close."""
        old, peer = self.device(), self.device()
        old.expect(entered(peer.pk))
        peer.expect(entered(old.pk))
        pair(old, peer)
        new = self.device(key=old.key)
        peer.expect(disconnected(old.pk), exited(old.pk), entered(old.pk))
        new.expect(entered(peer.pk))
        self.assertEqual(old.read_close(), (4000, "superseded"))
        peer.quiet()
        new.quiet()

    def test_late_end_of_a_superseded_session_evicts_nobody(self):
        """When the superseded session ends at last, politely or not, the newer one stays registered and reachable."""
        for rude in (False, True):
            old = self.device(self.server.account())
            peer = self.device(self.server.account())
            new = self.device(self.server.account(), key=old.key)
            pair(new, peer)
            if rude:
                old.wire.reset()
            else:
                self.assertEqual(old.read_close(), (4000, "superseded"))
            new.command(send_data(peer.pk, b"after"))
            peer.expect(data_event(new.pk, b"after"))
            peer.command(send_data(new.pk, b"back"))
            new.expect(data_event(peer.pk, b"back"))
            new.quiet()

    def test_takeover_by_another_account(self):
        """Another account may take a key; presence goes to each account's own members."""
        mine, yours = self.server.account(), self.server.account()
        viewer_of_mine, viewer_of_yours = self.device(mine), self.device(yours)
        old = self.device(mine)
        viewer_of_mine.expect(entered(old.pk))
        old.expect(entered(viewer_of_mine.pk))
        new = self.device(yours, key=old.key)
        viewer_of_mine.expect(exited(old.pk))
        viewer_of_yours.expect(entered(old.pk))
        new.expect(entered(viewer_of_yours.pk))
        self.assertEqual(old.read_close(), (4000, "superseded"))

    def test_takeover_chain(self):
        """Ten sessions take the same key one after another: nine are superseded, the last one lives."""
        key = Key()
        chain = [self.device(key=key) for _ in range(10)]
        for old in chain[:-1]:
            self.assertEqual(old.read_close(), (4000, "superseded"))
        chain[-1].quiet()

    def test_takeover_at_once(self):
        """Ten sessions prove the same key at the same moment: exactly one survives and is reachable."""
        key = Key()
        account = self.account
        racers = [self.unauthenticated(account, key=key) for _ in range(10)]
        for racer in racers:
            racer.command(iam(key.sign(racer.challenge), key.public))
        alive = []
        for racer in racers:
            while True:
                got = racer.read_frame()
                if got.opcode == 8:
                    self.assertEqual((got.close_code(), got.close_reason()), (4000, "superseded"))
                    break
                self.assertEqual(got.payload, AUTHENTICATED)
                racer.send(b"alive?", opcode=9)
                got = racer.read_frame()
                if got.opcode == 10:
                    alive.append(racer)
                    break
                self.assertEqual((got.opcode, got.close_code()), (8, 4000))
                break
        alive = [racer for racer in alive if self.still_open(racer)]
        self.assertEqual(len(alive), 1)
        peer = self.device(self.server.account())
        pair(alive[0], peer)

    def still_open(self, device):
        device.send(b"", opcode=9)
        try:
            return device.read_frame().opcode == 10
        except AssertionError:
            return False

    def test_unknown_error_text_is_not_sent_for_other_key_lengths(self):
        """Connect and Disconnect take keys of any length silently; SendData to one is No such connection."""
        device = self.device()
        device.command(connect(b"short") + connect(b"") + disconnect(b"short"))
        device.quiet()
        device.command(message("d", b"short", b"x"))
        self.assertIn(b"No such connection", device.event())

    def test_text_frames_carry_commands(self):
        """A command in a TEXT frame counts (it must be UTF-8)."""
        device = self.device()
        device.command(connect(b"a" * 32), opcode=1)
        device.quiet()
        device.wire.send(frame(send_data(b"a" * 32, "h\u00e9llo".encode()), opcode=1))
        self.assertIn(b"No such connection", device.event())

"""Many at once: pairs over all shards with verified data, storms of comings and goings, and what is left afterwards."""
import os
import random

from buckets import (AUTHENTICATED, Device, Key, connect, connected, data_event, disconnect, disconnected, entered, exited, iam, pair,
                     parse, send_data)
from harness import RelayTest


class StormTest(RelayTest):
    def test_many_pairs_exchange_verified_data(self):
        """Forty pairs, a hundred messages each way, all under way at once: every stream is whole, in order, and its own."""
        pairs = []
        accounts = [self.server.account() for _ in range(8)]
        for number in range(40):
            first, second = (self.unauthenticated(accounts[(number + i) % 8]) for i in range(2))
            pairs.append((first, second))
        everyone = [device for both in pairs for device in both]
        for device in everyone:
            device.command(iam(device.key.sign(device.challenge), device.pk))
        for first, second in pairs:
            first.command(connect(second.pk))
            second.command(connect(first.pk))
        texts = {d.pk: [os.urandom(random.choice((0, 1, 60, 1000))) for _ in range(100)] for d in everyone}
        for first, second in pairs:
            for one, other in ((first, second), (second, first)):
                got = self.skip_presence(one)
                self.assertEqual(got, AUTHENTICATED)
                self.assertEqual(self.skip_presence(one), connected(other.pk))
        for number in range(100):
            for first, second in pairs:
                first.command(send_data(second.pk, texts[first.pk][number]))
                second.command(send_data(first.pk, texts[second.pk][number]))
        for first, second in pairs:
            for one, other in ((first, second), (second, first)):
                for text in texts[other.pk]:
                    self.assertEqual(self.skip_presence(one), data_event(other.pk, text))

    def skip_presence(self, device):
        event = device.event()
        while event.startswith((b"37:>", b"37:^")):
            event = device.event()
        return event

    def test_everyone_with_everyone(self):
        """Twelve devices connect each with each at the same time: 132 Connected, one message per direction."""
        devices = self.strangers(12)
        for device in devices:
            device.command(b"".join(connect(other.pk) for other in devices if other is not device))
        for device in devices:
            device.expect_any_order(*(connected(other.pk) for other in devices if other is not device))
        for device in devices:
            for other in devices:
                if other is not device:
                    device.command(send_data(other.pk, device.pk + other.pk))
        for device in devices:
            device.expect_any_order(*(data_event(other.pk, other.pk + device.pk) for other in devices if other is not device))
            device.quiet()

    def test_comings_and_goings_converge(self):
        """Three hundred sessions of ten keys come and go in every way; a watcher's view alternates per key and ends right."""
        chooser = random.Random(17)
        account = self.account
        watcher = self.device(account)
        keys = [Key() for _ in range(10)]
        alive = {}
        for _ in range(300):
            key = chooser.choice(keys)
            device = Device(self.server.port, account, key=key)
            self.sockets.append(device)
            if chooser.random() < 0.8:
                device.command(iam(key.sign(device.challenge), key.public))
                if chooser.random() < 0.7:
                    self.assertEqual(device.event(), AUTHENTICATED)
                    alive[key.public] = device
                    continue
            end = chooser.choice(("close", "reset", "bad", "half"))
            if end == "close":
                device.send(b"\x03\xe8", opcode=8)
            elif end == "reset":
                device.wire.reset()
            elif end == "bad":
                device.send(b"bad")
            else:
                device.wire.half_close()
        for device in alive.values():
            device.wire.reset()
        last = self.device(account, key=Key())
        self.converges(watcher, {last.pk})
        fresh = self.device(account)
        self.converges(watcher, {last.pk, fresh.pk}, {last.pk})
        self.converges(fresh, {watcher.pk, last.pk})

    def converges(self, device, wanted, view=()):
        """Reads presence events, which must alternate per key, until the view is what is wanted."""
        view = set(view)
        while view != wanted:
            kind, key = parse(device.event())
            self.assertIn(kind, ">^")
            self.assertEqual(kind == "^", key in view, "Entered and Exited alternate")
            view ^= {key}

    def test_reconnect_storm_of_a_pair(self):
        """One side of a pair reconnects fifty times, politely or not: each time the other sees Disconnected once."""
        stays = self.device(self.server.account())
        account, key = self.server.account(), Key()
        for number in range(50):
            comes = self.device(account, key=key)
            pair(comes, stays)
            comes.command(send_data(stays.pk, bytes([number])))
            stays.expect(data_event(key.public, bytes([number])))
            if number % 3 == 0:
                comes.wire.reset()
                stays.expect(disconnected(key.public))
            elif number % 3 == 1:
                comes.close()
                stays.expect(disconnected(key.public))
            else:
                newer = self.device(account, key=key)
                stays.expect(disconnected(key.public))
                newer.close()
        stays.quiet()

    def test_takeover_while_data_flows(self):
        """A key is taken over in the middle of a stream: the peer gets a prefix of it, Disconnected, nothing of it afterwards."""
        for _ in range(10):
            stays = self.device(self.server.account())
            account = self.server.account()
            old = self.device(account)
            pair(old, stays)
            texts = [number.to_bytes(2, "big") * 500 for number in range(200)]
            for text in texts:
                old.command(send_data(stays.pk, text))
            newer = self.device(account, key=old.key)
            expected = [data_event(old.pk, text) for text in texts]
            event = stays.event()
            while event != disconnected(old.pk):
                self.assertEqual(event, expected.pop(0))
                event = stays.event()
            pair(newer, stays)
            newer.command(send_data(stays.pk, b"new"))
            stays.expect(data_event(newer.pk, b"new"))

    def test_connect_and_disconnect_races(self):
        """Both ends connect and disconnect at random; when all is quiet, both agree whether they are connected, and data proves it."""
        chooser = random.Random(23)
        for _ in range(15):
            first, second = self.strangers()
            for _ in range(30):
                one, other = chooser.choice(((first, second), (second, first)))
                one.command(chooser.choice((connect, connect, disconnect))(other.pk))
            for one, other in ((first, second), (second, first)):
                one.command(connect(other.pk))
            states = {first.pk: False, second.pk: False}
            for number in range(200):
                first.command(send_data(second.pk, bytes([number])))
                self.settle(first, second, states)
                if any(event.startswith(b"41:d") for event in self.settle(second, first, states)):
                    break
            self.assertEqual(states, {first.pk: True, second.pk: True})

    def settle(self, device, peer, states):
        """Events up to the one that a Connect to oneself causes; keeps track of whether the two are connected."""
        events = []
        device.command(connect(device.pk))
        while not events or b"connect to self" not in events[-1]:
            events.append(device.event())
            if events[-1] in (connected(peer.pk), disconnected(peer.pk)):
                came = events[-1] == connected(peer.pk)
                self.assertNotEqual(states[device.pk], came, "Connected and Disconnected alternate")
                states[device.pk] = came
        return events

    def test_ghosts(self):
        """Two hundred sessions that never say who they are leave no trace for the next."""
        for _ in range(200):
            self.unauthenticated().wire.reset()
        first, second = self.device(), self.device()
        first.expect(entered(second.pk))
        second.expect(entered(first.pk))
        second.close()
        first.expect(exited(second.pk))
        first.quiet()

    def test_memory_after_storms(self):
        """Five rounds of sixty sessions with traffic: memory does not grow from round to round."""
        sizes = []
        account = self.account
        for _ in range(5):
            devices = [self.unauthenticated(account) for _ in range(60)]
            for device in devices:
                device.command(iam(device.key.sign(device.challenge), device.pk))
            for device in devices:
                device.expect(AUTHENTICATED)
            for device in devices:
                device.wire.reset()
            self.device(self.server.account()).quiet()
            sizes.append(self.server.rss_bytes())
        self.assert_memory(sizes[-1] - sizes[0], 6 << 20, sizes)

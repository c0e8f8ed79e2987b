"""Flow control: a slow receiver stops its senders, nothing is lost, memory is bounded, and nobody else is slowed."""
import os
import random
import threading

from buckets import NO_SUCH_CONNECTION, Key, connect, connected, data_event, disconnected, pair, send_data
from harness import RelayTest, pause
from wsclient import CLOSE, PING, Timeout, frame

SMALL = 16384  # kernel buffer of a slow end, so that the relay's own queue is what fills
MIB = 1 << 20


class FlowTest(RelayTest):
    def slow_pair(self):
        """A sender and a receiver that reads only when told."""
        sender = self.device(self.server.account())
        receiver = self.device(self.server.account(), receive_buffer=SMALL)
        pair(sender, receiver)
        return sender, receiver

    def flood(self, sender, receiver, size, most_bytes):
        """Sends messages until the relay takes no more. Returns (texts sent whole, rest of the frame that was cut)."""
        texts, total = [], 0
        while total < most_bytes:
            text = len(texts).to_bytes(4, "big") + os.urandom(min(size, 64) - 4) * (size // 60 + 1)
            texts.append(text[:size])
            raw = frame(send_data(receiver.pk, texts[-1]))
            done = sender.wire.try_send(raw, 0.5)
            total += done
            if done < len(raw):
                return texts, raw[done:]
        self.fail(f"the relay took {total} bytes for a receiver that does not read")

    def test_sender_is_stopped_and_nothing_is_lost(self):
        """A receiver that does not read stops its sender; once it reads, everything arrives in order, once."""
        for size in (100, 4000, 200_000):
            with self.subTest(size=size):
                sender, receiver = self.slow_pair()
                texts, rest = self.flood(sender, receiver, size, 64 * MIB)
                finisher = threading.Thread(target=sender.wire.send, args=(rest,))
                finisher.start()
                receiver.expect(*(data_event(sender.pk, t) for t in texts))
                finisher.join()
                sender.command(send_data(receiver.pk, b"and on it goes"))
                receiver.expect(data_event(sender.pk, b"and on it goes"))
                receiver.quiet()

    def test_memory_is_bounded(self):
        """Four stuck pairs cost at most their queues: --queue-bytes each and some slack, never what was sent."""
        before = self.server.rss_bytes()
        pairs = [self.slow_pair() for _ in range(4)]
        for sender, receiver in pairs:
            self.flood(sender, receiver, 50_000, 64 * MIB)
        self.assert_memory(self.server.rss_bytes() - before, 4 * 3 * MIB)

    def test_memory_comes_back(self):
        """When stuck pairs leave, their memory serves others: three rounds cost no more than one."""
        grown = []
        for _ in range(3):
            pairs = [self.slow_pair() for _ in range(4)]
            for sender, receiver in pairs:
                self.flood(sender, receiver, 50_000, 64 * MIB)
            grown.append(self.server.rss_bytes())
            for sender, receiver in pairs:
                receiver.wire.reset()
                sender.wire.reset()
            self.strangers(1)[0].quiet()
        self.assert_memory(grown[2] - grown[0], 8 * MIB)

    def test_other_pairs_are_not_slowed(self):
        """While pairs are stuck on every shard, others exchange data at once."""
        for _ in range(3):
            self.flood(*self.slow_pair(), 20_000, 64 * MIB)
        for _ in range(6):
            first, second = self.strangers()
            pair(first, second)
            for number in range(50):
                first.command(send_data(second.pk, bytes([number]) * 3000))
                second.expect(data_event(first.pk, bytes([number]) * 3000))
                second.command(send_data(first.pk, bytes([number])))
                first.expect(data_event(second.pk, bytes([number])))

    def test_two_senders_of_a_slow_receiver(self):
        """Two senders flood one receiver: both wait, each one's data arrives whole and in order."""
        first, receiver = self.slow_pair()
        second = self.device(self.server.account())
        pair(second, receiver)
        flows = {s.pk: self.flood(s, receiver, 10_000, 64 * MIB) for s in (first, second)}
        threads = [threading.Thread(target=s.wire.send, args=(flows[s.pk][1],)) for s in (first, second)]
        for thread in threads:
            thread.start()
        expected = {pk: [data_event(pk, t) for t in texts] for pk, (texts, _) in flows.items()}
        while any(expected.values()):
            event = receiver.event()
            sender = next(pk for pk in expected if pk in event[:60])
            self.assertEqual(event, expected[sender].pop(0))
        for thread in threads:
            thread.join()

    def test_slow_receiver_still_sends(self):
        """A device that does not read may still send; its peer gets the data while the other way is stuck."""
        sender, receiver = self.slow_pair()
        self.flood(sender, receiver, 10_000, 64 * MIB)
        for number in range(100):
            receiver.command(send_data(sender.pk, bytes([number])))
        sender.expect(*(data_event(receiver.pk, bytes([n])) for n in range(100)))

    def test_control_events_are_not_starved(self):
        """Connected reaches a device whose data queue is full, behind the data that was accepted before."""
        sender, receiver = self.slow_pair()
        texts, rest = self.flood(sender, receiver, 10_000, 64 * MIB)
        other = self.device(self.server.account())
        receiver.command(connect(other.pk))
        other.command(connect(receiver.pk))
        other.expect(connected(receiver.pk))
        finisher = threading.Thread(target=sender.wire.send, args=(rest,))
        finisher.start()
        events = [receiver.event() for _ in range(len(texts) + 1)]
        finisher.join()
        self.assertIn(connected(other.pk), events)
        self.assertEqual([e for e in events if e != connected(other.pk)], [data_event(sender.pk, t) for t in texts])

    def test_disconnect_while_the_receiver_is_stuck(self):
        """The sender of a stuck receiver leaves: the receiver gets everything accepted, then Disconnected."""
        sender, receiver = self.slow_pair()
        texts, rest = self.flood(sender, receiver, 5000, 64 * MIB)
        finisher = threading.Thread(target=lambda: (sender.wire.send(rest), sender.wire.half_close()))
        finisher.start()
        receiver.expect(*(data_event(sender.pk, t) for t in texts), disconnected(sender.pk))
        finisher.join()

    def test_stuck_receiver_leaves(self):
        """A stuck receiver ends: its sender gets Disconnected, and what it sends then is No such connection."""
        sender, receiver = self.slow_pair()
        _, rest = self.flood(sender, receiver, 10_000, 64 * MIB)
        receiver.wire.reset()
        sender.wire.send(rest)
        sender.expect(disconnected(receiver.pk))
        event = NO_SUCH_CONNECTION
        while event == NO_SUCH_CONNECTION:  # for what was still on its way
            sender.command(connect(sender.pk))
            event = sender.event()
        self.assertIn(b"connect to self", event)

    def test_ping_flood_is_bounded(self):
        """A peer that pings without reading costs no memory without bound."""
        device = self.device(receive_buffer=SMALL)
        before = self.server.rss_bytes()
        raw = frame(b"p" * 125, opcode=PING) * 500
        total = 0
        for _ in range(300):
            done = device.wire.try_send(raw, 0.5)
            total += done
            if done < len(raw):
                break
        self.assert_memory(self.server.rss_bytes() - before, 8 * MIB, f"{total} bytes of pings")

    def test_error_event_flood_is_bounded(self):
        """A peer that makes error events without reading them costs no memory without bound; it may be closed for it."""
        device = self.device(receive_buffer=SMALL)
        before = self.server.rss_bytes()
        raw = frame(send_data(Key(b"\x05" * 32).public, b"") * 50) * 20
        try:
            for _ in range(1000):
                if device.wire.try_send(raw, 0.5) < len(raw):
                    break
        except OSError:
            pass
        self.assert_memory(self.server.rss_bytes() - before, 12 * MIB)

    def test_random_traffic_with_lazy_readers(self):
        """Ten pairs, random sizes, readers that pause: every stream arrives whole and in order."""
        chooser = random.Random(5)
        flows = []
        for _ in range(10):
            sender, receiver = self.slow_pair()
            texts = [os.urandom(chooser.choice((0, 10, 1000, 30_000, 120_000))) for _ in range(60)]
            raw = b"".join(frame(send_data(receiver.pk, t)) for t in texts)
            flows.append((sender, receiver, texts, threading.Thread(target=sender.wire.send, args=(raw,))))
        for *_, thread in flows:
            thread.start()
        left = [(s, r, list(t)) for s, r, t, _ in flows]
        while left:
            sender, receiver, texts = chooser.choice(left)
            for _ in range(chooser.randrange(1, 15)):
                if texts:
                    receiver.expect(data_event(sender.pk, texts.pop(0)))
            left = [flow for flow in left if flow[2]]
        for *_, thread in flows:
            thread.join()


class SlowConsumerTest(RelayTest):
    OPTIONS = ("--slow-timeout", "1s")

    def test_slow_consumer_is_closed(self):
        """A receiver that takes nothing for --slow-timeout is closed with 4001; its sender gets Disconnected and goes on."""
        sender = self.device(self.server.account())
        receiver = self.device(self.server.account(), receive_buffer=SMALL)
        bystander = self.device(self.server.account())
        pair(sender, receiver)
        pair(sender, bystander)
        raw = frame(send_data(receiver.pk, b"x" * 50_000))
        helper = threading.Thread(target=sender.wire.send, args=(raw * 400,))
        helper.start()
        sender.expect(disconnected(receiver.pk))
        event = None
        helper.join()
        sender.command(send_data(bystander.pk, b"free again"))
        bystander.expect(data_event(sender.pk, b"free again"))
        while event is None or event == NO_SUCH_CONNECTION:
            sender.command(connect(sender.pk))
            event = sender.event()
        self.assertIn(b"connect to self", event)
        seen = None
        try:
            while seen is None:
                got = receiver.read_frame()
                if got.opcode == CLOSE:
                    seen = (got.close_code(), got.close_reason())
        except Timeout:
            self.fail("the slow consumer was not told")
        self.assertEqual(seen, (4001, "slow consumer"))

    def test_slow_but_steady_is_not_closed(self):
        """A receiver that takes a little every now and then stays, for longer than --slow-timeout."""
        sender = self.device(self.server.account())
        receiver = self.device(self.server.account(), receive_buffer=SMALL)
        pair(sender, receiver)
        count = 120
        helper = threading.Thread(target=sender.wire.send, args=(frame(send_data(receiver.pk, b"x" * 50_000)) * count,))
        helper.start()
        for number in range(count):
            receiver.expect(data_event(sender.pk, b"x" * 50_000))
            if number % 4 == 0 and number < 60:
                pause(0.15)
        helper.join()
        receiver.quiet()

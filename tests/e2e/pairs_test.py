"""Connect, Connected, SendData, Data, Disconnect, Disconnected between devices, on whichever shards they are (protocols/buckets.md)."""
import os

from buckets import (CONNECT_SELF, DATA_MAX, NO_SUCH_CONNECTION, Key, connect, connected, data_event, disconnect, disconnected, iam, pair,
                     send_data)
from harness import RelayTest


class PairsTest(RelayTest):
    def test_connect_is_silent_until_mutual(self):
        """The first Connect gets no answer; the second makes Connected at both."""
        first, second = self.strangers()
        first.command(connect(second.pk))
        first.quiet()
        second.quiet()
        second.command(connect(first.pk))
        second.expect(connected(first.pk))
        first.expect(connected(second.pk))
        first.quiet()
        second.quiet()

    def test_connect_at_the_same_moment(self):
        """Both ask at once, many times over: exactly one Connected each."""
        for _ in range(10):
            first, second = self.strangers()
            first.command(connect(second.pk))
            second.command(connect(first.pk))
            first.expect(connected(second.pk))
            second.expect(connected(first.pk))
            first.quiet()
            second.quiet()

    def test_connect_again_is_silent(self):
        """Connect while asking and while connected: silence."""
        first, second = self.strangers()
        first.command(connect(second.pk) * 3)
        pair(first, second)
        first.command(connect(second.pk))
        second.command(connect(first.pk) * 2)
        first.quiet()
        second.quiet()

    def test_connect_to_self(self):
        """Connect to the own key: Can't connect to self."""
        device = self.device()
        device.command(connect(device.pk))
        got = device.read_frame()
        self.assertEqual((got.head, got.payload), (b"\x82\x28", CONNECT_SELF))

    def test_connect_to_an_unknown_key_is_silent_and_remembered(self):
        """Asking for an offline device is remembered while the asker stays."""
        first = self.device(self.server.account())
        key = Key()
        first.command(connect(key.public))
        first.quiet()
        second = self.device(self.server.account(), key=key)
        second.command(connect(first.pk))
        second.expect(connected(first.pk))
        first.expect(connected(second.pk))

    def test_request_survives_the_target_coming_back(self):
        """After the peer reconnects and asks, the old request still matches."""
        first, second = self.strangers()
        pair(first, second)
        second.close()
        first.expect(disconnected(second.pk))
        again = self.device(self.server.account(), key=second.key)
        again.quiet()
        again.command(connect(first.pk))
        again.expect(connected(first.pk))
        first.expect(connected(second.pk))

    def test_request_ends_with_its_asker(self):
        """A request is forgotten when the asker leaves: its next session has asked for nothing."""
        first, second = self.strangers()
        first.command(connect(second.pk))
        first.close()
        again = self.device(self.server.account(), key=first.key)
        second.command(connect(first.pk))
        second.quiet()
        again.quiet()
        again.command(connect(second.pk))
        again.expect(connected(second.pk))
        second.expect(connected(first.pk))

    def test_request_of_an_older_session_is_not_inherited(self):
        """A takeover starts without the requests and connections of the session before."""
        first, second = self.strangers()
        pair(first, second)
        newer = self.device(self.server.account(), key=first.key)
        second.expect(disconnected(first.pk))
        newer.command(send_data(second.pk, b"x"))
        newer.expect(NO_SUCH_CONNECTION)
        newer.command(connect(second.pk))
        newer.expect(connected(second.pk))
        second.expect(connected(first.pk))

    def test_send_without_a_connection(self):
        """SendData to an unknown key, oneself, or one that was only asked for: No such connection."""
        first, second = self.strangers()
        for target in (Key().public, first.pk, second.pk):
            first.command(send_data(target, b"x"))
            got = first.read_frame()
            self.assertEqual((got.head, got.payload), (b"\x82\x25", NO_SUCH_CONNECTION))
        first.command(connect(second.pk) + send_data(second.pk, b"x"))
        first.expect(NO_SUCH_CONNECTION)
        second.quiet()

    def test_disconnect(self):
        """Disconnect: Disconnected at both, then data is refused at both."""
        first, second = self.strangers()
        pair(first, second)
        first.command(disconnect(second.pk))
        first.expect(disconnected(second.pk))
        second.expect(disconnected(first.pk))
        for one, other in ((first, second), (second, first)):
            one.command(send_data(other.pk, b"x"))
            one.expect(NO_SUCH_CONNECTION)

    def test_disconnect_removes_only_the_own_request(self):
        """After A's Disconnect B's request stands: A's next Connect connects at once."""
        first, second = self.strangers()
        pair(first, second)
        first.command(disconnect(second.pk))
        first.expect(disconnected(second.pk))
        second.expect(disconnected(first.pk))
        second.quiet()
        first.command(connect(second.pk))
        first.expect(connected(second.pk))
        second.expect(connected(first.pk))

    def test_disconnect_takes_a_request_back(self):
        """Disconnect before the other asks: the other's Connect finds nothing."""
        first, second = self.strangers()
        first.command(connect(second.pk) + disconnect(second.pk))
        first.quiet()
        second.command(connect(first.pk))
        second.quiet()
        first.quiet()

    def test_disconnect_without_a_connection_is_silent(self):
        """Disconnect of unknown, never connected, or oneself: silence."""
        device = self.device()
        device.command(disconnect(Key().public) + disconnect(device.pk))
        device.quiet()

    def test_reconnecting_a_hundred_times(self):
        """Connect and Disconnect in turn: each event comes exactly once, in order."""
        first, second = self.strangers()
        second.command(connect(first.pk))
        for _ in range(100):
            first.command(connect(second.pk))
            first.expect(connected(second.pk))
            second.expect(connected(first.pk))
            first.command(disconnect(second.pk))
            first.expect(disconnected(second.pk))
            second.expect(disconnected(first.pk))
        first.quiet()
        second.quiet()

    def test_disconnect_and_connect_in_one_message(self):
        """Disconnect and Connect together while the other's request stands: Disconnected, then Connected, at both."""
        first, second = self.strangers()
        pair(first, second)
        for _ in range(20):
            first.command(disconnect(second.pk) + connect(second.pk))
            first.expect(disconnected(second.pk), connected(second.pk))
            second.expect(disconnected(first.pk), connected(first.pk))

    def test_leaving_disconnects_every_peer(self):
        """Close, reset and half-close: each peer gets Disconnected."""
        for end in ("close", "reset", "half"):
            with self.subTest(end=end):
                devices = self.strangers(5)
                for peer in devices[1:]:
                    pair(devices[0], peer)
                if end == "close":
                    self.assertEqual(devices[0].close()[0], 1000)
                elif end == "reset":
                    devices[0].wire.reset()
                else:
                    devices[0].wire.half_close()
                for peer in devices[1:]:
                    peer.expect(disconnected(devices[0].pk))
                    peer.quiet()

    def test_sending_to_one_who_left(self):
        """After Disconnected, SendData is No such connection."""
        first, second = self.strangers()
        pair(first, second)
        second.wire.reset()
        first.expect(disconnected(second.pk))
        first.command(send_data(second.pk, b"x"))
        first.expect(NO_SUCH_CONNECTION)

    def test_same_account_pairs(self):
        """Devices of one account connect like others."""
        first = self.device()
        second = self.device()
        first.event()
        second.event()
        pair(first, second)
        second.command(send_data(first.pk, b"x"))
        first.expect(data_event(second.pk, b"x"))

    def test_data_in_both_directions_in_order(self):
        """A thousand messages each way arrive whole, once, in order."""
        first, second = self.strangers()
        pair(first, second)
        texts = [os.urandom(1 + i % 300) for i in range(1000)]
        for text in texts:
            first.command(send_data(second.pk, text))
            second.command(send_data(first.pk, text))
        second.expect(*(data_event(first.pk, t) for t in texts))
        first.expect(*(data_event(second.pk, t) for t in texts))

    def test_one_device_with_many_peers(self):
        """A hub of twelve peers: every message reaches its own addressee only."""
        hub, *peers = self.strangers(13)
        for peer in peers:
            pair(hub, peer)
        for number in range(20):
            for peer in peers:
                hub.command(send_data(peer.pk, peer.pk + bytes([number])))
                peer.command(send_data(hub.pk, bytes([number])))
        for peer in peers:
            peer.expect(*(data_event(hub.pk, peer.pk + bytes([n])) for n in range(20)))
            peer.quiet()
        seen = {peer.pk: [] for peer in peers}
        for _ in range(20 * len(peers)):
            event = hub.event()
            seen[event[7:39]].append(event[-3])
        for got in seen.values():
            self.assertEqual(got, list(range(20)), "in order per sender")

    def test_binary_data_of_every_byte(self):
        """Payload is bytes: all 256 values, and text that looks like netstrings."""
        first, second = self.strangers()
        pair(first, second)
        for text in (bytes(range(256)) * 4, b"37:c32:", b",,,,", b"\0" * 1000, b"1:+,"):
            first.command(send_data(second.pk, text))
            second.expect(data_event(first.pk, text))

    def test_sizes_around_the_frame_length_forms(self):
        """Payloads that make the event's frame 125, 126, 65535 and 65536 bytes, and around the relay's buffer sizes."""
        first, second = self.strangers()
        pair(first, second)
        for size in (0, 1, 75, 76, 77, 78, 79, 80, 4096, 16383, 16384, 65480, 65485, 65486, 65487, 65488, 65489, 65490, 131072, 262144):
            text = os.urandom(size)
            first.command(send_data(second.pk, text))
            second.expect(data_event(first.pk, text))

    def test_largest_message(self):
        """999,955 bytes of data pass; the event is one unfragmented frame."""
        first, second = self.strangers()
        pair(first, second)
        text = os.urandom(DATA_MAX)
        first.command(send_data(second.pk, text))
        got = second.read_frame()
        self.assertEqual(got.head.hex(), "827f00000000000f4249")
        self.assertEqual(got.payload, data_event(first.pk, text))

    def test_too_large_message(self):
        """999,956 bytes are refused: the sender is closed with 1009, the peer gets Disconnected."""
        first, second = self.strangers()
        pair(first, second)
        first.command(send_data(second.pk, bytes(DATA_MAX + 1)))
        self.assertEqual(first.read_close()[0], 1009)
        second.expect(disconnected(first.pk))

    def test_many_large_messages(self):
        """Twenty messages of 999,955 bytes, taken at once by a reading peer, arrive whole."""
        first, second = self.strangers()
        pair(first, second)
        for number in range(20):
            text = bytes([number]) * DATA_MAX
            first.command(send_data(second.pk, text))
            second.expect(data_event(first.pk, text))

    def test_the_originals_client_sends(self):
        """bclient's way: Iam, Connect and SendData in one frame, then the TCP connection ends without a close frame; all arrives."""
        for number in range(10):
            receiver = self.device(self.server.account())
            sender = self.unauthenticated(self.server.account())
            receiver.command(connect(sender.pk))
            receiver.quiet()
            text = os.urandom(1 + 40_000 * number)
            proof = iam(sender.key.sign(sender.challenge), sender.pk)
            sender.command(proof + connect(receiver.pk) + send_data(receiver.pk, text))
            sender.wire.half_close()
            receiver.expect(connected(sender.pk), data_event(sender.pk, text), disconnected(sender.pk))

    def test_several_commands_in_one_message(self):
        """Several commands in one message act in order."""
        first, second = self.strangers()
        second.command(connect(first.pk))
        second.quiet()
        first.command(connect(second.pk) + send_data(second.pk, b"1") + send_data(second.pk, b"2") + disconnect(second.pk))
        first.expect(connected(second.pk), disconnected(second.pk))
        second.expect(connected(first.pk), data_event(first.pk, b"1"), data_event(first.pk, b"2"), disconnected(first.pk))

"""permessage-deflate (RFC 7692): negotiation, both directions, and what bounds it (protocols/buckets.md "Websocket layer")."""
import os
import random
import zlib

from buckets import data_event, disconnected, pair, send_data
from harness import RelayTest
from wsclient import BINARY, CONTINUATION, PING, TEXT, WebSocket, deflate, inflate

OFFER = "permessage-deflate"


class DeflateTest(RelayTest):
    def negotiate(self, offer, **options):
        session = WebSocket(self.server.port, user=self.account[0], password=self.account[1], extensions=offer, **options)
        self.sockets.append(session)
        return session.response

    def parameters(self, response):
        answer = response.header("Sec-Websocket-Extensions")
        name, *rest = [p.strip() for p in answer.split(";")]
        self.assertEqual(name, OFFER)
        return set(rest)

    def deflating(self, offer=OFFER):
        return self.device(self.server.account(), extensions=offer)

    # ---- negotiation ----

    def test_no_offer_no_extension(self):
        """Without an offer there is no Sec-Websocket-Extensions header."""
        self.assertIsNone(self.negotiate(None).header("Sec-Websocket-Extensions"))

    def test_offer_is_accepted_without_context_takeover(self):
        """The plain offer is accepted, with no_context_takeover both ways so that idle sessions pay nothing."""
        self.assertLessEqual({"server_no_context_takeover", "client_no_context_takeover"}, self.parameters(self.negotiate(OFFER)))

    def test_offered_parameters(self):
        """Offered parameters are granted or left alone as RFC 7692 7.1 allows."""
        for offer in ("; server_no_context_takeover", "; client_no_context_takeover", "; client_max_window_bits",
                      "; client_max_window_bits=10", '; client_max_window_bits="12"'):
            with self.subTest(offer=offer):
                answer = self.parameters(self.negotiate(OFFER + offer))
                if "client_max_window_bits" not in offer:
                    self.assertFalse(any(p.startswith("client_max_window_bits") for p in answer), "never without an offer")

    def test_server_max_window_bits(self):
        """server_max_window_bits=N is answered with at most N, and kept: the stream inflates with that window."""
        for bits in (9, 10, 12, 15):
            response = self.negotiate(f"{OFFER}; server_max_window_bits={bits}")
            answer = response.header("Sec-Websocket-Extensions")
            if answer is None:
                continue
            granted = [p for p in self.parameters(response) if p.startswith("server_max_window_bits=")]
            self.assertEqual(len(granted), 1)
            self.assertLessEqual(int(granted[0].split("=")[1]), bits)
            first, second = self.deflating(), self.deflating(f"{OFFER}; server_max_window_bits={bits}")
            pair(first, second)
            text = (os.urandom(700) * 40)[:20000]
            first.command(send_data(second.pk, text))
            got = second.read_frame()
            plain = zlib.decompressobj(-bits).decompress(got.payload + b"\0\0\xff\xff") if got.rsv else got.payload
            self.assertEqual(plain, data_event(first.pk, text))

    def test_invalid_parameters_decline_the_offer(self):
        """Unknown parameters, values out of range and repeats: that offer is declined, the connection is plain."""
        for offer in ("; nonsense", "; server_max_window_bits=7", "; server_max_window_bits=16", "; client_no_context_takeover=1",
                      "; server_no_context_takeover; server_no_context_takeover"):
            with self.subTest(offer=offer):
                response = self.negotiate(OFFER + offer)
                self.assertEqual(response.status, 101)
                self.assertIsNone(response.header("Sec-Websocket-Extensions"))

    def test_fallback_offer(self):
        """The first acceptable offer of several counts; other extensions are passed over."""
        for offer in (f"{OFFER}; nonsense, {OFFER}", f"x-webkit-deflate-frame, {OFFER}", f"other; a=1; b, {OFFER}; client_max_window_bits"):
            with self.subTest(offer=offer):
                self.parameters(self.negotiate(offer))

    # ---- messages ----

    def test_small_events_are_plain(self):
        """Messages below 1024 bytes are not compressed."""
        first, second = self.deflating(), self.deflating()
        pair(first, second)
        first.command(send_data(second.pk, b"a" * 500))
        got = second.read_frame()
        self.assertEqual((got.rsv, got.payload), (0, data_event(first.pk, b"a" * 500)))

    def test_large_events_are_compressed(self):
        """From 1024 bytes a compressible event is compressed, as one frame with RSV1."""
        first, second = self.deflating(), self.deflating()
        pair(first, second)
        for size in (1000, 10_000, 999_955):
            first.command(send_data(second.pk, b"a" * size))
            got = second.read_frame()
            self.assertEqual((got.rsv, got.fin, got.opcode), (4, True, BINARY))
            self.assertLess(len(got.payload), size // 10)
            self.assertEqual(inflate(got.payload), data_event(first.pk, b"a" * size))

    def test_incompressible_events_stay_plain(self):
        """Random bytes would not become smaller, so they go plain."""
        first, second = self.deflating(), self.deflating()
        pair(first, second)
        text = os.urandom(50_000)
        first.command(send_data(second.pk, text))
        got = second.read_frame()
        self.assertEqual((got.rsv, got.payload), (0, data_event(first.pk, text)))

    def test_compressed_commands(self):
        """Compressed commands of all sizes; plain ones between them."""
        first, second = self.deflating(), self.device(self.server.account())
        pair(first, second)
        for size in (0, 1, 100, 5000, 200_000, 999_955):
            text = (os.urandom(100) * (size // 100 + 1))[:size]
            first.send(deflate(send_data(second.pk, text)), rsv=4)
            second.expect(data_event(first.pk, text))
            first.send(send_data(second.pk, text))
            second.expect(data_event(first.pk, text))

    def test_compressed_fragments(self):
        """A compressed message in fragments (RSV1 on the first only), with a ping between them."""
        first, second = self.deflating(), self.deflating()
        pair(first, second)
        packed = deflate(send_data(second.pk, b"fragmented " * 100))
        cuts = [packed[i:i + 7] for i in range(0, len(packed), 7)]
        for number, part in enumerate(cuts):
            first.send(part, opcode=CONTINUATION if number else BINARY, rsv=0 if number else 4, fin=number == len(cuts) - 1)
            if number == 1:
                first.send(b"between", opcode=PING)
                self.assertEqual(first.read_frame().payload, b"between")
        got, _ = second.read_message()
        self.assertEqual(got, data_event(first.pk, b"fragmented " * 100))

    def test_compressed_message_of_several_blocks(self):
        """Stored blocks, final blocks and several blocks in one message inflate as well."""
        first, second = self.deflating(), self.device(self.server.account())
        pair(first, second)
        whole = send_data(second.pk, b"blocks" * 50)
        stored = zlib.compressobj(0, zlib.DEFLATED, -15)
        first.send((stored.compress(whole) + stored.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)
        second.expect(data_event(first.pk, b"blocks" * 50))
        several = zlib.compressobj(9, zlib.DEFLATED, -15)
        parts = b"".join(several.compress(whole[i:i + 40]) + several.flush(zlib.Z_FULL_FLUSH) for i in range(0, len(whole), 40))
        first.send(parts[:-4], rsv=4)
        second.expect(data_event(first.pk, b"blocks" * 50))

    def test_several_commands_and_splits_inside_compression(self):
        """The inflated bytes are the same stream of netstrings: many commands, or a part of one, per message."""
        first, second = self.deflating(), self.device(self.server.account())
        pair(first, second)
        whole = b"".join(send_data(second.pk, str(n).encode()) for n in range(100))
        chooser = random.Random(3)
        while whole:
            size = chooser.randrange(1, 400)
            first.send(deflate(whole[:size]), rsv=4)
            whole = whole[size:]
        second.expect(*(data_event(first.pk, str(n).encode()) for n in range(100)))

    def test_both_ends_differ(self):
        """A plain device and a deflating one exchange data."""
        first, second = self.deflating(), self.device(self.server.account())
        pair(first, second)
        second.command(send_data(first.pk, b"z" * 5000))
        self.assertEqual(first.read_message(), (data_event(second.pk, b"z" * 5000), True))

    # ---- bounds ----

    def refused(self, payload, code, opcode=BINARY, peer_too=True):
        first, second = self.deflating(), self.device(self.server.account())
        pair(first, second)
        before = self.server.rss_bytes()
        first.send(payload, rsv=4, opcode=opcode)
        self.assertEqual(first.read_close()[0], code)
        if peer_too:
            second.expect(disconnected(first.pk))
        return self.server.rss_bytes() - before

    def test_broken_compression(self):
        """Bytes that do not inflate: 1007."""
        self.refused(b"\xff\xff\xff\xff rubbish", 1007)

    def test_bombs(self):
        """20 MB and 100 MB that come as 20 and 100 KB: 1009, and memory stays bounded."""
        for megabytes in (20, 100):
            grown = self.refused(deflate(b"0" * megabytes * 1_000_000), 1009)
            self.assert_memory(grown, 40 << 20)

    def test_compressed_text_must_be_utf8(self):
        """Text is checked after inflating: 1007."""
        self.refused(deflate(b"\xff\xfe"), 1007, opcode=TEXT)

    def test_rsv1_on_a_continuation(self):
        """RSV1 belongs on the first frame only: 1002."""
        device = self.deflating()
        device.send(b"1", fin=False)
        device.send(b"2", opcode=CONTINUATION, rsv=4)
        self.assertEqual(device.read_close()[0], 1002)

    def test_rsv1_on_a_control_frame(self):
        """Control frames are never compressed: 1002."""
        device = self.deflating()
        device.send(b"x", opcode=PING, rsv=4)
        self.assertEqual(device.read_close()[0], 1002)


class NoDeflateTest(RelayTest):
    OPTIONS = ("--no-deflate",)

    def test_no_deflate(self):
        """--no-deflate: the offer is declined, RSV1 is an error."""
        device = self.device(extensions=OFFER)
        self.assertIsNone(device.response.header("Sec-Websocket-Extensions"))
        device.send(deflate(b"x"), rsv=4)
        self.assertEqual(device.read_close()[0], 1002)

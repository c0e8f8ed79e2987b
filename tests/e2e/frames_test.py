"""WebSocket as RFC 6455 demands: fragments, control frames, close handshake, UTF-8, masks, reserved bits, lengths."""
import os
import struct

from buckets import NO_SUCH_CONNECTION, connect, data_event, disconnected, netstring, pair, send_data
from harness import RelayTest
from wsclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, frame


class FramesTest(RelayTest):
    def closes(self, raw, code):
        """These bytes on an authenticated session end it with this code and a short reason; its peer is told."""
        device, peer = self.strangers()
        pair(device, peer)
        device.wire.send(raw)
        got = device.read_frame()
        while got.opcode != CLOSE:
            got = device.read_frame()
        self.assertEqual(got.close_code(), code, got.payload)
        self.assertTrue(0 < len(got.close_reason()) <= 123, "a short reason")
        device.send(got.payload, opcode=CLOSE)
        self.assertEqual(device.wire.rest(), b"")
        peer.expect(disconnected(device.pk))

    # ---- protocol errors: 1002 ----

    def test_unmasked_frame(self):
        """A client must mask (5.1): 1002."""
        self.closes(frame(b"x", masked=False), 1002)

    def test_reserved_bits(self):
        """RSV2, RSV3, and RSV1 without an extension: 1002 (5.2)."""
        for rsv in (1, 2, 4, 7):
            self.closes(frame(b"x", rsv=rsv), 1002)
        self.closes(frame(b"x", opcode=PING, rsv=4), 1002)

    def test_reserved_opcodes(self):
        """Opcodes 3 to 7 and 11 to 15: 1002 (5.2)."""
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.closes(frame(b"", opcode=opcode), 1002)

    def test_stray_continuation(self):
        """A continuation without a start: 1002 (5.4)."""
        self.closes(frame(b"x", opcode=CONTINUATION), 1002)
        self.closes(frame(b"x", opcode=CONTINUATION, fin=False), 1002)

    def test_new_message_inside_a_message(self):
        """A text or binary frame inside a fragmented message: 1002 (5.4)."""
        self.closes(frame(b"3", fin=False) + frame(b"x"), 1002)
        self.closes(frame(b"3", fin=False) + frame(b"x", opcode=TEXT), 1002)

    def test_control_frames_are_short_and_whole(self):
        """Control frames over 125 bytes or fragmented: 1002 (5.5)."""
        for opcode in (PING, PONG, CLOSE):
            self.closes(frame(b"x" * 126, opcode=opcode), 1002)
            self.closes(frame(b"", opcode=opcode, fin=False), 1002)

    def test_length_forms(self):
        """The highest bit of a 64-bit length: 1002 (5.2)."""
        self.closes(bytes([0x82, 0xFF]) + struct.pack(">Q", 1 << 63) + b"mask", 1002)

    def test_close_of_one_byte(self):
        """A close frame with a payload of one byte: 1002 (5.5.1)."""
        self.closes(frame(b"\x03", opcode=CLOSE), 1002)

    def test_invalid_close_codes(self):
        """Codes that must not be sent: 1002 (7.4)."""
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
            self.closes(frame(close_payload(code), opcode=CLOSE), 1002)

    # ---- UTF-8: 1007 ----

    def test_invalid_text(self):
        """Text that is not UTF-8: 1007 (8.1); a bad byte in a later fragment too, and a character cut by the end."""
        for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
            self.closes(frame(bad, opcode=TEXT), 1007)
        self.closes(frame(b"10:x", opcode=TEXT, fin=False) + frame(b"\xff", opcode=CONTINUATION), 1007)

    def test_invalid_close_reason(self):
        """A close reason that is not UTF-8: 1007."""
        self.closes(frame(close_payload(1000) + b"\xff\xfe", opcode=CLOSE), 1007)

    def test_character_split_over_fragments(self):
        """A character may be split over fragments of a text."""
        whole = "3:xxh\u00e9llo \u20ac \U0001f600".encode()
        for cut in range(1, len(whole)):
            if (whole[cut] & 0xC0) == 0x80:
                device = self.device()
                device.send(whole[:cut], opcode=TEXT, fin=False)
                device.send(whole[cut:], opcode=CONTINUATION)
                self.assertEqual(device.read_close()[0], 1002, "valid UTF-8; what is wrong is the netstring")

    # ---- too big: 1009 ----

    def test_oversized_frame(self):
        """A frame head that announces gigabytes: 1009, before the payload comes."""
        self.closes(bytes([0x82, 0xFF]) + struct.pack(">Q", 1 << 40) + b"mask", 1009)

    # ---- control frames ----

    def test_ping(self):
        """Ping of 0 to 125 bytes: a pong of the same payload, authenticated or not."""
        for device in (self.device(), self.unauthenticated()):
            for size in (0, 1, 4, 124, 125):
                payload = os.urandom(size)
                device.send(payload, opcode=PING)
                got = device.read_frame()
                self.assertEqual((got.head[0], got.payload), (0x8A, payload))

    def test_unsolicited_pong(self):
        """A pong nobody asked for is ignored (5.5.3)."""
        device = self.device()
        device.send(b"hello", opcode=PONG)
        device.quiet()

    def test_control_frames_between_fragments(self):
        """Ping and pong between the fragments of a message (5.4)."""
        first, second = self.strangers()
        pair(first, second)
        whole = send_data(second.pk, b"interleaved")
        first.send(whole[:10], fin=False)
        first.send(b"now", opcode=PING)
        self.assertEqual(first.read_frame().payload, b"now")
        first.send(whole[10:20], opcode=CONTINUATION, fin=False)
        first.send(b"", opcode=PONG)
        first.send(whole[20:], opcode=CONTINUATION)
        second.expect(data_event(first.pk, b"interleaved"))

    def test_empty_fragments_and_messages(self):
        """Empty messages, empty fragments, and messages of empty fragments only are nothing."""
        first, second = self.strangers()
        pair(first, second)
        whole = send_data(second.pk, b"x")
        for opcode in (BINARY, TEXT):
            first.send(b"", opcode=opcode)
            first.send(b"", opcode=opcode, fin=False)
            first.send(b"", opcode=CONTINUATION, fin=False)
            first.send(b"", opcode=CONTINUATION)
        first.send(b"", fin=False)
        first.send(whole, opcode=CONTINUATION, fin=False)
        first.send(b"", opcode=CONTINUATION)
        second.expect(data_event(first.pk, b"x"))

    def test_one_byte_fragments(self):
        """A message of a fragment per byte."""
        first, second = self.strangers()
        pair(first, second)
        whole = send_data(second.pk, b"piecemeal")
        frames = [frame(bytes([b]), opcode=CONTINUATION if i else BINARY, fin=i == len(whole) - 1) for i, b in enumerate(whole)]
        first.wire.send(b"".join(frames))
        second.expect(data_event(first.pk, b"piecemeal"))

    def test_masks(self):
        """Zero mask, mask of ones, and payloads at every alignment unmask rightly."""
        first, second = self.strangers()
        pair(first, second)
        for mask in (bytes(4), b"\xff" * 4, b"\x01\x02\x03\x04"):
            for size in (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 1000):
                text = os.urandom(size)
                first.send(send_data(second.pk, text), mask=mask)
                second.expect(data_event(first.pk, text))

    def test_longer_length_forms_than_needed(self):
        """A length in a longer form than needed is a protocol error (5.2: the minimal number of bytes) or is taken; never misread."""
        for form in (16, 64):
            first, second = self.strangers()
            pair(first, second)
            first.send(send_data(second.pk, b"x"), length_form=form)
            self.assertIn(second.event(), (data_event(first.pk, b"x"), disconnected(first.pk)))

    def test_frame_byte_by_byte(self):
        """A frame may come in any pieces."""
        first, second = self.strangers()
        pair(first, second)
        for form in (7, 16, 64):
            size = {7: 20, 16: 200, 64: 66000}[form]
            whole = frame(send_data(second.pk, b"y" * size))
            for byte in whole[:100]:
                first.wire.send(bytes([byte]))
            first.wire.send(whole[100:])
            second.expect(data_event(first.pk, b"y" * size))

    def test_large_fragmented_message(self):
        """The largest command in fragments of all sizes, and a stream of commands in one message of 5 MB."""
        first, second = self.strangers()
        pair(first, second)
        text = os.urandom(999_955)
        whole = send_data(second.pk, text)
        for size in (100_000, 65_535, 125_000):
            parts = [whole[i:i + size] for i in range(0, len(whole), size)]
            for number, part in enumerate(parts):
                first.send(part, opcode=CONTINUATION if number else BINARY, fin=number == len(parts) - 1)
            second.expect(data_event(first.pk, text))
        for number in range(5):
            first.send(whole, opcode=CONTINUATION if number else BINARY, fin=number == 4)
            second.expect(data_event(first.pk, text))

    # ---- the close handshake ----

    def test_close_echoes_the_code(self):
        """The answer to a close carries its code (5.5.1), then the connection ends."""
        for code in (1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4001, 4999):
            device = self.device()
            self.assertEqual(device.close(code, "bye")[0], code)

    def test_empty_close(self):
        """A close without a code is answered and ends the connection."""
        device = self.device()
        device.send(b"", opcode=CLOSE)
        got = device.read_frame()
        self.assertEqual(got.opcode, CLOSE)
        self.assertIn(got.close_code(), (1000, 1005))
        self.assertEqual(device.wire.rest(), b"")

    def test_close_with_the_longest_reason(self):
        """A close reason of 123 bytes of UTF-8."""
        device = self.device()
        self.assertEqual(device.close(1000, "\u00e9" * 61 + "x")[0], 1000)

    def test_frames_after_close_are_ignored(self):
        """Data behind a close frame does not count."""
        first, second = self.strangers()
        pair(first, second)
        first.wire.send(frame(close_payload(1000), opcode=CLOSE) + frame(send_data(second.pk, b"never")) + frame(b"late", opcode=PING))
        self.assertEqual(first.read_frame().close_code(), 1000)
        self.assertEqual(first.wire.rest(), b"")
        second.expect(disconnected(first.pk))
        second.quiet()

    def test_data_before_close_arrives(self):
        """What was sent before the close frame reaches the peer."""
        first, second = self.strangers()
        pair(first, second)
        texts = [os.urandom(1000) for _ in range(200)]
        first.wire.send(b"".join(frame(send_data(second.pk, t)) for t in texts) + frame(close_payload(1000), opcode=CLOSE))
        second.expect(*(data_event(first.pk, t) for t in texts), disconnected(first.pk))

    def test_close_before_authentication(self):
        """An unauthenticated session closes properly too."""
        self.assertEqual(self.unauthenticated().close(1000)[0], 1000)

    def test_events_wait_for_no_close(self):
        """Events that are under way come before the close frame's echo."""
        device = self.device()
        device.wire.send(frame(send_data(b"k" * 32, b"x")) + frame(close_payload(1000), opcode=CLOSE))
        device.expect(NO_SUCH_CONNECTION)
        self.assertEqual(device.read_frame().close_code(), 1000)

    def test_wrong_input_in_a_fragment_ends_at_once(self):
        """A malformed netstring in the first fragment is refused before the message ends."""
        device = self.device()
        device.send(b"bad", fin=False)
        self.assertEqual(device.read_close()[0], 1002)

    def test_http_inside_the_websocket(self):
        """Bytes of HTTP after the upgrade are a frame error, never a second response."""
        device = self.device()
        device.wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(device.read_close()[0], 1002)

    def test_session_closed_by_error_is_gone(self):
        """After a protocol error the key is free again: a new session of it enters and connects."""
        device, peer = self.strangers()
        device.command(netstring(b"?"))
        self.assertEqual(device.read_close()[0], 1002)
        again = self.device(self.server.account(), key=device.key)
        again.command(connect(peer.pk))
        peer.command(connect(again.pk))
        self.assertTrue(again.event().startswith(b"37:c32:"))

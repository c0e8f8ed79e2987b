"""Wrong protocol input ends that session alone, with a close frame that says why; commands before it count ("Protocol errors")."""
import random

from buckets import (NO_SUCH_CONNECTION, Key, connect, connected, data_event, disconnected, message, netstring, pair, send_data)
from harness import RelayTest
from wsclient import CONTINUATION, frame

PK = Key(b"\x07" * 32).public


class NetstringTest(RelayTest):
    def assert_refused(self, data, code, authenticated=True):
        account = self.account
        device = self.device(account) if authenticated else self.unauthenticated(account)
        device.command(data)
        while True:
            got = device.read_frame()
            if got.opcode == 8:
                break
        self.assertEqual(got.close_code(), code, f"{data[:60]!r}: {got.payload!r}")
        self.assertTrue(0 < len(got.close_reason()) <= 123, "a short reason")
        device.send(got.payload, opcode=8)
        self.assertEqual(device.wire.rest(), b"")

    def test_unknown_commands(self):
        """Unknown command bytes, event bytes used as commands, an empty body: 1002, authenticated or not."""
        for data in (message("q", PK), message("?", PK), message("+"), message("E", b"x", b"y"), b"0:,", message("\0"), message("I", PK)):
            self.assert_refused(data, 1002)
            self.assert_refused(data, 1002, authenticated=False)

    def test_malformed_lengths(self):
        """Non-digit, leading zero, no digits, a sign, a blank: 1002."""
        for data in (b"x7:c32:", b":,", b"07:c", b"00:,", b"-1:c,", b"+37:c", b" 37:c", b"3 7:c", b"3a:c"):
            self.assert_refused(data, 1002)

    def test_missing_comma(self):
        """The outer netstring must end with a comma: 1002."""
        self.assert_refused(connect(PK)[:-1] + b".", 1002)

    def test_too_long_netstring_is_refused_early(self):
        """Length 1000001, and endless digits, are refused as soon as they are read: 1009."""
        self.assert_refused(b"1000001:", 1009)
        self.assert_refused(b"9" * 50, 1009)

    def test_arguments(self):
        """Missing argument, inner garbage, inner length too long or malformed: 1002."""
        for body in (b"c", b"d" + netstring(PK), b"i" + netstring(bytes(64)), b"c" + netstring(PK) + b"zzz", b"c33:" + PK + b",",
                     b"c32:" + PK + b".",
                     b"c" + b"032:" + PK + b",", b"c32" + PK, b"x", b"d", b"i", b"d" + netstring(PK) + b"5:hell,"):
            self.assert_refused(netstring(body), 1002)

    def test_extra_netstring_is_ignored(self):
        """A well-formed extra argument is ignored, as the original does."""
        device = self.device()
        device.command(message("c", PK, b"extra"))
        device.quiet()

    def test_commands_before_the_error_count(self):
        """Commands before the wrong one in the same message are carried out, and their events arrive before the close."""
        first, second = self.strangers()
        second.command(connect(first.pk))
        second.quiet()
        first.command(connect(second.pk) + send_data(second.pk, b"counts") + b"bad")
        first.expect(connected(second.pk))
        self.assertEqual(first.read_close()[0], 1002)
        second.expect(connected(first.pk), data_event(first.pk, b"counts"), disconnected(first.pk))

    def test_commands_after_the_error_do_not_count(self):
        """What follows a wrong command is not looked at."""
        first, second = self.strangers()
        pair(first, second)
        first.command(b"0:," + send_data(second.pk, b"never"))
        self.assertEqual(first.read_close()[0], 1002)
        second.expect(disconnected(first.pk))

    def test_only_the_offender_pays(self):
        """Another session of the same account and its peer go on."""
        good, peer = self.strangers()
        pair(good, peer)
        for _ in range(10):
            self.assert_refused(b"rubbish", 1002)
        good.command(send_data(peer.pk, b"fine"))
        peer.expect(data_event(good.pk, b"fine"))

    def test_command_split_over_messages(self):
        """Input is a stream of netstrings: a command may be split over messages anywhere."""
        first, second = self.strangers()
        pair(first, second)
        whole = send_data(second.pk, b"split")
        for cut in range(len(whole) + 1):
            first.command(whole[:cut])
            first.command(whole[cut:])
            second.expect(data_event(first.pk, b"split"))

    def test_command_byte_by_byte(self):
        """Each byte in a message of its own, empty messages in between."""
        first, second = self.strangers()
        pair(first, second)
        for byte in send_data(second.pk, b"slow"):
            first.command(bytes([byte]))
            first.command(b"")
        second.expect(data_event(first.pk, b"slow"))

    def test_command_split_over_fragments(self):
        """A message of many fragments carries one command, or several, wherever the cuts are."""
        first, second = self.strangers()
        pair(first, second)
        chooser = random.Random(7)
        for _ in range(50):
            texts = [bytes([chooser.randrange(256)]) * chooser.randrange(200) for _ in range(3)]
            whole = b"".join(send_data(second.pk, t) for t in texts)
            cuts = sorted(chooser.randrange(len(whole)) for _ in range(5))
            parts = [whole[a:b] for a, b in zip([0] + cuts, cuts + [len(whole)])]
            for number, part in enumerate(parts):
                first.send(part, opcode=CONTINUATION if number else 2, fin=number == len(parts) - 1)
            second.expect(*(data_event(first.pk, t) for t in texts))

    def test_many_commands_in_one_message(self):
        """Two thousand commands in one message are all carried out, in order."""
        first, second = self.strangers()
        pair(first, second)
        texts = [str(n).encode() for n in range(2000)]
        first.command(b"".join(send_data(second.pk, t) for t in texts))
        second.expect(*(data_event(first.pk, t) for t in texts))

    def test_bytes_in_random_tcp_pieces(self):
        """However TCP cuts the stream of frames, the result is the same."""
        first, second = self.strangers()
        pair(first, second)
        chooser = random.Random(11)
        texts = [bytes([n % 256]) * chooser.choice((0, 1, 100, 5000)) for n in range(60)]
        stream = b"".join(frame(send_data(second.pk, t)) for t in texts)
        while stream:
            size = chooser.choice((1, 2, 3, 7, 100, 1500, 20000))
            first.wire.send(stream[:size])
            stream = stream[size:]
        second.expect(*(data_event(first.pk, t) for t in texts))

    def test_half_a_command_and_gone(self):
        """A session that leaves in the middle of a command leaves nothing behind."""
        first, second = self.strangers()
        pair(first, second)
        first.command(send_data(second.pk, b"x" * 100_000)[:50_000])
        first.wire.reset()
        second.expect(disconnected(first.pk))
        second.command(send_data(first.pk, b"x"))
        second.expect(NO_SUCH_CONNECTION)

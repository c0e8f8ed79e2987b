"""Time limits, login throttle and the bounds on how many (issue "Foundation", sections 2 and 3)."""
import time
import unittest

from buckets import Key, data_event, disconnected, pair, send_data
from harness import OVER_TLS, PASSWORD, SHARDS, RelayTest, wait_for
from wsclient import BINARY, CLOSE, CONTINUATION, PING, PONG, Response, WebSocket, Wire, basic, http, request_head

WS_FIELDS = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
             ("Sec-WebSocket-Version", "13")]


class TimeLimitsTest(RelayTest):
    OPTIONS = ("--http-timeout", "400ms", "--iam-timeout", "600ms", "--ping-interval", "500ms")

    def test_half_a_head_is_408(self):
        """No complete request head in time: 408 and the end, about then."""
        wire = self.wire()
        started = time.monotonic()
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        response = Response(wire)
        self.assertEqual((response.status, response.header("Connection")), (408, "close"))
        self.assertEqual(wire.rest(), b"")
        self.assertGreater(time.monotonic() - started, 0.3)

    def test_dripping_head_is_408(self):
        """Bytes that keep coming do not extend the time for the head."""
        wire = self.wire()
        started = time.monotonic()
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\nA: ")
        while not wire.buffer and time.monotonic() < started + 5:
            wire.send(b"a")
            try:
                wire.fill(time.monotonic() + 0.05)
            except AssertionError:
                continue
        self.assertEqual(Response(wire).status, 408)
        self.assertLess(time.monotonic() - started, 4)

    def test_idle_kept_connection_is_closed(self):
        """A kept-alive connection without a next request ends silently, or with a 408."""
        response = self.get("/health")
        rest = response.wire.rest()
        self.assertTrue(rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest)

    def test_silent_connection_ends(self):
        """A connection that sends nothing at all ends in time."""
        rest = self.wire().rest()
        self.assertTrue(rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest)

    def test_no_iam_in_time(self):
        """A session that does not answer the challenge in time is closed with 4002."""
        self.assertEqual(self.unauthenticated().read_close()[0], 4002)

    def test_failed_iam_does_not_extend_the_time(self):
        """A session whose Iam was wrong is closed by the same limit."""
        device = self.unauthenticated()
        device.command(b"105:i64:" + bytes(64) + b",32:" + device.pk + b",,")
        device.event()
        self.assertEqual(device.read_close()[0], 4002)

    def test_silent_session_is_pinged(self):
        """After --ping-interval of silence a ping comes; who answers stays."""
        device = self.device()
        for _ in range(5):
            got = device.read_frame()
            self.assertEqual(got.opcode, PING)
            device.send(got.payload, opcode=PONG)
        device.quiet()

    def test_any_input_counts_as_life(self):
        """A session that talks is not pinged."""
        device = self.device()
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            device.quiet()

    def test_dead_session_is_closed(self):
        """Two pings without an answer: the session ends (4004) and its peer gets Disconnected."""
        dead, peer = self.strangers()
        pair(dead, peer)
        got = dead.read_frame()
        pings = 0
        while got.opcode == PING:
            pings += 1
            if pings == 1:
                self.answer(peer)
            got = dead.read_frame()
        self.assertEqual((pings, got.opcode, got.close_code()), (2, CLOSE, 4004))
        peer.expect(disconnected(dead.pk))

    def answer(self, device):
        """Shows life without reading what came."""
        device.send(b"", opcode=PONG)

    def test_connections_end_without_peers_help(self):
        """A closing session whose peer never answers the close frame is ended by the relay."""
        device = self.device()
        device.command(b"bad")
        while device.read_frame().opcode != CLOSE:
            pass
        self.assertEqual(device.wire.rest(), b"")


class ThrottleTest(RelayTest):
    def login(self, user, password, source):
        headers = WS_FIELDS + [("Authorization", basic(user, password))]
        response = http(self.server.port, "/v1/relay", wire=Wire(self.server.port, source=source), headers=headers)
        response.wire.close()
        return response

    def test_failures_of_one_address(self):
        """Many wrong passwords from one address: 429 with Retry-After; another address still gets in."""
        user = self.account[0]
        for number in range(200):
            response = self.login(f"nobody{number}@example.com", "wrong", "127.9.9.9")
            if response.status == 429:
                break
            self.assertEqual(response.status, 403)
        self.assertEqual(response.status, 429)
        self.assertGreater(int(response.header("Retry-After")), 0)
        self.assertEqual(int(response.header("Content-Length")), len(response.body))
        self.assertEqual(self.login(user, PASSWORD, "127.9.9.8").status, 101)

    def test_failures_on_one_account(self):
        """Many wrong passwords for one account from many addresses: 429 for it; other accounts still get in."""
        victim, other = self.server.account(), self.server.account()
        for number in range(200):
            response = self.login(victim[0], "wrong", f"127.8.{number}.1")
            if response.status == 429:
                break
            self.assertEqual(response.status, 403)
        self.assertEqual(response.status, 429)
        self.assertEqual(self.login(*other, "127.8.255.1").status, 101)

    def test_successes_are_not_throttled(self):
        """Two hundred good logins of one account from one address all succeed, fast: the password is hashed once."""
        started = time.monotonic()
        for _ in range(200):
            self.assertEqual(self.login(*self.account, "127.7.7.7").status, 101)
        self.assertLess(time.monotonic() - started, 10)


class SessionsMaxTest(RelayTest):
    OPTIONS = ("--max-sessions", "8")

    @unittest.skipIf(OVER_TLS, "who is not let in gets no handshake")
    def test_more_sessions_are_answered_503(self):
        """Beyond --max-sessions: 503 with Retry-After; room again when one leaves."""
        held, refused = [], None
        for _ in range(20):
            session = WebSocket(self.server.port, user=self.account[0], password=self.account[1])
            self.sockets.append(session)
            if session.response.status != 101:
                refused = session.response
                break
            held.append(session)
        self.assertIsNotNone(refused, "all 20 got in")
        self.assertEqual(refused.status, 503)
        self.assertGreater(int(refused.header("Retry-After")), 0)
        self.assertEqual(len(held), 8, "the limit is that of all shards together")
        for session in held:
            session.wire.reset()

        def room_again():
            session = WebSocket(self.server.port, user=self.account[0], password=self.account[1])
            session.wire.close()
            return session.response.status == 101

        wait_for("room after sessions left", room_again)


class MessageLimitsTest(RelayTest):
    def test_half_read_messages_are_bounded(self):
        """Twenty sessions that each hold half of the largest message cost about that much, and it comes back."""
        before = self.server.rss_bytes()
        for round_number in range(3):
            held = self.strangers(20)
            for device in held:
                device.send(send_data(Key(b"\x03" * 32).public, bytes(900_000))[:500_000], fin=False, opcode=BINARY)
                device.quiet()
            self.assert_memory(self.server.rss_bytes() - before, 40 << 20, f"round {round_number}")
            for device in held:
                device.wire.reset()

    def test_message_without_end(self):
        """A message that never ends may carry commands for ever, or is refused with 1009; memory does not grow."""
        first, second = self.strangers()
        pair(first, second)
        before = self.server.rss_bytes()
        piece = send_data(second.pk, b"e" * 100_000)
        first.send(piece, fin=False)
        try:
            for _ in range(400):
                second.expect(data_event(first.pk, b"e" * 100_000))
                first.send(piece, opcode=CONTINUATION, fin=False)
        except (AssertionError, OSError):
            self.assertEqual(first.read_close()[0], 1009)
        self.assert_memory(self.server.rss_bytes() - before, 16 << 20)

    def test_request_head_in_a_hurry(self):
        """A hundred upgrades at once are all answered."""
        wires = [self.wire() for _ in range(100)]
        for wire in wires:
            wire.send(request_head("/v1/relay", headers=WS_FIELDS + [("Authorization", basic(*self.account))]))
        self.assertEqual({Response(wire).status for wire in wires}, {101})

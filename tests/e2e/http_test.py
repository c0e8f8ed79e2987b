"""The HTTP layer: the table of protocols/buckets.md "HTTP layer", with one well-formed response each in place of the original's wrongs."""
import base64
import re

from harness import PASSWORD, RelayTest
from wsclient import Frame, Response, basic, request_head

WS_FIELDS = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
             ("Sec-WebSocket-Version", "13")]


class HttpTest(RelayTest):
    def relay(self, authorization=None, path="/v1/relay", method="GET", fields=None, drop=()):
        headers = [f for f in (WS_FIELDS if fields is None else fields) if f[0] not in drop]
        if authorization:
            headers = headers + [("Authorization", authorization)]
        return self.get(path, method=method, headers=headers)

    def good(self, **request):
        return self.relay(basic(*self.account), **request)

    def assert_refused(self, response, status, reason):
        """One whole response that ends the connection."""
        self.assertEqual(response.status_line, f"HTTP/1.1 {status} {reason}")
        self.assertEqual(response.fields[0][0], "Date", "Date comes first")
        self.assertEqual(int(response.header("Content-Length")), len(response.body))
        self.assertEqual(response.header("Connection"), "close")
        self.assertEqual(response.wire.rest(), b"", "one response only, then the end")

    def test_every_answer_is_safe_to_show(self):
        """Pages, resources and refusals carry the security headers; no answer says which program or version speaks."""
        for path in ("/", "/v1/", "/health", "/versions", "/nothing-here", "/v1/relay"):
            response = self.get(path)
            with self.subTest(path=path):
                self.assertEqual(response.header("X-Content-Type-Options"), "nosniff")
                self.assertEqual(response.header("X-Frame-Options"), "DENY")
                self.assertEqual(response.header("Referrer-Policy"), "no-referrer")
                self.assertIn("default-src 'none'", response.header("Content-Security-Policy"))
                self.assertIsNone(response.header("Server"))
                self.assertEqual(len({name for name, _ in response.fields}), len(response.fields), "each once")
                self.assertNotIn(b"shardrelay", response.raw_head.lower())

    # ---- logging in ----

    def test_good_credentials_switch_protocols(self):
        """101 with Date first, Upgrade, Connection and Sec-Websocket-Accept as printed, and the Who frame behind it."""
        response = self.good()
        self.assertEqual(response.status_line, "HTTP/1.1 101 Switching Protocols")
        self.assertEqual([f for f, _ in response.fields], ["Date", "Upgrade", "Connection", "Sec-Websocket-Accept"])
        self.assertEqual(response.header("Sec-Websocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the example of RFC 6455 1.3")
        self.assertRegex(response.header("Date"), r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
        self.assertEqual(Frame(response.wire).head, b"\x82\x29")

    def test_wrong_password_is_403(self):
        """Wrong credentials: 403 Forbidden with Content-Length and Connection: close."""
        response = self.relay(basic(self.account[0], "wrong"))
        self.assert_refused(response, 403, "Forbidden")
        self.assertEqual(response.body, b"403 Forbidden")

    def test_refusals_are_not_told_apart(self):
        """Unknown user and wrong password get identical bytes, but for the date."""
        answers = [self.relay(basic(user, "wrong")) for user in (self.account[0], "nobody@example.com")]
        heads = [re.sub(rb"Date: [^\r]*", b"", a.raw_head) + a.body for a in answers]
        self.assertEqual(heads[0], heads[1])

    def test_bad_authorization_headers_are_403(self):
        """No Authorization, lower-case basic, Bearer, undecodable base64, no colon, _license without a key: 403."""
        text = base64.b64encode(f"{self.account[0]}:{PASSWORD}".encode()).decode()
        for value in (None, "basic " + text, "Bearer " + text, "Basic !!!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic",
                      basic("_license", "x.y.z")):
            with self.subTest(authorization=value):
                self.assert_refused(self.relay(value), 403, "Forbidden")

    def test_login_is_checked_before_the_upgrade(self):
        """No WebSocket headers and no credentials: 403, not 400."""
        self.assert_refused(self.relay(fields=[]), 403, "Forbidden")

    def test_email_case_does_not_matter(self):
        """The e-mail is lower-cased before the look-up."""
        self.assertEqual(self.relay(basic(self.account[0].upper(), PASSWORD)).status, 101)

    def test_password_may_hold_colons_and_base64_may_lack_padding(self):
        """The first colon separates; padding is optional."""
        account = self.server.add_user("padding@example.com", "a:b:cd")
        encoded = base64.b64encode(":".join(account).encode()).decode()
        self.assertTrue(encoded.endswith("="), "the case is about padding")
        self.assertEqual(self.relay("Basic " + encoded).status, 101)
        self.assertEqual(self.relay("Basic " + encoded.rstrip("=")).status, 101)

    def test_query_is_ignored_and_a_trailing_slash_is_not(self):
        """/v1/relay?x=y is the relay, /v1/relay/ is 404."""
        self.assertEqual(self.good(path="/v1/relay?x=y").status, 101)
        self.assertEqual(self.good(path="/v1/relay/").status, 404)

    # ---- the upgrade ----

    def test_no_websocket_headers_is_400(self):
        """Good credentials without WebSocket headers: 400."""
        self.assert_refused(self.good(fields=[]), 400, "Bad Request")

    def test_malformed_version_is_400(self):
        """Sec-WebSocket-Version: xx is 400."""
        self.assert_refused(self.good(fields=WS_FIELDS[:3] + [("Sec-WebSocket-Version", "xx")]), 400, "Bad Request")

    def test_other_version_is_426(self):
        """Sec-WebSocket-Version: 12 gets one 426 that names 13 (RFC 6455 4.4)."""
        response = self.good(fields=WS_FIELDS[:3] + [("Sec-WebSocket-Version", "12")])
        self.assertEqual(response.header("Sec-WebSocket-Version"), "13")
        self.assert_refused(response, 426, "Upgrade Required")

    def test_missing_upgrade_headers_are_forgiven(self):
        """No Upgrade and Connection headers: still 101, as the original."""
        self.assertEqual(self.good(drop=("Upgrade", "Connection")).status, 101)

    def test_missing_key_is_forgiven(self):
        """No Sec-WebSocket-Key: still 101, as the original."""
        self.assertEqual(self.good(drop=("Sec-WebSocket-Key",)).status, 101)

    def test_subprotocol_is_not_answered(self):
        """Sec-WebSocket-Protocol: 101 without the protocol header."""
        response = self.good(fields=WS_FIELDS + [("Sec-WebSocket-Protocol", "proto")])
        self.assertEqual(response.status, 101)
        self.assertIsNone(response.header("Sec-WebSocket-Protocol"))

    def test_malformed_extensions_are_400(self):
        """A Sec-WebSocket-Extensions header that is no list of extensions: 400."""
        self.assert_refused(self.good(fields=WS_FIELDS + [("Sec-WebSocket-Extensions", "permessage-deflate; =;;")]), 400, "Bad Request")

    def test_header_names_in_any_case(self):
        """Header names are case-insensitive."""
        fields = [(name.upper(), value) for name, value in WS_FIELDS]
        self.assertEqual(self.relay(basic(*self.account), fields=fields).status, 101)

    def test_head_byte_by_byte(self):
        """A request head may come in any pieces."""
        wire = self.wire()
        for byte in request_head("/v1/relay", headers=WS_FIELDS + [("Authorization", basic(*self.account))]):
            wire.send(bytes([byte]))
        self.assertEqual(Response(wire).status, 101)

    def test_frames_behind_the_head_in_one_packet(self):
        """Bytes that follow the upgrade request at once are WebSocket input (here: a ping)."""
        wire = self.wire()
        wire.send(request_head("/v1/relay", headers=WS_FIELDS + [("Authorization", basic(*self.account))]) + bytes.fromhex("8980 00000000"))
        self.assertEqual(Response(wire).status, 101)
        self.assertEqual(Frame(wire).opcode, 2, "Who")
        self.assertEqual(Frame(wire).opcode, 10, "Pong")

    # ---- methods ----

    def test_other_methods_on_the_relay_are_405(self):
        """POST, HEAD, PUT, DELETE on /v1/relay: one 405 with Allow, and nothing is processed."""
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
            with self.subTest(method=method):
                response = self.good(method=method)
                self.assertEqual(response.status, 405)
                self.assertIn("GET", response.header("Allow"))
                response.wire.half_close()
                self.assertEqual(response.wire.rest(), b"", "one response only")

    def test_other_methods_on_pages_are_405(self):
        """POST on a page: 405, Allow: GET, HEAD."""
        response = self.get("/versions", method="POST", headers=[("Content-Length", "0")])
        self.assertEqual(response.status, 405)
        self.assertEqual({m.strip() for m in response.header("Allow").split(",")}, {"GET", "HEAD"})

    def test_head_has_no_body(self):
        """HEAD: the head of GET with its Content-Length, without the body."""
        wire = self.get("/health", method="HEAD").wire
        response = self.get("/health", wire=wire)
        self.assertEqual((response.status, response.body), (200, b"OK"))

    # ---- pages ----

    def test_versions(self):
        """GET /versions lists version 1 with its ways to log in."""
        response = self.get("/versions")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.body, b'{"versions":[{"version":"1","authMethods":["usernamepassword"]}]}')

    def test_root_redirects(self):
        """GET /: 307 to /v1/."""
        response = self.get("/")
        self.assertEqual((response.status, response.header("Location")), (307, "/v1/"))

    def test_home_page(self):
        """GET /v1/: a page; /v1 is 404."""
        response = self.get("/v1/")
        self.assertEqual(response.status, 200)
        self.assertTrue(response.header("Content-Type").startswith("text/html"))
        self.assertIn(b"</html>", response.body)
        self.assertEqual(self.get("/v1").status, 404)

    def test_health(self):
        """GET /health: 200 without credentials."""
        self.assertEqual(self.get("/health").status, 200)

    def test_unknown_paths_are_404(self):
        """Anything else: 404."""
        for path in ("/nothing", "/v1/relay/x", "/V1/RELAY", "/..", "/v2/relay"):
            with self.subTest(path=path):
                self.assertEqual(self.get(path).status, 404)

    # ---- connections ----

    def test_keep_alive(self):
        """HTTP/1.1 requests share a connection, also over a 404 and a 405."""
        first = self.get("/health")
        for path, status in (("/versions", 200), ("/nothing", 404), ("/", 307), ("/v1/", 200), ("/health", 200)):
            self.assertEqual(self.get(path, wire=first.wire).status, status)

    def test_upgrade_on_a_kept_connection(self):
        """The upgrade may follow other requests."""
        wire = self.get("/health").wire
        wire.send(request_head("/v1/relay", headers=WS_FIELDS + [("Authorization", basic(*self.account))]))
        self.assertEqual(Response(wire).status, 101)
        self.assertEqual(Frame(wire).head, b"\x82\x29")

    def test_pipelining(self):
        """Requests sent at once are answered in order."""
        wire = self.wire()
        wire.send(b"".join(request_head(p) for p in ("/health", "/versions", "/nothing", "/health")))
        self.assertEqual([Response(wire).status for _ in range(4)], [200, 200, 404, 200])

    def test_connection_close_is_honoured(self):
        """Connection: close and HTTP/1.0 end the connection after the answer."""
        response = self.get("/health", headers=[("Connection", "close")])
        self.assertEqual(response.header("Connection"), "close")
        self.assertEqual(response.wire.rest(), b"")
        self.assertEqual(self.get("/health", version="1.0").wire.rest(), b"")

    # ---- refusals ----

    def test_malformed_requests_are_400(self):
        """No HTTP, bad header lines, no Host, NUL, folded header, conflicting lengths: 400 and the end."""
        for raw in (b"hello\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
                    b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
                    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                    b"GET  HTTP/1.1\r\nHost: x\r\n\r\n"):
            with self.subTest(raw=raw):
                wire = self.wire()
                wire.send(raw)
                response = Response(wire)
                self.assertEqual(response.status, 400)
                self.assertEqual(wire.rest(), b"", "one response only")

    def test_long_head_is_431(self):
        """A head beyond 8192 bytes: 431, whether or not it ends."""
        for tail in (b"", b"\r\n\r\n"):
            wire = self.wire()
            wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9000 + tail)
            self.assertEqual(Response(wire).status, 431)

    def test_many_headers_are_431(self):
        """More than 64 header fields: 431."""
        self.assertEqual(self.get("/health", headers=[(f"H{i}", "x") for i in range(70)]).status, 431)

    def test_large_body_is_413(self):
        """A body beyond the limit: 413 at once, without reading it."""
        self.assertEqual(self.get("/health", method="POST", headers=[("Content-Length", "10000000")]).status, 413)

    def test_disconnect_in_the_middle_of_a_head(self):
        """A client that leaves in the middle of its request harms nobody."""
        wire = self.wire()
        wire.send(b"GET /v1/relay HTTP/1.1\r\nHos")
        wire.reset()
        self.assertEqual(self.get("/health").status, 200)

    def test_disconnect_while_the_password_is_checked(self):
        """A client that leaves while its password is hashed harms nobody."""
        for _ in range(10):
            wire = self.wire()
            wire.send(request_head("/v1/relay", headers=WS_FIELDS + [("Authorization", basic(*self.server.account()))]))
            wire.reset()
        self.assertEqual(self.good().status, 101)

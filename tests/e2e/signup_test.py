"""Registration by /v1/auth: requests, answers, letters, limits; over mail servers of these tests (protocols/buckets.md "/v1/auth")."""
import gzip
import itertools
import json
import re
import sqlite3
import time

import mailsink
from harness import PASSWORD, RelayTest, wait_for
from wsclient import BINARY, CLOSE, TEXT, Frame, WebSocket, frame, loopback_address, request_head

NEW_PASSWORD = "another:horse battery"
SERIAL = itertools.count(1)


class SignupTest(RelayTest):
    """Postmark unless a subclass says otherwise."""

    @classmethod
    def setUpClass(cls):
        cls.sink = cls.make_sink()
        try:
            super().setUpClass()
        except BaseException:
            cls.sink.stop()
            raise

    @classmethod
    def make_sink(cls):
        sink = mailsink.postmark()
        cls.ENV = {"POSTMARK_API_KEY": "key", "POSTMARK_API_URL": f"http://127.0.0.1:{sink.port}/email",
                   "SHARDRELAY_PUBLIC_URL": "https://relay.example", "SHARDRELAY_MAIL_FROM": "Relay <relay@relay.example>"}
        return sink

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.sink.stop()

    def setUp(self):
        super().setUp()
        self.source = loopback_address()
        self.auth = None

    @staticmethod
    def new_email():
        return f"new{next(SERIAL)}@example.com"

    def connect(self, **options):
        session = WebSocket(self.server.port, path="/v1/auth", **{"source": self.source, **options})
        self.sockets.append(session)
        self.assertEqual(session.response.status, 101)
        return session

    def raw(self, text, opcode=TEXT):
        """The answer to one message."""
        if self.auth is None:
            self.auth = self.connect()
        self.auth.send(text.encode(), opcode=opcode)
        got = Frame(self.auth.wire)
        self.assertEqual((got.opcode, got.fin), (TEXT, True), got.payload)
        return got.payload.decode()

    def call(self, command, **arguments):
        return self.raw(json.dumps({"id": 1, "command": command, "args": arguments}))

    def expect(self, answer, command, **arguments):
        self.assertEqual(self.call(command, **arguments), answer)

    def register(self, email=None, password=PASSWORD):
        """A new account that is not verified, and its letter."""
        email = email or self.new_email()
        self.expect('{"id":1,"response":true}', "register", email=email, password=password)
        return email, self.sink.letter(email)

    def verified(self):
        email, letter = self.register()
        self.expect('{"id":1,"response":true}', "verify", email=email, code=letter.code)
        return email, PASSWORD

    def login_status(self, email, password):
        session = WebSocket(self.server.port, user=email, password=password)
        self.sockets.append(session)
        return session.response.status

    def sql(self, statement, *values):
        database = sqlite3.connect(self.server.database, timeout=10)
        with database:
            rows = database.execute(statement, values).fetchall()
        database.close()
        return rows


class FlowTest(SignupTest):
    def test_register_verify_login(self):
        """register, the letter, verify, and the account works; before it does not."""
        email, letter = self.register()
        self.assertEqual(self.login_status(email, PASSWORD), 403)
        self.expect('{"id":1,"response":true}', "verify", email=email, code=letter.code)
        first, second = self.device((email, PASSWORD)), self.device((email, PASSWORD))
        first.event()
        second.event()
        second.quiet()

    def test_letter(self):
        """Postmark's form, the original's subjects and texts, and a link with the code behind '#'."""
        email, letter = self.register()
        self.assertEqual(letter.headers["X-Postmark-Server-Token"], "key")
        self.assertEqual(letter.headers["Content-Type"], "application/json")
        self.assertEqual(list(letter.headers["body"]), ["From", "To", "Subject", "MessageStream", "TextBody"])
        self.assertEqual((letter.sender, letter.subject), ("Relay <relay@relay.example>", "Buckets Relay - Email Verification"))
        self.assertTrue(letter.text.startswith(f"Use this code to verify your email address:\n\n{letter.code}\n"))
        self.assertEqual(letter.link, f"https://relay.example/v1/#verify?email={email.replace('@', '%40')}&code={letter.code}")
        self.expect('{"id":1}', "resetPassword", email=email)
        letter = self.sink.letter(email)
        self.assertEqual(letter.subject, "Buckets Relay - Password Reset")
        self.assertTrue(letter.text.startswith(f"Use this code to change your password:\n\n{letter.code}\n"))

    def test_database_is_as_the_original_makes_it(self):
        """A registered user is a row that the original reads: lower-case e-mail, argon2id hash, not verified; tokens have their form."""
        email = self.new_email().upper()
        self.expect('{"id":1,"response":true}', "register", email=email, password=PASSWORD)
        self.sink.letter(email.lower())
        row = self.sql("select id, pwhash, emailverified, blocked from user where email = ?", email.lower())[0]
        self.assertTrue(row[1].startswith("$argon2id$v=19$m=9765,t=3,p=1$"))
        self.assertEqual(row[2:], (0, 0))
        token, expires = self.sql("select token, expires from emailtoken where user_id = ?", row[0])[0]
        self.assertRegex(token, "^[0-9A-F]{32}$")
        self.assertRegex(expires, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")

    def test_duplicate(self):
        """A second register is refused, in any letter case; the first password stays."""
        email, letter = self.register()
        self.expect('{"id":1,"error":"Account already exists"}', "register", email=email.upper(), password=NEW_PASSWORD)
        self.expect('{"id":1,"response":true}', "verify", email=email.upper(), code=letter.code)
        self.assertEqual(self.login_status(email, PASSWORD), 101)
        self.assertEqual(self.login_status(email, NEW_PASSWORD), 403)

    def test_change_password(self):
        """resetPassword, updatePassword: the new one works, the old one does not, and who is connected is closed with 4003."""
        account = self.verified()
        device = self.device(account)
        self.expect('{"id":1}', "resetPassword", email=account[0])
        code = self.sink.letter(account[0]).code
        self.assertEqual(self.login_status(*account), 101, "asking for a code changes nothing")
        self.expect('{"id":1}', "updatePassword", token=code, new_password=NEW_PASSWORD)
        self.assertEqual(device.read_close()[0], 4003)
        self.assertEqual(self.login_status(*account), 403)
        self.assertEqual(self.login_status(account[0], NEW_PASSWORD), 101)
        self.expect('{"id":1,"error":"Not found"}', "updatePassword", token=code, new_password=PASSWORD)

    def test_codes_are_per_user(self):
        """A code for one user touches nobody else's and counts for nobody else (the original deletes everybody's)."""
        first, letter = self.register()
        second, other = self.register()
        self.expect('{"id":1,"response":false}', "verify", email=second, code=letter.code)
        self.expect('{"id":1,"response":true}', "verify", email=first, code=letter.code)
        self.expect('{"id":1,"response":true}', "verify", email=second, code=other.code)

    def test_three_newest_codes(self):
        """The three newest codes of a user are good, older ones are not; using one spends the others."""
        email, letter = self.register()
        codes = [letter.code]
        for _ in range(3):
            self.expect('{"id":1,"response":true}', "sendVerify", email=email)
            codes.append(self.sink.letter(email).code)
        self.expect('{"id":1,"response":false}', "verify", email=email, code=codes[0])
        self.expect('{"id":1,"response":true}', "verify", email=email, code=codes[1])
        self.assertEqual(self.sql("select count(*) from emailtoken where user_id = (select id from user where email = ?)", email), [(0,)])

    def test_expired_codes(self):
        """Both kinds of code end after an hour (the original's verification codes never do)."""
        email, letter = self.register()
        limit = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 3600 + 5))
        self.assertTrue(self.sql("select 1 from emailtoken where token = ? and expires <= ?", letter.code, limit))
        self.sql("update emailtoken set expires = datetime('now', '-1 second') where token = ?", letter.code)
        self.expect('{"id":1,"response":false}', "verify", email=email, code=letter.code)
        self.expect('{"id":1}', "resetPassword", email=email)
        code = self.sink.letter(email).code
        self.sql("update pwreset set expires = datetime('now', '-1 second') where token = ?", code)
        self.expect('{"id":1,"error":"Not found"}', "updatePassword", token=code, new_password=NEW_PASSWORD)

    def test_verified_once_and_for_all(self):
        """Whoever is verified may send any code."""
        email, _ = self.verified()
        self.expect('{"id":1,"response":true}', "verify", email=email, code="")

    def test_unknown_user(self):
        """Not found."""
        for command, arguments in (("sendVerify", {}), ("verify", {"code": "0" * 32}), ("resetPassword", {})):
            self.expect('{"id":1,"error":"Not found"}', command, email="nobody@example.com", **arguments)
        self.expect('{"id":1,"error":"Not found"}', "updatePassword", token="0" * 32, new_password=NEW_PASSWORD)

    def test_code_survives_a_bad_password(self):
        """A password that is refused does not spend the code."""
        email, _ = self.verified()
        self.call("resetPassword", email=email)
        code = self.sink.letter(email).code
        self.expect('{"id":1,"error":"Password must have at least 8 characters"}', "updatePassword", token=code, new_password="short")
        self.expect('{"id":1}', "updatePassword", token=code, new_password=NEW_PASSWORD)


class RequestTest(SignupTest):
    def test_form_of_arguments(self):
        """E-mail addresses have a form, passwords 8 characters to 1 KiB."""
        for email in ("", "me", "me@", "a b@c", "me@me.com\r\nBcc: you@you.com", "x" * 250 + "@me.com"):
            self.expect('{"id":1,"error":"Not an email address"}', "register", email=email, password=PASSWORD)
        for password in ("", "1234567", "\u00e4" * 7):
            self.expect('{"id":1,"error":"Password must have at least 8 characters"}', "register", email="a@b", password=password)
        self.expect('{"id":1,"error":"Password must have at most 1024 bytes"}', "register", email="a@b", password="x" * 1025)
        self.register(password="\u00e4" * 8)
        email, letter = self.register(password="\U0001f511" * 256)
        self.expect('{"id":1,"response":true}', "verify", email=email, code=letter.code)
        self.assertEqual(self.login_status(email, "\U0001f511" * 256), 101)

    def test_ids_are_echoed(self):
        """The id comes back as it is, ahead of the rest."""
        for value in ("1", '"a\\"b"', "null", "-7", "[1,2]"):
            answer = self.raw(f'{{"id":{value},"command":"verify","args":{{"email":"nobody@x.org","code":"1"}}}}')
            self.assertEqual(answer, f'{{"id":{value},"error":"Not found"}}')

    def test_error_answers(self):
        """Unknown command, missing arguments."""
        self.assertEqual(self.raw('{"id":1,"command":"fly","args":{}}'), '{"id":1,"error":"Unknown command"}')
        self.assertEqual(self.raw('{"id":1,"command":"register"}'), '{"id":1,"error":"Unexpected error"}')
        self.assertEqual(self.raw('{"id":1,"command":"register","args":{"email":"a@b"}}'), '{"id":1,"error":"Unexpected error"}')
        self.assertEqual(self.raw('{"id":1,"command":"fly","args":{}}', opcode=BINARY), '{"id":1,"error":"Unknown command"}')

    def test_what_is_no_request(self):
        """No JSON object, or none with an id: close 1007, where the original writes HTTP into the stream. Too long: 1009."""
        for text, code in (("hello", 1007), ("[]", 1007), ('{"command":"register"}', 1007), ("", 1007), ("[" * 16000, 1007),
                           (" " * 17000, 1009)):
            with self.subTest(text=text[:20]):
                session = self.connect()
                session.send(text.encode(), opcode=TEXT)
                self.assertEqual(session.read_close()[0], code)

    def test_several_at_once(self):
        """Requests that come at once, cut anywhere, are answered in order."""
        session = self.connect()
        texts = [json.dumps({"id": i, "command": "verify", "args": {"email": "nobody@x.org", "code": "1"}}).encode() for i in range(5)]
        data = b"".join(frame(t[:9], opcode=TEXT, fin=False) + frame(t[9:], opcode=0) for t in texts)
        for at in range(0, len(data), 50):
            session.wire.send(data[at:at + 50])
        self.assertEqual([json.loads(Frame(session.wire).payload)["id"] for _ in texts], list(range(5)))

    def test_compressed(self):
        """permessage-deflate is taken here too."""
        session = self.connect(extensions="permessage-deflate")
        session.send(b'{"id":3,"command":"fly","args":{}}', opcode=TEXT)
        self.assertEqual(session.read_message()[0], b'{"id":3,"error":"Unknown command"}')

    def test_leaving_meanwhile(self):
        """Clients that leave while their request is under way harm nobody."""
        for _ in range(5):
            email = self.new_email()
            session = self.connect()
            session.send(json.dumps({"id": 1, "command": "register", "args": {"email": email, "password": PASSWORD}}).encode(), opcode=TEXT)
            session.wire.reset()
        self.register_after_strays()

    def register_after_strays(self):
        email = self.new_email()
        self.expect('{"id":1,"response":true}', "register", email=email, password=PASSWORD)
        while self.sink.letter().to != email:
            pass

    def test_usage_does_not_count(self):
        """What is said here is in nobody's statistics, as in the original."""
        self.register()
        account = self.server.account()
        self.device(account)
        wait_for("usage", lambda: [row for row in self.server.stats()["users"] if row["user"] == account[0]])
        self.assertNotIn(self.source, [row["ip"] for row in self.server.stats()["ips"]])

    def test_other_methods(self):
        """It is a WebSocket: no upgrade 400, POST 405."""
        self.assertEqual(self.get("/v1/auth").status, 400)
        self.assertEqual(self.get("/v1/auth", method="POST").status, 405)


class LimitsTest(SignupTest):
    def expect_throttled(self, command, **arguments):
        answer = json.loads(self.call(command, **arguments))
        self.assertEqual((list(answer), answer["error"]), (["id", "error", "retryAfter"], "Too many requests"))
        self.assertGreater(answer["retryAfter"], 0)

    def elsewhere(self):
        """From now on another source address."""
        self.source = loopback_address()
        self.auth = None

    def test_letters_to_a_mailbox(self):
        """Nobody can fill a mailbox: four letters, then one in five minutes, whoever asks; other mailboxes go on."""
        email, _ = self.register()
        for _ in range(3):
            self.elsewhere()
            self.expect('{"id":1,"response":true}', "sendVerify", email=email)
            self.sink.letter(email)
        self.elsewhere()
        self.expect_throttled("sendVerify", email=email)
        self.expect_throttled("resetPassword", email=email)
        self.register()
        self.assertTrue(self.sink.letters.empty())

    def test_accounts_by_an_address(self):
        """Ten accounts at once from an address; another address goes on."""
        for _ in range(10):
            self.register()
        self.expect_throttled("register", email=self.new_email(), password=PASSWORD)
        self.elsewhere()
        self.register()

    def test_guesses_by_an_address(self):
        """Ten wrong codes from an address, then not even the right one."""
        email, letter = self.register()
        for i in range(10):
            self.expect('{"id":1,"error":"Not found"}', "updatePassword", token=f"{i:032X}", new_password=NEW_PASSWORD)
        self.expect_throttled("updatePassword", token="0" * 32, new_password=NEW_PASSWORD)
        self.expect_throttled("verify", email=email, code=letter.code)
        self.elsewhere()
        self.expect('{"id":1,"response":true}', "verify", email=email, code=letter.code)

    def test_guesses_at_an_account(self):
        """Ten wrong codes for an account, from wherever, then it waits; other accounts do not."""
        email, _ = self.register()
        other, letter = self.register()
        for i in range(10):
            self.elsewhere()
            self.expect('{"id":1,"response":false}', "verify", email=email, code=f"{i:032X}")
        self.elsewhere()
        self.expect_throttled("verify", email=email, code="0" * 32)
        self.expect('{"id":1,"response":true}', "verify", email=other, code=letter.code)

    def test_asking_for_users(self):
        """Asking who has an account counts as guessing."""
        for i in range(10):
            self.expect('{"id":1,"error":"Not found"}', "resetPassword", email=f"nobody{i}@x.org")
        self.expect_throttled("resetPassword", email="nobody@x.org")


class MailTest(SignupTest):
    def test_mail_refused(self):
        """Postmark says no: the original's error; the account is there, and a code can be sent later."""
        self.sink.statuses.append(422)
        email = self.new_email()
        self.expect('{"id":1,"error":"Failed to send email"}', "register", email=email, password=PASSWORD)
        self.expect('{"id":1,"error":"Account already exists"}', "register", email=email, password=PASSWORD)
        self.expect('{"id":1,"response":true}', "sendVerify", email=email)
        self.expect('{"id":1,"response":true}', "verify", email=email, code=self.sink.letter(email).code)
        self.sink.statuses.append(422)
        self.expect('{"id":1,"error":"Failed to send email"}', "resetPassword", email=email)

    def test_tried_again(self):
        """A passing failure is tried again; the user does not notice."""
        self.sink.statuses += [500, 503]
        self.register()

    def test_stuck_mail_server(self):
        """A mail server that takes requests and answers none: logins, data and other answers go on."""
        self.sink.held.clear()
        self.addCleanup(self.sink.held.set)
        waiting = []
        for _ in range(6):
            session = self.connect()
            request = {"id": 1, "command": "register", "args": {"email": self.new_email(), "password": PASSWORD}}
            session.send(json.dumps(request).encode(), opcode=TEXT)
            waiting.append(session)
        self.device(self.server.account()).quiet()
        self.expect('{"id":1,"error":"Not found"}', "verify", email="nobody@x.org", code="")
        self.sink.held.set()
        for session in waiting:
            self.assertEqual(Frame(session.wire).payload, b'{"id":1,"response":true}')
            self.sink.letter()


class StopTest(SignupTest):
    def test_stop_with_mail_under_way(self):
        """SIGTERM does not wait for a mail server; who waits for it is told 1001."""
        self.sink.held.clear()
        session = self.connect()
        email = self.new_email()
        session.send(json.dumps({"id": 1, "command": "register", "args": {"email": email, "password": PASSWORD}}).encode(), opcode=TEXT)
        wait_for("the account", lambda: self.sql("select 1 from emailtoken where user_id = (select id from user where email = ?)", email))
        self.server.signal()
        got = Frame(session.wire)
        self.assertEqual((got.opcode, got.close_code()), (CLOSE, 1001))
        session.wire.close()
        self.assertEqual(self.server.wait(), 0)

    def tearDown(self):
        self.sink.held.set()
        self.server.start()
        super().tearDown()


class SmtpTest(SignupTest):
    @classmethod
    def make_sink(cls):
        sink = mailsink.smtp()
        cls.ENV = {}
        cls.OPTIONS = ("--smtp-url", f"smtp://127.0.0.1:{sink.port}", "--mail-from", "Relay <relay@relay.example>",
                       "--public-url", "https://relay.example/")
        return sink

    def test_letter(self):
        """A message of RFC 5322 with the code and the link."""
        email, letter = self.register()
        self.assertEqual((letter.sender, letter.to), ("relay@relay.example", email))
        self.assertEqual((letter.headers["From"], letter.headers["To"]), ("Relay <relay@relay.example>", email))
        self.assertEqual(letter.subject, "Buckets Relay - Email Verification")
        self.assertTrue(letter.link.startswith("https://relay.example/v1/#verify?email="))
        for name in ("Date", "Message-ID", "MIME-Version", "Content-Type"):
            self.assertIn(name, letter.headers)
        self.expect('{"id":1,"response":true}', "verify", email=email, code=letter.code)

    def test_refused_recipient(self):
        """A server that refuses the recipient for good is not asked again; one that says later is."""
        self.sink.statuses.append(550)
        self.expect('{"id":1,"error":"Failed to send email"}', "register", email=self.new_email(), password=PASSWORD)
        self.sink.statuses.append(450)
        self.register()


class LogTest(SignupTest):
    @classmethod
    def make_sink(cls):
        cls.ENV = {}
        return mailsink.smtp()  # nobody asks it

    def test_letters_are_printed(self):
        """Without a mail service: said loudly at the start, and letters are printed with their codes."""
        self.assertIn("MAIL_TO_LOG", self.server.stderr())
        email = self.new_email()
        self.expect('{"id":1,"response":true}', "register", email=email, password=PASSWORD)
        code = re.search(rf"To: {email}\n(?:.*\n)*?([0-9A-F]{{32}})\n", self.server.stderr()).group(1)
        self.expect('{"id":1,"response":true}', "verify", email=email, code=code)

    def test_configuration_that_cannot_work(self):
        """Wrong mail options: the relay does not start and names the option."""
        for options, word in ((("--smtp-url", "http://x"), "--smtp-url"), (("--smtp-url", "smtp://x"), "--mail-from"),
                              (("--mail-from", "nobody"), "--mail-from"), (("--public-url", "relay.example"), "--public-url")):
            done = self.server.command("server", "-p", "1", *options)
            self.assertEqual(done.returncode, 1, options)
            self.assertIn(word, done.stderr)

    def test_passwords_are_not_shown(self):
        """--check-config shows neither the Postmark key nor the SMTP password."""
        done = self.server.command("server", "--smtp-url", "smtps://me:hidden@x", "--check-config")
        self.assertEqual((done.returncode, json.loads(done.stdout)["smtp_url"]), (0, "********"))


class PageTest(RelayTest):
    def test_page_and_assets(self):
        """The page, its style and its script: types, a strict policy, versions, compression."""
        for path, kind in (("/v1/", "text/html"), ("/v1/relay.css", "text/css"), ("/v1/relay.js", "text/javascript"),
                           ("/v1/icon.svg", "image/svg+xml")):
            with self.subTest(path=path):
                plain = self.get(path)
                self.assertTrue(plain.header("Content-Type").startswith(kind))
                self.assertIn("default-src 'none'; script-src 'self'", plain.header("Content-Security-Policy"))
                self.assertEqual(plain.header("X-Content-Type-Options"), "nosniff")
                small = self.get(path, wire=plain.wire, headers=[("Accept-Encoding", "gzip")])
                self.assertEqual((small.header("Content-Encoding"), gzip.decompress(small.body)), ("gzip", plain.body))
                plain.wire.send(request_head(path, headers=[("If-None-Match", plain.header("ETag")), ("Connection", "close")]))
                same = plain.wire.rest()
                self.assertTrue(same.startswith(b"HTTP/1.1 304 Not Modified\r\n") and same.endswith(b"\r\n\r\n"), same)

    def test_status(self):
        """/v1/status says the version."""
        self.assertEqual(json.loads(self.get("/v1/status").body)["status"], "up")

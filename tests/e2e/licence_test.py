"""Licence logins: the user _license with a signed licence for a password, in both forms; what must not get in; disablelicense."""
import base64
import hashlib
import hmac
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile

from harness import PASSWORD, RelayTest, Server
from wsclient import WebSocket

SALT = "a salt of this test"


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Seller:
    """Makes licences with an RSA key of its own."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="shardrelay-e2e-key-")
        self.path = os.path.join(self.directory, "key.pem")
        subprocess.run(["openssl", "genrsa", "-out", self.path, "2048"], check=True, capture_output=True)
        self.public = subprocess.run(["openssl", "rsa", "-in", self.path, "-pubout"], check=True, capture_output=True, text=True).stdout

    def sign(self, email, issued=1700000000, header=None):
        head = json.dumps(header or {"alg": "RS256", "typ": "JWT"}).encode()
        token = encode(head) + "." + encode(json.dumps({"email": email, "iat": issued}).encode())
        words = ["openssl", "dgst", "-sha256", "-sign", self.path]
        signature = subprocess.run(words, input=token.encode(), check=True, capture_output=True)
        return token + "." + encode(signature.stdout)

    def close(self):
        shutil.rmtree(self.directory)


def wrap(token):
    lines = [token[i:i + 40] for i in range(0, len(token), 40)]
    body = "\n".join(" ".join(line[i:i + 10] for i in range(0, len(line), 10)) for line in lines)
    return f"------------- START LICENSE ---------------\n{body}\n------------- END LICENSE -----------------"


def database_hash(email, token):
    def digest(text):
        return hashlib.sha1(text.encode()).hexdigest().upper()
    return digest(digest(SALT) + digest(email) + digest(wrap(token)))


class LicenceTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.seller = Seller()
        cls.server = Server(env={"AUTH_LICENSE_PUBKEY": cls.seller.public, "LICENSE_HASH_SALT": SALT}).start()

    @classmethod
    def tearDownClass(cls):
        cls.seller.close()
        cls.server.stop()

    def status(self, licence, user="_license"):
        session = WebSocket(self.server.port, user=user, password=licence)
        self.sockets.append(session)
        return session.response.status

    def row(self, email):
        database = sqlite3.connect(self.server.database, timeout=10)
        row = database.execute("select pwhash, emailverified, recentlicensehash from user where email = ?", (email,)).fetchone()
        database.close()
        return row

    def test_both_forms(self):
        """Bare and wrapped: the user is made, without a password; the hash in the database is the original's."""
        token = self.seller.sign("New@Example.com")
        for user, licence in (("_license", token), ("_license", wrap(token)), ("_LICENSE", wrap(token).replace("\n", "\r\n"))):
            self.device((user, licence)).close()
        self.assertEqual(self.row("new@example.com"), ("", 1, database_hash("new@example.com", token)))

    def test_first_licence_blanks_the_password(self):
        """As in the original: the holder of the licence owns the address, whoever set the password may not. His sessions end."""
        account = self.server.account()
        by_password = self.device(account)
        self.device(("_license", self.seller.sign(account[0]))).quiet()
        self.assertEqual(by_password.read_close()[0], 4003)
        self.assertEqual(self.status(account[1], user=account[0]), 403)

    def test_same_account(self):
        """A licence opens its e-mail address's account: its devices see each other."""
        account = self.server.account()
        token = self.seller.sign(account[0].upper())
        first, second = self.device(("_license", token)), self.device(("_license", token))
        self.assertIn(second.pk, first.event())

    def test_refused(self):
        """Other algorithms, other keys, tampered, empty, oversized."""
        other = Seller()
        good = self.seller.sign("me@example.com")
        head, claims, signature = good.split(".")
        none = encode(b'{"alg":"none"}')
        signed = f'{encode(json.dumps({"alg": "HS256"}).encode())}.{claims}'
        mac = encode(hmac.new(self.seller.public.encode(), signed.encode(), "sha256").digest())
        wrong = {"none": f"{none}.{claims}.", "none, signed": self.seller.sign("me@example.com", header={"alg": "none"}),
                 "HS256 with the public key": f"{signed}.{mac}", "another key": other.sign("me@example.com"),
                 "other claims": f'{head}.{encode(json.dumps({"email": "you@example.com"}).encode())}.{signature}',
                 "no signature": f"{head}.{claims}.", "empty e-mail": self.seller.sign(""), "garbage": "garbage", "nothing": "",
                 "oversized": good + "A" * 2000}
        other.close()
        for name, licence in wrong.items():
            with self.subTest(name):  # each from another address: failures are throttled
                self.assertEqual(self.status(licence), 403)
        self.assertIsNone(self.row("me@example.com"))
        self.assertEqual(self.status(good), 101)

    def test_disabled(self):
        """disablelicense ends the sessions and keeps the licence out in every form; another licence of that address gets in."""
        token = self.seller.sign("off@example.com")
        device = self.device(("_license", token))
        done = self.server.command("disablelicense", "off@example.com")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(device.read_close()[0], 4003)
        self.assertEqual((self.status(token), self.status(wrap(token))), (403, 403))
        self.device(("_license", self.seller.sign("off@example.com", issued=1700000001))).quiet()
        self.assertEqual(self.status(token), 403)

    def test_disabled_by_the_original(self):
        """A row that the original wrote keeps the licence out."""
        token = self.seller.sign("row@example.com")
        database = sqlite3.connect(self.server.database, timeout=10)
        with database:
            database.execute("insert into disabledlicense values (?)", (database_hash("row@example.com", token),))
        database.close()
        self.assertEqual(self.status(token), 403)
        self.assertIsNone(self.row("row@example.com"))

    def test_blocked(self):
        """A blocked user's licence does not help."""
        token = self.seller.sign("blocked@example.com")
        device = self.device(("_license", token))
        self.assertEqual(self.server.command("blockuser", "blocked@example.com").returncode, 0)
        self.assertEqual(device.read_close()[0], 4003)
        self.assertEqual(self.status(token), 403)

    def test_versions(self):
        """/versions says that licences are on; without a key it does not, and the user _license is nobody."""
        self.assertEqual(self.get("/versions").body, b'{"versions":[{"version":"1","authMethods":["usernamepassword","v1license"]}]}')
        plain = Server().start()
        try:
            session = WebSocket(plain.port, user="_license", password=self.seller.sign("me@example.com"))
            self.sockets.append(session)
            self.assertEqual(session.response.status, 403)
        finally:
            plain.stop()

    def test_bad_key(self):
        """Something that is no key: the relay does not start, and says so."""
        server = Server(env={"AUTH_LICENSE_PUBKEY": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"})
        try:
            server.add_user("a@example.com", PASSWORD)
            done = server.command("server", "-p", str(server.port))
            self.assertEqual(done.returncode, 1)
            self.assertIn("AUTH_LICENSE_PUBKEY", done.stderr)
        finally:
            server.stop()

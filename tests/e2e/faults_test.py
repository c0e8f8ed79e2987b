"""What goes wrong with the database: a full disk, a file that is read-only, locked, damaged or of a newer schema. The relay goes on
relaying and says so, or refuses to start with a sentence."""
import os
import resource
import sqlite3
import stat

from buckets import data_event, pair, send_data
from harness import PASSWORD, RelayTest, Server, wait_for


class FaultTest(RelayTest):
    """Each test breaks a relay of its own."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        super().setUp()
        self.server = Server("--store-interval", "1s")

    def tearDown(self):
        server, self.server = self.server, None
        for each in self.sockets:
            each.wire.close()
        server.stop()
        super().tearDown()

    def said(self, words):
        wait_for(f"{words} in\n{self.server.stderr()}", lambda: words in self.server.stderr())

    def stored(self, user):
        return {row["user"]: (row["sent"], row["recv"]) for row in self.server.stats()["users"]}.get(user)

    def relays(self, first, second):
        first.command(send_data(second.pk, b"x" * 1000))
        second.expect(data_event(first.pk, b"x" * 1000))

    def refuses(self, words):
        """It does not start, with exit code 1 and a sentence."""
        done = self.server.command("server", "-p", str(self.server.port))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(self.server.database, done.stderr)
        self.assertIn(words, done.stderr)

    def test_full_disk(self):
        """No file may grow, as on a full disk: data flows, logins work; usage is kept in memory and stored when there is room again."""
        self.server.start()
        mine, yours = self.server.account(), self.server.account()
        first, second = self.device(mine), self.device(yours)
        pair(first, second)
        grown = os.path.getsize(self.server.database + "-wal")
        self.assertGreater(grown, 16384)
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (16384, resource.RLIM_INFINITY))
        self.relays(first, second)
        self.said("DATABASE_FAILED use=write")
        self.relays(first, second)
        third = self.device(("first@example.com", PASSWORD))
        third.quiet()
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.said("DATABASE_RECOVERED use=write")
        self.assertEqual(self.server.stderr().count("DATABASE_FAILED"), 1)
        for account, device in ((mine, first), (yours, second)):
            wait_for("usage of before, during and after", lambda a=account[0], d=device: self.stored(a) == (d.sent_bytes, d.recv_bytes))

    def test_locked_database(self):
        """Another program holds the write lock for long: data flows, logins work, usage waits."""
        self.server.start()
        account = self.server.account()
        other = sqlite3.connect(self.server.database, isolation_level=None)
        other.execute("begin immediate")
        first, second = self.device(account), self.device(("first@example.com", PASSWORD))
        pair(first, second)
        self.relays(first, second)
        self.said("DATABASE_FAILED use=write")
        self.assertIn("locked", self.server.stderr())
        self.relays(first, second)
        other.execute("commit")
        other.close()
        self.said("DATABASE_RECOVERED use=write")
        wait_for("usage of before and after", lambda: self.stored(account[0]) == (first.sent_bytes, first.recv_bytes))

    def start_without_privilege(self):
        if os.geteuid() == 0:  # root writes what it may not, unless it lacks this
            self.server.prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        self.server.start()

    def test_readonly_database(self):
        """A file that may only be read: said at the start; everything works but what must be kept."""
        account = self.server.account()
        os.chmod(self.server.database, stat.S_IRUSR)
        self.start_without_privilege()
        self.said("DATABASE_READONLY")
        first, second = self.device(account), self.device(account)
        first.event()
        second.event()
        pair(first, second)
        self.relays(first, second)

    def test_locked_at_start(self):
        """Another program has the whole file for itself."""
        self.server.add_user("a@example.com", PASSWORD)
        other = sqlite3.connect(self.server.database, isolation_level=None)
        other.execute("pragma locking_mode = exclusive")
        other.execute("begin exclusive")
        other.execute("update user set blocked = 0")
        try:
            self.refuses("locked")
        finally:
            other.close()

    def test_damaged_database(self):
        """A file that is damaged or no database is refused."""
        self.server.add_user("a@example.com", PASSWORD)
        with open(self.server.database, "r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (os.path.getsize(self.server.database) - 4096))
        self.refuses("malformed")
        with open(self.server.database, "wb") as file:
            file.write(b"this is no database\n" * 1000)
        self.refuses("not a database")

    def test_newer_schema(self):
        """A schema of the future is refused by every command, and not a byte of the file changes."""
        self.server.add_user("a@example.com", PASSWORD)
        database = sqlite3.connect(self.server.database)
        with database:
            database.execute("insert into _schema_version (name) values ('from-the-future')")
        database.execute("pragma journal_mode = delete")
        database.close()

        def content():
            with open(self.server.database, "rb") as file:
                return file.read()
        before = content()
        self.refuses("from-the-future")
        for words in (["listusers"], ["stats"], ["blockuser", "a@example.com"], ["adduser", "b@example.com", "--password-stdin"],
                      ["backup", os.path.join(self.server.directory, "copy")]):
            done = self.server.command(*words, text="pw")
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("from-the-future", done.stderr)
        self.assertEqual(content(), before)
        self.assertEqual(sorted(os.listdir(self.server.directory)), ["relay.sqlite"])

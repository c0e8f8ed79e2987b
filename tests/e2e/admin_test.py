"""The operator's commands while the relay runs: users, sessions, metrics, backup; and sessions that end when their account changes."""
import json
import os
import socket
import sqlite3
import stat
import time

from buckets import pair
from harness import PASSWORD, RelayTest, Server, wait_for
from wsclient import WebSocket


class AdminTest(RelayTest):
    OPTIONS = ("--store-interval", "1s")

    def status(self, account):
        session = WebSocket(self.server.port, user=account[0], password=account[1])
        self.sockets.append(session)
        return session.response.status

    def run_command(self, *words, text=None):
        done = self.server.command(*words, text=text)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def ends(self, device, *words, text=None):
        """The command ends that session with 4003, within a second (two here: the machine may be busy)."""
        self.run_command(*words, text=text)
        before = time.monotonic()
        self.assertEqual(device.read_close()[0], 4003)
        self.assertLess(time.monotonic() - before, 2)

    def test_block_and_unblock(self):
        """blockuser ends the user's sessions and keeps new ones out; others go on; unblockuser lets them in again."""
        account, other = self.server.account(), self.device(self.server.account())
        self.ends(self.device(account), "blockuser", account[0])
        self.assertEqual(self.status(account), 403)
        other.quiet()
        self.assertEqual(self.run_command("unblockuser", account[0].upper()), f"unblocked user {account[0]}\n")
        self.device(account).quiet()

    def test_delete(self):
        """deluser ends the sessions; the name is free again."""
        account = self.server.account()
        self.ends(self.device(account), "deluser", account[0])
        self.assertEqual(self.status(account), 403)
        self.assertEqual(self.server.command("deluser", account[0]).returncode, 1)
        self.device(self.server.add_user(account[0], "another")).quiet()

    def test_password(self):
        """passwd ends the sessions; the old password is refused, the new one works."""
        account = self.server.account()
        self.ends(self.device(account), "passwd", account[0], "--password-stdin", text="new one")
        self.assertEqual(self.status(account), 403)
        self.device((account[0], "new one")).quiet()
        self.assertEqual(self.server.command("passwd", account[0], "--password-stdin", text="").returncode, 1)
        self.assertEqual(self.server.command("passwd", "nobody@x", "--password-stdin", text="x").returncode, 1)

    def test_unknown_user(self):
        """Every command on a user fails with 1 and a sentence when there is none."""
        for command in ("blockuser", "unblockuser", "disablelicense", "deluser"):
            done = self.server.command(command, "nobody@x")
            self.assertEqual((done.returncode, done.stdout), (1, ""), command)
            self.assertIn("nobody@x", done.stderr)
        self.assertEqual(self.server.command("disablelicense", self.account[0]).returncode, 1)
        self.assertEqual(self.server.command("blockuser").returncode, 2)

    def test_listusers(self):
        """listusers shows every user with its state, as a table and as JSON."""
        account, blocked = self.server.account(), self.server.account()
        self.run_command("blockuser", blocked[0])
        users = {user["email"]: user for user in json.loads(self.run_command("listusers", "--json"))}
        self.assertEqual((users[account[0]]["blocked"], users[blocked[0]]["blocked"]), (False, True))
        self.assertTrue(users[account[0]]["verified"] and users[account[0]]["password"] and not users[account[0]]["license"])
        lines = {line.split()[0]: line for line in self.run_command("listusers").splitlines()}
        self.assertIn("active", lines[account[0]])
        self.assertIn("blocked", lines[blocked[0]])

    def test_addresses_that_are_no_text(self):
        """Old databases hold what they hold: listusers and stats stay JSON."""
        database = sqlite3.connect(self.server.database, timeout=10)
        with database:
            database.execute("insert into user (email, pwhash) values (cast(x'ff1b41' as text), '')")
            database.execute("insert into userlog select '2999-01-01', max(id), 1, 1 from user")
        database.close()
        names = [user["email"] for user in json.loads(self.run_command("listusers", "--json"))]
        self.assertIn("\\xff\x1bA", names)
        self.assertIn("\\xff\x1bA", [row["user"] for row in json.loads(self.run_command("stats"))["users"]])
        self.assertNotIn("\x1b", self.run_command("listusers"))

    def test_sessions(self):
        """sessions lists those of all shards with user, device, state and connections."""
        account = self.account
        first, second = self.device(account), self.device(self.server.account())
        pair(first, second)
        waiting = self.unauthenticated(self.server.account())
        sessions = json.loads(self.run_command("sessions", "--json"))
        by_key = {session["key"]: session for session in sessions}
        mine = by_key[first.pk[:8].hex()]
        self.assertEqual((mine["user"], mine["state"], mine["connections"]), (account[0], "open", 1))
        self.assertEqual(mine["address"], first.wire.source)
        self.assertIn((waiting.wire.source, "challenged"), [(session["address"], session["state"]) for session in sessions])
        self.assertIn(first.pk[:8].hex(), self.run_command("sessions"))

    def test_metrics(self):
        """metrics are the sums of all shards, in Prometheus' text format."""
        def value(name):
            lines = [line.split() for line in self.run_command("metrics").splitlines() if not line.startswith("#")]
            return {line[0]: int(line[1]) for line in lines}[name]
        before = value("shardrelay_accepted_total")
        self.device(self.server.account())
        self.assertEqual(value("shardrelay_accepted_total"), before + 1)
        self.assertGreaterEqual(value("shardrelay_sessions"), 1)
        self.assertGreaterEqual(value('shardrelay_login_verdicts_total{verdict="ok"}'), 1)
        self.assertEqual(value('shardrelay_closed_total{reason="INTERNAL"}'), 0)
        self.assertTrue(self.run_command("metrics").endswith("# EOF\n"))

    def test_control_socket(self):
        """Only its owner may ask; what is not asked in the right words is hung up on."""
        path = self.server.database + ".control"
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        for words in (b"shutdown\n", b"x" * 100, b"sessions\nsessions\n" * 20):
            answer = self.ask_control(path, words)
            self.assertFalse(answer.endswith(b"# EOF\n"), answer[-80:])
        self.assertTrue(self.ask_control(path, b"metrics\n").endswith(b"# EOF\n"))

    def ask_control(self, path, words):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(path)
            client.sendall(words)
            answer = b""
            try:
                while piece := client.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer

    def test_backup(self):
        """backup makes a whole copy while the relay runs, and overwrites nothing."""
        account = self.account
        device = self.device(account)
        target = os.path.join(self.server.directory, "copy.sqlite")
        self.run_command("backup", target)
        self.assertEqual(stat.S_IMODE(os.stat(target).st_mode), 0o600)
        database = sqlite3.connect(target)
        self.assertEqual(database.execute("pragma integrity_check").fetchall(), [("ok",)])
        self.assertEqual(database.execute("select count(*) from user where email = ?", (account[0],)).fetchall(), [(1,)])
        database.close()
        self.assertEqual(self.server.command("backup", target).returncode, 1)
        device.quiet()

    def test_stats_table(self):
        """stats --table is for people."""
        self.assertIn("RECEIVED BYTES", self.run_command("stats", "--table"))

    def test_no_database_is_made_by_a_slip(self):
        """Commands that need a database do not make one."""
        missing = os.path.join(self.server.directory, "missing.sqlite")
        for words in (["listusers"], ["blockuser", "a@b"], ["backup", missing + ".copy"], ["stats"], ["sessions"], ["metrics"]):
            done = self.server.command("-d", missing, *words)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("missing.sqlite", done.stderr)
        self.assertEqual([name for name in os.listdir(self.server.directory) if name.startswith("missing")], [])


class CleaningTest(RelayTest):
    OPTIONS = ("--store-interval", "1s", "--keep-stats-days", "10")

    def test_old_usage_is_deleted(self):
        """Usage of more than --keep-stats-days ago goes, the rest stays."""
        server = Server(*self.OPTIONS)
        server.add_user("old@example.com", PASSWORD)
        database = sqlite3.connect(server.database)
        with database:
            for days, address in ((11, "10.0.0.1"), (9, "10.0.0.2")):
                database.execute("insert into iplog values (date('now', ?), ?, 1, 1)", (f"-{days} day", address))
                database.execute("insert into userlog values (date('now', ?), 1, 1, 1)", (f"-{days} day",))
        server.start()
        try:
            wait_for("old usage to go", lambda: database.execute("select count(*) from iplog").fetchone() == (1,))
            self.assertEqual(database.execute("select ip from iplog").fetchall(), [("10.0.0.2",)])
            self.assertEqual(database.execute("select count(*) from userlog").fetchall(), [(1,)])
        finally:
            database.close()
            server.stop()


class ManySessionsTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(shards="1").start()

    def test_many_sessions(self):
        """More than a shard tells in one answer."""
        for _ in range(700):
            self.unauthenticated()
        done = self.server.command("sessions", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        sessions = json.loads(done.stdout)
        self.assertEqual([session["user"] for session in sessions], [self.account[0]] * 700)
        self.assertEqual(len({session["slot"] for session in sessions}), 700)

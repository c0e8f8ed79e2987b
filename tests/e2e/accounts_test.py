"""Users, usage statistics, single-user mode and the command line of shardrelay (issue "Foundation", sections 3 and 4)."""
import json
import os
import socket
import sqlite3
import subprocess
import time

from buckets import connect, data_event, pair, send_data
from harness import PASSWORD, RelayTest, Server, environment, wait_for
from wsclient import BINARY, CONTINUATION, PING, WebSocket, deflate


class UsageTest(RelayTest):
    OPTIONS = ("--store-interval", "1s")

    def rows(self):
        stats = self.server.stats()
        users = {row["user"]: (row["sent"], row["recv"]) for row in stats["users"]}
        return stats, users, {row["ip"]: (row["sent"], row["recv"]) for row in stats["ips"]}

    def wait_for_usage(self, user, expected):
        wait_for(f"usage {expected} of {user}; stored: {self.rows()[1]}", lambda: self.rows()[1].get(user) == expected)

    def test_handshake_counts_as_documented(self):
        """Who adds 41 received, Iam 110 sent, Authenticated 4 received; frame heads, pings and HTTP count nothing."""
        account = self.account
        device = self.device(account)
        device.send(b"not counted", opcode=PING)
        device.read_frame()
        self.wait_for_usage(account[0], (110, 45))

    def test_data_counts_on_both_sides(self):
        """1000 bytes of data count 1049 sent and 1049 received."""
        mine, yours = self.server.account(), self.server.account()
        first, second = self.device(mine), self.device(yours)
        pair(first, second)
        first.command(send_data(second.pk, b"x" * 1000))
        second.expect(data_event(first.pk, b"x" * 1000))
        self.assertEqual(len(send_data(second.pk, b"x" * 1000)), 1049)
        self.wait_for_usage(mine[0], (110 + 41 + 1049, 45 + 41))
        self.wait_for_usage(yours[0], (110 + 41, 45 + 41 + 1049))

    def test_usage_per_user_sums_sessions(self):
        """Two sessions of one user add up, presence events included; each address has its own sum."""
        account = self.account
        first = self.device(account)
        second = self.device(account)
        first.event()
        second.event()
        self.wait_for_usage(account[0], (first.sent_bytes + second.sent_bytes, first.recv_bytes + second.recv_bytes))
        addresses = self.rows()[2]
        for device in (first, second):
            self.assertEqual(addresses[device.wire.source], (device.sent_bytes, device.recv_bytes))

    def test_fragments_and_split_commands_count_their_bytes(self):
        """What counts is the bytes of messages, however they are cut."""
        account = self.account
        device = self.device(account)
        whole = connect(b"k" * 32)
        device.send(whole[:5], opcode=BINARY, fin=False)
        device.send(whole[5:], opcode=CONTINUATION)
        device.command(whole[:7])
        device.command(whole[7:])
        self.wait_for_usage(account[0], (110 + 2 * 41, 45))

    def test_compressed_messages_count_inflated(self):
        """Compression does not make usage smaller: bytes count after inflating and before deflating."""
        mine, yours = self.server.account(), self.server.account()
        first = self.device(mine, extensions="permessage-deflate")
        second = self.device(yours, extensions="permessage-deflate")
        pair(first, second)
        command = send_data(second.pk, b"y" * 20_000)
        first.send(deflate(command), rsv=4)
        second.expect(data_event(first.pk, b"y" * 20_000))
        self.wait_for_usage(mine[0], (110 + 41 + len(command), 45 + 41))
        self.wait_for_usage(yours[0], (110 + 41, 45 + 41 + len(command)))

    def test_usage_of_a_session_that_ended(self):
        """A session that ends between two stores loses nothing."""
        account = self.account
        for _ in range(5):
            self.device(account).wire.reset()
        self.wait_for_usage(account[0], (5 * 110, 5 * 45))

    def test_stats_json(self):
        """stats prints {"days","users":[{"sent","recv","user"}],"ips":[{"sent","recv","ip"}]}, the largest first, at most 20 each."""
        account = self.account
        self.device(account)
        self.wait_for_usage(account[0], (110, 45))
        stats = self.rows()[0]
        self.assertEqual(list(stats), ["days", "users", "ips"])
        self.assertEqual(stats["days"], 30)
        self.assertEqual((set(stats["users"][0]), set(stats["ips"][0])), ({"sent", "recv", "user"}, {"sent", "recv", "ip"}))
        for rows in (stats["users"], stats["ips"]):
            totals = [row["sent"] + row["recv"] for row in rows]
            self.assertEqual(totals, sorted(totals, reverse=True))
            self.assertLessEqual(len(rows), 20)
        self.assertEqual(json.loads(self.server.command("stats", "--days", "7").stdout)["days"], 7)

    def test_rows_stand_on_the_utc_day(self):
        """userlog and iplog have one row per user or address and UTC day, in the original's schema."""
        account = self.account
        device = self.device(account)
        self.wait_for_usage(account[0], (110, 45))
        with sqlite3.connect(f"file:{self.server.database}?mode=ro", uri=True) as database:
            query = "select day, bytes_sent, bytes_recv from userlog where user_id = (select id from user where email = ?)"
            rows = database.execute(query, (account[0],)).fetchall()
            addresses = database.execute("select day, bytes_sent, bytes_recv from iplog where ip = ?", (device.wire.source,)).fetchall()
        database.close()
        self.assertEqual([row[1:] for row in rows], [(110, 45)])
        self.assertEqual(rows, addresses)
        self.assertIn(rows[0][0], [time.strftime("%Y-%m-%d", time.gmtime(time.time() - back)) for back in (0, 60)])


class UsersTest(RelayTest):
    def test_user_added_while_the_relay_runs(self):
        """adduser on the running relay's database counts at once."""
        self.device(self.server.add_user("late@example.com", "pw")).quiet()

    def test_user_who_was_unknown_before(self):
        """A login that failed because the user did not exist works as soon as it does."""
        unknown = WebSocket(self.server.port, user="soon@example.com", password="pw")
        self.sockets.append(unknown)
        self.assertEqual(unknown.response.status, 403)
        self.device(self.server.add_user("soon@example.com", "pw")).quiet()

    def test_blocked_and_unverified_users(self):
        """Blocked or unverified: 403 for new logins; who is connected stays as the original lets it, or is closed with 4003."""
        for column, value in (("blocked", 1), ("emailverified", 0)):
            account = self.server.account()
            database = sqlite3.connect(self.server.database, timeout=10)
            with database:
                database.execute(f"update user set {column} = ? where email = ?", (value, account[0]))
            database.close()
            session = WebSocket(self.server.port, user=account[0], password=account[1])
            self.sockets.append(session)
            self.assertEqual(session.response.status, 403, column)

    def test_long_and_odd_passwords(self):
        """Passwords of UTF-8, blanks, and 1000 characters."""
        for number, password in enumerate(("p\u00e4ss w\u00f6rd \U0001f511", " leading and trailing ", "x" * 1000)):
            self.device(self.server.add_user(f"odd{number}@example.com", password)).quiet()


class CommandLineTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(first_user=False)

    def test_adduser(self):
        """adduser prints what the original prints; a second time it fails with 1."""
        done = self.server.command("adduser", "me@me.com", "--password-stdin", text="foobar")
        self.assertEqual((done.returncode, done.stdout), (0, "Password? added user me@me.com\n"))
        self.assertEqual(self.server.command("adduser", "me@me.com", "--password-stdin", text="foobar").returncode, 1)
        self.assertEqual(self.server.command("adduser", "ME@me.com", "--password-stdin", text="foobar").returncode, 1)

    def test_database_is_as_the_original_makes_it(self):
        """Schema version "initial", verified user, argon2id hash with the original's parameters."""
        self.server.add_user("schema@example.com", "pw")
        database = sqlite3.connect(self.server.database)
        self.assertEqual(database.execute("select name from _schema_version").fetchall(), [("initial",)])
        row = database.execute("select pwhash, emailverified, blocked from user where email = 'schema@example.com'").fetchone()
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        database.close()
        self.assertTrue(row[0].startswith("$argon2id$v=19$m=9765,t=3,p=1$"), row[0])
        self.assertEqual(row[1:], (1, 0))
        self.assertLessEqual({"iplog", "userlog", "user", "emailtoken", "pwreset", "disabledlicense", "_schema_version"}, tables)

    def test_wrong_use(self):
        """Unknown commands and options fail, naming the nearest; nothing is passed over."""
        self.assertEqual(self.server.command("servr").returncode, 1)
        done = self.server.command("server", "--prot", "9")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--port", done.stderr)
        self.assertNotEqual(self.server.command("server", "--port", "99999999").returncode, 0)
        self.assertNotEqual(self.server.command("stats", "--days", "x").returncode, 0)

    def test_help(self):
        """--help of the program and of each command; --check-config prints the configuration."""
        for words in (["--help"], ["server", "--help"], ["adduser", "--help"], ["stats", "--help"]):
            done = self.server.command(*words)
            self.assertEqual(done.returncode, 0, words)
            self.assertIn("--", done.stdout)
        done = self.server.command("server", "--shards", "3", "--check-config")
        self.assertEqual((done.returncode, json.loads(done.stdout)["shards"]), (0, 3))

    def test_refuses_to_start_without_users(self):
        """No users and no credentials: it does not start and says how to add one; --allow-empty starts."""
        empty = Server(first_user=False)
        try:
            done = empty.command("server", "-p", str(empty.port))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("adduser", done.stderr)
            empty.options.append("--allow-empty")
            empty.start()
        finally:
            empty.stop()

    def test_port_in_use(self):
        """A port that another program holds: a clear message and a failure, not a relay that nobody reaches."""
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            self.server.add_user("port@example.com", "pw")
            done = self.server.command("server", "-a", "127.0.0.1", "-p", str(holder.getsockname()[1]))
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(done.stderr)

    def test_environment_and_config_file(self):
        """Options come from the environment and a JSON file; the command line wins."""
        path = os.path.join(self.server.directory, "config.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"shards": 2, "iam_timeout": "7s"}, file)
        argv = [self.server.program, "-d", self.server.database, "server", "--config", path, "--check-config"]

        def shown(words, env):
            done = subprocess.run(argv + words, env=environment(env), capture_output=True, text=True, timeout=30, check=True)
            return json.loads(done.stdout)

        self.assertEqual(shown([], {})["shards"], 2)
        self.assertEqual(shown([], {"SHARDRELAY_SHARDS": "4"})["shards"], 4)
        self.assertEqual(shown(["--shards", "5"], {"SHARDRELAY_SHARDS": "4"})["shards"], 5)


class SingleUserTest(RelayTest):
    ENV = {"RELAY_USERNAME": "Solo", "RELAY_PASSWORD": PASSWORD}
    DATABASE = False

    def test_any_letter_case(self):
        """RELAY_USERNAME works in any letter case, on both sides (the original's never does with a capital letter)."""
        devices = [self.device((name, PASSWORD)) for name in ("Solo", "solo", "SOLO")]
        devices[2].event()
        devices[2].event()
        devices[2].quiet()

    def test_wrong_credentials(self):
        """Wrong user or password: 403."""
        for user, password in (("solo", "wrong"), ("other", PASSWORD), ("", "")):
            session = WebSocket(self.server.port, user=user, password=password)
            self.sockets.append(session)
            self.assertEqual(session.response.status, 403)

    def test_versions(self):
        """/versions names only usernamepassword; /v1/auth does not exist."""
        self.assertEqual(self.get("/versions").body, b'{"versions":[{"version":"1","authMethods":["usernamepassword"]}]}')
        self.assertEqual(self.get("/v1/auth").status, 404)

    def test_no_database_is_made(self):
        """Single-user mode writes no file."""
        self.device(("solo", PASSWORD)).close()
        self.assertEqual([f for f in os.listdir(self.server.directory) if "sqlite" in f], [])

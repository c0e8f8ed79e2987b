"""A database that the original wrote (original.sql): everybody gets in or not as there, statistics are the same, and the tables stay."""
import json
import os
import sqlite3

from harness import RelayTest, Server
from wsclient import WebSocket

ALICE = ("alice@example.com", "original password")


class OriginalTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--store-interval", "1s", first_user=False)
        with open(os.path.join(os.path.dirname(__file__), "original.sql"), encoding="utf-8") as file:
            cls.rows(file.read())
        cls.tables = cls.rows("select sql from sqlite_master order by name")
        cls.stats = cls.server.command("stats").stdout
        cls.server.start()

    @classmethod
    def rows(cls, sql):
        database = sqlite3.connect(cls.server.database, timeout=10)
        with database:
            if ";" in sql:
                database.executescript(sql)
                rows = []
            else:
                rows = database.execute(sql).fetchall()
        database.close()
        return rows

    def test_logins(self):
        """The original's hashes are checked; blocked and unverified users stay out."""
        self.device(ALICE).close()
        self.device(("OLD@example.com", ALICE[1])).close()
        for name in ("blocked", "unverified", "licensed"):
            session = WebSocket(self.server.port, user=name + "@example.com", password=ALICE[1])
            self.sockets.append(session)
            self.assertEqual(session.response.status, 403, name)

    def test_statistics(self):
        """Sums of 30 days, the largest first, byte for byte as the original prints them."""
        expected = {"days": 30,
                    "users": [{"sent": 1010, "recv": 2020, "user": "alice@example.com"}, {"sent": 7, "recv": 7, "user": "old@example.com"}],
                    "ips": [{"sent": 1010, "recv": 2020, "ip": "192.0.2.1"}, {"sent": 7, "recv": 7, "ip": "2001:db8::1"}]}
        self.assertEqual(json.loads(self.stats), expected)
        self.assertEqual(list(json.loads(self.stats)["users"][0]), ["sent", "recv", "user"])
        longer = json.loads(self.server.command("stats", "--days", "60").stdout)
        self.assertGreaterEqual(longer["users"][0]["sent"], 1510)

    def test_users(self):
        """listusers knows what is special about each."""
        users = {user["email"].split("@")[0]: user for user in json.loads(self.server.command("listusers", "--json").stdout)}
        self.assertTrue(users["blocked"]["blocked"] and users["licensed"]["license_disabled"] and not users["unverified"]["verified"])
        self.assertFalse(users["licensed"]["password"] or users["old"]["license"])
        self.assertEqual(users["alice"]["created"], "2024-02-03 04:05:06")

    def test_nothing_is_added(self):
        """The tables are the same after use, so the original opens the file again."""
        self.device(ALICE).close()
        self.server.add_user("new@example.com", "password")
        self.assertEqual(self.rows("select sql from sqlite_master order by name"), self.tables)
        self.assertEqual(self.rows("select name from _schema_version"), [("initial",)])

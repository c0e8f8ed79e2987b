"""Starts the real binary in a temporary directory on a free port, and ends it: by pid, with exit code 0 and a clean stderr."""
import itertools
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import wsclient
from buckets import Device
from certificates import Authority

BIN = os.environ.get("E2E_BIN", "")
SHARDS = os.environ.get("E2E_SHARDS", "2")
OVER_TLS = os.environ.get("E2E_TLS") == "1"  # every relay and every client of the suite speaks TLS
TEST_LIMIT_S = 120
PASSWORD = "correct:horse battery"
COMPLAINTS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error|check failed")


PORTS_EACH = 100  # for each process; in turn, so that one given out is not given again before it is used
tried_ports = itertools.count(random.randrange(PORTS_EACH))


def free_port():
    """Below the range that clients get theirs from; processes at the same time do not meet, for SO_REUSEPORT would let them."""
    while True:
        port = 10_000 + os.getpid() % 200 * PORTS_EACH + next(tried_ports) % PORTS_EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def pause(seconds):
    """A client that does nothing for a while, where the passing of time is what matters."""
    select.select([], [], [], seconds)


def wait_for(what, is_so):
    """Waits for something outside this process that cannot be waited for otherwise."""
    deadline = time.monotonic() + wsclient.DEADLINE_S
    while time.monotonic() < deadline:
        result = is_so()
        if result:
            return result
        pause(0.02)
    raise wsclient.Timeout(what)


def environment(extra=None):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RELAY_", "SHARDRELAY_")) or k == "SHARDRELAY_CHECK"}
    return {**kept, **(extra or {})}


class Server:
    """One relay process. `accounts` makes users on demand, also while it runs."""

    def __init__(self, *options, env=None, database=True, first_user=True, shards=None, program="shardrelay"):
        self.directory = tempfile.mkdtemp(prefix="shardrelay-e2e-")
        self.database = os.path.join(self.directory, "relay.sqlite")
        self.program = os.path.join(BIN, program)
        self.port = free_port()
        self.users = itertools.count(1)
        self.env = environment(env)
        self.options = list(options)
        self.with_database = database
        self.shards = shards or SHARDS
        self.process = None
        self.prefix = []  # a program that starts it, as setpriv
        self.first_user = database and first_user

    def command(self, *arguments, text=None):
        argv = [self.program] + (["-d", self.database] if self.with_database else []) + list(arguments)
        return subprocess.run(argv, input=text, env=self.env, cwd=self.directory, capture_output=True, text=True, timeout=60, check=False)

    def add_user(self, email, password):
        done = self.command("adduser", email, "--password-stdin", text=password)
        assert done.returncode == 0, done.stdout + done.stderr
        return email, password

    def account(self):
        """A user that no other test has."""
        return self.add_user(f"user{next(self.users)}@example.com", PASSWORD)

    def start(self):
        if self.first_user:
            self.add_user("first@example.com", PASSWORD)
            self.first_user = False
        argv = self.prefix + [self.program] + (["-d", self.database] if self.with_database else [])
        argv += ["server"] + self.listener() + ["--shards", self.shards] + self.options
        with open(os.path.join(self.directory, "stderr"), "ab") as stderr:
            self.process = subprocess.Popen(argv, env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        wait_for(f"the relay to listen\n{self.stderr()}", self.listens)
        return self

    def listener(self):
        if not OVER_TLS:
            return ["-a", "127.0.0.1", "-p", str(self.port)]
        authority = Authority(os.path.join(self.directory, "authority"))
        certificate, key = authority.issue("relay")
        self.root = authority.path("root.pem")
        wsclient.Wire.tls = authority.context()
        return ["--listen", f"tls:127.0.0.1:{self.port}", "--tls-cert", certificate, "--tls-key", key]

    def listens(self):
        assert self.process.poll() is None, f"ended at start with {self.process.returncode}:\n{self.stderr()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stderr(self):
        path = os.path.join(self.directory, "stderr")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-8000:]

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        try:
            return self.process.wait(timeout=wsclient.DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def stop(self):
        """Ends it if it runs; what it said and its exit code must be in order. Then its files go."""
        try:
            code = None
            if self.process is not None:
                if self.process.poll() is None:
                    self.signal()
                code = self.wait()
            said = self.stderr()
            assert not COMPLAINTS.search(said), said
            assert code in (None, 0), f"exit code {code}\n{said}"
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def is_sanitized(self):
        with open(f"/proc/{self.process.pid}/maps", encoding="ascii") as file:
            return re.search(r"/lib[at]san\.", file.read()) is not None

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def stats(self):
        done = self.command("stats")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class RelayTest(unittest.TestCase):
    """Tests against one relay that they share: each uses keys, accounts and source addresses of its own."""

    OPTIONS = ()
    ENV = None
    DATABASE = True
    server = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.OPTIONS, env=cls.ENV, database=cls.DATABASE)
        try:
            cls.server.start()
        except BaseException:
            shutil.rmtree(cls.server.directory, ignore_errors=True)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.sockets = []
        self.own_account = None

        def too_long(*_):
            raise wsclient.Timeout(f"{self.id()} took more than {TEST_LIMIT_S} s\n{self.server.stderr() if self.server else ''}")

        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(TEST_LIMIT_S)

    def tearDown(self):
        signal.alarm(0)
        for each in self.sockets:
            each.wire.close()
        if self.server is not None and self.server.process is not None:
            self.assertIsNone(self.server.process.poll(), f"the relay died:\n{self.server.stderr()}")

    @property
    def account(self):
        if self.own_account is None:
            self.own_account = self.server.account()
        return self.own_account

    def assert_memory(self, grown_bytes, most_bytes, what=""):
        """Resident memory has grown by no more than that. Sanitizers keep freed memory for a while: then it says nothing."""
        if not self.server.is_sanitized():
            self.assertLess(grown_bytes, most_bytes, what)

    def unauthenticated(self, account=None, **options):
        """A session that has its challenge and has not answered it."""
        device = Device(self.server.port, account or self.account, **options)
        self.sockets.append(device)
        return device

    def device(self, account=None, **options):
        return self.unauthenticated(account, **options).authenticate()

    def strangers(self, count=2, **options):
        """Devices of different accounts, so that no presence events come between."""
        return [self.device(self.server.account(), **options) for _ in range(count)]

    def wire(self, **options):
        wire = wsclient.Wire(self.server.port, **options)
        self.addCleanup(wire.close)
        return wire

    def get(self, path, **request):
        response = wsclient.http(self.server.port, path, **request)
        self.addCleanup(response.wire.close)
        return response

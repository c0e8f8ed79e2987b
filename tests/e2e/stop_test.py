"""Stopping: SIGTERM and SIGINT close every session with 1001, deliver what was accepted, store usage, and end with 0."""
import os
import signal
import sqlite3

from buckets import data_event, disconnected, exited, pair, send_data
from harness import RelayTest, Server
from wsclient import CLOSE, Wire, frame


class StopTest(RelayTest):
    def setUp(self):
        super().setUp()
        self.server = Server().start()

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def tearDown(self):
        server, self.server = self.server, None
        super().tearDown()
        server.stop()

    def read_end(self, device):
        """Reads up to the close frame; returns the events before it and the code."""
        events = []
        while True:
            got = device.read_frame()
            if got.opcode == CLOSE:
                device.send(got.payload, opcode=CLOSE)
                self.assertEqual(device.wire.rest(), b"")
                device.wire.close()
                return events, got.close_code()
            events.append(got.payload)

    def test_sigterm(self):
        """SIGTERM: every session, authenticated or not, is closed with 1001; exit code 0."""
        devices = [self.device() for _ in range(4)] + [self.unauthenticated()]
        self.server.signal(signal.SIGTERM)
        for device in devices:
            self.assertEqual(self.read_end(device)[1], 1001)
        self.assertEqual(self.server.wait(), 0)

    def test_sigint(self):
        """SIGINT does the same."""
        device = self.device()
        self.server.signal(signal.SIGINT)
        self.assertEqual(self.read_end(device)[1], 1001)
        self.assertEqual(self.server.wait(), 0)

    def test_idle_stop(self):
        """Without any session it ends at once."""
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)

    def test_accepted_data_is_delivered(self):
        """Data the relay has taken before the signal reaches a reading peer before its close frame."""
        first, second = self.strangers()
        pair(first, second)
        texts = [os.urandom(5000) for _ in range(100)]
        first.wire.send(b"".join(frame(send_data(second.pk, t)) for t in texts))
        first.quiet()
        self.server.signal()
        events, code = self.read_end(second)
        self.assertEqual(code, 1001)
        tail = [e for e in events if e not in (disconnected(first.pk), exited(first.pk))]
        self.assertEqual(tail, [data_event(first.pk, t) for t in texts])
        self.assertEqual(self.server.wait(), 0)

    def test_usage_is_stored(self):
        """What was used since the last store is in the database after the end."""
        account = self.server.account()
        self.device(account)
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)
        database = sqlite3.connect(self.server.database)
        query = "select sum(bytes_sent), sum(bytes_recv) from userlog where user_id = (select id from user where email = ?)"
        row = database.execute(query, (account[0],)).fetchone()
        database.close()
        self.assertEqual(row, (110, 45))

    def test_clients_that_do_not_answer(self):
        """Clients that read nothing and never answer hold the end up no longer than --stop-timeout."""
        self.device(receive_buffer=4096)
        silent = self.wire()
        silent.send(b"GET /v1/relay HTTP/1.1\r\n")
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)

    def test_no_new_connections_while_stopping(self):
        """After the end nobody listens on the port."""
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)
        with self.assertRaises(ConnectionRefusedError):
            Wire(self.server.port)

    def test_second_signal_and_signals_at_once(self):
        """Several signals are one stop."""
        for _ in range(3):
            self.server.signal(signal.SIGTERM)
            self.server.signal(signal.SIGINT)
        self.assertEqual(self.server.wait(), 0)

    def test_stop_under_load(self):
        """A stop in the middle of traffic, logins and disconnects ends with 0 and in time."""
        pairs = []
        for _ in range(6):
            first, second = self.strangers()
            pair(first, second)
            pairs.append((first, second))
        for first, second in pairs:
            first.wire.send(frame(send_data(second.pk, os.urandom(3000))) * 50)
        waiting = [self.wire() for _ in range(20)]
        for wire in waiting[:10]:
            wire.send(b"GET /v1/relay HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n")
        pairs[0][0].wire.reset()
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)

    def test_starting_again_on_the_same_database(self):
        """A relay that was killed starts again on its database, and users log in."""
        account = self.server.account()
        self.device(account)
        self.server.signal(signal.SIGKILL)
        self.assertEqual(self.server.wait(), -9)
        self.server.start()
        self.device(account).quiet()

"""Mail servers that catch letters instead of sending them: Postmark's HTTP form, and SMTP. Each on a free port of 127.0.0.1."""
import email
import http.server
import json
import queue
import re
import socketserver
import threading

DEADLINE_S = 20


class Letter:
    def __init__(self, sender, to, subject, text, headers=None):
        self.sender, self.to, self.subject, self.text, self.headers = sender, to, subject, text, headers or {}

    @property
    def code(self):
        return re.search(r"^[0-9A-F]{32}$", self.text, re.MULTILINE).group()

    @property
    def link(self):
        found = re.search(r"^https?://\S+$", self.text, re.MULTILINE)
        return found.group() if found else None


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A relay that stopped meanwhile is no error."""


class Sink:
    """Letters by arrival; `statuses` are answered one after the other before everything is taken."""

    def __init__(self):
        self.letters = queue.Queue()
        self.statuses = []
        self.held = threading.Event()  # cleared: requests are taken and not answered
        self.held.set()
        self.server = self.port = None

    def start(self, handler):
        self.server = Server(("127.0.0.1", 0), handler)
        self.server.sink = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.held.set()
        self.server.shutdown()
        self.server.server_close()

    def letter(self, to=None):
        """The next letter, or the next to this address: what an earlier test has not fetched is of no interest."""
        while True:
            got = self.letters.get(timeout=DEADLINE_S)
            if to in (None, got.to):
                return got


class PostmarkHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        sink = self.server.sink
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sink.held.wait(DEADLINE_S)
        status = sink.statuses.pop(0) if sink.statuses else 200
        if status == 200:
            sink.letters.put(Letter(body["From"], body["To"], body["Subject"], body["TextBody"], {**self.headers, "body": body}))
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class SmtpHandler(socketserver.StreamRequestHandler):
    timeout = DEADLINE_S

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        sender = to = None
        self.say("220 sink")
        for line in self.rfile:
            word = line.decode().strip()
            verb = word.upper()
            if verb.startswith("EHLO"):
                self.say("250-sink")
                self.say("250 8BITMIME")
            elif verb.startswith("MAIL FROM:"):
                sender = word[10:].split(" ")[0].strip("<>")
                self.say("250 ok")
            elif verb.startswith("RCPT TO:"):
                to = word[8:].split(" ")[0].strip("<>")
                refused = self.server.sink.statuses.pop(0) if self.server.sink.statuses else 250
                self.say(f"{refused} recipient")
            elif verb == "DATA":
                self.say("354 go on")
                self.take(sender, to)
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def take(self, sender, to):
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            assert line.endswith(b"\r\n"), line
            lines.append(line[1:] if line.startswith(b".") else line)
        message = email.message_from_bytes(b"".join(lines))
        text = message.get_payload(decode=True).decode().replace("\r\n", "\n")
        self.server.sink.letters.put(Letter(sender, to, message["Subject"], text, dict(message.items())))


def postmark():
    return Sink().start(PostmarkHandler)


def smtp():
    return Sink().start(SmtpHandler)

"""Debian's nginx in front of the relay, configured as README.md says: with TLS and fields, and with a PROXY head in front of our TLS."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from buckets import Device, data_event, pair, send_data
from certificates import Authority
from harness import OVER_TLS, RelayTest, free_port, wait_for
from wsclient import Wire, http

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")
FRAME = """daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
{modules}
events {{ worker_connections 256; }}
{stream}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
{http}
}}
"""


def setUpModule():
    if OVER_TLS:
        raise unittest.SkipTest("has TLS of its own")
    if not os.path.exists(NGINX) or not os.path.exists(MODULE):
        raise unittest.SkipTest("no nginx: apt-get install nginx-light libnginx-mod-stream")


def recipes():
    """The two configurations of the README, as text."""
    with open(README, encoding="utf-8") as file:
        found = re.findall(r"```nginx\n(.*?)```", file.read(), re.DOTALL)
    assert len(found) == 2, "README.md has two recipes for nginx"
    return found


class NginxTest(RelayTest):
    @classmethod
    def setUpClass(cls):
        cls.nginx = None
        cls.directory = tempfile.mkdtemp(prefix="shardrelay-e2e-")
        cls.authority = Authority(os.path.join(cls.directory, "authority"))
        cls.context = cls.authority.context()
        certificate, key = cls.authority.issue("relay")
        cls.behind, cls.front, cls.front_stream = free_port(), free_port(), free_port()
        cls.OPTIONS = ("--store-interval", "1s", "--trusted-proxy", "127.0.0.1", "--listen", f"proxy+tls:127.0.0.1:{cls.behind}",
                       "--tls-cert", certificate, "--tls-key", key)
        try:
            super().setUpClass()
            cls.start_nginx(certificate, key)
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def start_nginx(cls, certificate, key):
        web, stream = recipes()
        web = web.replace("listen 443 ssl", f"listen 127.0.0.1:{cls.front} ssl").replace("127.0.0.1:9001", f"127.0.0.1:{cls.server.port}")
        web = web.replace("/etc/ssl/relay/fullchain.pem", certificate).replace("/etc/ssl/relay/key.pem", key)
        stream = stream.replace("listen 443", f"listen 127.0.0.1:{cls.front_stream}").replace("127.0.0.1:9443", f"127.0.0.1:{cls.behind}")
        path = os.path.join(cls.directory, "nginx.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(FRAME.format(directory=cls.directory, modules=f"load_module {MODULE};", stream=stream, http=web))
        cls.nginx = subprocess.Popen([NGINX, "-c", path, "-e", os.path.join(cls.directory, "error.log")], stdin=subprocess.DEVNULL)
        for port in (cls.front, cls.front_stream):
            wait_for("nginx to listen", lambda port=port: cls.answers(port))

    @classmethod
    def answers(cls, port):
        assert cls.nginx.poll() is None, "nginx ended at start"
        try:
            Wire(port).close()
        except ConnectionError:
            return False
        return True

    @classmethod
    def tearDownClass(cls):
        if cls.nginx is not None:
            cls.nginx.terminate()
            cls.nginx.wait(timeout=20)
        try:
            super().tearDownClass()
        finally:
            shutil.rmtree(cls.directory, ignore_errors=True)

    def through(self, port):
        """Two devices behind nginx exchange data; the relay knows their addresses."""
        devices = []
        for _ in range(2):
            claims = [("True-Client-IP", "192.0.2.66"), ("X-Forwarded-For", "192.0.2.67")]
            device = Device(port, self.server.account(), tls=self.context, headers=claims)
            self.sockets.append(device)
            devices.append(device.authenticate())
        pair(*devices)
        for size in (1, 100_000, 999_955):
            data = os.urandom(size)
            devices[0].command(send_data(devices[1].pk, data))
            devices[1].expect(data_event(devices[0].pk, data))
        sources = {d.wire.source for d in devices}
        for device in devices:
            self.assertEqual(device.close()[0], 1000)
        wait_for("usage by address", lambda: sources <= self.known())
        self.assertFalse({"192.0.2.66", "192.0.2.67"} & self.known(), "what the client claims was believed")

    def known(self):
        return {row["ip"] for row in self.server.stats()["ips"]}

    def test_tls_and_fields(self):
        """nginx ends TLS and names the client in a field that clients cannot set."""
        self.through(self.front)

    def test_proxy_head(self):
        """nginx passes TLS on with a PROXY head in front."""
        self.through(self.front_stream)

    def test_pages(self):
        """The page is served through both ways."""
        for port in (self.front, self.front_stream):
            wire = Wire(port, tls=self.context)
            self.addCleanup(wire.close)
            self.assertIn(b"</html>", http(None, "/v1/", wire=wire).body)

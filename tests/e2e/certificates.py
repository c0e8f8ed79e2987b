"""A certificate authority for one test, made by the openssl command line: certificates of any age, and OCSP answers about them."""
import datetime
import os
import ssl
import subprocess

CONFIG = """
[ca]
default_ca = authority
[authority]
dir = .
database = ./index.txt
serial = ./serial
new_certs_dir = .
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""
NAMES = "subjectAltName=DNS:localhost,DNS:relay.test,IP:127.0.0.1,IP:::1"


def stamp(days_from_now):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days_from_now)).strftime("%Y%m%d%H%M%SZ")


class Authority:
    """Files in `directory`: root.pem to trust; NAME.pem (chain) and NAME.key for each issued certificate."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        for name, text in (("index.txt", ""), ("serial", "1000\n"), ("ca.cnf", CONFIG)):
            self.write(name, text)
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                     "-subj", "/CN=Test root", "-keyout", "root.key", "-out", "root.pem")

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read()

    def openssl(self, *arguments):
        done = subprocess.run(["openssl", *arguments], cwd=self.directory, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def issue(self, name, first_day=-1, last_day=30, algorithm=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """A certificate valid from first_day to last_day, counted from now. Returns the paths of chain and key."""
        self.openssl("req", "-newkey", *algorithm, "-nodes", "-subj", f"/CN={name}", "-addext", NAMES,
                     "-keyout", f"{name}.key", "-out", "csr")
        self.openssl("ca", "-batch", "-config", "ca.cnf", "-in", "csr", "-cert", "root.pem", "-keyfile", "root.key", "-notext",
                     "-startdate", stamp(first_day), "-enddate", stamp(last_day), "-out", f"{name}.own")
        self.write(f"{name}.pem", self.read(f"{name}.own") + self.read("root.pem"))
        return self.path(f"{name}.pem"), self.path(f"{name}.key")

    def staple(self, name):
        """The authority's OCSP answer about an issued certificate, in DER. Returns its path."""
        self.openssl("ocsp", "-issuer", "root.pem", "-cert", f"{name}.own", "-reqout", "request.der")
        self.openssl("ocsp", "-index", "index.txt", "-CA", "root.pem", "-rsigner", "root.pem", "-rkey", "root.key", "-reqin", "request.der",
                     "-ndays", "3", "-respout", f"{name}.ocsp")
        return self.path(f"{name}.ocsp")

    def context(self):
        """What a client needs that trusts this authority alone."""
        context = ssl.create_default_context(cafile=self.path("root.pem"))
        context.set_alpn_protocols(["http/1.1"])
        return context

"""A stand-in for HashiCorp Vault on loopback: AppRole and token logins and the PKI engine's issue call, with faults by name.

`fault` is one of: None, "sealed" (503), "denied" (403 when issuing), "login-denied" (403), "garbage", "huge", "slow", "wrong-key",
"expired", "other-name", "no-key"."""
import http.server
import ipaddress
import json
import pathlib
import ssl
import subprocess
import threading
import time


class Vault:
    def __init__(self, root, tls=False, port=0):
        self.root = pathlib.Path(root)
        self.root.mkdir(exist_ok=True)
        self.fault = None
        self.ttl = None  # seconds that certificates really have; None: what is asked for
        self.calls, self.issued, self.headers = [], [], []
        self.serial = 0
        self.openssl("req", "-x509", *self.key("ca.key"), "-out", "ca.pem", "-days", "3", "-subj", "/CN=vault-ca")
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def answer(self, status, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except OSError:
                    pass

            def handle_any(self):
                n = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(n) or b"{}")
                status, data = outer.handle(self.command, self.path, self.headers, body)
                self.answer(status, data)
            do_GET = do_PUT = do_POST = handle_any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request, client_address):
                pass
        self.server = Server(("127.0.0.1", port), Handler)
        self.tls = tls
        if tls:
            self.leaf("vault", ["127.0.0.1"], 3600)
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ctx.load_cert_chain(self.root / "vault.pem", self.root / "vault.key")
            self.server.socket = ctx.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.root)

    @staticmethod
    def key(name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name)

    def leaf(self, name, sans, seconds, cn=None, begun=None):
        """NAME.pem and NAME.key, for so long from now on (or until so long ago); begun so long ago."""
        names = ",".join(("IP:" if is_ip(s) else "DNS:") + s for s in sans)
        self.openssl("req", *self.key(f"{name}.key"), "-out", f"{name}.csr", "-subj", f"/CN={cn or name}", "-addext", f"subjectAltName={names}")
        start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + d)) for d in (-begun if begun else min(0, seconds - 60) - 1, seconds))
        self.serial += 1
        (self.root / "index.txt").write_text("")
        (self.root / "serial").write_text(f"{self.serial:04x}\n")
        (self.root / "ca.cnf").write_text("[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n"
                                          "policy=p\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName=supplied\n")
        self.openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", f"{name}.csr", "-out",
                     f"{name}.pem", "-startdate", start, "-enddate", end, "-notext")
        return (self.root / f"{name}.pem").read_text(), (self.root / f"{name}.key").read_text()

    def handle(self, method, path, headers, body):
        self.calls.append((method, path))
        self.headers.append(dict(headers))
        if self.fault == "sealed":
            return 503, {"errors": ["Vault is sealed"]}
        if self.fault == "slow":
            time.sleep(600)
        if path == "/v1/auth/approle/login" and method == "PUT":
            if self.fault == "login-denied" or body != {"role_id": "the-role", "secret_id": "the-secret"}:
                return 403, {"errors": ["invalid role or secret ID"]}
            return 200, {"auth": {"client_token": "s.of-a-login", "lease_duration": 60}}
        if headers.get("x-vault-token") not in ("s.of-a-login", "s.given"):
            return 403, {"errors": ["permission denied"]}
        if path == "/v1/auth/token/lookup-self" and method == "GET":
            return 200, {"data": {"ttl": 60, "renewable": True}}
        if path == "/v1/auth/token/renew-self":
            return 200, {"auth": {"lease_duration": 60}}
        if method == "PUT" and "/issue/" in path:
            return self.issue(body)
        return 404, {"errors": []}

    def issue(self, body):
        self.issued.append(body)
        if self.fault == "denied":
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\x1b[31m\n\n"]}
        if self.fault == "garbage":
            return 200, b"<html>\xff\x00 a proxy's page"
        if self.fault == "huge":
            return 200, b'{"data": "' + b"x" * (4 << 20) + b'"}'
        hours, rest = body["ttl"].split("h")
        minutes, seconds = rest.rstrip("s").split("m")
        ttl = self.ttl or int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        sans = [s for s in (body["alt_names"] + "," + body["ip_sans"]).split(",") if s]
        cert, key = self.leaf("issued", sans, -30 if self.fault == "expired" else ttl,
                              "somebody-else" if self.fault == "other-name" else body["common_name"])
        if self.fault == "other-name":
            cert, key = self.leaf("issued", ["else.example"], ttl, "somebody-else")
        if self.fault == "wrong-key":
            key = (self.root / "ca.key").read_text()
        data = dict(certificate=cert.strip(), private_key=key.strip(), issuing_ca=(self.root / "ca.pem").read_text().strip(),
                    ca_chain=[(self.root / "ca.pem").read_text().strip()], serial_number="1")
        if self.fault == "no-key":
            del data["private_key"]
        return 200, {"data": data}


def is_ip(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False

"""The certificate of the gRPC port from Vault: got at the start, kept, replaced while serving; with a Vault that is sealed, slow, lies
or is gone; and never half a set."""
import json
import os
import socket
import ssl
import subprocess
import time

import pytest

import harness
import scheduler as standin
from harness import program, wait_for
from test_persys import pb  # noqa: F401 (a fixture)
from test_scheduler import cpb  # noqa: F401 (a fixture)
from vault_stub import Vault


class Node:
    def __init__(self, root, vault, **vault_keys):
        self.root, self.vault = root, vault
        self.port, self.rest = harness.free_port(), harness.free_port()
        self.dir = root / "certs" / "deep"
        self.cert, self.key, self.ca = self.dir / "agent.pem", self.dir / "agent-key.pem", self.dir / "ca.pem"
        self.keys = dict(enabled="true", address=f'"{vault.address}"', role_id="the-role", secret_id_file=f'"{root}/secret-id"',
                         retry_interval="1s", service_name="compute-agent", service_domain="nodes.example")
        self.keys.update(vault_keys)
        (root / "secret-id").write_text("  the-secret \n")
        self.env = dict(os.environ, NO_COLOR="1")
        self.process, self.more = None, ""

    def start(self, wait=True):
        config = self.root / "c.yml"
        vault = "".join(f"  {k}: {v}\n" for k, v in self.keys.items() if v is not None)
        config.write_text(f"""
http: {{listeners: [{{address: "127.0.0.1:{self.rest}"}}]}}
grpc: {{address: "127.0.0.1", port: {self.port}, tls: {{cert: "{self.cert}", key: "{self.key}", ca: "{self.ca}"}}}}
auth: {{tokens: "{self.root}/tokens.json"}}
state: {{path: "{self.root}/state.db"}}
secrets: {{key_file: "{self.root}/k/secret.key"}}
audit: {{file: "{self.root}/audit.log"}}
docker: {{socket: "{self.root}/none.sock"}}
node: {{id: node-7}}
{self.more}
vault:
{vault}""")
        self.process = harness.Process("gantryd", [program("gantryd"), "--config", str(config)], self.root / "log", env=self.env)
        if wait:
            wait_for("the port of gRPC", lambda: self.process.alive() and self.listens(), 20)
        return self

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def ends(self, seconds=25):
        wait_for("the end of gantryd", lambda: not self.process.alive(), seconds)
        return self.process.stop()

    def stop(self):
        if self.process:
            assert self.process.stop() == 0
            self.process = None

    def log(self):
        return (self.root / "log").read_text()

    def serial(self):
        """Of the certificate that the port shows to a client with a certificate of the same authority."""
        ctx = ssl.create_default_context(cafile=str(self.vault.root / "ca.pem"))
        ctx.load_cert_chain(self.vault.root / "client.pem", self.vault.root / "client.key")
        ctx.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s, ctx.wrap_socket(s, server_hostname="127.0.0.1") as t:
            return int(t.getpeercert()["serialNumber"], 16)

    def get(self, path):
        import http.client
        c = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=60)
        c.request("GET", path)
        r = c.getresponse()
        return r.read().decode()

    def certificate(self):
        return json.loads(self.get("/v1/node"))["certificate"]

    def lay(self, seconds, cn="compute-agent", begun=None):
        """A pair of the authority on the disk, as plain files."""
        cert, key = self.vault.leaf("laid", ["127.0.0.1"], seconds, cn, begun)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.cert.write_text(cert)
        self.key.write_text(key)
        self.ca.write_bytes((self.vault.root / "ca.pem").read_bytes())


@pytest.fixture
def vault(tmp_path):
    v = Vault(tmp_path / "vault")
    v.leaf("client", ["client"], 3600)
    yield v
    v.close()


@pytest.fixture
def node(tmp_path, vault):
    n = Node(tmp_path, vault)
    yield n
    n.stop()


def test_a_certificate_is_got_at_the_start_and_kept(node, vault):
    node.start()
    assert vault.calls == [("PUT", "/v1/auth/approle/login"), ("PUT", "/v1/pki/issue/compute-agent")]
    asked = vault.issued[0]
    assert asked["common_name"] == "compute-agent" and asked["ttl"] == "24h0m0s"
    host = socket.gethostname().split(".")[0]
    assert {"compute-agent", "localhost", "node-7", "compute-agent.nodes.example", f"{host}.nodes.example"} <= set(asked["alt_names"].split(","))
    assert {"127.0.0.1", "::1"} <= set(asked["ip_sans"].split(","))
    assert node.key.stat().st_mode & 0o777 == 0o600 and node.cert.stat().st_mode & 0o777 == 0o644
    first = node.serial()
    c = node.certificate()
    assert c["state"] == "good" and c["error"] == "" and c["not_after"]
    metrics = node.get("/metrics")
    assert "gantry_certificates_issued_total 1\n" in metrics and "gantry_certificate_good 1\n" in metrics
    left = float(metrics.split("\ngantry_certificate_expiry_timestamp_seconds ")[1].split()[0]) - time.time()
    assert 86000 < left < 86401
    assert "the-secret" not in node.log() and "the-secret" not in node.get("/config") and "s.of-a-login" not in node.log()
    node.stop()
    node.start()
    assert node.serial() == first and len(vault.issued) == 1  # it is good: Vault is not asked again
    vault.fault = "sealed"
    node.stop()
    node.start()
    assert node.serial() == first


def test_a_token_and_https_and_a_namespace(tmp_path):
    v = Vault(tmp_path / "vault", tls=True)
    v.leaf("client", ["client"], 3600)
    n = Node(tmp_path, v, auth="token", role_id=None, secret_id_file=None, mount="pki_int", role="nodes", address=None)
    n.env.update(VAULT_ADDR="http://127.0.0.1:1", PERSYS_VAULT_ADDR=v.address, VAULT_TOKEN="s.given", VAULT_CACERT=str(v.root / "ca.pem"),
                 VAULT_NAMESPACE="team-a", PERSYS_VAULT_CERT_TTL="1h30m")
    try:
        n.start()
        assert v.calls == [("GET", "/v1/auth/token/lookup-self"), ("PUT", "/v1/pki_int/issue/nodes")]
        assert v.issued[0]["ttl"] == "1h30m0s"
        assert all({k.lower(): x for k, x in h.items()}.get("x-vault-namespace") == "team-a" for h in v.headers)
        n.serial()
        n.stop()
        n.env.pop("VAULT_CACERT")  # nobody whom the machine trusts has signed it
        for f in (n.cert, n.key, n.ca):
            f.unlink()
        n.start(wait=False)
        assert n.ends() not in (0, None) and "certificate refused" in n.log()
    finally:
        n.process = None
        v.close()


@pytest.mark.parametrize("fault, words", [
    ("sealed", "Vault is sealed"), ("denied", "permission denied"), ("login-denied", "invalid role or secret ID"), ("garbage", "no JSON"),
    ("huge", "limit"), ("wrong-key", "not that of the certificate"), ("expired", "expired"), ("other-name", "somebody-else"),
    ("no-key", "no private_key")])
def test_without_any_certificate_there_is_no_start(node, vault, fault, words):
    vault.fault = fault
    node.start(wait=False)
    assert node.ends() == 1
    text = node.log()
    assert words in text and "no certificate on the disk" in text and "\x1b" not in text, text
    node.process = None
    assert not list(node.dir.glob("*.pem")) if node.dir.exists() else True


def test_a_vault_that_does_not_answer_costs_ten_seconds(node, vault):
    vault.fault = "slow"
    began = time.monotonic()
    node.start(wait=False)
    assert node.ends() == 1 and 5 < time.monotonic() - began < 60
    assert "timeout" in node.log().lower() or "timed out" in node.log()
    node.process = None


def test_old_files_serve_until_vault_gives_new_ones(node, vault):
    node.lay(-100)  # expired: a client that checks refuses it, but nothing else is there
    vault.fault = "sealed"
    node.start()
    assert node.certificate()["state"] == "old" and "sealed" in node.certificate()["error"]
    assert "gantry_certificate_good 0\n" in node.get("/metrics")
    with pytest.raises(ssl.SSLCertVerificationError):
        node.serial()
    laid = node.key.read_text()
    vault.fault = "wrong-key"
    wait_for("another try", lambda: "not that of" in node.certificate()["error"], 10)
    assert node.key.read_text() == laid
    vault.fault = None
    wait_for("a new certificate", lambda: node.certificate()["state"] == "good", 10)
    node.serial()
    events = json.loads(node.get("/v1/events?follow=false"))["events"]
    types = [e["type"] for e in events if e["kind"] == "node"]
    assert "certificate.failed" in types and types[-1] == "certificate.issued"


def test_a_certificate_for_others_is_replaced(node, vault):
    node.lay(3600, cn="a-stranger")
    node.start()
    assert len(vault.issued) == 1 and node.certificate()["state"] == "good"
    node.serial()


def test_it_is_replaced_at_four_fifths_while_serving(node, vault, pb, cpb):  # noqa: F811
    """And while a scheduler is told of this node: its next heartbeat comes with the new one, and nothing else happens."""
    vault.leaf("scheduler", ["127.0.0.1"], 3600)
    files = tuple((vault.root / f).read_bytes() for f in ("ca.pem", "scheduler.pem", "scheduler.key"))
    s = standin.Scheduler(cpb, pb, harness.free_port(), factor=60, tls=files, lease=36000)
    shown = []
    s.on_register = s.on_heartbeat = lambda request, context: shown.append(context.auth_context()["x509_pem_cert"][0].decode().strip())
    s.start()
    node.more = f'control: {{address: "127.0.0.1:{s.port}"}}'
    try:
        node.lay(300, begun=3000)  # due at once, but never sooner than 30 s
        old = node.cert.read_text().strip()
        began = time.monotonic()
        node.start()
        first = node.serial()
        wait_for("another certificate", lambda: node.serial() != first, 60)
        assert 29 < time.monotonic() - began < 300 and len(vault.issued) == 1
        assert node.certificate()["state"] == "good"
        new = node.cert.read_text().strip()
        wait_for("the scheduler sees it", lambda: new in shown, 10)
        assert set(shown) == {old, new} and len(s.named("register")) == 1 and len(s.named("heartbeat")) > 3
        assert json.loads(node.get("/v1/node"))["control"]["state"] == "registered"
        assert shown == [old] * shown.count(old) + [new] * shown.count(new)
    finally:
        s.end()


def test_what_vault_needs_is_asked_for_by_name(tmp_path):
    def check(**env):
        return subprocess.run([program("gantryd"), "--check-config"], capture_output=True, text=True, timeout=120, cwd=tmp_path,
                              env=dict(os.environ, PERSYS_VAULT_ENABLED="true", **env))
    for env, words in ((dict(), "PERSYS_VAULT_APPROLE_ROLE_ID"), (dict(PERSYS_VAULT_AUTH_METHOD="token"), "PERSYS_VAULT_TOKEN"),
                       (dict(PERSYS_TLS_ENABLED="false"), "needs? TLS|need TLS"), (dict(PERSYS_VAULT_AUTH_METHOD="ldap"), '"ldap"'),
                       (dict(PERSYS_VAULT_PKI_MOUNT="a b"), '"a b"'), (dict(PERSYS_VAULT_CERT_TTL="0s"), '"0s"')):
        r = check(**env)
        import re
        assert r.returncode == 1 and re.search(words, r.stderr), (env, r)
    given = dict(PERSYS_VAULT_AUTH_METHOD="token", VAULT_TOKEN="12345")
    assert check(**given).returncode == 0
    r = check(**given, PERSYS_VAULT_ADDR="vault:8200")
    assert r.returncode == 1 and "vault.address" in r.stderr and '"vault:8200"' in r.stderr

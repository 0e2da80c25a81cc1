"""gantry certs: the development set is good for openssl, for Python's gRPC without an override of names, and for gantryd, at the
places where it looks by itself."""
import json
import os
import socket
import ssl
import subprocess

import pytest

import harness
from harness import patient, program, wait_for

grpc = pytest.importorskip("grpc")


def gantry(*args, **kw):
    return subprocess.run([program("gantry"), "certs", *args], capture_output=True, text=True, timeout=patient(30), **kw)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    d = tmp_path_factory.mktemp("certs") / "dev"
    r = gantry("dev", "--dir", str(d), "--host", "robot.example", "--host", "192.0.2.77")
    assert r.returncode == 0, r.stderr
    return d


def test_openssl_is_content_with_all_of_it(made):
    def verify(name, purpose, *more):
        return subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", made / "ca.pem", *more, made / name],
                              capture_output=True).returncode
    for name in ("localhost", "robot.example", socket.gethostname()):
        assert verify("compute-agent.pem", "sslserver", "-verify_hostname", name) == 0, name
    for address in ("127.0.0.1", "::1", "192.0.2.77"):
        assert verify("compute-agent.pem", "sslserver", "-verify_ip", address) == 0, address
    assert verify("compute-agent.pem", "sslclient") == 0
    assert verify("client.pem", "sslclient") == 0
    assert verify("client.pem", "sslserver") != 0
    assert verify("compute-agent.pem", "sslserver", "-verify_hostname", "elsewhere.example") != 0
    for f in made.iterdir():
        assert f.stat().st_mode & 0o777 == (0o600 if f.name.endswith("-key.pem") else 0o644), f.name
    assert len(list(made.iterdir())) == 6 and len(list(made.parent.iterdir())) == 1


def test_show_tells_what_is_in_them(made):
    r = gantry("show", "-o", "json", str(made / "compute-agent.pem"), str(made / "ca.pem"))
    leaf, ca = json.loads(r.stdout)
    assert r.returncode == 0 and leaf["days_left"] in (364, 365) and ca["authority"] and not leaf["authority"]
    assert {"DNS:localhost", "DNS:robot.example", "IP:192.0.2.77", "IP:127.0.0.1", "IP:::1"} <= set(leaf["names"])
    assert leaf["issuer"] == ca["subject"]
    table = gantry("show", str(made / "client.pem"), str(made / "client-key.pem"))
    assert table.returncode == 1 and "CN=gantry-client" in table.stdout and "no certificate" in table.stderr
    old = made.parent / "old.pem"
    key, ask = made.parent / "old.key", made.parent / "old.csr"
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", ask,
                    "-subj", "/CN=old"], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", ask, "-signkey", key, "-days", "-1", "-out", old], check=True, capture_output=True)
    key.unlink()
    ask.unlink()
    r = gantry("show", str(old))
    old.unlink()
    assert r.returncode == 1 and "expired" in r.stdout


def test_what_is_there_is_not_overwritten(made):
    before = {f.name: f.read_bytes() for f in made.iterdir()}
    r = gantry("dev", "--dir", str(made))
    assert r.returncode == 1 and "--force" in r.stderr
    for bad in (["--days", "0"], ["--days", "x"], ["--days", "4000"], ["--host", "a b"], ["--host", "-x"]):
        r = gantry("dev", "--dir", str(made), *bad)
        assert r.returncode == 2 and f'"{bad[1]}"' in r.stderr or bad[1] in r.stderr, r.stderr
    assert {f.name: f.read_bytes() for f in made.iterdir()} == before


def test_a_server_without_the_name_is_refused(made):
    """As Go's clients and Python's ssl do: only alternative names count."""
    ctx = ssl.create_default_context(cafile=str(made / "ca.pem"))
    ctx.load_cert_chain(made / "client.pem", made / "client-key.pem")
    back = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    back.load_cert_chain(made / "compute-agent.pem", made / "compute-agent-key.pem")
    back.load_verify_locations(made / "ca.pem")
    back.verify_mode = ssl.CERT_REQUIRED

    def handshake(name):
        a, b, c, d = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        client, server = ctx.wrap_bio(a, b, server_hostname=name), back.wrap_bio(b, a, server_side=True)
        for _ in range(6):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        return server.getpeercert()
    assert ("commonName", "gantry-client") in [x for part in handshake("robot.example")["subject"] for x in part]
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake("elsewhere.example")


# /etc of its own, so that the default folder can be made without a trace.
PRIVATE_ETC = """mount -t tmpfs none /mnt && mkdir /mnt/up /mnt/work && mount -t overlay overlay \
-o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work /etc && "$GANTRY" certs dev && exec "$@" """


def test_gantryd_takes_them_from_where_they_are_made(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    port, rest = harness.free_port(), harness.free_port()
    config = tmp_path / "c.yml"
    config.write_text(f"""
http: {{listeners: [{{address: "127.0.0.1:{rest}"}}]}}
grpc: {{address: "127.0.0.1", port: {port}}}
auth: {{tokens: "{tmp_path}/tokens.json"}}
state: {{path: "{tmp_path}/state.db"}}
secrets: {{key_file: "{tmp_path}/k/secret.key"}}
audit: {{file: "{tmp_path}/audit.log"}}
""")
    can = subprocess.run(["unshare", "-m", "sh", "-ec", PRIVATE_ETC, "sh", "true"], capture_output=True, text=True,
                         env=dict(os.environ, GANTRY=program("gantry")))
    if can.returncode != 0:
        pytest.skip(f"no private /etc here: {can.stderr}")
    log = open(tmp_path / "log", "w")
    p = subprocess.Popen(["unshare", "-m", "sh", "-ec", PRIVATE_ETC, "sh", "sh", "-ec",
                          f'cp /etc/persys/certs/agent/c*.pem "{out}"; exec "{program("gantryd")}" --config "{config}"'],
                         stdout=log, stderr=log, env=dict(os.environ, GANTRY=program("gantry")))
    try:
        def serving():
            assert p.poll() is None, (tmp_path / "log").read_text()
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for("the port of gRPC", serving, 15)
        creds = grpc.ssl_channel_credentials((out / "ca.pem").read_bytes(), (out / "client-key.pem").read_bytes(),
                                             (out / "client.pem").read_bytes())
        for host in ("localhost", "127.0.0.1"):
            with grpc.secure_channel(f"{host}:{port}", creds) as channel:
                call = channel.unary_unary("/grpc.health.v1.Health/Check")
                assert call(b"", timeout=patient(20)) == b"\x08\x01"
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials((out / "ca.pem").read_bytes())) as channel:
            with pytest.raises(grpc.RpcError):
                channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=patient(20))
    finally:
        p.terminate()
        p.wait(patient(15))
        log.close()

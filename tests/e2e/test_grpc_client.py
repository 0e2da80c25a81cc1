"""Our gRPC client against Debian's gRPC server for Python: every kind of call, times, limits, servers that leave or die, TLS
with certificates on both sides."""
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

import harness
from harness import free_port, patient

LIMIT = 4 * 1024 * 1024


@pytest.fixture(scope="session")
def caller():
    """The test program, built on demand in the build folder under test."""
    build = harness.build_dir()
    subprocess.run(["ninja", "-C", str(build), "--quiet", "tests/programs/grpc_caller"], check=True, capture_output=True)
    program = str(build / "tests" / "programs" / "grpc_caller")

    def call(*args, timeout=patient(60)):
        r = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=timeout)
        assert r.returncode == 0, r.stderr
        return r.stdout.splitlines()
    call.program = program
    return call


class Service(grpc.GenericRpcHandler):
    """/t.S/...: bytes in, bytes out."""

    def __init__(self):
        self.seen = {}
        self.cancelled, self.napping = threading.Event(), threading.Event()

    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        f = getattr(self, name, None)
        if f is None:
            return None
        kinds = {"Sum": grpc.stream_unary_rpc_method_handler, "Count": grpc.unary_stream_rpc_method_handler,
                 "Chat": grpc.stream_stream_rpc_method_handler}
        return kinds.get(name, grpc.unary_unary_rpc_method_handler)(f)

    def Echo(self, request, context):
        self.seen = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-head", "h"), ("x-head-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-tail", "t"), ("x-tail-bin", b"\x01")))
        return request

    def Size(self, request, context):
        return str(len(request)).encode()

    def Big(self, request, context):
        return b"b" * int(request)

    def Fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nö: 100%\nreally")

    def Slow(self, request, context):
        self.left = context.time_remaining()
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(patient(20))
        return b"late"

    def Nap(self, request, context):
        self.napping.set()
        time.sleep(float(request))
        return b"awake"

    def Sum(self, requests, context):
        return str(sum(len(r) for r in requests)).encode()

    def Count(self, request, context):
        context.add_callback(self.cancelled.set)
        for i in range(int(request)):
            yield str(i).encode()

    def Chat(self, requests, context):
        for r in requests:
            yield r.upper()


class Server:
    def __init__(self, credentials=None, address="127.0.0.1:0", options=()):
        self.service = Service()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0), *options])
        self.server.add_generic_rpc_handlers((self.service,))
        self.port = (self.server.add_secure_port(address, credentials) if credentials else self.server.add_insecure_port(address))
        self.address = f"127.0.0.1:{self.port}"
        self.server.start()

    def stop(self, grace=0):
        return self.server.stop(grace)


@pytest.fixture
def server():
    s = Server()
    yield s
    s.service.cancelled.set()
    s.stop().wait(10)


def test_unary_with_metadata(caller, server):
    out = caller("-m", "x-a=1", "-m", "x-b-bin=00ff10", "-t", 5000, server.address, "/t.S/Echo", "hello")
    assert out == ["header x-head=h", "header x-head-bin=00ff", "message hello", "trailer x-tail=t", "trailer x-tail-bin=01", "status OK "]
    assert server.service.seen["x-a"] == "1" and server.service.seen["x-b-bin"] == b"\x00\xff\x10"
    assert server.service.seen["user-agent"].startswith("grpc-c-gantry/")


def test_a_status_with_text(caller, server):
    out = caller(server.address, "/t.S/Fail", "")
    assert "\n".join(out) == "status FAILED_PRECONDITION nö: 100%\nreally"
    assert caller(server.address, "/t.S/None", "")[-1].startswith("status UNIMPLEMENTED")


def test_streams(caller, server):
    assert caller(server.address, "/t.S/Sum", "a", "bb", "ccc") == ["message 6", "status OK "]
    assert caller(server.address, "/t.S/Sum") == ["message 0", "status OK "]
    out = caller(server.address, "/t.S/Count", "5000")
    assert out == [f"message {i}" for i in range(5000)] + ["status OK "]
    assert caller(server.address, "/t.S/Chat", "a", "b", "c") == ["message A", "message B", "message C", "status OK "]


def test_large_uploads_and_messages(caller, server):
    out = caller("-b", 200, "-z", 100000, server.address, "/t.S/Sum")
    assert out == ["message 20000000", "status OK "]
    assert caller("-z", LIMIT, server.address, "/t.S/Size") == [f"message {LIMIT}", "status OK "]
    assert caller("-z", LIMIT + 1, server.address, "/t.S/Size")[-1].startswith("status RESOURCE_EXHAUSTED")
    assert caller(server.address, "/t.S/Big", LIMIT) == [f"message {LIMIT} bytes", "status OK "]
    out = caller(server.address, "/t.S/Big", LIMIT + 1)
    assert out[-1] == f"status RESOURCE_EXHAUSTED a message of {LIMIT + 1} bytes; at most {LIMIT} are accepted"


def test_a_deadline_is_told_and_kept(caller, server):
    began = time.monotonic()
    assert caller("-t", 6000, server.address, "/t.S/Slow", "")[-1].startswith("status DEADLINE_EXCEEDED")
    assert 5.9 < time.monotonic() - began < patient(20)
    assert 0 < server.service.left <= 6.01
    assert server.service.cancelled.wait(patient(5))


def test_cancelling_a_stream(caller, server):
    out = caller("-x", 10, server.address, "/t.S/Count", "100000000")
    assert out[:10] == [f"message {i}" for i in range(10)] and out[10:] == ["status CANCELLED the call was cancelled"]
    assert server.service.cancelled.wait(patient(5))


def test_a_thousand_calls_at_once(caller, server):
    assert caller("-r", 1000, server.address, "/t.S/Echo", "x") == ["OK 1000"]


def test_a_server_that_allows_few_calls_at_once(caller):
    s = Server(options=[("grpc.max_concurrent_streams", 2)])
    try:
        assert caller("-r", 300, s.address, "/t.S/Echo", "x") == ["OK 300"]
    finally:
        s.stop().wait(10)


def test_a_server_that_ends_its_connections_all_the_time(caller):
    """Each connection is left with a GOAWAY after a tenth of a second, whatever runs on it."""
    s = Server(options=[("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 60000)])
    try:
        for _ in range(5):
            assert caller("-r", 400, s.address, "/t.S/Nap", "0.01") == ["OK 400"]
    finally:
        s.stop().wait(10)


def test_nobody_there(caller):
    assert "refused" in caller(f"127.0.0.1:{free_port()}", "/t.S/Echo", "x")[-1]
    out = caller("-w", "-t", 300, f"127.0.0.1:{free_port()}", "/t.S/Echo", "x")
    assert out[-1].startswith("status DEADLINE_EXCEEDED")
    assert caller("gantry-test.invalid:50051", "/t.S/Echo", "x")[-1].startswith("status UNAVAILABLE")


def test_waiting_for_a_server_that_comes_later(caller):
    port = free_port()
    with subprocess.Popen([caller.program, "-w", "-t", "60000", f"127.0.0.1:{port}", "/t.S/Echo", "x"], stdout=subprocess.PIPE, text=True) as p:
        time.sleep(0.6)
        s = Server(address=f"127.0.0.1:{port}")
        out, _ = p.communicate(timeout=patient(30))
        s.stop().wait(10)
    assert out.splitlines()[-1] == "status OK "


def test_a_name_is_resolved(caller, server):
    assert caller(f"localhost:{server.port}", "/t.S/Sum", "abc") == ["message 3", "status OK "]


def test_a_unix_socket(caller, tmp_path):
    s = Server(address=f"unix:{tmp_path}/s.sock")
    try:
        assert caller(f"unix:{tmp_path}/s.sock", "/t.S/Sum", "abc") == ["message 3", "status OK "]
    finally:
        s.stop().wait(10)


def test_a_server_that_drains_finishes_what_runs(caller):
    s = Server()
    with subprocess.Popen([caller.program, s.address, "/t.S/Nap", "1"], stdout=subprocess.PIPE, text=True) as p:
        assert s.service.napping.wait(patient(10))
        s.stop(60)  # GOAWAY
        out, _ = p.communicate(timeout=patient(30))
    assert out.splitlines() == ["message awake", "status OK "]


SERVE = """
import os, signal, sys, time
sys.path.insert(0, {here!r})
import test_grpc_client as t
s = t.Server(address="127.0.0.1:{port}")
naps, nap = [], s.service.Nap

def last_nap(request, context):  # the 300th is never over
    naps.append(1)
    if len(naps) == 300:
        os.kill(os.getpid(), signal.SIGKILL)
    return nap(request, context)
s.service.Nap = last_nap
print("ready", flush=True)
time.sleep(600)
"""


def test_a_server_that_dies(caller):
    port = free_port()
    p = subprocess.Popen([sys.executable, "-c", SERVE.format(here=os.path.dirname(__file__), port=port)], stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        with subprocess.Popen([caller.program, f"127.0.0.1:{port}", "/t.S/Slow", "x"], stdout=subprocess.PIPE, text=True) as c:
            time.sleep(0.5)
            p.send_signal(signal.SIGKILL)
            out, _ = c.communicate(timeout=patient(20))
        assert out.startswith("status UNAVAILABLE")
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def test_a_server_that_dies_under_a_thousand_calls(caller):
    port = free_port()
    p = subprocess.Popen([sys.executable, "-c", SERVE.format(here=os.path.dirname(__file__), port=port)], stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        with subprocess.Popen([caller.program, "-r", "1000", f"127.0.0.1:{port}", "/t.S/Nap", "0.02"], stdout=subprocess.PIPE, text=True) as c:
            out, _ = c.communicate(timeout=patient(20))
        counts = {line.split()[0]: int(line.split()[1]) for line in out.splitlines()}
        assert set(counts) == {"OK", "UNAVAILABLE"} and sum(counts.values()) == 1000, counts
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


# ---- TLS

@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Two authorities; a server's pair and a client's by the first, a stranger's by the second."""
    d = pathlib.Path(tmp_path_factory.mktemp("pki"))

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=d)
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{ca}.key", "-out", f"{ca}.pem",
                "-days", "2", "-subj", f"/CN={ca}")
    for name, ca, san in (("server", "ca", "DNS:localhost,IP:127.0.0.1"), ("client", "ca", "DNS:robot-1"), ("stranger", "other", "DNS:robot-1")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}", "-addext", f"subjectAltName={san}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2",
                "-copy_extensions", "copy", "-out", f"{name}.pem")
    return d


@pytest.fixture(scope="module")
def tls_server(pki):
    s = Server(grpc.ssl_server_credentials([((pki / "server.key").read_bytes(), (pki / "server.pem").read_bytes())],
                                           (pki / "ca.pem").read_bytes(), require_client_auth=True))
    yield s
    s.stop().wait(10)


def test_mutual_tls(caller, tls_server, pki):
    pair = f"{pki}/client.pem,{pki}/client.key"
    assert caller("-c", pki / "ca.pem", "-k", pair, tls_server.address, "/t.S/Sum", "abc") == ["message 3", "status OK "]
    assert caller("-c", pki / "ca.pem", "-k", pair, f"localhost:{tls_server.port}", "/t.S/Sum", "abc")[-1] == "status OK "
    assert caller("-c", pki / "ca.pem", "-k", pair, "-n", "localhost", "-r", 300, tls_server.address, "/t.S/Echo", "x") == ["OK 300"]
    out = caller("-c", pki / "ca.pem", "-k", pair, "-b", 50, "-z", 100000, tls_server.address, "/t.S/Sum")
    assert out == ["message 5000000", "status OK "]


@pytest.mark.parametrize("what", ["no certificate", "a stranger's", "another name", "another authority", "plain text"])
def test_mutual_tls_refused(caller, tls_server, pki, what):
    pair, stranger = f"{pki}/client.pem,{pki}/client.key", f"{pki}/stranger.pem,{pki}/stranger.key"
    args = {"no certificate": ["-c", pki / "ca.pem"], "a stranger's": ["-c", pki / "ca.pem", "-k", stranger],
            "another name": ["-c", pki / "ca.pem", "-k", pair, "-n", "elsewhere.example"], "another authority": ["-c", pki / "other.pem", "-k", pair],
            "plain text": []}[what]
    out = caller("-t", 60000, *args, tls_server.address, "/t.S/Echo", "x")
    assert len(out) == 1 and out[0].startswith("status UNAVAILABLE "), out

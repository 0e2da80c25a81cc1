"""Our gRPC server against Debian's gRPC client for Python: every kind of call, times, limits, flow control, going away, health,
reflection, TLS with certificates on both sides."""
import os
import pathlib
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
import warnings

import pytest

import harness
from harness import patient, wait_for

grpc = pytest.importorskip("grpc")

LIMIT = 4 * 1024 * 1024
LONG = patient(20)  # for what takes a moment
AGENT = "persys.agent.v1.AgentService"
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program():
    """The test program, built on demand in the build folder under test."""
    build = harness.build_dir()
    subprocess.run(["ninja", "-C", str(build), "--quiet", "tests/programs/grpc_echo"], check=True, capture_output=True)
    return str(build / "tests" / "programs" / "grpc_echo")


class Echo:
    def __init__(self, program, *args):
        self.p = subprocess.Popen([program, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert select.select([self.p.stdout], [], [], LONG)[0], "grpc_echo says nothing"
        self.port = int(self.p.stdout.readline() or 0)
        assert self.port, self.p.stderr.read()
        self.address = f"127.0.0.1:{self.port}"

    def channel(self, *options):
        return grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1), *options])

    def begun_closed(self, channel):
        return [int(x) for x in channel.unary_unary("/test.T/Stats")(b"", timeout=LONG).split()]

    def settled(self, channel):
        """How many calls there were, when all that began are closed."""
        return wait_for("calls of before are closed", lambda: (lambda s: s[:1] if s[0] == s[1] else None)(self.begun_closed(channel)))[0]

    def stop(self):
        """Ends it; its own checks (every call that began was closed, nothing is left open) are its exit status."""
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
        try:
            out = self.p.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            self.p.kill()
            out = self.p.communicate()
        assert self.p.returncode == 0, out


@pytest.fixture(scope="module")
def echo(program):
    e = Echo(program)
    yield e
    e.stop()


@pytest.fixture
def own_echo(program):
    started = []

    def start(*args):
        started.append(Echo(program, *args))
        return started[-1]
    yield start
    for e in started:
        e.stop()


@pytest.fixture
def channel(echo):
    with echo.channel() as c:
        yield c


def fails(call, code):
    """The error of a call that must fail with this status."""
    with pytest.raises(grpc.RpcError) as e:
        r = call()
        if hasattr(r, "__next__"):
            list(r)
    assert e.value.code() == getattr(grpc.StatusCode, code), (e.value.code(), e.value.details())
    return e.value


# ---- calls

def test_unary_with_metadata(channel):
    sent = (("x-one", "1"), ("x-raw-bin", b"\x00\xff\x10"), ("y-two", "zwei"), ("y-raw-bin", b""))
    answer, call = channel.unary_unary("/test.T/Echo").with_call(b"hello", timeout=LONG, metadata=sent)
    assert answer == b"hello" and call.code() == grpc.StatusCode.OK
    head, tail = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert head["x-one"] == "1" and head["x-raw-bin"] == b"\x00\xff\x10"
    assert tail["y-two"] == "zwei" and tail["y-raw-bin"] == b""


def test_messages_of_all_sizes(channel):
    call = channel.unary_unary("/test.T/Echo")
    for n in (0, 1, 16379, 16384, 65531, 65535, 1 << 20, LIMIT - 4096):
        assert call(os.urandom(n) if n < 70000 else b"x" * n, timeout=LONG) is not None


def test_statuses_and_texts(channel):
    call = channel.unary_unary("/test.T/Fail")
    for code in grpc.StatusCode:
        if code.value[0] == 0:
            continue
        assert fails(lambda: call(str(code.value[0]).encode(), timeout=LONG), code.name).details() == "as you like: 100%"
    assert fails(lambda: call("größer\n100%".encode(), timeout=LONG), "NOT_FOUND").details() == 'there is no "größer\\n100%"'  # one line, whatever was sent


def test_unknown_methods(channel):
    assert "unknown method" in fails(lambda: channel.unary_unary("/test.T/None")(b"", timeout=LONG), "UNIMPLEMENTED").details()
    assert "unknown service" in fails(lambda: channel.unary_unary("/no.Such/None")(b"", timeout=LONG), "UNIMPLEMENTED").details()
    fails(lambda: channel.stream_stream("/no.Such/None")(iter([b"a", b"b"]), timeout=LONG), "UNIMPLEMENTED")


def test_the_limit_of_a_message(echo):
    with echo.channel(("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)) as c:
        call = c.unary_unary("/test.T/Echo")
        assert len(call(b"x" * LIMIT, timeout=LONG)) == LIMIT
        assert "4194305" in fails(lambda: call(b"x" * (LIMIT + 1), timeout=LONG), "RESOURCE_EXHAUSTED").details()
        assert "4194305" in fails(lambda: c.stream_unary("/test.T/Sum")(iter([b"a", b"x" * (LIMIT + 1)]), timeout=LONG),
                                  "RESOURCE_EXHAUSTED").details()
        assert call(b"still", timeout=LONG) == b"still"  # the connection is as good as before


def test_compressed_requests(echo):
    with echo.channel() as c:
        e = fails(lambda: c.unary_unary("/test.T/Echo")(b"z" * 10000, timeout=LONG, compression=grpc.Compression.Gzip), "UNIMPLEMENTED")
        assert "gzip" in e.details()
        assert c.unary_unary("/test.T/Echo")(b"plain", timeout=LONG) == b"plain"


def test_client_stream(channel):
    call = channel.stream_unary("/test.T/Sum")
    assert call(iter([b"abc"] * 1000), timeout=LONG) == b"1000 3000"
    assert call(iter([]), timeout=LONG) == b"0 0"
    assert call(iter([b"x" * 1000000] * 50), timeout=LONG) == b"50 50000000"


def test_server_stream_and_a_slow_reader(echo, channel):
    call = channel.unary_stream("/test.T/Count")
    assert [len(m) for m in call(b"10 7", timeout=LONG)] == [7] * 10
    assert list(call(b"0 7", timeout=LONG)) == []
    assert sum(len(m) for m in call(b"500 65536", timeout=LONG)) == 500 * 65536
    # The server must not make what nobody reads: what is on its way is a small part of it.
    stream = call(b"2000 65536", timeout=LONG)
    next(stream)
    time.sleep(1)
    rss = int((pathlib.Path(f"/proc/{echo.p.pid}/statm").read_text().split())[1]) * 4096
    assert rss < 60 << 20 or harness.SANITIZED, rss  # a sanitizer keeps what was freed
    assert channel.unary_unary("/test.T/Echo")(b"others are served", timeout=LONG) == b"others are served"
    assert 1 + sum(1 for _ in stream) == 2000


def test_bidi(channel):
    asked = iter([])

    def questions():
        for i in range(100):
            yield str(i).encode()
            got.wait(LONG)
            got.clear()
    got = threading.Event()
    answers = []
    for m in channel.stream_stream("/test.T/Chat")(questions(), timeout=LONG):
        answers.append(m)
        got.set()
    assert answers == [str(i).encode() for i in range(100)]
    assert list(channel.stream_stream("/test.T/Chat")(asked, timeout=LONG)) == []


def test_a_server_stream_in_bidi_does_not_block_others(channel):
    """64 calls at once on one connection, of all kinds."""
    futures = [channel.unary_unary("/test.T/Echo").future(str(i).encode(), timeout=LONG) for i in range(32)]
    futures += [channel.stream_unary("/test.T/Sum").future(iter([b"x"] * 10), timeout=LONG) for i in range(32)]
    streams = [channel.unary_stream("/test.T/Count")(b"50 1000", timeout=LONG) for _ in range(16)]
    assert [f.result() for f in futures[:32]] == [str(i).encode() for i in range(32)]
    assert all(f.result() for f in futures[32:])
    assert all(len(list(s)) == 50 for s in streams)


# ---- times and ends

def test_deadlines(echo, channel):
    begun = echo.settled(channel)
    for seconds in (0.3, 3, 30):  # what does not even leave this process in time, the server never sees
        fails(lambda: channel.unary_unary("/test.T/Wait")(b"", timeout=seconds), "DEADLINE_EXCEEDED")
        if echo.begun_closed(channel)[0] == begun + 1:
            break
    # The handler has heard of it, by its own clock or by the client's reset.
    wait_for("the server's own deadline", lambda: echo.begun_closed(channel)[:2] == [begun + 1, begun + 1])
    fails(lambda: list(channel.stream_stream("/test.T/Chat")(iter(lambda: time.sleep(0.1) or b"x", b""), timeout=0.5)), "DEADLINE_EXCEEDED")


def test_cancelling(echo, channel):
    begun = closed = echo.settled(channel)
    f = channel.unary_unary("/test.T/Wait").future(b"", timeout=LONG)
    wait_for("the call", lambda: echo.begun_closed(channel)[0] == begun + 1)
    f.cancel()
    wait_for("the handler to hear it", lambda: echo.begun_closed(channel)[1] == closed + 1)
    stats = echo.begun_closed(channel)
    assert stats[2] == -15  # gone
    stream = channel.unary_stream("/test.T/Count")(b"100000 65536", timeout=LONG)
    next(stream)
    stream.cancel()
    wait_for("the stream's end", lambda: (lambda s: s[0] == s[1])(echo.begun_closed(channel)))


def test_a_client_that_dies(echo, channel):
    begun = closed = echo.settled(channel)
    script = f"""
import grpc
c = grpc.insecure_channel("{echo.address}")
f = c.unary_unary("/test.T/Wait").future(b"")
s = c.unary_stream("/test.T/Count")(b"100000 65536")
next(s)
print("begun", flush=True)
f.result()
"""
    p = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"begun\n"
    wait_for("both calls", lambda: echo.begun_closed(channel)[0] == begun + 2)
    p.kill()
    p.wait()
    p.stdout.close()
    wait_for("both calls' end", lambda: echo.begun_closed(channel)[:2] == [begun + 2, closed + 2])


def test_too_many_pings(own_echo, capfd):
    e = own_echo()
    with e.channel(("grpc.keepalive_time_ms", 100), ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0),
                   ("grpc.http2.min_ping_interval_without_data_ms", 50), ("grpc.enable_retries", 0)) as c:
        f = c.unary_unary("/test.T/Wait").future(b"", timeout=LONG)
        fails(f.result, "UNAVAILABLE")
    said = []  # the library's own words
    wait_for("why", lambda: said.append(capfd.readouterr().err) or 'ENHANCE_YOUR_CALM and debug data equal to "too_many_pings"' in "".join(said))
    # One that asks every 10 s, and on top of it while it works, is fine.
    with e.channel(("grpc.keepalive_time_ms", 10000), ("grpc.keepalive_permit_without_calls", 1)) as c:
        for _ in range(30):
            assert c.unary_unary("/test.T/Echo")(b"x", timeout=LONG) == b"x"


def test_keepalive_of_the_server(own_echo):
    """A client that is stopped is cut; one that is only silent answers, and stays."""
    e = own_echo("-k", "500,7000")
    script = f"""
import grpc
f = grpc.insecure_channel("{e.address}").unary_unary("/test.T/Wait").future(b"")
print("sent", flush=True)
f.result()
"""
    with e.channel() as silent, e.channel() as c:
        f = silent.unary_unary("/test.T/Wait").future(b"", timeout=LONG)
        wait_for("the silent one's call", lambda: e.begun_closed(c)[0] == 1)
        p = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"sent\n"
        wait_for("its call", lambda: e.begun_closed(c)[0] == 2)
        p.send_signal(signal.SIGSTOP)
        try:
            wait_for("the call to be cut", lambda: e.begun_closed(c)[1] == 1, 20)
            assert not f.done() and e.begun_closed(c)[0] == 2  # it was asked for longer
        finally:
            p.kill()
            p.wait()
            p.stdout.close()
        f.cancel()
        wait_for("the end of the silent call", lambda: (lambda s: s[0] == s[1])(e.begun_closed(c)))


def test_concurrent_streams_are_limited(own_echo):
    e = own_echo("-s", "4")
    with e.channel() as c:
        waiting = [c.unary_unary("/test.T/Wait").future(b"", timeout=LONG) for _ in range(8)]
        with e.channel() as d:
            wait_for("the first four", lambda: e.begun_closed(d)[0] == 4)
            time.sleep(0.5)
            assert e.begun_closed(d)[0] == 4  # the others wait in the client
            for f in waiting[:5]:  # at least one of them had begun
                f.cancel()
            wait_for("the other three", lambda: (lambda x: x[1] > 0 and x[0] - x[1] == 3)(e.begun_closed(d)))
            for f in waiting:
                f.cancel()
            wait_for("all closed", lambda: (lambda x: x[0] == x[1])(e.begun_closed(d)))


def test_going_away(own_echo):
    """SIGTERM: what is under way is finished, a watch of the health is ended, nothing new begins, and the process ends by itself."""
    e = own_echo()
    go = threading.Event()

    def questions():
        yield b"one"
        go.wait(LONG)
        yield b"two"
    with e.channel() as c, e.channel() as d:
        chat = c.stream_stream("/test.T/Chat")(questions(), timeout=LONG)
        assert next(chat) == b"one"
        watch = d.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=LONG)
        assert next(watch) == b"\x08\x01"
        e.p.send_signal(signal.SIGTERM)
        assert next(watch) == b"\x08\x02"
        fails(lambda: next(watch), "UNAVAILABLE")
        fails(lambda: d.unary_unary("/test.T/Echo")(b"new", timeout=LONG), "UNAVAILABLE")
        assert e.p.poll() is None
        go.set()
        assert list(chat) == [b"two"]
        assert e.p.wait(LONG) == 0


# ---- health and reflection

def test_health(own_echo):
    e = own_echo()
    service = b"\x0a" + bytes([len(AGENT)]) + AGENT.encode()
    with e.channel() as c:
        check = c.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=LONG) == b"\x08\x01" == check(service, timeout=LONG)
        fails(lambda: check(b"\x0a\x04none", timeout=LONG), "NOT_FOUND")
        watch = c.unary_stream("/grpc.health.v1.Health/Watch")(service, timeout=LONG)
        assert next(watch) == b"\x08\x01"
        e.p.send_signal(signal.SIGUSR1)
        assert next(watch) == b"\x08\x02" and check(service, timeout=LONG) == b"\x08\x02"
        e.p.send_signal(signal.SIGUSR1)
        assert next(watch) == b"\x08\x01"
        watch.cancel()


@pytest.fixture(scope="module")
def reflection_pb2(tmp_path_factory):
    """The messages of the protocol, from our description of it."""
    import importlib.util
    d = tmp_path_factory.mktemp("pb2")
    # By the name that others give it too: a Python process knows each file once.
    name = "grpc/reflection/v1/reflection"
    subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={d}", f"{name}.proto"], check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location("reflection_pb2", d / f"{name}_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("generation", ["v1", "v1alpha"])
def test_a_tool_that_knows_nothing(channel, reflection_pb2, generation):
    """As grpcurl does: asks for the services and their files, builds the messages from them, and calls."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    pb = reflection_pb2
    questions = [pb.ServerReflectionRequest(list_services=""), pb.ServerReflectionRequest(file_containing_symbol=AGENT),
                 pb.ServerReflectionRequest(file_by_filename="grpc/health/v1/health.proto"),
                 pb.ServerReflectionRequest(file_containing_symbol=AGENT + ".GetWorkloadStatus"),
                 pb.ServerReflectionRequest(file_containing_symbol="no.Such"),
                 pb.ServerReflectionRequest(all_extension_numbers_of_type="persys.agent.v1.WorkloadSpec"),
                 pb.ServerReflectionRequest(file_containing_extension=pb.ExtensionRequest(containing_type="persys.agent.v1.WorkloadSpec",
                                                                                          extension_number=5))]
    call = channel.stream_stream(f"/grpc.reflection.{generation}.ServerReflection/ServerReflectionInfo",
                                 request_serializer=pb.ServerReflectionRequest.SerializeToString,
                                 response_deserializer=pb.ServerReflectionResponse.FromString)
    r = list(call(iter(questions), timeout=LONG))
    assert len(r) == len(questions) and all(a.original_request == q for a, q in zip(r, questions))
    assert [s.name for s in r[0].list_services_response.service] == [
        AGENT, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
    assert r[1].file_descriptor_response == r[3].file_descriptor_response
    assert r[4].error_response.error_code == 5 and r[6].error_response.error_code == 5
    assert r[5].all_extension_numbers_response.base_type_name == "persys.agent.v1.WorkloadSpec"
    pool = descriptor_pool.DescriptorPool()
    for answer in (r[1], r[2]):
        for b in reversed(answer.file_descriptor_response.file_descriptor_proto):
            pool.Add(descriptor_pb2.FileDescriptorProto.FromString(b))
    method = pool.FindServiceByName(AGENT).methods_by_name["GetWorkloadStatus"]
    make = message_factory.MessageFactory(pool).GetPrototype
    ask, answer = make(method.input_type), make(method.output_type)
    got = channel.unary_unary(f"/{AGENT}/GetWorkloadStatus", request_serializer=ask.SerializeToString,
                              response_deserializer=answer.FromString)(ask(id="wörk"), timeout=LONG)
    assert got.status.id == "wörk" and got.status.actual_state == 2


def test_bad_requests(channel):
    call = channel.unary_unary(f"/{AGENT}/GetWorkloadStatus")
    fails(lambda: call(b"\x0a\x05ab", timeout=LONG), "INTERNAL")
    fails(lambda: call(b"\x0a\x02\xff\xfe", timeout=LONG), "INTERNAL")
    assert call(b"\x0a\x01w\x9a\x06\x01x", timeout=LONG)  # an unknown field


def test_the_same_port_serves_http(echo):
    import http.client
    h = http.client.HTTPConnection("127.0.0.1", echo.port, timeout=LONG)
    h.request("GET", "/anything")
    assert h.getresponse().read() == b"other"
    h.request("POST", "/test.T/Echo", b"", {"content-type": "application/grpc"})
    assert h.getresponse().status == 505
    h.close()


# ---- TLS

@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Servers and clients by one authority, strangers by another; clients with several key usages."""
    d = pathlib.Path(tmp_path_factory.mktemp("pki"))

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=d)
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{ca}.key", "-out", f"{ca}.pem",
                "-days", "2", "-subj", f"/CN={ca}")
    for name, ca, usage, days in (("server", "ca", "serverAuth", 2), ("server2", "ca", "serverAuth", 2), ("client", "ca", "clientAuth", 2),
                                  ("plain", "ca", None, 2), ("wrong-use", "ca", "serverAuth", 2), ("expired", "ca", "clientAuth", -1),
                                  ("stranger", "other", "clientAuth", 2)):
        add = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"] + (["-addext", f"extendedKeyUsage={usage}"] if usage else [])
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}", *add)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", str(days),
                "-copy_extensions", "copy", "-out", f"{name}.pem")
    return d


def install(pki, name, place="live"):
    """Makes NAME's pair the server's, one file after the other, each replaced at once."""
    for end in ("pem", "key"):
        new = pki / f"{place}.{end}.new"
        new.write_bytes((pki / f"{name}.{end}").read_bytes())
        new.rename(pki / f"{place}.{end}")


@pytest.fixture
def tls_echo(own_echo, pki):
    install(pki, "server")
    return own_echo("-t", f"{pki}/live.pem,{pki}/live.key,{pki}/ca.pem")


def tls_channel(e, pki, name, ca="ca"):
    pair = {}
    if name:
        pair = dict(private_key=(pki / f"{name}.key").read_bytes(), certificate_chain=(pki / f"{name}.pem").read_bytes())
    creds = grpc.ssl_channel_credentials(root_certificates=(pki / f"{ca}.pem").read_bytes(), **pair)
    return grpc.secure_channel(e.address, creds, options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.mark.parametrize("who,ca,ok", [("client", "ca", True), ("plain", "ca", True), (None, "ca", False), ("stranger", "ca", False),
                                       ("wrong-use", "ca", False), ("expired", "ca", False), ("client", "other", False)])
def test_mutual_tls(tls_echo, pki, who, ca, ok):
    with tls_channel(tls_echo, pki, who, ca) as c:
        call = c.unary_unary("/test.T/Echo")
        if ok:
            assert call(b"secret", timeout=LONG) == b"secret"
            assert len(list(c.unary_stream("/test.T/Count")(b"20 65536", timeout=LONG))) == 20
        else:
            fails(lambda: call(b"secret", timeout=LONG), "UNAVAILABLE")


def test_plain_bytes_on_a_tls_port(tls_echo):
    with tls_echo.channel() as c:
        fails(lambda: c.unary_unary("/test.T/Echo")(b"x", timeout=LONG), "UNAVAILABLE")


def handshake(e, pki, version=None, alpn=("h2",)):
    """What the server shows and chooses: certificate's common name, ALPN, version."""
    ctx = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    ctx.load_cert_chain(pki / "client.pem", pki / "client.key")
    if alpn:
        ctx.set_alpn_protocols(list(alpn))
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            ctx.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            ctx.maximum_version = version
        ctx.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", e.port), LONG) as s, ctx.wrap_socket(s, server_hostname="localhost") as t:
        name = dict(x[0] for x in t.getpeercert()["subject"])["commonName"]
        return name, t.selected_alpn_protocol(), t.version()


def test_alpn_and_versions(tls_echo, pki):
    assert handshake(tls_echo, pki) == ("server", "h2", "TLSv1.3")
    assert handshake(tls_echo, pki, ssl.TLSVersion.TLSv1_2) == ("server", "h2", "TLSv1.2")
    assert handshake(tls_echo, pki, alpn=("http/1.1", "h2"))[1] == "h2"
    assert handshake(tls_echo, pki, alpn=())[1] is None  # and then the first bytes tell
    with pytest.raises(ssl.SSLError):
        handshake(tls_echo, pki, alpn=("spdy/3",))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(tls_echo, pki, ssl.TLSVersion.TLSv1_1)


def test_certificates_are_reloaded(tls_echo, pki):
    """Each handshake sees the pair that is there; a bad one changes nothing, and connections that exist go on."""
    with tls_channel(tls_echo, pki, "client") as c:
        old = c.stream_stream("/test.T/Chat")
        go = threading.Event()

        def questions():
            yield b"one"
            go.wait(LONG)
            yield b"two"
        chat = old(questions(), timeout=LONG)
        assert next(chat) == b"one"
        assert handshake(tls_echo, pki)[0] == "server"
        install(pki, "server2")
        assert handshake(tls_echo, pki)[0] == "server2"
        (pki / "live.pem").write_text("no certificate")
        assert handshake(tls_echo, pki)[0] == "server2"
        (pki / "live.key").unlink()
        assert handshake(tls_echo, pki)[0] == "server2"
        install(pki, "server")
        assert handshake(tls_echo, pki)[0] == "server"
        go.set()
        assert list(chat) == [b"two"]

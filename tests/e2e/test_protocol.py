"""The transport from outside: smuggling shapes, limits, TLS, HTTP/2. Raw bytes where a client library is too polite."""
import http.client
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

from harness import free_port, patient, raw, wait_for, websocket

HOST = b"Host: localhost\r\n"
BODY = b'{"action":"up"}'
POST = b"POST /containers/robot/services/idle HTTP/1.1\r\n"

SMUGGLING = {
    "both length and chunked": POST + HOST + b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 15\r\n\r\n0\r\n\r\n",
    "differing lengths": POST + HOST + b"Content-Length: 15\r\nContent-Length: 16\r\n\r\n" + BODY,
    "list of lengths": POST + HOST + b"Content-Length: 15, 16\r\n\r\n" + BODY,
    "signed length": POST + HOST + b"Content-Length: +15\r\n\r\n" + BODY,
    "length with text": POST + HOST + b"Content-Length: 15x\r\n\r\n" + BODY,
    "huge length": POST + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "blank before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"X-A : 1\r\n\r\n",
    "tab before the colon": POST + HOST + b"Content-Length\t: 15\r\n\r\n" + BODY,
    "bare CR in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\rX-B: 2\r\n\r\n",
    "bare CR after an empty header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A:\rTransfer-Encoding: chunked\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\r\nHost: localhost\nX-A: 1\r\n\r\n",
    "all bare LF": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "obs-fold": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n folded\r\n\r\n",
    "obs-fold of the length": POST + HOST + b"Content-Length:\r\n 15\r\n\r\n" + BODY,
    "NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\x00A: b\r\n\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "missing Host": b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n",
    "double Host": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "two different Hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: 127.0.0.1\r\n\r\n",
    "unknown coding": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in disguise": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings headers": POST + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "bad chunk size": POST + HOST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    "negative chunk size": POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    "chunk longer than told": POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "blank in the method": b"GE T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "line of colon only": b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n",
    "line without colon": b"GET / HTTP/1.1\r\n" + HOST + b"nothing\r\n\r\n",
    "header before any line": b"GET / HTTP/1.1\r\n X-A: 1\r\n" + HOST + b"\r\n",
}
FOLLOW = b"GET /containers HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize("name", SMUGGLING)
@pytest.mark.parametrize("where", ["gantryd", "agent"])
def test_smuggling_shapes_get_400_and_a_closed_connection(stack, name, where):
    address, request_ = stack.address, SMUGGLING[name]
    if where == "agent":
        address, request_ = stack.agent_sock, request_.replace(b"/containers/robot", b"")
    out = raw(address, request_ + FOLLOW)
    assert out.startswith(b"HTTP/1.1 400"), out
    assert b"connection: close" in out.lower() and out.count(b"HTTP/1.1 ") == 1, out
    assert b"<still open>" not in out


def test_not_http(stack):
    out = raw(stack.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40)
    assert out.startswith(b"HTTP/1.1 400") and out.endswith(b"Invalid HTTP request received.")
    assert b"content-type: text/plain; charset=utf-8" in out


def test_pipelining_in_order(stack):
    paths = [b"/containers", b"/nope", b"/containers/robot/services/idle/status", b"/", b"/containers/missing/services"] * 8
    out = raw(stack.address, b"".join(b"GET " + p + b" HTTP/1.1\r\n" + HOST + b"\r\n" for p in paths[:-1])
              + b"GET /containers HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    got = [int(part[:3]) for part in out.split(b"HTTP/1.1 ")[1:]]
    assert got == [200, 404, 200, 200, 503] * 7 + [200, 404, 200, 200, 200]


def test_byte_by_byte_and_chunked(stack):
    s = socket.create_connection(stack.address)
    s.settimeout(patient(20))
    req = POST + HOST + b"Transfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n5;ext=1\r\n" + BODY[:5] + b"\r\na\r\n" + BODY[5:] \
        + b"\r\n0\r\nX-T: 1\r\n\r\n"
    for i in range(len(req)):
        s.send(req[i:i + 1])
    assert s.recv(65536).startswith(b"HTTP/1.1 200")
    s.close()


def test_expect_continue(stack):
    s = socket.create_connection(stack.address)
    s.settimeout(patient(20))
    s.sendall(POST + HOST + b"Expect: 100-continue\r\nContent-Length: 15\r\n\r\n")
    assert s.recv(65536).startswith(b"HTTP/1.1 100 ")
    s.sendall(BODY)
    assert s.recv(65536).startswith(b"HTTP/1.1 200 ")
    s.close()
    assert raw(stack.address, POST + HOST + b"Expect: miracles\r\nContent-Length: 15\r\nConnection: close\r\n\r\n" + BODY).startswith(b"HTTP/1.1 417")


@pytest.mark.parametrize("name,request_,status", [
    ("target", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"414"),
    ("header block", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
    ("header count", b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 500 + b"\r\n", b"431"),
    ("body", POST + HOST + b"Content-Length: 100000000\r\n\r\n" + b"x" * 30_000, b"413"),
    ("chunked body", POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17, b"413"),
    ("version", b"GET / HTTP/3.7\r\n" + HOST + b"\r\n", b"505"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_limits_have_codes(stack, name, request_, status):
    out = raw(stack.address, request_)
    assert out.startswith(b"HTTP/1.1 " + status), out[:200]
    assert stack.get("/").status == 200


def test_slow_and_silent_peers_are_let_go(own_stack):
    st = own_stack
    st.extra_config = "  limits:\n    first_byte: 300ms\n    head: 500ms\n    body: 500ms\n    idle: 600ms\n"
    st.start()
    # The second number is the limit that there would be without these lines. Who is too slow to send it all gets nothing.
    head = b"GET / HTTP/1.1\r\nHost"
    for data, default, answers in ((b"", 10, (b"",)), (head, 10, (b"", b"HTTP/1.1 408")),
                                   (POST + HOST + b"Content-Length: 15\r\n\r\n{", 30, (b"", b"HTTP/1.1 408")),
                                   (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 75, (b"HTTP/1.1 200",))):
        def let_go():
            began = time.monotonic()
            out = raw(st.address, data)
            return b"<still open>" not in out and out[:12] in answers and time.monotonic() - began < default / 2
        wait_for(f"the end of {data}", let_go, 2 * default)


def ended(port):
    """Nothing of earlier connections is left on the server's side: each line of the table has the local port, and its state."""
    rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    return not [r for r in rows if int(r[1].split(":")[1], 16) == port and r[3] in ("01", "03", "08")]  # open, being opened, half closed


def test_connection_limit(own_stack):
    st = own_stack
    st.extra_config = "  limits:\n    max_connections: 20\n    first_byte: 300s\n"
    st.start()
    wait_for("the end of the connections of the start", lambda: ended(st.port))
    socks = [socket.create_connection(st.address) for _ in range(20)]
    out = raw(st.address, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert out == b"" or out.startswith(b"HTTP/1.1 503"), out
    for s in socks:
        s.close()
    wait_for("room again", lambda: raw(st.address, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200"))


# -- TLS ------------------------------------------------------------------------------------------

def sh(cwd, *argv):
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True)


class Ca:
    def __init__(self, root, name="ca"):
        self.root, self.name = root, name
        sh(root, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
           "-subj", f"/CN=test {name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def issue(self, name, cn, san="DNS:localhost,IP:127.0.0.1"):
        r = self.root
        (r / f"{name}.ext").write_text(f"subjectAltName={san}\n")
        sh(r, "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={cn}",
           "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sh(r, "openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
           "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        return r / f"{name}.pem", r / f"{name}.key"


@pytest.fixture
def tls_stack(own_stack, tmp_path):
    st = own_stack
    st.ca = Ca(tmp_path)
    st.server_cert = st.ca.issue("server", "localhost")
    st.client_cert = st.ca.issue("client", "operator one")
    st.tls, st.mtls = free_port(), free_port()
    st.listeners += [
        f'{{address: "127.0.0.1:{st.tls}", tls: {{cert: "{st.server_cert[0]}", key: "{st.server_cert[1]}"}}}}',
        f'{{address: "127.0.0.1:{st.mtls}", tls: {{cert: "{st.server_cert[0]}", key: "{st.server_cert[1]}", '
        f'client_ca: "{tmp_path}/ca.pem", require_client_cert: true}}}}']
    st.start()
    return st


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls(tls_stack, tmp_path):
    st = tls_stack
    ca = tmp_path / "ca.pem"
    assert st.ask_tls(st.tls, "/containers", ca).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        st.ask_tls(st.mtls, "/containers", ca)
    assert st.ask_tls(st.mtls, "/containers", ca, st.client_cert).status == 200
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        st.ask_tls(st.mtls, "/containers", ca, Ca(other, "other").issue("client", "intruder"))
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.minimum_version = ssl.TLSVersion.TLSv1
    ctx.maximum_version = ssl.TLSVersion.TLSv1_1
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ctx.wrap_socket(socket.create_connection(("127.0.0.1", st.tls)))


@pytest.mark.parametrize("flag,version", [("--http1.1", "1.1"), ("--http2", "2")])
def test_tls_alpn(tls_stack, tmp_path, flag, version):
    st = tls_stack
    r = subprocess.run(["curl", "-sS", flag, "--cacert", str(tmp_path / "ca.pem"), "-o", "/dev/null", "-w",
                        "%{http_code} %{http_version}", f"https://localhost:{st.tls}/containers/robot/services/idle/status"],
                       capture_output=True, text=True, timeout=patient(20))
    assert r.stdout == f"200 {version}", r


def serial(port, ca):
    ctx = ssl.create_default_context(cafile=str(ca))
    with ctx.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost") as s:
        return s.getpeercert()["serialNumber"]


def test_tls_files_are_reloaded_and_a_bad_pair_is_not_used(tls_stack, tmp_path):
    st, ca = tls_stack, tmp_path / "ca.pem"
    first = serial(st.tls, ca)
    old = st.server_cert[0].read_bytes()
    st.server_cert[0].write_text("garbage\n")
    os.kill(st.gantryd.pid, signal.SIGHUP)
    wait_for("the refusal", lambda: '"id":"tls-reload-failed"' in st.gantryd.text())
    assert serial(st.tls, ca) == first
    st.ca.issue("server", "localhost")
    os.kill(st.gantryd.pid, signal.SIGHUP)
    wait_for("the new certificate", lambda: serial(st.tls, ca) != first)
    assert old != st.server_cert[0].read_bytes()


def test_tls_handshake_that_never_ends(tls_stack):
    st = tls_stack
    s = [socket.create_connection(("127.0.0.1", st.tls)) for _ in range(30)]
    for c in s:
        c.sendall(b"\x16\x03\x01")
    assert st.get("/").status == 200
    for c in s:
        c.close()


def test_websocket_over_tls(tls_stack, tmp_path):
    import asyncio
    st = tls_stack

    async def go():
        ctx = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        async with websocket(f"wss://localhost:{st.tls}/ws/containers/robot/services/idle/logs", ssl=ctx) as ws:
            assert "line 300" in await asyncio.wait_for(ws.recv(), patient(20))
    asyncio.run(go())


# -- HTTP/2 ---------------------------------------------------------------------------------------

def h2_connect(address):
    import h2.config
    import h2.connection
    s = socket.create_connection(address)
    s.settimeout(patient(20))
    c = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    c.initiate_connection()
    s.sendall(c.data_to_send())
    return s, c


def h2_read(s, c, want, seconds=patient(20)):
    """Events until want(event), or the end of the connection (None)."""
    import h2.events
    events = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            data = s.recv(65536)
        except (ConnectionResetError, socket.timeout):
            return None, events
        if not data:
            return None, events
        for ev in c.receive_data(data):
            events.append(ev)
            if want(ev):
                return ev, events
        try:
            s.sendall(c.data_to_send())
        except OSError:
            return None, events
    return None, events


HEAD = [(":method", "GET"), (":path", "/containers"), (":scheme", "http"), (":authority", "localhost")]


def test_h2_many_streams(stack):
    import h2.events
    s, c = h2_connect(stack.address)
    for i in range(50):
        c.send_headers(1 + 2 * i, HEAD, end_stream=True)
    s.sendall(c.data_to_send())
    ended = []
    ev, events = h2_read(s, c, lambda e: isinstance(e, h2.events.StreamEnded) and not ended.append(e.stream_id) and len(ended) == 50)
    assert ev and sum(isinstance(e, h2.events.ResponseReceived) and (b":status", b"200") in [(k.encode() if isinstance(k, str) else k, v.encode() if isinstance(v, str) else v) for k, v in e.headers] for e in events) == 50
    s.close()


def test_h2_rapid_reset_is_cut(stack):
    s, c = h2_connect(stack.address)
    try:
        for i in range(20_000):
            c.send_headers(1 + 2 * i, HEAD, end_stream=True)
            c.reset_stream(1 + 2 * i)
        s.sendall(c.data_to_send())  # all at once: it is their number in a second that counts
        while s.recv(65536):
            pass  # until it is cut
    except socket.timeout:
        pytest.fail("20,000 resets were served")
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        s.close()
    assert stack.get("/").status == 200


def still_open_after(s, frame):
    """What was sent may wait in the kernel for a server that has no time yet: it gets some, and a frame now and then."""
    end = time.monotonic() + patient(10)
    while time.monotonic() < end:
        s.sendall(frame)
        time.sleep(0.05)


@pytest.mark.parametrize("frame", [b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh"],
                         ids=["settings", "ping"])
def test_h2_floods_are_cut(stack, frame):
    s, c = h2_connect(stack.address)
    cut = False
    try:
        for _ in range(3000):
            s.sendall(frame * 100)
        still_open_after(s, frame)
    except (BrokenPipeError, ConnectionResetError, socket.timeout):
        cut = True
    s.close()
    assert cut, "300,000 frames that want an acknowledgement each were taken without reading one"
    assert stack.get("/").status == 200


def test_h2_header_bomb(stack):
    s, c = h2_connect(stack.address)
    big = [("x-%d" % i, "v" * 4000) for i in range(60)]
    try:
        for i in range(5):
            c.send_headers(1 + 2 * i, HEAD + big, end_stream=True)
            s.sendall(c.data_to_send())
        ev, events = h2_read(s, c, lambda e: type(e).__name__ in ("ConnectionTerminated", "StreamReset", "ResponseReceived"))
        if type(ev).__name__ == "ResponseReceived":
            assert b"431" in bytes(str(ev.headers), "ascii")
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        s.close()
    assert stack.get("/").status == 200


def test_h2_continuation_flood(stack):
    s, c = h2_connect(stack.address)
    head = b"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82"  # HEADERS without END_HEADERS
    cut = False
    try:
        s.sendall(head)
        for _ in range(5000):
            s.sendall(b"\x00\x00\x04\x09\x00\x00\x00\x00\x01\x10\x01a\x00" * 20)
            time.sleep(0.0001)
        still_open_after(s, b"\x00\x00\x04\x09\x00\x00\x00\x00\x01\x10\x01a\x00")
    except (BrokenPipeError, ConnectionResetError):
        cut = True
    s.close()
    assert cut
    assert stack.get("/").status == 200


@pytest.mark.parametrize("bad", [
    [(":method", "GET"), (":path", "/"), (":scheme", "http")],
    HEAD + [("host", "other.example")],
    HEAD + [("connection", "close")],
    HEAD + [("X-Upper", "x")],
    HEAD + [("transfer-encoding", "chunked")],
    [(":method", "GET"), (":scheme", "http"), (":authority", "localhost")],
    HEAD + [(":path", "/twice")],
])
def test_h2_malformed_requests(stack, bad):
    s, c = h2_connect(stack.address)
    c.send_headers(1, bad, end_stream=True)
    s.sendall(c.data_to_send())
    ev, events = h2_read(s, c, lambda e: type(e).__name__ in ("StreamReset", "ConnectionTerminated", "ResponseReceived"))
    if type(ev).__name__ == "ResponseReceived":
        assert "400" in str(ev.headers) or "421" in str(ev.headers), ev.headers
    s.close()
    assert stack.get("/").status == 200


def test_h2load(stack):
    r = subprocess.run(["h2load", "-n", "2000", "-c", "10", "-m", "10", f"{stack.url}/containers"], capture_output=True, text=True, timeout=patient(60))
    assert "2000 succeeded, 0 failed" in r.stdout, r.stdout

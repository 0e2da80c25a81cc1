"""Running out of things must never kill or deafen the daemons: descriptors, memory, disk."""
import os
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import harness
from harness import SANITIZED, build_dir, free_port, patient, raw, wait_for
from test_protocol import Ca

CS = "/containers/robot/services"


def low_files(n):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))


def heard(check):
    """The check; false while its connection is still cut, as those before it were."""
    def quiet():
        try:
            return check()
        except OSError:
            return False
    return quiet


def test_out_of_descriptors_gantryd(own_stack):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent()
    st.start_gantryd(preexec_fn=low_files(64))
    socks = []
    for _ in range(200):
        try:
            s = socket.create_connection(st.address, timeout=1)
            socks.append(s)
        except OSError:
            break
    cpu = lambda: sum(int(x) for x in open(f"/proc/{st.gantryd.pid}/stat").read().split()[13:15])

    def rests():
        before, began = cpu(), time.monotonic()
        time.sleep(1)
        return cpu() - before < 60 / (time.monotonic() - began)
    wait_for("a rest: spins while it has no descriptor left", rests)
    for s in socks:
        s.close()
    wait_for("gantryd hears again", heard(lambda: st.get(f"{CS}/idle/status").status == 200))
    for _ in range(50):
        assert st.get("/containers").status == 200


def test_out_of_descriptors_agent(own_stack):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent(preexec_fn=low_files(40))
    socks = []
    for _ in range(100):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(1)
        try:
            s.connect(st.agent_sock)
            socks.append(s)
        except OSError:
            break
    time.sleep(0.5)
    for s in socks:
        s.close()
    wait_for("the agent hears again", heard(lambda: st.ask_agent("GET", "/services/idle/status").status == 200))


@pytest.fixture(scope="session")
def failmalloc(tmp_path_factory):
    """A preload that makes every n-th allocation of a process fail while a file exists."""
    so = tmp_path_factory.mktemp("preload") / "failmalloc.so"
    src = os.path.join(os.path.dirname(__file__), "..", "fault", "failmalloc.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(so), src, "-ldl"], check=True)
    return str(so)


@pytest.mark.parametrize("every", [3, 7, 19, 53])
def test_allocations_that_fail_kill_neither_program(own_stack, failmalloc, every, tmp_path):
    if SANITIZED:
        return  # the sanitizer owns malloc; the unit fault tests cover it there
    st = own_stack
    switch = tmp_path / "fail"
    env = dict(st.env, LD_PRELOAD=failmalloc, FAILMALLOC_SWITCH=str(switch), FAILMALLOC_EVERY=str(every))
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent()
    st.start_gantryd(env=env)
    requests = [
        b"GET /containers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        f"GET {CS}/idle/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
        f"GET {CS}/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
        f"POST {CS}/idle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\nConnection: close\r\n\r\n".encode() + b'{"action":"up"}',
        b"GET /docker/containers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /ws/containers/robot/services/ticker/logs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        b"\x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41\x09localhost",
    ]
    switch.touch()
    try:
        for i in range(80):
            try:
                raw(st.address, requests[i % len(requests)], seconds=0.15)
            except OSError:
                pass
            assert st.gantryd.alive(), st.gantryd.text()[-3000:]
    finally:
        switch.unlink()
    wait_for("gantryd answers again", heard(lambda: st.get(f"{CS}/idle/status").status == 200))
    for _ in range(20):
        assert st.get(f"{CS}/idle/status").status == 200


def upgrade(service):
    return (f"GET /ws/containers/robot/services/{service}/logs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n").encode()


def get(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def act(path, method, body):
    return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}").encode()


def talk(connect, data, seconds=0.3):
    """Sends, then reads for at most so long: also a stream without end."""
    with connect() as s:
        s.settimeout(seconds)
        s.sendall(data)
        end = time.monotonic() + seconds
        while time.monotonic() < end and s.recv(65536):
            pass


def starve(victim, switch, jobs, seconds=1.5):
    """Runs the jobs side by side while allocations fail. They may fail, the victim may not end."""
    end = time.monotonic() + seconds

    def again(job):
        while time.monotonic() < end and victim.alive():
            try:
                job()
            except OSError:
                time.sleep(0.002)

    threads = [threading.Thread(target=again, args=[job]) for job in jobs]
    switch.touch()
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        switch.unlink()
    assert victim.alive(), f"ended with {victim.p.returncode}:\n{victim.text()[-3000:]}"


@pytest.mark.parametrize("every", [5, 29, 151, 401])
def test_failing_allocations_with_tls_http2_and_streams(own_stack, failmalloc, every, tmp_path):
    """OpenSSL, nghttp2, zlib and jansson too: afterwards all is heard again, over every transport."""
    if SANITIZED:
        return
    st, ca, switch = own_stack, Ca(tmp_path), tmp_path / "fail"
    cert, mine, tls = ca.issue("server", "localhost"), ca.issue("client", "operator"), free_port()
    st.listeners += [f'{{address: "127.0.0.1:{tls}", tls: {{cert: "{cert[0]}", key: "{cert[1]}", '
                     f'client_ca: "{tmp_path}/ca.pem", require_client_cert: true}}}}']
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent()
    st.start_gantryd(env=dict(st.env, LD_PRELOAD=failmalloc, FAILMALLOC_SWITCH=str(switch), FAILMALLOC_EVERY=str(every)))
    ctx = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    ctx.load_cert_chain(*map(str, mine))

    limit = 1

    def plain():
        return socket.create_connection(st.address, timeout=limit)

    def secure():
        return ctx.wrap_socket(socket.create_connection(("127.0.0.1", tls), timeout=limit), server_hostname="localhost")

    def curl(*args):
        out = subprocess.run(["curl", "-sS", "-m", str(2 * limit), "--cacert", tmp_path / "ca.pem", "--cert", mine[0], "--key", mine[1],
                              "-o", "/dev/null", "-w", "%{http_code} %{http_version}", *args], capture_output=True, text=True)
        return out.stdout

    def upgraded(connect):
        with connect() as s:
            s.sendall(upgrade("ticker"))
            return s.recv(65536).startswith(b"HTTP/1.1 101")

    h2c = ["--http2-prior-knowledge", f"{st.url}{CS}/idle/status"]
    h2 = ["--http2", f"https://localhost:{tls}/containers"]
    follow = get(f"{CS}/ticker/logs?follow=true")
    starve(st.gantryd, switch, [
        lambda: talk(plain, get(f"{CS}/status", "Connection: close\r\n")), lambda: talk(plain, act(f"{CS}/idle", "POST", '{"action":"up"}')),
        lambda: talk(plain, upgrade("ticker")), lambda: talk(plain, follow), lambda: talk(secure, upgrade("idle")),
        lambda: talk(secure, follow), lambda: talk(secure, get("/openapi.json", "Connection: close\r\n")),
        lambda: curl(*h2c), lambda: curl(*h2)])

    limit = 10
    for what, check in {
            "plain": lambda: st.get(f"{CS}/status").status == 200, "a WebSocket": lambda: upgraded(plain),
            "TLS": lambda: st.ask_tls(tls, "/containers", tmp_path / "ca.pem", mine).status == 200,
            "a WebSocket over TLS": lambda: upgraded(secure), "HTTP/2": lambda: curl(*h2c) == "200 2",
            "HTTP/2 over TLS": lambda: curl(*h2) == "200 2"}.items():
        wait_for(f"{what} again", heard(check))


@pytest.mark.parametrize("every", [3, 29, 101])
def test_failing_allocations_in_the_agent(own_stack, failmalloc, every, tmp_path, monkeypatch):
    if SANITIZED:
        return
    # A static program takes no preload: the same one, linked otherwise.
    shared = build_dir() / "src/gantry-agent/gantry-agent-shared"
    subprocess.run(["ninja", "-C", build_dir(), "src/gantry-agent/gantry-agent-shared"], check=True, capture_output=True)
    monkeypatch.setattr(harness, "program", lambda name: str(shared))
    st, switch = own_stack, tmp_path / "fail"
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent(env=dict(st.env, LD_PRELOAD=failmalloc, FAILMALLOC_SWITCH=str(switch), FAILMALLOC_EVERY=str(every)))

    def connect():
        s = socket.socket(socket.AF_UNIX)
        s.connect(st.agent_sock)
        return s

    close = "Connection: close\r\n"
    jobs = [get(p, close) for p in ("/services/status", "/services/idle/logs?lines=100", "/services/idle/run")]
    jobs += [get("/services/ticker/logs?follow=true"), get("/services/events"),
             act("/services/idle", "POST", '{"action":"restart"}'), act("/services/no-such/", "POST", "{"),
             act("/services/idle/run", "PUT", '{"content":"#!/bin/sh\\nexec sleep 86400\\n"}')]
    starve(st.agent, switch, [lambda j=j: talk(connect, j) for j in jobs])
    for path in ("/services/status", "/services/idle/run", "/services/idle/logs"):
        wait_for(f"{path} again", heard(lambda: st.ask_agent("GET", path).status == 200))
    assert st.ask_agent("POST", "/services/idle", {"action": "up"}).status == 200
    with connect() as s:
        s.settimeout(patient(10))
        s.sendall(get("/services/ticker/logs?follow=true"))
        assert s.recv(100).startswith(b"HTTP/1.1 200")


def test_log_to_a_full_disk(own_stack, tmp_path):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent()
    full = open("/dev/full", "w")
    st.start_gantryd()
    st.stop_gantryd()
    from harness import Process, program
    import http.client
    st.gantryd = Process("gantryd", ["sh", "-c", f'exec "{program("gantryd")}" --config "{st.root}/config.yml" --log-level debug 2>/dev/full'],
                         st.root / "gantryd2.log", env=st.env)
    wait_for("gantryd", lambda: st.gantryd.alive() and st._answers(http.client.HTTPConnection(*st.address, timeout=20)))
    assert st.get(f"{CS}/idle/status").status == 200
    full.close()


def test_many_idle_connections(own_stack):
    st = own_stack.start()
    socks = []
    for _ in range(2000):
        s = socket.create_connection(st.address)
        s.sendall(b"GET /containers HTTP/1.1\r\nHost: localhost\r\n\r\n")
        socks.append(s)
    for s in socks:
        s.settimeout(patient(20))
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
    assert st.get(f"{CS}/idle/status").status == 200
    for s in socks:
        s.close()


def test_start_while_an_old_socket_file_is_left(own_stack):
    st = own_stack.start()
    st.stop_gantryd(signal.SIGKILL)
    assert os.path.exists(st.unix)
    st.start_gantryd()
    assert st.cli("containers").returncode == 0

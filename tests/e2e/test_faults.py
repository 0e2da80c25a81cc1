"""Running out of things must never kill or deafen the daemons: descriptors, memory, disk."""
import os
import resource
import signal
import socket
import subprocess
import time

import pytest

from harness import SANITIZED, ask, build_dir, raw, wait_for

CS = "/containers/robot/services"


def low_files(n):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))


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
    time.sleep(0.5)
    cpu = lambda: sum(int(x) for x in open(f"/proc/{st.gantryd.pid}/stat").read().split()[13:15])
    before = cpu()
    time.sleep(1)
    assert cpu() - before < 60, "spins while it has no descriptor left"
    for s in socks:
        s.close()
    wait_for("gantryd hears again", lambda: st.get(f"{CS}/idle/status").status == 200)
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
    wait_for("the agent hears again", lambda: st.ask_agent("GET", "/services/idle/status").status == 200)


@pytest.fixture(scope="session")
def failmalloc(tmp_path_factory):
    """A preload that makes every n-th allocation of a process fail while a file exists."""
    so = tmp_path_factory.mktemp("preload") / "failmalloc.so"
    src = os.path.join(os.path.dirname(__file__), "..", "fault", "failmalloc.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(so), src, "-ldl"], check=True)
    return str(so)


@pytest.mark.parametrize("every", [3, 7, 19, 53, 211])
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
        for i in range(120):
            try:
                raw(st.address, requests[i % len(requests)], seconds=0.15)
            except OSError:
                pass
            assert st.gantryd.alive(), st.gantryd.text()[-3000:]
    finally:
        switch.unlink()
    wait_for("gantryd answers again", lambda: st.get(f"{CS}/idle/status").status == 200)
    for _ in range(20):
        assert st.get(f"{CS}/idle/status").status == 200


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
    wait_for("gantryd", lambda: st.gantryd.alive() and st._answers(http.client.HTTPConnection(*st.address, timeout=2)))
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
        s.settimeout(10)
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

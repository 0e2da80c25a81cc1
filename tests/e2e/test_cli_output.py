"""What gantry prints: formats, tables, colours on a real terminal, --watch, --wait, --trace, `gantry api`."""
import contextlib
import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest
import yaml

from harness import patient, program, wait_for


def env_of(stack, **more):
    env = dict(stack.env, GANTRY_HOST=f"unix:{stack.unix}", TERM="xterm", **more)
    env.pop("NO_COLOR", None)
    return env


class Terminal:
    """gantry on a terminal of its own, 24 x 80."""

    def __init__(self, env, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.execve(program("gantry"), ["gantry", *args], env)
        self.text = b""
        self.seen = 0
        self.status = None

    def read(self, until=None, seconds=10):
        """Until a text is there (again), or to the end; then what came since the last call, up to that text."""
        start, end = self.seen, time.monotonic() + patient(seconds)
        while time.monotonic() < end:
            if until is not None and until in self.text[start:]:
                self.seen = self.text.index(until, start) + len(until)
                return self.text[start:self.seen]
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    got = os.read(self.fd, 65536)
                except OSError:
                    got = b""
                if not got:
                    break
                self.text += got
        assert until is None, f"{until!r} did not come: {self.text[start:]!r}"
        self.seen = len(self.text)
        return self.text[start:]

    def end(self, sig=None):
        if sig:
            os.kill(self.pid, sig)
        self.read(seconds=20)
        self.status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return self.status


@contextlib.contextmanager
def at_most(seconds, process):
    """What is read from a process that says nothing must end."""
    timer = threading.Timer(patient(seconds), process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def on_terminal(env, *args):
    t = Terminal(env, *args)
    assert t.end() == 0, t.text
    return t.text


@pytest.mark.parametrize("words", [("containers",), ("services", "robot"), ("status", "robot"), ("status", "robot", "idle"),
                                   ("logs", "-n", "20", "robot", "idle"), ("run-script", "robot", "idle"), ("version",)])
def test_yaml_is_the_json(stack, words):
    as_json, as_yaml = stack.cli(*words, "-o", "json"), stack.cli(*words, "-o", "yaml")
    assert as_json.returncode == as_yaml.returncode == 0
    was, now = json.loads(as_json.stdout), yaml.safe_load(as_yaml.stdout)
    for d in (was, now):  # times go on between the two calls
        for row in [d, *d.get("statuses", [])]:
            for moving in ("uptime_seconds", "raw", "pid", "is_up"):
                row.pop(moving, None)
    assert was == now and list(was) == list(now)


def test_yaml_of_any_text(stack):
    """What a YAML 1.1 reader makes of the logs of a hostile container."""
    rng = random.Random(7)
    parts = ["yes", "null", ": ", "- ", "#", "\n", "\n\n", "\t", " ", "'", '"', "\\", "|", "0x1f", "1:20", "2026-11-21", "\x85", "\u2028",
             "é", "\U0001f600", "\x1b[2J", "=", "<<", "---", "%", "@"]
    folder = stack.tree.logs / "yamlish"
    folder.mkdir(exist_ok=True)
    for _ in range(40):
        (folder / "current").write_text("".join(rng.choice(parts) for _ in range(rng.randrange(12))))
        was = json.loads(stack.cli("logs", "robot", "yamlish", "-o", "json").stdout)
        assert yaml.safe_load(stack.cli("logs", "robot", "yamlish", "-o", "yaml").stdout) == was


def test_tables(stack):
    heads = stack.cli("status", "robot").stdout.splitlines()[0]
    wide = stack.cli("status", "robot", "-o", "wide").stdout.splitlines()
    assert wide[0].startswith("NAME") and len(wide[0].split()) > len(heads.split()) and "(pid" in "".join(wide[1:])
    bare = stack.cli("status", "robot", "--no-headers").stdout.splitlines()
    assert len(bare) == len(wide) - 1 and not bare[0].startswith("NAME")
    assert stack.cli("status", "robot", "-o", "xml").returncode == 2


def test_colour_only_on_a_terminal(stack):
    env = env_of(stack)
    assert b"\x1b[32m" in on_terminal(env, "status", "robot")
    assert b"\x1b[" not in on_terminal(dict(env, NO_COLOR="1"), "status", "robot")
    assert b"\x1b[" not in on_terminal(dict(env, TERM="dumb"), "status", "robot")
    assert b"\x1b[" not in on_terminal(env, "--colour=never", "status", "robot")
    piped = subprocess.run([program("gantry"), "status", "robot"], env=env, capture_output=True, timeout=patient(20))
    assert b"\x1b[" not in piped.stdout
    piped = subprocess.run([program("gantry"), "--colour=always", "status", "robot"], env=env, capture_output=True, timeout=patient(20))
    assert b"\x1b[32m" in piped.stdout


def test_watch_redraws_a_terminal(own_stack):
    st = own_stack.start()
    t = Terminal(env_of(st), "status", "robot", "idle", "--watch=200ms")
    first = t.read(b"\x1b[J")
    assert b"every 0.2s: gantry status robot idle" in first and b"idle" in first and b"\x1b[2J" in first
    again = t.read(b"\x1b[J")
    assert b"\x1b[2J" not in again and b"\x1b[H" in again, "drawn anew without clearing: that flickers"
    st.stop_gantryd()
    assert b"cannot reach gantryd" in t.read(b"cannot reach gantryd")
    st.start_gantryd()
    t.read(b"NAME")
    status = t.end(signal.SIGINT)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT, "a shell shows 130"
    assert t.text.count(b"\x1b[?7l") == t.text.count(b"\x1b[?7h"), "line wrap is left as it was"


def test_watch_over_a_restart_without_a_terminal(own_stack):
    st = own_stack.start()
    p = subprocess.Popen([program("gantry"), "status", "robot", "idle", "--watch=200ms"], env=env_of(st), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    with at_most(60, p):
        got = [p.stdout.readline() for _ in range(4)]
        st.stop_gantryd()
        lines = [p.stderr.readline()]
        st.start_gantryd()
        lines.append(p.stderr.readline())
        while sum(line.startswith("NAME") for line in got) < 3:
            got.append(p.stdout.readline())
            assert got[-1], got
        p.send_signal(signal.SIGINT)
        lines += p.stderr.read().splitlines()
        p.communicate()
    assert re.fullmatch(r"# \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", got[0]) and got[1].startswith("NAME") and got[3] == "\n"
    assert p.returncode == -signal.SIGINT
    assert len(lines) == 2 and "cannot reach gantryd" in lines[0] and "answers again" in lines[1], lines


def test_wait(own_stack):
    st = own_stack.start()
    (st.tree.add("dies", "exit 3") / "run").chmod(0o644)  # it is never up, not even for as long as a busy machine takes to run it
    for action, state in (("down", False), ("up", True), ("restart", True)):
        r = st.cli(action, "--wait", "robot", "idle")
        assert r.returncode == 0, r.stderr
        assert json.loads(st.cli("status", "robot", "idle", "-o", "json").stdout)["is_up"] is state
    r = st.cli("up", "--wait", "--timeout", "5s", "robot", "dies")
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1
    assert "robot/dies is not up after 5.0 s, it is " in r.stderr and "gantry logs robot dies" in r.stderr
    before = time.monotonic()
    assert st.cli("down", "--wait", "robot", "idle", "dies").returncode == 0
    assert time.monotonic() - before < 25  # and not the 30 s of --wait


def test_timeout_bounds_a_call(own_stack):
    st = own_stack.start()
    os.kill(st.gantryd.pid, signal.SIGSTOP)
    try:
        before = time.monotonic()
        r = st.cli("--timeout", "500ms", "containers")
        assert r.returncode == 3 and time.monotonic() - before < 12 and "500 ms" in r.stderr  # not the 15 s without it
        before = time.monotonic()
        r = st.cli("__complete", "status", "")
        assert (r.returncode, r.stdout, r.stderr) == (0, "", "") and time.monotonic() - before < 12
    finally:
        os.kill(st.gantryd.pid, signal.SIGCONT)


def test_api(stack):
    r = stack.cli("api", "GET", "/containers")
    assert r.returncode == 0 and json.loads(r.stdout)["containers"][0]["name"] == "robot"
    r = stack.cli("api", "POST", "/containers/robot/services/idle", "-d", '{"action":"up"}')
    assert r.returncode == 0 and json.loads(r.stdout)["result"]
    r = stack.cli("api", "POST", "/containers/robot/services/idle", "-d", "-", input='{"action":"fly"}')
    assert r.returncode == 1 and "detail" in json.loads(r.stdout) and r.stderr.startswith("gantry: 422 ")
    r = stack.cli("api", "-i", "GET", "/containers/nope/services")
    assert r.returncode == 1 and r.stdout.startswith("404 Not Found\n") and "content-type: application/json" in r.stdout
    assert yaml.safe_load(stack.cli("api", "-o", "yaml", "GET", "/containers").stdout)["containers"][0]["name"] == "robot"
    assert stack.cli("api", "GET", "containers").returncode == 2
    assert stack.cli("api", "FETCH", "/").returncode == 2


def test_api_on_a_terminal(stack):
    d = stack.tree.logs / "terminal"
    d.mkdir(exist_ok=True)
    (d / "current").write_text("\u00e4" * 50000 + "\x9b2J\n")
    text = on_terminal(env_of(stack), "api", "GET", "/containers/robot/services/terminal/logs")
    assert text.count("\u00e4".encode()) == 50000 and "\ufffd".encode() not in text, "a character was cut in two"
    assert b"\\u009b2J" in text and text.endswith(b"\r\n")


def test_api_streams(stack):
    p = subprocess.Popen([program("gantry"), "api", "GET", "/containers/robot/services/ticker/logs?follow=true&tail=1"],
                         env=env_of(stack), stdout=subprocess.PIPE, text=True)
    with at_most(60, p):
        lines = [p.stdout.readline() for _ in range(8)]
        p.send_signal(signal.SIGINT)
        p.communicate()
    assert sum(l.startswith("data: ") for l in lines) >= 2


def test_trace(stack):
    r = subprocess.run([program("gantry"), "--trace", "containers"], env=env_of(stack, GANTRY_TOKEN="do-not-tell"), capture_output=True,
                       text=True, timeout=patient(20))
    line = next(l for l in r.stderr.splitlines() if "GET /containers" in l)
    assert re.match(r"gantry: GET /containers: \d+, \d+\.\d ms, \d+ bytes", line) and "do-not-tell" not in r.stdout + r.stderr


def test_a_start_takes_little(stack):
    """A command with one call, and what the completion runs at each key; the machine may be busy with something else at times."""
    def once(*args):
        t = time.perf_counter()
        subprocess.run([program("gantry"), *args], env=env_of(stack), stdout=subprocess.DEVNULL, timeout=patient(20))
        return time.perf_counter() - t
    limit = 1.0 if os.environ.get("GANTRY_SANITIZED") else 0.1
    for args in (("--version",), ("containers",), ("__complete", "st")):
        wait_for(f"{args} within {limit} s", lambda: once(*args) < limit)


def test_wait_of_docker(own_stack, engine):
    st = own_stack
    st.docker_socket = engine.socket
    st.start()
    engine.docker("create", "--name", "cli_wait", "busybox:local", "sh", "-c", 'trap "exit 0" TERM; while :; do sleep 0.1; done')
    engine.docker("create", "--name", "cli_dies", "busybox:local", "sh", "-c", "exit 7")
    try:
        wait_for("the engine", lambda: st.cli("docker", "ps").returncode == 0)
        assert st.cli("docker", "start", "--wait", "cli_wait").returncode == 0
        assert st.cli("docker", "restart", "--wait", "-t", "2", "cli_wait").returncode == 0
        assert st.cli("docker", "stop", "--wait", "-t", "2", "cli_wait").returncode == 0
        r = st.cli("docker", "start", "--wait", "--timeout", "10s", "cli_dies")
        assert r.returncode == 1 and "cli_dies is not running after 10.0 s, it is exited, exit code 7" in r.stderr, r
        # A completion gives up soon, and offers nothing then.
        wait_for("its name", lambda: "cli_dies" in st.cli("__complete", "docker", "logs", "cli_d").stdout)
    finally:
        engine.docker("rm", "-f", "cli_wait", "cli_dies")

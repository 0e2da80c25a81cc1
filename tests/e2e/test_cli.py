"""The gantry program against a running gantryd."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from harness import patient, program, wait_for


def test_containers_and_services(stack):
    r = stack.cli("containers")
    assert r.returncode == 0 and "robot" in r.stdout and "\x1b" not in r.stdout
    r = stack.cli("services", "robot")
    assert r.returncode == 0 and "Ticker demo" in r.stdout
    d = json.loads(stack.cli("services", "robot", "-o", "json").stdout)
    assert d["container"] == "robot"


def test_status(stack):
    r = stack.cli("status", "robot")
    line = next(l for l in r.stdout.splitlines() if l.startswith("idle "))
    assert r.returncode == 0 and "up" in line
    assert json.loads(stack.cli("-o", "json", "status", "robot", "ticker").stdout)["service_label"] == "Ticker demo"


def test_control(own_stack):
    st = own_stack.start()
    assert st.cli("down", "robot", "idle").returncode == 0
    wait_for("down", lambda: not json.loads(st.cli("status", "robot", "idle", "-o", "json").stdout)["is_up"])
    assert st.cli("up", "robot", "idle").returncode == 0
    assert st.cli("restart", "robot", "idle", "ticker").returncode == 0


def test_logs(stack):
    r = stack.cli("logs", "-n", "2", "robot", "idle")
    assert (r.returncode, r.stdout) == (0, "line 299\nline 300\n")


def test_follow_until_interrupted_and_over_a_restart(own_stack):
    st = own_stack.start()
    env = dict(st.env, GANTRY_HOST=f"unix:{st.unix}")
    p = subprocess.Popen([program("gantry"), "logs", "-f", "robot", "ticker"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, env=env)
    got = [p.stdout.readline() for _ in range(5)]
    st.stop_gantryd()
    time.sleep(0.5)
    st.start_gantryd()
    end = time.monotonic() + patient(20)
    while time.monotonic() < end and len(got) < 150:
        got.append(p.stdout.readline())
        if len(got) > 60 and len(got) > 5:
            break
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=patient(20))
    n = [int(l.split()[1]) for l in got if l.startswith("tick ")]
    assert n == list(range(n[0], n[0] + len(n))), "a line was lost or repeated over the restart"
    assert p.returncode in (0, 130, -signal.SIGINT)


def test_exit_codes(stack):
    assert stack.cli("status", "nope").returncode == 1
    r = stack.cli("status", "robot", "nope")
    assert r.returncode == 1 and len(r.stderr.strip().splitlines()) <= 2 and "nope" in r.stderr
    assert stack.cli("frobnicate").returncode == 2
    assert stack.cli("status").returncode == 2
    r = subprocess.run([program("gantry"), "containers"], capture_output=True, text=True,
                       env=dict(os.environ, GANTRY_HOST="unix:/nonexistent/gantryd.sock"))
    assert r.returncode == 3 and "/nonexistent/gantryd.sock" in r.stderr
    assert subprocess.run([program("gantry"), "--version"], capture_output=True).returncode == 0
    assert stack.cli("--help").returncode == 0


def test_over_tcp(stack):
    r = subprocess.run([program("gantry"), "--host", stack.url, "containers"], capture_output=True, text=True)
    assert r.returncode == 0 and "robot" in r.stdout


def test_full_output_is_a_failure(stack):
    with open("/dev/full", "w") as full:
        r = subprocess.run([program("gantry"), "containers"], stdout=full, stderr=subprocess.PIPE, text=True,
                           env=dict(stack.env, GANTRY_HOST=f"unix:{stack.unix}"))
    assert r.returncode == 1 and r.stderr


def test_docker(own_stack, engine):
    st = own_stack
    st.docker_socket = engine.socket
    st.start()
    engine.docker("run", "-d", "--name", "cli_run", "busybox:local", "sh", "-c", 'trap "exit 0" TERM; echo hi; while :; do sleep 0.1; done')
    try:
        wait_for("the engine", lambda: st.cli("docker", "ps").returncode == 0)
        assert re.search(r"cli_run\s.*running|running.*cli_run", st.cli("docker", "ps").stdout)
        wait_for("its log", lambda: "hi" in st.cli("docker", "logs", "cli_run").stdout)
        assert st.cli("docker", "stop", "-t", "3", "cli_run").returncode == 0
        assert "cli_run" not in st.cli("docker", "ps").stdout and "cli_run" in st.cli("docker", "ps", "-a").stdout
        assert st.cli("docker", "start", "cli_run").returncode == 0
        assert st.cli("docker", "restart", "cli_run").returncode == 0
        assert st.cli("docker", "stop", "nope").returncode == 1
    finally:
        engine.docker("rm", "-f", "cli_run")


def test_terminal_output_has_no_foreign_escapes(stack):
    d = stack.tree.logs / "evil"
    d.mkdir(exist_ok=True)
    (d / "current").write_bytes(b"a\x1b]0;title\x07b \x1b[31mred\x1b[0m \x9b2J\n")
    r = subprocess.run(["script", "-qec", f"{program('gantry')} logs robot evil", "/dev/null"], capture_output=True,
                       env=dict(os.environ, GANTRY_HOST=f"unix:{stack.unix}"), stdin=subprocess.DEVNULL, timeout=patient(20))
    assert b"red" in r.stdout and b"\x1b]0" not in r.stdout

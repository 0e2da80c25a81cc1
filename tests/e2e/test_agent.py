"""gantry-agent serve on a real s6 tree: contract talos.md, section 3, with the faults of section 7 mended."""
import json
import os
import re
import socket
import stat
import subprocess
import time

import pytest

from harness import SANITIZED, UnixHTTPConnection, patient, program, raw, status_of, wait_for


def test_root_and_unknown_paths(stack):
    r = stack.ask_agent("GET", "/")
    assert r.status == 200 and r.json()["message"] == "s6 Agent API"
    for p in ("/docs", "/openapi.json", "/nope"):
        r = stack.ask_agent("GET", p)
        assert (r.status, r.json()) == (404, {"detail": "Not Found"})
    r = stack.ask_agent("DELETE", "/services/idle")
    assert r.status == 405 and r.headers["allow"] == "POST"
    assert stack.ask_agent("GET", "/services/").headers["location"] == "http://agent/services"


def test_socket_mode(stack):
    assert stat.S_IMODE(os.stat(stack.agent_sock).st_mode) == 0o660


def test_list_is_sorted(stack):
    names = stack.ask_agent("GET", "/services").json()["services"]
    assert names == sorted(names) and {"idle", "ticker", "café"} <= set(names)


def test_raw_is_the_text_of_s6_svstat(stack):
    for name in ("idle", "ticker", "ready", "normally-down", "café"):
        end = time.monotonic() + patient(10)
        while True:  # the second may turn between the two readings
            want = stack.tree.svstat(name)
            got = status_of(stack, name)
            if got["raw"] == want or time.monotonic() > end:
                break
        assert got["raw"] == want
        assert got["is_up"] == want.startswith("up")
    assert isinstance(status_of(stack, "idle")["pid"], int)


def test_all_statuses(stack):
    r = stack.ask_agent("GET", "/services/status").json()
    names = [s["name"] for s in r["statuses"]]
    assert names == stack.ask_agent("GET", "/services").json()["services"]
    assert list(r["statuses"][0]) == ["name", "raw", "is_up", "pid", "uptime_seconds"]


def test_status_makes_no_process(own_stack):
    st = own_stack.start()
    children = lambda: open(f"/proc/{st.agent.pid}/task/{st.agent.pid}/children").read()
    # What the machine's other programs start counts too, so the calls are traced instead.
    trace = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=process", "-p", str(st.agent.pid)], stderr=subprocess.PIPE, text=True)
    wait_for("the tracer", lambda: "TracerPid:\t0\n" not in open(f"/proc/{st.agent.pid}/status").read())
    for _ in range(200):
        st.ask_agent("GET", "/services/idle/status")
    trace.terminate()
    made = re.findall(r"(?:fork|clone\w*|execve)\(", trace.communicate(timeout=patient(20))[1])
    assert children() == "" and not made, made


def test_down_takes_the_log_along_and_up_brings_it_back(own_stack):
    st = own_stack.start()
    assert st.ask_agent("POST", "/services/idle", {"action": "down"}).json() == \
        {"name": "idle", "action": "down", "result": "ok"}
    wait_for("both down", lambda: not status_of(st, "idle")["is_up"] and not status_of(st, "idle-log")["is_up"])
    st.ask_agent("POST", "/services/idle", {"action": "up"})
    wait_for("both up", lambda: status_of(st, "idle")["is_up"] and status_of(st, "idle-log")["is_up"])


def test_restart_of_a_stopped_service_starts_it(own_stack):
    st = own_stack.start()
    assert not status_of(st, "normally-down")["is_up"]
    st.ask_agent("POST", "/services/normally-down", {"action": "restart"})
    wait_for("started", lambda: status_of(st, "normally-down")["is_up"])
    pid = status_of(st, "normally-down")["pid"]
    st.ask_agent("POST", "/services/normally-down", {"action": "restart"})
    wait_for("another process", lambda: status_of(st, "normally-down")["pid"] not in (None, pid))


@pytest.mark.parametrize("name", ["..", "%2e%2e", ".", "-x", "a%00b", "a%0ab", "x" * 300, "%FF%FE", "a%01"])
def test_names_are_validated(stack, name):
    for method, tail, body in (("GET", "/status", None), ("GET", "/run", None), ("POST", "", {"action": "up"}),
                               ("DELETE", "/logs", None), ("PUT", "/run", {"content": "x"})):
        r = stack.ask_agent(method, f"/services/{name}{tail}", body)
        assert r.status in (404, 400), (method, tail, r)
        assert "current" not in r.body.decode() or name.encode() not in r.body


def test_unsupervised_and_missing(stack):
    assert stack.ask_agent("GET", "/services/nope/status").json() == {"error": "Service 'nope' not found", "detail": None}
    d = stack.tree.scandir / "unsupervised"
    d.mkdir()
    (d / "run").write_text("#!/bin/sh\n")
    try:
        assert stack.ask_agent("GET", "/services/unsupervised/status").status == 500
        r = stack.ask_agent("POST", "/services/unsupervised", {"action": "up"})
        assert r.status == 500 and r.json()["error"].startswith("Failed to control service: ")
        assert "unsupervised" not in [s["name"] for s in stack.ask_agent("GET", "/services/status").json()["statuses"]]
    finally:
        (d / "run").unlink()
        d.rmdir()


S6_RC = """#!/bin/sh
echo "$@" >>{dir}/calls
case "$*" in *slow*) while [ ! -e {dir}/go ]; do sleep 0.1; done ;; *bad*) echo "unknown service bad" >&2; exit 3 ;; esac
"""


def s6_rc_stack(st, tmp_path):
    """Debian has no s6-rc: a program of that name records how it is called, takes its time, and fails."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "s6-rc").write_text(S6_RC.format(dir=tmp_path))
    (tools / "s6-rc").chmod(0o755)
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    for n in ("quick", "slow", "bad"):
        st.tree.add(n, "exec sleep 86400")
        (st.tree.scandir / n / "producer-for").write_text("x\n")
    st.start_agent(env=dict(st.env, PATH=f"{tools}:{os.environ['PATH']}"))


def test_s6_rc_is_called_with_argv_and_holds_up_nobody(own_stack, tmp_path):
    st = own_stack
    s6_rc_stack(st, tmp_path)
    assert st.ask_agent("POST", "/services/quick", {"action": "up"}).status == 200
    assert (tmp_path / "calls").read_text() == "-u change quick\n"
    c = UnixHTTPConnection(st.agent_sock)
    c.request("POST", "/services/slow", body='{"action":"down"}', headers={"Content-Type": "application/json"})
    wait_for("the slow one called", lambda: "slow" in (tmp_path / "calls").read_text())
    for _ in range(20):
        assert st.ask_agent("GET", "/services/idle/status").status == 200
    (tmp_path / "go").touch()
    assert c.getresponse().status == 200
    c.close()
    r = st.ask_agent("POST", "/services/bad", {"action": "up"})
    assert r.status == 500 and "exit status 3" in r.json()["error"] and "unknown service bad" in r.json()["error"]


def test_missing_s6_rc_is_a_clear_server_error(own_stack):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.tree.add("rc", "exec sleep 86400")
    (st.tree.scandir / "rc" / "producer-for").write_text("x\n")
    st.start_agent(env=dict(st.env, PATH="/nonexistent"))
    r = st.ask_agent("POST", "/services/rc", {"action": "up"})
    assert r.status >= 500 and "s6-rc" in r.json()["error"]


def test_logs_tail_and_cursor(stack):
    g = lambda q: stack.ask_agent("GET", f"/services/idle/logs{q}").json()
    assert g("?tail=2") == {"service": "idle", "logs": "line 299\nline 300\n", "tail": 2, "cursor": 2592,
                            "log_path": f"{stack.tree.logs}/idle/current"}
    assert g("?cursor=2580")["logs"] == "99\nline 300\n" and "tail" not in g("?cursor=2580")
    assert g("?cursor=99999") ["cursor"] == 2592
    assert g("?tail=-2")["logs"] == g("?tail=2")["logs"]
    assert g("?tail=99999999999999999999999")["logs"].startswith("line 1\n")
    assert stack.ask_agent("GET", "/services/idle/logs?tail=x").status == 422


def test_bad_bytes_are_never_an_error(stack):
    r = stack.ask_agent("GET", "/services/utf8bad/logs")
    assert r.status == 200 and r.json()["logs"] == "ok \ufffd\ufffd bad\nnext\n"


def test_answers_are_bounded(stack):
    d = stack.tree.logs / "huge"
    d.mkdir(exist_ok=True)
    (d / "current").write_bytes(b"x" * 99 + b"\n" + ("é" * 50 + "\n").encode() * 300_000)
    got, cursor = 0, 0
    for _ in range(100):
        r = stack.ask_agent("GET", f"/services/huge/logs?cursor={cursor}").json()
        assert "\ufffd" not in r["logs"] and len(r["logs"].encode()) <= 8 << 20
        got += len(r["logs"].encode())
        if r["cursor"] == cursor:
            break
        cursor = r["cursor"]
    assert got == (d / "current").stat().st_size
    (d / "current").unlink()


def test_links_are_not_followed_out_of_their_root(stack, tmp_path):
    (tmp_path / "secret").write_text("secret\n")
    (stack.tree.logs / "out").mkdir()
    (stack.tree.logs / "out" / "current").symlink_to(tmp_path / "secret")
    (stack.tree.logs / "outdir").symlink_to(tmp_path)
    (stack.tree.sources / "out").mkdir()
    (stack.tree.sources / "out" / "run").symlink_to(tmp_path / "secret")
    for path in ("/services/out/logs", "/services/outdir/logs", "/services/out/run"):
        assert "secret\\n" not in stack.ask_agent("GET", path).body.decode()
    assert stack.ask_agent("PUT", "/services/out/run", {"content": "#!/bin/sh\n"}).status >= 400
    assert stack.ask_agent("DELETE", "/services/out/logs").status >= 400
    assert (tmp_path / "secret").read_text() == "secret\n"


def test_run_script_is_replaced_whole(own_stack):
    st = own_stack.start()
    run = st.tree.sources / "idle" / "run"
    run.chmod(0o600)
    os.chown(run, 12, 34)
    r = st.ask_agent("PUT", "/services/idle/run", {"content": "#!/bin/sh\necho ü\n"})
    assert r.status == 200 and r.json() == {"service": "idle", "path": str(run), "content": "#!/bin/sh\necho ü\n"}
    s = run.stat()
    assert run.read_text() == "#!/bin/sh\necho ü\n" and stat.S_IMODE(s.st_mode) == 0o755 and (s.st_uid, s.st_gid) == (12, 34)
    for bad in ({"content": ""}, {"content": 5}, {}):
        assert st.ask_agent("PUT", "/services/idle/run", bad).status == 400
    lone = st.ask_agent("PUT", "/services/idle/run", b'{"content":"\\ud800"}', {"Content-Type": "application/json"})
    assert lone.status in (400, 422)
    assert run.read_text() == "#!/bin/sh\necho ü\n"
    assert st.ask_agent("PUT", "/services/nope/run", {"content": "x"}).status == 404
    assert [p.name for p in run.parent.iterdir()] == ["run"], "a temporary file was left"


def test_full_disk_keeps_the_old_script(own_stack):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.sources.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(st.tree.sources)], check=True)
    try:
        st.start()
        old = (st.tree.sources / "idle" / "run").read_text()
        r = st.ask_agent("PUT", "/services/idle/run", {"content": "#" * 200_000})
        assert r.status in (500, 507), r
        assert (st.tree.sources / "idle" / "run").read_text() == old
        assert [p.name for p in (st.tree.sources / "idle").iterdir()] == ["run"]
        assert st.ask_agent("GET", "/services/idle/status").status == 200
    finally:
        subprocess.run(["umount", str(st.tree.sources)])


def test_delete_logs(stack):
    d = stack.tree.logs / "todelete"
    d.mkdir()
    (d / "current").write_text("x\n")
    assert stack.ask_agent("DELETE", "/services/todelete/logs").json() == {
        "service": "todelete", "message": "Logs cleared successfully", "log_path": f"{d}/current"}
    assert (d / "current").stat().st_size == 0
    assert stack.ask_agent("DELETE", "/services/nope/logs").status == 404


class Follower:
    """Reads an event stream from the agent."""

    def __init__(self, sock, path, headers=None):
        self.c = UnixHTTPConnection(sock)
        self.c.request("GET", path, headers=headers or {})
        self.r = self.c.getresponse()
        assert self.r.status == 200 and self.r.headers["content-type"].startswith("text/event-stream")

    def event(self):
        ev = {}
        while True:
            line = self.r.readline().decode()
            assert line, "the stream ended"
            line = line.rstrip("\n")
            if not line and ev.get("data") is not None:
                return ev
            if line and not line.startswith(":"):
                k, _, v = line.partition(": ")
                ev[k] = v

    def close(self):
        self.c.sock.close()
        self.r.close()


def test_follow_survives_rotation_without_losing_or_repeating_a_line(own_stack):
    st = own_stack.start()
    f = Follower(st.agent_sock, "/services/ticker/logs?follow=true&tail=0")
    text, cursor = "", ""
    # The logger rotates at 4,096 bytes: force it often, and reconnect from the last cursor in between.
    for turn in range(12):
        ev = f.event()
        if ev.get("event") == "logs":
            d = json.loads(ev["data"])
            text, cursor = text + d["logs"], ev["id"]
            assert d["cursor"] == cursor
        if turn in (3, 7):
            f.close()
            time.sleep(0.3)
            subprocess.run(["s6-svc", "-a", str(st.tree.scandir / "ticker" / "log")], check=True)  # rotate now
            time.sleep(0.3)
            f = Follower(st.agent_sock, f"/services/ticker/logs?follow=true&cursor={cursor}")
        elif turn in (5, 9):
            subprocess.run(["s6-svc", "-a", str(st.tree.scandir / "ticker" / "log")], check=True)
    f.close()
    ticks = [int(l.split()[1]) for l in text.splitlines()]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks))) and len(ticks) > 10, ticks


def test_follow_after_truncation(stack):
    d = stack.tree.logs / "trunc"
    d.mkdir()
    cur = d / "current"
    cur.write_text("one\ntwo\n")
    f = Follower(stack.agent_sock, "/services/trunc/logs?follow=true")
    assert json.loads(f.event()["data"])["logs"] == "one\ntwo\n"
    stack.ask_agent("DELETE", "/services/trunc/logs")
    with open(cur, "a") as h:
        h.write("three\n")
    assert json.loads(f.event()["data"])["logs"] == "three\n"
    f.close()


def test_follow_waits_for_a_log_that_is_not_there_yet(stack):
    f = Follower(stack.agent_sock, "/services/later/logs?follow=true")
    d = stack.tree.logs / "later"
    d.mkdir()
    (d / "current").write_text("first\n")
    assert json.loads(f.event()["data"])["logs"] == "first\n"
    f.close()


def test_events_stream_states(own_stack):
    st = own_stack.start()
    f = Follower(st.agent_sock, "/services/events")
    seen = {}
    while len(seen) < len(st.ask_agent("GET", "/services").json()["services"]):
        d = json.loads(f.event()["data"])
        seen[d["name"]] = d
    assert seen["idle"]["is_up"] and not seen["normally-down"]["is_up"]
    assert f.event()["event"] == "live"
    st.ask_agent("POST", "/services/idle", {"action": "down"})
    end = time.monotonic() + patient(20)
    while time.monotonic() < end:
        d = json.loads(f.event()["data"])
        if d["name"] == "idle" and not d["is_up"]:
            break
    else:
        raise AssertionError("no event about idle")
    f.close()


def test_static_and_small(tmp_path):
    path = program("gantry-agent")
    if SANITIZED:  # the sanitizers' own runtime is shared
        return
    with open(path, "rb") as f:
        assert b"/lib64/ld-linux" not in f.read(), "not a static program"
    subprocess.run(["strip", "-o", str(tmp_path / "stripped"), path], check=True)
    assert (tmp_path / "stripped").stat().st_size < 2 << 20


def test_idle_pss(own_stack):
    if SANITIZED:
        return
    st = own_stack.start()
    text = open(f"/proc/{st.agent.pid}/smaps_rollup").read()
    pss = int(next(l for l in text.splitlines() if l.startswith("Pss:")).split()[1])
    assert pss < 3 << 10, f"{pss} kB"


def test_kept_connections_outlive_the_client(stack):
    """The old client drops an idle connection after 5 s; the agent must be the later one."""
    c = UnixHTTPConnection(stack.agent_sock)
    c.request("GET", "/services")
    c.getresponse().read()
    time.sleep(6)
    c.request("GET", "/services")
    assert c.getresponse().status == 200
    c.close()


def test_flags():
    agent = program("gantry-agent")
    assert subprocess.run([agent, "--help"], capture_output=True).returncode == 0
    assert b"gantry-agent" in subprocess.run([agent, "--version"], capture_output=True).stdout
    r = subprocess.run([agent, "serve", "--nonsense"], capture_output=True, text=True)
    assert r.returncode == 2 and "--nonsense" in r.stderr
    r = subprocess.run([agent, "serve", "--socket", "/nonexistent/dir/x.sock"], capture_output=True, text=True)
    assert r.returncode == 1 and "/nonexistent/dir/x.sock" in r.stderr


def test_a_second_agent_does_not_take_the_socket(stack):
    r = subprocess.run([program("gantry-agent"), "serve", "--socket", stack.agent_sock, "--scandir",
                        str(stack.tree.scandir)], capture_output=True, text=True, timeout=patient(20))
    assert r.returncode == 1
    assert stack.ask_agent("GET", "/").status == 200


def test_unclean_input_on_the_socket(stack):
    out = raw(stack.agent_sock, b"\x00\x01\x02 nonsense\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 400") and out.endswith(b"Invalid HTTP request received.")

"""What an operator sees: health, metrics, the audit record, request ids, slow requests, build data."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import harness
from harness import build_dir, patient, program, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def records(path):
    """The lines of an audit file that are records; what is torn is left out."""
    out = []
    for line in pathlib.Path(path).read_bytes().splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            pass
    return out


def all_files(path):
    path = pathlib.Path(path)
    return sorted(path.parent.glob(path.name + "*"))


def held_up(st, seconds, path, headers=None):
    """A request that its agent lets wait for so long at the least; its answer."""
    out = []
    t = threading.Thread(target=lambda: out.append(st.get(path, headers=headers)))
    os.kill(st.agent.pid, signal.SIGSTOP)
    try:
        t.start()
        wait_for("the request under way", lambda: b"gantry_http_exchanges 2\n" in st.get("/metrics").body)
        time.sleep(seconds)
    finally:
        os.kill(st.agent.pid, signal.SIGCONT)
    t.join()
    return out[0]


def change(st, n=1, headers=None):
    for _ in range(n):
        assert st.ask("POST", "/containers/robot/services/idle", {"action": "up"}, headers).status == 200


# --- health ---

def test_health(stack):
    r = stack.get("/healthz")
    assert (r.status, r.body, r.headers["content-type"]) == (200, b"ok\n", "text/plain; charset=utf-8")
    assert stack.ask("HEAD", "/healthz").body == b""
    r = stack.get("/readyz")
    checks = {c["name"]: c for c in r.json()["checks"]}
    assert r.status == 200 and r.json()["ready"] is True
    assert set(checks) == {"configuration", "listeners", "draining", "audit", "store", "docker", "agents"}
    assert all(c["ok"] for c in checks.values() if c["required"])
    assert not checks["docker"]["ok"] and not checks["docker"]["required"]


def test_ready_no_more_while_draining(own_stack):
    st = own_stack.start()
    st.tree  # the agent and its services run on
    os.kill(st.agent.pid, signal.SIGSTOP)
    slow = threading.Thread(target=lambda: st.get("/containers/robot/services/idle/status"))
    slow.start()
    s = socket.create_connection(st.address, 60)
    s.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n")
    wait_for("the request under way", lambda: b"gantry_http_exchanges 2\n" in st.get("/metrics").body)
    st.gantryd.p.send_signal(signal.SIGTERM)
    wait_for("stopping", lambda: '"id":"stop"' in st.gantryd.text())
    s.sendall(b"\r\n")
    answer = b""
    while not answer.endswith(b"}") and (more := s.recv(65536)):
        answer += more
    os.kill(st.agent.pid, signal.SIGCONT)
    slow.join()
    s.close()
    assert b" 503 " in answer.split(b"\r\n")[0] and b'"ready":false' in answer, answer
    assert b'{"name":"draining","ok":false' in answer
    with pytest.raises(OSError):
        st.get("/readyz")
    assert st.stop_gantryd() == 0


# --- metrics ---

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$')
LABELS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


def parse_metrics(text):
    """{(name, labels): value}; fails where Prometheus would, and on what promtool complains about."""
    assert text.endswith("\n")
    types, values, order, helps = {}, {}, [], set()
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            assert rest
            if what == "HELP":
                assert name not in helps
                helps.add(name)
            else:
                assert what == "TYPE" and name in helps and name not in types and name not in order
                types[name] = rest
            continue
        m = SAMPLE.match(line)
        assert m, line
        name, labels, value = m[1], m[2] or "", float(m[3])
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        family = family if types.get(family) == "histogram" else name
        assert family in types, f"{line} without a type"
        assert not order or family == order[-1] or family not in order, f"{family} is not in one piece"
        if family not in order:
            order.append(family)
        assert (types[family] == "counter") == name.endswith("_total"), line
        inside, pairs = labels[1:-1], []
        while inside:
            one = LABELS.match(inside)
            assert one, line
            pairs.append((one[1], one[2]))
            inside = inside[one.end():]
        assert len({k for k, _ in pairs}) == len(pairs) and (name, tuple(pairs)) not in values, line
        values[(name, tuple(pairs))] = value
    for (name, labels), value in list(values.items()):
        if not name.endswith("_bucket"):
            continue
        base, own = name[:-7], tuple(p for p in labels if p[0] != "le")
        series = sorted((float(dict(k)["le"]), v) for (n, k), v in values.items()
                        if n == name and tuple(p for p in k if p[0] != "le") == own)
        assert [v for _, v in series] == sorted(v for _, v in series)
        assert series[-1][0] == float("inf") and series[-1][1] == values[(base + "_count", own)]
        assert (base + "_sum", own) in values
    return values


def sample(st, name, **labels):
    return parse_metrics(st.get("/metrics").body.decode()).get((name, tuple(labels.items())))


def some_traffic(st):
    st.get("/containers/robot/services/idle/status")
    st.get("/containers/robot/services/no such/status".replace(" ", "%20"))
    st.get("/containers/missing/services")
    st.get("/nowhere")
    st.get("/docker/containers")
    st.ask("PATCH", "/")
    st.ask("POST", "/containers/robot/services/idle", {"action": "no"})


def test_metrics(stack):
    before = parse_metrics(stack.get("/metrics").body.decode())
    some_traffic(stack)
    r = stack.get("/metrics")
    assert r.status == 200 and r.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = parse_metrics(r.body.decode())

    def grown(name, **labels):
        key = (name, tuple(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    route = "/containers/{container}/services/{service}"
    assert grown("gantry_http_requests_total", method="GET", route=route + "/status", status="200") == 1
    assert grown("gantry_http_requests_total", method="GET", route=route + "/status", status="503") == 1
    assert grown("gantry_http_requests_total", method="POST", route=route, status="422") == 1
    assert grown("gantry_http_requests_total", method="any", route="none", status="404") == 1
    assert grown("gantry_http_requests_total", method="any", route="none", status="405") == 1
    assert grown("gantry_http_request_duration_seconds_count", method="GET", route=route + "/status") == 2
    assert grown("gantry_agent_calls_total", container="robot", outcome="ok") == 1
    assert grown("gantry_agent_calls_total", container="robot", outcome="error") == 1
    assert grown("gantry_agent_calls_total", container="missing", outcome="unreachable") == 1
    assert grown("gantry_http_connections_accepted_total") == 8
    assert after[("gantry_http_listeners", ())] == 2
    assert abs(after[("process_start_time_seconds", ())] - time.time()) < 3600
    assert 1e6 < after[("process_resident_memory_bytes", ())] < 2e8
    fds = len(os.listdir(f"/proc/{stack.gantryd.pid}/fd"))
    assert abs(after[("process_open_fds", ())] - fds) < 5
    info = [dict(k) for (n, k) in after if n == "gantry_build_info"]
    assert len(info) == 1 and set(info[0]) == {"version", "commit", "compiler"}


def test_metrics_are_bounded(stack):
    """No name of a client's choice becomes a label."""
    for i in range(30):
        stack.get(f"/x{i}/y{i}")
        stack.get(f"/containers/c{i}/services")
        harness.raw(stack.address, b"METHOD%d / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % i)
    text = stack.get("/metrics").body
    assert b"x29" not in text and b"c29" not in text and b"METHOD29" not in text
    assert len(text) < 100000


def test_promtool(stack):
    beside = (build_dir() / "tools" / "promtool", build_dir().parent / "build" / "tools" / "promtool")
    tool = shutil.which("promtool") or next((str(p) for p in beside if p.exists()), None)
    if tool is None:
        pytest.skip("no promtool here: make deps-check fetches it")
    some_traffic(stack)
    text = stack.get("/metrics").body
    r = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, timeout=60)
    # A name that the compute agent gave a gauge, and that its dashboards have.
    known = b'persys_agent_workload_count non-histogram and non-summary metrics should not have "_count" suffix\n'
    assert r.returncode in (0, 3) and (r.stdout + r.stderr).replace(known, b"") == b"", (r.stdout, r.stderr)


# --- audit ---

def test_audit_record(stack):
    change(stack, headers={"X-Request-Id": "audit-1"})
    stack.ask("POST", "/containers/missing/services/a%ffb", {"action": "down"}, {"X-Request-Id": "audit-2"})
    stack.ask("POST", "/containers/robot/services/idle", {"action": "up"},
              {"X-Request-Id": "audit-3", "Origin": "http://evil.example"})
    stack.get("/containers", headers={"X-Request-Id": "audit-4"})

    def got():
        return {r["request"]: r for r in records(stack.audit_file) if r["request"].startswith("audit-")}

    wait_for("three records", lambda: len(got()) == 3)
    r = got()["audit-1"]
    assert list(r) == ["time", "who", "peer", "request", "method", "path", "verb", "kind", "name", "status",
                       "result", "detail"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", r["time"])
    assert (r["method"], r["path"], r["verb"], r["kind"], r["name"], r["status"], r["result"]) == (
        "POST", "/containers/robot/services/idle", "control", "service", "robot/idle", 200, "done")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", r["peer"])
    r = got()["audit-2"]
    assert r["result"] == "failed" and r["status"] == 503 and r["name"] == "missing/a\ufffdb"
    r = got()["audit-3"]
    assert r["result"] == "refused" and r["status"] == 403 and "evil.example" in r["detail"]
    assert os.stat(stack.audit_file).st_mode & 0o777 == 0o640
    assert '"room":"audit"' in stack.gantryd.text()
    d = stack.get("/audit?n=1000").json()
    assert d["records"] == records(stack.audit_file)[-1000:] and d["more"] is False
    one = stack.get("/audit?n=1").json()
    assert one["records"] == d["records"][-1:] and one["more"] is True
    assert stack.get("/audit?who=nobody").json() == {"records": [], "more": False}
    assert stack.get("/audit?since=1h").json() == stack.get("/audit").json()
    assert stack.get("/audit?since=2999").json()["records"] == []
    assert stack.get("/audit?since=yesterday").status == 400
    assert records(stack.audit_file) == d["records"], "reading is no change"


def test_gantry_audit(stack, tmp_path):
    change(stack, headers={"X-Request-Id": "cli-1"})
    wait_for("the record", lambda: any(r["request"] == "cli-1" for r in records(stack.audit_file)))
    r = stack.cli("audit", "-n", "1")
    assert r.returncode == 0, r.stderr
    assert r.stdout.splitlines()[0].split() == ["TIME", "(UTC)", "WHO", "RESULT", "STATUS", "WHAT"]
    assert r.stdout.splitlines()[1].endswith("control service robot/idle")
    assert "cli-1" in stack.cli("audit", "-n", "1", "-o", "wide").stdout
    assert json.loads(stack.cli("audit", "-n", "1", "-o", "json").stdout)["records"][0]["request"] == "cli-1"
    assert stack.cli("audit", "--who", "nobody").stdout.count("\n") == 1
    assert stack.cli("audit", "--since", "nonsense").returncode == 1
    env = dict(stack.env, GANTRY_HOST=f"unix:{stack.unix}")
    with open(tmp_path / "follow", "wb") as out:
        p = subprocess.Popen([program("gantry"), "audit", "-f", "-n", "1", "-o", "wide"], stdout=out, env=env)
    try:
        shown = lambda: (tmp_path / "follow").read_text()
        wait_for("the last one", lambda: "cli-1" in shown())
        for i in range(3):
            change(stack, headers={"X-Request-Id": f"cli-f{i}"})
        wait_for("the new ones", lambda: "cli-f2" in shown())
        change(stack, headers={"X-Request-Id": "cli-f3"})
        wait_for("one more", lambda: "cli-f3" in shown())
        for i in range(4):
            assert shown().count(f"cli-f{i}") == 1
    finally:
        p.terminate()
        p.wait(patient(10))


def test_audit_rotates(own_stack):
    st = own_stack
    st.audit_config = "  max_size: 4k\n  keep: 2\n"
    st.start()
    change(st, 60)
    wait_for("all written", lambda: sample(st, "gantry_audit_records_total") == 60)
    files = all_files(st.audit_file)
    assert [f.name for f in files] == ["audit.log", "audit.log.1", "audit.log.2"]
    assert all(f.stat().st_size <= 4096 for f in files)
    kept = [r for f in (files[2], files[1], files[0]) for r in records(f)]
    got = st.get("/audit?n=1000").json()["records"]
    assert got == kept and 20 < len(got) < 60
    assert [r["time"] for r in got] == sorted(r["time"] for r in got)
    assert st.get("/audit?n=20").json()["records"] == kept[-20:]


def test_audit_survives_a_kill(own_stack):
    st = own_stack.start()
    change(st, 3)
    wait_for("three", lambda: len(records(st.audit_file)) == 3)
    st.gantryd.p.send_signal(signal.SIGKILL)
    st.stop_gantryd(signal.SIGKILL)
    with open(st.audit_file, "ab") as f:
        f.write(b'{"time":"2026-11-21T03:52:00.123Z","who":"uid:0","pe')
    st.start_gantryd()
    change(st, 2)
    wait_for("five", lambda: len(records(st.audit_file)) == 5)
    lines = pathlib.Path(st.audit_file).read_bytes().split(b"\n")
    assert lines[3].endswith(b'"pe') and lines[4].startswith(b'{"time"') and lines[-1] == b""
    assert len(st.get("/audit").json()["records"]) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_audit_on_a_full_disk(own_stack):
    st = own_stack
    folder = st.root / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=100", "tmpfs", str(folder)],
                      capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        st.audit_file = folder / "audit.log"
        st.start()
        change(st, 3)
        wait_for("three", lambda: len(records(st.audit_file)) == 3)
        filler = folder / "filler"
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 512)
            except OSError:
                pass
        change(st, 30)  # beyond the rest of the file's last page
        r = wait_for("not ready", lambda: (lambda a: a if a.status == 503 else None)(st.get("/readyz")))
        assert {"name": "audit", "ok": False, "required": True,
                "detail": "records cannot be written, see the log"} in r.json()["checks"]
        assert st.get("/healthz").status == 200
        assert pathlib.Path(st.audit_file).read_bytes().endswith(b"}\n"), "nothing half-written"
        wait_for("more tries", lambda: sample(st, "gantry_audit_write_failures_total") >= 3)
        assert st.gantryd.text().count("audit-write-failed") == 1, "told once"
        filler.unlink()
        wait_for("all written", lambda: len(records(st.audit_file)) == 33)
        wait_for("ready again", lambda: st.get("/readyz").status == 200)
        assert "audit-write-again" in st.gantryd.text()
        assert sample(st, "gantry_audit_records_lost_total") == 0
        assert sample(st, "gantry_audit_write_failures_total") >= 2
        assert st.stop_gantryd() == 0
    finally:
        st.stop_gantryd()
        subprocess.run(["umount", str(folder)], check=True)


def test_audit_switched_off(own_stack):
    own_stack.audit_file = "none"
    st = own_stack.start()
    change(st)
    assert '"room":"audit"' in st.gantryd.text()
    assert st.get("/audit").status == 501
    assert {c["name"]: c["detail"] for c in st.get("/readyz").json()["checks"]}["audit"] == "switched off"


def test_audit_file_that_cannot_be(own_stack):
    st = own_stack
    st.audit_file = "/proc/no/such/audit.log"
    st.sockets.mkdir(mode=0o700, exist_ok=True)
    st.start_gantryd(wait=False)
    assert st.gantryd.p.wait(patient(20)) == 1
    assert 'cannot open the audit file \\"/proc/no/such/audit.log\\"' in st.gantryd.text()
    st.gantryd = None


# --- ids, traces, slow requests ---

def test_request_ids(stack):
    seen = set()
    for method, path in (("GET", "/"), ("GET", "/nowhere"), ("PATCH", "/"), ("GET", "/containers/"),
                         ("GET", "/containers/robot/services/idle/status"), ("OPTIONS", "/")):
        i = stack.ask(method, path).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", i)
        seen.add(i)
    assert len(seen) == 6
    assert stack.get("/", headers={"X-Request-Id": "A.b-c_1"}).headers["x-request-id"] == "A.b-c_1"
    assert stack.get("/", headers={"X-Request-Id": "x" * 64}).headers["x-request-id"] == "x" * 64
    for bad in ("", "a b", "x" * 65, "a/b", "\u00e9", "a\tb"):
        got = stack.get("/", headers={"X-Request-Id": bad.encode()}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", got), bad
    s = socket.create_connection(stack.address, 60)
    s.sendall(b"GET /ws/containers/robot/services/idle/logs HTTP/1.1\r\nHost: localhost\r\n"
              b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nX-Request-Id: ws\r\n"
              b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    r = b""
    while b"\r\n\r\n" not in r and (more := s.recv(65536)):
        r += more
    s.close()
    assert r.startswith(b"HTTP/1.1 101") and b"\r\nx-request-id: ws\r\n" in r
    r = subprocess.run(["curl", "-si", "--http2-prior-knowledge", "-H", "X-Request-Id: h2", stack.url + "/"],
                       capture_output=True, text=True)
    assert r.stdout.startswith("HTTP/2 200") and "\nx-request-id: h2\n" in r.stdout.replace("\r", "")


def test_traces_reach_the_agent(own_stack, tmp_path):
    st = own_stack
    st.tree.start()
    st.sockets.mkdir(mode=0o700, exist_ok=True)
    st.start_agent(args=("--log-level", "debug"))
    real, seen = st.agent_sock, tmp_path / "seen"
    st.agent_sock = str(st.sockets / "relay.sock")
    relay = harness.Process("relay", [sys.executable, str(pathlib.Path(__file__).parent / "relay.py"), st.agent_sock,
                                      real, str(seen), "x-request-id", "traceparent", "tracestate"],
                            tmp_path / "relay.log")
    try:
        wait_for("the relay", lambda: os.path.exists(st.agent_sock))
        st.start_gantryd()
        path = "/containers/robot/services/idle"
        good = f"00-{TRACE}-{PARENT}-01"
        assert st.get(path + "/status", headers={"traceparent": good, "tracestate": "a=1",
                                                 "X-Request-Id": "t-1"}).status == 200
        lines = seen.read_text().splitlines()
        assert "x-request-id: t-1" in lines and "tracestate: a=1" in lines
        mine = [re.fullmatch(f"traceparent: 00-{TRACE}-([0-9a-f]{{16}})-01", x) for x in lines]
        mine = [m[1] for m in mine if m]
        assert len(mine) == 1 and mine[0] != PARENT
        wait_for("the agent's log", lambda: '"request":"t-1"' in st.agent.text() and TRACE in st.agent.text())
        for bad in (good[:-1], good.upper(), "00-" + "0" * 32 + good[35:], "nonsense", "ff" + good[2:]):
            seen.write_text("")
            assert st.ask("POST", path, {"action": "up"}, {"traceparent": bad, "tracestate": "a=1",
                                                          "X-Request-Id": "t-2"}).status == 200
            text = seen.read_text()
            assert "x-request-id: t-2" in text and "traceparent" not in text and "tracestate" not in text
    finally:
        st.stop_gantryd()
        st.agent_sock = real
        relay.stop()


def test_slow_requests(own_stack):
    own_stack.extra_config = "log:\n  slow: 500ms\n"
    st = own_stack.start()
    path = "/containers/robot/services/idle/status"

    def told(route="/containers/{container}/services/{service}/status"):
        lines = [json.loads(x) for x in st.gantryd.text().splitlines() if "slow-request" in x]
        return [x for x in lines if x["route"] == route]

    def a_quick_one():
        before, began = len(told()), time.monotonic()
        st.get(path)
        quick = time.monotonic() - began < 0.5
        assert not quick or len(told()) == before
        return quick
    wait_for("a quick one", a_quick_one)
    r = held_up(st, 0.6, path, {"X-Request-Id": "slow-1", "traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert r.status in (200, 503)  # an agent has five seconds
    wait_for("its line", lambda: [x for x in told() if x["request"] == "slow-1"])
    lines = [x for x in told() if x["request"] == "slow-1"]
    assert len(lines) == 1
    line = lines[0]
    assert line["level"] == "warn" and line["trace"] == TRACE and line["method"] == "GET"
    assert 500 <= line["ms"] < 60000 and line["peer"].startswith("127.0.0.1:")
    # A stream that is meant to stay open is not slow.
    s = socket.create_connection(st.address, 60)
    s.sendall(b"GET /containers/robot/services/ticker/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert s.recv(12) == b"HTTP/1.1 200"
    time.sleep(1)
    s.close()
    wait_for("its end", lambda: b"gantry_http_exchanges 1\n" in st.get("/metrics").body)
    assert not told("/containers/{container}/services/{service}/logs")


def test_limit_of_slow_requests_is_reloaded(own_stack):
    st = own_stack.start()
    st.extra_config = "log:\n  slow: 10ms\n"
    (st.root / "config.yml").write_text(st.config())
    st.gantryd.p.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: "config-reload" in st.gantryd.text())
    held_up(st, 0.1, "/containers/robot/services/idle/status")
    wait_for("the line", lambda: "slow-request" in st.gantryd.text())
    (st.root / "config.yml").write_text("nonsense: 1\n")
    st.gantryd.p.send_signal(signal.SIGHUP)
    wait_for("the refusal", lambda: "config-reload-refused" in st.gantryd.text())
    r = st.get("/readyz")
    assert r.status == 200 and r.json()["checks"][0]["ok"] is False


# --- build data ---

def test_versions():
    version = (pathlib.Path(__file__).parents[2] / "VERSION").read_text().strip()
    for name in ("gantryd", "gantry", "gantry-agent"):
        r = subprocess.run([program(name), "--version"], capture_output=True, text=True)
        lines = r.stdout.splitlines()
        assert r.returncode == 0 and lines[0] == f"{name} {version}"
        assert re.fullmatch(r"commit ([0-9a-f]{12}(-dirty)?|unknown)", lines[1])
        assert re.fullmatch(r"compiler .*, \w+", lines[2])
    lines = subprocess.run([program("gantryd"), "--version"], capture_output=True, text=True).stdout.splitlines()
    assert [x.split()[0] for x in lines[3:]] == ["libuv", "OpenSSL", "nghttp2", "llhttp", "jansson", "libyaml", "wslay"]


def test_the_page_names_every_metric(stack):
    """docs/observability.md and the program have the same metrics."""
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "observability.md").read_text()
    def names(text):
        return set(re.findall(r"`((?:gantry|persys_agent)_[a-z_]+)`", text))
    optional = names(page.partition("Only with a scheduler")[2].partition("\n## ")[0])
    there = {m for m in re.findall(r"^# TYPE (\S+)", stack.get("/metrics").body.decode(), re.M) if not m.startswith("process_")}
    assert there - names(page) == set() and names(page) - optional - there == set()
    assert 15 < len(optional) < 60


def test_since_when_something_is_amiss_is_not_made_up(own_stack):
    own_stack.start_gantryd()  # there is no Docker Engine
    x = wait_for("it is degraded", lambda: next(filter(lambda x: x["state"] == "degraded", [own_stack.get("/v1/explain/node").json()]), None))
    assert "docker" in x["waits_for"] and x["since"] is None, x

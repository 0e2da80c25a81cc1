#!/usr/bin/python3
"""Measures Gantry against references in the same run and prints one table of ratios.

usage: bench/run.py [--save] [PART...]    parts: static proxy secure status docker viewers idle start profiles store grpc engine
                                               events workloads compose vms

Every comparison alternates A B A B ..., so that a machine whose speed drifts does not decide it. Shown: the median of the
ratios, their lowest and highest, and the medians of both sides. --save keeps the tables of these parts in docs/benchmarks.md;
those of other parts stay there as they are.
"""
import datetime
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import traceback
import types
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import UnixHTTPConnection, free_port, program, wait_for  # noqa: E402

TOOLS = ROOT / "build-bench" / "bench"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
CS = "/containers/robot/services"
rows = []
measured = {}  # by part: its rows, and how many seconds it took


def row(what, ratio, spread, ours, theirs, target, ok):
    rows.append((what, ratio, spread, ours, theirs, target, ok))
    mark = {True: "met", False: "NOT MET", None: ""}[ok]
    print(f"{what:58} {ratio:>9} {spread:>15}  {ours:>18} {theirs:>18}  {target:>10} {mark}", flush=True)


def compare(what, ours, theirs, unit, better_high, target=None, rounds=ROUNDS):
    """Runs both in turn; ratio is ours/theirs for rates (high is good) and for times (low is good)."""
    a, b = [], []
    ours(), theirs()
    for _ in range(rounds):
        a.append(ours())
        b.append(theirs())
    show(what, a, b, unit, better_high, target)


def show(what, a, b, unit, better_high, target=None):
    """The line for what ours (a) and theirs (b) measured, round by round."""
    r = [x / y for x, y in zip(a, b)]
    med = statistics.median(r)
    ok = None if target is None else (med >= target if better_high else med <= target)
    sign = "" if target is None else f"{'>=' if better_high else '<='} {target}"
    row(what, f"{med:.2f}", f"{min(r):.2f}..{max(r):.2f}", f"{statistics.median(a):,.0f} {unit}",
        f"{statistics.median(b):,.0f} {unit}", sign, ok)


def wrk(url, connections, seconds=SECONDS, token=None):
    header = ["-H", f"Authorization: Bearer {token}"] if token else []
    out = subprocess.run(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:.0f}s", *header, url], capture_output=True, text=True).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"wrk {url}:\n{out}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


class Nginx:
    def __init__(self, root, locations, upstreams=""):
        self.port = free_port()
        self.conf = root / "nginx.conf"
        self.conf.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx.err;
events {{ worker_connections 20000; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json; {upstreams}
  server {{ listen 127.0.0.1:{self.port} reuseport; {locations} }} }}
""")
        self.p = harness.Process("nginx", ["nginx", "-c", str(self.conf), "-e", str(root / "nginx.err")], root / "nginx.log")
        wait_for("nginx", lambda: self.p.alive() and self.up())
        self.url = f"http://127.0.0.1:{self.port}"

    def up(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.p.stop()


def part_static(st, root):
    body = st.get("/containers").body.decode()
    n = Nginx(root, "location = /containers { return 200 '%s'; }" % body)
    try:
        assert http_get(n.port, "/containers") == body.encode()
        for c in (1, 64):
            compare(f"GET /containers, {c} connection{'s' * (c > 1)} / nginx return 200", lambda: wrk(st.url + "/containers", c),
                    lambda: wrk(n.url + "/containers", c), "req/s", True, 1.0)
    finally:
        n.stop()


def http_get(port, path):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.request("GET", path)
    return c.getresponse().read()


def part_proxy(st, root):
    up = f"upstream agent {{ server unix:{st.agent_sock}; keepalive 100; keepalive_requests 1000000000; }}"
    n = Nginx(root, 'location /services/ { proxy_pass http://agent; proxy_http_version 1.1; proxy_set_header Connection ""; '
                    'proxy_set_header Host agent; proxy_buffering on; }', up)
    try:
        # One connection is a chain of waits between three processes; where the scheduler puts them decides a run by a tenth
        # either way, for both sides. So: many short runs.
        for c, rounds, seconds in ((1, 6 * ROUNDS + 1, 1), (64, ROUNDS, SECONDS)):
            compare(f"service status through to the agent, {c} / nginx proxy_pass", lambda: wrk(f"{st.url}{CS}/idle/status", c, seconds),
                    lambda: wrk(f"{n.url}/services/idle/status", c, seconds), "req/s", True, 1.0, rounds)
    finally:
        n.stop()


def part_secure(st, root):
    """The calls of the first two parts on a listener that asks who is there, with a token, the audit file and the metrics, as
    against the open listener of the same process."""
    port = free_port()
    st.listeners.append(f'{{address: "127.0.0.1:{port}", auth: required}}')
    st.stop_gantryd()
    st.start_gantryd()
    c = UnixHTTPConnection(st.unix)
    c.request("POST", "/tokens", json.dumps({"name": "bench", "role": "viewer"}), {"Content-Type": "application/json"})
    token = json.loads(c.getresponse().read())["token"]
    c.close()
    secured = f"http://127.0.0.1:{port}"
    for path, what in (("/containers", "GET /containers"), (f"{CS}/idle/status", "service status")):
        for n, rounds, seconds in ((1, 2 * ROUNDS + 1, 1), (64, ROUNDS, SECONDS)):
            compare(f"{what}, {n}: with a token / open listener", lambda: wrk(secured + path, n, seconds, token),
                    lambda: wrk(st.url + path, n, seconds), "req/s", True, 0.95, rounds)


def part_status(st, root):
    def run(*args):
        return float(subprocess.run([str(TOOLS / "status_read"), *args, str(st.tree.scandir), "idle", st.agent_sock],
                                    capture_output=True, text=True, check=True).stdout)
    compare("s6 status: spawning s6-svstat / the agent's reading", lambda: run("spawn"), lambda: run("read"), "ns", True, 50)
    compare("s6 status: spawning s6-svstat / a whole call of the agent", lambda: run("spawn"), lambda: run("call"), "ns", True)


def part_docker(st, root):
    import dockerd
    with dockerd.Dockerd() as d:
        for i in range(20):
            d.docker("create", "--name", f"bench{i}", "busybox:local", "true")
        for i in range(3):
            d.docker("run", "-d", "--name", f"benchrun{i}", "busybox:local", "sleep", "86400")
        st.stop_gantryd()
        st.docker_socket = d.socket
        st.start_gantryd()
        wait_for("the engine", lambda: st.get("/docker/containers?all=true").status == 200)
        for query, engine in (("?all=true", "all=1"), ("", "all=0")):
            g = http.client.HTTPConnection(*st.address, timeout=20)
            e = UnixHTTPConnection(d.socket)

            def timed(conn, path, n=100):
                began = time.perf_counter()
                for _ in range(n):
                    conn.request("GET", path)
                    r = conn.getresponse()
                    r.read()
                    assert r.status == 200
                return (time.perf_counter() - began) / n * 1e6
            timed(g, f"/docker/containers{query}", 5)
            compare(f"GET /docker/containers{query} / the engine's raw list", lambda: timed(g, f"/docker/containers{query}"),
                    lambda: timed(e, f"/containers/json?limit=-1&{engine}&size=0&trunc_cmd=0"), "us", False, 1.5)
            g.close(), e.close()
        st.stop_gantryd()
        st.docker_socket = str(st.sockets / "no-docker.sock")
        st.start_gantryd()


def cpu_seconds(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def pss_kb(pid):
    return int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M).group(1))


def part_viewers(st, root):
    (st.tree.logs / "bench").mkdir()
    cur = st.tree.logs / "bench" / "current"
    cur.write_text("")
    p = subprocess.Popen([str(TOOLS / "ws_viewers"), str(st.port), "/ws" + CS + "/bench/logs", "1000", "15"],
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline().strip() == "ready 1000"
    g, a, seconds, seq = cpu_seconds(st.gantryd.pid), cpu_seconds(st.agent.pid), 13.0, 0
    began = time.monotonic()
    with open(cur, "a", buffering=1) as f:
        while time.monotonic() < began + seconds:
            f.write(f"{seq} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}\n")
            seq += 1
            time.sleep(max(0, began + seq * 0.1 - time.monotonic()))
    took = time.monotonic() - began
    g, a = cpu_seconds(st.gantryd.pid) - g, cpu_seconds(st.agent.pid) - a
    d = json.loads(p.stdout.readline())
    p.wait()
    whole = d["least"] == d["most"] == seq and not d["missing"] and not d["repeated"]
    row("1,000 viewers, 10 lines/s: lines that arrived / due", f"{d['least'] / seq:.3f}", f"{d['least']}..{d['most']}", f"{seq} lines", "", "= 1", whole)
    row("1,000 viewers: CPU of gantryd, of the agent", f"{g / took:.1%}", "", f"{g:.2f} s", f"{a:.2f} s", "", None)
    row("1,000 viewers: delay, median and p99", f"{d['p99_ms']:.1f} ms", f"max {d['max_ms']:.1f}", f"p50 {d['p50_ms']:.1f} ms", f"p99 {d['p99_ms']:.1f} ms", "", None)


def part_idle(st, root):
    st.stop_gantryd()
    st.start_gantryd()
    st.get("/containers")
    first = pss_kb(st.gantryd.pid)
    socks = []
    req = b"GET /containers HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for i in range(10_000):
        s = socket.create_connection(st.address)
        s.sendall(req)
        socks.append(s)
        if i % 500 == 499:
            for x in socks[-500:]:
                assert x.recv(4096).startswith(b"HTTP/1.1 200")
    time.sleep(1)
    full = pss_kb(st.gantryd.pid)
    row("10,000 idle keep-alive connections: bytes each", f"{(full - first) * 1024 / 10_000:.0f} B", "", f"{full} kB", f"{first} kB", "", None)
    for s in socks:
        s.close()
    time.sleep(0.5)
    wrk(st.url + "/containers", 64, 2)
    after = pss_kb(st.gantryd.pid)
    row("gantryd PSS: idle, and after the load", f"{first / 1024:.1f} MiB", "", f"{first} kB", f"{after} kB", "<= 8 MB", first <= 8 * 1024)
    agent = pss_kb(st.agent.pid)
    row("gantry-agent PSS, after the load above", f"{agent / 1024:.1f} MiB", "", f"{agent} kB", "", "<= 3 MB", agent <= 3 * 1024)
    began = cpu_seconds(st.gantryd.pid)
    time.sleep(10)
    used = (cpu_seconds(st.gantryd.pid) - began) / 10
    row("gantryd CPU, idle for 10 s", f"{used:.2%}", "", "", "", "<= 0.1 %", used <= 0.001)


def part_start(st, root):
    st.stop_gantryd()
    st.config()

    def once():
        began = time.perf_counter()
        st.start_gantryd(wait=False)
        while True:
            try:
                s = socket.create_connection(st.address)
                s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if s.recv(4096):
                    s.close()
                    break
            except OSError:
                time.sleep(0.0005)
        took = time.perf_counter() - began
        st.stop_gantryd()
        return took * 1000
    t = [once() for _ in range(10)]
    true = [(lambda b: (subprocess.run(["true"]), (time.perf_counter() - b) * 1000)[1])(time.perf_counter()) for _ in range(10)]
    m = statistics.median(t)
    row("start until the first answer (other side: spawning true)", f"{m:.1f} ms", f"{min(t):.1f}..{max(t):.1f}", f"{m:.1f} ms", f"{statistics.median(true):.1f} ms", "<= 30 ms", m <= 30)


def part_profiles(st, root):
    """A boot pass over 1,000 profiles on tmpfs: as the service user, and as root, who gives parts of each slot to that user; a slot
    made and taken away below a real s6-svscan."""
    import shutil
    import tempfile
    from test_profiles import UID, Place
    ram = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench-", dir="/dev/shm"))
    home, scandir, copies = ram / "home", ram / "service", ram / "copies"

    uid = UID

    def timed(argv):
        began = time.perf_counter()
        out = subprocess.run(argv, check=True, capture_output=True, text=True, user=uid, group=uid, extra_groups=[])
        return (time.perf_counter() - began) * 1000, out.stdout

    def fresh(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        folder.chmod(0o755)
        os.chown(folder, uid, uid)

    def reconcile():
        fresh(scandir)
        return timed([ram / "gantry-agent", "reconcile", "--home", home, "--scandir", scandir])[0]

    def plain_loop():
        fresh(copies)
        return float(timed([ram / "slots_write", scandir / "gateway-p0", copies, "1000"])[1])
    try:
        ram.chmod(0o755)
        shutil.copy(program("gantry-agent"), ram / "gantry-agent")
        shutil.copy(TOOLS / "slots_write", ram / "slots_write")
        for i in range(1000):
            d = home / "profiles" / f"p{i}"
            d.mkdir(parents=True)
            (d / "profile.yaml").touch()
            (d / "gateway_state.json").write_text('{"gateway_state": "stopped"}')
        subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
        for uid, who in ((UID, ""), (0, " as root, with the skeleton")):
            compare(f"reconcile of 1,000 profiles{who} / a loop that writes the same files", reconcile, plain_loop, "ms", False)
            wall = [reconcile() for _ in range(max(ROUNDS, 5))]
            m = statistics.median(wall)
            row(f"reconcile of 1,000 profiles{who}, wall time with the process", f"{m:.0f} ms", f"{min(wall):.0f}..{max(wall):.0f}",
                f"{m:.0f} ms", "", "<= 100 ms", m <= 100)
    finally:
        shutil.rmtree(ram, ignore_errors=True)
    place = Place(UID)
    try:
        up, gone = [], []
        for i in range(10):
            place.profile(f"p{i}")
            began = time.perf_counter()
            place.run("gateway", "start", f"p{i}", "--wait")
            middle = time.perf_counter()
            place.run("profile", "delete", f"p{i}")
            up.append((middle - began) * 1000)
            gone.append((time.perf_counter() - middle) * 1000)
        for what, t in (("a profile registered until it is up", up), ("a running one unregistered until it is gone", gone)):
            row(what + ", with the process", f"{statistics.median(t):.1f} ms", f"{min(t):.1f}..{max(t):.1f}",
                f"{statistics.median(t):.1f} ms", "", "", None)
    finally:
        place.stop()


def part_grpc(st, root):
    """Unary calls of 100 bytes: our server and Debian's gRPC core under the same load, a fixed number of calls by our client."""
    def run(server, calls, streams, connections):
        port = free_port()
        p = harness.Process(server, [str(TOOLS / server), str(port)], root / f"{server}.log")
        try:
            wait_for(server, lambda: p.alive() and listening(port))
            load = subprocess.Popen([str(TOOLS / "grpc_load"), str(port), str(calls), str(streams), str(connections), "100"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert load.stdout.readline() == "ready\n"
            before = cpu_seconds(p.pid)
            out, _ = load.communicate("\n", timeout=300)
            used = cpu_seconds(p.pid) - before
        finally:
            p.stop()
        r = json.loads(out)
        return {"rate": calls / r["seconds"], "cpu": used / calls * 1e9, "own": r["cpu_s"] / calls * 1e6}
    if not (TOOLS / "grpc_core_echo").is_file():
        print("grpc: no reference, libgrpc-dev was not there when bench/ was built", flush=True)
        return
    for streams, connections, calls in ((1, 1, 20_000), (64, 1, 150_000), (64, 8, 150_000)):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(run("grpc_echo", calls, streams, connections))
            theirs.append(run("grpc_core_echo", calls, streams, connections))
        what = f"gRPC unary, {streams} open on {connections} connection{'s' * (connections > 1)}"
        for key, label, unit, better_high in (("cpu", "server's CPU a call", "ns", False), ("rate", "calls", "calls/s", True)):
            show(f"{what}: {label} / gRPC core", [r[key] for r in ours], [r[key] for r in theirs], unit, better_high, 1.0)
        server, client = [r["cpu"] / 1000 for r in ours], [r["own"] for r in ours]
        m, c = statistics.median(server), statistics.median(client)
        if streams > 1:
            row(f"{what}: CPU a call (other side: our client)", f"{m:.1f} us", f"{min(server):.1f}..{max(server):.1f}", f"{m:.1f} us",
                f"{c:.1f} us", "<= 5 us", m <= 5)


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


def part_store(_, root):
    """In turn with the reference, commit by commit. Beside the benchmarks' own folder may be memory: the disk is the build's."""
    place = ROOT / "build-bench" / "store"
    try:
        for what, waiting, count in (("one after the other", 1, 200), ("100 waiting", 100, 50)):
            ours, theirs = [], []
            for _ in range(max(ROUNDS, 3)):
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                out = subprocess.run([str(TOOLS / "store_commit"), str(place), str(waiting), str(count)],
                                     capture_output=True, text=True, check=True).stdout.split()
                ours.append(float(out[0]))
                theirs.append(float(out[1]))
            r = [x / y for x, y in zip(ours, theirs)]
            med = statistics.median(r)
            row(f"a durable commit, {what} / 4 KiB and fdatasync", f"{med:.2f}", f"{min(r):.2f}..{max(r):.2f}",
                f"{statistics.median(ours):,.0f} us", f"{statistics.median(theirs):,.0f} us", "<= 1.5", med <= 1.5)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def part_engine(_, root):
    """The engine alone, on a runtime and a store that cost next to nothing."""
    place = ROOT / "build-bench" / "engine"
    runs = {10_000: [], 100_000: []}
    try:
        for _ in range(max(ROUNDS, 3)):
            for n, all_of in runs.items():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                all_of.append(json.loads(subprocess.run([str(TOOLS / "engine_scale"), str(n), str(place)], capture_output=True,
                                                        text=True, check=True).stdout))
    finally:
        shutil.rmtree(place, ignore_errors=True)

    def line(what, n, key, unit, digits, target="", ok=None, other=""):
        values = [r[key] for r in runs[n]]
        m = statistics.median(values)
        row(f"{n:,} workloads: {what}", f"{m:,.{digits}f} {unit}", f"{min(values):,.{digits}f}..{max(values):,.{digits}f}",
            f"{m:,.{digits}f} {unit}", other, target, None if ok is None else ok(m))
    for n in runs:
        alone = statistics.median(r["list_ms"] for r in runs[n])
        most = n / 100  # 100 ms for 10,000, and no more for each of 100,000
        line("CPU of a pass (other side: its list alone)", n, "pass_ms", "ms", 1, f"<= {most:,.0f} ms", lambda m: m <= most, f"{alone:.1f} ms")
        line("allocations in a pass", n, "allocs", "", 0, "<= 10", lambda m: m <= 10)
        line("memory each", n, "bytes", "B", 0)
        line("start, rows in memory", n, "start_ms", "ms", 0)
        line("start, rows on disk", n, "disk_ms", "ms", 0)
        line("CPU of an apply until it runs", n, "apply_us", "us", 1)
    show("a pass over 100,000 / ten over 10,000", [r["pass_ms"] * 1000 for r in runs[100_000]], [r["pass_ms"] * 10_000 for r in runs[10_000]],
         "us", False)


class Many:
    """Clients that ask for workloads at once, each on a connection of its own."""

    def __init__(self, keeper, clients, name):
        self.keeper, self.clients, self.name, self.n = keeper, clients, name, 0

    def __call__(self, count):
        """So many new workloads; with no runtime there is one event for each."""
        first, self.n = self.n, self.n + count

        def work(k):
            c = http.client.HTTPConnection("127.0.0.1", self.keeper.port, timeout=60)
            for i in range(first + k, first + count, self.clients):
                id = f"{self.name}-{i}"
                c.request("PUT", f"/v1/workloads/{id}", json.dumps({"id": id, "type": "container", "container": {"image": "a"}}),
                          {"Content-Type": "application/json"})
                r = c.getresponse()
                r.read()
                assert r.status in (200, 201, 202), r.status
            c.close()
        threads = [threading.Thread(target=work, args=(k,)) for k in range(self.clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


def keeper_without_docker(root):
    from test_workloads import Keeper
    k = Keeper(root, types.SimpleNamespace(socket=str(root / "none.sock")))
    k.workloads["interval"] = "30s"
    k.extra_config = "  limits:\n    max_connections: 3000\n    idle: 600s\n"
    return k.begin()


def part_events(_, root):
    """GET /v1/events with 1,000 readers: a few events all the time, and a burst that readers who stopped reading do not survive."""
    k = keeper_without_docker(root)
    try:
        for what, readers, stalled, clients, burst, seconds in (("10 events/s", 1000, 0, 1, 10, 12), ("a burst", 1000, 0, 16, 4000, 30),
                                                                ("a burst, others asleep", 50, 5, 16, 8000, 30)):
            p = subprocess.Popen([str(TOOLS / "sse_viewers"), str(k.port), "/v1/events", str(readers + stalled), str(stalled), str(seconds)],
                                 stdout=subprocess.PIPE, text=True)
            assert p.stdout.readline().strip() == f"ready {readers + stalled}"
            ask, began, asked = Many(k, clients, what.replace(" ", "").replace("/", "").replace(",", "")), time.monotonic(), 0
            before = cpu_seconds(k.gantryd.pid)
            while asked < burst or (clients == 1 and time.monotonic() < began + seconds - 4):
                n = burst if clients > 1 else 1
                ask(n)
                asked += n
                if clients == 1:
                    time.sleep(max(0, began + asked * 0.1 - time.monotonic()))
            took = time.monotonic() - began
            out, _ = p.communicate(timeout=60)
            used = cpu_seconds(k.gantryd.pid) - before
            d = json.loads(out)
            whole = d["least"] == d["most"] >= asked and not d["missing"]
            what = f"{readers:,} readers of events, {what}"
            row(f"{what}: arrived / due", f"{d['least'] / max(d['most'], 1):.3f}", f"{d['least']}..{d['most']}",
                f"{d['most']} events", f"{asked} PUT in {took:.1f} s", "= 1", whole)
            row(f"{what}: delay, median and p99", f"{d['p99_ms']:.1f} ms", f"max {d['max_ms']:.1f}",
                f"p50 {d['p50_ms']:.1f} ms", f"p99 {d['p99_ms']:.1f} ms", "", None)
            row(f"{what}: CPU for each event and reader", f"{used / d['most'] / readers * 1e6:.2f} us", "", f"{used:.2f} s",
                "", "", None)
            if stalled:
                row("readers that stopped reading: cut, with the reason", f"{d['cut']} of {stalled}", "", "", "", "all", d["cut"] == stalled)
    finally:
        k.stop()


def engine_call(c, method, path, body=None):
    c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    data = r.read()
    assert r.status < 300, (path, r.status, data)
    return json.loads(data) if data else None


def apply_to_running(k, d):
    """Ours: PUT, until GET says that it runs. By hand: what Docker has to be asked in any case. Who asks all the time takes part of
    the machine from the engine; so 5 ms between two questions."""
    g, e, n = http.client.HTTPConnection("127.0.0.1", k.port, timeout=30), UnixHTTPConnection(d.socket), [0]
    command = ["sleep", "86400"]

    def ours():
        n[0] += 1
        began = time.perf_counter()
        engine_call(g, "PUT", f"/v1/workloads/a{n[0]}", {"id": f"a{n[0]}", "type": "container", "container": {
            "image": "busybox:local", "command": command, "stop_timeout_s": 1}})
        while engine_call(g, "GET", f"/v1/workloads/a{n[0]}")["actual_state"] != "running":
            time.sleep(0.005)
        took = time.perf_counter() - began
        engine_call(g, "DELETE", f"/v1/workloads/a{n[0]}?force=true")
        while any(w["id"] == f"a{n[0]}" for w in engine_call(g, "GET", "/v1/workloads")["workloads"]):
            time.sleep(0.02)
        return took * 1000

    def by_hand():
        n[0] += 1
        began = time.perf_counter()
        engine_call(e, "GET", "/images/busybox:local/json")
        engine_call(e, "POST", f"/containers/create?name=h{n[0]}", {"Image": "busybox:local", "Cmd": command})
        engine_call(e, "POST", f"/containers/h{n[0]}/start")
        while not engine_call(e, "GET", f"/containers/h{n[0]}/json")["State"]["Running"]:
            time.sleep(0.005)
        took = time.perf_counter() - began
        engine_call(e, "DELETE", f"/containers/h{n[0]}?force=true")
        return took * 1000
    compare("a workload, PUT until it runs / the same Engine API calls by hand", ours, by_hand, "ms", False, 1.1, max(2 * ROUNDS, 10))
    g.close(), e.close()


def accepted(root):
    """One client, one PUT after the other: the time until it is accepted, beside one page and fdatasync on the same disk."""
    k = keeper_without_docker(root)
    script = root / "put.lua"
    script.write_text("""local n = 0
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = n + 1
  local id = "w-" .. (n % 5000)
  return wrk.format("PUT", "/v1/workloads/" .. id, nil,
                    '{"id":"' .. id .. '","type":"container","container":{"image":"ROUND-' .. n .. '"}}')
end
""")
    text, turn = script.read_text(), [0]

    def ours(connections):
        turn[0] += 1
        script.write_text(text.replace("ROUND", f"r{turn[0]}"))
        out = subprocess.run(["wrk", "-t", "1", "-c", str(connections), "-d", "1s", "--latency", "-s", str(script), k.url],
                             capture_output=True, text=True).stdout
        assert "Non-2xx" not in out, out
        if connections > 1:
            return 1e6 / float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
        n, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(n) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]

    def disk():
        f = os.open(root / "page", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        t = []
        for _ in range(100):
            began = time.perf_counter()
            os.write(f, b"p" * 4096)
            os.fdatasync(f)
            t.append(time.perf_counter() - began)
        os.close(f)
        return statistics.median(t) * 1e6
    try:
        for n, target in ((1, 1.5), (64, None)):
            compare(f"PUT of a workload until it is accepted, {n} client{'s' * (n > 1)} / 4 KiB and fdatasync", lambda: ours(n), disk, "us", False,
                    target, 2 * ROUNDS)
    finally:
        k.stop()


def written(pid):
    return int(re.search(r"^write_bytes: (\d+)", open(f"/proc/{pid}/io").read(), re.M).group(1))


def idle_minute(k):
    ids = [f"idle{i}" for i in range(10)]
    for i in ids:
        k.put(i, {"container": {"image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1}})
    for i in ids:
        k.reaches(i, "running")
    time.sleep(70)  # they run steadily, and the log has gone into the file
    pid, files = k.gantryd.pid, sorted((k.root / "state").rglob("*")) if (k.root / "state").is_dir() else []
    seen = {f: f.stat().st_mtime_ns for f in files}
    bytes_, cpu = written(pid), cpu_seconds(pid)
    time.sleep(60)
    bytes_, cpu = written(pid) - bytes_, (cpu_seconds(pid) - cpu) / 60
    changed = [f.name for f in files if f.stat().st_mtime_ns != seen[f]]
    row("10 workloads, an idle minute: bytes written to the disk", f"{bytes_} B", ", ".join(changed), "", f"{len(files)} files", "= 0",
        bytes_ == 0 and not changed)
    row("10 workloads, an idle minute: CPU of gantryd", f"{cpu:.3%}", "", f"{cpu * 60000:.0f} ms", "", "<= 0.1 %", cpu <= 0.001)
    pss = pss_kb(pid)
    row("10 workloads: PSS of gantryd", f"{pss / 1024:.1f} MiB", "", f"{pss} kB", "", "<= 8 MB", pss <= 8 * 1024)
    k.remove(*ids)


def part_workloads(_, root):
    import dockerd
    from test_workloads import Keeper
    place = ROOT / "build-bench" / "workloads"  # a disk, where /tmp may be memory
    shutil.rmtree(place, ignore_errors=True)
    try:
        (place / "a").mkdir(parents=True)
        accepted(place / "a")
        with dockerd.Dockerd() as d:
            (place / "k").mkdir()
            k = Keeper(place / "k", d)
            k.workloads["interval"] = "30s"
            k.begin()
            try:
                apply_to_running(k, d)
                idle_minute(k)
            finally:
                k.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def at_rest(k, what, seconds=65):
    """What gantryd costs while nobody asks it anything; two of its looks at its own memory come in this time."""
    pid = k.gantryd.pid
    cpu = cpu_seconds(pid)
    time.sleep(seconds)
    cpu = (cpu_seconds(pid) - cpu) / seconds
    pss, every = pss_kb(pid), k.workloads["interval"]
    row(f"{what}: CPU of gantryd at rest, a look at all each {every}", f"{cpu:.3%}", "", f"{cpu * 1000:.1f} ms/s", "", "", None)
    row(f"{what}: PSS of gantryd", f"{pss / 1024:.1f} MiB", "", f"{pss} kB", "", "<= 8 MB", pss <= 8 * 1024)


def defined_and_started(k, h):
    """Ours: PUT, until GET says that it runs. By hand: what virsh does with the same description, until it says so."""
    g, n = http.client.HTTPConnection("127.0.0.1", k.port, timeout=60), [0]
    disk = h.disk("bench.raw", "bench")
    doc = {"vcpus": 1, "memory_mb": 64, "stop_timeout_s": 1, "disks": [{"path": disk, "format": "raw", "boot": True}]}
    xml = [None]

    def ours():
        n[0] += 1
        id = f"g{n[0]}"
        began = time.perf_counter()
        engine_call(g, "PUT", f"/v1/workloads/{id}", {"id": id, "type": "vm", "vm": doc})
        while engine_call(g, "GET", f"/v1/workloads/{id}")["actual_state"] != "running":
            time.sleep(0.002)
        took = time.perf_counter() - began
        xml[0] = re.sub(r"<uuid>.*?</uuid>", "", h.virsh("dumpxml", "--inactive", id).replace(id, "NAME"))
        engine_call(g, "DELETE", f"/v1/workloads/{id}?force=true")
        while any(w["id"] == id for w in engine_call(g, "GET", "/v1/workloads")["workloads"]):
            time.sleep(0.02)
        return took * 1000

    def by_hand():
        n[0] += 1
        f = h.root / "bench.xml"
        began = time.perf_counter()
        f.write_text(xml[0].replace("NAME", f"h{n[0]}"))
        h.virsh("define", f)
        h.virsh("start", f"h{n[0]}")
        while h.virsh("domstate", f"h{n[0]}").strip() != "running":
            time.sleep(0.002)
        took = time.perf_counter() - began
        h.virsh("destroy", f"h{n[0]}")
        h.virsh("undefine", f"h{n[0]}")
        return took * 1000
    compare("a virtual machine, PUT until it runs / virsh define, start, domstate", ours, by_hand, "ms", False, 1.1, max(2 * ROUNDS, 10))
    g.close()


def hundred_machines(k, h):
    """100 defined ones: what it takes until all are told again after libvirtd has come back, and one look at all of them."""
    g = http.client.HTTPConnection("127.0.0.1", k.port, timeout=60)
    ids = [f"m{i}" for i in range(100)]
    disk = h.disk("many.raw", "many")
    for id in ids:
        engine_call(g, "PUT", f"/v1/workloads/{id}", {"id": id, "type": "vm", "desired_state": "stopped", "vm": {
            "vcpus": 1, "memory_mb": 64, "disks": [{"path": disk, "format": "raw"}]}})
    wait_for("100 machines", lambda: sum(w["actual_state"] == "stopped" for w in engine_call(g, "GET", "/v1/workloads")["workloads"]) == 100, 120)

    def ours():
        began = time.perf_counter()
        assert len(engine_call(g, "GET", "/v1/workloads")["workloads"]) == 100
        return (time.perf_counter() - began) * 1000

    def by_hand():
        began = time.perf_counter()
        assert h.virsh("domstats", "--state").count("state.state") == 100
        return (time.perf_counter() - began) * 1000
    compare("status of 100 virtual machines / virsh domstats --state", ours, by_hand, "ms", False, 1.0)
    at_rest(k, "100 virtual machines, with libvirt's library")
    k.remove(*ids)
    g.close()


def part_vms(_, root):
    import libvirtd
    from test_vm import VmKeeper
    with libvirtd.Libvirtd() as h:
        k = VmKeeper(root, h)
        k.begin()
        try:
            defined_and_started(k, h)
            hundred_machines(k, h)
        finally:
            k.stop()

def compose_file(name):
    return f"version: '3'\nservices:\n  {name}:\n    image: busybox:local\n    command: [sleep, '86400']\n    network_mode: none\n    stop_grace_period: 1s\n"


def project_boxes(e, name):
    """The engine's own list of a project's containers."""
    query = urllib.parse.quote(json.dumps({"label": [f"com.docker.compose.project={name}"]}))
    return engine_call(e, "GET", f"/containers/json?all=1&filters={query}")


def brought_up(k, d):
    """Ours: PUT, until GET says that it runs. By hand: the bare tool on the same file, until the engine says that its containers run.
    Who asks all the time takes part of the machine from the tool; so 10 ms between two questions."""
    g, e, n = http.client.HTTPConnection("127.0.0.1", k.port, timeout=60), UnixHTTPConnection(d.socket), [0]
    text, place = compose_file("web") + compose_file("db").split("services:\n")[1], k.root / "hand"
    place.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "DOCKER_HOST": f"unix://{d.socket}"}

    def ours():
        n[0] += 1
        id = f"g{n[0]}"
        began = time.perf_counter()
        engine_call(g, "PUT", f"/v1/workloads/{id}", {"id": id, "type": "compose", "compose": {"compose_yaml": text, "stop_timeout_s": 1}})
        while engine_call(g, "GET", f"/v1/workloads/{id}")["actual_state"] != "running":
            time.sleep(0.01)
        took = time.perf_counter() - began
        engine_call(g, "DELETE", f"/v1/workloads/{id}?force=true")
        wait_for(f"{id} gone", lambda: all(w["id"] != id for w in engine_call(g, "GET", "/v1/workloads")["workloads"]), 60)
        return took * 1000

    def by_hand():
        n[0] += 1
        name = f"h{n[0]}"
        began = time.perf_counter()
        (place / "docker-compose.yml").write_text(text)
        subprocess.run(["docker-compose", "-p", name, "up", "-d"], cwd=place, env=env, check=True, capture_output=True, timeout=60)
        while [b["State"] for b in project_boxes(e, name)] != ["running"] * 2:
            time.sleep(0.002)
        took = time.perf_counter() - began
        for b in project_boxes(e, name):
            engine_call(e, "DELETE", f"/containers/{b['Id']}?force=true")
        return took * 1000
    compare("a Compose project of two services, PUT until it runs / docker-compose up -d", ours, by_hand, "ms", False, 1.1, max(2 * ROUNDS, 10))
    g.close(), e.close()


def hundred_apps(k, d):
    """100 projects as the bare tool leaves them, a folder and a container each, taken over without calling it a hundred times; one look at
    all of them beside the engine's list of what carries Compose's label: the cheapest way to ask for all of them by hand."""
    ids = [f"app{i}" for i in range(100)]

    def make(some):
        e = UnixHTTPConnection(d.socket)
        for id in some:
            folder = k.root / "compose" / id
            folder.mkdir(parents=True)
            (folder / "docker-compose.yml").write_text(compose_file("web"))
            labels = {"project": id, "service": "web", "container-number": "1", "oneoff": "False", "version": "1.29.2",
                      "project.working_dir": str(folder), "project.config_files": "docker-compose.yml", "config-hash": "0" * 64}
            engine_call(e, "POST", f"/containers/create?name={id}_web_1", {
                "Image": "busybox:local", "Cmd": ["sleep", "86400"], "HostConfig": {"NetworkMode": "none"},
                "Labels": {f"com.docker.compose.{name}": value for name, value in labels.items()}})
            engine_call(e, "POST", f"/containers/{id}_web_1/start")
        e.close()
    makers = [threading.Thread(target=make, args=(ids[i::4],)) for i in range(4)]
    for t in makers:
        t.start()
    for t in makers:
        t.join()
    g, e = http.client.HTTPConnection("127.0.0.1", k.port, timeout=60), UnixHTTPConnection(d.socket)
    for id in ids:
        engine_call(g, "PUT", f"/v1/workloads/{id}", {"id": id, "type": "compose", "compose": {"compose_yaml": compose_file("web")}})
    wait_for("100 projects", lambda: sum(w["actual_state"] == "running" for w in engine_call(g, "GET", "/v1/workloads")["workloads"]) == 100, 60)

    def ours():
        began = time.perf_counter()
        assert len(engine_call(g, "GET", "/v1/workloads")["workloads"]) == 100
        return (time.perf_counter() - began) * 1e6

    def by_hand():
        query = urllib.parse.quote(json.dumps({"label": ["com.docker.compose.project"]}))
        began = time.perf_counter()
        assert len(engine_call(e, "GET", f"/containers/json?all=1&filters={query}")) == 100
        return (time.perf_counter() - began) * 1e6
    compare("status of 100 Compose projects / the engine's raw list by label", ours, by_hand, "us", False, 1.0, max(2 * ROUNDS, 10))
    at_rest(k, "100 Compose projects")
    g.close(), e.close()


def part_compose(_, root):
    import dockerd
    from test_compose import Composer
    with dockerd.Dockerd() as d:
        k = Composer(root, d)
        k.workloads["interval"] = "30s"
        k.begin()
        try:
            brought_up(k, d)
            hundred_apps(k, d)
        finally:
            k.stop()  # what runs is ended with its engine


PARTS = {"static": part_static, "proxy": part_proxy, "secure": part_secure, "status": part_status, "docker": part_docker, "viewers": part_viewers,
         "idle": part_idle, "start": part_start, "profiles": part_profiles, "store": part_store, "grpc": part_grpc,
         "engine": part_engine, "events": part_events, "workloads": part_workloads,
         "compose": part_compose, "vms": part_vms}


HEAD = "| what | ratio or value | spread | ours | reference | target | |\n|---|---|---|---|---|---|---|\n"


def kept_tables(text):
    """What the page has by part: the tables of parts that were not measured now stay as they are."""
    found = re.split(r"^### (\w+)\n", text, flags=re.M)
    return dict(zip(found[1::2], (t.strip() + "\n" for t in found[2::2])))


def save():
    f = ROOT / "docs" / "benchmarks.md"
    head, _, old = f.read_text().partition("<!-- table -->")
    tables = kept_tables(old)
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    for part, (lines, took) in measured.items():
        tables[part] = f"{datetime.date.today()}, {os.cpu_count()} cores, {cpu.group(1).strip() if cpu else platform.machine()}, " \
                       f"{ROUNDS} rounds, {took:.0f} s in all.\n\n" + HEAD
        for what, ratio, spread, ours, theirs, target, ok in lines:
            tables[part] += f"| {what} | {ratio} | {spread} | {ours} | {theirs} | {target} | {({True: 'met', False: 'not met', None: ''})[ok]} |\n"
    order = [p for p in PARTS if p in tables] + [p for p in tables if p not in PARTS]
    f.write_text(head + "<!-- table -->\n\n" + "\n".join(f"### {p}\n\n{tables[p]}" for p in order))


def main():
    import tempfile
    args = sys.argv[1:]
    saving, failed = "--save" in args, []
    chosen = list(dict.fromkeys(a for a in args if a != "--save")) or list(PARTS)
    for a in chosen:
        if a not in PARTS:
            sys.exit(f'no such part: "{a}"; there are: {" ".join(PARTS)}')
    with tempfile.TemporaryDirectory(prefix="gantry-bench-") as tmp:
        st = harness.Stack(pathlib.Path(tmp))
        st.extra_config = "  limits:\n    max_connections: 12000\n    idle: 600s\n"
        try:
            st.start()
            # Services that make processes all the time would be measured too.
            for name in ("crasher", "stubborn", "ticker"):
                subprocess.run(["s6-svc", "-dk", str(st.tree.scandir / name)], check=True)
            for name in chosen:
                (pathlib.Path(tmp) / name).mkdir()
                began, before = time.monotonic(), len(rows)
                try:
                    PARTS[name](st, pathlib.Path(tmp) / name)
                except Exception:  # the others are measured all the same
                    traceback.print_exc()
                    failed.append(name)
                else:
                    measured[name] = (rows[before:], time.monotonic() - began)
                print(f"part {name}: {time.monotonic() - began:.0f} s", flush=True)
        finally:
            st.stop()
    if saving:
        save()
    if failed:
        sys.exit(f"parts that failed, and are not saved: {' '.join(failed)}")


if __name__ == "__main__":
    main()

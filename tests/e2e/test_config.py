"""Configuration: layers, generated pages, reload, sd_notify, with a real gantryd."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest
from harness import Stack, ask, free_port, patient, program, wait_for, websocket

ROOT = pathlib.Path(__file__).resolve().parents[2]


def gantryd(*args, env=None, cwd=None):
    return subprocess.run([program("gantryd"), *args], capture_output=True, text=True, timeout=patient(20), cwd=cwd,
                          env=dict({k: v for k, v in os.environ.items() if not k.startswith("GANTRY_")}, **(env or {})))


@pytest.mark.parametrize("what,path", [("default", "packaging/gantryd.yml"), ("reference", "docs/configuration.md"),
                                       ("man", "docs/man/gantryd.yml.5"), ("workload", "docs/workload.md")])
def test_generated_pages_are_not_stale(what, path):
    r = gantryd("--print-config", what)
    assert r.returncode == 0 and r.stderr == ""
    assert r.stdout == (ROOT / path).read_text(), f"{path} is stale: run make docs-config"


def test_check_reads_folder_and_environment(tmp_path):
    f = tmp_path / "c.yml"
    d = tmp_path / "conf.d"
    d.mkdir()
    f.write_text("http:\n  limits: {max_head: 1}\n")
    (d / "a.yml").write_text("nonsense: 1\n")
    for flag in ("--check-config", "-t"):
        r = gantryd("--config", str(f), flag, env={"GANTRY_HTTP_LIMITS_IDLE": "soon", "GANTRY_LOGLEVEL": "debug"})
        assert r.returncode == 1
        for part in (f"{f}:2:22: ", f"{d}/a.yml:1:1: ", 'GANTRY_HTTP_LIMITS_IDLE: "soon"',
                     "GANTRY_LOGLEVEL: warning: ", "did you mean GANTRY_LOG_LEVEL?"):
            assert part in r.stderr, r.stderr
    f.write_text("")
    (d / "a.yml").write_text("log: {level: debug}\n")
    r = gantryd("--config", str(f), "-t", env={"GANTRY_HOST": "unix:/x", "GANTRY_TOKEN": "t"})
    assert (r.returncode, r.stderr) == (0, "")
    r = gantryd("--config", str(f), env={"GANTRY_LOG_FORMAT": "none"})
    assert r.returncode == 3 and "GANTRY_LOG_FORMAT" in r.stderr


def test_root_checks_what_another_users_daemon_keeps(tmp_path):
    f, tokens = tmp_path / "c.yml", tmp_path / "tokens.json"
    f.write_text(f"state: {{path: {tmp_path}/state/state.db}}\nauth: {{tokens: {tokens}}}\nhttp: {{listeners: [{{address: '127.0.0.1:0'}}]}}\naudit: {{file: none}}\n")
    tokens.write_text("{}")
    tokens.chmod(0o600)
    damaged = gantryd("--config", str(f), "-t").stderr
    os.chown(tokens, 10000, 10000)
    assert gantryd("--config", str(f), "-t").stderr == damaged  # not about its owner
    r = gantryd("--config", str(f))
    assert r.returncode == 1 and "belongs to user 10000" in r.stderr


def test_what_no_second_try_mends_ends_with_3(tmp_path):
    f = tmp_path / "c.yml"
    f.write_text(f"state: {{path: {tmp_path}/state/state.db}}\nauth: {{tokens: {tmp_path}/none.json}}\naudit: {{file: none}}\n"
                 "http: {listeners: [{address: '0.0.0.0:0'}]}\n")
    r = gantryd("--config", str(f))
    assert r.returncode == 3 and "gantry token create" in r.stderr


def test_effective_names_the_sources(tmp_path):
    f = tmp_path / "c.yml"
    (tmp_path / "conf.d").mkdir()
    f.write_text("http:\n  limits:\n    max_head: 32k\n    idle: 5s\n")
    (tmp_path / "conf.d" / "10.yml").write_text("http: {limits: {idle: 6s}}\n")
    r = gantryd("--config", str(f), "--log-level", "debug", "--print-config", "effective",
                env={"GANTRY_CONTAINERS": "{a: {socket_path: /x}}"})
    lines = r.stdout.splitlines()
    assert f"http.limits.max_head: 32k  # {f}:3" in lines
    assert f"http.limits.idle: 6s  # {tmp_path}/conf.d/10.yml:1" in lines
    assert 'containers.a.socket_path: "/x"  # GANTRY_CONTAINERS' in lines
    assert "log.level: debug  # --log-level" in lines
    assert "log.format: auto  # default" in lines


def test_print_config_wants_a_known_word():
    assert gantryd("--print-config", "all").returncode == 2


@pytest.fixture
def st(tmp_path):
    s = Stack(tmp_path)
    s.env = {k: v for k, v in s.env.items() if not k.startswith("GANTRY_")}
    yield s.start()
    s.stop()
    s.check_clean()


def rewrite(s, **replace):
    text = s.config()
    for old, new in replace.get("pairs", []):
        assert old in text
        text = text.replace(old, new)
    (s.root / "config.yml").write_text(text + replace.get("more", ""))


def reload(s):
    r = s.ask("POST", "/config/reload")
    return r.status, r.json()


def log_lines(s, ident):
    return [line for line in s.gantryd.text().splitlines() if f'"{ident}"' in line or f"id={ident}" in line]


def test_config_shows_values_with_sources(st):
    c = st.get("/config").json()
    values = {v["key"]: v for v in c["values"]}
    assert c["files"] == [str(st.root / "config.yml")]
    assert values["containers.robot.socket_path"]["value"] == st.agent_sock
    assert values["containers.robot.socket_path"]["source"].startswith(f"{st.root}/config.yml:")
    assert values["http.limits.idle"] == {"key": "http.limits.idle", "value": "75s", "source": "default", "reload": True}
    assert values["http.docs_root"]["value"] is None and values["http.docs_root"]["reload"] is False


def test_diff_then_reload(st):
    assert st.get("/config/diff").json() == {"applied": [], "restart": [], "faults": []}
    rewrite(st, pairs=[("  missing:", "  second:")])
    more = st.root / "conf.d" / "10-more.yml"
    more.parent.mkdir()
    more.write_text("log: {level: debug}\naudit: {keep: 7}\nshutdown: {limit: 3s}\n")
    d = st.get("/config/diff").json()
    changed = {c["key"]: (c["old"], c["new"]) for c in d["applied"]}
    assert changed["log.level"] == ("info", "debug") and changed["shutdown.limit"] == ("10s", "3s")
    assert changed["containers.missing.socket_path"][1] is None and changed["containers.second.socket_path"][0] is None
    assert d["restart"] == [{"key": "audit.keep", "old": "5", "new": "7"}]
    status, report = reload(st)
    assert status == 200 and report == d
    assert [c["name"] for c in st.get("/containers").json()["containers"]] == ["robot", "second"]
    assert st.get("/containers/missing/services").status == 404
    assert st.get("/containers/second/services").status == 503
    left = st.get("/config/diff").json()
    assert left["applied"] == [] and [c["key"] for c in left["restart"]] == ["audit.keep"]
    values = {v["key"]: v for v in st.get("/config").json()["values"]}
    assert values["audit.keep"]["value"] == "5" and values["audit.keep"]["source"] == "default"
    assert values["log.level"]["value"] == "debug" and values["log.level"]["source"] == f"{more}:1"
    assert log_lines(st, "config-changed") and log_lines(st, "config-needs-restart")


def test_refused_reload_changes_nothing(st):
    rewrite(st, pairs=[("  missing:", "  second:")], more="nonsense: 1\nshutdown: {limit: soon}\n")
    status, body = reload(st)
    assert status == 400 and "nonsense" in body["error"]
    body = body["detail"]
    assert body["applied"] == [] and body["restart"] == []
    assert len(body["faults"]) == 2 and all(f["line"] > 0 and f["file"] == str(st.root / "config.yml")
                                            for f in body["faults"])
    assert [c["name"] for c in st.get("/containers").json()["containers"]] == ["robot", "missing"]
    os.kill(st.gantryd.pid, signal.SIGHUP)
    wait_for("the refusal in the log", lambda: len(log_lines(st, "config-reload-refused")) >= 2)
    # An address that somebody else has: everything else stays as it was, too.
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        st.listeners = [f'address: "127.0.0.1:{s.getsockname()[1]}"']
        rewrite(st, more="log: {level: debug}\n")
        status, body = reload(st)
    assert status == 409 and "cannot listen on" in body["error"] and body["detail"]["applied"] == []
    assert {v["key"]: v["value"] for v in st.get("/config").json()["values"]}["log.level"] == "info"
    assert st.get("/containers/robot/services").status == 200


def test_listeners_come_and_go(st):
    ports = [free_port(), free_port()]
    extra = str(st.sockets / "extra.sock")
    st.listeners = [f'address: "127.0.0.1:{ports[0]}"', f'{{address: "unix:{extra}", mode: "0600"}}']
    rewrite(st)
    kept = http.client.HTTPConnection("127.0.0.1", st.port, timeout=patient(20))
    kept.request("GET", "/")
    kept.getresponse().read()
    assert reload(st)[0] == 200
    assert os.stat(extra).st_mode & 0o777 == 0o600
    assert ask(http.client.HTTPConnection("127.0.0.1", ports[0], timeout=patient(20)), "GET", "/").status == 200
    idle = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=patient(20))
    idle.request("GET", "/")
    idle.getresponse().read()
    st.listeners = [f'address: "127.0.0.1:{ports[1]}"', f'{{address: "unix:{extra}", mode: "0640"}}']
    rewrite(st)
    # The reload is asked for through the listener that it takes away.
    r = ask(http.client.HTTPConnection("127.0.0.1", ports[0], timeout=patient(20)), "POST", "/config/reload")
    assert r.status == 200
    assert os.stat(extra).st_mode & 0o777 == 0o640
    with pytest.raises(OSError):
        ask(http.client.HTTPConnection("127.0.0.1", ports[0], timeout=patient(5)), "GET", "/")
    with pytest.raises((OSError, http.client.HTTPException)):
        idle.sock.settimeout(patient(5))
        idle.auto_open = 0
        idle.request("GET", "/")
        idle.getresponse()
    assert ask(http.client.HTTPConnection("127.0.0.1", ports[1], timeout=patient(20)), "GET", "/").status == 200
    kept.request("GET", "/")  # the same connection, before and after
    assert kept.getresponse().read() and kept.sock is not None
    kept.close()
    st.listeners = []
    rewrite(st)
    assert reload(st)[0] == 200 and not os.path.exists(extra)


def test_limits_and_origins_change(st):
    rewrite(st, pairs=[("http:\n", "http:\n  limits: {max_body: 100}\n  hosts: [robot.local]\n")],
            more="cors: {allow_origins: [\"https://a.example\"]}\n")
    host = {"Host": "robot.local"}
    path, big = "/containers/robot/services/idle/run", {"content": "x" * 200}
    assert st.get("/", headers=host).status == 421
    assert reload(st)[0] == 200
    assert st.get("/", headers=host).status == 200
    assert st.ask("PUT", path, big).status == 413
    r = st.get("/", headers={"Origin": "https://a.example"})
    assert r.headers["access-control-allow-origin"] == "https://a.example"
    (st.root / "config.yml").write_text(st.config())
    os.kill(st.gantryd.pid, signal.SIGHUP)
    wait_for("the old hosts", lambda: st.get("/", headers=host).status == 421)
    assert "access-control-allow-origin" not in st.get("/", headers={"Origin": "https://a.example"}).headers


def test_viewers_of_removed_and_moved_containers_are_told(st):
    import asyncio
    import websockets

    async def logs(ws):
        return json.loads(await asyncio.wait_for(ws.recv(), patient(20)))

    async def run():
        url = f"ws://127.0.0.1:{st.port}/ws/containers/robot/services/ticker/logs"
        async with websocket(url) as ws:
            assert (await logs(ws))["type"] == "logs"
            sse = http.client.HTTPConnection("127.0.0.1", st.port, timeout=patient(20))
            sse.request("GET", "/containers/robot/services/ticker/logs?follow=true")
            stream = sse.getresponse()
            assert stream.readline()
            rewrite(st, pairs=[("  robot:", "  other:")])
            assert (await asyncio.to_thread(reload, st))[0] == 200
            last = None
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    last = await logs(ws)
            assert last == {"type": "error", "data": "Container 'robot' was removed from the configuration"}
            assert closed.value.rcvd.code == 1001 and "robot" in closed.value.rcvd.reason
            rest = (await asyncio.to_thread(stream.read)).decode()
            assert "event: error" in rest and "was removed" in rest
            sse.close()
        async with websocket(url.replace("/robot/", "/other/")) as ws:
            assert (await logs(ws))["type"] == "logs"
            rewrite(st, pairs=[("  robot:", "  other:"), (st.agent_sock, st.agent_sock + ".moved")])
            assert (await asyncio.to_thread(reload, st))[0] == 200
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    last = await logs(ws)
            assert last["data"] == "Container 'other' has another agent socket now"

    asyncio.run(run())


def test_many_reloads_while_others_work(st):
    """Containers and listeners come and go 200 times; what is not touched does not notice."""
    stop, faults, answers = threading.Event(), [], [0]
    extra = free_port()

    def ask_on(path, wanted):
        c = http.client.HTTPConnection("127.0.0.1", st.port, timeout=patient(30))
        c.connect()
        c.auto_open = 0  # a lost connection is a fault
        try:
            while not stop.is_set():
                c.request("GET", path)
                r = c.getresponse()
                r.read()
                answers[0] += 1
                if r.status not in wanted:
                    faults.append((path, r.status))
        except (OSError, http.client.HTTPException) as e:
            faults.append((path, repr(e)))
        finally:
            c.close()

    def follow():
        c = http.client.HTTPConnection("127.0.0.1", st.port, timeout=patient(30))
        c.request("GET", "/containers/robot/services/ticker/logs?follow=true")
        r = c.getresponse()
        try:
            while not stop.is_set():
                line = r.readline()
                if not line or b"error" in line:
                    faults.append(("follow", line))
                    break
        finally:
            c.close()

    def flap():  # views of the container that comes and goes
        while not stop.is_set():
            c = http.client.HTTPConnection("127.0.0.1", st.port, timeout=patient(30))
            try:
                c.request("GET", "/containers/twin/services/ticker/logs?follow=true")
                r = c.getresponse()
                if r.status == 200:
                    r.read()
            except http.client.HTTPException as e:
                faults.append(("flap", repr(e)))
            finally:
                c.close()

    threads = [threading.Thread(target=ask_on, args=("/containers/robot/services/ticker/status", {200})),
               threading.Thread(target=ask_on, args=("/containers/twin/services/ticker/status", {200, 404, 503})),
               threading.Thread(target=ask_on, args=("/containers", {200})),
               threading.Thread(target=follow), threading.Thread(target=flap)]
    for t in threads:
        t.start()
    try:
        admin = http.client.HTTPConnection("127.0.0.1", st.port, timeout=patient(30))
        for i in range(200):
            twin = f'  twin:\n    socket_path: "{st.agent_sock}{"" if i % 4 else ".away"}"\n' if i % 3 else ""
            st.listeners = [f'address: "127.0.0.1:{extra}"'] if i % 2 else []
            rewrite(st, pairs=[("  missing:", twin + "  missing:")], more=f"shutdown: {{limit: {5 + i % 2}s}}\n")
            admin.request("POST", "/config/reload")
            r = admin.getresponse()
            body = r.read()
            assert r.status == 200, body
        admin.close()
    finally:
        stop.set()
        rewrite(st)  # without the twin: its last view ends
        reload(st)
        for t in threads:
            t.join(patient(40))
    assert not faults, faults[:5]
    assert answers[0] > 100 and not any(t.is_alive() for t in threads)


def test_service_manager_is_told(tmp_path):
    st = Stack(tmp_path)
    st.env = {k: v for k, v in st.env.items() if not k.startswith("GANTRY_")}
    st.sockets.mkdir(mode=0o700)
    path = str(st.sockets / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(patient(20))
        try:
            # Not more often: such a socket holds a few messages only, and nobody may read it for a while.
            st.start_gantryd(env=dict(st.env, NOTIFY_SOCKET=path, WATCHDOG_USEC="2000000"), wait=False)

            def next_state():
                while True:
                    text = s.recv(4096).decode()
                    if text != "WATCHDOG=1":
                        return text

            assert next_state() == "READY=1\nSTATUS=Serving 2 containers"
            assert st.get("/").status == 200
            assert s.recv(4096) == b"WATCHDOG=1" and s.recv(4096) == b"WATCHDOG=1"
            os.kill(st.gantryd.pid, signal.SIGHUP)
            assert next_state().startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert next_state().startswith("READY=1")
            st.gantryd.p.send_signal(signal.SIGTERM)
            assert next_state().startswith("STOPPING=1")
        finally:
            st.stop()
    st.check_clean()


def test_cli_config(st, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GANTRY_")}

    def cli(*args, **more):
        return subprocess.run([program("gantry"), *args], capture_output=True, text=True, timeout=patient(30),
                              env=dict(env, NO_COLOR="1", HOME=str(tmp_path), GANTRY_HOST=f"unix:{st.unix}", **more))

    r = cli("config", "show")
    assert r.returncode == 0 and any(line.split() == ["http.limits.idle", "75s", "default"] for line in r.stdout.splitlines())
    assert cli("config", "diff").stdout == "nothing differs\n"
    (st.root / "conf.d").mkdir()
    more = st.root / "conf.d" / "x.yml"
    more.write_text("shutdown: {limit: 3s}\naudit: {keep: 7}\n")
    r = cli("config", "diff")
    assert r.returncode == 0 and "shutdown.limit  10s  3s   with a reload" in r.stdout and "needs a restart" in r.stdout, r
    r = cli("config", "reload")
    assert r.returncode == 0 and "in force" in r.stdout, r
    more.write_text("shutdown: {limit: soon}\nnonsense: 1\n")
    r = cli("config", "reload")
    assert r.returncode == 1 and r.stdout == ""
    assert f"{more}:1:19: " in r.stderr and f"{more}:2:1: " in r.stderr, r.stderr
    r = cli("config", "diff")
    assert r.returncode == 1 and f"{more}:2:1: " in r.stderr
    r = cli("config", "check", str(st.root / "config.yml"))
    assert r.returncode == 1 and f"{more}:2:1: " in r.stderr
    more.write_text("")
    assert cli("config", "check", str(st.root / "config.yml")).returncode == 0
    r = cli("config", "check", str(st.root / "config.yml"), GANTRY_LOG_LEVEL="none")
    assert r.returncode == 1 and "GANTRY_LOG_LEVEL: " in r.stderr

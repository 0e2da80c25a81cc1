"""Profiles and their gateways through the agent, gantryd and the command line, with a real s6-svscan."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import socket
import signal
import subprocess
import tempfile
import time

import pytest

import harness
from harness import Process, patient, program, wait_for
from test_auth import Auth
from test_profiles import UID, ignores, reads, service_user  # noqa: F401 (a fixture)

GATEWAY = '#!/bin/sh\necho "gateway of $PROFILE_DIR${EXTRA:+ extra $EXTRA}"\nexec sleep 1000\n'
STUBBORN = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n"
P = "/containers/robot/profiles"
MEMBERS = ["name", "present", "registered", "state", "reason", "pid", "uptime_seconds", "desired_state", "gateway_state",
           "port", "log_path", "env_names"]


class Profiles(Auth):
    """A stack whose agent serves the profiles of a home."""

    def __init__(self, root):
        super().__init__(root)
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="gantry-profiles-", dir="/tmp"))
        self.place.chmod(0o755)  # the gateways' user has to get there
        self.home = self.place / "home"
        (self.home / "profiles").mkdir(parents=True)
        for d in (self.home, self.home / "profiles"):
            os.chown(d, UID, UID)
        self.conf = self.root / "profiles.conf"
        self.conf.write_text(f"home = {self.home}\nscandir = {self.tree.scandir}\nuser = gantrytest\n"
                             f"uid = {UID}\ngid = {UID}\ntimeout_kill = 1s\n")

    def start_agent(self, env=None, args=(), **kw):
        super().start_agent(env, ("--profile-config", str(self.conf), *args), **kw)

    def make(self, name, gateway=GATEWAY, **more):
        r = self.ask("POST", P, {"name": name, **more})
        assert r.status == 201, r
        f = self.home / "profiles" / name / "gateway"
        f.write_text(gateway)
        f.chmod(0o755)
        return r.json()

    def act(self, name, action, wait=None):
        return self.ask("POST", f"{P}/{name}/gateway", {"action": action, "wait": wait})

    def state(self, name):
        return self.get(f"{P}/{name}/gateway").json()

    def remove(self, *names):
        for name in names:
            assert self.ask("DELETE", f"{P}/{name}").status in (200, 404)


@pytest.fixture(scope="module")
def st(tmp_path_factory, service_user):
    s = Profiles(tmp_path_factory.mktemp("profiles"))
    try:
        yield s.start()
    finally:
        for d in (s.home / "profiles").iterdir():
            s.ask("DELETE", f"{P}/{d.name}")
        s.stop()
        shutil.rmtree(s.place)
    s.check_clean()


def test_life_of_a_profile(st):
    made = st.make("coder")
    assert list(made) == ["container", *MEMBERS, "warning"]
    assert made["container"] == "robot" and made["warning"] is None and made["registered"] and made["state"] == "down"
    assert made["port"] == 9570 and made["log_path"] == f"{st.home}/logs/gateways/coder/current"
    assert (st.home / "profiles/coder/profile.yaml").exists()
    r = st.act("coder", "start", 50)
    assert r.json() == {"container": "robot", "name": "coder", "action": "start", "result": "ok", "registered": False,
                        "warning": None}
    s = st.state("coder")
    assert list(s) == ["container", *MEMBERS]
    assert s["state"] == "up" and s["desired_state"] == "running" and s["reason"] is None and s["uptime_seconds"] >= 0
    os.kill(s["pid"], 0)
    assert st.act("coder", "restart", 50).status == 200
    assert st.state("coder")["pid"] not in (None, s["pid"])
    assert st.act("coder", "stop", 50).status == 200
    assert not (st.home / "profiles/coder/.gateway-planned-stop.json").exists()
    s = st.state("coder")
    assert (s["state"], s["reason"], s["pid"], s["uptime_seconds"], s["desired_state"]) == \
        ("down", "not_wanted", None, None, "stopped")
    x = st.get("/v1/explain/service/robot/gateway-coder").json()
    assert x["should_be"] == 'not running; the desired state of profile "coder" is stopped', x
    assert x["asked_by"] == 'whoever stopped profile "coder" last'
    listed = st.get(P).json()
    assert listed["layout"] == "plain" and [p["name"] for p in listed["profiles"]] == ["coder"]
    assert list(listed["profiles"][0]) == MEMBERS
    r = st.ask("DELETE", f"{P}/coder")
    assert (r.status, r.json()) == (200, {"container": "robot", "name": "coder", "message": "Profile deleted", "warning": None})
    assert not (st.home / "profiles/coder").exists() and not (st.tree.scandir / "gateway-coder").exists()
    assert st.get(P).json()["profiles"] == []


def test_variables_last(st):
    """By the API and by the command line; the values come back nowhere."""
    made = st.make("vars", env={"EXTRA": "it's", "API_KEY": "s3cret"})
    assert made["warning"] is None and made["env_names"] == ["EXTRA", "API_KEY"]
    f = st.home / "profiles/vars/gateway.env"
    assert f.read_text() == "EXTRA=it's\nAPI_KEY=s3cret\n" and f.stat().st_mode & 0o777 == 0o600
    st.env["FROM_HERE"] = "s3cret"
    r = st.cli("profiles", "create", "robot", "bycli", "--env", "EXTRA=a=b", "--env=EMPTY=", "--env", "FROM_HERE")
    del st.env["FROM_HERE"]
    assert (r.returncode, r.stdout) == (0, "bycli: created\n"), r
    assert (st.home / "profiles/bycli/gateway.env").read_text() == "EXTRA=a=b\nEMPTY=\nFROM_HERE=s3cret\n"
    assert "EXTRA,EMPTY,FROM_HERE" in st.cli("profiles", "show", "robot", "bycli", "-o", "wide").stdout
    for bad, words in (("NOT_SET_ANYWHERE", "is neither NAME=VALUE nor a variable that is set here"), ("=x", "is neither")):
        r = st.cli("profiles", "create", "robot", "none", "--env", bad)
        assert r.returncode == 2 and words in r.stderr, r
    r = st.cli("profiles", "create", "robot", "none", "--env", "B-AD=1")
    assert r.returncode != 0 and "B-AD" in r.stderr and not (st.home / "profiles/none").exists()
    (st.home / "profiles/vars/gateway").write_text(GATEWAY)
    (st.home / "profiles/vars/gateway").chmod(0o755)
    # The slot goes, as with a container that starts again; the call that makes it gives it the same variables. Its supervisors
    # may still be writing in it.
    (st.tree.scandir / "gateway-vars").rename(st.root / "lost")
    subprocess.run(["s6-svscanctl", "-an", str(st.tree.scandir)], check=True)
    assert st.act("vars", "start", 50).status == 200
    wait_for("its variable", lambda: "extra it's" in st.get("/containers/robot/services/gateway-vars/logs").body.decode())
    assert "s3cret" not in st.get(P).body.decode() and "s3cret" not in json.dumps(st.state("vars"))
    f.write_text("a bad line s3cret\n")
    assert st.state("vars")["env_names"] is None
    for name in ("vars", "bycli"):
        assert st.ask("DELETE", f"{P}/{name}").status == 200
        assert not (st.home / "profiles" / name).exists()


def test_errors_keep_their_status_and_words(st):
    st.make("taken")
    def refused(status, text, method, path, body=None):
        for where in (st.ask, st.ask_agent):
            at = path if where == st.ask else path.replace("/containers/robot", "")
            r = where(method, at, body)
            assert r.status == status and text in r.json()["error"] and r.json()["detail"] is None, r
    refused(400, "must match [a-z0-9][a-z0-9_-]*, got '_x'", "POST", P, {"name": "_x"})
    refused(400, "must not be empty", "POST", P, {"name": " "})
    refused(400, "too long (65 > 64)", "POST", P, {"name": "x" * 65})
    refused(400, "sudo", "POST", P, {"name": "sudo"})
    refused(400, "B-AD", "POST", P, {"name": "withenv", "env": {"B-AD": "1"}})
    refused(400, "65", "POST", P, {"name": "withenv", "env": {f"A{i}": "" for i in range(65)}})
    assert not (st.home / "profiles/withenv").exists()
    refused(409, "profile 'taken' exists already", "POST", P, {"name": "Taken"})
    refused(404, "no such gateway 'nobody': register it with", "POST", f"{P}/nobody/gateway", {"action": "start"})
    refused(404, "there is no profile 'nobody'", "GET", f"{P}/nobody/gateway")
    refused(404, "there is no profile 'nobody'", "DELETE", f"{P}/nobody")
    refused(400, "got 'a%'", "GET", f"{P}/a%25/gateway")
    for wait in (-1, 301, 10 ** 30):
        refused(400, "is not between 0 and 300 seconds", "POST", f"{P}/taken/gateway", {"action": "start", "wait": wait})
    assert st.act("taken", "fly").status == 422 and st.ask("POST", P, {"name": "x", "env": [1]}).status == 422
    assert st.ask("POST", P, {}).status == 422 and st.ask("GET", f"{P}/..%2f/gateway").status == 404
    assert st.get("/containers/nowhere/profiles").status == 404
    r = st.get("/containers/missing/profiles")
    assert r.status == 503 and r.json()["error"].startswith("Failed to communicate with agent: [Errno 2]")
    st.remove("taken")


def test_a_gateway_that_does_not_end_in_time_is_504_and_ends_later(st):
    st.make("stubborn", STUBBORN)
    (st.tree.scandir / "gateway-stubborn" / "timeout-kill").write_text("0\n")  # it is never killed
    assert st.act("stubborn", "start", 50).status == 200
    pid = st.state("stubborn")["pid"]
    wait_for("SIGTERM is ignored", lambda: ignores(pid, signal.SIGTERM))
    assert st.act("stubborn", "stop", 0).status == 200  # nobody waits
    r = st.act("stubborn", "stop", 1)
    assert r.status == 504 and "gateway 'stubborn' did not stop within 1000 ms" in r.json()["error"], r
    assert st.state("stubborn")["pid"] == pid
    os.kill(pid, signal.SIGKILL)
    wait_for("it has ended", lambda: st.state("stubborn")["pid"] is None)
    (st.home / "profiles/stubborn/gateway").write_text(GATEWAY)  # or its end would be waited for in vain
    assert st.act("stubborn", "start", 300).status == 200
    st.remove("stubborn")


def test_a_start_without_effect_is_504(st):
    st.make("broken")
    (st.home / "profiles/broken/gateway").unlink()
    r = st.act("broken", "start", 1)
    # The script cannot run its command and dies at once: up for a moment is possible, so is never.
    assert r.status in (200, 504), r
    (st.tree.scandir / "gateway-broken/run").chmod(0o644)  # now it cannot even be started
    assert st.act("broken", "stop", 50).status == 200
    r = st.act("broken", "start", 1)
    assert r.status == 504 and "gateway 'broken' did not come up within 1000 ms" in r.json()["error"], r
    st.remove("broken")


def test_not_supervised_is_409(st):
    st.make("orphan")
    slot = st.tree.scandir / "gateway-orphan"
    st.tree.svscan.p.send_signal(signal.SIGSTOP)  # it would start another one
    try:
        subprocess.run(["s6-svc", "-xd", str(slot)], check=True)
        subprocess.run(["s6-svc", "-xd", str(slot / "log")], check=True)
        wait_for("no supervisor", lambda: subprocess.run(["s6-svok", str(slot)]).returncode != 0)
        s = st.state("orphan")
        assert s["reason"] == "not_supervised" and s["registered"] and s["pid"] is None
        r = st.act("orphan", "start")
        assert r.status == 409, r
    finally:
        st.tree.svscan.p.send_signal(signal.SIGCONT)
    subprocess.run(["s6-svscanctl", "-a", str(st.tree.scandir)], check=True)
    st.remove("orphan")


def test_variables_reach_the_gateway_and_its_log_is_a_services_log(st):
    st.make("logger", env={"EXTRA": "it's $HOME \"x\""})
    assert st.act("logger", "start", 50).status == 200
    s = "/containers/robot/services/gateway-logger"
    want = f"gateway of {st.home}/profiles/logger extra it's $HOME \"x\"\n"
    logs = wait_for("its log", lambda: (lambda j: j if j["logs"].endswith(want) else None)(st.get(f"{s}/logs").json()))
    assert logs["log_path"] == f"{st.home}/logs/gateways/logger/current"
    assert st.get(f"{s}/status").json()["pid"] == st.state("logger")["pid"]
    assert "gateway-logger" in [x["id"] for x in st.get("/containers/robot/services").json()["services"]]
    # Followed live, over the same path.
    with socket.create_connection(st.address, timeout=patient(30)) as c:
        c.sendall(f"GET {s}/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        got = b""
        while b"extra" not in got:
            got += c.recv(65536)
        st.act("logger", "restart", 50)
        while got.count(b"extra") < 2:
            piece = c.recv(65536)
            assert piece
            got += piece
    assert st.ask("DELETE", f"{s}/logs").status == 200
    assert st.get(f"{s}/logs").json()["logs"] == ""
    assert "\n" in st.cli("logs", "robot", "ticker").stdout  # others are where they were
    st.remove("logger")


def test_a_link_in_the_home_leads_nowhere(st):
    """What lies below the home belongs to the gateways' user: it must not lead the agent elsewhere."""
    st.make("linker")
    elsewhere = st.root / "elsewhere"
    (elsewhere / "linker2").mkdir(parents=True)
    (elsewhere / "linker2/current").write_text("secret\n")
    gateways = st.home / "logs/gateways"
    wait_for("folder of logs", gateways.exists)
    (gateways / "linker2").symlink_to(elsewhere / "linker2")
    s = "/containers/robot/services/gateway-linker2/logs"
    assert "secret" not in st.get(s).body.decode() and st.ask("DELETE", s).status == 503
    assert (elsewhere / "linker2/current").read_text() == "secret\n"
    (gateways / "linker2").unlink()
    st.remove("linker")


def test_many_at_once(st):
    names = [f"p{i}" for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: st.ask("POST", P, {"name": n}).status, names * 2))
        assert sorted(made) == [201] * 8 + [409] * 8
        for n in names:
            (st.home / "profiles" / n / "gateway").write_text(GATEWAY)
            (st.home / "profiles" / n / "gateway").chmod(0o755)
        assert set(pool.map(lambda n: st.act(n, "start", 20).status, names)) == {200}
        assert {p["state"] for p in st.get(P).json()["profiles"]} == {"up"}
        assert set(pool.map(lambda n: st.ask("DELETE", f"{P}/{n}").status, names)) == {200}
    assert st.get(P).json()["profiles"] == []

    def nothing_left():
        if [n for n in os.listdir(st.tree.scandir) if n.startswith(".") and n not in (".s6-svscan", ".pg.lock")] == []:
            return True
        st.ask("POST", P, {"name": "sweeper"})  # what was still supervised when its order gave up goes with the next one
        st.remove("sweeper")
        return False
    wait_for("nothing left behind", nothing_left)


def test_who_waits_for_one_profile_holds_up_no_other(st):
    names = [f"other{i}" for i in range(8)]
    st.make("waiter")
    slot = st.tree.scandir / "gateway-waiter"
    (slot / "run").chmod(0o644)  # it cannot come up
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(st.ask, "POST", f"{P}/waiter/gateway", {"action": "start", "wait": 290}, timeout=600)
        try:
            wait_for("the order", lambda: st.state("waiter")["desired_state"] == "running")
            for n in names:
                st.make(n)
                assert st.act(n, "start", 50).status == 200
                assert st.state(n)["state"] == "up"
            st.remove(*names)
            assert not waiting.done()
        finally:
            (slot / "run").chmod(0o755)
            subprocess.run(["s6-svc", "-u", str(slot)], check=True)
        assert waiting.result().status == 200
    st.remove("waiter")


def test_a_stop_does_not_wait_for_those_who_wait_for_the_start(st):
    st.make("waiter")
    (st.tree.scandir / "gateway-waiter/run").chmod(0o644)  # it cannot come up
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(st.act, "waiter", "start", 250)
        wait_for("the order", lambda: st.state("waiter")["desired_state"] == "running")
        assert st.act("waiter", "stop", 20).status == 200
        r = waiting.result()
        assert r.status == 409 and "gateway 'waiter' did not come up: a later order wants the opposite" in r.json()["error"], r
    assert st.state("waiter")["desired_state"] == "stopped" and st.state("waiter")["reason"] == "not_wanted"
    st.remove("waiter")


def test_a_client_that_leaves_and_an_agent_that_stops_while_it_waits(st):
    st.make("waiter")
    (st.tree.scandir / "gateway-waiter/run").chmod(0o644)
    fds = lambda: len(os.listdir(f"/proc/{st.agent.pid}/fd"))
    st.get(P)
    before = fds()
    body = b'{"action":"start","wait":2}'
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(st.agent_sock)
            c.sendall(b"POST /profiles/waiter/gateway HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            time.sleep(0.1)
    assert st.get(P).status == 200 and st.get("/containers/robot/services").status == 200  # nobody else waits
    wait_for("all is over", lambda: fds() <= before, 20)
    assert st.act("waiter", "stop").status == 200
    wish = st.home / "profiles/waiter/gateway_state.json"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(st.ask, "POST", f"{P}/waiter/gateway", {"action": "start", "wait": 250}, timeout=600)
        wait_for("the order", lambda: json.loads(wish.read_text())["desired_state"] == "running")
        time.sleep(0.5)
        assert st.stop_agent() == 0  # in far less than 250 s
        r = waiting.result()
        assert r.status == 503 and "stopping; the order was given" in r.json()["error"], r
    st.start_agent()
    st.remove("waiter")


def test_rights_and_audit(st):
    st.make("guarded")
    st.make("other")
    viewer, one = st.token("pv", "viewer"), st.token("po", "read profile robot/guarded", "write profile robot/g*")
    assert st.call("GET", P, viewer).status == 200 and st.call("GET", f"{P}/guarded/gateway", viewer).status == 200
    for method, path, body in (("POST", f"{P}/guarded/gateway", {"action": "start"}), ("DELETE", f"{P}/guarded", None),
                               ("POST", P, {"name": "viewers"})):
        assert st.call(method, path, viewer, body=body).status == 403
        assert st.call(method, path, st.token(f"op{time.monotonic_ns()}", "operator"), body=body).status == 403
    assert [p["name"] for p in st.call("GET", P, one).json()["profiles"]] == ["guarded"]
    assert st.call("GET", f"{P}/other/gateway", one).status == 403
    assert st.call("POST", f"{P}/guarded/gateway", one, body={"action": "start", "wait": 50}).status == 200
    assert st.call("POST", P, one, body={"name": "x"}).status == 403
    assert st.call("POST", P, one, body={"name": " GX "}).status == 201
    assert not (st.home / "profiles/x").exists() and not (st.home / "profiles/viewers").exists()
    def records():
        st.get("/healthz")
        return [json.loads(line) for line in st.audit_file.read_text().splitlines(True) if line.endswith("\n")]
    def found(**want):
        return wait_for(f"a record {want}", lambda: any(all(r.get(k) == v for k, v in want.items()) for r in records()))
    found(who="token:pv", verb="write", kind="profile", name="robot/guarded", status=403, result="refused")
    found(who="token:po", verb="write", kind="profile", name="robot/guarded", status=200, result="done")
    found(who="token:po", verb="write", kind="profile", name="robot/gx", status=201, result="done")
    found(who="token:po", verb="write", kind="profile", name="robot/x", status=403, result="refused")
    st.remove("guarded", "other", "gx")


def test_the_command_line(st):
    def run(*args, code=0):
        r = st.cli("profiles", *args)
        assert r.returncode == code, r
        return r
    assert run("create", "robot", "cli").stdout == "cli: created\n"
    f = st.home / "profiles/cli/gateway"
    f.write_text(GATEWAY)
    f.chmod(0o755)
    assert run("start", "robot", "cli", "--wait").stdout == "cli: start\n"
    head, row = run("list", "robot").stdout.splitlines()
    assert head.split() == ["NAME", "STATE", "PID", "UPTIME", "WANTED", "REASON"]
    assert row.split()[:2] == ["cli", "up"] and "running" in row
    assert str(st.home) in run("show", "robot", "cli", "-o", "wide").stdout
    assert json.loads(run("show", "robot", "cli", "-o", "json").stdout)["state"] == "up"
    assert "state: up" in run("list", "robot", "-o", "yaml").stdout
    assert run("restart", "robot", "cli", "--wait", "--timeout", "50s").returncode == 0
    assert run("stop", "robot", "cli", "nobody", "--wait", code=1).stdout == "cli: stop\n"
    assert "no such gateway 'nobody'" in run("stop", "robot", "nobody", code=1).stderr
    assert "gantry profiles list" in run("show", "robot", "nobody", code=1).stderr
    assert "cli" in st.cli("__complete", "profiles", "show", "robot", "").stdout
    assert "exists already" in run("create", "robot", "cli", code=1).stderr
    assert run("delete", "robot", "cli").stdout == "cli: deleted\n"


def test_agents_without_profiles(own_stack):
    s = own_stack.start()
    r = s.get(P)
    assert r.status == 501 and "--profile-layout" in r.json()["error"], r
    assert s.ask("POST", f"{P}/x/gateway", {"action": "start"}).status == 501
    r = s.cli("profiles", "list", "robot")
    assert r.returncode == 1 and "--profile-layout" in r.stderr


def answers(path):
    with socket.socket(socket.AF_UNIX) as c:
        return c.connect_ex(path) == 0


def test_an_old_agent(own_stack):
    """One whose table has no such call says 404 without an error of its own."""
    s = own_stack
    s.sockets.mkdir(mode=0o700, exist_ok=True)
    code = ("import http.server,socketserver,sys\n"
            "class H(http.server.BaseHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        b=b'{\"detail\":\"Not Found\"}'\n"
            "        self.send_response(404);self.send_header('Content-Length',str(len(b)));self.end_headers();self.wfile.write(b)\n"
            "    def address_string(self): return 'x'\n"
            "socketserver.UnixStreamServer(sys.argv[1],H).serve_forever()\n")
    p = subprocess.Popen(["/usr/bin/python3", "-c", code, s.agent_sock], stderr=subprocess.DEVNULL)
    try:
        wait_for("the old agent", lambda: answers(s.agent_sock))
        s.start_gantryd()
        r = s.get(P)
        assert r.status == 501 and r.json()["error"] == \
            "The agent of container 'robot' knows no profiles: it is not a gantry-agent, or an old one"
    finally:
        p.terminate()
        p.wait()


def test_the_environment_switches_it_on_and_a_bad_layout_does_not_start(own_stack):
    agent = program("gantry-agent")
    for env, text in (({"GANTRY_PROFILE_LAYOUT": "fancy"}, "fancy"), ({"GANTRY_PROFILE_UID": "minus"}, "minus")):
        r = subprocess.run([agent, "serve", "--socket", "/nonexistent/x.sock"], env={**os.environ, **env}, capture_output=True,
                           text=True, timeout=patient(20))
        assert r.returncode == 1 and text in r.stderr
    s = own_stack
    home = s.root / "h"
    (home / "profiles").mkdir(parents=True)
    s.tree.start()
    s.sockets.mkdir(mode=0o700, exist_ok=True)
    s.start_agent(env={**s.env, "GANTRY_PROFILE_LAYOUT": "hermes", "GANTRY_PROFILE_HOME": str(home),
                       "GANTRY_PROFILE_SCANDIR": str(s.tree.scandir)})
    j = s.ask_agent("GET", "/profiles").json()
    assert j["layout"] == "hermes" and [p["name"] for p in j["profiles"]] == ["default"]


@pytest.fixture(scope="module")
def apart(service_user, tmp_path_factory):  # noqa: F811
    """Gateways in a scan directory of the service user, with an s6-svscan of his own; the agent runs as root."""
    st = Profiles(tmp_path_factory.mktemp("apart"))
    scandir = st.place / "service"
    scandir.mkdir()
    os.chown(scandir, UID, UID)
    st.conf.write_text(st.conf.read_text().replace(str(st.tree.scandir), str(scandir)))

    def demote():
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
    svscan = Process("s6-svscan", ["s6-svscan", str(scandir)], st.root / "own-svscan.log", preexec_fn=demote)
    wait_for("s6-svscan", lambda: reads(scandir))
    st.start()
    yield st
    st.remove("apart", "gone")
    harness.end_svscan(svscan, scandir)
    st.stop()
    shutil.rmtree(st.place, ignore_errors=True)


def test_gateways_apart_are_services_too(apart):
    st = apart
    st.make("apart")
    (st.place / "service" / "his-own").mkdir()  # what else he has there is no service of ours
    (st.place / "service" / "his-own" / "run").write_text("#!/bin/sh\nexec sleep 1000\n")
    assert st.act("apart", "start", 50).status == 200
    s = st.state("apart")
    assert s["state"] == "up" and os.stat(f"/proc/{s['pid']}").st_uid == UID
    listed = [x["id"] for x in st.get("/containers/robot/services").json()["services"]]
    assert "gateway-apart" in listed and "ticker" in listed and "his-own" not in listed and listed == sorted(listed)
    states = {x["name"]: x for x in st.get("/containers/robot/services/status").json()["statuses"]}
    assert states["gateway-apart"]["pid"] == s["pid"] and states["ticker"]["is_up"]
    one = "/containers/robot/services/gateway-apart"
    assert st.get(one + "/status").json()["is_up"]
    wait_for("its log", lambda: "gateway of" in st.get(one + "/logs").json()["logs"])
    assert st.ask("POST", one, {"action": "down"}).status == 200
    wait_for("down", lambda: not st.get(one + "/status").json()["is_up"])
    assert st.ask("POST", one, {"action": "up"}).status == 200
    wait_for("up", lambda: st.get(one + "/status").json()["is_up"])
    assert st.ask("DELETE", P + "/apart").status == 200
    assert st.get(one + "/status").status in (404, 503)
    assert "gateway-apart" not in str(st.get("/containers/robot/services").json())

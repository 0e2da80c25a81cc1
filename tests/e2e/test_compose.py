"""Compose projects as workloads, with docker-compose on a real Docker Engine: compute-agent contract 5.2, 12 and 14.7."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from harness import patient, program, wait_for
from test_workloads import Keeper

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")

LOOP = "while :; do sleep 0.1; done"


def service(script=LOOP, more=""):
    """A service that ends at once when it is told to."""
    text = json.dumps(f"trap 'exit 0' TERM; {script}")
    return f"{{image: 'busybox:local', command: [sh, -c, {text.replace('$', '$$')}], stop_grace_period: 10s{more}}}"


def project(**services):
    return "version: '3'\nservices:\n" + "".join(f"  {n}: {s}\n" for n, s in services.items())


TWO = project(web=service(), db=service())


class Composer(Keeper):
    """A keeper of Compose projects."""

    @property
    def compose_root(self):
        return pathlib.Path(self.root) / "compose"

    def up(self, id, yaml, query="", **more):
        compose = {"compose_yaml": yaml, **{k: more.pop(k) for k in ("env", "secret_env", "stop_timeout_s") if k in more}}
        return self.put(id, {"type": "compose", "compose": compose, **more}, query)

    def boxes(self, id):
        """Containers of a project by service: name, id, state."""
        out = self.engine.docker("ps", "-a", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.name(id)}",
                                 "--format", '{{.Label "com.docker.compose.service"}} {{.Names}} {{.ID}} {{.State}}')
        return {line.split()[0]: line.split()[1:] for line in out.splitlines()}

    @staticmethod
    def name(id):
        return "".join(c for c in id.lower() if c.isalnum() or c in "-_")

    def compose(self, id, *args, cwd=None, check=True, name=None):
        """The bare tool, as a person or the original agent would call it."""
        env = {"PATH": os.environ["PATH"], "HOME": "/root", "DOCKER_HOST": f"unix://{self.engine.socket}"}
        r = subprocess.run(["docker-compose", "-p", name or id, *args], cwd=cwd or self.compose_root / id, env=env,
                           capture_output=True, text=True, timeout=300)
        assert not check or r.returncode == 0, r
        return r

    def volumes(self, id):
        return self.engine.docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={self.name(id)}").split()

    def networks(self, id):
        return self.engine.docker("network", "ls", "-q", "--filter", f"label=com.docker.compose.project={self.name(id)}").split()

    def remove(self, *ids):
        for id in ids:
            assert self.call("DELETE", f"/v1/workloads/{id}?force=true").status in (202, 404)
        for id in ids:
            wait_for(f"{id} gone", lambda: self.get(id) is None, 60)
            assert self.boxes(id) == {} and self.volumes(id) == [] and self.networks(id) == []
            assert not (self.compose_root / id).exists()


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, engine):
    k = Composer(tmp_path_factory.mktemp("composer"), engine)
    k.begin()
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    k.stop()
    k.check_clean()


@pytest.fixture
def own_keeper(tmp_path, engine):
    k = Composer(tmp_path, engine)
    yield k
    if k.gantryd is None or not k.gantryd.alive():
        k.start_gantryd()
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    k.stop()
    k.check_clean()


def test_up_stop_start_delete(keeper):
    a = keeper.up("Pt-Up.x", TWO, revision_id="1")  # capitals and a dot: the project is pt-upx
    assert a.status == 202, a
    w = keeper.reaches("Pt-Up.x", "running", 40)
    assert w["message"] == "2/2 containers running" and w["object_id"] == "pt-upx", w
    boxes = keeper.boxes("Pt-Up.x")
    assert set(boxes) == {"web", "db"} and all(b[2] == "running" for b in boxes.values())
    folder = keeper.compose_root / "Pt-Up.x"
    assert (folder / "docker-compose.yml").read_text() == TWO and (folder / "docker-compose.yml").stat().st_mode & 0o777 == 0o644
    assert not (folder / ".env").exists() and keeper.compose_root.stat().st_mode & 0o777 == 0o755
    # The same once more changes nothing.
    assert keeper.up("Pt-Up.x", TWO, revision_id="1").json()["verdict"] == "unchanged"
    # Stopped: the containers stay. Their exit codes are no failure.
    assert keeper.up("Pt-Up.x", TWO, revision_id="1", desired_state="stopped").status == 202
    w = keeper.reaches("Pt-Up.x", "stopped", 30, phase="idle")
    assert w["seen_state" if "seen_state" in w else "actual_state"] == "stopped" and w["message"].startswith("0/2"), w
    assert {b[1] for b in keeper.boxes("Pt-Up.x").values()} == {b[1] for b in boxes.values()}
    assert keeper.up("Pt-Up.x", TWO, revision_id="1").status == 202
    keeper.reaches("Pt-Up.x", "running", 30)
    assert {b[1] for b in keeper.boxes("Pt-Up.x").values()} == {b[1] for b in boxes.values()}
    keeper.remove("Pt-Up.x")


def test_one_shot_services_are_done(keeper):
    keeper.up("once-1", project(web=service(), init=service("echo made; exit 0")))
    w = keeper.reaches("once-1", "running", 40, phase="idle")
    wait_for("init has ended", lambda: keeper.boxes("once-1")["init"][2] == "exited")
    w = keeper.reaches("once-1", "running", 10, message="1/2 containers running")
    time.sleep(2.5)  # two passes: it is not started again
    w = keeper.get("once-1")
    assert w["actual_state"] == "running" and not w.get("attempts"), w
    assert keeper.boxes("once-1")["init"][2] == "exited"
    keeper.remove("once-1")


def test_a_service_that_fails_is_told_and_given_up(keeper):
    keeper.up("bad-1", project(web=service(), worker=service("exit 3")))
    w = keeper.reaches("bad-1", "failed", 60, given_up=True)
    assert 'service "worker" exited with code 3' in w["failure"] and w["exit_code"] == 3, w
    assert keeper.boxes("bad-1")["web"][2] == "running"
    keeper.up("bad-1", TWO)
    keeper.reaches("bad-1", "running", 30)
    assert set(keeper.boxes("bad-1")) == {"web", "db"}, "orphans go"
    keeper.remove("bad-1")


def test_an_update_recreates_only_what_changed_and_keeps_volumes(keeper):
    data = "\nvolumes: {data: {}}\n"
    web = service("echo kept >> /d/x; " + LOOP, ", volumes: ['data:/d']")
    keeper.up("upd-1", project(web=web, db=service(), old=service()) + data, revision_id="1")
    keeper.reaches("upd-1", "running", 40)
    before = keeper.boxes("upd-1")
    written = lambda box: keeper.engine.docker("exec", box, "cat", "/d/x", check=False).split()
    wait_for("written", lambda: written(before["web"][0]) == ["kept"])
    assert keeper.volumes("upd-1") == ["upd-1_data"]
    new = service("echo again >> /d/x; " + LOOP, ", volumes: ['data:/d']")
    keeper.up("upd-1", project(web=new, db=service()) + data, revision_id="2")
    w = keeper.reaches("upd-1", "running", 40, revision_id="2", phase="idle")
    wait_for("only two", lambda: set(keeper.boxes("upd-1")) == {"web", "db"})
    after = keeper.boxes("upd-1")
    assert after["db"] == before["db"], "what did not change runs on"
    assert after["web"][1] != before["web"][1]
    wait_for("written", lambda: written(after["web"][0]) == ["kept", "again"])
    # A file that is wrong is refused by the tool, in its own words, and what runs runs on.
    keeper.up("upd-1", "services: {web: {image: 'busybox:local', comand: [x]}}\nversion: '3'\n", revision_id="3")
    w = keeper.reaches("upd-1", "failed", 20, given_up=True, reason="INVALID_SPECIFICATION")
    assert "comand" in w["failure"] and "docker-compose" in w["failure"], w
    assert keeper.boxes("upd-1") == after
    # An orphan by hand, then delete: nothing is left.
    keeper.remove("upd-1")


ODD = {"PLAIN": "a-b.c", "EMPTY": "", "BLANKS": "  two  words ", "QUOTES": "it's \"so\"", "DOLLAR": "$HOME ${PLAIN} $$ ${X:-y}",
       "BACK": "a\\b\\", "LINES": "one\ntwo\r\nthree", "HASH": "a # b", "TAB": "\t<", "UTF": "grün ☃", "EQ": "a=b=c", "BRACE": "{x}\\n"}


def test_values_reach_the_containers_as_they_are(keeper):
    names = sorted(ODD)
    env = ", environment: {" + ", ".join(f"{n}: '${{{n}}}'" for n in names) + "}"
    secret = {"BACK": ODD["BACK"], "QUOTES": ODD["QUOTES"]}
    keeper.up("env-1", project(web=service(more=env)), env={k: v for k, v in ODD.items() if k not in secret}, secret_env=secret)
    keeper.reaches("env-1", "running", 40)
    box = json.loads(keeper.engine.docker("inspect", keeper.boxes("env-1")["web"][0]))[0]
    got = dict(line.split("=", 1) for line in box["Config"]["Env"])
    assert {n: got.get(n) for n in names} == ODD
    file = keeper.compose_root / "env-1" / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    # Without any the file goes.
    keeper.up("env-1", TWO)
    wait_for("no .env", lambda: not file.exists(), 30)
    keeper.reaches("env-1", "running", 30)
    for name in ("1x", "a-b", "PATH", "DOCKER_HOST"):
        a = keeper.up("env-2", TWO, env={name: "x"})
        assert a.status == 400 and name in a.json()["error"], a
    keeper.remove("env-1")


def test_two_ids_of_one_name(keeper):
    keeper.up("Twin", project(web=service()))
    keeper.reaches("Twin", "running", 40)
    a = keeper.up("twin", project(web=service()))
    assert a.status == 400 and 'named "twin", as that of workload "Twin"' in a.json()["error"], a
    keeper.remove("Twin")
    assert keeper.up("twin", project(web=service())).status == 202
    keeper.reaches("twin", "running", 40)
    keeper.remove("twin")


def test_a_foreign_project_is_left_alone(keeper, tmp_path):
    (tmp_path / "docker-compose.yml").write_text(TWO)
    keeper.compose("foreign", "up", "-d", cwd=tmp_path)
    before = keeper.boxes("foreign")
    keeper.up("foreign", project(web=service()))
    w = keeper.reaches("foreign", "failed", 30)
    assert "already in use" in w["failure"], w
    assert keeper.call("DELETE", "/v1/workloads/foreign").status == 202
    wait_for("gone", lambda: keeper.get("foreign") is None, 30)
    assert keeper.boxes("foreign") == before and all(b[2] == "running" for b in before.values())
    keeper.compose("foreign", "down", "-v", cwd=tmp_path)


def test_what_the_original_agent_made_is_adopted(own_keeper):
    k = own_keeper
    folder = k.compose_root / "Orig.1"
    folder.mkdir(parents=True)
    yaml = project(web=service(more=", environment: {A: '${A}'}"), db=service())
    (folder / "docker-compose.yml").write_text(yaml)
    (folder / ".env").write_text("B=2 x\nA=1")
    r = k.compose("Orig.1", "up", "-d")
    before = k.boxes("Orig.1")
    started = lambda: [json.loads(k.engine.docker("inspect", b[0]))[0]["State"]["StartedAt"] for b in k.boxes("Orig.1").values()]
    times = started()
    k.begin()
    k.up("Orig.1", yaml, revision_id="rev-7", env={"A": "1", "B": "2 x"})
    w = k.reaches("Orig.1", "running", 30, revision_id="rev-7", phase="idle")
    record = json.loads((folder / ".gantry.json").read_text())
    assert record["revision"] == "rev-7" and record["id"] == "Orig.1"
    assert k.boxes("Orig.1") == before and started() == times, r


def test_behind_our_back(keeper):
    keeper.up("back-1", TWO)
    keeper.reaches("back-1", "running", 40, phase="idle")
    before = keeper.boxes("back-1")
    keeper.engine.docker("rm", "-f", before["web"][0])
    wait_for("it is back", lambda: keeper.boxes("back-1").get("web", ["", ""])[1] not in ("", before["web"][1]), 20)
    w = keeper.reaches("back-1", "running", 20, message="2/2 containers running", phase="idle")
    assert keeper.boxes("back-1")["db"] == before["db"]
    # The folder, too: the containers say whose they are.
    shutil.rmtree(keeper.compose_root / "back-1")
    keeper.call("POST", "/v1/workloads/back-1/action", {"action": "restart"})
    wait_for("the file is back", lambda: (keeper.compose_root / "back-1" / "docker-compose.yml").exists(), 30)
    keeper.reaches("back-1", "running", 30)
    # Deleted without its file: by the engine alone.
    (keeper.compose_root / "back-1" / "docker-compose.yml").write_text("nonsense: [")
    keeper.remove("back-1")


def tool(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_without_the_tool(own_keeper, tmp_path):
    k = own_keeper
    k.compose_config = f'  binary: "{tmp_path}/none here"\n'
    k.begin()
    condition = lambda: {r["type"]: r["condition"] for r in k.call("GET", "/v1/node").json()["runtimes"]}["compose"]
    wait_for("it is looked for", lambda: "no Compose tool" in condition() and "none" in condition(), 30)
    a = k.up("no-1", TWO)
    assert a.status == 501 and "runtime not available" in a.json()["error"] and k.get("no-1") is None, a
    # It is installed: nothing has to be started anew.
    tool(tmp_path / "none", 'shift; exec docker-compose "$@"')
    wait_for("it is found", lambda: k.up("no-1", TWO).status == 202, 30)
    k.reaches("no-1", "running", 40, phase="idle")
    # It goes: what is there is kept, and told; what is new is refused.
    (tmp_path / "none").unlink()
    k.engine.docker("rm", "-f", k.boxes("no-1")["web"][0])
    w = k.reaches("no-1", "failed", 30)
    assert "no Compose tool" in w["failure"], w
    assert k.up("no-2", TWO).status == 501
    tool(tmp_path / "none", 'shift; exec docker-compose "$@"')
    k.call("POST", "/v1/workloads/no-1/action", {"action": "retry"})
    k.reaches("no-1", "running", 40)


def test_a_tool_that_does_not_answer_may_be_there(own_keeper, tmp_path):
    k = own_keeper
    k.compose_config = f'  binary: "{tool(tmp_path / "slow", f"[ -e {tmp_path}/quick ] || sleep 1000; exec docker-compose $*")}"\n'
    k.begin()
    assert k.up("slow-1", TWO).status == 202, "it is accepted while nobody knows"
    (tmp_path / "quick").touch()
    k.reaches("slow-1", "running", 60)


def runs(pid):
    try:
        return "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return False


def test_a_tool_that_hangs_is_ended(own_keeper, tmp_path):
    k = own_keeper
    hang = tool(tmp_path / "hang", f'case "$*" in *" up "*) echo waiting for ever; echo $$ >> {tmp_path}/pids; sleep 1000;; *) exec docker-compose "$@";; esac')
    k.compose_config = f'  binary: "{hang}"\n  timeout: 5s\n'
    k.begin()
    k.up("hang-1", TWO)
    w = k.reaches("hang-1", "failed", 30)
    assert "did not end within 5 s" in w["failure"] and "waiting for ever" in w["failure"], w
    pid = int((tmp_path / "pids").read_text().split()[0])
    wait_for("its group is gone", lambda: not runs(pid))


def test_another_type_while_it_is_being_deleted(own_keeper):
    """What was there goes for good, by its own driver; then comes what was applied. In both directions, and through a kill -9."""
    k = own_keeper
    k.begin()
    lock = k.root / "busy-type"
    yaml = project(web=service(LOOP, ", volumes: ['data:/d']")) + "\nvolumes: {data: {}}\n"
    assert k.up("swap-1", yaml, lock_file=str(lock)).status == 202
    k.reaches("swap-1", "running", 40)
    assert k.volumes("swap-1") == ["swap-1_data"]
    lock.write_text("")
    assert k.call("DELETE", "/v1/workloads/swap-1").status == 202
    box = {"container": {"image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1}, "lock_file": str(lock)}
    a = k.put("swap-1", box)
    assert a.status == 202, a
    w = wait_for("it waits for the lock", lambda: (lambda w: w if w["waits_for"].startswith("lock file") else None)(k.get("swap-1")))
    assert w["type"] == "container" and not w.get("deleting"), w
    assert set(k.boxes("swap-1")) == {"web"}
    k.gantryd.stop(signal.SIGKILL)
    k.gantryd = None
    k.start_gantryd()
    lock.unlink()
    k.reaches("swap-1", "running", 40, type="container", phase="idle")
    assert k.boxes("swap-1") == {} and k.volumes("swap-1") == [] and not (k.compose_root / "swap-1").exists()
    first = k.inspect("swap-1")["Id"]
    # And back.
    lock.write_text("")
    assert k.call("DELETE", "/v1/workloads/swap-1").status == 202
    assert k.up("swap-1", yaml, lock_file=str(lock)).status == 202
    assert k.inspect("swap-1")["Id"] == first
    lock.unlink()
    k.reaches("swap-1", "running", 40, type="compose", phase="idle")
    assert k.inspect("swap-1") is None and set(k.boxes("swap-1")) == {"web"}
    k.remove("swap-1")


@pytest.mark.parametrize("moment", [0.1, 0.5, 1.0])
def test_gantryd_is_killed_in_the_middle(own_keeper, moment):
    k = own_keeper
    k.begin()
    k.up("kill-1", TWO)
    time.sleep(moment)
    os.kill(k.gantryd.p.pid, signal.SIGKILL)
    k.gantryd.p.wait()
    k.gantryd = None
    k.start_gantryd()
    k.reaches("kill-1", "running", 60, phase="idle")
    assert len(k.boxes("kill-1")) == 2
    assert k.call("DELETE", "/v1/workloads/kill-1").status == 202
    time.sleep(moment)
    os.kill(k.gantryd.p.pid, signal.SIGKILL)
    k.gantryd.p.wait()
    k.gantryd = None
    k.start_gantryd()
    wait_for("gone", lambda: k.get("kill-1") is None, 60)
    assert k.boxes("kill-1") == {} and k.volumes("kill-1") == [] and not (k.compose_root / "kill-1").exists()


@pytest.fixture(scope="module")
def shop(keeper):
    yaml = project(web=service("echo web-out; echo web-err >&2; " + LOOP), db=service("echo db-out; " + LOOP), init=service("echo init-out"))
    keeper.up("shop", yaml, revision_id="1")
    keeper.reaches("shop", "running", 40, phase="idle")
    wait_for("init has ended", lambda: keeper.boxes("shop")["init"][2] == "exited")
    yield yaml
    keeper.remove("shop")


def test_its_services_are_shown(keeper, shop):
    a = keeper.call("GET", "/v1/workloads/shop/parts").json()
    rows = {p["name"]: p for p in a["parts"]}
    assert a["id"] == "shop" and list(rows) == ["db", "init", "web"]
    assert rows["web"]["state"] == "running" and rows["web"]["image"] == "busybox:local" and rows["web"]["started_at"]
    assert rows["init"]["state"] == "stopped" and rows["init"]["exit_code"] == 0, rows["init"]
    assert rows["web"]["object_id"] == keeper.boxes("shop")["web"][1]
    r = keeper.cli("compose", "ps", "shop")
    assert r.returncode == 0 and [line.split()[:2] for line in r.stdout.splitlines()[1:]] == [
        ["db", "running"], ["init", "stopped"], ["web", "running"]], r
    assert keeper.call("GET", "/v1/workloads/nothing/parts").status == 404
    keeper.put("plain-1", {"container": {"image": "busybox:local", "command": ["sleep", "9"], "stop_timeout_s": 1}})
    assert keeper.call("GET", "/v1/workloads/plain-1/parts").status == 501
    assert keeper.call("GET", "/v1/workloads/plain-1/logs?service=web").status == 400
    assert keeper.call("DELETE", "/v1/workloads/plain-1?force=true").status == 202


def test_logs_of_all_and_of_one(keeper, shop):
    lines = lambda query: keeper.call("GET", f"/v1/workloads/shop/logs{query}").json()["lines"]
    texts = ["db   | db-out", "init | init-out", "web  | web-err", "web  | web-out"]
    wait_for("all that they write", lambda: len(lines("")) >= len(texts))
    assert sorted(line["text"] for line in lines("")) == texts, lines("")
    assert [line["time"] for line in lines("")] == sorted(line["time"] for line in lines(""))
    assert sorted((line["stream"], line["text"]) for line in lines("?service=web")) == [("stderr", "web-err"), ("stdout", "web-out")]
    assert keeper.call("GET", "/v1/workloads/shop/logs?service=none").status == 404
    r = keeper.cli("compose", "logs", "shop", "db")
    assert r.returncode == 0 and r.stdout == "db-out\n", r
    r = keeper.cli("compose", "logs", "shop")
    assert sorted(r.stdout.splitlines()) == texts
    # Followed: what is there, then what comes.
    out = keeper.root / "followed"
    p = subprocess.Popen([program("gantry"), "compose", "logs", "-f", "shop"], stdout=open(out, "wb"),
                         env=dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}"))
    try:
        wait_for("what is there", lambda: sorted(out.read_text().splitlines()) == texts, 10)
        keeper.engine.docker("exec", keeper.boxes("shop")["db"][0], "sh", "-c", "echo more > /proc/1/fd/1")
        wait_for("what comes", lambda: out.read_text().splitlines()[4:] == ["db   | more"], 10)
    finally:
        p.terminate()
        p.wait()


def follow(k, id, *args):
    """`gantry compose logs -f` in the background, and what it has written."""
    out = k.root / f"followed-{id}-{time.monotonic_ns()}"
    p = subprocess.Popen([program("gantry"), "compose", "logs", "-f", id, *args], stdout=open(out, "wb"), stderr=subprocess.STDOUT,
                         env=dict(k.env, GANTRY_HOST=f"unix:{k.unix}"))
    return p, lambda: out.read_text().splitlines()


def test_followed_logs_go_on_with_new_containers(keeper):
    k = keeper
    says = lambda word, more="": service(f"echo {word}; {LOOP}", more)
    k.up("fol-1", project(web=says("web-one"), db=says("db-one")))
    k.reaches("fol-1", "running", 40)
    p, lines = follow(k, "fol-1")
    one, web = follow(k, "fol-1", "web")
    try:
        wait_for("the first", lambda: sorted(lines()) == ["db  | db-one", "web | web-one"] and web() == ["web-one"])
        # An update makes one anew and adds another one.
        k.up("fol-1", project(web=says("web-two"), db=says("db-one"), extra=service("echo extra-one")))
        k.reaches("fol-1", "running", 40)
        wait_for("the second", lambda: len(lines()) == 4 and len(web()) == 2, 20)
        assert sorted(lines()[2:]) == ["extra | extra-one", "web   | web-two"] and web()[1] == "web-two", (lines(), web())
        # One that is started once more: its new lines, and none of the old ones again.
        k.engine.docker("restart", "-t", "1", k.boxes("fol-1")["db"][0])
        wait_for("the third", lambda: lines()[4:] == ["db    | db-one"], 20)
        # By its own policy, and by gantryd after a crash; of which no time is between for an end.
        k.engine.docker("kill", k.boxes("fol-1")["web"][0])
        wait_for("the fourth", lambda: "web   | web-two" in lines()[5:] and web()[2:] == ["web-two"], 30)
        assert p.poll() is None and one.poll() is None
        # Two of one service.
        k.up("fol-1", project(web=says("web-two", ", scale: 2"), db=says("db-one")))
        wait_for("the fifth", lambda: "web-2 | web-two" in lines(), 30)
        # It is over when nothing of it runs any more.
        assert k.up("fol-1", project(web=says("web-two", ", scale: 2"), db=says("db-one")), desired_state="stopped").status == 202
        assert p.wait(patient(40)) == 0 and one.wait(patient(40)) == 0, (lines(), web())
        assert len([line for line in lines() if "web-one" in line]) == 1
    finally:
        for x in (p, one):
            x.poll() is None and x.kill()
            x.wait()
    r = k.cli("compose", "logs", "-f", "fol-1")  # nothing runs: it ends at once
    assert r.returncode == 0 and "db    | db-one" in r.stdout, r
    k.remove("fol-1")


def test_programs_and_usage(keeper, shop):
    run = lambda **b: keeper.call("POST", "/v1/workloads/shop/exec", {"command": ["hostname"], **b})
    a = run(service="web")
    assert a.status == 200 and keeper.boxes("shop")["web"][1].startswith(a.json()["stdout"].strip()), a
    assert run().status == 400 and "several" in run().json()["error"]
    assert run(service="init").status == 409
    cli = lambda *a: keeper.cli("exec", *a)
    for args in (("shop", "--service", "web", "--", "hostname"), ("--service", "web", "shop", "hostname"), ("shop", "--service=web", "sh", "-c", "hostname")):
        r = cli(*args)
        assert r.returncode == 0 and keeper.boxes("shop")["web"][1].startswith(r.stdout.strip()) and r.stdout.strip(), (args, r)
    r = cli("-o", "json", "shop", "--service", "web", "hostname")
    assert r.returncode == 0 and keeper.boxes("shop")["web"][1].startswith(json.loads(r.stdout)["stdout"].strip()), r
    assert cli("shop", "hostname").returncode == 1 and "several" in cli("shop", "hostname").stderr
    assert "none" in cli("shop", "--service", "none", "hostname").stderr
    for words in (("exec", "shop", "--service", "w"), ("compose", "logs", "shop", "w")):
        assert "web" in [line.split("\t")[0] for line in keeper.cli("__complete", *words).stdout.splitlines()], words
    # They are not of the same moment, and what web uses goes up and down.
    used = lambda: [keeper.call("GET", f"/v1/workloads/shop/stats{q}").json() for q in ("", "?service=web")]
    all_, web = wait_for("all use more than one", lambda: (lambda u: u if 0 < u[1].get("memory_bytes", 0) < u[0].get("memory_bytes", 0) else None)(used()))
    assert all_["source"] == web["source"] == "compose", (all_, web)
    wait_for("a share of the processor", lambda: used()[0].get("cpu_percent", -1) >= 0)
    assert keeper.call("GET", "/v1/workloads/shop/stats?service=init").status == 409


def test_what_an_apply_would_change(keeper, shop, tmp_path):
    new = project(web=service("echo other; " + LOOP), db=service("echo db-out; " + LOOP), cache=service())
    a = keeper.up("shop", new, "?dry_run=true", revision_id="2").json()
    assert a["verdict"] == "update" and a["recreate"] is False
    assert {s["part"]: s["change"] for s in a["steps"]} == {"web": "recreate", "db": "keep", "cache": "create", "init": "remove"}, a
    assert not [x for x in os.listdir(keeper.compose_root) if x.startswith(".new")]
    (tmp_path / "shop.yaml").write_text(json.dumps({"id": "shop", "type": "compose", "compose": {"compose_yaml": new}}))
    r = keeper.cli("diff", "-f", str(tmp_path / "shop.yaml"))
    assert r.returncode == 1 and "would recreate: web (its image or settings differ)" in r.stdout and "would remove: init" in r.stdout, r
    assert "db" not in r.stdout.split("would", 1)[1]
    # A file that is wrong: said before it is applied.
    a = keeper.up("shop", "version: '3'\nservices: {web: {image: x, prots: []}}\n", "?dry_run=true", revision_id="3").json()
    assert "prots" in a["steps_error"], a


def test_a_service_is_no_workload_of_its_own(keeper):
    keeper.up("imit-1", """services:
  web:
    image: busybox:local
    container_name: imitated
    command: [sleep, '1000']
    stop_grace_period: 1s
    labels: {persys.managed: 'true', persys.workload_id: imitated, persys.revision_id: '1'}
""")
    keeper.reaches("imit-1", "running", 60)
    was = keeper.boxes("imit-1")["web"][1]
    keeper.put("imitated", {"revision_id": "1", "container": {"image": "busybox:local", "command": ["sleep", "1000"], "stop_timeout_s": 1}})
    w = wait_for("refused", lambda: (lambda w: w if w.get("failure") else None)(keeper.get("imitated")))
    assert "already in use" in w["failure"] and w["actual_state"] != "running", w
    assert keeper.call("DELETE", "/v1/workloads/imitated?force=true").status == 202
    wait_for("it is gone", lambda: keeper.get("imitated") is None, 60)
    assert keeper.boxes("imit-1")["web"][1] == was
    keeper.remove("imit-1")


def test_import_compose(keeper, tmp_path):
    folder = tmp_path / "My-App"
    folder.mkdir()
    (folder / "data").mkdir()
    (folder / "web.env").write_text("FROM_FILE=1\n")
    (folder / ".env").write_text("# of the project\nTAG=local\nexport NAME='a b'\nTEXT=\"x\\\"y\"\n")
    (folder / "docker-compose.yml").write_text(
        "version: '3'\nservices:\n  web:  # grün\n    image: busybox:${TAG}\n    command: [sleep, '1000']\n    stop_grace_period: 1s\n"
        "    env_file: web.env\n    volumes:\n      - ./data:/data:ro\n      - {type: bind, source: ../My-App/data, target: /more}\n      - named:/n\n"
        "volumes: {named: {}}\n")
    r = keeper.cli("import", "compose", str(folder / "docker-compose.yml"), "-o", "json")
    assert r.returncode == 0, r
    doc = json.loads(r.stdout)
    assert doc["id"] == "My-App" and doc["type"] == "compose"
    assert doc["compose"]["env"] == {"TAG": "local", "NAME": "a b", "TEXT": 'x"y'}
    yaml = doc["compose"]["compose_yaml"]
    assert f'"{folder}/data:/data:ro"' in yaml and f'source: "{folder}/data"' in yaml and f'env_file: "{folder}/web.env"' in yaml and "- named:/n" in yaml
    assert r.stderr.count("is now") == 3 and "grün" in yaml
    r = keeper.cli("import", "compose", str(folder / "docker-compose.yml"), "--id", "imp-1", "--apply", "--wait", "--timeout", "300s", timeout=360)
    assert r.returncode == 0, r
    box = json.loads(keeper.engine.docker("inspect", keeper.boxes("imp-1")["web"][0]))[0]
    assert {m["Source"] for m in box["Mounts"] if m["Type"] == "bind"} == {f"{folder}/data"}
    (folder / "docker-compose.yml").write_text("services:\n  web: {build: .}\n  db: {image: x, extends: {file: a.yml, service: db}}\n")
    r = keeper.cli("import", "compose", str(folder / "docker-compose.yml"))
    assert r.returncode == 1 and "nothing is built" in r.stderr and "extends" in r.stderr and ":2:" in r.stderr, r
    r = keeper.cli("import", "compose", "-")
    assert r.returncode == 2 and "give it as a file" in r.stderr, r
    r = keeper.cli("compose", "logs", "imp-1", "absent")
    assert r.returncode == 1 and r.stderr.endswith('there are "web"\n'), r
    keeper.remove("imp-1")


@pytest.mark.parametrize("moment", [0.4])
def test_the_engine_is_killed_in_the_middle(tmp_path, moment):
    import dockerd
    from test_workloads_faults import kill_engine
    with dockerd.Dockerd() as engine:
        k = Composer(tmp_path, engine)
        k.begin()
        try:
            k.up("eng-1", TWO)
            time.sleep(moment)
            kill_engine(engine)
            wait_for("it is not known", lambda: k.get("eng-1")["actual_state"] in ("unknown", "pending", "failed"), 30)
            engine.launch()
            w = wait_for("it goes on", lambda: (lambda w: w if w["actual_state"] == "running" or w.get("given_up") else None)(k.get("eng-1")), 90)
            if w.get("given_up"):  # what the engine said of itself may be no reason to try again
                k.call("POST", "/v1/workloads/eng-1/action", {"action": "retry"})
            k.reaches("eng-1", "running", 60, phase="idle")
            assert len(k.boxes("eng-1")) == 2
            assert k.call("DELETE", "/v1/workloads/eng-1").status == 202
            time.sleep(moment)
            kill_engine(engine)
            time.sleep(1)
            engine.launch()
            wait_for("gone", lambda: k.get("eng-1") is None, 90)
            assert k.boxes("eng-1") == {} and k.networks("eng-1") == []
        finally:
            k.stop()
            k.check_clean()

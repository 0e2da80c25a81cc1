"""Workloads while everything around them breaks: the engine, gantryd, the disk, the registry, people with docker at hand."""
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
import time

import pytest

import dockerd
from harness import patient, program, wait_for
from test_workloads import SLEEPER, Keeper

# Ends at once when it is told to.
QUICK = {"container": {"image": "busybox:local", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"], "stop_timeout_s": 5}}


def quick(**container):
    return {"container": {**QUICK["container"], **container}}


def own(tmp_path, engine):
    k = Keeper(tmp_path, engine)
    k.workloads.update(gc_interval="1s", orphan_age="0s")
    return k


def over(k):
    """Removes what is left of k's workloads, ends it and looks at how it ended."""
    if k.gantryd and k.gantryd.alive():
        ids = [w["id"] for w in k.call("GET", "/v1/workloads").json().get("workloads", [])]
        k.remove(*ids)
    k.stop()
    k.check_clean()


@pytest.fixture
def calm(tmp_path, engine):
    """gantryd of one test on the engine of all tests, which nobody disturbs."""
    k = own(tmp_path, engine)
    yield k
    over(k)


@pytest.fixture(scope="module")
def shaky_engine():
    with dockerd.Dockerd() as d:
        yield d


@pytest.fixture
def shaky(tmp_path, shaky_engine):
    """gantryd of one test with an engine that is disturbed."""
    k = own(tmp_path, shaky_engine)
    yield k
    over(k)


def kill_engine(d, reboot=False):
    """kill -9 of dockerd, its containerd goes with it; with reboot also of all that runs in containers and what holds it."""
    pids = [d.process.pid]
    pid_file = pathlib.Path(d.root, "exec", "containerd", "containerd.pid")
    pids.append(int(pid_file.read_text()))
    if reboot:
        for name in d.docker("ps", "-q").split():
            pids += [p for p in map(int, d.docker("inspect", "--type", "container", "-f", "{{.State.Pid}}", name, check=False).split()) if p > 0]
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                line = (p / "cmdline").read_bytes()
            except OSError:
                continue
            if b"containerd-shim" in line and d.root.encode() in line:
                pids.append(int(p.name))
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    d.process.wait()
    d.process = None
    for pid in pids[1:]:
        wait_for("containerd and what it held ended", lambda: dockerd.has_ended(pid))
    pid_file.unlink(missing_ok=True)
    pathlib.Path(d.root, "pid").unlink(missing_ok=True)


def is_unknown(k, *ids, seconds=8):
    for id in ids:
        k.reaches(id, "unknown", seconds)


def boxes(k, id):
    return k.engine.docker("ps", "-aq", "--no-trunc", "--filter", f"label=persys.workload_id={id}").split()


def listed(k, limit_s=4):
    """The ids that gantryd knows; the fastest of three lists must keep the limit, which is below that of a call to the engine."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        a = k.call("GET", "/v1/workloads")
        times.append(time.monotonic() - began)
        assert a.status == 200
    assert min(times) < limit_s, times
    return [w["id"] for w in a.json()["workloads"]]


def ready(k, name):
    return next(c for c in k.call("GET", "/readyz").json()["checks"] if c["name"] == name)


def condition(k):
    return k.call("GET", "/v1/node").json()["runtimes"][0]["condition"]


# ---- the engine

def changes_while_away(k, n):
    """What is asked for while there is no engine is accepted, and answered soon."""
    began = time.monotonic()
    assert k.put("away-up", {**quick(env={"N": str(n)}), "revision_id": str(n)}).status == 202
    assert k.put(f"away-new{n}", QUICK).status == 202
    assert k.call("DELETE", f"/v1/workloads/away-gone{n}").status == 202
    assert time.monotonic() - began < 8  # an engine that hangs is waited for at least 10 s
    assert set(listed(k)) >= {"away-up", "away-down", f"away-new{n}"}


def changes_are_done(k, n, down):
    k.reaches("away-up", "running", 60, revision_id=str(n), phase="idle")
    k.reaches(f"away-new{n}", "running", 60)
    wait_for("it is gone", lambda: k.get(f"away-gone{n}") is None, 30)
    assert k.inspect(f"away-gone{n}") is None and len(boxes(k, "away-up")) == 1
    assert f"N={n}" in k.inspect("away-up")["Config"]["Env"]
    w = k.reaches("away-down", "stopped", 20)
    assert w["object_id"] == down
    wait_for("docker is reachable", lambda: ready(k, "docker")["ok"] and condition(k) == "healthy")


def test_the_engine_stops_hangs_and_is_killed(shaky):
    k, d = shaky, shaky.engine
    k.extra_config = "shutdown:\n  limit: 1s\n"
    k.begin()
    for id in ("away-up", "away-gone1", "away-gone2", "away-gone3"):
        k.put(id, {**QUICK, "revision_id": "0"})
    k.put("away-down", {**QUICK, "desired_state": "stopped"})
    for id in ("away-up", "away-gone1", "away-gone2", "away-gone3"):
        k.reaches(id, "running")
    down = k.reaches("away-down", "stopped")["object_id"]

    # Stopped: known as such, nothing is forgotten, and nothing removed for several passes for garbage.
    d.halt()
    is_unknown(k, "away-up", "away-down")
    wait_for("docker is away", lambda: not ready(k, "docker")["ok"] and condition(k) != "healthy")
    changes_while_away(k, 1)
    time.sleep(2.5)
    assert set(listed(k)) == {"away-up", "away-down", "away-new1", "away-gone1", "away-gone2", "away-gone3"}
    x = k.call("GET", "/v1/explain/workload/away-up").json()
    assert "answer" in x["why"] or "unreachable" in x["why"], x
    d.launch()
    changes_are_done(k, 1, down)

    # Hung: calls end all the same.
    os.kill(d.process.pid, signal.SIGSTOP)
    try:
        changes_while_away(k, 2)
        for _ in range(3):
            listed(k)
            time.sleep(0.5)
        began = time.monotonic()
        assert k.put("away-up", quick(env={"N": "x"}), "?dry_run=true").json()["verdict"] == "update"
        assert k.call("POST", "/v1/workloads/away-up/action", {"action": "restart"}).status == 202
        assert time.monotonic() - began < 8
        # gantryd ends and begins all the same, too.
        began = time.monotonic()
        assert k.stop_gantryd() == 0
        assert time.monotonic() - began < patient(3)
        began = time.monotonic()
        k.start_gantryd()
        assert time.monotonic() - began < patient(3)
        listed(k)
        is_unknown(k, "away-new1", "away-down", seconds=20)
        wait_for("docker is away", lambda: not ready(k, "docker")["ok"] and condition(k) != "healthy")
        listed(k)
    finally:
        os.kill(d.process.pid, signal.SIGCONT)
    changes_are_done(k, 2, down)

    # Killed: the containers go with it, and come back.
    kill_engine(d)
    is_unknown(k, "away-new1", "away-down")
    changes_while_away(k, 3)
    d.launch()
    changes_are_done(k, 3, down)
    for i in (1, 2):
        k.reaches(f"away-new{i}", "running", 30)
        assert len(boxes(k, f"away-new{i}")) == 1


def test_the_machine_goes_down_and_comes_up(shaky):
    """Everything is killed, gantryd too, and what runs in containers; the engine comes up late, then early."""
    k, d = shaky, shaky.engine
    k.begin()
    k.put("boot-1", QUICK)
    k.put("boot-2", {**QUICK, "depends_on": [{"id": "boot-1"}]})
    k.put("boot-3", {**QUICK, "desired_state": "stopped"})
    one, two, three = (k.reaches(f"boot-{i}", s)["object_id"] for i, s in ((1, "running"), (2, "running"), (3, "stopped")))
    for late in (True, False):
        began = k.get("boot-1")["started_at"]
        k.gantryd.stop(signal.SIGKILL)
        kill_engine(d, reboot=True)
        if late:
            k.start_gantryd()
            is_unknown(k, "boot-1", "boot-2", "boot-3")
            time.sleep(1.2)
            d.launch()
        else:
            d.launch()
            k.start_gantryd()
        for id in ("boot-1", "boot-2"):
            k.reaches(id, "running", 30, phase="idle")
            assert len(boxes(k, id)) == 1
        assert k.get("boot-1")["started_at"] != began
        assert k.reaches("boot-3", "stopped")["object_id"] == three
        assert not k.inspect("boot-3")["State"]["Running"]


# ---- gantryd

class Storm(threading.Thread):
    """Applies, updates, stops and deletes one id without a break, and remembers what was accepted last, and what may have been."""

    deletes = 0.15

    def __init__(self, k, id, seed):
        super().__init__(daemon=True)
        self.k, self.id, self.random = k, id, random.Random(seed)
        self.may_be = [None]  # the last that was accepted, and those behind it that got no answer; None: deleted
        self.ended = threading.Event()
        self.accepted = self.unanswered = self.n = 0
        self.odd = []

    def run(self):
        while not self.ended.is_set():
            self.n += 1
            want = None if self.random.random() < self.deletes else (str(self.n), self.random.random() < 0.8)
            try:
                if want is None:
                    a = self.k.call("DELETE", f"/v1/workloads/{self.id}")
                else:
                    a = self.k.put(self.id, {**quick(env={"N": want[0]}), "revision_id": want[0],
                                             "desired_state": "running" if want[1] else "stopped"})
            except (OSError, http.client.HTTPException):
                self.unanswered += 1
                self.may_be.append(want)
                self.ended.wait(0.05)
                continue
            if a.status in (200, 202) or a.status == 404 and want is None:
                self.accepted += 1
                self.may_be = [want]
            elif a.status != 409:  # is being deleted: nothing has changed
                self.odd.append(a)
            self.ended.wait(self.random.random() * 0.15)


def found(k, id):
    w = k.get(id)
    return (w["revision_id"], w["desired_state"] == "running") if w else None


def is_at_rest(k, id):
    w = k.get(id)
    if w is None:
        return k.inspect(id) is None
    return not w.get("deleting") and w["phase"] == "idle" and w["actual_state"] == w["desired_state"]


def test_killed_in_a_storm_of_changes(calm):
    k = calm
    k.workloads["orphan_age"] = "1h"
    k.begin()
    storms = [Storm(k, f"storm-{i}", 1000 + i) for i in range(5)]
    for s in storms:
        s.start()
    dice = random.Random(7)
    enough = lambda: sum(s.accepted for s in storms) > 100 and sum(s.unanswered for s in storms) > 5
    rounds, end = 0, time.monotonic() + patient(60)
    while rounds < 25 or not enough() and time.monotonic() < end:
        rounds += 1
        time.sleep(0.02 + dice.random() * 0.6)
        k.gantryd.stop(signal.SIGKILL)
        k.start_gantryd()
    for s in storms:
        s.ended.set()
    for s in storms:
        s.join(patient(40))
        assert not s.is_alive() and not s.odd, s.odd[:3]
    assert enough(), [(s.accepted, s.unanswered) for s in storms]
    for s in storms:
        w = k.get(s.id)
        assert (None if w is None or w.get("deleting") else found(k, s.id)) in s.may_be, (w, s.may_be)
        wait_for(f"{s.id} is at rest: {k.get(s.id)}", lambda: is_at_rest(k, s.id), 40)
        now = found(k, s.id)
        assert now in s.may_be, (s.id, now, s.may_be)
        assert len(boxes(k, s.id)) == (now is not None)
        if now:
            box = k.inspect(s.id)
            assert box["Config"]["Labels"]["persys.revision_id"] == now[0] and f"N={now[0]}" in box["Config"]["Env"]
            assert box["State"]["Running"] == now[1]


def test_an_empty_store_does_not_sweep(calm):
    """What gantryd has forgotten is no prey until it is old, was seen twice and bears this node's name."""
    k = calm
    k.workloads["orphan_age"] = "6s"
    k.begin()
    k.put("swept-1", QUICK)
    k.reaches("swept-1", "running")
    label = lambda id: [f"--label={x}" for x in ("persys.managed=true", f"persys.workload_id={id}", "persys.revision_id=1")]
    k.engine.docker("run", "-d", "--name", "swept-2", *label("swept-2"), "--label=persys.node_id=other", "busybox:local", "sleep", "86400")
    k.engine.docker("run", "-d", "--name", "swept-3", *label("swept-3"), "busybox:local", "sleep", "86400")
    k.gantryd.stop()
    os.rename(k.root / "state", k.root / "state.away")
    try:
        began = time.monotonic()
        k.start_gantryd()
        while True:
            box = k.inspect("swept-1")
            if time.monotonic() - began > 5.5:  # of the six that it has to be old, if all that went before was quick
                break
            assert box and box["State"]["Running"]
            time.sleep(0.2)
        wait_for("the orphan is removed", lambda: k.inspect("swept-1") is None, 20)
        time.sleep(1.5)
        for id in ("swept-2", "swept-3"):
            assert k.inspect(id)["State"]["Running"]
        # The store as it was: what was asked for is made again.
        k.gantryd.stop()
        shutil.rmtree(k.root / "state")
    finally:
        os.rename(k.root / "state.away", k.root / "state")
        k.engine.docker("rm", "-f", "swept-2", "swept-3")
    k.start_gantryd()
    k.reaches("swept-1", "running")


# ---- the disk

@pytest.fixture
def small_disk(calm):
    """The state folder on a file system of its own."""
    place = calm.root / "state"
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(place)], check=True)
    calm.place = place
    try:
        yield calm
        over(calm)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_and_one_that_cannot_be_written(small_disk):
    k = small_disk
    k.begin()
    k.put("full-1", {**QUICK, "revision_id": "1"})
    first = k.reaches("full-1", "running")["object_id"]
    with open(k.place / "fill", "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    before = k.get("full-1")
    long = {**quick(env={f"V{i}": "x" * 1000 for i in range(40)}), "revision_id": "2"}
    a = k.put("full-1", long)
    assert a.status == 507, a
    a = k.put("full-2", long)
    assert a.status == 507 and k.get("full-2") is None, a
    now = k.get("full-1")
    assert {f: now[f] for f in ("revision_id", "generation", "object_id")} == {f: before[f] for f in ("revision_id", "generation", "object_id")}
    # What runs is looked after all the same.
    k.engine.docker("kill", "full-1")
    wait_for("it is started again", lambda: (k.inspect("full-1") or {"State": {"Running": False}})["State"]["Running"], 20)
    assert k.inspect("full-1")["Config"]["Labels"]["persys.revision_id"] == "1"
    (k.place / "fill").unlink()
    assert k.put("full-1", long).status == 202 and k.put("full-2", {**QUICK, "revision_id": "2"}).status == 202
    for id in ("full-1", "full-2"):
        k.reaches(id, "running", 30, revision_id="2", phase="idle")
    assert k.inspect("full-1")["Id"] != first
    # A folder that is only read from now on, and from the start.
    k.gantryd.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(k.place)], check=True)
    k.start_gantryd()
    said = ready(k, "store")
    assert not said["ok"] and "state.db" in said["detail"], said
    assert k.put("full-2", {**QUICK, "revision_id": "3"}).status == 503
    assert k.inspect("full-1")["State"]["Running"] and k.inspect("full-2")["State"]["Running"]
    k.gantryd.stop()
    subprocess.run(["mount", "-o", "remount,rw", str(k.place)], check=True)
    k.start_gantryd()
    k.reaches("full-1", "running", revision_id="2")


def test_a_damaged_store_is_told_and_left_alone(calm):
    k = calm
    k.begin()
    k.put("dmg-1", QUICK)
    box = k.reaches("dmg-1", "running")["object_id"]
    k.gantryd.stop()
    store = k.root / "state" / "state.db"
    good = {p: p.read_bytes() for p in store.parent.iterdir()}
    rows = bytearray(good[store])
    rows[len(rows) // 4:len(rows) // 2] = random.Random(3).randbytes(len(rows) // 2 - len(rows) // 4)
    for bad in (bytes(rows), good[store][:5000], b"no store at all" * 100):
        for p in store.parent.iterdir():
            p.unlink()
        store.write_bytes(bad)
        r = subprocess.run([program("gantryd"), "--config", str(k.root / "config.yml"), "--check-store"], capture_output=True, text=True, timeout=patient(40))
        assert r.returncode == 1 and store.name in r.stdout + r.stderr, r
        k.start_gantryd()
        said = ready(k, "store")
        assert not said["ok"] and store.name in said["detail"], said
        assert k.put("dmg-1", QUICK).status == 503
        time.sleep(1.5)
        k.gantryd.stop()
        assert store.read_bytes() == bad
        w = k.inspect("dmg-1")
        assert w["Id"] == box and w["State"]["Running"]
    for p in store.parent.iterdir():
        p.unlink()
    for p, data in good.items():
        p.write_bytes(data)
        p.chmod(0o600)
    k.start_gantryd()
    assert k.reaches("dmg-1", "running")["object_id"] == box


def test_one_damaged_row_harms_no_other(calm):
    k = calm
    k.begin()
    for id in ("row-1", "row-2"):
        k.put(id, QUICK)
    box = {id: k.reaches(id, "running")["object_id"] for id in ("row-1", "row-2")}
    k.gantryd.stop()
    db = sqlite3.connect(k.root / "state" / "state.db")
    db.execute("UPDATE workloads SET who = 'nobody' WHERE id = 'row-2'")
    db.commit()
    db.close()
    r = subprocess.run([program("gantryd"), "--config", str(k.root / "config.yml"), "--check-store"], capture_output=True, text=True, timeout=patient(40))
    assert r.returncode == 1 and "row-2" in r.stdout + r.stderr, r
    k.start_gantryd()
    assert k.reaches("row-1", "running")["object_id"] == box["row-1"] and k.get("row-2") is None
    said = ready(k, "store")
    assert not said["ok"] and "--check-store" in said["detail"], said
    assert "store-row-unreadable" in k.gantryd.text() and '"workload":"row-2"' in k.gantryd.text()
    # It may not be known what was asked for: what runs stays.
    k.engine.docker("kill", "row-1")
    time.sleep(2.5)
    k.reaches("row-1", "running")
    now = k.inspect("row-2")
    assert now["Id"] == box["row-2"] and now["State"]["Running"]
    # Asked for once more, it is taken over.
    assert k.put("row-2", QUICK).status == 202
    assert k.reaches("row-2", "running", phase="idle")["object_id"] == box["row-2"]
    k.gantryd.stop()
    k.start_gantryd()
    assert k.reaches("row-2", "running")["object_id"] == box["row-2"]
    assert ready(k, "store")["ok"]


# ---- images

@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """While there is this file, what slow/a sends does not come to an end."""
    return tmp_path_factory.mktemp("registry") / "gate"


@pytest.fixture(scope="module")
def registries(engine, gate):
    """Host and port of an open registry and of one with a password, as the engine reaches them."""
    inside = ["nsenter", "--net", "-t", str(engine.process.pid)]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    p = subprocess.Popen([*inside, "/usr/bin/python3", os.path.join(os.path.dirname(__file__), "registry.py"), str(gate)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield ["127.0.0.1:%d" % int(p.stdout.readline()) for _ in range(2)]
    finally:
        p.stdin.close()
        p.kill()
        p.wait()


def failed(k, id, reason, given_up, seconds=20):
    """It failed for this reason; given up, or with a next try."""
    def check():
        w = k.get(id)
        return w if w.get("reason") == reason and bool(w.get("given_up")) == given_up and (given_up or w.get("next_try_at")) else None
    try:
        w = wait_for("it failed", check, seconds)
    except AssertionError:
        raise AssertionError(f"{id} did not fail with {reason}, given up: {given_up}; it is {k.get(id)}")
    assert w["metadata"]["failure_reason"] == reason and w["failure"], w
    return w


def test_images_that_cannot_be_had(calm, registries, gate):
    k = calm
    free, closed = registries
    k.workloads["retry"] = "{attempts: 2, first: 200ms, most: 400ms, steady: 2s}"
    k.begin()
    image = lambda name, **more: quick(image=name, **more)
    k.put("pull-none", image(f"{free}/none/a:1"))
    k.put("pull-tag", image(f"{free}/open/a:2"))
    k.put("pull-refused", image("127.0.0.1:1/open/a:1"))
    k.put("pull-closed", image(f"{closed}/open/a:1"))
    gate.touch()
    k.put("pull-slow", image(f"{free}/slow/a:1"))
    # How far it is can be seen.
    message = wait_for("its progress", lambda: (lambda m: m if "layers" in m else None)(k.get("pull-slow")["message"]))
    gate.unlink()
    assert message.startswith(f"pulling {free}/slow/a:1: "), message
    # By class: given up at once, tried some times, tried for as long as it takes somebody to act.
    for id, reason, given_up, word in (("pull-none", "INVALID_IMAGE", True, "none/a"), ("pull-tag", "INVALID_IMAGE", True, "open/a:2"),
                                       ("pull-refused", "NETWORK_UNREACHABLE", True, "refused"),
                                       ("pull-closed", "IMAGE_PULL_AUTH_FAILED", False, "open/a")):
        w = failed(k, id, reason, given_up)
        assert word in w["failure"] and w["actual_state"] == "failed" and w["attempts"] == (3 if id == "pull-refused" else w["attempts"]), w
    assert k.get("pull-none")["attempts"] == 1
    wait_for("it is tried again", lambda: k.get("pull-closed")["attempts"] > 4)
    # With the right password at last.
    assert k.put("pull-closed", image(f"{closed}/open/a:1", registry={"username": "bob", "password": "geheim"})).status == 202
    k.reaches("pull-closed", "running", 20)
    k.reaches("pull-slow", "running", 30)
    # What is here serves while the registry cannot be reached.
    k.engine.docker("tag", "busybox:local", "127.0.0.1:1/open/a:1")
    assert k.put("pull-refused", image("127.0.0.1:1/open/a:1", env={"A": "1"})).status == 202
    k.reaches("pull-refused", "running", 20)
    k.engine.docker("rmi", "-f", "127.0.0.1:1/open/a:1")


def test_ends_within_its_limit_whatever_is_under_way(calm, registries):
    """A registry that says nothing and a container that does not want to end: both are gone on with after the next start."""
    k = calm
    k.extra_config = "shutdown:\n  limit: 1s\n"
    k.begin()
    stubborn = {"container": {"image": "busybox:local", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"], "stop_timeout_s": 600}}
    k.put("end-stop", stubborn)
    k.put("end-run", QUICK)
    first = k.reaches("end-run", "running")["object_id"]
    k.reaches("end-stop", "running")
    k.put("end-pull", quick(image=f"{registries[0]}/hang/a:1", image_pull="always"))
    assert k.call("DELETE", "/v1/workloads/end-stop").status == 202
    k.reaches("end-pull", "pending", phase="making")
    wait_for("it is being stopped", lambda: k.get("end-stop")["phase"] == "removing")
    time.sleep(0.5)
    began = time.monotonic()
    assert k.stop_gantryd() == 0
    assert time.monotonic() - began < patient(3)
    k.start_gantryd()
    assert k.reaches("end-run", "running")["object_id"] == first
    k.reaches("end-pull", "pending", phase="making")
    assert k.get("end-stop")["deleting"]
    k.engine.docker("kill", "end-stop", check=False)
    wait_for("it is gone", lambda: k.get("end-stop") is None, 40)
    assert k.call("DELETE", "/v1/workloads/end-pull").status == 202
    # Whether the gantryd before was making it nobody knows: it is waited for a while.
    wait_for("it is gone, too", lambda: k.get("end-pull") is None, 60)


# ---- what the engine refuses, and people with docker at hand

def test_what_the_engine_refuses(calm):
    k = calm
    k.workloads["retry"] = "{attempts: 2, first: 200ms, most: 400ms, steady: 30s}"  # what ends at once may be seen to run for seconds
    k.begin()
    port = [{"host_port": 18099, "container_port": 80}]
    k.put("bad-port1", quick(ports=port))
    k.reaches("bad-port1", "running")
    k.put("bad-port2", quick(ports=port))
    k.put("bad-mount", quick(volumes=[{"host_path": "/nonexistent-folder/x", "container_path": "/x"}]))
    k.put("bad-command", {"container": {"image": "busybox:local", "command": ["no-such-program"]}})
    k.put("bad-memory", quick(resources={"memory_bytes": 1 << 20}))
    k.put("bad-loop", {"container": {"image": "busybox:local", "command": ["sh", "-c", "exit 1"], "restart_policy": {"policy": "always"}}})
    k.put("bad-oom", {"container": {"image": "busybox:local", "command": ["sh", "-c", "x=x; while :; do x=$x$x$x$x; done"],
                                    "resources": {"memory_bytes": 16 << 20, "memory_swap_bytes": 16 << 20}}})
    assert "18099" in failed(k, "bad-port2", "PORT_BIND_CONFLICT", True)["failure"]
    assert "/nonexistent-folder/x" in failed(k, "bad-mount", "INVALID_SPECIFICATION", True)["failure"]
    assert "no-such-program" in failed(k, "bad-command", "INVALID_SPECIFICATION", True)["failure"]
    assert "memory" in failed(k, "bad-memory", "INVALID_SPECIFICATION", True)["failure"].lower()
    # The engine sometimes tells an end before it knows of its cause.
    for _ in range(5):
        w = k.reaches("bad-oom", "failed", 30, given_up=True)
        if w["stop_cause"] == "oom":
            break
        assert k.call("POST", "/v1/workloads/bad-oom/action", {"action": "retry"}).status == 202
    assert w["stop_cause"] == "oom", w
    # The engine calls it running between two tries, too; it runs for moments only, and rests twice as long each time.
    wait_for("it is restarted", lambda: k.inspect("bad-loop")["RestartCount"] > 3)
    seen = []

    def mostly_pending():
        w = k.get("bad-loop")
        seen.append(w["actual_state"] + " " + w["message"])
        time.sleep(0.03)
        return len(seen) >= 40 and seen[-40:].count("pending restarting") > 30
    wait_for("it rests most of the time", mostly_pending, 30)
    assert not any(s.startswith("stopped") for s in seen), seen
    # A mended document is tried at once.
    assert k.put("bad-command", QUICK).status == 202
    k.reaches("bad-command", "running")
    assert k.put("bad-port2", quick(ports=[{"host_port": 18098, "container_port": 80}])).status == 202
    k.reaches("bad-port2", "running")


def test_people_with_docker_at_hand(calm):
    k = calm
    docker = k.engine.docker
    k.begin()
    for id in ("hand-pause", "hand-stop", "hand-name"):
        k.put(id, {**QUICK, "revision_id": "1"})
        assert k.get(id)["actual_state"] in ("pending", "running")
    k.put("hand-start", {**QUICK, "desired_state": "stopped"})
    for id in ("hand-pause", "hand-stop", "hand-name"):
        k.reaches(id, "running")
    ids = {id: k.inspect(id)["Id"] for id in ("hand-pause", "hand-stop", "hand-name")}
    k.reaches("hand-start", "stopped")
    started = k.inspect("hand-stop")["State"]["StartedAt"]
    docker("pause", "hand-pause")
    docker("stop", "-t", "1", "hand-stop")
    docker("rename", "hand-name", "hand-other")
    docker("start", "hand-start")
    wait_for("it is started again", lambda: (lambda s: s["Running"] and s["StartedAt"] != started)(k.inspect("hand-stop")["State"]))
    k.reaches("hand-stop", "running", phase="idle")
    wait_for("it is stopped again", lambda: not k.inspect("hand-start")["State"]["Running"])
    k.reaches("hand-start", "stopped", phase="idle")
    wait_for("it goes on", lambda: not k.inspect("hand-pause")["State"]["Paused"])
    k.reaches("hand-pause", "running", phase="idle")
    assert k.inspect("hand-pause")["Id"] == ids["hand-pause"]
    # Under its name there is none any more: it is made. What bears another name than its label says is nobody's of ours.
    wait_for("a new one", lambda: (k.inspect("hand-name") or {"Id": ids["hand-name"]})["Id"] != ids["hand-name"])
    k.reaches("hand-name", "running", phase="idle")
    time.sleep(1.5)
    other = k.inspect("hand-other")
    assert other["Id"] == ids["hand-name"] and other["State"]["Running"]
    docker("rm", "-f", "hand-other")


def test_what_the_original_agent_made_is_taken_over(calm):
    """Contract 5.1: these labels, the workload's id as name, no node."""
    k = calm
    label = lambda id: [f"--label={x}" for x in ("persys.managed=true", f"persys.workload_id={id}", "persys.revision_id=r7")]
    for id in ("old-1", "old-2"):
        k.engine.docker("run", "-d", "--name", id, *label(id), "--restart", "no", "busybox:local", "sleep", "86400")
    before = {id: k.inspect(id) for id in ("old-1", "old-2")}
    k.begin()
    time.sleep(2.5)
    doc = {"container": {"image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1}}
    assert k.put("old-1", {**doc, "revision_id": "r7"}).status == 202
    assert k.put("old-2", {**doc, "revision_id": "r8"}).status == 202
    w = k.reaches("old-1", "running", phase="idle")
    now = k.inspect("old-1")
    assert w["object_id"] == now["Id"] == before["old-1"]["Id"] and now["State"]["StartedAt"] == before["old-1"]["State"]["StartedAt"]
    wait_for("another", lambda: (k.inspect("old-2") or before["old-2"])["Id"] != before["old-2"]["Id"])
    k.reaches("old-2", "running", revision_id="r8", phase="idle")
    assert len(boxes(k, "old-2")) == 1


# ---- numbers

def test_resets_and_a_burst(calm):
    """10,000 connections are cut at all stages while workloads change; 1,000 workloads come and go."""
    k = calm
    k.begin()
    k.put("busy-1", QUICK)
    k.reaches("busy-1", "running")

    def cut(count):
        for i in range(count):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                s.connect(k.address)
                s.sendall((b"", b"GET /v1/workloads HTTP/1.1\r\nHost: x\r\n\r\n", b"PUT /v1/workloads/cut-1 HTTP/1.1\r\nHost: x\r\nContent-Len",
                           b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")[i % 4])
            except OSError:
                pass
            s.close()

    threads = [threading.Thread(target=cut, args=(2500,)) for _ in range(4)]
    for t in threads:
        t.start()
    n = 0
    while any(t.is_alive() for t in threads):
        n += 1
        assert k.put("busy-1", {**quick(env={"N": str(n)}), "revision_id": str(n)}).status == 202
        time.sleep(0.2)
    k.reaches("busy-1", "running", 20, revision_id=str(n), phase="idle")
    assert k.get("cut-1") is None and len(boxes(k, "busy-1")) == 1
    ids = [f"burst-{i}" for i in range(1000)]

    def each(method, part):
        c = http.client.HTTPConnection("127.0.0.1", k.port, timeout=patient(60))
        for id in ids[part::8]:
            body = json.dumps({"id": id, "type": "container", "desired_state": "stopped", **SLEEPER}) if method == "PUT" else None
            c.request(method, f"/v1/workloads/{id}", body, {"Content-Type": "application/json"})
            r = c.getresponse()
            r.read()
            results.append(r.status)
        c.close()

    for method in ("PUT", "DELETE"):
        results = []
        threads = [threading.Thread(target=each, args=(method, i)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert results == [202] * 1000, set(results)
    wait_for("all are gone", lambda: len(k.call("GET", "/v1/workloads").json()["workloads"]) == 1, 90)
    time.sleep(1)
    assert k.engine.docker("ps", "-a", "--format", "{{.Names}}", "--filter", "name=burst-").split() == []

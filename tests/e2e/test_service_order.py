"""Services of a container that wait for workloads: real s6, a real agent, a container on a real Docker Engine."""
import os
import subprocess
import time

import pytest

import harness
from harness import patient, wait_for
from test_workloads import Keeper

DB = {"container": {"image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1},
      "health": {"kind": "command", "command": ["test", "-f", "/ready"], "interval": "300ms"}}
WAITS = "Service 'worker' of container 'robot' waits for workload \"order-db\""


class Ordered(Keeper):
    rules = """\
service_dependencies:
  - {container: robot, service: worker, depends_on: [{id: order-db, condition: healthy}]}
  - {container: robot, service: by-hand, depends_on: [{id: order-db, condition: address}], desired_state: stopped}
  - {container: nowhere, service: x, depends_on: [{id: order-db}]}
"""

    def config(self):
        return super().config() + self.rules

    def begin(self):
        self.start()
        for name in ("worker", "by-hand"):
            self.add_down(name)
        return self

    def add_down(self, name):
        """A service that its supervisor does not start by itself."""
        source = self.tree.root / f"make-{name}"
        source.mkdir()
        (source / "run").write_text("#!/bin/sh\nexec sleep 86400\n")
        (source / "run").chmod(0o755)
        (source / "down").write_text("")
        source.rename(self.tree.scandir / name)
        subprocess.run(["s6-svscanctl", "-a", str(self.tree.scandir)], check=True)
        wait_for(f"{name} is supervised", lambda: subprocess.run(["s6-svok", str(self.tree.scandir / name)]).returncode == 0)

    def act(self, name, action, query=""):
        return self.call("POST", f"/containers/robot/services/{name}{query}", {"action": action})

    def up(self, name):
        return self.call("GET", f"/containers/robot/services/{name}/status").json()["is_up"]

    def explain(self, name):
        return self.call("GET", f"/v1/explain/service/robot/{name}").json()

    def told(self, name):
        """(type, message) of the events of its order."""
        events = self.call("GET", f"/v1/events?follow=false&kind=service&name=robot/{name}").json()["events"]
        return [(e["type"], e.get("message")) for e in events if e["type"] in ("waiting", "released", "failed")]

    def db_is_healthy(self):
        self.engine.docker("exec", "order-db", "touch", "/ready")
        self.reaches("order-db", "running", health="healthy")


@pytest.fixture
def k(tmp_path, engine):
    k = Ordered(tmp_path, engine)
    k.begin()
    yield k
    if k.gantryd and k.gantryd.alive():
        for w in k.call("GET", "/v1/workloads").json()["workloads"]:
            k.remove(w["id"])
    k.stop()
    k.check_clean()


def test_rules_are_changed_by_a_reload(k):
    wait_for("it is held", lambda: k.explain("worker")["waits_for"] == ["order-db"])
    assert k.act("worker", "up").status == 409
    before, text = k.rules, (k.root / "config.yml").read_text()
    (k.root / "config.yml").write_text(text.replace("service: worker", "service: other"))
    r = k.call("POST", "/config/reload").json()
    assert {c["key"] for c in r["applied"]} == {"service_dependencies"} and r["restart"] == [], r
    assert k.explain("worker")["waits_for"] == []
    assert k.act("worker", "up").status == 200
    wait_for("it is up", lambda: k.up("worker"))
    # A configuration with a fault changes none of them.
    (k.root / "config.yml").write_text(text.replace("id: order-db", "id: a/b"))
    assert k.call("POST", "/config/reload").status == 400
    (k.root / "config.yml").write_text(text)
    assert k.call("POST", "/config/reload").status == 200
    assert k.act("worker", "down").status == 200
    # One that is up is not held; so not before it is seen to be down.
    wait_for("it is held again", lambda: k.explain("worker")["waits_for"] == ["order-db"])
    assert k.act("worker", "up").status == 409
    # None at all.
    (k.root / "config.yml").write_text(text.replace(before, ""))
    assert k.call("POST", "/config/reload").status == 200
    assert k.act("by-hand", "up").status == 200


def test_a_service_waits_for_a_container(k):
    x = wait_for("it is held", lambda: (lambda x: x if x["waits_for"] == ["order-db"] else None)(k.explain("worker")))
    assert x["why"] == 'it waits for workload "order-db", which does not exist' and x["should_be"] == "running", x
    assert x["next"] == "it is started as soon as that is so" and x["asked_by"] == "service_dependencies in the configuration", x
    a = k.act("worker", "up")
    assert a.status == 409 and a.json()["error"] == WAITS + ", which does not exist; force=true starts it all the same", a
    a = k.act("worker", "restart")
    assert a.status == 409, a
    # cyclo_manager's path is no way round it.
    a = k.call("POST", "/robot/services/worker", {"action": "up"})
    assert a.status == 409, a
    assert k.put("order-db", DB).status == 202
    k.reaches("order-db", "running")
    x = wait_for("its check", lambda: (lambda x: x if "healthy" in x["why"] else None)(k.explain("worker")))
    assert x["why"] == 'it waits for workload "order-db" to be healthy', x
    waits = ("waiting", 'waits for workload "order-db" to be healthy')
    wait_for("that is told", lambda: k.told("worker")[-1:] == [waits])
    assert not k.up("worker")
    k.db_is_healthy()
    wait_for("it is started", lambda: k.up("worker"))
    told = k.told("worker")
    assert told[-2:] == [waits, ("released", "its needs are met: it is started")], told
    assert k.explain("worker")["waits_for"] == []
    # What it needed goes: it stays up, and may be started anew by its supervisor and by us.
    k.remove("order-db")
    time.sleep(1)
    assert k.up("worker") and k.act("worker", "restart").status == 200
    wait_for("it is up again", lambda: k.up("worker"))
    # Stopped, it stays so; a start is early again, unless it is forced.
    assert k.act("worker", "down").status == 200
    wait_for("it is down", lambda: not k.up("worker"))
    wait_for("that is known", lambda: k.explain("worker")["waits_for"] == ["order-db"])
    assert k.act("worker", "up").status == 409
    r = k.cli("up", "robot", "worker")
    assert r.returncode == 1 and WAITS in r.stderr, r
    r = k.cli("up", "--force", "robot", "worker")
    assert r.returncode == 0 and r.stdout == "worker: up: ok\n", r
    wait_for("it is up", lambda: k.up("worker"))


def test_one_that_is_started_by_hand(k):
    x = wait_for("it is held", lambda: (lambda x: x if x["waits_for"] == ["order-db"] else None)(k.explain("by-hand")))
    assert x["next"] == "nothing, until somebody starts it, which is refused until that is so", x
    assert k.act("by-hand", "up").status == 409
    assert k.put("order-db", DB).status == 202
    k.reaches("order-db", "running")
    wait_for("its address", lambda: k.get("order-db").get("address"))
    time.sleep(1.5)
    assert not k.up("by-hand") and k.told("by-hand") == []
    assert k.act("by-hand", "up").status == 200
    wait_for("it is up", lambda: k.up("by-hand"))


def test_orders_outlive_us_and_containers_begin_anew(k):
    assert k.put("order-db", DB).status == 202
    k.reaches("order-db", "running")
    k.db_is_healthy()
    wait_for("it is started", lambda: k.up("worker"))
    assert k.act("worker", "down").status == 200
    wait_for("it is down", lambda: not k.up("worker"))
    # gantryd is started anew: what somebody stopped stays so.
    k.stop_gantryd()
    k.start_gantryd()
    k.reaches("order-db", "running", health="healthy")
    time.sleep(2)
    assert not k.up("worker"), k.told("worker")
    assert k.act("worker", "up").status == 200
    wait_for("it is up", lambda: k.up("worker"))
    # The container begins anew: its supervisor starts nothing, we do.
    k.stop_agent()
    worker = str(k.tree.scandir / "worker")
    subprocess.run(["s6-svc", "-dx", worker], check=True)
    wait_for("a supervisor that begins anew", lambda: "down (exitcode 0)" in subprocess.run(
        ["s6-svstat", worker], capture_output=True, text=True).stdout)
    k.start_agent()
    wait_for("it is started", lambda: k.up("worker"), 30)
    assert "service-dependency-unused" in k.gantryd.text()


def test_a_wrong_rule_is_refused(tmp_path):
    path = tmp_path / "config.yml"
    for rule, words in (("{container: a, service: b}", "depends_on"),
                        ("{container: a, service: b, depends_on: []}", "at least 1"),
                        ("{container: a, service: b, depends_on: [{id: x}]}", "workload id"),
                        ("{container: a, service: b, depends_on: [{id: order-db, condition: up}]}", "running, healthy, address"),
                        ("{container: a, service: ../b, depends_on: [{id: order-db}]}", "../b"),
                        ("{container: a, service: b, depends_on: [{id: db}, {id: db}]}", "twice"),
                        ("{container: a, service: b, depends_on: [{id: order-db}]}\n- {container: a, service: b, depends_on: [{id: order-db}]}", "twice")):
        path.write_text(f"service_dependencies:\n- {rule}\n")
        out = subprocess.run([harness.program("gantryd"), "--config", str(path), "--check-config"], capture_output=True, text=True, timeout=patient(20),
                             env=dict(os.environ, NO_COLOR="1"))
        assert out.returncode != 0 and words in out.stdout + out.stderr, (rule, out)

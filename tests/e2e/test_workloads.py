"""Workloads over REST, on a real Docker Engine: what was asked for is kept, through crashes of gantryd and of the engine."""
import contextlib
import http.client
import json
import os
import signal
import threading
import time

import pytest

import harness
from harness import ask, patient, wait_for


class Keeper(harness.Stack):
    """gantryd with workloads, without an s6 tree."""

    def __init__(self, root, engine):
        super().__init__(root)
        self.docker_socket = engine.socket
        self.engine = engine
        self.workloads = {"interval": "1s", "retry": "{first: 500ms, most: 2s, steady: 2s}",
                          "admission": "{memory: 0, cpu: 0, disk: 0}", "lock_roots": f"[{root}]"}
        self.node = "n1"

    def config(self):
        lines = "".join(f"  {k}: {v}\n" for k, v in self.workloads.items())
        return super().config() + f"workloads:\n{lines}node:\n  id: {self.node}\n"

    def begin(self):
        self.start_gantryd()
        return self

    def call(self, method, path, body=None, headers=None):
        return ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=patient(30)), method, path, body, headers)

    def put(self, id, doc, query="", headers=None):
        return self.call("PUT", f"/v1/workloads/{id}{query}", {"id": id, "type": "container", **doc}, headers)

    def get(self, id):
        a = self.call("GET", f"/v1/workloads/{id}")
        return a.json() if a.status == 200 else None

    def reaches(self, id, state, seconds=20, **more):
        def check():
            w = self.get(id)
            return w if w and w["actual_state"] == state and all(w.get(k) == v for k, v in more.items()) else None
        try:
            return wait_for(f"{id} {state} {more}", check, seconds)
        except AssertionError:
            raise AssertionError(f"{id} did not become {state} {more}; it is {self.get(id)}\n{self.gantryd.text()[-2000:]}")

    def remove(self, *ids):
        for id in ids:
            assert self.call("DELETE", f"/v1/workloads/{id}?force=true").status in (202, 404)
        for id in ids:
            wait_for(f"{id} gone", lambda: self.get(id) is None, 40)
            assert self.inspect(id) is None

    def inspect(self, name):
        out = self.engine.docker("inspect", "--type", "container", name, check=False)
        rows = json.loads(out) if out.strip() else []
        return rows[0] if rows else None


SLEEPER = {"container": {"image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1}}


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, engine):
    k = Keeper(tmp_path_factory.mktemp("keeper"), engine)
    k.workloads["retry"] = "{first: 500ms, most: 2s, steady: 30s}"  # what ends at once may be seen to run for seconds
    k.begin()
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    k.stop()
    k.check_clean()


@pytest.fixture
def own_keeper(tmp_path, engine):
    k = Keeper(tmp_path, engine)
    yield k
    if k.gantryd and k.gantryd.alive() and k.workloads.get("enabled") != "false":
        for w in k.call("GET", "/v1/workloads").json()["workloads"]:
            k.remove(w["id"])
    k.stop()
    k.check_clean()


def test_apply_run_stop_update_delete(keeper):
    a = keeper.put("web-1", {**SLEEPER, "revision_id": "1"})
    assert a.status == 202 and a.json()["verdict"] == "accepted" and a.json()["task"].startswith("apply-web-1-"), a
    w = keeper.reaches("web-1", "running")
    box = keeper.inspect("web-1")
    assert box["State"]["Running"] and w["object_id"] == box["Id"]
    labels = box["Config"]["Labels"]
    assert labels["persys.managed"] == "true" and labels["persys.workload_id"] == "web-1"
    assert labels["persys.revision_id"] == "1" and labels["persys.node_id"] == "n1"
    # The same once more changes nothing.
    a = keeper.put("web-1", {**SLEEPER, "revision_id": "1"})
    assert a.status == 200 and a.json()["verdict"] == "unchanged", a
    # Stopped and started again in place.
    assert keeper.put("web-1", {**SLEEPER, "revision_id": "1", "desired_state": "stopped"}).status == 202
    w = keeper.reaches("web-1", "stopped", stop_cause="operator")
    assert w["object_id"] == box["Id"] and not keeper.inspect("web-1")["State"]["Running"]
    assert keeper.put("web-1", {**SLEEPER, "revision_id": "1"}).status == 202
    assert keeper.reaches("web-1", "running")["object_id"] == box["Id"]
    # Another document under the same revision is refused; a new revision makes a new object.
    other = {"container": {**SLEEPER["container"], "env": {"A": "b"}}}
    assert keeper.put("web-1", {**other, "revision_id": "1"}).status == 409
    assert keeper.put("web-1", {**other, "revision_id": "2"}).status == 202
    wait_for("the new object", lambda: (keeper.inspect("web-1") or box)["Id"] != box["Id"])
    w = keeper.reaches("web-1", "running", revision_id="2", phase="idle")
    assert "A=b" in keeper.inspect("web-1")["Config"]["Env"]
    tasks = keeper.call("GET", "/v1/tasks?workload=web-1").json()["tasks"]
    assert [t["status"] for t in tasks] == ["completed"] * 4 and all(t["kind"] == "apply_workload" for t in tasks), tasks
    assert keeper.call("DELETE", "/v1/workloads/web-1").status == 202
    wait_for("it is gone", lambda: keeper.get("web-1") is None)
    assert keeper.inspect("web-1") is None
    assert keeper.call("DELETE", "/v1/workloads/web-1").status == 404


def test_what_is_removed_behind_our_back_comes_back(keeper):
    keeper.put("back-1", SLEEPER)
    first = keeper.reaches("back-1", "running")["object_id"]
    keeper.engine.docker("rm", "-f", "back-1")
    wait_for("another object", lambda: (keeper.inspect("back-1") or {"Id": first})["Id"] != first)
    keeper.reaches("back-1", "running")
    keeper.engine.docker("kill", "back-1")
    w = keeper.reaches("back-1", "running")
    assert w["object_id"] != first
    keeper.remove("back-1")


def test_a_crash_is_tried_again_and_then_given_up(keeper):
    keeper.put("bad-1", {"container": {"image": "busybox:local", "command": ["sh", "-c", "echo broken >&2; exit 7"]}})
    w = keeper.reaches("bad-1", "failed", 30, given_up=True)
    assert w["exit_code"] == 7 and w["attempts"] >= 3 and w["stop_cause"] == "crash", w
    meta = wait_for("what it wrote", lambda: (lambda m: m if "container.stderr" in m else None)(keeper.get("bad-1")["metadata"]))
    assert meta["retry_terminal"] == "true" and "broken" in meta["container.stderr"], meta
    x = keeper.call("GET", "/v1/explain/workload/bad-1").json()
    assert "running" in x["should_be"] and "code 7" in x["why"] and x["next"] and "open" in x["asked_by"], x
    # An operator may say: try again. It is then tried again, in vain.
    before = keeper.inspect("bad-1")["State"]["StartedAt"]
    assert keeper.call("POST", "/v1/workloads/bad-1/action", {"action": "retry"}).status == 202
    wait_for("it is tried again", lambda: (keeper.inspect("bad-1") or {"State": {"StartedAt": before}})["State"]["StartedAt"] != before)
    # A better document brings it up.
    keeper.put("bad-1", SLEEPER)
    w = keeper.reaches("bad-1", "running")
    assert w["metadata"].get("retry_terminal", "false") == "false" and not w.get("failure"), w
    keeper.remove("bad-1")


def test_foreign_containers_are_never_touched(keeper):
    keeper.engine.docker("run", "-d", "--name", "mine-1", "busybox:local", "sleep", "86400")
    before = keeper.inspect("mine-1")
    keeper.put("mine-1", SLEEPER)
    w = wait_for("a failure", lambda: (lambda w: w if w.get("failure") else None)(keeper.get("mine-1")))
    assert "already in use" in w["failure"], w
    assert keeper.call("DELETE", "/v1/workloads/mine-1").status == 202
    wait_for("forgotten", lambda: keeper.get("mine-1") is None)
    after = keeper.inspect("mine-1")
    assert after["Id"] == before["Id"] and after["State"]["Running"]
    keeper.engine.docker("rm", "-f", "mine-1")


def test_bad_documents_say_where(keeper):
    for text, what in (('{"id": "x1", "type": "container", "container": {"image": 5, "prots": []}}', "prots"),
                       ("id: x1\ntype: container\ncontainer:\n  image: [\n", "line"),
                       ("id: x1\ntype: container\n", "container"),
                       ('{"id": "x1", "type": "container", "container": {"image": "a", "volumes": [{"host_path": "../x", "container_path": "/x"}]}}', "../x"),
                       ("id: other\ntype: container\ncontainer: {image: a}\n", "path")):
        a = keeper.call("PUT", "/v1/workloads/x1", text, {"Content-Type": "application/yaml"})
        assert a.status == 400 and what in a.body.decode(), a
    assert keeper.get("x1") is None
    for bad in ("a", "..", "-x", "a..b"):
        assert keeper.put(bad, SLEEPER).status == 400
    a = keeper.put("x1", {"type": "vm"})
    assert a.status in (400, 501), a
    assert keeper.put("x1", {**SLEEPER, "lock_file": "/etc/passwd"}).status == 400


def test_dry_run_and_conditions(keeper):
    a = keeper.put("dry-1", SLEEPER, "?dry_run=true")
    assert a.status == 200 and a.json()["verdict"] == "create" and keeper.get("dry-1") is None, a
    assert any(c["path"] == "container.image" for c in a.json()["changes"]), a.json()
    assert keeper.put("dry-1", SLEEPER, headers={"If-Match": '"g1"'}).status == 412
    assert keeper.put("dry-1", SLEEPER, headers={"If-None-Match": "*"}).status == 202
    assert keeper.put("dry-1", SLEEPER, headers={"If-None-Match": "*"}).status == 412
    keeper.reaches("dry-1", "running")
    tag = keeper.call("GET", "/v1/workloads/dry-1").headers["etag"]
    doc = {"container": {**SLEEPER["container"], "secret_env": {"PIN": "1234"}}}
    a = keeper.put("dry-1", doc, "?dry_run=true")
    assert a.json()["verdict"] == "update" and a.json()["recreate"] and "1234" not in a.body.decode(), a
    assert keeper.put("dry-1", doc, headers={"If-Match": tag}).status == 202
    assert keeper.put("dry-1", SLEEPER, headers={"If-Match": tag}).status == 412
    w = keeper.reaches("dry-1", "running", phase="idle")
    assert w["spec"]["container"]["secret_env"] == {"PIN": "(set)"}, w["spec"]
    wait_for("the secret is in its environment", lambda: "PIN=1234" in (keeper.inspect("dry-1") or {"Config": {"Env": []}})["Config"]["Env"])
    for name in os.listdir(keeper.root / "state"):
        with contextlib.suppress(FileNotFoundError):  # what was being written bears another name when it is whole
            assert b"1234" not in (keeper.root / "state" / name).read_bytes(), name
    keeper.remove("dry-1")


def test_a_lock_file_holds_up_what_would_stop_it(keeper):
    lock = keeper.root / "arm-moves.lock"
    doc = {**SLEEPER, "lock_file": str(lock), "revision_id": "1"}
    keeper.put("arm-1", doc)
    first = keeper.reaches("arm-1", "running")["object_id"]
    lock.touch()
    keeper.put("arm-1", {**doc, "revision_id": "2", "container": {**doc["container"], "env": {"N": "2"}}})
    w = wait_for("it waits", lambda: (lambda w: w if w.get("waits_for") else None)(keeper.get("arm-1")))
    assert str(lock) in w["waits_for"], w
    time.sleep(1.5)
    assert keeper.inspect("arm-1")["Id"] == first and keeper.inspect("arm-1")["State"]["Running"]
    lock.unlink()
    wait_for("the new object", lambda: (keeper.inspect("arm-1") or {"Id": first})["Id"] != first)
    second = keeper.reaches("arm-1", "running", revision_id="2")["object_id"]
    lock.touch()
    keeper.put("arm-1", {**doc, "revision_id": "2", "desired_state": "stopped", "container": {**doc["container"], "env": {"N": "2"}}})
    time.sleep(1.2)
    assert keeper.inspect("arm-1")["State"]["Running"]
    assert keeper.call("POST", "/v1/workloads/arm-1/action", {"action": "force"}).status == 202
    assert keeper.reaches("arm-1", "stopped")["object_id"] == second
    lock.unlink()
    keeper.remove("arm-1")


def test_dependencies_are_waited_for(keeper):
    app = {**SLEEPER, "depends_on": [{"id": "db-1"}]}
    keeper.put("app-1", app)
    w = wait_for("it waits", lambda: (lambda w: w if w.get("waits_for") else None)(keeper.get("app-1")))
    assert "db-1" in w["waits_for"] and keeper.inspect("app-1") is None or not keeper.inspect("app-1")["State"]["Running"]
    x = keeper.call("GET", "/v1/explain/workload/app-1").json()
    assert x["waits_for"] == ["db-1"], x
    keeper.put("db-1", SLEEPER)
    keeper.reaches("app-1", "running")
    a = keeper.put("db-1", {**SLEEPER, "depends_on": [{"id": "app-1"}], "revision_id": "x"})
    assert a.status == 409 and "app-1" in a.body.decode(), a
    a = keeper.call("DELETE", "/v1/workloads/db-1")
    assert a.status == 409 and "app-1" in a.body.decode(), a
    keeper.remove("app-1", "db-1")


def test_health_with_an_action(keeper):
    doc = {"container": {"image": "busybox:local", "command": ["sh", "-c", "touch /ok; exec sleep 86400"], "stop_timeout_s": 1},
           "health": {"kind": "command", "command": ["test", "-e", "/ok"], "interval": "500ms", "timeout": "1m", "retries": 2,
                      "start_period": "1s", "action": "restart"}}
    a = keeper.put("sick-1", doc)
    assert a.status == 202, a
    w = keeper.reaches("sick-1", "running", health="healthy")
    started = w["started_at"]
    keeper.engine.docker("exec", "sick-1", "rm", "/ok")
    wait_for("it is restarted", lambda: keeper.get("sick-1").get("started_at", started) != started, 30)
    keeper.reaches("sick-1", "running", health="healthy")
    keeper.remove("sick-1")


def test_list_filters_and_pages(keeper):
    ids = [f"page-{i}" for i in range(5)]
    for id in ids:
        keeper.put(id, {**SLEEPER, "desired_state": "stopped" if id == "page-3" else "running"})
    for id in ids:
        keeper.reaches(id, "stopped" if id == "page-3" else "running")
    get = lambda q: keeper.call("GET", "/v1/workloads?id=page-*&" + q).json()
    assert [w["id"] for w in get("")["workloads"]] == ids
    assert [w["id"] for w in get("desired_state=stopped")["workloads"]] == ["page-3"]
    assert len(get("state=running")["workloads"]) == 4
    a = get("limit=2")
    assert [w["id"] for w in a["workloads"]] == ids[:2] and a["more"]
    a = get("limit=3&after=page-1")
    assert [w["id"] for w in a["workloads"]] == ids[2:] and not a["more"]
    assert keeper.call("GET", "/v1/workloads?limit=0").status == 400
    assert keeper.call("GET", "/v1/workloads?type=nonsense").status == 422
    keeper.remove(*ids)


def test_node(keeper):
    n = keeper.call("GET", "/v1/node").json()
    assert n["id"] == "n1" and n["labels"]["os"] == "linux" and n["usage"]["memory_total_bytes"] > 0
    n = wait_for("the engine", lambda: (lambda n: n if {"type": "container", "name": "docker", "condition": "healthy"} in n["runtimes"] else None)(
        keeper.call("GET", "/v1/node").json()))
    assert {r["type"] for r in n["runtimes"]} <= {"container", "compose", "vm"}, n


class Events:
    """Reads /v1/events as it comes."""

    def __init__(self, keeper, query="", last=None):
        self.c = http.client.HTTPConnection("127.0.0.1", keeper.port, timeout=patient(30))
        self.c.request("GET", "/v1/events" + query, headers={"Last-Event-ID": last} if last else {})
        self.r = self.c.getresponse()
        assert self.r.status == 200 and self.r.getheader("content-type").startswith("text/event-stream")

    def next(self):
        event = {}
        while True:
            line = self.r.readline().decode()
            assert line, "the stream has ended"
            line = line.rstrip("\n")
            if not line and event:
                return event["event"], event.get("id"), json.loads(event["data"])
            if line and not line.startswith(":"):
                k, _, v = line.partition(": ")
                event[k] = v

    def close(self):
        self.c.close()


def test_events_begin_with_a_snapshot_and_resume(keeper):
    keeper.put("ev-0", SLEEPER)
    keeper.reaches("ev-0", "running")
    e = Events(keeper, "?name=ev-*")
    kind, _, data = e.next()
    assert kind == "snapshot" and [w["id"] for w in data["workloads"]] == ["ev-0"], data
    kind, cursor, _ = e.next()
    assert kind == "live" and cursor
    keeper.put("ev-1", SLEEPER)
    seen = []
    while not any(d["type"] == "state" and d.get("to") == "running" for d in seen):
        kind, cursor, data = e.next()
        assert kind in ("workload", "task") and data["name"] == "ev-1"
        seen.append(data)
    indexes = [d["index"] for d in seen]
    assert indexes == sorted(indexes) and seen[0]["type"] == "created", seen
    e.close()
    again = Events(keeper, "?name=ev-*", last=seen[0]["cursor"])
    kind, _, data = again.next()
    assert kind != "snapshot" and data["index"] == seen[1]["index"]
    again.close()
    stale = Events(keeper, "?name=ev-*&after=0000000000000000-1")
    assert stale.next()[0] == "snapshot"
    stale.close()
    assert keeper.call("GET", "/v1/events?after=nonsense").status == 400
    keeper.remove("ev-0", "ev-1")


def test_a_hundred_applies_of_one_id_at_once(keeper):
    results = []
    def one(i):
        results.append(keeper.put("many-1", {**SLEEPER, "revision_id": str(i % 4),
                                             "container": {**SLEEPER["container"], "env": {"N": str(i % 4)}}}).status)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(results) <= {200, 202}, results
    w = wait_for("rest", lambda: (lambda w: w if w["actual_state"] == "running" and w["phase"] == "idle" else None)(keeper.get("many-1")), 40)
    box = keeper.inspect("many-1")
    assert box["Config"]["Labels"]["persys.revision_id"] == w["revision_id"]
    assert f"N={w['revision_id']}" in box["Config"]["Env"]
    assert keeper.engine.docker("ps", "-aq", "--filter", "label=persys.workload_id=many-1").split() == [box["Id"][:12]]
    keeper.remove("many-1")


def test_a_restart_of_gantryd_changes_nothing(own_keeper):
    k = own_keeper.begin()
    k.put("keep-1", SLEEPER)
    k.put("keep-2", {**SLEEPER, "desired_state": "stopped"})
    a, b = k.reaches("keep-1", "running"), k.reaches("keep-2", "stopped")
    for sig in (signal.SIGTERM, signal.SIGKILL):
        k.gantryd.stop(sig)
        k.start_gantryd()
        w = k.reaches("keep-1", "running")
        assert w["object_id"] == a["object_id"] and w["started_at"] == a["started_at"] and w["created_at"] == a["created_at"]
        assert k.reaches("keep-2", "stopped")["object_id"] == b["object_id"]
    # What stops while nobody looks is started again.
    k.gantryd.stop(signal.SIGKILL)
    k.engine.docker("kill", "keep-1")
    k.start_gantryd()
    k.reaches("keep-1", "running")


def test_an_accepted_apply_survives_a_kill(own_keeper):
    k = own_keeper.begin()
    for i in range(5):
        assert k.put(f"kill-{i}", SLEEPER).status == 202
    k.gantryd.stop(signal.SIGKILL)
    k.start_gantryd()
    for i in range(5):
        k.reaches(f"kill-{i}", "running", 40)
        assert len(k.engine.docker("ps", "-aq", "--filter", f"label=persys.workload_id=kill-{i}").split()) == 1


def test_privileged_only_where_it_is_allowed(own_keeper):
    k = own_keeper.begin()
    doc = {"container": {**SLEEPER["container"], "privileged": True}, "desired_state": "stopped"}
    a = k.put("priv-1", doc)
    assert a.status == 400 and "workloads.privileged is false" in a.json()["error"], a
    a = k.put("priv-1", doc, "?dry_run=true")
    assert a.json()["verdict"] == "refused" and "workloads.privileged is false" in a.body.decode(), a
    assert k.get("priv-1") is None
    k.gantryd.stop()
    k.workloads["privileged"] = "true"
    k.start_gantryd()
    assert k.put("priv-1", doc).status == 202
    k.reaches("priv-1", "stopped")
    wait_for("made", lambda: k.inspect("priv-1"))
    made = k.inspect("priv-1")
    assert made["HostConfig"]["Privileged"] is True
    # What was taken stays, but is not taken again.
    k.gantryd.stop()
    k.workloads["privileged"] = "false"
    k.start_gantryd()
    assert k.reaches("priv-1", "stopped")["object_id"] == made["Id"]
    assert k.put("priv-1", {**doc, "revision_id": "2"}).status == 400
    assert k.inspect("priv-1")["Id"] == made["Id"]


def test_without_workloads_the_calls_say_so(own_keeper):
    own_keeper.workloads = {"enabled": "false"}
    k = own_keeper.begin()
    for method, path in (("GET", "/v1/workloads"), ("GET", "/v1/workloads/x1"), ("GET", "/v1/tasks")):
        assert k.call(method, path).status == 503
    assert k.call("GET", "/v1/node").status == 200

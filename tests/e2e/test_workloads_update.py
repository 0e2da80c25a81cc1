"""Updates and restarts of workloads that go wrong half-way: what runs is taken down only for what can take its place."""
import signal
import time

from harness import wait_for
from test_workloads_faults import boxes, calm, failed, gate, quick, registries  # noqa: F401


def life(k, id):
    """Which run of which container it is."""
    box = k.inspect(id)
    return (box["Id"], box["State"]["StartedAt"], box["State"]["Running"]) if box else None


def test_a_mistyped_image_takes_nothing_down(calm, registries):
    k = calm
    free, _ = registries
    k.workloads["retry"] = "{attempts: 2, first: 200ms, most: 400ms, steady: 2s}"
    k.begin()
    k.put("up-a", {**quick(), "revision_id": "1"})
    k.reaches("up-a", "running")
    before = life(k, "up-a")
    k.put("up-b", {**quick(), "depends_on": [{"id": "up-a"}]})
    k.reaches("up-b", "running")
    k.put("up-a", {**quick(image=f"{free}/open/a:mistyped"), "revision_id": "2"})
    w = failed(k, "up-a", "INVALID_IMAGE", True)
    assert w["actual_state"] == "failed" and w["metadata"]["running_revision"] == "1", w
    assert w["message"].endswith('; revision "1" still runs') and "mistyped" in w["message"], w
    why = k.call("GET", "/v1/explain/workload/up-a").json()["why"]
    assert 'revision "1" still runs' in why and "INVALID_IMAGE" in why, why
    # A registry that does not answer is tried some times.
    k.put("up-a", {**quick(image="127.0.0.1:1/open/a:1"), "revision_id": "3"})
    w = failed(k, "up-a", "NETWORK_UNREACHABLE", True)
    assert w["attempts"] == 3, w
    time.sleep(1)
    assert life(k, "up-a") == before and len(boxes(k, "up-a")) == 1
    # Through kill -9, too.
    k.gantryd.stop(signal.SIGKILL)
    k.start_gantryd()
    k.reaches("up-a", "failed")
    assert life(k, "up-a") == before
    # Mended, it takes its place.
    k.put("up-a", {**quick(image=f"{free}/open/a:1"), "revision_id": "4"})
    w = k.reaches("up-a", "running", 30, phase="idle")
    assert w["metadata"]["running_revision"] == "" and w["revision_id"] == "4", w
    assert k.inspect("up-a")["Config"]["Image"].endswith("/open/a:1") and k.inspect("up-a")["Id"] != before[0]
    assert len(boxes(k, "up-a")) == 1


def test_killed_while_it_is_fetched(calm, registries):
    k = calm
    free, _ = registries
    k.begin()
    k.put("up-k", {**quick(), "revision_id": "1"})
    k.reaches("up-k", "running")
    before = life(k, "up-k")
    k.put("up-k", {**quick(image=f"{free}/hang/a:1", image_pull="always"), "revision_id": "2"})
    w = k.reaches("up-k", "pending", phase="preparing")
    assert w["message"].endswith('; revision "1" still runs') and w["metadata"]["running_revision"] == "1", w
    assert life(k, "up-k") == before
    k.gantryd.stop(signal.SIGKILL)
    assert life(k, "up-k") == before
    k.start_gantryd()
    # Another wish takes its place, and then another.
    k.reaches("up-k", "pending", phase="preparing")
    k.put("up-k", {**quick(image=f"{free}/hang/a:1", image_pull="always"), "revision_id": "3"})
    k.reaches("up-k", "pending", revision_id="3", phase="preparing")
    assert life(k, "up-k") == before
    # To stop does not wait for it.
    k.put("up-k", {**quick(image=f"{free}/hang/a:1", image_pull="always"), "revision_id": "3", "desired_state": "stopped"})
    wait_for("it is stopped", lambda: not k.inspect("up-k")["State"]["Running"])
    assert k.inspect("up-k")["Id"] == before[0]
    # And back to what was there.
    k.put("up-k", {**quick(), "revision_id": "1"})
    k.reaches("up-k", "running", phase="idle")
    assert k.inspect("up-k")["Id"] == before[0]
    # It is deleted while it is fetched.
    k.put("up-k", {**quick(image=f"{free}/hang/a:1", image_pull="always"), "revision_id": "4"})
    k.reaches("up-k", "pending", revision_id="4", phase="preparing")
    assert k.call("DELETE", "/v1/workloads/up-k").status == 202
    wait_for("it is gone", lambda: k.get("up-k") is None, 40)
    assert boxes(k, "up-k") == []


def test_fetching_needs_no_lock(calm, registries, tmp_path):
    k = calm
    free, _ = registries
    lock = tmp_path / "lock" / "moving"
    lock.parent.mkdir()
    k.workloads["lock_roots"] = f"[{tmp_path}]"
    k.begin()
    k.put("up-l", {**quick(), "revision_id": "1", "lock_file": str(lock)})
    k.reaches("up-l", "running")
    before = life(k, "up-l")
    lock.touch()
    k.put("up-l", {**quick(image=f"{free}/open/a:1"), "revision_id": "2", "lock_file": str(lock)})
    wait_for("it waits for the lock file", lambda: "lock file" in k.get("up-l")["message"])
    assert k.engine.docker("image", "inspect", "-f", "{{.Id}}", f"{free}/open/a:1")
    time.sleep(1.5)
    assert life(k, "up-l") == before
    lock.unlink()
    k.reaches("up-l", "running", 20, phase="idle")
    assert k.inspect("up-l")["Config"]["Image"].endswith("/open/a:1")


def test_an_accepted_restart_outlives_a_kill(calm, tmp_path):
    k = calm
    lock = tmp_path / "lock" / "moving"
    lock.parent.mkdir()
    k.workloads["lock_roots"] = f"[{tmp_path}]"
    k.begin()
    k.put("up-r", {**quick(), "revision_id": "1", "lock_file": str(lock)})
    k.reaches("up-r", "running")
    before = life(k, "up-r")
    lock.touch()
    assert k.call("POST", "/v1/workloads/up-r/action", {"action": "restart"}).status == 202
    k.gantryd.stop(signal.SIGKILL)
    k.start_gantryd()
    wait_for("it waits for the lock file", lambda: "lock file" in k.get("up-r").get("waits_for", ""))
    assert life(k, "up-r") == before
    lock.unlink()
    after = wait_for("it is restarted", lambda: (lambda now: now if now not in (None, before) and now[2] else None)(life(k, "up-r")))
    assert after[0] == before[0]
    k.reaches("up-r", "running", phase="idle")
    # Once.
    k.gantryd.stop(signal.SIGKILL)
    k.start_gantryd()
    k.reaches("up-r", "running", phase="idle")
    time.sleep(1)
    assert life(k, "up-r") == after

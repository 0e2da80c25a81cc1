"""Virtual machines, on a real libvirtd and real emulators that boot a sector of our own making."""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

import harness
from harness import patient, wait_for
from test_workloads import Keeper


class VmKeeper(Keeper):
    """gantryd with workloads on a libvirtd of the tests' own."""

    def __init__(self, root, libvirtd):
        self.libvirtd = libvirtd
        super().__init__(root, type("NoEngine", (), {"socket": str(pathlib.Path(root) / "no-docker.sock")}))
        self.workloads["docker"] = "false"
        self.workloads["usage_interval"] = "1s"
        self.vm = {"look_limit": "10s", "uri": f'"{libvirtd.uri}"', "image_roots": f"[{libvirtd.images}]", "accelerator": "qemu",
                   "address_interval": "2s"}

    def config(self):
        return super().config() + "vm:\n" + "".join(f"  {k}: {v}\n" for k, v in self.vm.items())

    def put(self, id, doc, query="", headers=None):
        return self.call("PUT", f"/v1/workloads/{id}{query}", {"id": id, "type": "vm", **doc}, headers)

    def remove(self, *ids):
        for id in ids:
            assert self.call("DELETE", f"/v1/workloads/{id}?force=true").status in (202, 404)
        for id in ids:
            wait_for(f"{id} gone", lambda: self.get(id) is None, 60)
            assert id not in self.libvirtd.domains()

    def state(self, id):
        return (self.libvirtd.virsh("domstate", id, check=False) or "absent").strip()


def vm(disk, format="raw", **more):
    return {"vm": {"vcpus": 1, "memory_mb": 64, "stop_timeout_s": 1,
                   "disks": [{"path": disk, "format": format, "boot": True}], **more}}


@pytest.fixture(scope="module")
def host():
    import libvirtd
    with libvirtd.Libvirtd() as h:
        yield h


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, host):
    k = VmKeeper(tmp_path_factory.mktemp("vms"), host)
    k.begin()
    yield k
    ids = [w["id"] for w in k.call("GET", "/v1/workloads").json()["workloads"]]
    for id in ids:
        k.call("DELETE", f"/v1/workloads/{id}?force=true")
    for id in ids:
        wait_for(f"{id} gone", lambda: k.get(id) is None, 60)
    k.stop()
    k.check_clean()


def test_a_machine_is_made_boots_and_speaks(keeper, host):
    disk = host.disk("vm-a.raw", "vm-a is up")
    data = host.images / "more" / "vm-a-data.qcow2"
    doc = vm(disk)
    doc["vm"]["disks"].append({"path": str(data), "size_gb": 1})
    doc["vm"].update(name="alpha", cloud_init="#cloud-config\nhostname: alpha\n")
    assert keeper.put("vm-a", doc).status == 202
    w = keeper.reaches("vm-a", "running")
    assert w["message"] == "running (reason=booted)"
    host.says("vm-a", "vm-a is up")
    m = w["metadata"]
    assert m["vm.domain_state"] == "running" and m["vm.domain_state_code"] == "1" and m["vm.domain_reason"] == "booted"
    assert m["vm.accelerator"] == "qemu"
    # The seed is attached, and the disk boots all the same.
    seed = host.images / "vm-a-cloud-init.iso"
    assert m["vm.cloud_init_seed_path"] == str(seed) and seed.exists()
    assert len(m["vm.cloud_init_seed_checksum"]) == 64
    assert data.exists() and pathlib.Path(f"{data}.persys-managed").exists()
    assert not pathlib.Path(f"{disk}.persys-managed").exists()
    xml = host.virsh("dumpxml", "vm-a")
    assert 'id="vm-a"' in xml and str(seed) in xml and "127.0.0.1" in xml

    # The same again changes nothing; the other state, the same machine.
    uuid = w["object_id"]
    assert keeper.put("vm-a", doc).status == 200
    assert keeper.put("vm-a", dict(doc, desired_state="stopped")).status == 202
    w = keeper.reaches("vm-a", "stopped")
    assert w["message"] == "shutdown (reason=destroyed)" and w["object_id"] == uuid and keeper.state("vm-a") == "shut off"
    assert keeper.put("vm-a", doc).status == 202
    assert keeper.reaches("vm-a", "running")["object_id"] == uuid

    # Another revision: another definition, the same data.
    before = data.stat().st_ino
    doc["vm"]["memory_mb"] = 72
    assert keeper.put("vm-a", doc).status == 202
    is_new = lambda w: w.get("object_id") not in (None, uuid) and w["actual_state"] == "running"
    wait_for("the new definition", lambda: is_new(keeper.get("vm-a")), 30)
    assert data.stat().st_ino == before and "73728" in host.virsh("dominfo", "vm-a")

    # Deleted: what was made here goes, what was there before stays.
    keeper.remove("vm-a")
    assert not data.exists() and not pathlib.Path(f"{data}.persys-managed").exists() and not seed.exists()
    assert pathlib.Path(disk).exists()


def test_what_happens_behind_our_back(keeper, host):
    disk = host.disk("vm-b.raw", "vm-b is up")
    keeper.put("vm-b", vm(disk))
    keeper.reaches("vm-b", "running")
    # Destroyed: an event says so, and it is started again at once.
    host.virsh("destroy", "vm-b")
    wait_for("a restart", lambda: keeper.state("vm-b") == "running", 15)
    keeper.reaches("vm-b", "running")
    # Paused: pending, and told.
    host.virsh("suspend", "vm-b")
    keeper.reaches("vm-b", "pending", message="paused (runtime frozen, reason=user)")
    host.virsh("resume", "vm-b")
    keeper.reaches("vm-b", "running", message="running (reason=unpaused)")
    # A paused one is stopped when that is asked for.
    host.virsh("suspend", "vm-b")
    keeper.put("vm-b", dict(vm(disk), desired_state="stopped"))
    keeper.reaches("vm-b", "stopped")
    assert keeper.state("vm-b") == "shut off"
    # The definition vanishes: it is made anew.
    keeper.put("vm-b", vm(disk))
    keeper.reaches("vm-b", "running")
    host.virsh("destroy", "vm-b")
    host.virsh("undefine", "vm-b", check=False)
    wait_for("a new domain", lambda: keeper.state("vm-b") == "running", 20)
    # The emulator dies.
    pids = wait_for("its emulator", lambda: host.emulators())
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for("a restart", lambda: set(host.emulators()) - set(pids) and keeper.state("vm-b") == "running", 20)
    keeper.reaches("vm-b", "running")
    keeper.remove("vm-b")


def test_what_is_not_ours_is_left_alone(keeper, host):
    disk = host.disk("foreign.raw", "foreign")
    host.original("foreign", disk, marked=False)
    host.virsh("start", "foreign")
    pid = host.emulators()
    assert keeper.put("foreign", vm(disk)).status == 202
    w = keeper.reaches("foreign", "failed")
    assert "not ours" in str(keeper.call("GET", "/v1/explain/workload/foreign").json()), w
    assert keeper.call("DELETE", "/v1/workloads/foreign").status == 202
    wait_for("its workload gone", lambda: keeper.get("foreign") is None, 20)
    assert host.emulators() == pid and keeper.state("foreign") == "running"
    host.virsh("destroy", "foreign")
    host.virsh("undefine", "foreign")


def test_machines_of_the_original_agent_are_taken_over(keeper, host):
    disk = host.disk("old.raw", "old")
    seed = host.images / "old-cloud-init.iso"
    seed.write_bytes(b"\0" * 65536)
    host.original("old", disk, seed=str(seed))
    host.virsh("start", "old")
    pids = host.emulators()
    uuid = host.virsh("domuuid", "old").strip()
    assert keeper.put("old", vm(disk)).status == 202
    w = keeper.reaches("old", "running")
    assert w["object_id"] == uuid and host.emulators() == pids, "it was restarted"
    assert 'id="old"' in host.virsh("dumpxml", "old")
    keeper.remove("old")
    assert not pathlib.Path(disk).exists(), "its disk has our marker, and goes with it"
    assert not seed.exists()


def test_documents_are_checked(keeper, host):
    a = keeper.put("vm-c", vm("/etc/passwd"))
    assert a.status == 400 and "vm.image_roots" in a.body.decode() and "/etc/passwd" in a.body.decode()
    a = keeper.put("vm-c", vm(str(host.images / ".." / "x.raw")))
    assert a.status == 400
    # A disk that is not there and that nothing says how to make.
    keeper.put("vm-c", vm(str(host.images / "nothing.raw")))
    keeper.reaches("vm-c", "failed")
    assert "nothing.raw" in str(keeper.call("GET", "/v1/explain/workload/vm-c").json())
    keeper.remove("vm-c")
    # Links do not lead out of the folders.
    os.symlink("/etc", host.images / "out")
    keeper.put("vm-c", vm(str(host.images / "out" / "hostname")))
    keeper.reaches("vm-c", "failed")
    assert "vm.image_roots" in str(keeper.call("GET", "/v1/explain/workload/vm-c").json())
    keeper.remove("vm-c")
    # Nor does what a file that is there says it lies upon.
    for n, options in enumerate((["-b", "/etc/hostname", "-F", "raw"], ["-o", f"data_file={host.images.parent}/outside.raw", "-q"])):
        image = host.images / f"hostile{n}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, image, "1M"], check=True)
        keeper.put("vm-c", vm(str(image), format="qcow2"))
        keeper.reaches("vm-c", "failed")
        why = str(keeper.call("GET", "/v1/explain/workload/vm-c").json())
        assert "vm.image_roots" in why and image.name in why, why
        keeper.remove("vm-c")
        assert image.exists()
        image.unlink()
    assert keeper.call("POST", "/v1/workloads/vm-c/exec", {"command": ["ls"]}).status == 404


def test_images_become_overlays(keeper, host):
    base = host.qcow2("base.qcow2", "from the image")
    disk = host.images / "vm-d-vda.qcow2"
    assert keeper.put("vm-d", {"vm": {"vcpus": 1, "memory_mb": 64, "stop_timeout_s": 1, "os_image": base}}).status == 202
    keeper.reaches("vm-d", "running")
    host.says("vm-d", "from the image")
    assert disk.exists()
    keeper.remove("vm-d")
    assert not disk.exists() and pathlib.Path(base).exists()


def test_what_was_made_is_unmade_when_the_rest_fails(keeper, host):
    disk = host.images / "vm-e.qcow2"
    # The first disk can be made, the second is not there.
    disks = [{"path": str(disk), "size_gb": 1}, {"path": str(host.images / "no-such.iso"), "type": "cdrom"}]
    assert keeper.put("vm-e", {"vm": {"vcpus": 1, "memory_mb": 64, "disks": disks}}).status == 202
    keeper.reaches("vm-e", "failed", 30, given_up=True)  # no try is under way any more
    assert [p.name for p in host.images.iterdir() if p.name.startswith("vm-e")] == []
    keeper.remove("vm-e")


def test_libvirtd_goes_and_comes(keeper, host):
    disk = host.disk("vm-f.raw", "vm-f")
    keeper.put("vm-f", vm(disk))
    keeper.reaches("vm-f", "running")
    pids = host.emulators()
    host.kill()
    w = keeper.reaches("vm-f", "unknown", 10)
    health = keeper.call("GET", "/v1/node").json()
    assert "vm" in str(health)
    time.sleep(2)
    assert host.emulators() == pids
    host.launch()
    keeper.reaches("vm-f", "running", 40)
    assert host.emulators() == pids, "it was restarted, though it ran on"
    # One that hangs is away, too, and nothing of ours hangs with it.
    host.process.send_signal(signal.SIGSTOP)
    try:
        keeper.put("vm-f", dict(vm(disk), desired_state="stopped"))
        wait_for("it is known to be away", lambda: "runtime" in keeper.get("vm-f").get("waits_for", ""), 60)
        began = time.monotonic()
        assert keeper.get("vm-f") and time.monotonic() - began < 8
    finally:
        host.process.send_signal(signal.SIGCONT)
    keeper.reaches("vm-f", "stopped", 60)
    keeper.remove("vm-f")


@pytest.mark.parametrize("who", ["gantryd", "libvirtd"])
@pytest.mark.parametrize("what", ["make", "stop", "update", "delete"])
def test_killed_in_the_middle(keeper, host, who, what):
    """Whatever is killed at whatever moment: afterwards it is as was asked for."""
    id = f"kill-{who}-{what}"
    data = host.images / f"{id}.qcow2"
    doc = vm(host.disk(f"{id}.raw", id))
    doc["vm"]["disks"].append({"path": str(data), "size_gb": 1})
    if what != "make":
        keeper.put(id, doc)
        keeper.reaches(id, "running")
    for delay in (0.0, 0.05, 0.3):
        if what == "make":
            keeper.put(id, doc)
        elif what == "stop":
            keeper.put(id, dict(doc, desired_state="stopped"))
        elif what == "update":
            doc["vm"]["memory_mb"] += 1
            keeper.put(id, doc)
        else:
            keeper.call("DELETE", f"/v1/workloads/{id}")
        time.sleep(delay)
        if who == "gantryd":
            keeper.stop_gantryd(signal.SIGKILL)
            keeper.start_gantryd()
        else:
            host.kill()
            host.launch()
        if what == "stop":
            keeper.reaches(id, "stopped", 60)
            keeper.put(id, doc)
            keeper.reaches(id, "running", 60)
        elif what == "delete":
            wait_for("it is gone", lambda: keeper.get(id) is None, 60)
            assert id not in host.domains() and not data.exists()
            keeper.put(id, doc)
            keeper.reaches(id, "running", 60)
        else:
            keeper.reaches(id, "running", 60)
            assert data.exists()
            assert keeper.state(id) == "running"
            if what == "make":
                keeper.remove(id)
                assert not data.exists()
    keeper.remove(id)
    left = [p.name for p in host.images.iterdir() if p.name.startswith(id) and not p.name.endswith(".raw")]
    assert left == []


def test_many_are_looked_at_with_one_question(keeper, host):
    disk = host.disk("many.raw", "many")
    for i in range(100):
        doc = dict(vm(disk), desired_state="stopped")
        assert keeper.put(f"many-{i}", doc).status == 202
    wait_for("all are defined", lambda: len([d for d in host.domains() if d.startswith("many-")]) == 100, 60)
    wait_for("all are told", lambda: sum(w["actual_state"] == "stopped" for w in keeper.call("GET", "/v1/workloads").json()["workloads"]
                                         if w["id"].startswith("many-")) == 100, 20)
    began = time.monotonic()
    assert len(keeper.call("GET", "/v1/workloads").json()["workloads"]) >= 100
    assert time.monotonic() - began < 8
    keeper.remove(*[f"many-{i}" for i in range(100)])


def test_the_console(keeper, host):
    disk = host.disk("talk.raw", "say something", listens=True)
    keeper.put("talk", vm(disk))
    keeper.reaches("talk", "running")

    def console(text, *args, seconds=20):
        """Sends a text, and returns what has come when it was answered, or after the seconds."""
        p = subprocess.Popen([harness.program("gantry"), "console", *args, "talk"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}"))
        os.set_blocking(p.stdout.fileno(), False)
        return p, text, seconds

    def answer(session):
        p, text, seconds = session
        got, end = b"", time.monotonic() + patient(seconds)
        with contextlib.suppress(BrokenPipeError):  # it may be refused before it has heard anything
            p.stdin.write(text.encode())
            p.stdin.flush()
        while text.upper().encode() not in got and time.monotonic() < end and p.poll() is None:
            got += p.stdout.read() or b""
            time.sleep(0.05)
        return got.decode(errors="replace")

    first = console("hello")
    assert "HELLO" in answer(first)
    # One at a time; who asks by force gets it, and the other one is told.
    second = console("x")
    assert second[0].wait(patient(20)) == 1 and "--force" in second[0].stderr.read().decode()
    second = console("forced", "--force")
    assert "FORCED" in answer(second)
    assert first[0].wait(patient(20)) in (0, 1)
    # It is free again when it is let go.
    second[0].terminate()
    second[0].wait(patient(10))
    third = wait_for("a free console", lambda: (lambda s: s if "AGAIN" in answer(s) else (s[0].kill(), None)[1])(console("again", seconds=5)), 30)
    # More than fits into any buffer, both ways.
    assert "Q" * 20000 in answer((third[0], "q" * 20000, 60)).replace("\r", "")
    # Off: the console ends.
    keeper.put("talk", dict(vm(disk), desired_state="stopped"))
    assert third[0].wait(patient(30)) == 0
    assert "running" in keeper.cli("console", "talk").stderr
    keeper.put("talk", vm(disk))
    keeper.reaches("talk", "running")
    # No programs, no logs: and it is said what there is instead.
    r = keeper.cli("exec", "talk", "ls")
    assert r.returncode == 1 and "console" in r.stderr
    r = keeper.cli("logs", "talk")
    assert r.returncode == 1 and "console" in r.stderr
    text = keeper.audit_file.read_text()
    assert "console, by force" in text
    keeper.remove("talk")


def test_snapshots(keeper, host):
    disk = host.qcow2("snap.qcow2", "snap")
    keeper.put("snap", vm(disk, "qcow2"))
    keeper.reaches("snap", "running")
    r = keeper.cli("snapshot", "create", "snap", "one", timeout=120)
    assert r.returncode == 0 and "made" in r.stdout, r
    r = keeper.cli("snapshot", "create", "snap", "one")
    assert r.returncode == 1 and "one" in r.stderr
    rows = keeper.call("GET", "/v1/workloads/snap/snapshots").json()["snapshots"]
    assert [(s["name"], s["current"], s["memory"]) for s in rows] == [("one", True, True)] and rows[0]["created_at"]
    assert "one" in keeper.cli("snapshot", "list", "snap").stdout
    # Back to it: what runs goes on from there, under the same revision.
    revision = keeper.get("snap")["revision_id"]
    r = keeper.cli("snapshot", "revert", "snap", "one", timeout=120)
    assert r.returncode == 0, r
    w = keeper.reaches("snap", "running")
    assert w["revision_id"] == revision
    r = keeper.cli("snapshot", "delete", "snap", "one", timeout=120)
    assert r.returncode == 0 and keeper.call("GET", "/v1/workloads/snap/snapshots").json()["snapshots"] == []
    assert keeper.call("DELETE", "/v1/workloads/snap/snapshots/one").status == 404
    assert keeper.call("POST", "/v1/workloads/snap/snapshots", {"name": "-x"}).status == 400
    # With snapshots in it, it can be deleted all the same.
    assert keeper.cli("snapshot", "create", "snap", "two", timeout=120).returncode == 0
    keeper.remove("snap")
    # A raw disk has none: libvirt's own reason is told.
    raw = host.disk("nosnap.raw", "nosnap")
    keeper.put("nosnap", vm(raw))
    keeper.reaches("nosnap", "running")
    a = keeper.call("POST", "/v1/workloads/nosnap/snapshots", {"name": "one"})
    assert a.status in (409, 501, 503) and "raw" in a.body.decode(), a
    keeper.remove("nosnap")
    assert keeper.call("GET", "/v1/workloads/absent/snapshots").status == 404


def test_usage(keeper, host):
    disk = host.disk("busy.raw", "busy", listens=True)  # it polls its serial port, as busy as can be
    keeper.put("busy", vm(disk))
    keeper.reaches("busy", "running")
    full = lambda u: u.get("cpu_percent", 0) > 5 and u.get("memory_bytes", 0) > 1 << 20 and u.get("disk_read_bytes", 0) >= 512
    u = wait_for("a sample", lambda: (lambda u: u if full(u) else None)(keeper.call("GET", "/v1/workloads/busy/stats").json()), 20)
    assert u["source"] == "libvirt"
    assert "busy" in keeper.cli("stats").stdout
    used = 'gantry_workload_memory_bytes{type="vm",workload="busy"} '
    wait_for("its metric", lambda: used in keeper.call("GET", "/metrics").body.decode(), 20)
    # What is off uses nothing.
    keeper.put("busy", {**vm(disk), "desired_state": "stopped"})
    keeper.reaches("busy", "stopped")
    assert used not in keeper.call("GET", "/metrics").body.decode() and "busy" not in keeper.cli("stats").stdout
    keeper.remove("busy")

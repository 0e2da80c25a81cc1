"""Managed volumes on a real Docker Engine: shared, kept through updates, deleted with their last user, or not.

The kernels of test machines rarely have NFS or Ceph: for these, programs of the same names in PATH write down how they
were called, and mount a tmpfs of that source, so that what the kernel tells of it is real.
"""
import json
import os
import subprocess
import time

import pytest

import harness
from harness import wait_for
from test_workloads import Keeper

MOUNT = """#!/bin/sh
echo "mount $*" >>"{log}"
for a in "$@"; do source=$last; last=$a; done
case $source in *down*) echo "mount.nfs: Connection refused" >&2; exit 32 ;; esac
exec /bin/mount -t tmpfs "$source" "$last"
"""
UMOUNT = """#!/bin/sh
echo "umount $*" >>"{log}"
exec /bin/umount "$@"
"""
RBD = """#!/bin/sh
echo "rbd $*" >>"{log}"
shift 4
case $1 in
info) [ -e "{images}/${{2#*/}}" ] && exit 0; echo "rbd: error opening image: (2) No such file" >&2; exit 2 ;;
create) touch "{images}/${{6#*/}}" ;;
showmapped) if [ -e "{images}/mapped" ]; then cat "{images}/mapped"; else echo "[]"; fi ;;
map) printf '[{{"id":"0","pool":"rbd","namespace":"","name":"%s","snap":"-","device":"/dev/rbd0"}}]' "${{2#*/}}" \
    >"{images}/mapped"; echo /dev/rbd0 ;;
unmap) rm "{images}/mapped" ;;
rm) rm "{images}/${{3#*/}}" ;;
esac
"""
BLKID = """#!/bin/sh
echo "blkid $*" >>"{log}"
[ -e "{images}/formatted" ] && { echo ext4; exit 0; }
exit 2
"""
MKFS = """#!/bin/sh
echo "mkfs.ext4 $*" >>"{log}"
touch "{images}/formatted"
"""


class Volumes(Keeper):
    def __init__(self, root, engine):
        super().__init__(root, engine)
        self.volumes_root = self.root / "volumes"
        self.bin, self.images, self.log = self.root / "bin", self.root / "images", self.root / "calls"
        self.bin.mkdir(), self.images.mkdir()
        self.server = "files.lan"
        for name, text in (("mount", MOUNT), ("umount", UMOUNT), ("mount.nfs", "#!/bin/sh\n"), ("rbd", RBD), ("blkid", BLKID), ("mkfs.ext4", MKFS)):
            text = text.replace("{log}", str(self.log)).replace("{images}", str(self.images)).replace("{{", "{").replace("}}", "}")
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        self.env["PATH"] = f"{self.bin}:{os.environ['PATH']}"
        self.log.touch()

    def config(self):
        return super().config() + f"""volumes:
  local_root: {self.volumes_root}
  tool_limit: 60s
  nfs: {{server: {self.server}, export: /srv/vols, options: "vers=4.2", stage_root: {self.root}/nfs}}
  ceph: {{pool: rbd, user: gantry, keyring: {self.root}/key, stage_root: {self.root}/ceph}}
"""

    def calls(self):
        return self.log.read_text().splitlines()

    def volumes(self):
        return {v["id"]: v for v in self.call("GET", "/v1/volumes").json()["volumes"]}

    def run(self, id, *volumes, command="sleep 86400", **more):
        doc = {"container": {"image": "busybox:local", "command": ["sh", "-c", command], "stop_timeout_s": 1,
                             "managed_volumes": list(volumes)}, **more}
        a = self.put(id, doc)
        assert a.status in (200, 202), a.body.decode()
        return a

    def cli(self, *args, code=0):
        p = subprocess.run([harness.program("gantry"), "--host", self.url, *args], capture_output=True, text=True, env=self.env, timeout=120)
        assert p.returncode == code, (args, p.stdout, p.stderr)
        return p.stdout + p.stderr


@pytest.fixture
def vols(tmp_path, engine):
    k = Volumes(tmp_path, engine)
    k.begin()
    yield k
    if k.gantryd is None or not k.gantryd.alive():
        k.start_gantryd()
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    k.stop()
    for place in (tmp_path / "nfs" / "export", tmp_path / "ceph" / "img"):
        subprocess.run(["/bin/umount", "-l", place], capture_output=True)
    k.check_clean()


def local(name, path="/data", **more):
    return {"name": name, "mount_path": path, **more}


def told(k, id, reason=None):
    """The workload, once it is said why it is not as it should be."""
    return wait_for("told", lambda: (lambda w: w if w and w.get("reason") and reason in (None, w["reason"]) else None)(k.get(id)), 20)


def gone(path):
    return wait_for(f"{path} gone", lambda: not path.exists(), 20)


def test_two_workloads_share_a_volume_and_the_last_one_deletes_it(vols):
    data = vols.volumes_root / "data"
    vols.run("one", local("Data"), command="echo one >/data/file; sleep 86400")
    vols.reaches("one", "running")
    wait_for("the file", lambda: (data / "file").exists())
    vols.run("two", local("data", "/there", read_only=True), command="cp /there/file /tmp/x; touch /there/no; sleep 86400")
    vols.reaches("two", "running")
    mounts = vols.inspect("two")["HostConfig"]["Mounts"]
    assert mounts == [{"Type": "bind", "Source": str(data), "Target": "/there", "ReadOnly": True}]
    assert not (data / "no").exists()
    v = vols.volumes()["local:data"]
    assert v["state"] == "ready" and v["made_here"] and [u["workload_id"] for u in v["users"]] == ["one", "two"]
    assert v["users"][1] | {"created_at": ""} == {"workload_id": "two", "mount_path": "/there", "read_only": True,
                                                  "retain_policy": "Delete", "created_at": ""}
    # an update keeps the data
    vols.run("one", local("data"), command="echo again >>/data/file; sleep 86400", revision_id="v2")
    vols.reaches("one", "running", revision_id="v2")
    wait_for("the update", lambda: (data / "file").read_text() == "one\nagain\n")
    a = vols.call("DELETE", "/v1/volumes/local%3Adata")
    assert a.status == 409 and 'used by workload \\"one\\" and others' in a.body.decode()
    vols.remove("one")
    time.sleep(0.5)
    assert (data / "file").exists()
    vols.remove("two")
    gone(data)
    wait_for("forgotten", lambda: vols.volumes() == {})


def test_what_is_kept(vols):
    root = vols.volumes_root
    old = root / "old"
    old.mkdir(parents=True)
    (old / "precious").write_text("x")
    vols.run("keeps", local("kept", retain_policy="Retain"), local("old", "/old"), command="touch /data/a /old/b; sleep 86400")
    vols.reaches("keeps", "running")
    wait_for("files", lambda: (old / "b").exists() and (root / "kept" / "a").exists())
    assert not vols.volumes()["local:old"]["made_here"]
    vols.remove("keeps")
    time.sleep(0.5)
    assert sorted(p.name for p in old.iterdir()) == ["b", "precious"] and (root / "kept" / "a").exists()
    wait_for("let go", lambda: {id: v["users"] for id, v in vols.volumes().items()} == {"local:kept": []})
    out = vols.cli("volumes", "list")
    assert "local:kept" in out and "ready" in out
    out = vols.cli("volumes", "show", "local:kept")
    assert "Used by:      nobody" in out and "made here" in out
    assert "not found" in vols.cli("volumes", "show", "local:no", code=1)
    assert "local:kept: deleted" in vols.cli("volumes", "delete", "local:kept")
    gone(root / "kept")
    assert '"DELETE' in vols.audit_file.read_text() or "volume" in vols.audit_file.read_text()


def test_a_deleted_workload_without_a_container_lets_go_too(vols):
    vols.run("lost", local("lost"))
    vols.reaches("lost", "running")
    vols.gantryd.p.kill()
    vols.gantryd.p.wait()
    vols.engine.docker("rm", "-f", "lost")
    vols.start_gantryd()
    vols.call("DELETE", "/v1/workloads/lost")
    gone(vols.volumes_root / "lost")
    wait_for("forgotten", lambda: vols.volumes() == {})


def test_killed_at_any_moment(vols):
    """gantryd is killed at moments spread over making and deleting: nothing is forgotten, nothing deleted that is used."""
    root = vols.volumes_root
    vols.run("other", local("shared"))
    vols.reaches("other", "running")
    (root / "shared" / "precious").write_text("x")
    for i in range(12):
        vols.call("PUT", "/v1/workloads/wl", {"id": "wl", "type": "container", "container": {
            "image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1,
            "managed_volumes": [local("own"), local("shared", "/s")]}})
        time.sleep(0.004 * i)
        vols.gantryd.p.kill()
        vols.gantryd.p.wait()
        vols.start_gantryd()
        vols.reaches("wl", "running")
        assert {v: len(x["users"]) for v, x in vols.volumes().items()} == {"local:own": 1, "local:shared": 2}
        assert vols.call("DELETE", "/v1/workloads/wl").status == 202
        time.sleep(0.05 * i)
        vols.gantryd.p.kill()
        vols.gantryd.p.wait()
        vols.start_gantryd()
        wait_for("w gone", lambda: vols.get("wl") is None, 40)
        gone(root / "own")
        wait_for("own forgotten", lambda: set(vols.volumes()) == {"local:shared"}, 20)
        assert (root / "shared" / "precious").exists() and not (root / ".Gantry-Trash").exists()


def test_no_room(vols):
    vols.volumes_root.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "nr_inodes=1", "small", vols.volumes_root], check=True)
    try:
        vols.run("full", local("full"))
        w = told(vols, "full", "STORAGE_FULL")
        assert "No space left on device" in json.dumps(w)
        wait_for("nothing left between two tries", lambda: vols.volumes() == {})
        subprocess.run(["/bin/mount", "-o", "remount,nr_inodes=100", vols.volumes_root], check=True)
        vols.call("POST", "/v1/workloads/full/action", {"action": "retry"})
        vols.reaches("full", "running", 30)
        vols.remove("full")
        wait_for("forgotten", lambda: vols.volumes() == {})
    finally:
        subprocess.run(["/bin/umount", "-l", vols.volumes_root], check=True)


def mounted(path):
    return any(line.split()[1] == str(path) for line in open("/proc/self/mounts", encoding="utf-8"))


def test_nfs(vols):
    place = vols.root / "nfs" / "export"
    vols.run("na", local("Web Data", driver="nfs"))
    vols.reaches("na", "running")
    assert vols.calls() == [f"mount -t nfs -o nosuid,nodev,vers=4.2 files.lan:/srv/vols {place}"]
    assert (place / "web-data").is_dir()
    assert vols.volumes()["nfs:web-data"]["device"] == "nfs://files.lan/srv/vols/web-data"
    # a mount that is there is taken as it is
    vols.gantryd.p.kill()
    vols.gantryd.p.wait()
    vols.start_gantryd()
    vols.run("nb", local("web-data", driver="nfs"), local("more", "/more", driver="nfs", retain_policy="Retain"))
    vols.reaches("nb", "running")
    assert len(vols.calls()) == 1
    vols.remove("na")
    time.sleep(0.3)
    assert (place / "web-data").is_dir()
    vols.remove("nb")
    wait_for("unmounted", lambda: not mounted(place), 20)
    wait_for("told", lambda: vols.calls()[-1] == f"umount {place}")
    wait_for("forgotten", lambda: list(vols.volumes()) == ["nfs:more"])
    # whichever of two volumes is left first
    for n in range(4):
        vols.run("nb", local("web-data", driver="nfs"), local(f"more-{n}", "/more", driver="nfs", retain_policy="Retain"))
        vols.reaches("nb", "running")
        assert mounted(place)
        vols.remove("nb")
        wait_for("unmounted", lambda: not mounted(place), 20)


def test_a_server_that_is_down_is_told(vols):
    vols.stop_gantryd() if hasattr(vols, "stop_gantryd") else vols.gantryd.stop()
    vols.server = "down.lan"
    vols.start_gantryd()
    vols.run("na", local("x", driver="nfs"))
    w = told(vols, "na")
    assert w["reason"] == "STORAGE_ATTACH_FAILED"
    text = vols.call("GET", "/v1/explain/workload/ca")
    said = json.dumps(w) + text.body.decode()
    assert 'volume \\"nfs:x\\": mount failed: \\"mount\\" failed with status 32: mount.nfs: Connection refused' in said.replace('\\\\\\"', '\\"')
    wait_for("nothing left between two tries", lambda: vols.volumes() == {})
    tasks = json.dumps(vols.call("GET", "/v1/tasks").json()) if vols.call("GET", "/v1/tasks").status == 200 else ""
    assert tasks == "" or "VOLUME_MOUNT_FAILED" in tasks


def test_ceph(vols):
    stage = vols.root / "ceph" / "img"
    vols.run("na", local("img", driver="ceph-rbd", size_gb=3))
    vols.reaches("na", "running")
    who = f"--id gantry --keyring {vols.root}/key"
    assert vols.calls()[:8] == [
        f"rbd {who} info rbd/img", f"rbd {who} info rbd/img", f"rbd {who} create --size 3G --image-feature layering rbd/img",
        f"rbd {who} showmapped --format json", f"rbd {who} map rbd/img", "blkid -p -o value -s TYPE /dev/rbd0", "mkfs.ext4 -q /dev/rbd0",
        f"mount -t ext4 -o nosuid,nodev /dev/rbd0 {stage}"]
    assert vols.inspect("na")["HostConfig"]["Mounts"][0]["Source"] == str(stage)
    vols.log.write_text("")
    vols.remove("na")
    wait_for("deleted", lambda: vols.volumes() == {}, 20)
    assert vols.calls() == [f"umount {stage}", f"rbd {who} showmapped --format json", f"rbd {who} unmap /dev/rbd0",
                            f"rbd {who} info rbd/img", f"rbd {who} rm --no-progress rbd/img"]
    # what was there before is neither formatted nor deleted
    (vols.images / "img").touch()
    (vols.images / "formatted").unlink()
    vols.log.write_text("")
    vols.run("nb", local("img", driver="ceph-rbd"))
    w = told(vols, "nb")
    assert "has no file system that is known" in json.dumps(w)
    assert not [c for c in vols.calls() if c.startswith("mkfs") or " rm " in c or " create " in c]
    assert (vols.images / "img").exists()


def test_drivers_that_are_not_set_up_are_refused(tmp_path, engine):
    k = Keeper(tmp_path, engine)
    k.extra_config = ""
    k.begin()
    a = k.put("xx", {"container": {"image": "busybox:local", "managed_volumes": [local("x", driver="nfs")]}})
    assert a.status in (400, 422, 501) and 'driver \\"nfs\\" is not available: set volumes.nfs.server' in a.body.decode(), a.body.decode()
    k.stop()
    k.check_clean()

"""Virtual machines that do something, on a real libvirtd and real emulators: with UEFI, with addresses, with volumes; and with
emulation where KVM cannot be had."""
import json
import os
import pathlib
import re
import signal

import pytest

import guests
from harness import wait_for
from test_vm import VmKeeper, vm


class GuestKeeper(VmKeeper):
    """With containers and volumes besides."""

    def __init__(self, root, libvirtd, engine):
        super().__init__(root, libvirtd)
        self.docker_socket, self.engine = engine.socket, engine
        del self.workloads["docker"]
        self.vm["address_interval"] = "1s"

    def config(self):
        return super().config() + f"volumes: {{local_root: {self.root}/volumes}}\n"

    def run(self, id, doc):
        a = self.call("PUT", f"/v1/workloads/{id}", {"id": id, **doc})
        assert a.status == 202, a

    def meta(self, id):
        return (self.get(id) or {}).get("metadata") or {}

    def why(self, id):
        return self.call("GET", f"/v1/explain/workload/{id}").json()


@pytest.fixture(scope="module")
def host():
    import libvirtd
    with libvirtd.Libvirtd(net=True) as h:
        h.network("leases", "gv-leases", "192.168.77", dhcp=True)
        h.network("quiet", "gv-quiet", "192.168.78")
        yield h


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, host, engine):
    k = GuestKeeper(tmp_path_factory.mktemp("guests"), host, engine)
    k.begin()
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        assert k.call("DELETE", f"/v1/workloads/{w['id']}?force=true").status in (202, 404)
    wait_for("all gone", lambda: k.call("GET", "/v1/workloads").json()["workloads"] == [], 60)
    k.stop()
    k.check_clean()


def guest(host, name, address, network, **more):
    """A document of a machine that says how it is."""
    disk = guests.machine(host.images / f"{name}.raw", name, address)
    return {"type": "vm", **vm(disk, networks=[{"network": network}], **more)}


@pytest.fixture(scope="module")
def leased(keeper, host):
    """Machine "leased", and a container that waits for its address; what was told of that one meanwhile."""
    said = {}
    keeper.run("after", {"type": "container", "depends_on": [{"id": "leased", "condition": "address"}],
                         "container": {"image": "busybox:local", "command": ["sleep", "86400"], "stop_timeout_s": 1}})
    said["absent"] = wait_for("it waits", lambda: (lambda x: x if x["waits_for"] else None)(keeper.why("after")))
    volumes = [{"name": "kept", "size_gb": 1, "mount_path": "/a", "retain_policy": "Retain"}, {"name": "gone", "size_gb": 1, "mount_path": "/b"}]
    doc = guest(host, "leased", "dhcp", "leases", managed_volumes=volumes)
    doc["vm"]["stop_timeout_s"] = 60
    server = host.emulators("network", b"dnsmasq")
    for pid in server:  # it leases nothing yet
        os.kill(pid, signal.SIGSTOP)
    keeper.run("leased", doc)
    keeper.reaches("leased", "running", 30)
    host.says("leased", "leased: address none")
    # Between two looks that is what is said; while one is under way, that it is.
    reason = 'It waits for the address of "leased".'
    said["running"] = wait_for("it waits for the address", lambda: (lambda x: x if x["why"] == reason else None)(keeper.why("after")))
    said["text"] = wait_for("it is explained", lambda: (lambda text: text if reason in text else None)(keeper.cli("explain", "after").stdout))
    said["meta"], said["object"] = keeper.meta("leased"), keeper.inspect("after")
    for pid in server:
        os.kill(pid, signal.SIGCONT)
    wait_for("an address", lambda: keeper.meta("leased").get("vm.primary_ip"), 30)
    return doc, said


def test_addresses_from_leases(keeper, host, leased):
    # If the lease came between the two questions, the guest's agent has told the address first.
    by_lease = lambda m: m if m.get("vm.interfaces", "").startswith("vnet") else None
    m = wait_for("the lease is seen", lambda: by_lease(keeper.meta("leased")))
    mac = m["vm.mac_addresses"]
    address = host.says("leased", re.compile(r"leased: address (192\.168\.77\.\d+) .*agent asked")).group(1)
    assert m["vm.primary_ip"] == address and m["vm.ip_addresses"].split(",")[0] == address, m
    assert re.fullmatch(r"vnet\d+:" + re.escape(address), m["vm.interfaces"]) and "vm.network_lookup_error" not in m, m
    assert mac in host.virsh("net-dhcp-leases", "leases") and address in host.virsh("net-dhcp-leases", "leases")


def test_addresses_from_the_guest_agent(keeper, host):
    keeper.run("agent", guest(host, "agent", "10.7.7.9", "quiet"))
    m = wait_for("an address", lambda: (lambda m: m if m.get("vm.primary_ip") else None)(keeper.meta("agent")), 30)
    assert m["vm.primary_ip"] == "10.7.7.9" and m["vm.ip_addresses"] == "10.7.7.9,fe80::1", m
    assert m["vm.interfaces"] == "eth0:10.7.7.9|fe80::1"
    host.says("agent", re.compile(r"agent asked [1-9]"))
    keeper.remove("agent")


def test_a_machine_without_an_address_is_no_failure(keeper, host):
    keeper.run("mute", guest(host, "mute", "", "quiet"))
    keeper.reaches("mute", "running", 30)
    host.says("mute", "mute: address none", 20)
    m = keeper.meta("mute")
    assert not [k for k in m if "ip" in k.split(".")[-1] or "error" in k], json.dumps(m)
    keeper.remove("mute")


def test_a_container_waits_for_the_address_of_a_machine(keeper, leased):
    said = leased[1]
    assert said["absent"]["waits_for"] == ["leased"] and said["absent"]["why"] == 'It waits for "leased", which does not exist.'
    assert "vm.primary_ip" not in said["meta"]
    assert said["object"] is None or said["object"]["State"]["Status"] == "created", "it may be made, but not started"
    assert said["running"]["waits_for"] == ["leased"]
    w = keeper.reaches("after", "running", 20)
    assert w["started_at"] > keeper.get("leased")["started_at"]
    assert keeper.why("after")["waits_for"] == []


def counted(path):
    """What the machine wrote down on a volume."""
    with open(path, "rb") as f:
        head = f.read(20)
    assert head.startswith(b"GUEST-COUNTS\0"), head
    return int.from_bytes(head[16:], "little")


def test_a_volume_in_a_machine(keeper, host, leased):
    doc = json.loads(json.dumps(leased[0]))
    kept, gone = (keeper.root / "volumes" / n / "disk.raw" for n in ("kept", "gone"))
    host.says("leased", "volume 0->1 volume 0->1")
    assert counted(kept) == counted(gone) == 1 and kept.stat().st_size == 1 << 30
    keeper.run("leased", dict(doc, desired_state="stopped"))
    w = keeper.reaches("leased", "stopped", 90)
    # The guest heard its button; what it had as an address is nobody's any more.
    assert w["message"] == "shutdown (reason=shutdown)" and "vm.primary_ip" not in w["metadata"], w
    keeper.run("leased", doc)
    keeper.reaches("leased", "running", 30)
    host.says("leased", "volume 1->2 volume 1->2")
    # Another revision is another definition, with the same disks.
    uuid = keeper.get("leased")["object_id"]
    doc["vm"]["memory_mb"] = 72
    keeper.run("leased", doc)
    wait_for("another definition", lambda: keeper.get("leased").get("object_id") not in (None, uuid), 30)
    keeper.reaches("leased", "running", 30)
    host.says("leased", "volume 2->3 volume 2->3")
    volumes = {v["id"]: v for v in keeper.call("GET", "/v1/volumes").json()["volumes"]}
    assert [[u["workload_id"] for u in volumes[f"local:{n}"]["users"]] for n in ("kept", "gone")] == [["leased"]] * 2
    keeper.remove("leased")
    wait_for("its volume gone", lambda: not gone.parent.exists(), 20)
    wait_for("forgotten", lambda: [v["id"] for v in keeper.call("GET", "/v1/volumes").json()["volumes"]] == ["local:kept"], 20)
    assert counted(kept) == 3
    # Whoever comes next finds what was kept.
    doc["vm"]["managed_volumes"] = doc["vm"]["managed_volumes"][:1]
    keeper.run("leased", doc)
    keeper.reaches("leased", "running", 30)
    host.says("leased", "volume 3->4")
    keeper.remove("leased")
    assert kept.exists()


def test_uefi(keeper, host):
    disk = guests.efi_disk(host.images / "uefi.raw", "booted by UEFI")
    doc = vm(disk, firmware="uefi")
    doc["vm"]["memory_mb"] = 128
    assert keeper.put("uefi", doc).status == 202
    keeper.reaches("uefi", "running", 30)
    xml = host.virsh("dumpxml", "uefi")
    assert re.search(r"<loader readonly='yes' type='pflash'[^>]*>/usr/share/\S+CODE\S*\.fd</loader>", xml), xml
    nvram = pathlib.Path(re.search(r"<nvram[^>]*>([^<]+)</nvram>", xml).group(1))
    nvram = host.root / "lib" / nvram.relative_to("/var/lib/libvirt")
    assert nvram.exists()
    host.says("uefi", "booted by UEFI", 60)
    # Another definition keeps what the firmware has written down.
    inode = nvram.stat().st_ino
    doc["vm"]["memory_mb"] = 136
    assert keeper.put("uefi", doc).status == 202
    wait_for("the new definition", lambda: "139264" in (host.virsh("dominfo", "uefi", check=False) or ""), 30)
    keeper.reaches("uefi", "running", 30)
    assert nvram.stat().st_ino == inode
    keeper.remove("uefi")
    assert not nvram.exists() and pathlib.Path(disk).exists()


@pytest.fixture
def private(tmp_path):
    """A libvirtd and a gantryd of one test, which chooses by itself what runs a machine."""
    import libvirtd
    made = []

    def make(**kw):
        h = libvirtd.Libvirtd(**kw)
        h._prepare()
        made.append(h)
        k = VmKeeper(tmp_path, h.launch())
        k.vm["accelerator"] = "auto"
        made.append(k)
        return k.begin(), h
    yield make
    host, k = made
    k.remove(*[w["id"] for w in k.call("GET", "/v1/workloads").json()["workloads"]])
    k.stop()
    k.check_clean()
    host.end()


def test_without_kvm_it_is_emulated(private):
    k, h = private(kvm=False)
    assert k.put("slow", vm(h.disk("slow.raw", "slow but up"))).status == 202
    w = k.reaches("slow", "running")
    h.says("slow", "slow but up")
    m = w["metadata"]
    assert m["vm.accelerator"] == "qemu" and m["vm.accelerator_reason"] == "libvirt offers no KVM here"
    assert "<domain type='qemu'" in h.virsh("dumpxml", "slow") and not w.get("failure")


@pytest.mark.skipif(not os.path.exists("/dev/kvm"), reason="there is no /dev/kvm that could be lost")
@pytest.mark.parametrize("secretly", [True, False])
def test_kvm_that_does_not_work_after_all(private, secretly):
    """It is found out when the machine is started (secretly), or defined."""
    k, h = private()
    if "kvm" not in (h.virsh("domcapabilities", "--virttype", "kvm", check=False) or ""):
        pytest.skip("libvirt finds no KVM that could be lost")
    wait_for("gantryd has asked, too", lambda: [r for r in k.call("GET", "/v1/node").json()["runtimes"]
                                                if r["type"] == "vm" and r["condition"] == "healthy"], 20)
    h.lose_kvm(secretly)
    assert k.put("slow", vm(h.disk("slow.raw", "slow but up"))).status == 202
    wait_for("emulation", lambda: ((k.get("slow") or {}).get("metadata") or {}).get("vm.accelerator") == "qemu", 30)
    w = k.reaches("slow", "running")
    h.says("slow", "slow but up")
    assert w["metadata"]["vm.accelerator_reason"] == "KVM was tried and does not work here" and not w.get("failure"), w
    # The next one is not tried with it any more.
    assert k.put("next", vm(h.disk("next.raw", "next"))).status == 202
    k.reaches("next", "running")
    assert "kvm" not in "".join(t.get("progress") or "" for t in k.call("GET", "/v1/tasks?workload=next").json()["tasks"]).lower()

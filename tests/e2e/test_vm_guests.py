"""Virtual machines that do something, on a real libvirtd and real emulators: with UEFI, with addresses, with volumes; and with
emulation where KVM cannot be had."""
import os
import pathlib
import re

import pytest

import guests
from harness import wait_for
from test_vm import VmKeeper, vm


@pytest.fixture(scope="module")
def host():
    import libvirtd
    with libvirtd.Libvirtd() as h:
        yield h


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, host):
    k = VmKeeper(tmp_path_factory.mktemp("guests"), host)
    k.begin()
    yield k
    k.remove(*[w["id"] for w in k.call("GET", "/v1/workloads").json()["workloads"]])
    k.stop()
    k.check_clean()


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
def test_kvm_that_does_not_work_after_all(private):
    k, h = private()
    assert wait_for("libvirt", lambda: "kvm" in (h.virsh("domcapabilities", "--virttype", "kvm", check=False) or ""))
    h.lose_kvm()
    assert k.put("slow", vm(h.disk("slow.raw", "slow but up"))).status == 202
    wait_for("emulation", lambda: ((k.get("slow") or {}).get("metadata") or {}).get("vm.accelerator") == "qemu", 30)
    w = k.reaches("slow", "running")
    h.says("slow", "slow but up")
    assert w["metadata"]["vm.accelerator_reason"] == "KVM was tried and does not work here" and not w.get("failure"), w
    # The next one is not tried with it any more.
    assert k.put("next", vm(h.disk("next.raw", "next"))).status == 202
    k.reaches("next", "running")
    assert "kvm" not in "".join(t.get("progress") or "" for t in k.call("GET", "/v1/tasks?workload=next").json()["tasks"]).lower()

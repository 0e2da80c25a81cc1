"""Disks of virtual machines that other machines need."""
import os
import pathlib

from harness import wait_for
from test_vm import host, keeper, vm  # noqa: F401 (fixtures)


def test_a_disk_that_another_machine_needs_stays(keeper, host):  # noqa: F811
    first = host.images / "first-d.qcow2"
    made = lambda disk: {"vm": {"vcpus": 1, "memory_mb": 64, "disks": [{"path": str(disk), "size_gb": 1}]}}
    assert keeper.put("first", {**made(first), "desired_state": "stopped"}).status == 202
    keeper.reaches("first", "stopped")
    assert first.exists() and pathlib.Path(f"{first}.persys-managed").exists()
    # A second one has the same disk, by another name; a third one lies upon it.
    os.link(first, host.images / "same.qcow2")
    assert keeper.put("second", {**vm(str(host.images / "same.qcow2"), "qcow2"), "desired_state": "stopped"}).status == 202
    assert keeper.put("third", {"vm": {"vcpus": 1, "memory_mb": 64, "os_image": str(first), "disk_gb": 2},
                                "desired_state": "stopped"}).status == 202
    keeper.reaches("second", "stopped")
    keeper.reaches("third", "stopped")
    keeper.remove("first")
    assert first.exists(), "others need it"
    keeper.remove("second")
    assert first.exists()
    third = host.images / "third-vda.qcow2"
    assert third.exists()
    keeper.remove("third")
    assert not third.exists() and first.exists()
    # Nobody needs it any more: who has it in his document deletes it.
    assert keeper.put("first", {**made(first), "desired_state": "stopped"}).status == 202
    keeper.reaches("first", "stopped")
    keeper.remove("first")
    wait_for("it is gone", lambda: not first.exists() and not pathlib.Path(f"{first}.persys-managed").exists(), 5)

"""Runs every example of docs/guide/vms.md, in its order, on a libvirtd of the tests' own."""
import os
import pathlib
import re

import pytest

import libvirtd
from harness import program
from test_api_guide import Shell, examples, matches
from test_vm import VmKeeper
from test_workloads_guide import blocks

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide" / "vms.md"
IMAGES = "/var/lib/libvirt/images"


@pytest.fixture
def keeper(tmp_path):
    with libvirtd.Libvirtd() as host:
        host.qcow2("debian-12.qcow2", "up")
        k = VmKeeper(tmp_path, host)
        k.begin()
        yield k
        k.stop()
        k.check_clean()


def test_the_guide_of_machines(keeper, tmp_path):
    place = tmp_path / "guide"
    place.mkdir()
    own = lambda text: text.replace(IMAGES, str(keeper.libvirtd.images))
    env = dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}", LC_ALL="C.UTF-8",
               PATH=f"{os.path.dirname(program('gantry'))}:{os.environ['PATH']}")
    sh = Shell(env, place)
    wrong, n = [], 0
    for line, kind, text in blocks(GUIDE.read_text()):
        if kind == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", text)
            assert name, f"line {line}: the first line names no file"
            (place / name[1]).write_text(own(text))
            continue
        for number, command, expected in examples("```console\n" + text):
            n += 1
            got = sh.run(own(command).replace("--wait", "--wait --timeout 5m"), 360)
            if not matches(got, own(expected)):
                wrong.append(f"{GUIDE.name}:{line + number - 2}: {command}\n  expected: {own(expected)!r}\n  got:      {got!r}")
    sh.close()
    assert not wrong, "\n".join(wrong)
    assert n > 12
    assert keeper.libvirtd.domains() == []

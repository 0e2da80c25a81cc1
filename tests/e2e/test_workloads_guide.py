"""Runs every example of docs/guide/workloads.md, in its order: documents become files, commands are compared with what they print."""
import os
import pathlib
import re
import time

import pytest

from harness import patient, program
from test_api_guide import Shell, examples, matches
from test_workloads import Keeper

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide" / "workloads.md"
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.M | re.S)
LATER = re.compile(r"^(sleep|timeout) (\d+)|^gantry describe ")  # a failure's last words come a moment after it


def blocks(text):
    """[(first line's number, kind, text)]"""
    return [(text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in BLOCK.finditer(text)]


@pytest.fixture
def keeper(tmp_path, engine):
    # Retries come sooner than by default, so that the page is read in seconds; what it tells of is the same.
    k = Keeper(tmp_path, engine)
    k.workloads["retry"] = "{first: 500ms, most: 2s, steady: 30s}"
    engine.docker("tag", "busybox:local", "busybox:1.36")
    k.begin()
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    engine.docker("rm", "-f", "cam", "printer", check=False)
    engine.docker("rmi", "busybox:1.36")
    k.stop()
    k.check_clean()


def shown(sh, command, expected):
    """What a command prints. One that shows what has come about after some seconds is given more of them where the machine is slow."""
    later = LATER.search(command)
    for times in (1, 4, 16):
        got = sh.run(f"{later[1]} {int(later[2]) * times}{command[later.end():]}" if later and later[1] else command, patient(60))
        if not later or matches(got, expected):
            break
        time.sleep(times)
    return got


def test_the_guide_of_workloads(keeper, tmp_path):
    place = tmp_path / "guide"
    place.mkdir()
    own = lambda text: text.replace("/run/arm", str(tmp_path))  # a folder of lock_roots that is ours
    env = dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}", DOCKER_HOST=f"unix://{keeper.engine.socket}", LC_ALL="C.UTF-8",
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
            got = shown(sh, own(command), own(expected))
            if not matches(got, own(expected)):
                wrong.append(f"{GUIDE.name}:{line + number - 2}: {command}\n  expected: {own(expected)!r}\n  got:      {got!r}")
    sh.close()
    assert not wrong, "\n".join(wrong)
    assert n > 40
    assert keeper.call("GET", "/v1/workloads").json()["workloads"] == []

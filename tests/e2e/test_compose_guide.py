"""Runs every example of docs/guide/compose.md, in its order."""
import os
import pathlib
import re
import time

import pytest

from harness import patient, program
from test_api_guide import Shell, examples, matches
from test_compose import Composer, pytestmark  # noqa: F401
from test_workloads_guide import blocks

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide" / "compose.md"


@pytest.fixture
def keeper(tmp_path, engine):
    k = Composer(tmp_path, engine)
    engine.docker("tag", "busybox:local", "busybox:1.36")
    k.begin()
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    engine.docker("rmi", "busybox:1.36")
    k.stop()
    k.check_clean()


def test_the_guide_of_compose(keeper, tmp_path):
    place = tmp_path / "guide"
    place.mkdir()
    env = dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}", LC_ALL="C.UTF-8", PATH=f"{os.path.dirname(program('gantry'))}:{os.environ['PATH']}")
    sh = Shell(env, place)
    wrong, n = [], 0
    for line, kind, text in blocks(GUIDE.read_text()):
        if kind == "yaml":
            (place / re.match(r"# (\S+\.yaml)\n", text)[1]).write_text(text)
            continue
        for number, command, expected in examples("```console\n" + text):
            n += 1
            command = command.replace("--timeout 60s", "--timeout 300s")
            got, end = sh.run(command, 360), time.monotonic() + patient(10)
            while " logs " in command and not matches(got, expected) and time.monotonic() < end:  # they may come a moment later
                got = sh.run(command, 360)
            if not matches(got, expected):
                wrong.append(f"{GUIDE.name}:{line + number - 2}: {command}\n  expected: {expected!r}\n  got:      {got!r}")
    sh.close()
    assert not wrong, "\n".join(wrong)
    assert n == 7

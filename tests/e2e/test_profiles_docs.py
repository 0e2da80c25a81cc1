"""docs/guide/profiles.md tells every key with the values it has, and the commands in it work."""
import pathlib
import re

import harness

ROOT = pathlib.Path(harness.__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide" / "profiles.md").read_text()


def table(header):
    rows = GUIDE[GUIDE.index(header):].splitlines()[2:]
    for row in rows:
        if not row.startswith("|"):
            return
        yield [cell.strip().strip("`") for cell in row.strip("|").split("|")]


def keys_of_the_program():
    source = re.sub(r'"\s*\n\s*"', "", (ROOT / "src" / "s6" / "profile.c").read_text())
    body = source[source.index("static const struct key keys[] = {"):]
    body = body[:body.index("\n};")]
    rows = re.findall(r'\{"(\w+)", KEY_\w+,.*?(?:false|true),\s*"([^"]*)",\s*"([^"]*)"\}', body, re.S)
    assert len(rows) == body.count("KEY_")
    return rows


def names_in(path, function):
    body = (ROOT / "src" / "s6" / path).read_text().split(f"{function}(enum ")[1].split("\n}")[0]
    return {name for name in re.findall(r'"([a-z_0-9]+)"', body)}


def test_every_key_with_its_values():
    assert [tuple(row[:3]) for row in table("| key | plain |")] == keys_of_the_program()


def test_every_state_and_reason():
    states = {word for row in table("| state | meaning |") for word in re.findall(r"[a-z]+", row[0])}
    assert states == names_in("gateway.c", "*gateway_phase_name")
    assert {row[0] for row in table("| reason | meaning")} == names_in("gateway.c", "*gateway_why_name")
    for reason in names_in("reconcile.c", "*reconcile_reason_name"):
        assert f"`{reason}`" in GUIDE


def test_every_exit_status():
    header = (ROOT / "src" / "gantry-agent" / "commands.h").read_text()
    codes = re.findall(r"COMMAND_\w+ = (\d+)", header)
    assert [row[0] for row in table("| exit status |")] == codes

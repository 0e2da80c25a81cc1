"""The recorded cases of the boot pass: homes made by make-profiles.sh, and for each entry what must become of it. As the
service user and as root; left out where the recordings are not there."""
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness
from test_profiles import UID

CASES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "conformance" / "profiles"
pytestmark = pytest.mark.skipif(not (CASES / "expected.jsonl").exists(), reason="the recorded cases are not here")

PLAIN = re.compile(rb"[^A-Za-z0-9_.-]")


def encoded(raw):
    """A value as the pass writes it."""
    return PLAIN.sub(lambda m: b"%%%02X" % m.group()[0], raw).decode()


def expected():
    """{set: {entry: row}} and {set: exit status}."""
    rows, exits = collections.defaultdict(dict), {}
    for line in (CASES / "expected.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("kind") == "summary":
            exits[row["set"]] = row["exit"]
            continue
        entry = bytes.fromhex(row["entry_hex"]) if "entry_hex" in row else row["entry"].encode()
        rows[row["set"]]["default" if entry == b"(root)" else encoded(entry)] = row
    return rows, exits


def prior_of(row):
    prior = row.get("prior_state")
    return "None" if prior is None else '""' if prior == "" else encoded(prior.encode()[:64])


def told(stdout):
    """{profile: fields} of the lines of a pass."""
    lines = [line for line in stdout.splitlines() if line.startswith("reconcile: profile=")]
    fields = [dict(word.split("=", 1) for word in line[len("reconcile: "):].split(" ")) for line in lines]
    return {f["profile"]: f for f in fields}


def faults_of(name, rows, got):
    for entry, row in rows.items():
        line = got.get(entry)
        if row["action"] == "ignored":
            if line is not None:
                yield f"{name}/{entry}: must be ignored, got {line}"
        elif line is None:
            yield f"{name}/{entry}: missing"
        else:
            want = (row["action"], row.get("reason"), row.get("note"))
            have = (line["action"], line.get("reason"), line.get("note"))
            if want != have or (row["action"] != "skipped" and line["prior_state"] != prior_of(row)):
                yield f"{name}/{entry}: {line}, expected {row}"


class Pass:
    def __init__(self, uid, agent):
        self.uid, self.agent = uid, agent

    def demote(self):
        if self.uid:
            os.setgroups([])
            os.setgid(self.uid)
            os.setuid(self.uid)

    def run(self, home, *more):
        return subprocess.run([str(self.agent), "reconcile", "--layout", "hermes", "--home", str(home), "--scandir",
                               str(home / "scandir"), *more], capture_output=True, text=True, timeout=harness.patient(120),
                              preexec_fn=self.demote)


@pytest.mark.parametrize("uid", [UID, 0], ids=["service-user", "root"])
def test_every_recorded_entry(uid):
    root = pathlib.Path("/tmp") / f"gantry-profile-cases-{os.getpid()}-{uid}"
    root.mkdir(mode=0o755)
    try:
        homes = root / "homes"
        subprocess.run(["bash", str(CASES / "make-profiles.sh"), str(homes), "1000"], check=True, capture_output=True)
        shutil.copy(harness.program("gantry-agent"), root / "gantry-agent")
        (root / "gantry-agent").chmod(0o755)
        for home in homes.iterdir():
            (home / "scandir").mkdir(exist_ok=True)
        if uid:
            subprocess.run(["chown", "-RPh", f"{uid}:{uid}", str(homes)], check=True)
        rows, exits = expected()
        faults, seen = [], 0
        for home in sorted(homes.iterdir()):
            one = Pass(uid, root / "gantry-agent")
            dry, real = one.run(home, "--dry-run"), one.run(home)
            name = home.name
            if real.returncode not in (0, 1, 111):
                faults.append(f"{name}: exit {real.returncode}: {real.stderr}")
            # What cannot be removed is found out by trying.
            if dry.stdout.replace(" note=stale_left", "") != real.stdout.replace(" note=stale_left", ""):
                faults.append(f"{name}: the dry run differs")
            if name not in rows or (uid == 0 and name.startswith("perm-")):  # root may read everything
                continue
            if real.returncode != exits[name]:
                faults.append(f"{name}: exit {real.returncode}, expected {exits[name]}")
            faults += faults_of(name, rows[name], told(real.stdout))
            seen += len(rows[name])
        assert faults == []
        assert seen > 1100
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", str(root)], capture_output=True)
        shutil.rmtree(root, ignore_errors=True)

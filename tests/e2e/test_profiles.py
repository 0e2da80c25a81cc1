"""Profile gateways with a real s6-svscan: as the service user on a scandir of its own, and as root on a shared one."""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import harness
from harness import Process, patient, wait_for

UID = 10000
GATEWAY = """#!/bin/sh
echo "gateway $1 of $PROFILE_DIR home $GANTRY_PROFILE_HOME uid $(id -u)"
exec sleep 1000
"""


def reads(scandir):
    """An s6-svscan hears what it is told."""
    try:
        os.close(os.open(scandir / ".s6-svscan" / "control", os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


class Place:
    """A home and a scandir with its s6-svscan, for one user."""

    def __init__(self, uid, start=True, owner=None):
        """uid runs the commands, owner (the same unless given) has the scandir and runs its s6-svscan."""
        self.uid, self.owner = uid, uid if owner is None else owner
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gantry-profiles-", dir="/tmp"))
        self.root.chmod(0o755)
        self.home, self.scandir = self.root / "home", self.root / "service"
        self.agent = self.root / "gantry-agent"
        shutil.copy(harness.program("gantry-agent"), self.agent)
        self.agent.chmod(0o755)
        for d in (self.home, self.scandir, self.home / "profiles"):
            d.mkdir()
            d.chmod(0o755)
        for d in (self.home, self.home / "profiles"):
            os.chown(d, UID, UID)
        if self.owner:
            os.chown(self.scandir, self.owner, self.owner)
        self.svscan = None
        if start:
            self.start()

    def demote(self, uid=None):
        uid = self.uid if uid is None else uid
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    def start(self, *args):
        self.svscan = Process("s6-svscan", ["s6-svscan", *args, str(self.scandir)], self.root / "svscan.log",
                              preexec_fn=(lambda: self.demote(self.owner)) if self.owner else None)
        wait_for("s6-svscan", lambda: reads(self.scandir))

    def run(self, *args, ok=True, umask=None, env=None):
        def before():
            if umask is not None:
                os.umask(umask)
            if self.uid:
                self.demote()
        p = subprocess.run([str(self.agent), *args, "--home", str(self.home), "--scandir", str(self.scandir),
                            "--set", f"uid={UID}", "--set", f"gid={UID}", "--set", "timeout_kill=2s",
                            "--set", "user=gantrytest"], capture_output=True, text=True, preexec_fn=before, timeout=patient(60),
                           env={**os.environ, **(env or {})})
        if ok:
            assert p.returncode == 0, (args, p.returncode, p.stdout, p.stderr)
        return p

    def profile(self, name, state=None, gateway=GATEWAY):
        d = self.home / "profiles" / name
        d.mkdir()
        (d / "profile.yaml").write_text("# test\n")
        (d / "gateway").write_text(gateway)
        (d / "gateway").chmod(0o755)
        if state is not None:
            (d / "gateway_state.json").write_text(state if state.startswith("{") else json.dumps({"gateway_state": state}))
        subprocess.run(["chown", "-R", f"{UID}:{UID}", str(d)], check=True)
        return d

    def status(self, name):
        return json.loads(self.run("gateway", "status", name, "--json").stdout)

    def dots(self):
        return [n for n in os.listdir(self.scandir) if n.startswith(".") and n not in (".s6-svscan", ".pg.lock")]

    def stop(self):
        if self.svscan:
            harness.end_svscan(self.svscan, self.scandir)
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture(params=[(UID, UID), (0, 0), (0, UID)], ids=["own-svscan", "shared-as-root", "own-svscan-by-root"])
def place(request, service_user):
    p = Place(request.param[0], owner=request.param[1])
    yield p
    p.stop()


@pytest.fixture
def own(service_user):
    p = Place(UID)
    yield p
    p.stop()


@pytest.fixture(scope="module")
def service_user():
    """s6-setuidgid wants a name; made for the test if the machine has none with this id."""
    made = subprocess.run(["getent", "passwd", "gantrytest"], capture_output=True).returncode != 0
    if made:
        subprocess.run(["useradd", "-u", str(UID), "-M", "-d", "/nonexistent", "-s", "/bin/sh", "gantrytest"], check=True)
    yield
    if made:
        subprocess.run(["userdel", "gantrytest"], check=True, capture_output=True)


def supervisors(scandir):
    """The s6-supervise processes in the slots of this scan directory."""
    found = []
    for pid in subprocess.run(["pgrep", "-x", "s6-supervise"], capture_output=True, text=True).stdout.split():
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(scandir)):
                found.append(pid)
        except OSError:
            pass  # it has just ended
    return found


def test_a_boot_starts_what_ran_and_nothing_else(place):
    place.profile("runs", "running")
    place.profile("wanted", '{"gateway_state": "stopped", "desired_state": "running"}')
    place.profile("stopped", "stopped")
    place.profile("new")
    out = place.run("reconcile").stdout.splitlines()
    assert out == ["reconcile: profile=new prior_state=None action=registered",
                   "reconcile: profile=runs prior_state=running action=started",
                   "reconcile: profile=stopped prior_state=stopped action=registered",
                   "reconcile: profile=wanted prior_state=running action=started"]
    wait_for("runs is up", lambda: place.status("runs")["state"] == "up")
    wait_for("wanted is up", lambda: place.status("wanted")["state"] == "up")
    for name in ("stopped", "new"):
        s = wait_for("its supervisor", lambda: (lambda s: s if s["state"] != "unknown" else None)(place.status(name)))
        assert s["state"] == "down" and s["reason"] == "not_wanted"
    pid = place.status("runs")["pid"]
    wait_for("it is the service user's", lambda: os.stat(f"/proc/{pid}").st_uid == UID)  # root's until it has begun
    log = (place.home / "logs" / "container-boot.log").read_text().splitlines()
    assert len(log) == 5 and re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} profile=new prior_state=None action=registered prior_exit=unknown", log[0])
    assert " summary started=2 registered=2 skipped=0 failed=0 ms=" in log[4]
    current = place.home / "logs" / "gateways" / "runs" / "current"
    wait_for("its log", lambda: current.exists() and f"uid {UID}" in current.read_text())
    # A second pass touches nothing that lives.
    assert "note=live" not in place.run("reconcile").stdout
    assert place.status("runs")["pid"] == pid and place.dots() == []


def test_a_live_slot_is_left_alone_even_if_its_state_says_otherwise(place):
    d = place.profile("runs", "running")
    place.run("reconcile")
    pid = wait_for("up", lambda: place.status("runs")["pid"])
    (d / "gateway_state.json").write_text('{"gateway_state": "stopped"}')
    assert "note=live" in place.run("reconcile").stdout
    assert place.status("runs")["pid"] == pid
    # What was there before s6 is another matter: the same pass without supervisors replaces it.
    place.run("reconcile", "--force")
    wait_for("the old one has ended", lambda: not os.path.exists(f"/proc/{pid}"))


def test_start_stop_restart_keep_the_wish(place):
    place.run("profile", "create", "coder")
    (place.home / "profiles" / "coder" / "gateway").write_text(GATEWAY)
    (place.home / "profiles" / "coder" / "gateway").chmod(0o755)
    assert place.status("coder")["state"] == "down"
    place.run("gateway", "start", "coder", "--wait")
    s = place.status("coder")
    assert s["state"] == "up" and s["desired_state"] == "running"
    assert place.run("gateway", "restart", "coder", "--wait").stdout == ""
    assert place.status("coder")["pid"] not in (None, s["pid"])
    place.run("gateway", "stop", "coder", "--wait")
    s = place.status("coder")
    assert (s["state"], s["desired_state"], s["reason"]) == ("down", "stopped", "not_wanted")
    # The restart of a stopped one starts it.
    place.run("gateway", "restart", "coder", "--wait")
    assert place.status("coder")["state"] == "up"
    place.run("profile", "delete", "coder")
    assert not (place.home / "profiles" / "coder").exists()
    assert not (place.scandir / "gateway-coder").exists() and place.dots() == []
    p = place.run("gateway", "start", "coder", ok=False)
    assert p.returncode == 1 and p.stdout.startswith("✗ no such gateway 'coder': register it with")


def test_a_missing_slot_is_made_by_start_only(own):
    own.profile("copied")
    p = own.run("gateway", "stop", "copied", ok=False)
    assert p.returncode == 1 and "no such gateway 'copied'" in p.stdout
    assert own.run("gateway", "start", "copied", "--wait").stdout == \
        "✓ registered the s6 gateway slot for profile 'copied'\n"
    assert own.status("copied")["state"] == "up"


def test_a_gateway_that_exits_0_on_sigterm_comes_back_after_a_restart(own):
    own.profile("polite", "running", "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n")
    own.run("reconcile")
    pid = wait_for("up", lambda: own.status("polite")["pid"])
    own.run("gateway", "restart", "polite", "--wait")
    assert own.status("polite")["pid"] not in (None, pid)


def test_a_stop_in_the_middle_of_a_restart_is_the_last_word(own):
    d = own.profile("slow", "running", "#!/bin/sh\ntrap 'touch told; until [ -e go ]; do sleep 0.02; done; exit 0' TERM\n"
                                       "cd \"$PROFILE_DIR\"; touch there; while :; do sleep 0.02; done\n")
    layout = ["--home", str(own.home), "--scandir", str(own.scandir), "--set", f"uid={UID}", "--set", f"gid={UID}",
              "--set", "user=gantrytest", "--set", "timeout_kill=60s"]  # it has its time to end
    subprocess.run([str(own.agent), "reconcile", *layout], check=True, preexec_fn=own.demote, capture_output=True)
    wait_for("it listens", lambda: (d / "there").exists())
    restart = Process("restart", [str(own.agent), "gateway", "restart", "slow", "--wait", *layout], own.root / "restart.out",
                      preexec_fn=own.demote)
    wait_for("it was told to end", lambda: (d / "told").exists())
    own.run("gateway", "stop", "slow")
    wait_for("its supervisor knows", lambda: (own.scandir / "gateway-slow" / "down").exists())
    (d / "go").touch()
    wait_for("the restart has ended", lambda: not restart.alive())
    assert restart.stop() == 1 and "gateway 'slow' was stopped while it was being restarted: it stays down" in restart.text()
    s = own.status("slow")
    assert (s["state"], s["desired_state"], s["reason"]) == ("down", "stopped", "not_wanted")
    own.run("gateway", "restart", "slow", "--wait")  # and a later one starts it
    assert own.status("slow")["desired_state"] == "running"


def ignores(pid, sig):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        mask = next(line.split()[1] for line in f if line.startswith("SigIgn:"))
    return int(mask, 16) >> (sig - 1) & 1


def test_one_that_ignores_sigterm_is_killed(own):
    own.profile("stubborn", "running", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n")
    own.run("reconcile")
    pid = wait_for("up", lambda: own.status("stubborn")["pid"])
    wait_for("SIGTERM is ignored", lambda: ignores(pid, signal.SIGTERM))
    began = time.monotonic()
    own.run("profile", "delete", "stubborn")
    assert not os.path.exists(f"/proc/{pid}") and own.dots() == []
    assert 1.5 < time.monotonic() - began  # one that is not killed would be left behind


def test_a_crash_loop_stops_and_says_so(own):
    own.profile("crasher", "running", "#!/bin/sh\nexit 3\n")
    often = ("--set", "crash_deaths=3", "--set", "crash_seconds=30")
    own.run("reconcile", *often)

    def status():
        return json.loads(own.run("gateway", "status", "crasher", "--json", *often).stdout)
    wait_for("given up", lambda: status()["reason"] == "crash_loop", 60)
    assert status()["state"] == "down"


@pytest.mark.parametrize("code,reason", [(78, "fatal_exit"), (0, "exited")])
def test_final_exits(own, code, reason):
    own.profile("ends", "running", f"#!/bin/sh\nexit {code}\n")
    own.run("reconcile")
    wait_for(reason, lambda: own.status("ends")["reason"] == reason)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(place, umask):
    place.profile("m", "stopped")
    place.run("reconcile", umask=umask)
    slot = place.scandir / "gateway-m"
    wait_for("supervised", lambda: place.status("m")["registered"] and (slot / "supervise" / "lock").exists())
    want = {"": 0o755, "type": 0o644, "run": 0o755, "finish": 0o755, "timeout-kill": 0o644, "log": 0o755, "log/run": 0o755,
            "down": 0o644}
    got = {k: (slot / k).stat().st_mode & 0o7777 for k in want}
    assert got == want
    assert (slot / "run").stat().st_uid == place.owner
    if place.owner == 0:
        for at in ("", "log/"):
            for name, mode in (("event", 0o3730), ("supervise", 0o711), ("supervise/control", 0o660)):
                st = (slot / at / name).stat()
                assert (st.st_mode & 0o7777, st.st_uid) == (mode, UID)


def test_the_service_user_controls_what_root_registered(service_user):
    p = Place(0)
    try:
        p.profile("mine", "running")
        p.run("reconcile")
        pid = wait_for("up", lambda: p.status("mine")["pid"])
        p.uid = UID
        p.scandir.chmod(0o755)
        p.run("gateway", "restart", "mine", "--wait")
        assert p.status("mine")["pid"] not in (None, pid)
        p.run("gateway", "stop", "mine", "--wait")
        assert p.status("mine")["state"] == "down"
        q = p.run("profile", "create", "other", ok=False)
        assert "Could not register s6 gateway service" in q.stdout
        assert not (p.scandir / "gateway-other").exists()
    finally:
        p.uid = 0
        p.stop()


def test_root_refuses_a_scandir_that_others_can_write(service_user):
    p = Place(0)
    try:
        os.chown(p.scandir, UID, UID)
        r = p.run("reconcile", ok=False)
        assert r.returncode == 111 and "can be written by others than root" in r.stderr
        os.chown(p.scandir, 0, 0)
        p.scandir.chmod(0o777)
        assert p.run("reconcile", ok=False).returncode == 111
    finally:
        p.stop()


def test_without_s6_svscan_slots_are_made_and_honoured_later(own):
    own.stop()
    own.__init__(UID, start=False)
    own.profile("a", "running")
    own.profile("b", "stopped")
    own.run("reconcile")
    own.start()
    wait_for("a is up", lambda: own.status("a")["state"] == "up")
    assert own.status("b")["state"] == "down"


def test_the_service_limit_is_told(own):
    own.stop()
    own.__init__(UID, start=False)
    own.start("-c", "2")
    for i in range(4):
        own.profile(f"p{i}")
    outcomes = [own.run("gateway", "start", f"p{i}", ok=False) for i in range(4)]
    assert [o.returncode for o in outcomes] == [0, 0, 1, 1]
    assert "service limit?" in outcomes[3].stdout and own.dots() == []
    assert not (own.scandir / "gateway-p3").exists()


def test_a_hundred_operations_at_once_leave_nothing_behind(own):
    def work(i):
        name = f"n{i % 10}"
        if i % 2:
            return own.run("profile", "create", name, ok=False).returncode
        return own.run("profile", "delete", name, ok=False).returncode
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(work, range(100)))
    assert set(codes) <= {0, 1}
    for i in range(10):
        own.run("profile", "delete", f"n{i}", ok=False)
    assert [n for n in os.listdir(own.scandir) if n.startswith("gateway-")] == []
    wait_for("no leftover", lambda: own.run("reconcile") and own.dots() == [])
    wait_for("no supervisor", lambda: supervisors(own.scandir) == [])


def test_leftovers_of_crashed_runs_are_removed(place):
    old = place.scandir / ".pg-new-4194303-0"
    old.mkdir()
    (old / "run").write_text("x")
    tmp = place.scandir / ".gateway-x.tmp"
    (tmp / "log").mkdir(parents=True)
    if place.owner:
        subprocess.run(["chown", "-R", f"{UID}:{UID}", str(old), str(tmp)], check=True)
    place.run("reconcile")
    assert place.dots() == []


def test_dry_run_changes_nothing_and_says_the_same(place):
    place.profile("a", "running")
    place.profile("b")
    (place.home / "profiles" / "a" / "gateway.pid").write_text("1")
    dry = place.run("reconcile", "--dry-run").stdout
    assert os.listdir(place.scandir) == [".s6-svscan"] and not (place.home / "logs").exists()
    assert (place.home / "profiles" / "a" / "gateway.pid").exists()
    assert place.run("reconcile").stdout == dry


CHANGES = ("mkdirat mkdir openat write fchmod fchmodat mknodat rename renameat renameat2 unlink unlinkat fchown fchownat close "
           "flock").split()


def test_kill_at_any_change_leaves_no_half_slot(service_user):
    """strace kills the pass at its n-th call of each kind that may change the file system, for each n (each fifth with
    sanitizers). Without an s6-svscan, so that every pass publishes anew."""
    p = Place(UID, start=False)
    slot = p.scandir / "gateway-a"
    killed = set()
    try:
        p.profile("a", "running")
        for call in CHANGES:
            for at in range(1, 1000, 5 if harness.SANITIZED else 1):
                shutil.rmtree(slot, ignore_errors=True)
                argv = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={at}",
                        str(p.agent), "reconcile", "--home", str(p.home), "--scandir", str(p.scandir),
                        "--set", f"uid={UID}", "--set", f"gid={UID}"]
                r = subprocess.run(argv, capture_output=True, preexec_fn=p.demote, timeout=patient(60),
                                   env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))  # that looks with ptrace, too
                if slot.exists():
                    assert {"run", "finish", "type", "timeout-kill", "log"} <= set(os.listdir(slot)), (call, at)
                    assert (slot / "run").read_text().rstrip().endswith("/gateway"), (call, at)
                    assert slot.stat().st_mode & 0o7777 == 0o755, (call, at)
                if r.returncode == 0:
                    break
                assert r.returncode == -signal.SIGKILL, (call, at, r)
                killed.add((call, at))
        assert {"mkdirat", "openat", "write", "renameat2", "close"} <= {c for c, _ in killed}
        assert len(killed) > (8 if harness.SANITIZED else 30), killed
        p.run("reconcile")
        assert slot.exists() and p.dots() == []
    finally:
        p.stop()


def test_hermes_names_and_scripts(tmp_path):
    home, scandir = tmp_path / "h", tmp_path / "s"
    (home / "profiles" / "coder").mkdir(parents=True)
    (home / "profiles" / "coder" / "SOUL.md").touch()
    scandir.mkdir()
    scandir.chmod(0o755)
    env = {**os.environ, "HERMES_HOME": str(home), "S6_PROFILE_GATEWAY_SCANDIR": str(scandir),
           "GANTRY_PROFILE_LAYOUT": "hermes"}
    agent = harness.program("gantry-agent")
    p = subprocess.run([agent, "reconcile"], env=env, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    run = (scandir / "gateway-coder" / "run").read_text()
    assert run.startswith("#!/command/with-contenv sh\n# shellcheck shell=sh\n")
    assert run.splitlines()[-1] == ('exec /command/s6-setuidgid hermes /command/s6-setlock -n "$PROFILE_DIR/gateway.lock" '
                                    "hermes -p coder gateway run --replace")
    assert "hermes gateway run --replace" in (scandir / "gateway-default" / "run").read_text()
    for script in (*scandir.glob("gateway-*/run"), *scandir.glob("gateway-*/finish"), *scandir.glob("gateway-*/log/run")):
        subprocess.run(["shellcheck", str(script)], check=True)
    assert subprocess.run([agent, "port", "coder"], capture_output=True, text=True).stdout == "9570\n"


def test_usage():
    agent = harness.program("gantry-agent")
    for argv, code in ((["reconcile", "x"], 100), (["profile"], 100), (["gateway", "start"], 111), (["port"], 100),
                       (["reconcile", "--nope"], 100), (["reconcile", "--set", "marker"], 100),
                       (["reconcile", "--set", "nope=1"], 100), (["port", "No"], 1),
                       (["reconcile", "--home", "/nonexistent", "--scandir", "/nonexistent"], 111)):
        p = subprocess.run([agent, *argv], capture_output=True, text=True)
        assert p.returncode == code, (argv, p)
        assert p.stderr

"""What went wrong with profile gateways elsewhere, full and read-only disks, and the rules of a boot that come from the
container's command. Real s6-svscan, real mounts; process lists of their own, so that tests do not see each other."""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

import harness
from harness import wait_for
from test_profiles import GATEWAY, UID, Place, own, place, service_user, supervisors  # noqa: F401: fixtures

SKIPPING = "reconcile: skipping (dashboard container — does not need per-profile gateways)\n"


def lock_free(place, name):
    return subprocess.run(["s6-setlock", "-n", str(place.home / "profiles" / name / "gateway.lock"), "true"],
                          capture_output=True).returncode == 0


# ---- faults that the original had


def test_an_update_restart_that_wrote_stopped(place):
    """The gateway says "stopped" of itself when its container goes down for an update; the operator wanted it up."""
    d = place.profile("coder")
    place.run("reconcile")
    place.run("gateway", "start", "coder", "--wait")
    state = json.loads((d / "gateway_state.json").read_text())
    state["gateway_state"] = "stopped"
    (d / "gateway_state.json").write_text(json.dumps(state))
    place.run("reconcile", "--force")
    wait_for("up again", lambda: place.status("coder")["state"] == "up")


def test_a_missing_state_file_after_an_upgrade(place):
    """Nothing says that it ran: it is registered, not started, and one order is enough to have it back for good."""
    d = place.profile("coder", "running")
    (d / "gateway_state.json").unlink()
    assert place.run("reconcile").stdout == "reconcile: profile=coder prior_state=None action=registered\n"
    place.run("gateway", "start", "coder", "--wait")
    assert json.loads((d / "gateway_state.json").read_text())["desired_state"] == "running"


def test_a_start_right_after_the_boot_pass_waits_for_the_supervisor(own):
    """The slot is there, s6-svscan has not looked yet."""
    own.profile("coder")
    own.svscan.p.send_signal(signal.SIGSTOP)
    try:
        own.run("reconcile")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            started = pool.submit(own.run, "gateway", "start", "coder", "--wait")
            time.sleep(3)  # it may take s6-svscan so long on a busy machine
            assert not started.done()
            own.svscan.p.send_signal(signal.SIGCONT)
            started.result()
    finally:
        own.svscan.p.send_signal(signal.SIGCONT)
    assert own.status("coder")["state"] == "up"


def test_a_staging_folder_of_root_that_the_service_user_cannot_remove(own):
    own.profile("coder", "running")
    for name in (".pg-new-4194303-0", ".gateway-coder.tmp"):
        left = own.scandir / name
        (left / "log").mkdir(parents=True)
        (left / "run").write_text("x")
    p = own.run("reconcile")
    assert p.stdout == "reconcile: profile=coder prior_state=running action=started\n"
    assert "leftovers of an earlier run could not be removed" in p.stderr
    wait_for("up", lambda: own.status("coder")["state"] == "up")


def test_two_containers_on_one_volume(own, service_user):
    """The second one's gateway does not get the lock; it takes over when the first is gone, however long that took."""
    script = '#!/bin/sh\necho $$ >>"$PROFILE_DIR/starts"\nexec sleep 1000\n'
    d = own.profile("coder", "running", script)
    other = Place(UID)
    try:
        shutil.rmtree(other.home)
        other.home = own.home
        own.run("reconcile")
        wait_for("first is up", (d / "starts").exists)
        other.run("reconcile", "--set", "crash_deaths=3")
        tally = other.scandir / "gateway-coder" / "supervise" / "death_tally"
        wait_for("the second tries again and again", lambda: tally.exists() and tally.stat().st_size >= 5 * 14, 30)
        wait_for("it says why", lambda: other.status("coder")["reason"] == "locked")
        assert len((d / "starts").read_text().split()) == 1 and not lock_free(own, "coder")
        own.run("gateway", "stop", "coder", "--wait")
        wait_for("the second takes over", lambda: len((d / "starts").read_text().split()) == 2)
    finally:
        other.home = other.root / "home"
        other.stop()


def test_a_gateway_that_outlives_its_supervisor(own):
    """The next one waits for as long as the orphan lives, which is no crash loop, and then takes its place."""
    d = own.profile("coder", "running", '#!/bin/sh\necho $$ >>"$PROFILE_DIR/starts"\nexec sleep 1000\n')
    own.run("reconcile", "--set", "crash_deaths=3")
    orphan = int(wait_for("up", lambda: (d / "starts").exists() and (d / "starts").read_text().split())[0])
    slot = own.scandir / "gateway-coder"
    for pid in supervisors(slot):
        if os.readlink(f"/proc/{pid}/cwd") == str(slot):
            os.kill(int(pid), signal.SIGKILL)
    tally = slot / "supervise" / "death_tally"
    wait_for("tries", lambda: tally.exists() and tally.stat().st_size >= 5 * 14, 30)
    wait_for("it says why", lambda: own.status("coder")["reason"] == "locked")
    assert len((d / "starts").read_text().split()) == 1
    os.kill(orphan, signal.SIGKILL)
    wait_for("its place is taken", lambda: len((d / "starts").read_text().split()) == 2)
    assert own.status("coder")["state"] == "up"


# ---- disks


@pytest.fixture
def tmpfs(request):
    mounted = []

    def mount(path, options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
        mounted.append(path)
    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], capture_output=True)


def fill(folder):
    with open(folder / "ballast", "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass


def test_a_full_scan_directory(service_user, tmpfs):
    p = Place(UID, start=False)
    try:
        tmpfs(p.scandir, f"size=1m,nr_inodes=30,mode=0755,uid={UID},gid={UID}")
        for i in range(6):
            p.profile(f"p{i}", "running")
        r = p.run("reconcile", ok=False)
        lines = r.stdout.splitlines()
        assert r.returncode == 1 and len(lines) == 6
        assert lines[0].endswith("action=started") and lines[-1].endswith("action=skipped reason=slot_error")
        assert "No space left on device" in r.stderr
        made = sorted(n for n in os.listdir(p.scandir) if n.startswith("gateway-"))
        assert len(made) == sum("action=started" in line for line in lines)
        for slot in made:
            assert {"run", "finish", "type", "timeout-kill", "log"} <= set(os.listdir(p.scandir / slot))
        assert p.dots() == []
    finally:
        subprocess.run(["umount", "-l", str(p.scandir)])
        p.stop()


def test_a_logger_that_a_full_disk_keeps(own, tmpfs):
    """s6-log keeps what it cannot write, for ever if need be: taking a gateway away waits for a bounded time, and says for whom."""
    logs = own.home / "logs"
    logs.mkdir()
    tmpfs(logs, f"size=64k,mode=0755,uid={UID},gid={UID}")
    own.profile("chatty", "running", "#!/bin/sh\nwhile :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done\n")
    own.run("reconcile")
    wait_for("the disk is full", lambda: os.statvfs(logs).f_bavail == 0, 20)
    began = time.monotonic()
    r = own.run("profile", "delete", "chatty")  # timeout_kill is 2 s here, and 6 s beyond
    took = time.monotonic() - began
    assert 7 < took < harness.patient(20), took
    assert f'its logger (s6-log for "{own.home}/logs/gateways/chatty") has not: is that disk full?' in r.stdout
    assert not (own.home / "profiles" / "chatty").exists() and not (own.scandir / "gateway-chatty").exists()
    assert len(own.dots()) == 1
    # What the message says ends it; the next command clears up.
    cure = re.search(r"`(s6-svc -k [^`]*/log)`", r.stdout).group(1)
    subprocess.run(cure.split(), check=True)
    wait_for("it is gone", lambda: own.run("reconcile") and own.dots() == [])


# ---- s6-svscan 2.11 and orders to end


def open_fifo(scandir):
    def try_it():
        try:
            return os.open(scandir / ".s6-svscan" / "control", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None
    return wait_for("its fifo", try_it)


def held(p, act):
    """What act does reaches s6-svscan at one and the same moment."""
    pid = p.svscan.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        act()
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_boot_does_not_keep_svscan_from_ending(own):
    """Its rescan may be unread when the container is stopped."""
    other = own.scandir / "other"  # what it has to end is there already
    other.mkdir()
    (other / "run").write_text("#!/bin/sh\nexec sleep 1000\n")
    (other / "run").chmod(0o755)
    os.chown(other, UID, UID)
    subprocess.run(["s6-svscanctl", "-a", str(own.scandir)], check=True)
    wait_for("the other one", (other / "supervise" / "status").exists)
    own.profile("runs", "running")

    def act():
        own.run("reconcile")
        os.kill(own.svscan.pid, signal.SIGTERM)
    held(own, act)
    wait_for("s6-svscan has ended", lambda: not own.svscan.alive())


def test_an_svscan_that_forgot_its_supervisors_can_be_ended(own):
    """The cure of docs/guide/troubleshooting.md. s6 2.11 forgets; one that does not ends by itself."""
    own.profile("runs", "running")
    own.run("reconcile")
    wait_for("up", lambda: own.status("runs")["state"] == "up")
    fd = open_fifo(own.scandir)

    def act():
        os.write(fd, b"an")
        os.kill(own.svscan.pid, signal.SIGTERM)
    held(own, act)
    os.close(fd)
    time.sleep(0.5)
    # Told again: one that had not come to the order to end yet would have started them anew.
    wait_for("s6-svscan has ended", lambda: not own.svscan.alive() or harness.end_services(own.scandir))
    wait_for("no supervisor", lambda: supervisors(own.scandir) == [])


def test_a_full_home(service_user, tmpfs):
    p = Place(UID, start=False)
    try:
        tmpfs(p.home, f"size=256k,mode=0755,uid={UID},gid={UID}")
        (p.home / "profiles").mkdir()
        d = p.profile("coder", "running")
        fill(p.home)
        before = (d / "gateway_state.json").read_bytes()
        r = p.run("reconcile")
        assert r.stdout.endswith("profile=coder prior_state=running action=started\n") and "warning: " in r.stderr
        p.start()
        wait_for("up", lambda: p.status("coder")["state"] == "up")
        r = p.run("gateway", "stop", "coder", "--wait")
        assert "could not be kept" in r.stderr
        assert (d / "gateway_state.json").read_bytes() == before
        assert p.status("coder")["state"] == "down"
    finally:
        (p.home / "ballast").unlink(missing_ok=True)  # s6-log tries until it can write, and ends then
        if p.svscan:
            subprocess.run(["s6-svscanctl", "-t", str(p.scandir)])
            wait_for("s6-svscan has ended", lambda: not p.svscan.alive())
        subprocess.run(["umount", "-l", str(p.home)])
        p.stop()


def test_a_read_only_home(service_user, tmpfs):
    p = Place(UID, start=False)
    try:
        tmpfs(p.home, f"size=1m,mode=0755,uid={UID},gid={UID}")
        (p.home / "profiles").mkdir()
        d = p.profile("coder", "running")
        (d / "gateway.pid").write_text("1")
        subprocess.run(["mount", "-o", "remount,ro", str(p.home)], check=True)
        r = p.run("reconcile")
        assert r.stdout == "reconcile: profile=coder prior_state=running action=started note=stale_left\n"
        assert "Read-only file system" in r.stderr
        assert (p.scandir / "gateway-coder" / "run").exists()
        assert p.run("reconcile", "--dry-run").returncode == 0
        r = p.run("profile", "create", "new", ok=False)
        assert r.returncode == 1 and "Read-only file system" in r.stdout
    finally:
        subprocess.run(["umount", "-l", str(p.home)])
        p.stop()


# ---- s6 2.13


def test_a_status_file_of_43_bytes(own):
    """s6 2.13 puts the process group behind the pid."""
    own.profile("coder", "running")
    own.run("reconcile")
    pid = wait_for("up", lambda: own.status("coder")["pid"])
    file = own.scandir / "gateway-coder" / "supervise" / "status"
    old = file.read_bytes()
    assert len(old) == 35
    file.write_bytes(old[:32] + pid.to_bytes(8, "big") + old[32:])
    s = own.status("coder")
    assert (s["state"], s["pid"], s["reason"]) == ("up", pid, None)
    file.write_bytes(old[:34])
    assert own.status("coder")["state"] == "unknown"


# ---- a stop that was planned


STOPPED = """#!/bin/sh
trap 'cp "$PROFILE_DIR/.gateway-planned-stop.json" "$PROFILE_DIR/seen"; exit 0' TERM
echo $$ >"$PROFILE_DIR/pid"
while :; do sleep 0.05; done
"""


def test_a_planned_stop_is_noted_in_the_gateways_own_profile(place):
    a, b = place.profile("a", "running", STOPPED), place.profile("b", "running", STOPPED)
    place.run("reconcile")
    wait_for("both up", lambda: all((d / "pid").exists() and (d / "pid").read_text() for d in (a, b)))
    pids = [int((d / "pid").read_text()) for d in (a, b)]
    began = pathlib.Path(f"/proc/{pids[0]}/stat").read_text().rsplit(")", 1)[1].split()[19]
    place.run("gateway", "stop", "--all", "--wait")
    for d, pid in zip((a, b), pids):
        seen = json.loads((d / "seen").read_text())
        assert seen["target_pid"] == pid and seen["written_at"].endswith("+00:00")
        assert not (d / ".gateway-planned-stop.json").exists()
    assert json.loads((a / "seen").read_text())["target_start_time"] == int(began)
    # Nobody waits: the note stays for the gateway, and the next start takes it away.
    place.run("gateway", "start", "a", "--wait")
    place.run("gateway", "stop", "a")
    assert (a / ".gateway-planned-stop.json").exists()
    assert os.stat(a / ".gateway-planned-stop.json").st_uid == UID
    wait_for("down", lambda: place.status("a")["state"] == "down")
    place.run("gateway", "start", "a", "--wait")
    assert not (a / ".gateway-planned-stop.json").exists()


# ---- the container's command


@pytest.fixture
def container(tmp_path):
    """A pass in a process list of its own, beside a process with the given command."""
    home, scandir = tmp_path / "home", tmp_path / "service"
    (home / "profiles" / "coder").mkdir(parents=True)
    (home / "profiles" / "coder" / "SOUL.md").touch()
    scandir.mkdir()
    scandir.chmod(0o755)
    wrapper = tmp_path / "main-wrapper.sh"
    wrapper.write_text("#!/bin/sh\necho ready\nread -r _\n")

    class Container:
        def __init__(self):
            self.home, self.scandir = home, scandir

        def run(self, command, *args, env=None, layout="hermes"):
            inner = 'agent=$1; shift; ' \
                    'mkfifo "$HOLD"; sh "$WRAPPER" $COMMAND <"$HOLD" >"$HOLD.out" & exec 9>"$HOLD"; ' \
                    'until [ -s "$HOLD.out" ]; do sleep 0.02; done; ' \
                    '"$agent" reconcile "$@"; rc=$?; exec 9>&-; wait; rm -f "$HOLD" "$HOLD.out"; exit $rc'
            p = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", inner, "sh",
                                str(harness.program("gantry-agent")), "--layout", layout, *args],
                               env={**os.environ, "HERMES_HOME": str(home), "HOLD": str(tmp_path / "hold"), "WRAPPER": str(wrapper),
                                    "GANTRY_PROFILE_SCANDIR": str(scandir), "GANTRY_PROFILE_HOME": str(home),
                                    "COMMAND": command, **(env or {})},
                               capture_output=True, text=True, timeout=harness.patient(60))
            assert p.returncode == 0, p.stderr
            return p.stdout

        def slots(self):
            return sorted(n for n in os.listdir(scandir) if n.startswith("gateway-"))
    return Container()


def test_a_dashboard_container_touches_nothing(container):
    assert container.run("dashboard --port 80") == SKIPPING
    assert container.run("hermes dashboard") == SKIPPING
    assert container.slots() == [] and os.listdir(container.home) == ["profiles"]
    (container.home / "profiles" / "coder" / "profile.yaml").touch()
    assert "profile=coder" in container.run("dashboard", layout="plain")
    assert "profile=default" in container.run("chat")
    assert container.slots() == ["gateway-coder", "gateway-default"]


def test_a_container_that_ran_the_gateway_as_its_command(container):
    dry = container.run("gateway run -v", "--dry-run")
    assert dry.splitlines()[0] == "reconcile: profile=default prior_state=running action=started"
    assert not (container.home / "gateway_state.json").exists()
    assert container.run("gateway run -v") == dry
    state = json.loads((container.home / "gateway_state.json").read_text())
    assert abs(state.pop("timestamp") - time.time()) < 600
    assert state == {"gateway_state": "running", "desired_state": "running", "migrated_from": "legacy-container-cmd"}
    assert os.stat(container.home / "gateway_state.json").st_uid == UID
    assert not (container.scandir / "gateway-default" / "down").exists()
    # What is there wins, whatever it says.
    (container.home / "gateway_state.json").write_text('{"gateway_state":"stopped"}')
    assert "profile=default prior_state=stopped action=registered" in container.run("gateway run")


@pytest.mark.parametrize("command,env", [("gateway run --no-supervise", {}), ("gateway status", {}),
                                         ("gateway run", {"HERMES_GATEWAY_NO_SUPERVISE": "true"}),
                                         ("chat", {"HERMES_GATEWAY_BOOTSTRAP_STATE": "stopped"})])
def test_other_commands_start_nothing(container, command, env):
    assert "profile=default prior_state=None action=registered" in container.run(command, env=env)
    assert not (container.home / "gateway_state.json").exists()


def test_the_bootstrap_state(container):
    out = container.run("chat", env={"HERMES_GATEWAY_BOOTSTRAP_STATE": "running"})
    assert "profile=default prior_state=running action=started" in out
    assert (container.home / "gateway_state.json").read_text() == '{"gateway_state":"running"}\n'

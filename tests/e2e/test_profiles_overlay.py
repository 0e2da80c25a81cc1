"""The files for s6-overlay: the script of cont-init and the service of the service user's s6-svscan, run as they are."""
import os
import pathlib
import signal
import subprocess

import pytest

import harness
from harness import Process, wait_for
from test_profiles import UID, Place, service_user  # noqa: F401: fixture

OVERLAY = pathlib.Path(harness.__file__).resolve().parents[2] / "packaging" / "s6-overlay"
INIT = OVERLAY / "cont-init.d" / "02-reconcile-profiles"
SVSCAN = OVERLAY / "profile-gateways" / "s6-rc.d" / "profile-gateways" / "run"


@pytest.fixture
def container(service_user):
    p = Place(0)  # the container's own s6-svscan, of root
    p.own = p.root / "pg-service"
    p.env = {**os.environ, "PATH": f"{p.root}:{os.environ['PATH']}", "GANTRY_ROOT_SCANDIR": str(p.scandir),
             "GANTRY_PROFILE_HOME": str(p.home), "GANTRY_PROFILE_USER": "gantrytest",
             "GANTRY_PROFILE_TIMEOUT_KILL": "2s"}
    p.second = None
    yield p
    if p.second:
        harness.end_svscan(p.second, p.own)
    p.stop()


def boot(p, **env):
    r = subprocess.run(["sh", str(INIT)], env={**p.env, **env}, capture_output=True, text=True, timeout=harness.patient(60))
    assert r.returncode == 0, r.stderr
    return r.stdout


def owner_of(path):
    return os.stat(path).st_uid


def owner(pid):
    return os.stat(f"/proc/{pid}").st_uid


def test_scripts_are_clean():
    subprocess.run(["shellcheck", "-s", "sh", str(INIT), str(SVSCAN)], check=True)
    for script in (INIT, SVSCAN):
        assert os.access(script, os.X_OK) and script.read_text().startswith("#!/command/with-contenv sh\n")


def test_the_service_users_own_scan_directory(container):
    p = container
    p.profile("coder", "running")
    own = {"GANTRY_PROFILE_SCANDIR": str(p.own)}
    assert boot(p, **own) == "reconcile: profile=coder prior_state=running action=started\n"
    assert [os.stat(x).st_uid for x in (p.own, p.own / "gateway-coder", p.own / "gateway-coder" / "run")] == [UID] * 3
    p.second = Process("s6-svscan of the service user", ["sh", str(SVSCAN)], p.root / "second.log", env={**p.env, **own})
    p.scandir, p.uid, root_scandir = p.own, UID, p.scandir
    pid = wait_for("up", lambda: p.status("coder")["pid"])
    assert owner(pid) == UID and owner(p.second.p.pid) == UID
    p.run("profile", "create", "new")
    p.run("gateway", "stop", "coder", "--wait")
    p.run("profile", "delete", "coder")
    # The service user's slots never run below root's s6-svscan.
    assert [n for n in os.listdir(root_scandir) if n.startswith("gateway-")] == []
    # The next start finds the directory as it was left.
    assert boot(p, **own) == "reconcile: profile=new prior_state=None action=registered\n"
    p.scandir, p.uid = root_scandir, 0


def test_the_containers_scan_directory(container):
    p = container
    p.profile("coder", "running")
    assert boot(p) == "reconcile: profile=coder prior_state=running action=started\n"
    assert [os.stat(x).st_uid for x in (p.scandir, p.scandir / "gateway-coder", p.scandir / "gateway-coder" / "run")] \
        == [0] * 3
    pid = wait_for("up", lambda: p.status("coder")["pid"])
    wait_for("it is the service user's", lambda: owner(pid) == UID)  # root's until the script has read who it is


def test_the_hermes_layout_has_its_own_variable(container):
    p = container
    (p.home / "profiles" / "coder").mkdir()
    (p.home / "profiles" / "coder" / "SOUL.md").touch()
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(p.home)], check=True)
    out = boot(p, GANTRY_PROFILE_LAYOUT="hermes", S6_PROFILE_GATEWAY_SCANDIR=str(p.own))
    assert "profile=coder prior_state=None action=registered" in out
    assert sorted(os.listdir(p.own)) == [".pg.lock", "gateway-coder", "gateway-default"]
    assert os.stat(p.own).st_uid == UID


def test_the_order_to_end_is_followed_behind_a_rescan(container):
    p = container
    own = {"GANTRY_PROFILE_SCANDIR": str(p.own)}
    p.profile("coder", "running")
    boot(p, **own)
    p.second = Process("s6-svscan of the service user", ["sh", str(SVSCAN)], p.root / "second.log", env={**p.env, **own})
    p.scandir, root = p.own, p.scandir
    try:
        wait_for("up", lambda: p.status("coder")["state"] == "up")
        script = p.own / ".s6-svscan" / "SIGTERM"
        assert owner_of(script) == UID and script.stat().st_mode & 0o777 == 0o700
        with open(p.own / ".s6-svscan" / "control", "wb", buffering=0) as fifo:
            os.kill(p.second.pid, signal.SIGSTOP)
            fifo.write(b"an")
            os.kill(p.second.pid, signal.SIGTERM)
            os.kill(p.second.pid, signal.SIGCONT)
        wait_for("it has ended", lambda: not p.second.alive())
    finally:
        p.scandir = root

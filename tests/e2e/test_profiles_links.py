"""The service user plants links where the gateways' files are, so that what is asked about his gateways would reach
root's services and files: nothing of root's changes or is told, and nothing hangs. The agent is root; he has an s6-svscan
of his own, or his slots are in root's scan directory."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from harness import Process, UnixHTTPConnection, ask, patient, wait_for
from test_profiles import UID, service_user  # noqa: F401 (a fixture)
from test_profiles_api import P, Profiles, apart  # noqa: F401 (a fixture)

SECRET = "a-word-of-root's"


def demote():
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)


def as_user(*argv):
    subprocess.run(argv, check=True, preexec_fn=demote)


def remove_as_user(*paths):
    """Somebody may be writing there."""
    as_user("sh", "-c", 'for i in $(seq 100); do rm -rf "$@" 2>/dev/null && exit 0; sleep 0.1; done; exit 1', "sh", *map(str, paths))


class Victim:
    """A service of root's with its own s6-supervise, and files of root's, where everybody may go as far as s6 lets him."""

    def __init__(self, place):
        self.dir = place / "victim"
        (self.dir / "log-of-it").mkdir(parents=True)
        (self.dir / "run").write_text("#!/bin/sh\nexec sleep 1000\n")
        (self.dir / "run").chmod(0o755)
        self.secret = place / "secret"
        self.secret.mkdir(mode=0o700)
        for f in (self.secret / "current", self.secret / "file", self.secret / "run"):
            f.write_text(SECRET + "\n")
            f.chmod(0o600)
        os.mkfifo(self.secret / "fifo", 0o600)
        self.fifo = os.open(self.secret / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.supervisor = Process("s6-supervise", ["s6-supervise", str(self.dir)], place / "victim.log")
        wait_for("the victim", lambda: (self.dir / "supervise" / "status").exists() and self.status().startswith("up"))
        self.before = self.picture()

    def status(self):
        return subprocess.run(["s6-svstat", str(self.dir)], capture_output=True, text=True).stdout

    def picture(self):
        r = {"pid": self.status().split(")")[0]}
        for d in (self.dir, self.dir / "supervise", self.secret):
            for f in sorted(d.iterdir()):
                s = f.lstat()
                r[str(f)] = (s.st_ino, s.st_uid, s.st_mode, s.st_size, s.st_mtime_ns if f.is_file() else None)
        return r

    def check(self):
        time.sleep(0.1)
        before, self.before = self.before, self.picture()
        assert self.before == before
        with contextlib.suppress(BlockingIOError):
            assert os.read(self.fifo, 100) == b""

    def stop(self):
        os.close(self.fifo)
        subprocess.run(["s6-svc", "-dx", str(self.dir)], check=True)
        wait_for("the victim's end", lambda: not self.supervisor.alive())
        self.supervisor.stop()


@pytest.fixture(scope="module")
def victim(apart):  # noqa: F811
    v = Victim(apart.place)
    yield v
    v.stop()


def ask_all(st, name):
    """Every call of the agent about a gateway. {call: answer}"""
    one = f"/services/gateway-{name}"
    calls = [("GET", "/services", None), ("GET", "/services/status", None), ("GET", one + "/status", None),
             *[("POST", one, {"action": a, **more}) for a in ("up", "down", "restart")
               for more in ({}, {"launch_args": {"a": "b"}})],
             ("GET", one + "/logs", None), ("GET", one + "/logs?cursor=0", None), ("DELETE", one + "/logs", None),
             ("GET", one + "/run", None), ("PUT", one + "/run", {"content": "#!/bin/sh\nexit 1\n"}),
             ("POST", one + "/run/revert", {}), ("GET", one + "/run/backups", None),
             ("GET", "/profiles", None), ("GET", f"/profiles/{name}/gateway", None),
             *[("POST", f"/profiles/{name}/gateway", {"action": a, "wait": 1}) for a in ("stop", "restart", "start")]]
    r = {}
    for method, path, body in calls:
        a = st.ask_agent(method, path, body)
        assert SECRET.encode() not in a.body and b"root:" not in a.body, (method, path, a)
        assert a.status < 400 or a.json()["error"], (method, path, a)
        r[method, path, (body or {}).get("action"), "launch_args" in (body or {})] = a
    return r


def streams(st, name):
    """What event streams tell of it, at the beginning and within a moment; meanwhile the inodes that the agent watches."""
    told, watched = b"", set()
    for path, first in (("/services/events", b'"ticker"'), (f"/services/gateway-{name}/logs?follow=true", b"")):
        c = UnixHTTPConnection(st.agent_sock)
        c.connect()
        sock = c.sock  # c forgets it when the answer is the last one
        c.request("GET", path)
        r = c.getresponse()
        while r.status == 200 and first not in told and (b := r.read1(65536)):
            told += b
        end = time.monotonic() + 0.3
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while r.status == 200 and time.monotonic() < end and (b := r.read1(65536)):
                told += b
        sock.settimeout(patient(20))
        told += r.read() if r.status != 200 else b""
        for f in pathlib.Path(f"/proc/{st.agent.pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                watched |= {int(line.split()[2][4:], 16) for line in f.read_text().splitlines() if line.startswith("inotify")}
        c.close()
    return told, watched


def check_rights(st):
    """Every thread is root itself again, once it has done with what it looks at as he."""
    def whose(task):
        lines = dict(x.split(":\t", 1) for x in (task / "status").read_text().splitlines() if ":\t" in x)
        return lines["Uid"].split() + lines["Gid"].split()
    for t in pathlib.Path(f"/proc/{st.agent.pid}/task").iterdir():
        wait_for(f"root again: {t}", lambda: whose(t) == ["0"] * 8)


@contextlib.contextmanager
def locked(path):
    """As s6-supervise of the user's would."""
    code = ("import fcntl,os,sys,time\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('x',flush=True)\n"
            "time.sleep(600)")
    p = subprocess.Popen(["/usr/bin/python3", "-c", code, str(path)], stdout=subprocess.PIPE, preexec_fn=demote)
    try:
        p.stdout.readline()
        yield
    finally:
        p.kill()
        p.wait()


PLANTS = {  # what in the slot is a link, and to what of root's
    "slot": ("", "victim"),
    "supervise": ("supervise", "victim/supervise"),
    "control": ("supervise/control", "victim/supervise/control"),
    "fifo": ("supervise/control", "secret/fifo"),
    "lock": ("supervise/lock", "victim/supervise/lock"),
    "status": ("supervise/status", "/etc/shadow"),
    "status2": ("supervise/status", "victim/supervise/status"),
    "tally": ("supervise/death_tally", "/etc/shadow"),
    "event": ("event", "secret"),
    "run": ("run", "secret/run"),
    "type": ("type", "secret/file"),
    "down": ("down", "secret/file"),
    "log": ("log", "victim"),
}


def plant(st, slot, what):
    """A slot as s6 would leave it, but for the one link. The path of its lock, if that is a file."""
    where, target = PLANTS[what]
    target = target if target.startswith("/") else str(st.place / target)
    if where:
        as_user("mkdir", "-p", f"{slot}/supervise", f"{slot}/event", f"{slot}/log")
        as_user("mkfifo", f"{slot}/supervise/control")
        as_user("touch", f"{slot}/run", f"{slot}/supervise/lock", f"{slot}/down")
        as_user("sh", "-c", f"head -c 35 /dev/zero > {slot}/supervise/status")
    # A supervisor may write its own file there at any moment.
    as_user("sh", "-c", 'for i in $(seq 100); do rm -rf "$1"; ln -sT "$2" "$1" 2>/dev/null && exit 0; done; exit 1', "sh",
            f"{slot}/{where}".rstrip("/"), target)
    return slot / "supervise" / "lock"


@pytest.mark.parametrize("what", PLANTS)
def test_links_in_a_scan_directory_of_his_own(apart, victim, what):  # noqa: F811
    st, name = apart, f"evil-{what}"
    slot = st.place / "service" / f"gateway-{name}"
    lock = plant(st, slot, what)
    behind = what in ("slot", "supervise", "lock")
    try:
        with contextlib.ExitStack() as stack:
            if not behind:
                stack.enter_context(locked(lock))
            r = ask_all(st, name)
            told, watched = streams(st, name)
    finally:
        remove_as_user(slot)
    victim.check()
    check_rights(st)
    one = f"/services/gateway-{name}"
    status = r["GET", one + "/status", None, False]
    down = r["POST", one, "down", False]
    listed = next(p for p in r["GET", "/profiles", None, False].json()["profiles"] if p["name"] == name) \
        if what != "slot" else None
    assert "ticker" in r["GET", "/services", None, False].json()["services"]
    if behind or what.startswith("status"):
        assert status.status == 500 and "is a link" in status.json()["error"], status
        assert name not in str(r["GET", "/services/status", None, False].json()), "no state of another's"
        assert name.encode() not in told
        assert listed is None or (listed["state"], listed["pid"]) == ("unknown", None)
    else:
        assert status.status == 200 and not status.json()["is_up"], status
    if what in ("slot", "supervise", "control", "fifo"):
        for a in ("up", "down", "restart"):
            got = r["POST", one, a, False]
            assert got.status == 500 and "is a link" in got.json()["error"], got
            assert r["POST", f"/profiles/{name}/gateway", {"up": "start", "down": "stop"}.get(a, a), False].status >= 400
    else:
        assert down.status >= 400, down  # nobody reads his fifo
    assert r["GET", one + "/run", None, False].status == 404
    assert r["PUT", one + "/run", None, False].status == 404
    roots = {d.stat().st_ino for d in (victim.dir, victim.dir / "supervise", victim.secret)}
    assert not watched & roots
    if what == "slot":
        assert f"gateway-{name}" not in r["GET", "/services", None, False].json()["services"]


LOGS = {
    "current": ("current", "/etc/shadow"),
    "current2": ("current", "../../../mixed/current"),
    "folder": ("", "secret"),
    "inside": ("", "../../mixed"),  # inside the home, where root has left a file of its own
}


@pytest.mark.parametrize("what", LOGS)
def test_links_for_a_log(apart, victim, what):  # noqa: F811
    st, name = apart, f"log-{what}"
    slot, folder = st.place / "service" / f"gateway-{name}", st.home / "logs" / "gateways" / name
    where, target = LOGS[what]
    target = str(st.place / target) if target == "secret" else target
    mixed = st.home / "mixed"
    mixed.mkdir(exist_ok=True)
    (mixed / "current").write_text(SECRET)
    (mixed / "current").chmod(0o600)
    try:
        as_user("mkdir", "-p", str(slot), str(folder if where else folder.parent))
        as_user("touch", f"{slot}/run")
        as_user("ln", "-sT", target, f"{folder}/{where}".rstrip("/"))
        r = ask_all(st, name)
        told, watched = streams(st, name)
    finally:
        remove_as_user(slot, folder)
    victim.check()
    check_rights(st)
    assert (mixed / "current").read_text() == SECRET
    shutil.rmtree(mixed)
    assert SECRET.encode() not in told and b"root:" not in told
    one = f"/services/gateway-{name}/logs"
    for key in (("GET", one), ("GET", one + "?cursor=0"), ("DELETE", one)):
        a = r[(*key, None, False)]
        assert a.status == 500 and a.json()["error"], (key, a)
    assert victim.secret.stat().st_ino not in watched


def test_what_he_makes_unreadable_hides_nothing_of_roots(apart, victim):  # noqa: F811
    st, scandir = apart, apart.place / "service"
    as_user("chmod", "0", str(scandir))
    try:
        assert "ticker" in st.ask_agent("GET", "/services").json()["services"]
        assert "ticker" in [s["name"] for s in st.ask_agent("GET", "/services/status").json()["statuses"]]
        assert b'"ticker"' in streams(st, "nothing")[0]
    finally:
        as_user("chmod", "755", str(scandir))
    check_rights(st)
    wait_for("it is told", lambda: st.agent.text().count("gateways-unreadable") >= 2)


def test_the_scan_directory_itself_becomes_a_link(apart, victim):  # noqa: F811
    """Where he can replace it, root's own scan directory is behind it: what root may there, he may not."""
    st, scandir, aside = apart, apart.place / "service", apart.place / "aside"
    trap = apart.place / "roots"
    trap.mkdir()
    shutil.move(scandir, aside)
    (trap / "gateway-victim").symlink_to(victim.dir)
    scandir.symlink_to(trap)
    try:
        r = ask_all(st, "victim")
        assert all(a.status >= 400 for k, a in r.items() if k[0] == "POST"), r
    finally:
        scandir.unlink()
        shutil.move(aside, scandir)
        shutil.rmtree(trap)
    victim.check()
    check_rights(st)


@pytest.fixture(scope="module")
def shared(service_user, tmp_path_factory):  # noqa: F811
    st = Profiles(tmp_path_factory.mktemp("shared"))
    st.start()
    v = Victim(st.place)
    yield st, v
    v.stop()
    st.remove("coder")
    st.stop()
    shutil.rmtree(st.place)


def test_profiles_become_a_link(shared):
    """A folder of root's with the name of a profile, behind it, is neither removed nor told about."""
    st, victim = shared
    trap, profiles, aside = st.place / "trap", st.home / "profiles", st.home / "aside"
    (trap / "coder").mkdir(parents=True)
    (trap / "coder" / "profile.yaml").write_text(SECRET)
    (trap / "trapped").mkdir()
    (trap / "trapped" / "profile.yaml").write_text(SECRET)
    profiles.rename(aside)
    profiles.symlink_to(trap)
    os.lchown(profiles, UID, UID)
    try:
        assert st.ask_agent("DELETE", "/profiles/coder").status == 404
        assert st.ask_agent("GET", "/profiles/coder/gateway").status == 404
        assert st.ask_agent("POST", "/profiles/coder/gateway", {"action": "start"}).status == 404
        assert os.listdir(trap / "coder") == ["profile.yaml"]
        assert "trapped" not in [p["name"] for p in st.ask_agent("GET", "/profiles").json()["profiles"]]
        assert st.ask_agent("POST", "/profiles", {"name": "trapped"}).status >= 400
        assert st.ask_agent("POST", "/profiles", {"name": "fresh"}).status >= 400 and not (trap / "fresh").exists()
    finally:
        profiles.unlink()
        aside.rename(profiles)
        shutil.rmtree(trap)


def test_roots_files_in_his_home(shared):
    """What he could not look at or remove himself, the agent does not for him."""
    st, victim = shared
    probe, box = st.home / "profiles" / "probe", st.home / "profiles" / "box"
    as_user("mkdir", str(probe), str(box))
    (probe / "profile.yaml").symlink_to(victim.secret / "file")  # is it there?
    as_user("touch", str(box / "profile.yaml"))
    (box / "roots").mkdir()
    (box / "roots" / "file").write_text(SECRET)
    try:
        listed = [p["name"] for p in st.ask_agent("GET", "/profiles").json()["profiles"]]
        assert "probe" not in listed and "box" in listed
        assert not st.ask_agent("GET", "/profiles/probe/gateway").json().get("present")
        assert st.ask_agent("POST", "/profiles/probe/gateway", {"action": "start"}).status == 404
        assert st.ask_agent("DELETE", "/profiles/box").status >= 400
        assert (box / "roots" / "file").read_text() == SECRET
    finally:
        shutil.rmtree(probe, ignore_errors=True)
        shutil.rmtree(box, ignore_errors=True)
    victim.check()
    check_rights(st)


@pytest.mark.parametrize("what", ["control", "fifo", "lock", "status", "status2", "tally"])
def test_links_in_roots_scan_directory(shared, what):
    """supervise/ of a slot there is the service user's, so that he may control his gateway: s6-supervise's own files can
    give way to links."""
    st, victim = shared
    where, target = PLANTS[what]
    target = target if target.startswith("/") else str(st.place / target)
    st.make("coder")
    link = st.tree.scandir / "gateway-coder" / where
    kept = link.with_name("kept")
    if link.exists():
        link.rename(kept)
    link.symlink_to(target)
    os.lchown(link, UID, UID)
    try:
        r = ask_all(st, "coder")
        told, watched = streams(st, "coder")
    finally:
        link.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(link)
    victim.check()
    check_rights(st)
    assert SECRET.encode() not in told and b"root:" not in told
    status, down = r["GET", "/services/gateway-coder/status", None, False], r["POST", "/services/gateway-coder", "down", False]
    if what in ("lock", "status", "status2"):
        assert status.status == 500 and "is a link" in status.json()["error"], status
    if what in ("control", "fifo"):
        assert down.status == 500 and "is a link" in down.json()["error"], down
        assert r["POST", "/profiles/coder/gateway", "stop", False].status >= 400
    else:
        assert down.status == 200
    st.remove("coder")
    st.make("coder")  # and an honest one works
    assert st.act("coder", "start", 50).status == 200
    assert st.ask_agent("POST", "/services/gateway-coder", {"action": "down"}).status == 200
    wait_for("down", lambda: not st.ask_agent("GET", "/services/gateway-coder/status").json()["is_up"])
    st.remove("coder")

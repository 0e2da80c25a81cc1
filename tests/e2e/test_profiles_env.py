"""Variables of gateways: kept with the profile, given at every start, told by name only, and never run by root."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

import harness
from harness import wait_for
from test_profiles import UID, Place, own, place, service_user  # noqa: F401: fixtures

GATEWAY = '#!/bin/sh\nenv | grep "^T_" | sort >"$PROFILE_DIR/seen.$(id -u)"\nexec sleep 1000\n'
ENV = ("--env", "T_A=it's $HOME", "--env", "T_B=", "--env", "T_B=last=wins")
SEEN = "T_A=it's $HOME\nT_B=last=wins\n"


def gateway(p, name, text=GATEWAY):
    d = p.home / "profiles" / name
    (d / "gateway").write_text(text)
    (d / "gateway").chmod(0o755)
    os.chown(d / "gateway", UID, UID)
    return d


def reboot(p):
    """As after a restart of the container: nothing is left but the volume."""
    harness.end_svscan(p.svscan, p.scandir)
    shutil.rmtree(p.scandir)
    p.scandir.mkdir()
    p.scandir.chmod(0o755)
    os.chown(p.scandir, p.owner, p.owner)
    r = p.run("reconcile", ok=False)
    p.start()
    return r


def test_they_outlive_a_boot(place):  # noqa: F811
    assert place.run("profile", "create", "coder", *ENV).stdout == ""
    d = gateway(place, "coder")
    f = d / "gateway.env"
    assert f.read_text() == "T_A=it's $HOME\nT_B=\nT_B=last=wins\n"
    assert (f.stat().st_mode & 0o7777, f.stat().st_uid) == (0o600, UID)
    place.run("gateway", "start", "coder", "--wait")
    seen = d / f"seen.{UID}"
    wait_for("it has its variables", lambda: seen.exists() and seen.read_text() == SEEN)
    run = place.scandir / "gateway-coder" / "run"
    assert run.stat().st_mode & 0o7777 == 0o750 and run.stat().st_uid == place.owner
    subprocess.run(["shellcheck", str(run)], check=True)
    for _ in range(2):
        seen.unlink()
        r = reboot(place)
        assert r.returncode == 0 and "action=started" in r.stdout
        wait_for("it has them again", lambda: seen.exists() and seen.read_text() == SEEN)
        assert run.stat().st_mode & 0o7777 == 0o750
    assert place.run("reconcile").stdout.endswith("action=started\n")  # the same slot: it is left alone
    assert sorted(n.name for n in d.glob("seen.*")) == [seen.name]  # never anybody else


def test_they_are_told_by_name(own):  # noqa: F811
    own.run("profile", "create", "coder", *ENV)
    own.run("profile", "create", "plain")
    out = own.run("profile", "show", "coder").stdout
    assert out.splitlines()[1] == "  variables: T_A T_B T_B" and "wins" not in out
    assert json.loads(own.run("profile", "show", "coder", "--json").stdout)["env_names"] == ["T_A", "T_B", "T_B"]
    assert len(own.run("profile", "show", "plain").stdout.splitlines()) == 1
    assert own.status("plain")["env_names"] == []
    assert "variables" not in own.run("profile", "list").stdout
    (own.home / "profiles" / "coder" / "gateway.env").write_text("nonsense of a secret\n")
    out = own.run("profile", "show", "coder").stdout
    assert "gateway.env:1: this line is not NAME=VALUE" in out and "secret" not in out
    assert own.status("coder")["env_names"] is None


def test_they_go_with_the_profile_and_change_with_it(own):  # noqa: F811
    own.run("profile", "create", "coder", *ENV)
    f = own.home / "profiles" / "coder" / "gateway.env"
    own.run("profile", "create", "coder")  # again: nothing changes
    assert "last=wins" in f.read_text()
    out = own.run("profile", "create", "coder", "--env", "T_C=new").stdout
    assert "registered already: the variables count when its slot is made anew" in out
    assert f.read_text() == "T_C=new\n"
    gateway(own, "coder")
    own.run("gateway", "start", "coder")
    seen = f.parent / f"seen.{UID}"
    wait_for("the old ones", lambda: seen.exists() and seen.read_text() == SEEN)
    reboot(own)
    wait_for("the new one", lambda: seen.exists() and seen.read_text() == "T_C=new\n")
    own.run("profile", "delete", "coder")
    own.run("profile", "create", "coder")
    assert not f.exists() and own.status("coder")["env_names"] == []
    # A slot that only went missing is made with them, too.
    own.run("profile", "delete", "coder")
    own.run("profile", "create", "coder", "--env", "T_D=1")
    gateway(own, "coder")
    (own.scandir / "gateway-coder").rename(own.root / "lost")  # with its supervisors, who may be writing there
    subprocess.run(["s6-svscanctl", "-an", str(own.scandir)], check=True)
    own.run("gateway", "start", "coder", "--wait")
    wait_for("made again", lambda: seen.exists() and seen.read_text() == "T_D=1\n")


def test_bad_ones_change_nothing(own):  # noqa: F811
    for bad in ("A B=1", "1=2", "=x", "A=x\ny"):
        r = own.run("profile", "create", "coder", "--env", bad, ok=False)
        assert r.returncode == 1 and r.stdout.startswith("✗ "), r
        assert not (own.home / "profiles").joinpath("coder").exists()


@pytest.mark.parametrize("kind", ["text", "link", "second-name", "fifo", "folder", "large", "binary"])
def test_a_bad_file_is_one_bad_entry(place, kind):  # noqa: F811
    for name in ("aaa", "bad", "zzz"):
        place.profile(name, "running")
    f = place.home / "profiles" / "bad" / "gateway.env"
    other = place.root / "other"
    other.write_text("SECRET_THING\n")
    os.chown(other, UID, UID)
    {"text": lambda: f.write_text("A=1\nSECRET_THING\n"), "link": lambda: f.symlink_to(other),
     "second-name": lambda: os.link(other, f), "fifo": lambda: os.mkfifo(f), "folder": f.mkdir,
     "large": lambda: f.write_bytes(b"#" * 400000), "binary": lambda: f.write_bytes(b"A=\0\xff\n")}[kind]()
    os.chown(f, UID, UID, follow_symlinks=False)
    r = place.run("reconcile", ok=False)
    assert r.returncode == 1
    assert r.stdout.splitlines() == ["reconcile: profile=aaa prior_state=running action=started",
                                     "reconcile: profile=bad prior_state=running action=skipped reason=env_invalid",
                                     "reconcile: profile=zzz prior_state=running action=started"]
    assert "profile 'bad': " in r.stderr and "gateway.env" in r.stderr and "SECRET" not in r.stderr
    assert "action=skipped reason=env_invalid" in (place.home / "logs" / "container-boot.log").read_text()
    assert not (place.scandir / "gateway-bad").exists() and place.dots() == []
    r = place.run("gateway", "start", "bad", ok=False)
    assert r.returncode == 1 and "gateway.env" in r.stdout and "SECRET" not in r.stdout
    dry = place.run("reconcile", "--dry-run", ok=False)
    assert "reason=env_invalid" in dry.stdout


def test_root_runs_nothing_with_them(service_user):  # noqa: F811
    """Whoever may write the file is the service user: LD_PRELOAD, ENV or PATH of his are not root's."""
    p = Place(0)
    try:
        lib, source = p.root / "who.so", p.root / "who.c"
        source.write_text("#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n"
                          "__attribute__((constructor)) static void who(void) {\n"
                          f'char t[200]; snprintf(t, sizeof(t), "{p.root}/ran/%d.%d", (int)geteuid(), (int)getuid());\n'
                          "close(open(t, O_CREAT | O_WRONLY, 0600)); }\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(lib), str(source)], check=True)
        ran = p.root / "ran"
        ran.mkdir()
        ran.chmod(0o777)
        d = p.profile("evil", "running", GATEWAY)
        (d / "gateway.env").write_text(f"LD_PRELOAD={lib}\nENV={d}/x\nPATH={d}:{os.environ['PATH']}\nT_X=1\n")
        os.chown(d / "gateway.env", UID, UID)
        for tool in ("id", "s6-setuidgid", "s6-setlock", "sh"):
            (d / tool).write_text(f'#!/bin/sh\n: >{p.root}/ran/tool.$(/usr/bin/id -u)\nexec "$(PATH=/usr/bin:/bin command -v {tool})" "$@"\n')
            (d / tool).chmod(0o755)
        p.run("reconcile")
        wait_for("it ran", lambda: any(n.startswith(str(UID)) for n in os.listdir(ran)))
        p.run("gateway", "restart", "evil", "--wait")
        p.run("gateway", "stop", "evil", "--wait")
        assert {n for n in os.listdir(ran)} <= {f"{UID}.{UID}", f"tool.{UID}"}
    finally:
        p.stop()


def test_hermes_keeps_none(service_user):  # noqa: F811
    """As the original: variables are the slot's, not the profile's."""
    p = Place(UID)
    hermes = ("--layout", "hermes", "--set", "shell=/bin/sh", "--set", "bin=", "--set", "command=env")
    try:
        out = p.run("profile", "create", "coder", "--env", "T_A=1", *hermes).stdout
        assert 'layout "hermes" keeps no variables' in out
        run = p.scandir / "gateway-coder" / "run"
        assert "export T_A=1\n" in run.read_text()
        assert sorted(os.listdir(p.home / "profiles" / "coder")) == ["SOUL.md"]
        (p.home / "profiles" / "coder" / "gateway.env").write_text("T_A=1\n")
        harness.end_svscan(p.svscan, p.scandir)
        p.svscan = None
        shutil.rmtree(run.parent)
        p.run("reconcile", *hermes)
        assert "T_A" not in run.read_text()
        # Who wants them names a file.
        p.run("reconcile", "--set", "env_file=gateway.env", *hermes)
        assert "export T_A=1\n" in run.read_text()
    finally:
        p.stop()


def test_many_profiles_are_the_same_as_few(service_user):  # noqa: F811
    """Batches, threads and the order of the log."""
    p = Place(UID, start=False)
    try:
        names = [f"p{i:03}" for i in range(150)]
        for n in names:
            d = p.profile(n, "running" if n.endswith("7") else "stopped")
            if n.endswith("5"):
                (d / "gateway.env").write_text(f"T_N={n}\n")
        (p.home / "profiles" / "p070" / "gateway.env").write_text("bad\n")
        (p.home / "profiles" / "p064x y").mkdir()
        (p.home / "profiles" / "p064x y" / "profile.yaml").touch()
        r = p.run("reconcile", ok=False)
        assert r.returncode == 1
        got = [(w[1].split("=", 1)[1], w[3].split("=")[1]) for w in (line.split() for line in r.stdout.splitlines())]
        want = [(n, "skipped" if n == "p070" else "started" if n.endswith("7") else "registered") for n in names]
        assert got == sorted(want + [("p064x%20y", "skipped")])
        made = {n for n in os.listdir(p.scandir) if n.startswith("gateway-")}
        assert made == {f"gateway-{n}" for n in names if n != "p070"} and p.dots() == []
        for n in names:
            run = pathlib.Path(p.scandir / f"gateway-{n}" / "run")
            if n != "p070":
                assert (f"export T_N={n}\n" in run.read_text()) == n.endswith("5")
        assert p.run("reconcile", ok=False).stdout == r.stdout and p.dots() == []
    finally:
        p.stop()

"""make run's demonstration: starts, works, and leaves nothing behind."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from harness import build_dir, patient, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


def processes(folder):
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            cmd = (p / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in cmd and int(p.name) != os.getpid() and "pytest" not in cmd:
            found.append((int(p.name), cmd))
    return found


def test_demo_starts_and_ends(tmp_path):
    state = pathlib.Path(f"/tmp/gantry-demo-{os.getpid()}")
    env = dict(os.environ, BUILD=str(build_dir()), GANTRY_DEMO_DIR=str(state))
    log = open(tmp_path / "demo.log", "w+")
    p = subprocess.Popen(["sh", str(ROOT / "packaging/demo/run.sh")], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                         env=env, cwd=tmp_path, start_new_session=True)
    try:
        text = wait_for("the demonstration's URL", lambda: re.search(r"http://127\.0\.0\.1:\d+", open(log.name).read()), 60).group(0)
        out = subprocess.run(["curl", "-sS", "--max-time", "60", text + "/containers"], capture_output=True, text=True).stdout
        assert "socket_path" in out
    finally:
        os.killpg(p.pid, signal.SIGINT)
        p.wait(patient(60))
        log.close()
    assert p.returncode == 0, open(tmp_path / "demo.log").read()
    wait_for("nothing left", lambda: not processes(state), 10)


def test_demo_keeps_a_workload_if_there_is_an_engine(engine, tmp_path):
    state = pathlib.Path(f"/tmp/gantry-demo-engine-{os.getpid()}")
    before = sorted(engine.docker("images", "-q").split())
    env = dict(os.environ, BUILD=str(build_dir()), GANTRY_DEMO_DIR=str(state), GANTRY_DOCKER_SOCKET=engine.socket)
    log = open(tmp_path / "demo.log", "w+")
    p = subprocess.Popen(["sh", str(ROOT / "packaging/demo/run.sh")], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                         env=env, cwd=tmp_path, start_new_session=True)
    try:
        wait_for("the demonstration", lambda: "Ctrl-C ends it" in open(log.name).read(), 90)
        name = re.search(r"its container, (gantry-demo-\d+),", open(log.name).read())[1]
        engine.docker("rm", "-f", name)
        wait_for("it comes back", lambda: engine.docker("ps", "-q", "--filter", f"name={name}").strip(), 40)
    finally:
        os.killpg(p.pid, signal.SIGINT)
        p.wait(patient(60))
        log.close()
    assert p.returncode == 0, open(tmp_path / "demo.log").read()
    assert engine.docker("ps", "-aq", "--filter", "name=gantry-demo") == "" and sorted(engine.docker("images", "-q").split()) == before
    assert (state / "store" / "state.db").exists()
    wait_for("nothing left", lambda: not processes(state), 10)
    shutil.rmtree(state)


def test_demo_checks_itself(tmp_path):
    state = pathlib.Path(f"/tmp/gantry-demo-check-{os.getpid()}")
    r = subprocess.run(["sh", str(ROOT / "packaging/demo/run.sh"), "--check"], capture_output=True, text=True, timeout=patient(120),
                       env=dict(os.environ, BUILD=str(build_dir()), GANTRY_DEMO_DIR=str(state)), cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    wait_for("nothing left", lambda: not processes(state), 10)

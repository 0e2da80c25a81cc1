"""The recorded cases of the systems that Gantry replaces, where a checkout of them lies beside the project.

They build a tree in /run/service and /etc/s6-overlay, so they run only on a machine where these do not exist.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from harness import Process, UnixHTTPConnection, ask, patient, program, wait_for
from test_profiles import supervisors

CASES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "conformance" / "services"
if not (CASES / "replay.py").exists():
    pytest.skip("no recorded cases beside this checkout", allow_module_level=True)


def svstat(name):
    return subprocess.run(["s6-svstat", f"/run/service/{name}"], capture_output=True, text=True).stdout


def keep_crashed():
    """The crasher was recorded while it waited for its restart: its supervisor (which is returned) is stopped there. Otherwise
    it would be up now and then."""
    def stopped():
        pids = [int(p) for p in supervisors("/run/service/crasher")]
        if len(pids) != 1 or not svstat("crasher").startswith("down (exitcode 3)"):
            return None
        os.kill(pids[0], signal.SIGSTOP)
        time.sleep(0.1)
        if svstat("crasher").startswith("down (exitcode 3)"):
            return pids[0]
        os.kill(pids[0], signal.SIGCONT)
        return None
    return wait_for("the crasher between two starts", stopped, 20)


def settled():
    """What starts by itself has started."""
    return all(svstat(name).startswith("up ") for name in ("idle", "idle-log", "ticker", "linked", "symlinked", "prod", "prod-log")) \
        and ", ready " in svstat("ready") and svstat("normally-down").startswith("down ")


def agent_answers(path):
    try:
        return ask(UnixHTTPConnection(path), "GET", "/").status > 0
    except OSError:
        return False


@pytest.fixture
def recorded(engine, tmp_path):
    """Everything that the cases need, in their README's words; compat as they were recorded."""
    for p in ("/run/service", "/etc/s6-overlay"):
        assert not os.path.exists(p), f"{p} is in use on this machine"
    side = pathlib.Path(f"/tmp/gantry-side-{os.getpid()}")
    side.mkdir()
    env = dict(os.environ, SIDE=str(side), DOCKER_HOST=f"unix://{engine.socket}", GANTRY_COMPAT="talos-0.1.2")
    procs, crashed = [], None
    start = lambda name, argv: procs.append(Process(name, argv, side / f"{name}.log", env=env)) or procs[-1]
    sh = lambda f: subprocess.run(["bash", str(CASES / f)], env=env, check=True, capture_output=True)
    try:
        engine.import_busybox(without=("true",))
        sh("s6-tree.sh")
        pathlib.Path("/run/service/crasher/run").write_text("#!/bin/sh\nexit 3\n")
        for a in ("ai_worker", "refused", "fake", "rc", "nos6"):
            (side / "agents" / a).mkdir(parents=True)
        refused = socket.socket(socket.AF_UNIX)
        refused.bind(str(side / "agents/refused/s6_agent.sock"))
        start("svscan", ["s6-svscan", "/run/service"])
        start("fake", ["/usr/bin/python3", str(CASES / "fake_agent.py"), str(side / "agents/fake/s6_agent.sock")])
        start("agent", [program("gantry-agent"), "serve", "--socket", str(side / "agents/ai_worker/s6_agent.sock"),
                        "--backup-dir", str(side / "run-backups")])
        sh("docker-fixtures.sh")
        cfg = (CASES / "config.yml").read_text().replace("@SIDE@", str(side))
        cfg += f'state:\n  path: "{side}/state/state.db"\naudit:\n  file: none\ndocker:\n  socket: "{engine.socket}"\nhttp:\n  listeners:\n    - address: "127.0.0.1:8081"\n'
        (side / "config.yml").write_text(cfg)
        start("gantryd", [program("gantryd"), "--config", str(side / "config.yml")])
        wait_for("gantryd", lambda: subprocess.run(["curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:8081/"]).returncode == 0)
        for a in ("ai_worker", "fake"):
            wait_for(f"the agent {a}", lambda: agent_answers(side / f"agents/{a}/s6_agent.sock"))
        wait_for("the services", settled)
        crashed = keep_crashed()
        time.sleep(2.5)  # some of their seconds are counted
        yield side, env
    finally:
        if crashed:
            os.kill(crashed, signal.SIGCONT)
        subprocess.run(["s6-svscanctl", "-t", "/run/service"], capture_output=True)
        time.sleep(1)
        for p in reversed(procs):
            try:
                p.stop()
            except AssertionError as e:
                print(e)
        for f in ("docker-fixtures-remove.sh", "s6-tree-remove.sh"):
            subprocess.run(["bash", str(CASES / f)], env=env, capture_output=True)
        engine.import_busybox()
        shutil.rmtree(side, ignore_errors=True)


def replay(recorded, cases):
    side, env = recorded
    # The cases were recorded by hand, minutes apart; s6 itself waits a second before it starts a service again.
    (side / "bin").mkdir()
    (side / "bin" / "curl").write_text(f'#!/bin/sh\nsleep 0.03\nexec {shutil.which("curl")} "$@"\n')
    (side / "bin" / "curl").chmod(0o755)
    env = dict(env, PATH=f"{side}/bin:{os.environ['PATH']}")
    # The next step counts on what an order has done, and an order is only given.
    steps = [json.loads(line) for line in pathlib.Path(cases).read_text("utf-8").splitlines()]
    for s in steps:
        done = {'{"action":"down"}': "-d", '{"action":"up"}': "-u"}.get((s.get("body") or "").replace(" ", ""))
        if done and s.get("path", "").endswith("/services/idle") and s["status"].startswith("200"):
            s["after"] = f"s6-svwait {done} -t 30000 /run/service/idle; {s.get('after') or ''}"
    cases = side / "steps.jsonl"
    cases.write_text("".join(json.dumps(s) + "\n" for s in steps), "utf-8")
    r = subprocess.run(["/usr/bin/python3", str(CASES / "replay.py"), str(cases), "--side", str(side)],
                       capture_output=True, text=True, env=env, timeout=patient(600))
    end = re.search(r"^(\d+) passed, 0 failed, \d+ skipped$", r.stdout, re.M)
    assert end, r.stdout[-6000:] + r.stderr[-2000:]
    return int(end.group(1))


def test_recorded_cases(recorded):
    assert replay(recorded, CASES / "cases.jsonl") >= 100


MOVED = (("/containers/([^/]+/services)", r"/\1"), ("/docker/containers/([^/?]+)", r"/docker/\1"))


def moved(step):
    """A recorded step under cyclo_manager's path: what it has of Talos' answers. None: its answer is another."""
    if "path" not in step or step.get("target") == "agent":
        return step
    for old, new in MOVED:
        path, n = re.subn("^" + old, new, step["path"])
        if n and not step.get("free") and step["status"][:3] in ("200", "405", "422", "503", "404"):
            break
    else:
        return None
    status, body = step["status"][:3], step["resp_body"]
    order = status == "422" and "/nope/" in path  # cyclo_manager looks for the container before the values
    if order or (status == "503" and "Errno" not in body and "/docker/" not in path):
        return None  # failures of agents have their own statuses there
    if status == "404" and '"detail":"Not Found"' in body:
        return None
    for label in ("Ticker demo", "Label for a service the agent does not report"):
        body = body.replace(f'"label":"{label}"', '"label":"ticker"').replace(f'"service_label":"{label}"', '"service_label":"ticker"')
    return dict(step, path=path, resp_body=body, resp_headers=step["resp_headers"])


def test_recorded_cases_under_the_paths_of_cyclo_manager(recorded):
    """None were recorded of it; where its contract says that only the path has moved, those of Talos count."""
    steps = [json.loads(line) for line in (CASES / "cases.jsonl").read_text("utf-8").splitlines()]
    cases = recorded[0] / "cyclo.jsonl"
    cases.write_text("".join(json.dumps(m) + "\n" for m in map(moved, steps) if m is not None), "utf-8")
    n_moved = sum(1 for s in steps if "path" in s and s.get("target") != "agent" and moved(s) is not None)
    assert n_moved >= 50
    assert replay(recorded, cases) >= 100

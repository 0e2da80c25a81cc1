"""The command line for workloads: the built gantry, a real gantryd, a real Docker Engine."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
import yaml

from harness import patient, program, wait_for
from test_workloads import Keeper

SLEEP = "container:\n  image: busybox:local\n  command: [sleep, '86400']\n  stop_timeout_s: 1\n"


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, engine):
    k = Keeper(tmp_path_factory.mktemp("cli"), engine)
    k.begin()
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    k.stop()
    k.check_clean()


@pytest.fixture
def env(keeper):
    return dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}")


@pytest.fixture
def run(keeper):
    def run(*args, code=0, input=None, timeout=200):
        r = keeper.cli(*args, timeout=timeout, input=input)
        assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
        return r
    return run


def doc(id, more="", body=SLEEP):
    return f"id: {id}\n{more}{body}"


def test_apply_get_describe_delete(run, tmp_path):
    f = tmp_path / "two.yaml"
    # The first one needs the second one: the order of the documents does not matter.
    f.write_text(doc("c-web", "depends_on: [{id: c-db}]\n") + "---\n" + doc("c-db"))
    out = run("apply", "-f", str(f), "--wait", "--timeout", "150s").stdout.splitlines()
    assert re.match(r"c-web: accepted \(apply-c-web-\d+\)$", out[0]) and out[1].startswith("c-db: accepted"), out
    assert out[2:] == ["c-web: running", "c-db: running"]
    assert run("apply", "-f", str(f)).stdout == "c-web: unchanged\nc-db: unchanged\n"
    rows = run("get").stdout.splitlines()
    assert rows[0].split() == ["ID", "TYPE", "DESIRED", "STATE", "HEALTH", "AGE", "MESSAGE"]
    assert [r.split()[:4] for r in rows[1:]] == [[i, "container", "running", "running"] for i in ("c-db", "c-web")]
    assert len(run("get", "c-w*").stdout.splitlines()) == 2
    assert [w["id"] for w in json.loads(run("-o", "json", "get").stdout)["workloads"]] == ["c-db", "c-web"]
    text = run("describe", "c-web").stdout
    for part in ("Workload:     c-web\n", "State:        running\n", "Document:\n  container:\n    image: busybox:local", "Last tasks:\n", "Should be:"):
        assert part in text
    assert re.search(r"^Should be: .*running", run("explain", "c-web").stdout, re.M)
    assert "apply_workload" in run("tasks", "c-web").stdout
    assert "docker" in run("node").stdout
    wait_for("its event", lambda: re.search(r"workload  c-web  created - -> running", run("events", "--name", "c-*").stdout))
    # One that others need cannot go before them: whatever the order of the documents, it goes last.
    run("delete", "-f", str(f), "--wait", "--timeout", "150s")
    assert run("get").stdout.splitlines()[1:] == []
    r = run("describe", "c-web", code=1)
    assert r.stderr == "gantry: Workload 'c-web' not found (see: gantry get)\n"


def test_diff_and_dry_run(run, tmp_path, keeper):
    f = tmp_path / "w.yaml"
    f.write_text(doc("d-one"))
    r = run("diff", "-f", str(f), code=1)
    assert r.stdout.startswith("d-one: create\n") and '+ container.image: "busybox:local"' in r.stdout
    assert run("apply", "--dry-run", "-f", str(f)).stdout == "d-one: create\n"
    assert keeper.get("d-one") is None
    run("apply", "-f", str(f), "--wait", "--timeout", "150s")
    assert run("diff", "-f", str(f)).stdout == "d-one: unchanged\n"
    f.write_text(doc("d-one") + "  env: {A: b}\n")
    r = run("diff", "-f", str(f), code=1)
    assert r.stdout.startswith("d-one: update, its object is made anew\n") and "container.env" in r.stdout, r.stdout
    # What is printed as JSON is the server's answer.
    plan = json.loads(run("-o", "json", "diff", "-f", str(f), code=1).stdout)
    assert plan["verdict"] == "update" and plan["recreate"]
    run("delete", "d-one", "--wait", "--timeout", "150s")


def test_bad_documents_change_nothing(run, tmp_path, keeper):
    good, bad = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(doc("f-good"))
    bad.write_text("# one\n" + doc("f-bad") + "  colour: red\n")
    r = run("apply", "-f", str(tmp_path), code=2)
    assert r.stdout == "" and re.search(rf"{re.escape(str(bad))}:\d+:\d+: .*colour", r.stderr), r.stderr
    assert keeper.get("f-good") is None
    # A circle among them is seen before anything is sent.
    itself, loop = doc("f-self", "depends_on: [{id: f-loop}]\n"), doc("f-loop", "depends_on: [{id: f-self}]\n")
    good.write_text(itself + "---\n" + loop)
    r = run("apply", "-f", str(good), code=2)
    assert r.stdout == "" and "f-loop -> f-self -> f-loop" in r.stderr, r
    assert keeper.get("f-self") is None
    # Refused by the engine: the others are still tried.
    good.write_text(itself)
    run("apply", "-f", str(good))
    good.write_text(loop + "---\n" + doc("f-good"))
    r = run("apply", "-f", str(good), code=1)
    assert len(r.stdout.splitlines()) == 1 and r.stderr.count("gantry: ") == 1, r
    run("delete", "f-self", "f-good", "--force", "--wait", "--timeout", "150s")


def test_waiting_says_why_not(run, tmp_path):
    f = tmp_path / "w.yaml"
    f.write_text(doc("w-need", "depends_on: [{id: w-none}]\n"))
    r = run("apply", "-f", str(f), "--wait", "--timeout", "8s", code=1)
    assert "w-need is not running after 8.0 s, it is pending" in r.stderr and "w-none" in r.stderr, r.stderr
    assert "w-none" in run("explain", "w-need").stdout
    f.write_text(doc("w-bad", body="container:\n  image: busybox:local\n  command: [sh, '-c', 'exit 3']\n"))
    r = run("apply", "-f", str(f), "--wait", "--timeout", "150s", code=1)
    assert "w-bad is not running: it has been given up; it is failed" in r.stderr, r.stderr
    assert run("retry", "w-bad").stdout.startswith("w-bad: accepted")
    run("delete", "w-need", "w-bad", "--force", "--wait", "--timeout", "150s")
    run("wait", "w-bad", "--for", "deleted", "--timeout", "150s")


def test_explain_of_the_machine(run, tmp_path, keeper):
    x = json.loads(run("-o", "json", "explain").stdout)
    assert (x["kind"], x["state"], x["waits_for"]) == ("node", "ready", []), x
    assert x["store"]["ok"] and x["store"]["failures"] == 0 and x["control"]["state"] == "off" and not x["drain"]["draining"]
    drivers = {d["type"]: d for d in x["drivers"]}
    assert drivers["container"] == {"type": "container", "name": "docker", "available": True}
    for d in drivers.values():
        assert d["available"] or d["reason"], d
    assert run("explain", "node").stdout.startswith(f"Node:         {x['id']}\nState:        ready\n")
    # A workload of that name is meant before the machine.
    f = tmp_path / "w.yaml"
    f.write_text(doc("node"))
    run("apply", "-f", str(f), "--wait", "--timeout", "150s")
    assert run("explain", "node").stdout.startswith("Workload:     node\n")
    assert "1 workload, 1 of them running" in run("explain").stdout
    run("delete", "node", "--wait", "--timeout", "150s")
    # An engine that stands still is amiss.
    os.kill(keeper.engine.process.pid, signal.SIGSTOP)
    try:
        wait_for("it is degraded", lambda: json.loads(run("-o", "json", "explain").stdout)["state"] == "degraded", 60)
    finally:
        os.kill(keeper.engine.process.pid, signal.SIGCONT)
    wait_for("it is ready again", lambda: json.loads(run("-o", "json", "explain").stdout)["state"] == "ready", 60)


def test_applied_again_while_it_is_deleted(run, tmp_path, keeper):
    lock = keeper.root / "busy-again"
    f = tmp_path / "w.yaml"
    f.write_text(doc("g-one", f"lock_file: {lock}\n"))
    run("apply", "-f", str(f), "--wait", "--timeout", "150s")
    first = keeper.inspect("g-one")["Id"]
    lock.write_text("")
    p = subprocess.Popen([program("gantry"), "delete", "g-one", "--wait", "--timeout", "150s"], text=True,
                         env=dict(keeper.env, GANTRY_HOST=f"unix:{keeper.unix}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for("it is being deleted", lambda: keeper.get("g-one").get("deleting"))
    run("apply", "-f", str(f))
    out, err = p.communicate(timeout=200)
    assert p.returncode == 1, (out, err)
    assert re.match(r"gantry: g-one is not deleted: it was applied again meanwhile, and is to stay; it is ", err), err
    assert err.endswith("(see: gantry explain g-one)\n")
    assert keeper.inspect("g-one")["Id"] == first
    lock.unlink()
    wait_for("another container", lambda: (keeper.inspect("g-one") or {"Id": first})["Id"] != first, 40)
    run("wait", "g-one", "--timeout", "150s")
    run("delete", "g-one", "--wait", "--timeout", "150s")


def test_restart_and_lock_file(run, tmp_path, keeper):
    lock = keeper.root / "busy"
    f = tmp_path / "w.yaml"
    f.write_text(doc("l-one", f"lock_file: {lock}\n"))
    run("apply", "-f", str(f), "--wait", "--timeout", "150s")
    first = keeper.inspect("l-one")["State"]["StartedAt"]
    lock.write_text("")
    run("restart", "l-one")
    assert wait_for("it waits", lambda: "busy" in run("explain", "l-one").stdout)
    assert keeper.inspect("l-one")["State"]["StartedAt"] == first
    run("force", "l-one")
    wait_for("another start", lambda: (keeper.inspect("l-one") or {"State": {"StartedAt": first}})["State"]["StartedAt"] != first, 30)
    run("wait", "l-one", "--timeout", "150s")
    # Its sleep does not heed SIGTERM and was killed, which is no failure of a restart.
    assert "failed" not in run("events", "--name", "l-one").stdout
    lock.unlink()
    run("delete", "l-one", "--wait", "--timeout", "150s")


def test_import_of_a_command_line(run, keeper):
    text = run("import", "docker-run", "--", "docker", "run", "-d", "--name", "i-one", "--stop-timeout", "1", "-e", "A=b", "busybox:local", "sleep", "500").stdout
    made = yaml.safe_load(text)
    assert made["id"] == "i-one" and made["container"]["env"] == {"A": "b"}
    run("apply", "-f", "-", "--wait", "--timeout", "150s", input=text)
    assert "A=b" in keeper.inspect("i-one")["Config"]["Env"]
    r = run("import", "docker-run", "--apply", "--", "docker", "run", "-d", "--name", "i-one", "--stop-timeout", "1", "-e", "A=b", "busybox:local", "sleep", "500")
    assert r.stdout == "i-one: unchanged\n"
    run("delete", "i-one", "--wait", "--timeout", "150s")


def test_events_go_on_over_a_restart(run, tmp_path, keeper, env):
    f = tmp_path / "w.yaml"
    f.write_text(doc("e-one"))
    p = subprocess.Popen([program("gantry"), "events", "-f", "--kind", "workload", "--name", "e-*"], env=env, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        seen = []

        def until(part):
            def more():
                while select.select([p.stdout], [], [], 0)[0] and (b := os.read(p.stdout.fileno(), 65536)):
                    seen.append(b.decode())
                return part in "".join(seen)
            wait_for(part, more, 30)
        run("apply", "-f", str(f), "--wait", "--timeout", "150s")
        until("-> running")
        keeper.stop_gantryd()
        keeper.start_gantryd()
        run("delete", "e-one", "--wait", "--timeout", "150s")
        until("deleted")
        p.send_signal(signal.SIGTERM)
        _, err = p.communicate(timeout=patient(20))
        assert p.returncode == -signal.SIGTERM
        assert "lost unix:" in err and "connected again" in err
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()


def served(keeper, *call):
    paths = json.loads(keeper.cli("api", "GET", "/openapi.json").stdout)["paths"]
    return call[1] in paths and call[0].lower() in paths[call[1]]


@pytest.fixture
def talker(run, tmp_path, keeper):
    """A workload that writes a line each second, on both streams in turn."""
    if not served(keeper, "GET", "/v1/workloads/{id}/logs"):
        pytest.skip("this gantryd has no logs of workloads")
    f = tmp_path / "t.yaml"
    f.write_text(doc("t-one", body="container:\n  image: busybox:local\n  stop_timeout_s: 1\n  command:\n  - sh\n  - -c\n"
                     "  - i=0; while :; do i=$((i+1)); echo out $i; echo err $i >&2; sleep 0.5; done\n"))
    run("apply", "-f", str(f), "--wait", "--timeout", "150s")
    yield "t-one"
    run("delete", "t-one", "--force", "--wait", "--timeout", "150s")


def test_logs_and_stats(run, talker, env):
    wait_for("some lines", lambda: "out 3" in run("logs", talker).stdout)
    text = run("logs", "-n", "all", talker).stdout
    assert text.splitlines()[0] in ("out 1", "err 1") and "err 1\n" in text and "out 1\n" in text
    assert re.search(r"^2\d{3}-\S+Z E err 1$", run("-o", "wide", "logs", "-n", "all", talker).stdout, re.M)
    assert len(run("logs", "-n", "2", talker).stdout.splitlines()) == 2
    p = subprocess.Popen([program("gantry"), "logs", "-f", "-n", "all", talker], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out = ""

    def read():
        nonlocal out
        while select.select([p.stdout], [], [], 0)[0] and (b := os.read(p.stdout.fileno(), 65536)):
            out += b.decode()
        return "out 7\n" in out
    wait_for("the seventh", read, 30)
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=patient(20))
    numbers = [int(n) for n in re.findall(r"^out (\d+)$", out, re.M)]
    assert p.returncode == -signal.SIGINT and numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 4
    row = wait_for("its numbers", lambda: (lambda r: r if r[1].endswith("%") else None)(
        run("stats", talker).stdout.splitlines()[1].split()))
    assert row[0] == talker and row[1].endswith("%") and row[2][-1] in "BKM"


def on_terminal(args, env):
    """Runs gantry on a terminal of its own: (pid, master)."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(program("gantry"), ["gantry", *args], dict(env, TERM="xterm"))
    return pid, master


def read_until(master, part, seconds=15):
    text, end = b"", time.monotonic() + patient(seconds)
    while part not in text and time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            try:
                text += os.read(master, 65536)
            except OSError:
                break
    assert part in text, text
    return text


def exit_of(pid, seconds=15):
    end = time.monotonic() + patient(seconds)
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("it does not end")


def test_top_on_a_terminal(talker, env):
    pid, master = on_terminal(["top", "--watch=300ms"], env)
    read_until(master, b"NET OUT")
    read_until(master, b"\033[H")  # the second picture
    os.write(master, b"q")
    assert exit_of(pid) == 0
    os.close(master)


def test_exec(run, talker, env, keeper):
    if not served(keeper, "POST", "/v1/workloads/{id}/exec"):
        pytest.skip("this gantryd runs nothing in workloads")
    r = run("exec", talker, "--", "sh", "-c", "echo out; echo err >&2; exit 5", code=5)
    assert (r.stdout, r.stderr) == ("out\n", "err\n")
    assert run("exec", "-i", talker, "tr", "a-z", "A-Z", input="hello\n").stdout == "HELLO\n"
    much = "".join(f"{i}\n" for i in range(200000))
    assert run("exec", "-i", talker, "cat", input=much).stdout == much
    answer = json.loads(run("-o", "json", "exec", talker, "sh", "-c", "echo x; exit 3", code=3).stdout)
    assert answer["exit_code"] == 3 and answer["stdout"] == "x\n"
    assert "not found" in run("exec", "no-such", "ls", code=1).stderr


def test_exec_on_a_terminal(talker, env, keeper):
    if not served(keeper, "POST", "/v1/workloads/{id}/exec"):
        pytest.skip("this gantryd runs nothing in workloads")
    pid, master = on_terminal(["exec", "-it", talker, "sh"], env)
    import fcntl
    import struct
    import termios
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    read_until(master, b"#")
    for _ in range(100):  # the new size follows the start on a way of its own
        os.write(master, b"stty size; tty\n")
        text = read_until(master, b"/dev/")
        if b"31 97" in text:
            break
        time.sleep(0.1)
    assert b"31 97" in text, text
    os.write(master, b"sleep 1000\n")
    time.sleep(0.5)
    os.write(master, b"\x03")  # ends sleep, not us
    os.write(master, b"echo still; exit 9\n")
    read_until(master, b"still\r\n")
    assert exit_of(pid) == 9
    os.close(master)

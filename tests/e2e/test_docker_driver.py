"""The Docker workload driver alone on a real engine: compute-agent contract, 5.1 with its [R], through docker_drive."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import dockerd
import harness
from harness import patient, wait_for

IMAGE = "busybox:local"
SLEEP = 'command: [sh, -c, \'trap "exit 0" TERM; echo out; echo err >&2; while :; do sleep 0.1; done\']'


class Drive:
    """docker_drive as a process: calls go out with a tag, callbacks come back by it."""

    def __init__(self, path, **options):
        program = str(harness.build_dir() / "tests" / "programs" / "docker_drive")
        self.p = subprocess.Popen([program, path, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.tags = 0
        self.seen = []
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.p.stdout:
            with self.more:
                self.seen.append(json.loads(line))
                self.more.notify_all()

    def send(self, op, **args):
        self.tags += 1
        self.p.stdin.write((json.dumps({"tag": self.tags, "op": op, **args}) + "\n").encode())
        self.p.stdin.flush()
        return self.tags

    def wait(self, tag, *what):
        """The first news of this call that is one of `what`."""
        found = lambda: next((s for s in self.seen if s["tag"] == tag and s["what"] in what), None)
        with self.more:
            assert self.more.wait_for(lambda: found() is not None, patient(90)), (tag, what, self.seen[-5:])
            return found()

    def call(self, op, *args, **kw):
        return self.wait(self.send(op, **kw), "done", "returned")

    def ok(self, op, **kw):
        r = self.call(op, **kw)
        assert r["what"] == "done" and "fault" not in r, r
        return r.get("object")

    def fails(self, op, **kw):
        r = self.call(op, **kw)
        assert "fault" in r, r
        return r["fault"]

    def up(self, id, doc, revision="1", **kw):
        self.ok("ensure", id=id, revision=revision, doc=doc, **kw)
        return self.ok("start", id=id, revision=revision)

    def of(self, tag, what):
        with self.more:
            return [s for s in self.seen if s["tag"] == tag and s["what"] == what]

    def text(self, tag, stream=None):
        return "".join(s["text"] for s in self.of(tag, "output") if stream in (None, s["stream"]))

    def stop(self):
        self.p.stdin.close()
        try:
            assert self.p.wait(patient(20)) == 0
        finally:
            self.p.kill()
            self.reader.join(patient(5))


def doc(id, *lines, image=IMAGE, pull="missing"):
    inner = [f'image: "{image}"', f"image_pull: {pull}", *lines]
    return f"id: {id}\ntype: container\ncontainer:\n" + "".join("  " + l + "\n" for l in inner)


@pytest.fixture(scope="module", autouse=True)
def program(build):
    subprocess.run(["ninja", "-C", str(build), "--quiet", "tests/programs/docker_drive"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def drive(engine, program):
    d = Drive(engine.socket)
    yield d
    d.stop()


@pytest.fixture
def clean(engine):
    yield
    made = engine.docker("ps", "-aq").split()
    if made:
        engine.docker("rm", "-f", "-v", *made)


def inspect(engine, name):
    return json.loads(engine.docker("inspect", "--type", "container", name))[0]


def is_up(engine, name):
    """It minds a signal from now on: what it says comes after its trap."""
    wait_for("its first words", lambda: "out" in engine.docker("logs", name))


def test_life(drive, engine, clean):
    text = doc("web", SLEEP, "labels: {a: b, persys.managed: \"no\"}", "env: {A: \"1\"}", "user: \"0\"")
    assert drive.ok("inspect", id="web") is None
    drive.ok("ensure", id="web", revision=" r1 ", doc=text, node="n1", print="p1")
    made = inspect(engine, "web")
    assert made["Config"]["Labels"] == {"a": "b", "persys.managed": "true", "persys.workload_id": "web", "persys.revision_id": "r1",
                                        "persys.node_id": "n1", "persys.spec_hash": "p1"}
    assert "A=1" in made["Config"]["Env"] and made["State"]["Status"] == "created"
    assert made["HostConfig"]["RestartPolicy"]["Name"] == "no"
    o = drive.ok("inspect", id="web")
    assert (o["actual"], o["message"], o["node_id"], o["print"], o["revision"]) == ("stopped", "created", "n1", "p1", "r1")
    o = drive.ok("start", id="web")
    assert (o["actual"], o["message"], o["exit_code"]) == ("running", "running", -1) and o["object_id"] == made["Id"]
    assert re.fullmatch(r"[0-9.]+", o["address"]) and o["started_ns"] > o["created_ns"] > 0
    assert o["meta"]["container.id"] == made["Id"][:12] and o["meta"]["container.image"] == IMAGE
    again = drive.ok("start", id="web")
    assert again["started_ns"] == o["started_ns"], "what runs is not started again"
    assert drive.ok("ensure", id="web", revision="r1", doc=text)["object_id"] == made["Id"], "taken as it is"
    is_up(engine, "web")
    o = drive.ok("stop", id="web")
    assert (o["actual"], o["exit_code"], o["message"]) == ("stopped", 0, "exited")
    assert drive.ok("stop", id="web")["object_id"] == made["Id"]
    assert drive.ok("start", id="web")["actual"] == "running"
    assert drive.ok("remove", id="web", timeout=5) is None
    assert engine.docker("ps", "-aq", "--filter", "label=persys.managed=true") == "" and drive.ok("remove", id="web") is None and drive.ok("stop", id="web") is None
    f = drive.fails("start", id="web")
    assert (f["reason"], f["code"]) == ("RUNTIME_RESOURCE_MISSING", "not-found")


def test_update_replaces(drive, engine, clean):
    first = drive.up("web", doc("web", SLEEP), "1")["object_id"]
    drive.ok("ensure", id="web", revision="2", doc=doc("web", SLEEP, "env: {B: two}"))
    made = inspect(engine, "web")
    assert made["Id"] != first and "B=two" in made["Config"]["Env"] and len(engine.docker("ps", "-aq", "--filter", "label=persys.managed=true").split()) == 1
    drive.ok("start", id="web")
    f = drive.fails("ensure", id="web", revision="3", doc=doc("web", image="nobody/has-this:1", pull="never"))
    assert f["reason"] == "INVALID_IMAGE" and "nobody/has-this:1" in f["text"]
    assert inspect(engine, "web")["State"]["Running"], "what runs stays until its successor's image is here"


def test_adoption(drive, engine, clean):
    """What the original agent made: the three labels, the name."""
    labels = ["--label", "persys.managed=true", "--label", "persys.workload_id=old", "--label", "persys.revision_id=7"]
    cid = engine.docker("run", "-d", "--name", "old", *labels, IMAGE, "sleep", "1000").strip()
    assert drive.ok("ensure", id="old", revision="7", doc=doc("old"))["object_id"] == cid
    o = drive.ok("inspect", id="old")
    assert o["object_id"] == cid and o["node_id"] == "" and o["print"] == "" and o["revision"] == "7"
    assert [x["id"] for x in drive.call("list")["objects"]] == ["old"]
    drive.ok("remove", id="old", timeout=1)
    cid = engine.docker("create", "--name", "old", *labels[:4], IMAGE, "true").strip()
    assert drive.ok("ensure", id="old", revision="8", doc=doc("old"))["object_id"] == cid, "without a revision it is taken"


def test_foreign_is_never_touched(drive, engine, clean):
    cid = engine.docker("run", "-d", "--name", "other", IMAGE, "sleep", "1000").strip()
    engine.docker("run", "-d", "--name", "half", "--label", "persys.managed=true", "--label", "persys.workload_id=x", IMAGE, "sleep", "1000")
    before = {n: inspect(engine, n) for n in ("other", "half")}
    for name in before:
        for op in ("ensure", "start"):
            f = drive.fails(op, id=name, revision="1", doc=doc(name))
            assert f["code"] == "exists" and f["text"].startswith(f'container name "{name}" is already in use (')
        assert drive.fails("inspect", id=name)["code"] == "exists"
        assert drive.ok("stop", id=name) is None and drive.ok("remove", id=name) is None
        assert drive.fails("exec", id=name, argv=["true"])["code"] == "not-found"
        assert drive.fails("logs", id=name)["code"] == "not-found"
    assert before == {n: inspect(engine, n) for n in before}
    assert drive.call("list")["objects"] == []
    # the beginning of an id is no name
    assert drive.ok("inspect", id=cid[:8]) is None and drive.ok("remove", id=cid[:8]) is None
    assert inspect(engine, "other")["Id"] == cid


def test_every_field(drive, engine, clean, tmp_path):
    (tmp_path / "in").mkdir()
    text = doc("full", "entrypoint: [/bin/sh, -c]", "command: [\"sleep 600\"]", "args: [x, \"a b\"]", "env: {A: \"a=b\"}", "secret_env: {S: \"geheim\"}",
               f"volumes: [{{host_path: \"{tmp_path}/in\", container_path: /data, read_only: true}}]",
               "ports: [{host_port: 0, container_port: 80}, {host_port: 28080, container_port: 80, host_ip: 127.0.0.1}, {host_port: 28081, container_port: 53, protocol: udp}]",
               "resources: {cpu_shares: 512, memory_bytes: 67108864, memory_swap_bytes: 134217728}",
               "restart_policy: {policy: unless_stopped, max_retry_count: 3}", "hostname: h1", "working_dir: /tmp", "user: \"1:1\"",
               "network_mode: host", "tty: true", "read_only_rootfs: true", "stop_timeout_s: 3").replace("unless_stopped", "unless-stopped")
    drive.up("full", text)
    m = inspect(engine, "full")
    c, h = m["Config"], m["HostConfig"]
    assert (c["Entrypoint"], c["Cmd"]) == (["/bin/sh", "-c"], ["sleep 600", "x", "a b"])
    assert {"A=a=b", "S=geheim"} <= set(c["Env"])
    assert [(x["Type"], x["Source"], x["Target"], x["ReadOnly"]) for x in h["Mounts"]] == [("bind", f"{tmp_path}/in", "/data", True)]
    assert h["PortBindings"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "0"}, {"HostIp": "127.0.0.1", "HostPort": "28080"}],
                                 "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "28081"}]}
    assert (h["CpuShares"], h["Memory"], h["MemorySwap"]) == (512, 67108864, 134217728)
    assert h["RestartPolicy"] == {"Name": "unless-stopped", "MaximumRetryCount": 0}
    assert (c["Hostname"], c["WorkingDir"], c["User"], h["NetworkMode"], c["Tty"], h["ReadonlyRootfs"]) == ("h1", "/tmp", "1:1", "host", True, True)
    assert drive.ok("inspect", id="full")["address"] == "127.0.0.1"


def test_failures_have_reasons(drive, engine, clean):
    f = drive.fails("ensure", id="bad", revision="1", doc=doc("bad", "resources: {memory_bytes: 1000000}"))
    assert f["reason"] == "INVALID_SPECIFICATION" and "6MB" in f["text"]
    f = drive.fails("ensure", id="bad", revision="1", doc=doc("bad", "volumes: [{host_path: /no/such, container_path: /x}]"))
    assert f["reason"] == "INVALID_SPECIFICATION" and "/no/such" in f["text"]
    drive.ok("ensure", id="bad", revision="1", doc=doc("bad", "command: [no-such-program]"))
    f = drive.fails("start", id="bad")
    assert f["reason"] == "INVALID_SPECIFICATION" and "executable file not found" in f["text"]
    o = drive.ok("inspect", id="bad")
    assert o["actual"] == "failed" and o["exit_code"] == 127 and "executable file not found" in o["meta"]["container.runtime_error"]
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
    r = drive.call("ensure", id="bad", revision="2", doc=doc("bad", "volumes: [{host_path: ../x, container_path: /x}]"))
    assert r["code"] == "invalid" and '"../x"' in r["text"]


def test_pulls_fail_and_fall_back(drive, engine, clean):
    # there is no registry here: by its port on loopback it refuses
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    f = drive.fails("ensure", id="pp", revision="1", doc=doc("pp", SLEEP, image=f"127.0.0.1:{port}/a/b:1", pull="always"))
    assert f["reason"] == "NETWORK_UNREACHABLE" and f["code"] == "runtime", f
    engine.docker("tag", IMAGE, f"127.0.0.1:{port}/a/b:1")
    assert drive.fails("ensure", id="pp", revision="1", doc=doc("pp", SLEEP, image=f"127.0.0.1:{port}/a/b:1", pull="always"))["reason"] == "NETWORK_UNREACHABLE"
    drive.ok("ensure", id="pp", revision="1", doc=doc("pp", SLEEP, image=f"127.0.0.1:{port}/a/b:1", pull="default"))
    assert drive.ok("inspect", id="pp")["meta"]["container.image"] == f"127.0.0.1:{port}/a/b:1"
    f = drive.fails("ensure", id="qq", revision="1", doc=doc("qq", SLEEP, image=f"127.0.0.1:{port}/a/c:1", pull="missing"))
    assert f["reason"] == "NETWORK_UNREACHABLE"
    assert drive.fails("ensure", id="qq", revision="1", doc=doc("qq", SLEEP, image="no/such:1", pull="never"))["reason"] == "INVALID_IMAGE"
    drive.ok("remove", id="pp")
    engine.docker("rmi", f"127.0.0.1:{port}/a/b:1")


def test_restart_loop_is_not_running(drive, engine, clean):
    drive.up("loop", doc("loop", "command: [sh, -c, \"exit 3\"]", "restart_policy: {policy: always}"))
    seen = []
    wait_for("the engine's own restarts", lambda: seen.append(drive.ok("inspect", id="loop")) or seen[-1]["restarts"] >= 2)
    wait_for("pending", lambda: drive.ok("inspect", id="loop")["actual"] == "pending")
    engine.docker("rm", "-f", "loop")


def test_last_words(drive, engine, clean):
    drive.up("dies", doc("dies", "command: [sh, -c, \"for i in $(seq 1 3000); do echo line $i >&2; done; echo not-this; exit 9\"]"))
    o = wait_for("its end", lambda: (lambda o: o if o["actual"] == "failed" and "container.stderr" in o["meta"] else None)(drive.ok("inspect", id="dies")))
    err = o["meta"]["container.stderr"]
    # the engine counts lines of both streams, in the order in which they reached it
    assert err.endswith("line 3000\n") and "line 2802\n" in err and "line 2800\n" not in err and "not-this" not in err and len(err) <= 8192
    assert (o["message"], o["cause"], o["exit_code"], o["meta"]["container.exit_code"]) == ("exited with code 9", "crash", 9, "9")
    drive.up("long", doc("long", "command: [sh, -c, \"for i in $(seq 1 150); do printf '%0200d\\n' $i >&2; done; exit 1\"]"))
    err = wait_for("its end", lambda: drive.ok("inspect", id="long")["meta"].get("container.stderr"))
    assert err.startswith("...0") and err.endswith("150\n") and 7900 < len(err) <= 8192
    drive.ok("ensure", id="ends", revision="1", doc=doc("ends", "command: [sh, -c, \"echo x >&2\"]"))
    drive.ok("start", id="ends")
    wait_for("its end", lambda: drive.ok("inspect", id="ends")["message"] == "exited")
    assert "container.stderr" not in drive.ok("inspect", id="ends")["meta"]


def test_paused(drive, engine, clean):
    drive.up("frozen", doc("frozen", SLEEP))
    is_up(engine, "frozen")
    engine.docker("pause", "frozen")
    o = drive.ok("inspect", id="frozen")
    assert (o["actual"], o["message"]) == ("stopped", "paused")
    assert drive.ok("start", id="frozen")["actual"] == "running"
    engine.docker("pause", "frozen")
    assert drive.ok("stop", id="frozen", timeout=5)["message"] == "exited"
    drive.ok("start", id="frozen")
    engine.docker("pause", "frozen")
    assert drive.ok("remove", id="frozen", timeout=5) is None


def test_stop_kills_after_its_time(drive, engine, clean):
    drive.up("stubborn", doc("stubborn", "command: [sleep, \"1000\"]"))
    began = time.monotonic()
    o = drive.ok("stop", id="stubborn", timeout=2)
    assert 1.5 < time.monotonic() - began < 25 and o["exit_code"] == 137
    drive.ok("start", id="stubborn")
    tag = drive.send("stop", id="stubborn", timeout=3600)
    time.sleep(0.5)
    drive.send("cancel", id="stubborn")
    assert drive.wait(tag, "done")["fault"]["code"] == "cancelled"


def test_anonymous_volumes_go(drive, engine, clean):
    engine.docker("import", "-c", "VOLUME /v", "-", "withvolume:1", input=dockerd.busybox_tar())
    drive.up("vol", doc("vol", SLEEP, image="withvolume:1"))
    assert engine.docker("volume", "ls", "-q") != ""
    drive.ok("remove", id="vol", timeout=3)
    assert engine.docker("volume", "ls", "-q") == ""


def test_list_and_events(engine, clean):
    d = Drive(engine.socket)
    try:
        d.send("watch", on=True)
        wait_for("the engine", lambda: any(s["up"] for s in d.of(0, "reachable")))
        for i in range(12):
            d.ok("ensure", id=f"l{i:02}", revision="1", doc=doc(f"l{i:02}", SLEEP))
        assert sorted(o["id"] for o in d.call("list")["objects"]) == [f"l{i:02}" for i in range(12)]
        d.ok("start", id="l03")
        changed = lambda: {s["id"] for s in d.of(0, "changed")}
        wait_for("events of creates and the start", lambda: {f"l{i:02}" for i in range(12)} <= changed())
        assert {o["id"]: o["actual"] for o in d.call("list")["objects"]}["l03"] == "running"
        # what the engine tells comes in order: behind this there is nothing more of l03
        d.ok("ensure", id="last", revision="1", doc=doc("last", SLEEP))
        wait_for("the event of the last create", lambda: "last" in changed())
        before = len(d.of(0, "changed"))
        d.call("exec", id="l03", argv=["true"])
        engine.docker("rm", "-f", "l04")
        wait_for("the end of l04", lambda: "l04" in [s["id"] for s in d.of(0, "changed")][before:])
        assert "l03" not in [s["id"] for s in d.of(0, "changed")][before:], "a program inside is no change"
        objects = {o["id"]: o for o in d.call("list")["objects"]}
        assert "l04" not in objects and len(objects) == 12
        engine.docker("kill", "-s", "KILL", "l03")
        wait_for("its end", lambda: {o["id"]: o["actual"] for o in d.call("list")["objects"]}["l03"] == "failed")
    finally:
        d.stop()


def test_health(engine, clean):
    d = Drive(engine.socket)
    try:
        d.send("watch", on=True)
        # until its first good check it is starting, however long that takes
        engine.docker("import", "-c", 'HEALTHCHECK --interval=1s --start-period=1h --retries=1 CMD test -e /well && test ! -e /sick', "-", "checked:1",
                      input=dockerd.busybox_tar())
        assert d.up("hh", doc("hh", SLEEP, image="checked:1"))["health"] == "starting"
        assert d.call("exec", id="hh", argv=["touch", "/well"])["exit_code"] == 0
        wait_for("healthy", lambda: d.ok("inspect", id="hh")["health"] == "healthy")
        n = len(d.of(0, "changed"))
        assert d.call("exec", id="hh", argv=["touch", "/sick"])["exit_code"] == 0
        wait_for("told by an event", lambda: len(d.of(0, "changed")) > n)
        wait_for("unhealthy", lambda: d.ok("inspect", id="hh")["health"] == "unhealthy")
    finally:
        d.stop()


def test_exec(drive, engine, clean):
    drive.up("xx", doc("xx", SLEEP, "env: {A: \"1\"}"))
    tag = drive.send("exec", id="xx", argv=["sh", "-c", "echo $A $B; pwd; echo bad >&2; exit 7"], env=["B=2"], dir="/tmp")
    assert drive.wait(tag, "done")["exit_code"] == 7
    assert (drive.text(tag, 1), drive.text(tag, 2)) == ("1 2\n/tmp\n", "bad\n")
    tag = drive.send("exec", id="xx", argv=["cat"], interactive=True)
    drive.send("write", of=tag, text="one\n")
    wait_for("the echo", lambda: drive.text(tag) == "one\n")
    drive.send("write", of=tag, text="two", end=True)
    assert drive.wait(tag, "done")["exit_code"] == 0 and drive.text(tag) == "one\ntwo"
    tag = drive.send("exec", id="xx", argv=["sh"], interactive=True, tty=True, rows=31, columns=97)
    until = "until [ \"$(stty size)\" = \"%s\" ]; do sleep 0.1; done; echo now $((%d + 1))\n"
    drive.send("write", of=tag, text=until % ("31 97", 6))  # the size comes a moment after the program
    wait_for("its size", lambda: "now 7" in drive.text(tag))
    drive.send("resize", of=tag, rows=12, columns=34)
    drive.send("write", of=tag, text=until % ("12 34", 7))
    wait_for("its other size", lambda: "now 8" in drive.text(tag))
    drive.send("write", of=tag, text="exit 5\n")
    assert drive.wait(tag, "done")["exit_code"] == 5
    assert drive.call("exec", id="xx", argv=["no-such"])["exit_code"] in (126, 127)
    # input that nobody reads waits, up to a limit
    tag = drive.send("exec", id="xx", argv=["sleep", "1000"], interactive=True)
    codes = []
    for _ in range(40):
        codes.append(drive.wait(drive.send("write", of=tag, text="x" * 100000), "returned")["code"])
    assert codes[0] == "ok" and codes[-1] == "limit"
    drive.wait(drive.send("cancel_call", of=tag), "returned")
    # a lot of output
    tag = drive.send("exec", id="xx", argv=["sh", "-c", "yes 0123456789 | head -n 100000"])
    assert drive.wait(tag, "done")["exit_code"] == 0 and len(drive.text(tag)) == 1100000
    drive.ok("stop", id="xx", timeout=2)
    assert drive.fails("exec", id="xx", argv=["true"])["code"] == "conflict"


def test_logs(drive, engine, clean):
    script = "echo one; echo two >&2; printf 'x%.0s' $(seq 1 40000); echo; until test -e /go; do sleep 0.1; done; printf end; sleep 0.2; echo; sleep 1000"
    drive.up("ll", doc("ll", f"command: [sh, -c, \"{script}\"]"))

    def lines():
        tag = drive.send("logs", id="ll")
        assert "fault" not in drive.wait(tag, "done")
        return drive.of(tag, "line")
    # the engine reads the two streams apart from each other: "end" is behind both
    wait_for("what it says first", lambda: len(lines()) == 3)
    drive.call("exec", id="ll", argv=["touch", "/go"])
    got = wait_for("the end", lambda: (lambda got: got if len(got) == 4 else None)(lines()))
    assert {g["stream"] for g in got} == {1, 2} and [g["text"] for g in got if g["stream"] == 2] == ["two"]
    assert [g["text"] for g in got if g["stream"] == 1] == ["one", "x" * 40000, "end"]
    assert all(abs(g["time"] - time.time_ns()) < 600e9 for g in got)
    tag = drive.send("logs", id="ll", tail=1)
    drive.wait(tag, "done")
    assert [g["text"] for g in drive.of(tag, "line")] == ["end"]
    tag = drive.send("logs", id="ll", since=got[-1]["time"])
    drive.wait(tag, "done")
    assert [g["text"] for g in drive.of(tag, "line")][-1] == "end" and len(drive.of(tag, "line")) <= 2
    # following, with a pause
    drive.up("ff", doc("ff", "tty: true", "command: [sh, -c, \"i=0; while :; do i=$((i+1)); echo n $i; sleep 0.01; done\"]"))
    tag = drive.send("logs", id="ff", follow=True)
    wait_for("some lines", lambda: len(drive.of(tag, "line")) > 20)
    drive.wait(drive.send("pause", of=tag, on=True), "returned")
    n = len(drive.of(tag, "line"))
    time.sleep(0.5)
    assert len(drive.of(tag, "line")) == n
    drive.send("pause", of=tag, on=False)
    wait_for("more lines", lambda: len(drive.of(tag, "line")) > n + 30)
    drive.ok("stop", id="ff", timeout=1)
    drive.wait(tag, "done")
    lines = [g["text"] for g in drive.of(tag, "line")]
    assert lines == [f"n {i + 1}" for i in range(len(lines))]


def test_usage(drive, engine, clean):
    drive.up("busy", doc("busy", "command: [sh, -c, \"while :; do :; done\"]"))
    try:
        took = []

        def use():
            began = time.monotonic()
            u = drive.call("usage", id="busy")
            took.append(time.monotonic() - began)
            return u
        u = use()
        assert u["cpu"] == -1 and u["memory"] > 0 and u["rx"] >= 0 and abs(u["at"] - time.time_ns()) < 600e9

        def of_one_processor():
            time.sleep(1)
            u = use()
            return 10 < u["cpu"] < 130
        wait_for("the use of one processor, and a sample that takes no second", lambda: of_one_processor() and min(took) < 0.9)
    finally:
        drive.ok("stop", id="busy", timeout=1)
    assert drive.call("usage", id="busy")["fault"]["code"] == "state"
    assert drive.call("usage", id="none")["fault"]["code"] == "not-found"


def test_bind_roots(engine, clean, tmp_path):
    (tmp_path / "in").mkdir()
    d = Drive(engine.socket, bind_roots=[str(tmp_path)])
    try:
        mount = lambda p: doc("bb", SLEEP, f"volumes: [{{host_path: \"{p}\", container_path: /x}}]")
        d.ok("ensure", id="bb", revision="1", doc=mount(tmp_path / "in"))
        for p in ("/etc", f"{tmp_path}x", f"{tmp_path}/../etc", "/"):
            r = d.call("ensure", id="bb", revision="2", doc=mount(p))
            assert r["what"] == "returned" and r["code"] == "invalid" and p in r["text"]
        (tmp_path / "out").symlink_to("/etc")
        (tmp_path / "round").symlink_to(tmp_path / "in")
        for p in (tmp_path / "out", tmp_path / "out" / "ssl"):
            f = d.fails("ensure", id="bb", revision="2", doc=mount(p))
            assert f["reason"] == "INVALID_SPECIFICATION" and f'"{p}" leads to "/etc' in f["text"]
        (tmp_path / "loop").symlink_to("loop")
        f = d.fails("ensure", id="bb", revision="2", doc=mount(tmp_path / "loop"))
        assert f["reason"] == "INVALID_SPECIFICATION" and "cannot be seen" in f["text"]
        assert inspect(engine, "bb")["Config"]["Labels"]["persys.revision_id"] == "1", "nothing was removed"
        f = d.fails("ensure", id="bb", revision="2", doc=mount(tmp_path / "none"))
        assert "bind source path does not exist" in f["text"], "what is missing is the engine's to tell"
        d.ok("ensure", id="bb", revision="3", doc=mount(tmp_path / "round"))
    finally:
        d.stop()
    # A folder that is not there for us may be there for the engine, with links in it.
    d = Drive(engine.socket, bind_roots=[str(tmp_path / "unseen")])
    try:
        f = d.fails("ensure", id="bb", revision="4", doc=mount(tmp_path / "unseen" / "x"))
        assert f["reason"] == "INVALID_SPECIFICATION" and "cannot be seen" in f["text"]
    finally:
        d.stop()


def told(d):
    """What was told last of whether the engine is there."""
    return next((s["up"] for s in reversed(d.of(0, "reachable"))), None)


def test_engine_killed_and_back():
    with dockerd.Dockerd() as own:
        d = Drive(own.socket, probe_ms=300)
        try:
            d.send("watch", on=True)
            d.up("kk", doc("kk", "command: [sleep, \"1000\"]"))
            stop = d.send("stop", id="kk", timeout=3600)
            logs = d.send("logs", id="kk", follow=True)
            time.sleep(1)
            with open(own.root + "/pid", encoding="utf-8") as f:
                os.kill(int(f.read()), signal.SIGKILL)
            f = d.wait(stop, "done")["fault"]
            assert (f["code"], f["reason"]) == ("unreachable", "RUNTIME_UNHEALTHY")
            assert d.wait(logs, "done")["fault"]["code"] == "unreachable"
            wait_for("told", lambda: told(d) is False)
            for op in ("inspect", "start", "remove", "usage", "list"):
                assert d.fails(op, id="kk")["code"] == "unreachable", op
            own.process.wait(patient(20))
            own.halt()
            # Its containerd died with it, but may not have been reaped: the new engine must not wait for that process.
            containerd = pathlib.Path(own.root, "exec", "containerd", "containerd.pid")
            pid = int(containerd.read_text())
            wait_for("its containerd ended", lambda: dockerd.has_ended(pid))
            containerd.unlink()
            own.launch()
            wait_for("told", lambda: told(d) is True, 20)
            assert d.ok("inspect", id="kk")["id"] == "kk"
            assert d.ok("start", id="kk")["actual"] == "running"
            d.ok("remove", id="kk", timeout=1)
        finally:
            d.stop()


def test_engine_hangs():
    with dockerd.Dockerd() as own:
        patient_one = Drive(own.socket)
        d = Drive(own.socket, probe_ms=300, look_ms=1500, answer_ms=3000)
        try:
            d.send("watch", on=True)
            patient_one.up("kk", doc("kk", SLEEP))
            wait_for("told", lambda: told(d) is True)
            with open(own.root + "/pid", encoding="utf-8") as f:
                pid = int(f.read())
            os.kill(pid, signal.SIGSTOP)
            try:
                # its threads stop one after the other
                wait_for("stopped", lambda: all(t.read_text().rsplit(")", 1)[1].split()[0] == "T"
                                                for t in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")))
                f = d.fails("inspect", id="kk")
                assert f["code"] == "unreachable", f
                wait_for("told", lambda: told(d) is False)
                assert d.fails("stop", id="kk", timeout=1)["code"] in ("unreachable", "timeout")
            finally:
                os.kill(pid, signal.SIGCONT)
            wait_for("told", lambda: told(d) is True, 20)
            assert patient_one.ok("inspect", id="kk")["actual"] == "running"
            patient_one.ok("remove", id="kk", timeout=3)
        finally:
            d.stop()
            patient_one.stop()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """While there is this file, what slow/a sends does not come to an end."""
    return tmp_path_factory.mktemp("registry") / "gate"


@pytest.fixture(scope="module")
def registry(engine, gate):
    """Host and port of the open one and of the one with a password, as the engine reaches it: in the engine's own network namespace."""
    inside = ["nsenter", "--net", "-t", str(engine.process.pid)]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    p = subprocess.Popen([*inside, "/usr/bin/python3", os.path.join(os.path.dirname(__file__), "registry.py"), str(gate)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield ["127.0.0.1:%d" % int(p.stdout.readline()) for _ in range(2)]
    finally:
        p.stdin.close()
        p.kill()
        p.wait()


def test_pulls_from_a_registry(engine, registry, gate, clean):
    d, hasty = Drive(engine.socket), Drive(engine.socket, pull_ms=3000)
    registry, closed = registry
    try:
        pull = lambda repo, tag="1", *lines: doc("pull", SLEEP, *lines, image=f"{closed if 'auth' in repo else registry}/{repo.replace('auth', 'open')}:{tag}", pull="always")
        fails = lambda *a: d.fails("ensure", id="pull", revision="1", doc=pull(*a))
        login = lambda password: f"registry: {{username: bob, password: {password}}}"
        reasons = {
            "unknown": fails("open/a", "2"), "nothing": fails("none/a"), "stranger": fails("auth/a"), "wrong": fails("auth/a", "1", login("falsch")),
            "hang": hasty.fails("ensure", id="pull", revision="1", doc=pull("hang/a")),
        }
        assert {k: f["reason"] for k, f in reasons.items()} == {
            "unknown": "INVALID_IMAGE", "nothing": "INVALID_IMAGE", "stranger": "IMAGE_PULL_AUTH_FAILED", "wrong": "IMAGE_PULL_AUTH_FAILED",
            "hang": "IMAGE_PULL_TIMEOUT"}, reasons
        assert "geheim" not in str(reasons) and "falsch" not in str(reasons)
        gate.touch()
        tag = d.send("ensure", id="pull", revision="1", doc=pull("slow/a"))
        wait_for("how far it is", lambda: any(p["text"].endswith(" of 2 layers") for p in d.of(tag, "progress")))
        gate.unlink()
        assert "fault" not in d.wait(tag, "done")
        told = [p["text"] for p in d.of(tag, "progress")]
        # one for each change at the most: one layer may be known before the other
        assert told[0] == f"pulling {registry}/slow/a:1" and len(told) <= 5, told
        assert all(re.fullmatch(re.escape(told[0]) + ": [012] of [12] layers", t) for t in told[1:]), told
        assert d.ok("start", id="pull")["actual"] == "running"
        d.ok("remove", id="pull", timeout=2)
        d.ok("ensure", id="pull", revision="1", doc=pull("auth/a", "1", login("geheim")))
        assert d.ok("start", id="pull")["actual"] == "running"
        # a pull that is ended, of an image that does not come before that
        engine.docker("rm", "-f", "pull")
        engine.docker("rmi", f"{registry}/slow/a:1", f"{closed}/open/a:1")
        tag = d.send("ensure", id="pull", revision="1", doc=pull("hang/a"))
        time.sleep(0.5)
        assert d.of(tag, "done") == []
        d.send("cancel", id="pull")
        assert d.wait(tag, "done")["fault"]["code"] == "cancelled"
    finally:
        d.stop()
        hasty.stop()

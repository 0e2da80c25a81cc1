"""Logs, stats and programs of workloads on a real Docker Engine."""
import asyncio
import http.client
import json
import socket
import time
import urllib.parse

import pytest
import websockets

from harness import SANITIZED, patient, wait_for
from test_workloads import SLEEPER, Keeper

STDIN, STDOUT, STDERR, SIZE, EXIT = range(5)
PATIENT = dict(open_timeout=patient(20), ping_interval=None)


def sh(script, **more):
    return {"container": {"image": "busybox:local", "command": ["sh", "-c", script], "stop_timeout_s": 1, **more}}


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, engine):
    k = Keeper(tmp_path_factory.mktemp("live"), engine)
    k.begin()
    k.put("box", SLEEPER)
    k.reaches("box", "running")
    yield k
    for w in k.call("GET", "/v1/workloads").json()["workloads"]:
        k.remove(w["id"])
    k.stop()
    k.check_clean()


class Stream:
    """A stream of server-sent events."""

    def __init__(self, k, path, last=None):
        self.conn = http.client.HTTPConnection("127.0.0.1", k.port, timeout=patient(20))
        self.conn.request("GET", path, headers={"Last-Event-ID": last} if last else {})
        self.answer = self.conn.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.getheader("content-type").startswith("text/event-stream")

    def event(self):
        got = {"event": "message", "data": None, "id": None}
        while True:
            line = self.answer.readline()
            if not line:
                return None
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                continue
            if line == "":
                if got["data"] is not None:
                    got["data"] = json.loads(got["data"])
                    return got
                continue
            key, _, value = line.partition(": ")
            got[key] = value

    def until(self, name, most=10000):
        out = []
        for _ in range(most):
            e = self.event()
            assert e, f"the stream ended without {name}: {out[-3:]}"
            if e["event"] == name:
                return out, e
            out.append(e)
        raise AssertionError(f"no {name} among {most} events")

    def close(self):
        self.conn.close()


def logs(k, id, query=""):
    a = k.call("GET", f"/v1/workloads/{id}/logs{query}")
    assert a.status == 200, a
    return a.json()


def test_logs_tail_and_since(keeper):
    keeper.put("talk", sh("for i in $(seq 150); do echo line $i; done; until test -e /go; do sleep 0.1; done; echo bad >&2; sleep 86400"))
    keeper.reaches("talk", "running")
    # The engine reads the two streams apart from each other.
    wait_for("what it says first", lambda: len(logs(keeper, "talk", "?tail=all")["lines"]) == 150)
    keeper.engine.docker("exec", "talk", "touch", "/go")
    wait_for("all lines", lambda: len(logs(keeper, "talk", "?tail=all")["lines"]) == 151)
    d = logs(keeper, "talk")
    assert d["id"] == "talk" and d["cut"] is False and len(d["lines"]) == 100
    d = logs(keeper, "talk", "?tail=3")
    assert {"stream": "stderr", "text": "bad"}.items() <= [x for x in d["lines"] if x["stream"] == "stderr"][0].items()
    assert len(d["lines"]) == 3 and logs(keeper, "talk", "?tail=0")["lines"] == []
    d = logs(keeper, "talk", "?tail=-1")
    assert len(d["lines"]) == 151 and d["lines"][0]["text"] == "line 1"
    t = d["lines"][100]["time"]
    assert len(t) == 30 and t.endswith("Z")
    at = logs(keeper, "talk", f"?tail=all&since={t}")["lines"]
    assert at[0]["text"] == "line 101" and len(at) == 51
    assert logs(keeper, "talk", "?since=10m")["lines"] and logs(keeper, "talk", "?since=2020")["lines"]
    assert logs(keeper, "talk", "?since=0s")["lines"] == []
    for bad, word in (("tail=x", '"x"'), ("tail=-2", '"-2"'), ("since=2026-13", '"2026-13"'), ("since=yesterday", "yesterday")):
        a = keeper.call("GET", f"/v1/workloads/talk/logs?{bad}")
        assert a.status == 400 and word in a.json()["error"], a
    assert keeper.call("GET", "/v1/workloads/none/logs").status == 404
    keeper.remove("talk")


def test_logs_that_are_no_text(keeper):
    keeper.put("raw", sh(r"printf 'a\377b\000c\033[1m\n\n\303\244\n'; sleep 86400"))
    keeper.reaches("raw", "running")
    got = wait_for("its lines", lambda: (lambda t: t if len(t) >= 3 else None)([x["text"] for x in logs(keeper, "raw")["lines"]]))
    assert got == ["a�b\0c\033[1m", "", "ä"], got
    keeper.remove("raw")


def test_follow_and_go_on_after_a_restart(keeper):
    keeper.put("tick", sh("i=0; while :; do i=$((i+1)); echo $HOSTNAME $i; sleep 0.1; done"))
    keeper.reaches("tick", "running")
    s = Stream(keeper, "/v1/workloads/tick/logs?follow=true&tail=0")
    first = [s.event() for _ in range(5)]
    assert all(e["event"] == "line" and e["id"] == e["data"]["time"] for e in first)
    numbers = [int(e["data"]["text"].split()[1]) for e in first]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    s.close()
    # The client comes back: nothing is missing, nothing comes twice.
    s = Stream(keeper, "/v1/workloads/tick/logs?follow=true", last=first[-1]["id"])
    more = [s.event() for _ in range(5)]
    assert [int(e["data"]["text"].split()[1]) for e in more] == list(range(numbers[-1] + 1, numbers[-1] + 6))
    # The container ends: so does the log; after its restart it goes on behind the last id.
    started = keeper.get("tick")["started_at"]
    assert keeper.call("POST", "/v1/workloads/tick/action", {"action": "restart"}).status == 202
    rest, end = s.until("end")
    assert end["data"] == {"error": None} and s.event() is None
    last = (more + rest)[-1]
    wait_for("its restart", lambda: keeper.reaches("tick", "running")["started_at"] != started)
    s = Stream(keeper, "/v1/workloads/tick/logs?follow=true", last=last["id"])
    after = [s.event() for _ in range(3)]
    assert [int(e["data"]["text"].split()[1]) for e in after] == [1, 2, 3], after
    s.close()
    keeper.remove("tick")
    s = keeper.call("GET", "/v1/workloads/tick/logs?follow=true")
    assert s.status == 404


def rss(process):
    with open(f"/proc/{process.pid}/status") as f:
        return int(next(l for l in f if l.startswith("VmRSS:")).split()[1])


def test_a_slow_reader_costs_no_memory(keeper):
    """30 MB of log, of which a client reads nothing for a while, then everything."""
    keeper.put("flood", sh("yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -n 420000; sleep 86400"))
    keeper.reaches("flood", "running")
    before = rss(keeper.gantryd)
    s = socket.create_connection(("127.0.0.1", keeper.port), timeout=patient(30))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.sendall(b"GET /v1/workloads/flood/logs?follow=true&tail=all HTTP/1.1\r\nHost: localhost\r\n\r\n")
    most = 0
    for _ in range(30):
        time.sleep(0.1)
        most = max(most, rss(keeper.gantryd))
    if not SANITIZED:
        assert most - before < 6 << 10, f"{before} kB, then {most} kB"
    seen, rest = 0, b""
    while seen < 420000:
        got = s.recv(1 << 20)
        assert got, f"cut after {seen} lines"
        rest = rest[-10:] + got  # a word that is cut in two counts, and none counts twice
        seen += rest.count(b"event: line")
    s.close()
    if not SANITIZED:
        assert rss(keeper.gantryd) - before < 8 << 10
    # As one answer: the end, cut at 8 MiB.
    a = keeper.call("GET", "/v1/workloads/flood/logs?tail=all")
    d = a.json()
    assert d["cut"] is True and 7 << 20 < len(a.body) < 9 << 20 and d["lines"][-1]["text"].startswith("0123")
    keeper.remove("flood")


def test_stats(keeper):
    a = keeper.call("GET", "/v1/workloads/box/stats")
    assert a.status == 200, a
    u = a.json()
    assert u["source"] == "docker" and 0 < u["memory_bytes"] < 64 << 20 and u["cpu_percent"] >= 0, u
    keeper.put("busy", sh("while :; do :; done"))
    keeper.reaches("busy", "running")
    u = wait_for("some use of CPU", lambda: (lambda u: u if u.get("cpu_percent", 0) > 5 else None)(keeper.call("GET", "/v1/workloads/busy/stats").json()))
    assert u["cpu_percent"] < 220
    keeper.put("busy", {**sh("while :; do :; done"), "desired_state": "stopped"})
    keeper.reaches("busy", "stopped")
    a = keeper.call("GET", "/v1/workloads/busy/stats")
    assert a.status == 409 and "not running" in a.json()["error"], a
    assert keeper.call("GET", "/v1/workloads/none/stats").status == 404
    keeper.remove("busy")


def run(k, *command, **more):
    return k.call("POST", "/v1/workloads/box/exec", {"command": list(command), **more})


def test_exec(keeper):
    a = run(keeper, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert a.status == 200 and a.json() == {"exit_code": 3, "stdout": "out\n", "stderr": "err\n", "truncated": False}, a
    a = run(keeper, "sh", "-c", "id -u; pwd; echo $A", user="1000", env={"A": "b c"}, working_dir="/tmp")
    assert a.json()["stdout"] == "1000\n/tmp\nb c\n", a
    a = run(keeper, "sh", "-c", r"printf '\377'; yes | head -c 3000000")
    d = a.json()
    assert d["truncated"] and d["stdout"].startswith("�y") and len(d["stdout"]) == 1 << 20 and d["exit_code"] == 0
    t = time.monotonic()
    a = run(keeper, "sleep", "300", timeout=1)
    assert a.status == 504 and "1 s" in a.json()["error"] and time.monotonic() - t < 50, a  # nor the minute that it is by default
    a = run(keeper, "no-such-program")
    assert (a.status == 200 and a.json()["exit_code"] in (126, 127)) or a.status >= 400, a
    for body, status in (({"command": []}, 400), ({"command": ["a\0b"]}, 400), ({}, 422), ({"command": ["a"], "timeout": 0}, 400),
                         ({"command": ["x"] * 300}, 413), ({"command": ["a"], "env": {"A=": "b"}}, 400)):
        a = keeper.call("POST", "/v1/workloads/box/exec", body)
        assert a.status == status, (body, a)
    assert keeper.call("POST", "/v1/workloads/none/exec", {"command": ["a"]}).status == 404
    records = keeper.call("GET", "/audit?n=100").json()["records"]
    told = [r for r in records if r["path"] == "/v1/workloads/box/exec"]
    assert any(r["detail"] == "sleep 300" and r["name"] == "box" and r["status"] == 504 for r in told), told


class Shell:
    def __init__(self, k, *command, **query):
        pairs = [("command", c) for c in command] + [(a, str(b).lower()) for a, b in query.items()]
        self.url = f"ws://127.0.0.1:{k.port}/v1/workloads/box/exec?{urllib.parse.urlencode(pairs)}"
        self.out = {STDOUT: b"", STDERR: b""}
        self.exit = None

    async def __aenter__(self):
        self.ws = await websockets.connect(self.url, subprotocols=["gantry.v1"], max_size=None, **PATIENT)
        assert self.ws.subprotocol == "gantry.v1"
        return self

    async def __aexit__(self, *a):
        await self.ws.close()

    async def send(self, channel, data=b""):
        await self.ws.send(bytes([channel]) + data)

    async def one(self):
        m = await asyncio.wait_for(self.ws.recv(), patient(20))
        assert isinstance(m, bytes) and m
        if m[0] == EXIT:
            self.exit = json.loads(m[1:])
        else:
            self.out[m[0]] += m[1:]

    async def until(self, text, channel=STDOUT):
        while text not in self.out[channel]:
            await self.one()

    async def end(self):
        while self.exit is None:
            await self.one()
        with pytest.raises(websockets.ConnectionClosed) as e:
            await asyncio.wait_for(self.ws.recv(), patient(20))
        assert e.value.code == 1000
        return self.exit


def test_shell_streams_and_exit(keeper):
    async def go():
        async with Shell(keeper, "sh", "-c", "read a; echo got $a; echo bad >&2; cat | wc -c; exit 5", interactive=True) as s:
            await s.send(STDIN, b"hello\n")
            await s.until(b"got hello\n")
            for _ in range(32):
                await s.send(STDIN, b"x" * 32768)
            await s.send(STDIN)
            assert await s.end() == {"exit_code": 5, "error": None}
            assert s.out == {STDOUT: b"got hello\n1048576\n", STDERR: b"bad\n"}
    asyncio.run(go())


def test_shell_terminal(keeper):
    async def go():
        async with Shell(keeper, "sh", tty=True, interactive=True, rows=31, columns=77) as s:
            until = b"until [ \"$(stty size)\" = \"%s\" ]; do sleep 0.1; done; echo now $((%d + 1))\n"
            await s.send(STDIN, until % (b"31 77", 6))  # the size comes a moment after the program
            await s.until(b"now 7")
            await s.send(SIZE, json.dumps({"rows": 40, "columns": 100}).encode())
            await s.send(STDIN, until % (b"40 100", 7))
            await s.until(b"now 8")
            await s.send(STDIN, b"exit 4\n")
            assert (await s.end())["exit_code"] == 4
    asyncio.run(go())


def processes(k, word):
    return [l for l in k.engine.docker("top", "box").splitlines() if word in l]


def test_the_client_leaves(keeper):
    async def go():
        async with Shell(keeper, "sh", "-c", "echo begun; exec cat -u", interactive=True) as s:
            await s.until(b"begun")
            assert processes(keeper, "cat -u")
            s.ws.transport.abort()
    asyncio.run(go())
    wait_for("its program ends", lambda: not processes(keeper, "cat -u"))


def test_back_pressure_both_ways(keeper):
    async def go():
        before = rss(keeper.gantryd)
        # 64 MB that the client does not read at first
        async with Shell(keeper, "sh", "-c", "yes 0123456789 | head -c 64000000") as s:
            await asyncio.sleep(1.5)
            grown = rss(keeper.gantryd) - before
            n = 0
            while True:
                m = await asyncio.wait_for(s.ws.recv(), patient(30))
                if m[0] == EXIT:
                    break
                n += len(m) - 1
            assert n == 64000000
        # 16 MB that the program does not read at first
        async with Shell(keeper, "sh", "-c", "sleep 2; wc -c", interactive=True) as s:
            async def feed():
                for _ in range(500):
                    await s.send(STDIN, b"y" * 32000)
                await s.send(STDIN)
            feeding = asyncio.create_task(feed())
            await asyncio.sleep(1)
            grown = max(grown, rss(keeper.gantryd) - before)
            await feeding
            await s.end()
            assert s.out[STDOUT] == b"16000000\n"
        if not SANITIZED:
            assert grown < 8 << 10, f"{grown} kB"
    asyncio.run(go())


def test_shell_refusals(keeper):
    def refused(path, **headers):
        async def go():
            async with websockets.connect(f"ws://127.0.0.1:{keeper.port}{path}", **headers, **PATIENT):
                pass
        with pytest.raises(websockets.InvalidStatusCode) as e:
            asyncio.run(go())
        return e.value.status_code
    assert refused("/v1/workloads/none/exec?command=sh") == 404
    assert refused("/v1/workloads/box/exec") == 400
    assert refused("/v1/workloads/box/exec?command=") == 400
    assert refused("/v1/workloads/box/exec?command=sh&tty=perhaps") == 400
    assert refused("/v1/workloads/box/exec?command=sh&rows=70000") == 400
    assert refused("/v1/workloads/box/exec?" + "&".join(["command=x"] * 300)) == 413
    assert refused("/v1/workloads/box/exec?command=sh", origin="http://evil.example") == 403

    async def closed(send):
        async with Shell(keeper, "cat", interactive=True) as s:
            await s.ws.send(send)
            with pytest.raises(websockets.ConnectionClosed) as e:
                await asyncio.wait_for(s.ws.recv(), patient(20))
            return e.value.code
    for send, code in (("text", 1003), (b"", 1003), (b"\x09x", 1008), (b"\x03{", 1008), (b"\x03{\"rows\":0,\"columns\":1}", 1008),
                       (b"\0" + b"x" * 70000, 1009)):
        assert asyncio.run(closed(send)) == code, send


def test_events_as_a_list(keeper):
    a = keeper.call("GET", "/v1/events?follow=false&kind=workload&name=box")
    d = a.json()
    assert a.status == 200 and d["events"] and all(e["name"] == "box" for e in d["events"]), a
    cursor = d["cursor"]
    a = keeper.call("GET", f"/v1/events?follow=false&after={cursor}")
    assert a.status == 200 and len(a.json()["events"]) < 5
    keeper.put("ev-1", SLEEPER)
    keeper.reaches("ev-1", "running")
    d = keeper.call("GET", f"/v1/events?follow=false&after={cursor}&kind=workload").json()
    assert {e["name"] for e in d["events"]} == {"ev-1"} and any(e.get("to") == "running" for e in d["events"]), d
    assert keeper.call("GET", "/v1/events?follow=false&after=rubbish").status == 400
    assert keeper.call("GET", "/v1/events?follow=false&after=0000000000000000-1").json()["events"], "of another boot: all"
    keeper.remove("ev-1")


def test_stopping_ends_streams_and_programs(own_keeper):
    k = own_keeper.begin()
    k.put("box", SLEEPER)
    k.reaches("box", "running")

    async def go():
        async with Shell(k, "cat", interactive=True) as s:
            stream = Stream(k, "/v1/workloads/box/logs?follow=true")
            k.stop_gantryd()
            assert stream.event() is None, "cut, not ended: it can go on"
            with pytest.raises(websockets.ConnectionClosed) as e:
                await asyncio.wait_for(s.ws.recv(), patient(20))
            assert e.value.code == 1012
    asyncio.run(go())
    k.start_gantryd()
    k.remove("box")


@pytest.fixture
def own_keeper(tmp_path, engine):
    k = Keeper(tmp_path, engine)
    yield k
    k.stop()
    k.check_clean()

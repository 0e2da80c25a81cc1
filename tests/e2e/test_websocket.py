"""Log WebSockets, with a public client library: contract talos.md, 2.1, pushed instead of polled."""
import asyncio
import json
import os
import re
import signal
import subprocess
import time

import pytest
import websockets

from harness import patient, wait_for, websocket

LOGS = "/ws/containers/robot/services/{}/logs"


def run(coro, seconds=60):
    return asyncio.run(asyncio.wait_for(coro, patient(seconds)))


def connect(stack, path, **kw):
    return websocket(f"ws://127.0.0.1:{stack.port}{path}", **kw)


async def frame(ws):
    return json.loads(await asyncio.wait_for(ws.recv(), patient(20)))


def ticks(text):
    return [int(n) for n in re.findall(r"^tick (\d+)$", text, re.M)]


def test_first_chunk_holds_the_last_hundred_lines(stack):
    async def go():
        async with connect(stack, LOGS.format("idle")) as ws:
            f = await frame(ws)
            assert f["type"] == "logs" and f["data"] == "".join(f"line {i}\n" for i in range(201, 301))
    run(go())


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_lines_are_pushed_in_order(stack, compression):
    async def go():
        async with connect(stack, LOGS.format("ticker"), compression=compression) as ws:
            text = ""
            while len(ticks(text)) < 30 or text.count("\n") < 130:
                f = await frame(ws)
                assert list(f) == ["type", "data"] and f["type"] == "logs"
                text += f["data"]
                if len(ticks(text)) > 15 and text.count("\n") > 15:
                    break
            n = ticks(text)
            assert n == list(range(n[0], n[0] + len(n)))
    run(go())


def test_all_viewers_share_one_upstream(own_stack):
    st = own_stack.start()

    def upstreams():
        out = subprocess.run(["ss", "-xH", "state", "established"], capture_output=True, text=True).stdout
        return sum(1 for l in out.splitlines() if st.agent_sock in l)

    async def go():
        before = upstreams()
        views = [await connect(st, LOGS.format("ticker")) for _ in range(50)]
        texts = [""] * 50
        texts[0] = (await frame(views[0]))["data"]
        last = ticks(texts[0])[-1] + 30

        async def read(i):
            while not texts[i] or ticks(texts[i])[-1] < last:
                texts[i] += (await frame(views[i]))["data"]
        await asyncio.gather(*(read(i) for i in range(50)))
        assert upstreams() - before <= 2, "each viewer has an upstream of its own"
        for t in texts:
            n = ticks(t)
            assert n == list(range(n[0], n[0] + len(n))) and last in n
        for v in views:
            await v.close()
        end = time.monotonic() + patient(10)
        while upstreams() > before + 1 and time.monotonic() < end:  # one idle pooled connection may stay
            await asyncio.sleep(0.1)
        assert upstreams() <= before + 1, "viewers that left still cost something"
    run(go())


def test_unknown_container(stack):
    async def go():
        async with connect(stack, "/ws/containers/nope/services/x/logs") as ws:
            assert await frame(ws) == {"type": "error", "data": "Container 'nope' not found"}
            with pytest.raises(websockets.ConnectionClosed) as e:
                await ws.recv()
            assert e.value.code == 1000
    run(go())


def test_failed_first_fetch_is_told_and_recovers(own_stack):
    st = own_stack.start()
    st.stop_agent()

    async def go():
        async with connect(st, LOGS.format("idle")) as ws:
            f = await frame(ws)
            assert f["type"] == "error" and f["data"].startswith("Failed to fetch initial logs: ")
            st.start_agent()
            f = await frame(ws)
            assert f["type"] == "logs" and f["data"].endswith("line 300\n")
    run(go())


def test_agent_restart_loses_and_repeats_nothing(own_stack):
    st = own_stack.start()

    async def go():
        async with connect(st, LOGS.format("ticker")) as ws:
            text = (await frame(ws))["data"]
            for _ in range(2):
                for _ in range(5):
                    text += (await frame(ws))["data"]
                await asyncio.to_thread(st.stop_agent, signal.SIGKILL)
                await asyncio.sleep(1)
                await asyncio.to_thread(st.start_agent)
            until = ticks(text)[-1] + 30
            while ticks(text)[-1] < until:
                f = await frame(ws)
                if f["type"] == "logs":
                    text += f["data"]
            n = ticks(text)
            assert n == list(range(n[0], n[0] + len(n)))
    run(go())


def test_last_words_of_a_stopping_service_arrive(own_stack):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    d = st.tree.add("last", "trap 'echo goodbye; exit 0' TERM; echo hello; while :; do sleep 0.05; done", supervise=False)
    (d / "log").mkdir()
    (d / "log" / "run").write_text(f"#!/bin/sh\nexec s6-log -b {st.tree.logs}/last\n")
    (d / "log" / "run").chmod(0o755)
    st.tree.ctl("-a")
    wait_for("hello", lambda: (st.tree.logs / "last" / "current").exists()
             and "hello" in (st.tree.logs / "last" / "current").read_text())
    st.start_agent()
    st.start_gantryd()

    async def go():
        async with connect(st, LOGS.format("last")) as ws:
            text = (await frame(ws))["data"]
            assert "hello" in text
            await asyncio.to_thread(st.ask, "POST", "/containers/robot/services/last", {"action": "down"})
            while "goodbye" not in text:
                text += (await frame(ws))["data"]
    run(go())


def test_bad_bytes_do_not_break_the_stream(stack):
    async def go():
        async with connect(stack, LOGS.format("utf8bad")) as ws:
            assert (await frame(ws))["data"] == "ok \ufffd\ufffd bad\nnext\n"
    run(go())


def test_viewer_that_cannot_keep_up_is_cut_and_others_are_not(own_stack):
    st = own_stack
    st.extra_config = "  limits:\n    ws_queue: 64k\n"
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    (st.tree.logs / "flood").mkdir()
    cur = st.tree.logs / "flood" / "current"
    cur.write_text("start\n")
    st.start_agent()
    st.start_gantryd()

    async def go():
        slow = await connect(st, LOGS.format("flood"), compression=None, max_queue=1, read_limit=1024, ping_interval=None)
        fast = await connect(st, LOGS.format("flood"), compression=None, max_size=None)
        await frame(slow)
        await frame(fast)
        slow.transport.pause_reading()
        got = 0
        line = "x" * 199 + "\n"
        for _ in range(200):
            with open(cur, "a") as f:
                f.write(line * 250)
            want = 250 * len(line)
            while want > 0:
                want -= len((await frame(fast))["data"])
            got += 250
        assert got == 50_000
        slow.transport.resume_reading()
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await asyncio.wait_for(slow.recv(), patient(20))
        await fast.close()
    run(go(), 120)


def test_departed_viewers_do_not_keep_the_process(own_stack):
    own_stack.extra_config = "shutdown: {limit: 1h}\n"
    st = own_stack.start()

    async def go():
        views = [await connect(st, LOGS.format("normally-down")) for _ in range(10)]
        for v in views:
            v.transport.abort()
    run(go())
    assert st.stop_gantryd() == 0


def test_plain_get_and_other_paths(stack):
    assert stack.get(LOGS.format("idle")).json() == {"detail": "Not Found"}

    async def go():
        for path in ("/ws/nope", "/ws/containers/robot"):
            with pytest.raises(websockets.InvalidStatusCode) as e:
                await connect(stack, path)
            assert e.value.status_code == 403
    run(go())


def test_foreign_origin_is_refused(stack):
    async def go():
        with pytest.raises(websockets.InvalidStatusCode) as e:
            await connect(stack, LOGS.format("idle"), origin="http://evil.example")
        assert e.value.status_code == 403
        async with connect(stack, LOGS.format("idle"), origin="http://localhost:3000") as ws:
            assert (await frame(ws))["type"] == "logs"
    run(go())


def test_too_large_message_and_ping(stack):
    async def go():
        async with connect(stack, LOGS.format("idle"), ping_interval=None) as ws:
            await frame(ws)
            await asyncio.wait_for(await ws.ping(), patient(20))
            await ws.send("ignored")
            with pytest.raises(websockets.ConnectionClosed) as e:
                await ws.send("x" * (1 << 20))
                await asyncio.wait_for(ws.recv(), patient(20))
            assert e.value.code == 1009
    run(go())


def test_bad_handshakes(stack):
    base = {"Host": f"127.0.0.1:{stack.port}", "Connection": "Upgrade", "Upgrade": "websocket"}
    r = stack.get(LOGS.format("idle"), headers={**base, "Sec-WebSocket-Version": "12", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert r.status in (400, 426)
    r = stack.get(LOGS.format("idle"), headers={**base, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"})
    assert r.status == 400

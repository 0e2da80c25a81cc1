"""Services of containers in /v1/events and /v1/explain: real s6, a real agent, and one like Talos's."""
import http.server
import json
import os
import signal
import socketserver
import subprocess
import threading
import time

import pytest

import harness
from harness import patient, wait_for
from test_workloads_live import Stream


@pytest.fixture
def st(own_stack):
    own_stack.start()
    own_stack.tree.add("worker", "exec sleep 86400")
    own_stack.tree.add("fragile", "if [ -e ./crash ]; then sleep 0.3; exit 7; fi\nexec sleep 86400")
    return own_stack


def kept(st, query=""):
    return st.get(f"/v1/events?follow=false&kind=service{query}").json()["events"]


def snapshot(s):
    events, live = s.until("live")
    assert events and all(e["event"] == "snapshot" for e in events)
    return {v["name"]: v for e in events for v in e["data"]["services"]}, live


def known(st, name, state):
    def look():
        s = Stream(st, "/v1/events?kind=service")
        got, _ = snapshot(s)
        s.close()
        v = got.get(name)
        return v if v and v["state"] == state and not v["stale"] else None
    return wait_for(f"{name} {state}", look)


def next_of(s, name, **want):
    """The next event of a service."""
    end = time.monotonic() + patient(20)
    while time.monotonic() < end:
        e = s.event()
        assert e, "the stream ended"
        d = e["data"]
        if e["event"] == "service" and d["name"] == name and all(d.get(k) == v for k, v in want.items()):
            return d
    raise AssertionError(f"no event of {name} with {want}")


def test_up_down_and_crash(st):
    v = known(st, "robot/worker", "up")
    assert v["message"].startswith("up (pid ") and v["since"].endswith("Z")
    known(st, "robot/fragile", "up")
    s = Stream(st, "/v1/events?kind=service")
    first, live = snapshot(s)
    assert {"robot/worker", "robot/fragile"} <= set(first) and live["id"] == live["data"]["cursor"]
    st.ask("POST", "/containers/robot/services/worker", {"action": "down"})
    d = next_of(s, "robot/worker", type="state")
    assert d["from"] == "up" and d["to"] == "down" and d["reason"] == "signal SIGTERM" and d["message"].startswith("down (signal SIGTERM"), d
    st.ask("POST", "/containers/robot/services/worker", {"action": "up"})
    d = next_of(s, "robot/worker", type="state")
    assert d["from"] == "down" and d["to"] == "up" and "reason" not in d, d
    # It dies of itself, and its supervisor brings it back.
    os.kill(pid_of(st, "worker"), signal.SIGKILL)
    d = next_of(s, "robot/worker", type="state")
    assert d["reason"] in ("signal SIGKILL", "restart"), d
    if d["to"] == "down":
        assert next_of(s, "robot/worker", type="state")["to"] == "up"
    # It cannot live.
    (st.tree.scandir / "fragile" / "crash").write_text("")
    os.kill(pid_of(st, "fragile"), signal.SIGKILL)
    d = next_of(s, "robot/fragile", type="state", reason="exitcode 7")
    assert d["to"] == "down", d
    s.close()
    # Kept for those who come later, with filters; and a stream goes on where it was.
    went = [e["to"] for e in kept(st, "&name=robot/worker&type=state")]
    went = went[went.index("down"):]  # it may have been seen coming up at first
    assert went[:2] == ["down", "up"], went
    assert {e["name"] for e in kept(st, "&reason=exitcode%207")} == {"robot/fragile"}
    s = Stream(st, "/v1/events?kind=service&name=robot/worker", last=live["id"])
    assert s.event()["data"]["to"] == "down"
    s.close()


def pid_of(st, name):
    return st.ask_agent("GET", f"/services/{name}/status").json()["pid"]


def explain(st, name):
    a = st.get(f"/v1/explain/service/robot/{name}")
    assert a.status == 200, a
    return a.json()


def test_explain_tells_what_is_so(st):
    known(st, "robot/fragile", "up")
    x = wait_for("it is up", lambda: (lambda x: x if x["is"].startswith("running") else None)(explain(st, "worker")))
    assert x["id"] == "robot/worker" and x["should_be"] == "running" and x["why"] == "it is as it should be" and x["next"] == "nothing"
    st.ask("POST", "/containers/robot/services/worker", {"action": "down"})
    x = wait_for("it is down", lambda: (lambda x: x if x["is"].startswith("not running") else None)(explain(st, "worker")))
    assert x["should_be"] == "not running" and "SIGTERM" in x["why"] and x["asked_by"].startswith("somebody stopped it"), x
    x = explain(st, "normally-down")
    assert x["should_be"] == "not running" and "never started" in x["why"] and x["asked_by"] == "its service directory", x
    # It ends at once, again and again.
    (st.tree.scandir / "fragile" / "crash").write_text("")
    os.kill(pid_of(st, "fragile"), signal.SIGKILL)
    x = wait_for("it fails", lambda: (lambda x: x if "exit code 7" in x["why"] else None)(explain(st, "fragile")))
    assert x["should_be"] == "running" and x["next"].startswith("its supervisor starts it again"), x
    # Its finish script gives up.
    finish = st.tree.scandir / "fragile" / "finish"
    finish.write_text("#!/bin/sh\nexit 125\n")
    finish.chmod(0o755)
    x = wait_for("it is given up", lambda: (lambda x: x if x["should_be"] == "not running" else None)(explain(st, "fragile")))
    assert "finish script gave up" in x["why"] and "exit code 7" in x["why"] and x["next"] == "nothing, until somebody starts it", x


def test_a_service_comes_and_goes(st):
    known(st, "robot/worker", "up")
    s = Stream(st, "/v1/events?kind=service&name=robot/late")
    snapshot(s)
    st.tree.add("late", "exec sleep 86400")
    d = next_of(s, "robot/late")
    assert d["type"] == "appeared" and d["to"] in ("up", "down"), d
    s.close()


def test_the_agent_is_started_anew(st):
    known(st, "robot/worker", "up")
    s = Stream(st, "/v1/events?kind=service")
    snapshot(s)
    st.stop_agent()

    def stale():
        t = Stream(st, "/v1/events?kind=service")
        got, _ = snapshot(t)
        t.close()
        return got["robot/worker"]["stale"]
    wait_for("nothing is heard of it", stale)
    subprocess.run(["s6-svc", "-d", str(st.tree.scandir / "worker")], check=True)
    st.start_agent()
    d = next_of(s, "robot/worker", type="state")
    assert d["from"] == "up", d
    s.close()
    wait_for("all is heard again", lambda: not stale())
    assert not any(e["type"] == "removed" for e in kept(st))


def test_the_configuration_changes(st):
    known(st, "robot/worker", "up")
    s = Stream(st, "/v1/events?kind=service")
    snapshot(s)
    path = st.root / "config.yml"
    path.write_text(path.read_text().replace("  robot:", "  other:"))
    os.kill(st.gantryd.pid, signal.SIGHUP)
    seen = set()
    while ("other/worker", "appeared") not in seen or ("robot/worker", "removed") not in seen:
        d = s.event()["data"]
        seen.add((d["name"], d["type"]))
    s.close()
    t = Stream(st, "/v1/events?kind=service")
    got, _ = snapshot(t)
    t.close()
    assert got and all(n.startswith("other/") for n in got)


class TalosLike:
    """An agent that knows no streams: it only answers what all services are."""

    def __init__(self, path):
        self.asked, self.up, outer = 0, True, self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self):
                return "unix"

            def log_message(self, *a):
                pass

            def do_GET(self):
                if self.path == "/services/status":
                    outer.asked += 1
                    raw = "up (pid 7) 5 seconds" if outer.up else "down (exitcode 3) 1 seconds, normally up"
                    body, status = {"statuses": [{"name": "old", "raw": raw, "is_up": outer.up, "pid": 7 if outer.up else None,
                                                  "uptime_seconds": 5}]}, 200
                elif self.path == "/services/events":
                    body, status = {"detail": "Method Not Allowed"}, 405
                else:
                    body, status = {"detail": "Not Found"}, 404
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
        self.server = Server(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_an_agent_without_events_is_asked_only_for_readers(tmp_path):
    st = harness.Stack(tmp_path)
    st.sockets.mkdir(parents=True, exist_ok=True)
    old = TalosLike(st.agent_sock)
    try:
        st.start_gantryd()
        time.sleep(7)
        assert old.asked == 0, "nobody reads events"
        s = Stream(st, "/v1/events?kind=service")
        snapshot(s)
        d = next_of(s, "robot/old", type="appeared")
        assert d["to"] == "up", d
        old.up = False
        d = next_of(s, "robot/old", type="state")
        assert d["to"] == "down" and d["reason"] == "exitcode 3", d
        s.close()
        time.sleep(6)
        asked = old.asked
        time.sleep(6)
        assert old.asked <= asked + 1, "nobody reads any more"
    finally:
        st.stop()
        old.stop()


def test_idle_costs_nearly_nothing(st):
    """Between two seconds nothing happens: gantryd and the agent take next to no CPU time."""
    known(st, "robot/worker", "up")

    def cpu_ns(pid):
        return sum(int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0]) for t in os.listdir(f"/proc/{pid}/task"))
    limit = 0.02 if harness.SANITIZED else 0.004
    for _ in range(4):  # what was before may have its end in the first, and others slow down this machine's processors
        time.sleep(1)
        before = cpu_ns(st.gantryd.pid), cpu_ns(st.agent.pid)
        time.sleep(8)
        used = [(n - o) / 8e9 for o, n in zip(before, (cpu_ns(st.gantryd.pid), cpu_ns(st.agent.pid)))]
        if max(used) <= limit:
            break
    # The budget of an idle machine is a thousandth; tests share theirs with other tests, and sanitizers cost several times as much.
    assert max(used) <= limit, used

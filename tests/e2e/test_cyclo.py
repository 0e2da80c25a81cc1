"""The paths of cyclo_manager (contract talos.md, 1.10) beside those of Talos, as its client uses them."""
import asyncio
import http.server
import json
import pathlib
import shlex
import socketserver
import subprocess
import threading
import time

import pytest
import websockets

from harness import Stack, patient, raw, wait_for, websocket

IMAGE = "busybox:local"
XML = '<?xml version="1.0"?>\n<package format="3">\n  <name>ffw</name>\n  <version compatibility="1.1.0"> 1.4.2 </version>\n</package>\n'


class OddAgent(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An agent whose answer is told by the service's name."""
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        answers = {
            "teapot": (418, b'{"error":"I am a teapot","detail":null}'),
            "detail": (409, b'{"detail":"no error member"}'),
            "plain": (500, b"Internal Server Error"),
            "faults": (422, b'{"detail":[{"loc":["body"]}]}'),
            "empty": (502, b""),
            "moved": (307, b""),
            "text": (200, b"not json"),
            "list": (200, b"[]"),
            "types": (200, b'{"pid":"x"}'),
            "long": (400, b'{"error":"' + b"x" * 3000 + b'"}'),
        }

        def do_GET(self):
            parts = self.path.split("/")
            status, body = self.answers.get(parts[2] if len(parts) > 2 else "", (200, b'{"services":["a"]}'))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 307:
                self.send_header("Location", "http://evil.example/")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = b'{"result":"ok"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self):
            return "unix"

        def log_message(self, *args):
            pass

    def __init__(self, path):
        super().__init__(path, self.Handler)
        self.bodies = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class CycloStack(Stack):
    more_containers = ""

    def config(self):
        odd = f'  odd:\n    socket_path: "{self.sockets}/odd.sock"\n'
        return super().config().replace("containers:\n", "containers:\n" + odd + self.more_containers, 1)

    def start_agent(self, **kw):
        self.run_dir = self.root / "run"
        self.run_dir.mkdir(exist_ok=True)
        super().start_agent(args=("--run-dir", str(self.run_dir)), **kw)


@pytest.fixture(scope="module")
def cyclo(engine, tmp_path_factory):
    """Services by the robot's agent, and the containers of an engine."""
    st = CycloStack(tmp_path_factory.mktemp("cyclo"))
    st.docker_socket = engine.socket
    st.more_containers = f'  ai_worker:\n    socket_path: "{st.sockets}/nobody.sock"\n' \
        '    repo_version:\n      package_xml_path: "/root/package.xml"\n      github_releases_api: "http://nowhere.invalid/"\n'
    st.start()
    st.odd = OddAgent(f"{st.sockets}/odd.sock")
    st.tree.add("ai_worker_bringup", "exec sleep 86400")
    d = engine.docker
    d("run", "-d", "--name", "cy_run", IMAGE, "sh", "-c", 'trap "exit 0" TERM; echo hello; while :; do sleep 0.1; done')
    d("run", "-d", "--name", "cy_stopped", IMAGE, "true")
    for name in ("ai_worker", "ai-worker"):
        d("run", "-d", "--name", name, IMAGE, "sleep", "86400")
    d("exec", "-i", "ai_worker", "sh", "-c", "cat > /root/package.xml", input=XML.encode())
    wait_for("the engine seen", lambda: st.get("/docker/containers").status == 200)
    yield st
    st.odd.shutdown()
    st.odd.server_close()
    st.stop()
    st.check_clean()


def error(answer):
    d = answer.json()
    assert list(d) == ["error", "detail"] and d["detail"] is None
    return d["error"]


# --- services ---

def test_services_have_their_ids_as_labels(cyclo):
    d = cyclo.get("/robot/services").json()
    assert list(d) == ["container", "services"] and d["container"] == "robot"
    assert {"id": "ticker", "label": "ticker"} in d["services"]
    s = cyclo.get("/robot/services/ticker/status").json()
    assert list(s) == ["container", "service", "service_label", "name", "raw", "is_up", "pid", "uptime_seconds"]
    assert (s["service_label"], s["is_up"]) == ("ticker", True)
    all_of = cyclo.get("/robot/services/status").json()
    assert {x["service_label"] for x in all_of["statuses"]} >= {"ticker", "idle"}
    # and Talos' paths have theirs as before
    assert cyclo.get("/containers/robot/services/ticker/status").json()["service_label"] == "Ticker demo"


def test_control_logs_and_run(cyclo):
    r = cyclo.ask("POST", "/robot/services/idle", {"action": "restart", "launch_args": None, "robot_type": None})
    assert r.json() == {"container": "robot", "service": "idle", "action": "restart", "result": "ok"}
    logs = cyclo.get("/robot/services/idle/logs?tail=2").json()
    assert logs == {"container": "robot", "service": "idle", "logs": "line 299\nline 300\n", "tail": 2,
                    "log_path": f"{cyclo.tree.logs}/idle/current"}
    run = cyclo.get("/robot/services/ticker/run").json()
    assert list(run) == ["container", "service", "path", "content"]
    new = run["content"] + "# by cyclo\n"
    assert cyclo.ask("PUT", "/robot/services/ticker/run", {"content": new}).json()["content"] == new
    assert cyclo.ask("PUT", "/robot/services/ticker/run", {"content": " \n"}).status == 400
    assert list(cyclo.ask("DELETE", "/robot/services/ticker/logs").json()) == ["container", "service", "message", "log_path"]


def test_errors_of_the_agent_keep_their_status(cyclo):
    for path, status, text in [
            ("/robot/services/none/status", 404, "Agent error for container 'robot': Service 'none' not found"),
            ("/robot/services/%2e%2e/status", 404, "Agent error for container 'robot': Service '..' not found"),
            ("/nobody/services", 404, "Container 'nobody' not found"),
            ("/missing/services", 503, "Failed to communicate with agent: [Errno 2] No such file or directory"),
            ("/odd/services/teapot/status", 418, "Agent error for container 'odd': I am a teapot"),
            ("/odd/services/detail/status", 409, "Agent error for container 'odd': no error member"),
            ("/odd/services/plain/run", 500, "Agent error for container 'odd': Internal Server Error"),
            ("/odd/services/faults/run", 422, "Agent error for container 'odd': {\"detail\":[{\"loc\":[\"body\"]}]}")]:
        r = cyclo.get(path)
        assert (r.status, error(r)) == (status, text), path
    assert cyclo.get("/odd/services/empty/run").status == 502
    moved = cyclo.get("/odd/services/moved/run")
    assert moved.status == 502 and "location" not in moved.headers and "307" in error(moved)
    for odd in ("text", "list", "types"):
        r = cyclo.get(f"/odd/services/{odd}/status")
        assert r.status == 500 and error(r).startswith("Internal error while processing service request: "), odd
    assert "Expecting value" in error(cyclo.get("/odd/services/text/status"))
    long = cyclo.get("/odd/services/long/status")
    assert long.status == 400 and 300 < len(error(long)) < 500
    # Talos' paths say 503 to all of that, as before
    for odd in ("teapot", "plain", "moved", "text", "list", "types"):
        assert cyclo.get(f"/containers/odd/services/{odd}/status").status == 503


def test_a_known_container_comes_before_valid_values(cyclo):
    assert cyclo.ask("POST", "/nobody/services/a", {"action": "kill"}).status == 404
    assert cyclo.ask("POST", "/nobody/services/a", "{", {"Content-Type": "application/json"}).status == 422
    assert cyclo.ask("POST", "/robot/services/a", {"action": "kill"}).status == 422
    for args in ([], "x", {"a": 1}, {"a": None}):
        r = cyclo.ask("POST", "/robot/services/idle", {"action": "up", "launch_args": args})
        assert r.status == 422 and isinstance(r.json()["detail"], list), args
    loc = cyclo.ask("POST", "/robot/services/idle", {"action": "up", "launch_args": {"a": "", "b": 1}}).json()["detail"][0]["loc"]
    assert loc == ["body", "launch_args", "b"]


def test_what_is_null_is_left_out(cyclo):
    for body, seen in [({"action": "up", "launch_args": None, "robot_type": None}, {"action": "up"}),
                       ({"action": "down", "robot_type": "sg2", "more": 1}, {"action": "down", "robot_type": "sg2"}),
                       ({"action": "up", "launch_args": {"z": "1", "a": "b c"}}, {"action": "up", "launch_args": {"z": "1", "a": "b c"}})]:
        assert cyclo.ask("POST", "/odd/services/a", body).status == 200
        assert cyclo.odd.bodies[-1] == seen
    assert list(cyclo.odd.bodies[-1]["launch_args"]) == ["z", "a"]
    cyclo.ask("POST", "/containers/odd/services/a", {"action": "up", "launch_args": {"z": "1"}})
    assert cyclo.odd.bodies[-1] == {"action": "up"}


# --- launch arguments and the robot's type ---

def launch(cyclo, service="idle", **body):
    return cyclo.ask("POST", f"/robot/services/{service}", {"action": "up", **body})


def test_launch_arguments_reach_a_shell_as_words(cyclo, tmp_path):
    args = {"model": "sg2", "use_sim": "true", "path": "/a/b_c-d.yaml", "names": "[a, 'b']", "evil": f"; touch {tmp_path}/evil; $(touch {tmp_path}/sub)",
            "quote": "it's", "empty": "", "utf8": "grün", "back": "\\ \" ` * ~ & | < >"}
    assert launch(cyclo, launch_args=args).status == 200
    path = cyclo.run_dir / "launch_args" / "idle"
    text = path.read_text()
    assert text.startswith("model:=sg2 use_sim:=true path:=/a/b_c-d.yaml names:='[a, '\\''b'\\'']' ") and "\n" not in text
    assert shlex.split(text) == [f"{k}:={v}" for k, v in args.items()]
    # as the run scripts in the images do it
    out = subprocess.run(["bash", "-c", 'A=$(cat "$0"); bash -c "printf \'%s\\n\' ${A}"', str(path)], capture_output=True, text=True)
    assert out.stdout.splitlines() == [f"{k}:={v}" for k, v in args.items()] and not list(tmp_path.iterdir())
    assert (path.stat().st_mode & 0o777) == 0o644
    # no member: the older file stays; down ignores it; an empty object takes it away
    assert launch(cyclo).status == 200 and path.read_text() == text
    assert cyclo.ask("POST", "/robot/services/idle", {"action": "down", "launch_args": {"a": "b"}}).status == 200
    assert path.read_text() == text
    assert launch(cyclo, launch_args={}).status == 200 and not path.exists()


def test_bad_launch_arguments_change_nothing(cyclo):
    for args in ({"a;b": "c"}, {"": "c"}, {"-x": "c"}, {"$(x)": "c"}, {"a": "line\nbreak"}, {"a": "nul\0"}, {"a": "x" * 5000},
                 {f"k{i}": "v" for i in range(65)}, {f"k{i}": "v" * 4000 for i in range(12)}, {"a b": "c"}):
        r = launch(cyclo, "normally-down", launch_args={"fine": "1", **args})
        assert r.status == 400 and "launch argument" in error(r), (args, r)
    assert not (cyclo.run_dir / "launch_args" / "normally-down").exists()
    assert cyclo.get("/robot/services/normally-down/status").json()["is_up"] is False
    assert launch(cyclo, "none", launch_args={"a b": "c"}).status == 404


def test_robot_type(cyclo):
    service, kind = "ai_worker_bringup", cyclo.run_dir / "robot_type"
    text = "Agent error for container 'robot': robot_type "
    for given in ({}, {"robot_type": None}, {"robot_type": "  "}):
        r = launch(cyclo, service, **given)
        assert (r.status, error(r)) == (400, text + "is required for ai_worker_bringup (up/restart). Use 'sg2', 'bg2', 'sh5', or 'bh5'.")
    r = launch(cyclo, service, robot_type="xx\n", launch_args={"a": "b"})
    assert (r.status, error(r)) == (400, text + "must be one of ['bg2', 'bh5', 'sg2', 'sh5'], got: 'xx'")
    assert not kind.exists() and not (cyclo.run_dir / "launch_args" / service).exists()
    assert launch(cyclo, service, robot_type=" SG2 ", launch_args={"a": "b"}).status == 200
    assert kind.read_text() == "sg2" and (cyclo.run_dir / "launch_args" / service).read_text() == "a:=b"
    assert cyclo.ask("POST", f"/robot/services/{service}", {"action": "down"}).status == 200
    assert launch(cyclo, "idle", robot_type="whatever").status == 200 and kind.read_text() == "sg2"


# --- the engine's containers ---

def test_docker_paths(cyclo):
    old, new = cyclo.get("/docker/containers/cy_run/status").json(), cyclo.get("/docker/cy_run/status").json()
    assert old == new and new["running"] is True
    wait_for("its first words", lambda: cyclo.get("/docker/cy_run/logs?tail=5").json()["logs"])
    logs = cyclo.get("/docker/cy_run/logs?tail=5").json()
    assert logs["container"] == "cy_run" and logs["tail"] == 5 and "hello" in logs["logs"]
    assert cyclo.ask("POST", "/docker/cy_run", {"action": "restart", "timeout": 2}).json() == \
        {"name": "cy_run", "action": "restart", "result": "ok"}
    for r in (cyclo.get("/docker/none/status"), cyclo.get("/docker/none/logs"), cyclo.ask("POST", "/docker/none", {"action": "stop"})):
        assert (r.status, error(r)) == (404, "Docker container 'none' not found")
    assert cyclo.get("/docker/%2e%2e/status").status == 404
    assert cyclo.ask("POST", "/docker/cy_run", {"action": "kill"}).status == 422


def test_bashrc(cyclo, engine):
    r = cyclo.get("/cy_run/bashrc")
    assert r.json() == {"container": "cy_run", "path": "/root/.bashrc", "content": ""}
    text = "export A='b'\r\n# ü\n" + "x" * 5000 + "\n"
    r = cyclo.ask("PUT", "/cy_run/bashrc", {"content": text})
    assert r.json() == {"container": "cy_run", "path": "/root/.bashrc", "content": text}
    assert cyclo.get("/cy_run/bashrc").json()["content"] == text
    assert engine.docker("exec", "cy_run", "stat", "-c", "%a %u %g %F", "/root/.bashrc").strip() == "644 0 0 regular file"
    # a link is replaced, not followed
    engine.docker("exec", "cy_run", "sh", "-c", "echo keep > /target; rm /root/.bashrc; ln -s /target /root/.bashrc")
    assert cyclo.ask("PUT", "/cy_run/bashrc", {"content": "new\n"}).status == 200
    assert engine.docker("exec", "cy_run", "cat", "/target", "/root/.bashrc") == "keep\nnew\n"
    for size in (512, 1024, 300_000):
        body = "y" * size
        assert cyclo.ask("PUT", "/cy_run/bashrc", {"content": body}).status == 200
        assert cyclo.get("/cy_run/bashrc").json()["content"] == body


def test_bashrc_of_a_stopped_container(cyclo):
    wait_for("it has ended", lambda: not cyclo.get("/docker/cy_stopped/status").json()["running"])
    r = cyclo.get("/cy_stopped/bashrc")
    assert r.status == 500 and error(r).startswith("409 Client Error") and "is not running" in error(r)
    assert cyclo.ask("PUT", "/cy_stopped/bashrc", {"content": "x\n"}).status == 200


def test_bashrc_refusals(cyclo, engine):
    for name in ("none", "%2e%2e", "a%3Fb", "a%20b"):
        for r in (cyclo.get(f"/{name}/bashrc"), cyclo.ask("PUT", f"/{name}/bashrc", {"content": "x"})):
            assert r.status == 404 and error(r).startswith("Docker container '"), name
    for blank in ("", " \n\t"):
        r = cyclo.ask("PUT", "/cy_run/bashrc", {"content": blank})
        assert (r.status, error(r)) == (400, "Content must not be empty")
    assert cyclo.ask("PUT", "/cy_run/bashrc", {}).status == 422
    assert cyclo.ask("PUT", "/cy_run/bashrc", {"content": "x" * (1 << 20)}).status == 413
    assert cyclo.ask("DELETE", "/cy_run/bashrc").headers["allow"] == "GET"
    # more than is shown; a folder in its place; no cat at all
    engine.docker("exec", "cy_run", "sh", "-c", "dd if=/dev/zero bs=1024 count=1025 2>/dev/null | tr '\\0' z > /root/.bashrc")
    r = cyclo.get("/cy_run/bashrc")
    assert r.status == 500 and "larger than 1048576 bytes" in error(r)
    engine.docker("exec", "cy_run", "sh", "-c", "rm /root/.bashrc; mkdir /root/.bashrc")
    assert cyclo.get("/cy_run/bashrc").json()["content"] == ""
    r = cyclo.ask("PUT", "/cy_run/bashrc", {"content": "x"})
    assert r.status == 500, r
    engine.docker("exec", "cy_run", "sh", "-c", "rmdir /root/.bashrc; mv /bin/cat /bin/cat.away")
    try:
        assert cyclo.get("/cy_run/bashrc").json()["content"] == ""
    finally:
        engine.docker("exec", "cy_run", "mv", "/bin/cat.away", "/bin/cat")


def test_many_at_once(cyclo):
    """Programs in a container are asked for side by side, and nothing of them stays."""
    out = []
    threads = [threading.Thread(target=lambda: out.append(cyclo.get("/ai_worker/bashrc").status)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert out == [200] * 8


# --- versions ---

def test_versions(cyclo):
    v = cyclo.get("/version").json()
    assert list(v) == ["current", "latest", "update_available"]
    assert v["current"] == cyclo.get("/").json()["version"] and v["latest"] == "unknown" and v["update_available"] is False
    assert cyclo.get("/docker/ai_worker/version").json() == \
        {"container": "ai_worker", "current": "1.4.2", "latest": "unknown", "update_available": False}
    # the other spelling is another container, without that file
    assert cyclo.get("/docker/ai-worker/version").json()["current"] == "unknown"
    r = cyclo.get("/docker/cy_run/version")
    assert (r.status, error(r)) == (404, "Version check is only supported for ai_worker, got: cy_run")
    assert cyclo.ask("POST", "/version/update").status == 404


# --- what is not there, and what must not change ---

def test_ros2_paths(cyclo):
    text = "ROS2 node for container 'robot' is not available."
    for method, tail in [("GET", ""), ("GET", "/%2Fjoint_states"), ("GET", "//joint_states/info"), ("POST", "/%2Fa%2Fb/subscribe"),
                         ("POST", "/x/unsubscribe")]:
        r = cyclo.ask(method, "/robot/ros2/topics" + tail)
        assert (r.status, error(r)) == (503, text), tail
        assert error(cyclo.ask(method, "/nobody/ros2/topics" + tail)) == "Container 'nobody' not found"
    assert cyclo.ask("POST", "/robot/ros2/topics/x").status == 405


def test_old_paths_win(cyclo):
    for method, path, status, allow in [
            ("POST", "/docker/containers", 405, "GET"), ("GET", "/docker/containers/status", 405, "POST"),
            ("GET", "/docker/containers/logs", 405, "POST"), ("POST", "/containers/x/services", 405, "GET"),
            ("POST", "/containers/services/services", 405, "GET"), ("GET", "/docker/x", 405, "POST"),
            ("GET", "/nope", 404, None), ("GET", "/a/b", 404, None), ("GET", "/containers/robot", 404, None),
            ("GET", "/ws/robot/services/a/logs", 404, None), ("GET", "/docker", 404, None), ("GET", "//services", 404, None),
            ("POST", "/version", 405, "GET"), ("GET", "/version/update", 404, None)]:
        r = cyclo.ask(method, path)
        assert r.status == status and r.headers.get("allow") == allow, (method, path, r)
        if allow is None:
            assert r.json() == {"detail": "Not Found"}
    # a container may be called as a path begins; the row above wins, as it does in cyclo_manager
    assert error(cyclo.get("/docker/services")) == "Container 'docker' not found"
    assert error(cyclo.get("/docker/bashrc")) == "Docker container 'docker' not found"
    assert error(cyclo.get("/docker/services/status")) == "Container 'docker' not found"
    assert cyclo.get("/robot/services/").status == 307


def test_names_that_are_path_tricks(cyclo):
    for path in ("/%2e%2e/services", "/robot/services/..%2f..%2fetc/status", "/../bashrc"):
        got = raw(cyclo.address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert got.split()[1] == b"404", path


# --- WebSockets ---

async def frames(st, path, n=1):
    async with websocket(f"ws://127.0.0.1:{st.port}{path}") as ws:
        out = [json.loads(await asyncio.wait_for(ws.recv(), patient(20))) for _ in range(n)]
        if out[-1]["type"] == "error":
            await asyncio.wait_for(ws.wait_closed(), patient(20))
            assert ws.close_code == 1000
        return out


def test_log_socket(cyclo):
    first = asyncio.run(frames(cyclo, "/ws/robot/services/idle/logs"))[0]
    assert first["type"] == "logs" and first["data"].endswith("line 300\n")
    old = asyncio.run(frames(cyclo, "/ws/containers/robot/services/idle/logs"))[0]
    assert old == first
    for path, text in [("/ws/nobody/services/idle/logs", "Container 'nobody' not found"),
                       ("/ws/robot/ros2/topics/%2Fjoint_states", "ROS2 node for container 'robot' is not available."),
                       ("/ws/containers/services/x/logs", "Container 'containers' not found")]:
        assert asyncio.run(frames(cyclo, path))[0] == {"type": "error", "data": text}
    with pytest.raises(websockets.exceptions.InvalidStatusCode):
        asyncio.run(frames(cyclo, "/ws/robot/services/idle"))


# --- no engine ---

def test_without_an_engine(stack):
    for method, path, body in [("GET", "/x/bashrc", None), ("PUT", "/x/bashrc", {"content": 5}), ("GET", "/docker/x/status", None),
                               ("GET", "/docker/x/version", None)]:
        r = stack.ask(method, path, body)
        assert (r.status, error(r)) == (503, "Docker client not available. Ensure Docker socket is mounted."), path
    assert stack.ask("PUT", "/x/bashrc", "{", {"Content-Type": "application/json"}).status == 422
    assert stack.get("/version").status == 200

"""gantryd's REST API in front of a real agent: contract talos.md, sections 1.1 to 1.8 and 4.1."""
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import ask, free_port, patient, program, raw, wait_for

CS = "/containers/robot/services"


def test_root(stack):
    r = stack.get("/")
    d = r.json()
    assert r.status == 200 and list(d) == ["message", "version", "docs", "description"]
    assert d["docs"] == {"swagger_ui": "/docs", "redoc": "/redoc", "openapi_schema": "/openapi.json"}
    assert r.headers["content-type"] == "application/json" and "content-length" in r.headers


def test_containers_in_the_order_of_the_file(stack):
    assert stack.get("/containers").json() == {"containers": [
        {"name": "robot", "socket_path": stack.agent_sock},
        {"name": "missing", "socket_path": f"{stack.sockets}/nobody.sock"}]}


def test_services_and_labels(stack):
    d = stack.get(CS).json()
    assert d["container"] == "robot"
    by_id = {s["id"]: s["label"] for s in d["services"]}
    assert by_id["ticker"] == "Ticker demo" and by_id["idle"] == "idle"


def test_status(stack):
    d = stack.get(f"{CS}/ticker/status").json()
    assert list(d) == ["container", "service", "service_label", "name", "raw", "is_up", "pid", "uptime_seconds"]
    assert (d["container"], d["service_label"], d["is_up"]) == ("robot", "Ticker demo", True)
    allof = stack.get(f"{CS}/status").json()
    assert [list(s) == list(d) for s in allof["statuses"]].count(False) == 0
    assert stack.get(f"{CS}/caf%C3%A9/status").json()["name"] == "café"


def test_action(own_stack):
    st = own_stack.start()
    assert st.ask("POST", f"{CS}/idle", {"action": "down"}).json() == \
        {"container": "robot", "service": "idle", "action": "down", "result": "ok"}
    wait_for("down", lambda: not st.get(f"{CS}/idle/status").json()["is_up"])
    st.ask("POST", f"{CS}/idle", {"action": "restart"})
    wait_for("up", lambda: st.get(f"{CS}/idle/status").json()["is_up"])


def test_logs_and_run(own_stack):
    st = own_stack.start()
    d = st.get(f"{CS}/idle/logs?tail=1").json()
    assert d == {"container": "robot", "service": "idle", "logs": "line 300\n", "tail": 1,
                 "log_path": f"{st.tree.logs}/idle/current"}
    d = st.get(f"{CS}/idle/run").json()
    assert list(d) == ["container", "service", "path", "content"] and d["content"] == "#!/bin/sh\nexec idle\n"
    r = st.ask("PUT", f"{CS}/idle/run", {"content": "#!/bin/sh\nexec true\n"})
    assert r.status == 200 and st.get(f"{CS}/idle/run").json()["content"] == "#!/bin/sh\nexec true\n"
    r = st.ask("PUT", f"{CS}/idle/run", {"content": "  \n"})
    assert (r.status, r.json()) == (400, {"error": "Content must not be empty", "detail": None})
    assert st.ask("DELETE", f"{CS}/idle/logs").json()["message"] == "Logs cleared successfully"


def test_order_of_evaluation(stack):
    assert stack.ask("POST", "/containers/nope/services/x", {"action": "bogus"}).status == 422
    assert stack.ask("POST", "/containers/nope/services/x", '{"action":').status == 422
    assert stack.ask("POST", "/containers/nope/services/x", {"action": "up"}).status == 404
    assert stack.ask("PUT", "/containers/nope/services/x/run", {"content": ""}).status == 404
    assert stack.get("/containers/nope/services/x/logs?tail=x").status == 422


@pytest.mark.parametrize("body,entry", [
    ('{}', {"type": "missing", "loc": ["body", "action"], "msg": "Field required", "input": {}}),
    ('', {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}),
    ('null', {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}),
    ('{"action":"kill"}', {"type": "literal_error", "loc": ["body", "action"],
                           "msg": "Input should be 'up', 'down' or 'restart'", "input": "kill",
                           "ctx": {"expected": "'up', 'down' or 'restart'"}}),
    ('[1]', {"type": "model_attributes_type", "loc": ["body"],
             "msg": "Input should be a valid dictionary or object to extract fields from", "input": [1]}),
    ('{"action":', {"type": "json_invalid", "loc": ["body", 10], "msg": "JSON decode error", "input": {},
                    "ctx": {"error": "Expecting value"}}),
])
def test_validation_entries(stack, body, entry):
    r = stack.ask("POST", f"{CS}/idle", body, {"Content-Type": "application/json"})
    assert r.status == 422 and r.json() == {"detail": [entry]}


def test_bodies(stack):
    post = lambda b, **h: stack.ask("POST", f"{CS}/nope", b, h and {"Content-Type": h["t"]}).status
    assert post('{"action":"up"}', t="text/plain") == 422
    assert post('{"action":"up"}', t="application/x+json; charset=utf-8") == 503
    r = stack.ask("POST", f"{CS}/idle", b'{"action":"\xff"}', {"Content-Type": "application/json"})
    assert (r.status, r.json()) == (400, {"detail": "There was an error parsing the body"})
    deep = "[" * 100_000
    assert stack.ask("POST", f"{CS}/idle", deep, {"Content-Type": "application/json"}).status in (422, 400)
    r = stack.ask("POST", f"{CS}/idle", b'{"action":"' + b"x" * (3 << 20) + b'"}')
    assert r.status == 413


def test_agent_failures(stack):
    r = stack.get("/containers/missing/services")
    assert (r.status, r.json()["error"]) == \
        (503, "Failed to communicate with agent: [Errno 2] No such file or directory")
    r = stack.get(f"{CS}/nope/status")
    assert r.status == 503 and "Client error '404 Not Found' for url 'http://agent/services/nope/status'" in r.json()["error"]
    assert "Service 'nope' not found" in r.json()["error"], "the agent's own words are kept"
    s = socket.socket(socket.AF_UNIX)
    s.bind(f"{stack.sockets}/nobody.sock")
    try:
        assert "[Errno 111] Connection refused" in stack.get("/containers/missing/services").json()["error"]
    finally:
        s.close()
        os.unlink(f"{stack.sockets}/nobody.sock")


@pytest.mark.parametrize("name", ["idle%3Fx", "idle%23", "%2e%2e", "..", "%2e", "%FF"])
def test_names_cannot_reach_other_agent_paths(stack, name):
    r = stack.get(f"{CS}/{name}/status")
    assert r.status in (503, 404) and "http://agent/status'" not in r.body.decode() \
        and "http://agent/services/idle'" not in r.body.decode()


def test_routing(stack):
    r = stack.ask("DELETE", "/containers")
    assert (r.status, r.headers["allow"], r.json()) == (405, "GET", {"detail": "Method Not Allowed"})
    r = stack.get("/containers/?a=b")
    assert (r.status, r.headers["location"], r.body) == (307, f"{stack.url}/containers?a=b", b"")
    for p in ("/nope", "//containers", "/Containers", "/containers/robot", f"{CS}/a%2Fb/status"):
        assert stack.get(p).json() == {"detail": "Not Found"}
    assert stack.get("/%63ontainers").status == 200
    assert stack.ask("HEAD", "/").status == 405
    assert stack.ask("OPTIONS", "/").status == 405


def test_documents(stack):
    for p in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        r = stack.get(p)
        assert r.status == 200 and r.headers["content-type"] == "text/html; charset=utf-8"
        assert stack.ask("HEAD", p).status == 200
    d = stack.get("/openapi.json").json()
    assert d["openapi"].startswith("3.1") and set(d) >= {"openapi", "info", "paths", "components"}
    op = d["paths"]["/containers/{container}/services/{service}/status"]["get"]
    assert op["operationId"] == "get_service_status_containers__container__services__service__status_get"
    assert "ServiceStatusResponse" in d["components"]["schemas"]


def test_cors_is_an_allow_list(stack):
    o = lambda origin, **h: stack.ask("GET", "/containers", headers={"Origin": origin, **h})
    ok = o("http://localhost:3000")
    assert ok.headers["access-control-allow-origin"] in ("*", "http://localhost:3000")
    assert "access-control-allow-origin" not in o("http://evil.example").headers
    r = stack.ask("OPTIONS", "/nope", headers={"Origin": "http://127.0.0.1:3000", "Access-Control-Request-Method": "PUT",
                                               "Access-Control-Request-Headers": "content-type,x-y"})
    assert r.status == 200 and r.headers["access-control-allow-headers"] == "content-type,x-y"
    assert stack.ask("OPTIONS", "/", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}).status == 400


def test_host_is_checked(stack):
    assert stack.get("/", headers={"Host": "evil.example"}).status == 421
    assert stack.get("/", headers={"Host": "localhost:1234"}).status == 200


def test_slow_agent_is_cut_after_five_seconds_and_holds_up_nobody(own_stack):
    st = own_stack.start()
    os.kill(st.agent.pid, signal.SIGSTOP)
    try:
        out = []
        t = threading.Thread(target=lambda: out.append((time.monotonic(), st.get(f"{CS}/idle/status"), time.monotonic())))
        t.start()
        time.sleep(0.2)
        for _ in range(50):
            assert st.get("/containers").status == 200
        t.join(patient(20))
        began, r, ended = out[0]
        assert r.status == 503 and 4 < ended - began < 40
    finally:
        os.kill(st.agent.pid, signal.SIGCONT)
    wait_for("the agent again", lambda: st.get(f"{CS}/idle/status").status == 200)


def test_agent_comes_and_goes(own_stack):
    st = own_stack.start()
    assert st.get(f"{CS}/idle/status").status == 200
    st.stop_agent(signal.SIGKILL)
    assert st.get(f"{CS}/idle/status").status == 503
    st.start_agent()
    assert st.get(f"{CS}/idle/status").status == 200


BAD_CONFIGS = [
    ("containers:\n  a:\n    sockets: x\n", "3", "sockets"),
    ("containers: 5\n", "1", "5"),
    ("nonsense: 1\n", "1", "nonsense"),
    ("containers:\n  a: {socket_path: 7}\n", "2", "7"),
    ("http:\n  limits:\n    max_body: -3\n", "3", "-3"),
    ("a: [1\n", "2", ""),
]


@pytest.mark.parametrize("text,line,word", BAD_CONFIGS)
def test_check_config_names_the_place(tmp_path, text, line, word):
    f = tmp_path / "c.yml"
    f.write_text(text)
    r = subprocess.run([program("gantryd"), "--config", str(f), "--check-config"], capture_output=True, text=True)
    said = r.stdout + r.stderr
    assert r.returncode != 0 and f"{f}:{line}:" in said and word in said
    r = subprocess.run([program("gantryd"), "--config", str(f)], capture_output=True, text=True, timeout=patient(20))
    assert r.returncode == 3


def test_all_faults_in_one_pass(tmp_path):
    f = tmp_path / "c.yml"
    f.write_text("one: 1\ncontainers:\n  a:\n    socket_path: [x]\n    two: 2\n")
    r = subprocess.run([program("gantryd"), "--config", str(f), "--check-config"], capture_output=True, text=True)
    said = r.stdout + r.stderr
    assert all(f"{f}:{n}:" in said for n in (1, 4, 5))


def test_ros2_is_accepted_and_reported(tmp_path):
    f = tmp_path / "c.yml"
    f.write_text("containers:\n  a:\n    socket_path: /x\n    ros2:\n      domain_id: 30\n      topics:\n        /x: std_msgs/msg/String\n")
    r = subprocess.run([program("gantryd"), "--config", str(f), "--check-config"], capture_output=True, text=True)
    assert r.returncode == 0 and "ros2" in r.stdout + r.stderr


def test_config_file_variable_and_missing_file(tmp_path):
    r = subprocess.run([program("gantryd"), "--check-config"], capture_output=True, text=True,
                       env=dict(os.environ, CONFIG_FILE=str(tmp_path / "none.yml")))
    assert r.returncode != 0 and "none.yml" in r.stdout + r.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_other_addresses_need_insecure(tmp_path, address):
    f = tmp_path / "c.yml"
    f.write_text(f'state: {{path: {tmp_path}/state.db}}\naudit: {{file: none}}\nhttp:\n  listeners:\n    - address: "{address}"\n')
    r = subprocess.run([program("gantryd"), "--config", str(f)], capture_output=True, text=True, timeout=patient(20))
    assert r.returncode != 0 and "insecure: true" in r.stdout + r.stderr


def test_flags():
    g = program("gantryd")
    assert subprocess.run([g, "--help"], capture_output=True).returncode == 0
    assert b"gantryd" in subprocess.run([g, "--version"], capture_output=True).stdout
    r = subprocess.run([g, "--nonsense"], capture_output=True, text=True)
    assert r.returncode == 2 and "--nonsense" in r.stderr


def test_port_in_use_is_a_clear_error(stack, tmp_path):
    f = tmp_path / "c.yml"
    f.write_text(f'state: {{path: {tmp_path}/state.db}}\naudit: {{file: none}}\nhttp:\n  listeners:\n    - address: "127.0.0.1:{stack.port}"\n')
    r = subprocess.run([program("gantryd"), "--config", str(f)], capture_output=True, text=True, timeout=patient(20))
    assert r.returncode != 0 and str(stack.port) in r.stderr


def under_way(st):
    """A request beside the one that asks."""
    wait_for("the request under way", lambda: b"gantry_http_exchanges 2\n" in st.get("/metrics").body)


def test_sigterm_drains_and_a_second_one_ends_at_once(own_stack):
    st = own_stack.start()
    os.kill(st.agent.pid, signal.SIGSTOP)
    out = []
    t = threading.Thread(target=lambda: out.append((time.monotonic(), st.get(f"{CS}/idle/status"), time.monotonic())))
    t.start()
    under_way(st)
    os.kill(st.gantryd.pid, signal.SIGTERM)
    wait_for("stopping", lambda: '"id":"stop"' in st.gantryd.text())
    os.kill(st.agent.pid, signal.SIGCONT)
    t.join(patient(20))
    assert out, "an answer under way was dropped"
    began, r, ended = out[0]
    assert r.status == 200 or r.status == 503 and ended - began > 5, r  # the agent's time may be over on a busy machine
    assert st.stop_gantryd() == 0
    st.start_gantryd()
    os.kill(st.agent.pid, signal.SIGSTOP)
    c = http.client.HTTPConnection(*st.address, timeout=60)
    c.request("GET", f"{CS}/idle/status")
    under_way(st)
    os.kill(st.gantryd.pid, signal.SIGTERM)
    wait_for("stopping", lambda: '"id":"stop"' in st.gantryd.text())
    os.kill(st.gantryd.pid, signal.SIGTERM)
    st.gantryd.p.wait(patient(10))
    os.kill(st.agent.pid, signal.SIGCONT)
    try:
        answered = c.getresponse().status
    except (OSError, http.client.HTTPException):
        answered = None
    said = [json.loads(line) for line in st.gantryd.text().splitlines() if '"id":"stop-now"' in line]
    if said and said[0]["under_way"] > 0 or not answered:  # else its time was over before
        assert len(said) == 1 and answered is None, (said, answered)
    st.gantryd = None


def test_unix_socket_listener(stack):
    from harness import UnixHTTPConnection
    assert ask(UnixHTTPConnection(stack.unix), "GET", "/containers").status == 200


def test_curl_understands_everything(stack):
    for args in ([], ["--http2-prior-knowledge"], ["--http1.0"], ["-H", "Expect: 100-continue"]):
        r = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *args, "-X", "POST", "-H",
                            "Content-Type: application/json", "-d", '{"action":"up"}', f"{stack.url}{CS}/idle"],
                           capture_output=True, text=True, timeout=patient(20))
        assert r.stdout == "200", (args, r)


def test_ros2_routes_say_that_they_are_not_served(stack):
    assert stack.get("/containers/nope/ros2/topics").status == 404
    r = stack.get("/containers/robot/ros2/topics")
    assert r.status == 503 and r.json()["error"].startswith("ROS2 plugin for container 'robot' is not available.")


def test_follow_over_rest(stack):
    c = http.client.HTTPConnection(*stack.address, timeout=60)
    c.request("GET", f"{CS}/ticker/logs?follow=true")
    r = c.getresponse()
    assert r.headers["content-type"].startswith("text/event-stream")
    lines = [r.readline().decode() for _ in range(12)]
    assert any(l.startswith("data: ") and "tick" in json.loads(l[6:])["logs"] for l in lines)
    c.close()

"""Docker containers over a real engine: contract talos.md, 1.9, mended as section 7 no. 9 and 33 ask."""
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from harness import Stack, patient, wait_for

IMAGE = "busybox:local"


@pytest.fixture(scope="module")
def dstack(engine, tmp_path_factory):
    st = Stack(tmp_path_factory.mktemp("docker"))
    st.docker_socket = engine.socket
    st.sockets.mkdir(exist_ok=True)
    st.tree.start()
    st.start_agent()
    st.start_gantryd()
    d = engine.docker
    d("run", "-d", "--name", "e2e_run", IMAGE, "sh", "-c", 'trap "exit 0" TERM; echo out; echo err >&2; while :; do sleep 0.1; done')
    d("run", "-d", "--name", "e2e_stubborn", IMAGE, "sleep", "86400")
    d("create", "--name", "e2e_created", IMAGE, "true")
    d("run", "--name", "e2e_exited", IMAGE, "sh", "-c", "echo bye; exit 7", check=False)
    d("run", "-d", "--name", "e2e_paused", IMAGE, "sleep", "86400")
    d("pause", "e2e_paused")
    d("run", "-d", "-t", "--name", "e2e_tty", IMAGE, "sh", "-c", "echo tty line; sleep 86400")
    d("run", "--log-driver", "local", "--name", "e2e_bin", IMAGE, "sh", "-c", "printf 'ok \\377\\376 bad\\n'")
    d("run", "--name", "e2e_tmp", IMAGE, "sh", "-c", "echo x > /x")
    d("commit", "e2e_tmp", "e2e_img:1")
    d("rm", "e2e_tmp")
    d("run", "--name", "e2e_noimg", "e2e_img:1", "true")
    d("rmi", "-f", "e2e_img:1")
    d("run", "--name", "e2e_tmp", IMAGE, "sh", "-c", "echo y > /y")
    d("commit", "e2e_tmp", "e2e_img:zz")
    d("rm", "e2e_tmp")
    d("tag", "e2e_img:zz", "aaa_e2e_img:9")
    d("create", "--name", "e2e_multi", "e2e_img:zz", "true")
    wait_for("the engine seen", lambda: st.get("/docker/containers").status == 200)
    yield st
    st.stop()
    st.check_clean()


def names(st, query=""):
    return {c["name"]: c for c in st.get(f"/docker/containers{query}").json()["containers"]}


def test_list(dstack):
    running, everything = names(dstack), names(dstack, "?all=true")
    assert {"e2e_run", "e2e_paused", "e2e_tty"} <= set(running) and "e2e_created" not in running
    assert {"e2e_created", "e2e_exited", "e2e_noimg", "e2e_multi"} <= set(everything)
    c = everything["e2e_run"]
    assert list(c) == ["id", "name", "status", "image", "created"] and re.fullmatch("[0-9a-f]{64}", c["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", c["created"])
    assert (c["status"], everything["e2e_paused"]["status"], everything["e2e_exited"]["status"]) == ("running", "paused", "exited")
    assert everything["e2e_multi"]["image"] == "aaa_e2e_img:9"
    assert names(dstack, "?all=YES") == names(dstack, "?all=1")
    assert dstack.get("/docker/containers?all=maybe").status == 422


def test_the_list_agrees_with_the_engine(dstack, engine):
    for name, c in names(dstack, "?all=true").items():
        want = engine.docker("inspect", "--type", "container", "-f", "{{.Id}} {{.Created}} {{.State.Status}}", name).split()
        assert [c["id"], c["created"], c["status"]] == want


def test_container_whose_image_is_gone_is_listed(dstack):
    assert names(dstack, "?all=true")["e2e_noimg"]["image"] == ""
    r = dstack.get("/docker/containers/e2e_noimg/status")
    assert r.status == 200 and r.json()["image"] == ""


def test_tags_that_change_are_seen(dstack, engine):
    engine.docker("tag", "e2e_img:zz", "aa_first:1")
    wait_for("the new tag", lambda: names(dstack, "?all=true")["e2e_multi"]["image"] == "aa_first:1")
    engine.docker("rmi", "aa_first:1")
    wait_for("the old tag", lambda: names(dstack, "?all=true")["e2e_multi"]["image"] == "aaa_e2e_img:9")


def test_status(dstack):
    s = dstack.get("/docker/containers/e2e_exited/status").json()
    assert list(s) == ["id", "name", "status", "state", "running", "restarting", "paused", "image", "created",
                       "started_at", "finished_at", "exit_code"]
    assert (s["status"], s["state"], s["running"], s["exit_code"], s["image"]) == ("exited", "exited", False, 7, IMAGE)
    p = dstack.get("/docker/containers/e2e_paused/status").json()
    assert p["paused"] and not p["running"]
    assert dstack.get("/docker/containers/e2e_created/status").json()["started_at"] == "0001-01-01T00:00:00Z"
    by_id = dstack.get(f"/docker/containers/{s['id'][:12]}/status").json()
    assert by_id["name"] == "e2e_exited"


@pytest.mark.parametrize("name", ["nope", "a%20b", "%2e%2e", "e2e_run%3Fsize=1", "e2e_run%23", "x" * 300])
def test_unknown_and_hostile_names(dstack, name):
    r = dstack.get(f"/docker/containers/{name}/status")
    assert r.status == 404 and r.json()["error"].endswith("' not found")
    assert dstack.ask("POST", f"/docker/containers/{name}", {"action": "start"}).status == 404


def test_actions(dstack):
    post = lambda n, **b: dstack.ask("POST", f"/docker/containers/{n}", b, timeout=patient(60))
    state = lambda n: dstack.get(f"/docker/containers/{n}/status").json()["status"]
    assert post("e2e_run", action="start").json() == {"name": "e2e_run", "action": "start", "result": "ok"}
    assert post("e2e_run", action="stop").status == 200 and state("e2e_run") == "exited"
    assert post("e2e_run", action="stop").status == 200
    assert post("e2e_run", action="restart", timeout=3).status == 200 and state("e2e_run") == "running"
    r = post("e2e_paused", action="start")
    assert r.status == 503 and r.json()["error"].startswith("Failed to control container: 409 Client Error")
    assert post("e2e_run", action="pause").status == 422


def test_a_long_stop_holds_up_nobody(dstack, engine):
    out = []
    t = threading.Thread(target=lambda: out.append(dstack.ask("POST", "/docker/containers/e2e_stubborn",
                                                              {"action": "stop", "timeout": 600}, timeout=660)))
    t.start()
    began = time.monotonic()
    n = 0
    while n < 12 or time.monotonic() - began < 2:
        assert dstack.get("/").status == 200 and dstack.get("/docker/containers").status == 200
        n += 2
    assert t.is_alive(), "the stop was to last longer than all these"
    engine.docker("kill", "e2e_stubborn")
    t.join()
    assert out[0].status == 200


def test_logs(dstack):
    log = lambda n, q="": dstack.get(f"/docker/containers/{n}/logs{q}")
    stamp = r"\d{4}-\d\d-\d\dT[0-9:.]+Z "
    d = log("e2e_exited").json()
    assert list(d) == ["container", "logs", "tail"] and re.fullmatch(stamp + "bye\n", d["logs"]) and d["tail"] == 100
    assert set(re.sub(stamp, "", log("e2e_run").json()["logs"]).split()) == {"out", "err"}
    wait_for("what is said on a terminal", lambda: re.search("tty line\r\n", log("e2e_tty").json()["logs"]))
    assert log("e2e_exited", "?tail=0").json()["logs"] == ""
    assert log("e2e_exited", "?tail=-1").json()["tail"] == -1
    assert log("e2e_exited", "?tail=all").status == 422
    assert log("e2e_nope").status == 404
    r = log("e2e_bin")
    assert r.status == 200 and "\ufffd" in r.json()["logs"], "bytes that are not UTF-8 are shown, not refused"


def test_engine_comes_and_goes(own_stack, engine):
    """Not the tests' engine: a stand-in socket in front of it that can vanish."""
    st = own_stack
    st.docker_socket = str(st.sockets / "relay.sock")
    st.start()
    r = st.get("/docker/containers")
    assert (r.status, r.json()) == (503, {"error": "Docker client not available. Ensure Docker socket is mounted.", "detail": None})
    relay = lambda: subprocess.Popen(["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "relay.py"), st.docker_socket, engine.socket])
    for _ in range(2):
        p = relay()
        try:
            wait_for("the engine", lambda: st.get("/docker/containers").status == 200, 20)
            wait_for("it stays", lambda: st.get("/docker/containers?all=true").status == 200)
        finally:
            p.terminate()
            p.wait()
        wait_for("it is gone", lambda: st.get("/docker/containers").status == 503)
        assert st.get("/containers").status == 200


def test_bounded_engine_calls(own_stack, engine):
    """A list of many containers costs no more engine calls than one of few, once they are known."""
    st = own_stack
    made = [engine.docker("create", "--name", f"e2e_many_{i}", IMAGE, "true").strip() for i in range(30)]
    try:
        st.docker_socket = str(st.sockets / "count.sock")
        st.start()
        log = st.root / "calls"
        p = subprocess.Popen(["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "relay.py"), st.docker_socket, engine.socket, str(log)])
        try:
            wait_for("the engine", lambda: st.get("/docker/containers?all=true").status == 200, 20)
            st.get("/docker/containers?all=true")
            calls = lambda: sum(1 for l in log.read_text().splitlines() if "/events" not in l and "/_ping" not in l)
            before = calls()
            for _ in range(5):
                assert len(st.get("/docker/containers?all=true").json()["containers"]) >= 30
            assert calls() - before < 30, log.read_text()[-2000:]
        finally:
            p.terminate()
            p.wait()
    finally:
        engine.docker("rm", "-f", *made)

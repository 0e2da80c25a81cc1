"""Run scripts changed with care: entity tags, If-Match, backups, revert; over the agent, gantryd and the CLI."""
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socketserver
import stat
import subprocess
import threading
import time

import pytest

from harness import UnixHTTPConnection, ask, patient, program, wait_for

CS = "/containers/robot/services"
RUN = f"{CS}/idle/run"


def etag_of(text):
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def put(ask_, path, content, **headers):
    return ask_("PUT", path, {"content": content}, {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture
def st(own_stack):
    return own_stack.start()


@pytest.fixture(params=["agent", "gantryd"])
def side(request, st):
    """The same calls at the agent itself and through gantryd."""
    if request.param == "agent":
        return st, st.ask_agent, "/services/idle/run"
    return st, st.ask, RUN


def test_etag_and_if_none_match(side):
    st, ask_, path = side
    text = (st.tree.sources / "idle" / "run").read_text()
    r = ask_("GET", path)
    assert r.status == 200 and r.headers["etag"] == etag_of(text)
    for tag in (etag_of(text), f'"x", W/{etag_of(text)}', "*"):
        r = ask_("GET", path, headers={"If-None-Match": tag})
        assert (r.status, r.body, r.headers["etag"]) == (304, b"", etag_of(text))
    assert ask_("GET", path, headers={"If-None-Match": '"x"'}).status == 200
    assert ask_("GET", path, headers={"If-None-Match": "x"}).status == 400


def test_put_honours_if_match(side):
    st, ask_, path = side
    run = st.tree.sources / "idle" / "run"
    old = run.read_text()
    r = put(ask_, path, "mine\n", If_Match='"someone-else"')
    assert r.status == 412 and list(r.json()) == ["error", "detail"] and r.json()["detail"] is None
    assert '"someone-else"' in r.json()["error"] and etag_of(old) in r.json()["error"]
    for bad in ("nothing", '"a" "b"', "", "*, *"):
        assert put(ask_, path, "mine\n", If_Match=bad).status == 400, bad
    assert put(ask_, path, "mine\n", If_Match=f"W/{etag_of(old)}").status == 412
    assert put(ask_, path, "mine\n", If_None_Match="*").status == 412
    assert run.read_text() == old and not st.tree.backups.exists()
    r = put(ask_, path, "mine\n", If_Match=f'"x", {etag_of(old)}')
    assert r.status == 200 and r.headers["etag"] == etag_of("mine\n") == ask_("GET", path).headers["etag"]
    assert r.json()["content"] == run.read_text() == "mine\n"
    assert put(ask_, path, "yours\n", If_Match=etag_of(old)).status == 412
    assert put(ask_, path, "yours\n", If_Match="*").status == 200
    assert put(ask_, path, "free\n").status == 200


def test_backups_and_revert(side):
    st, ask_, path = side
    run = st.tree.sources / "idle" / "run"
    first = run.read_text()
    r = ask_("POST", f"{path}/revert")
    assert r.status == 404 and r.json()["error"] == "There is no backup of the run script of service 'idle'"
    assert ask_("GET", f"{path}/backups").json()["backups"] == []
    for i in range(8):
        assert put(ask_, path, f"v{i}\n").status == 200
    assert put(ask_, path, "v7\n").status == 200  # the same again: no backup
    got = ask_("GET", f"{path}/backups").json()["backups"]
    assert [b["etag"] for b in got] == [etag_of(f"v{i}\n") for i in (6, 5, 4, 3, 2)]
    assert got[0]["id"] > got[1]["id"] and got[0]["size"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", got[0]["time"])
    assert ask_("POST", f"{path}/revert", headers={"If-Match": '"x"'}).status == 412
    r = ask_("POST", f"{path}/revert", {"backup": got[3]["id"]}, {"If-Match": etag_of("v7\n")})
    assert r.status == 200 and r.json()["content"] == "v3\n" and r.headers["etag"] == etag_of("v3\n")
    assert run.read_text() == "v3\n"
    for want in ("v7\n", "v3\n", "v7\n"):  # back and forth
        assert ask_("POST", f"{path}/revert", {}).json()["content"] == want == run.read_text()
    assert len(ask_("GET", f"{path}/backups").json()["backups"]) == 5
    r = ask_("POST", f"{path}/revert", {"backup": got[3]["id"]})
    assert r.status == 404 and f"no backup {got[3]['id']} " in r.json()["error"]
    assert ask_("POST", f"{path}/revert", {"backup": -5}).status == 404
    assert ask_("POST", f"{path}/revert", {"backup": "old"}).status == 422
    assert [p.name for p in run.parent.iterdir()] == ["run"], "s6-rc-compile would see another file"
    assert first not in [p.read_text() for p in (st.tree.backups / "idle").iterdir()]


def test_mode_owner_and_time_are_kept(st):
    run = st.tree.sources / "idle" / "run"
    run.chmod(0o700)
    os.chown(run, 12, 34)
    os.utime(run, (5, 1_000_000_000))
    assert put(st.ask_agent, "/services/idle/run", "new\n").status == 200
    assert stat.S_IMODE(st.tree.backups.stat().st_mode) == 0o700
    b = st.ask_agent("GET", "/services/idle/run/backups").json()["backups"]
    assert b[0]["time"] == "2001-09-09T01:46:40.000000Z"
    kept = (st.tree.backups / "idle" / str(b[0]["id"])).stat()
    assert (stat.S_IMODE(kept.st_mode), kept.st_uid, kept.st_gid, kept.st_mtime) == (0o700, 12, 34, 1_000_000_000)
    assert st.ask_agent("POST", "/services/idle/run/revert").status == 200
    s = run.stat()
    assert (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid, s.st_mtime) == (0o700, 12, 34, 1_000_000_000)


def test_no_backup_no_replacement(st):
    run = st.tree.sources / "idle" / "run"
    old = run.read_text()
    st.tree.backups.mkdir(mode=0o777)
    st.tree.backups.chmod(0o777)
    r = put(st.ask_agent, "/services/idle/run", "new\n")
    assert r.status == 500 and "cannot keep a backup" in r.json()["error"] and "can be written by others" in r.json()["error"]
    assert run.read_text() == old
    st.tree.backups.rmdir()
    st.stop_agent()
    st.start_agent(args=("--backup-dir", "none"))
    assert put(st.ask_agent, "/services/idle/run", "new\n").status == 200 and run.read_text() == "new\n"
    r = st.ask("POST", f"{RUN}/revert")
    assert r.status == 404 and "--backup-dir none" in r.json()["error"]
    assert st.get(f"{RUN}/backups").json()["backups"] == []


def test_full_disk_of_backups(own_stack):
    st = own_stack
    st.sockets.mkdir(exist_ok=True)
    st.tree.backups.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(st.tree.backups)], check=True)
    try:
        st.start()
        run = st.tree.sources / "idle" / "run"
        run.write_text("#" * 100_000)
        r = put(st.ask_agent, "/services/idle/run", "new\n")
        assert r.status == 507 and "cannot keep a backup" in r.json()["error"], r
        assert run.read_text() == "#" * 100_000
        assert not list((st.tree.backups / "idle").iterdir()), "half a backup was left"
    finally:
        st.stop()
        subprocess.run(["umount", str(st.tree.backups)])


@pytest.mark.parametrize("where", ["agent", "gantryd"])
def test_of_many_writers_with_one_tag_one_wins(st, where):
    ask_, path = (st.ask_agent, "/services/idle/run") if where == "agent" else (st.ask, RUN)
    for turn in range(5):
        tag = ask_("GET", path).headers["etag"]
        got = {}
        start = threading.Barrier(8)

        def write(i):
            start.wait()
            got[i] = put(ask_, path, f"turn {turn} writer {i}\n", If_Match=tag).status
        threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join(patient(30)) for t in threads]
        assert sorted(got.values()) == [200] + [412] * 7, got
        winner = next(i for i, s in got.items() if s == 200)
        assert (st.tree.sources / "idle" / "run").read_text() == f"turn {turn} writer {winner}\n"


def test_the_loop_goes_on_while_scripts_are_written(own_stack, tmp_path):
    """Many large scripts wait for the disk, which is frozen; a status does not wait for them."""
    st, disk = own_stack, tmp_path / "disk"
    st.sockets.mkdir(exist_ok=True)
    st.tree.sources.mkdir(parents=True)
    disk.touch()
    os.truncate(disk, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, st.tree.sources], check=True)
    try:
        st.start()
        statuses = []
        threads = [threading.Thread(target=lambda i=i: statuses.append(
            put(st.ask_agent, "/services/idle/run", f"{i}" + "#" * 500_000).status)) for i in range(20)]
        subprocess.run(["fsfreeze", "-f", st.tree.sources], check=True)
        try:
            [t.start() for t in threads]
            tasks = pathlib.Path(f"/proc/{st.agent.pid}/task")
            wait_for("a writer that waits", lambda: any(") D " in (t / "stat").read_text() for t in tasks.iterdir()))
            for _ in range(20):
                assert st.ask_agent("GET", "/services/idle/status").status == 200
            assert statuses == []
        finally:
            subprocess.run(["fsfreeze", "-u", st.tree.sources], check=True)
        [t.join(patient(30)) for t in threads]
        assert statuses == [200] * 20
    finally:
        st.stop()
        subprocess.run(["umount", str(st.tree.sources)])


def test_killed_at_any_moment(st):
    run = st.tree.sources / "idle" / "run"
    known = {run.read_text()} | {f"#!/bin/sh\nv{i}\n" + "#" * 20_000 for i in range(50)}
    rnd = random.Random(7)
    for turn in range(12):
        stop = threading.Event()

        def write():
            i = 0
            while not stop.is_set():
                try:
                    put(st.ask_agent, "/services/idle/run", f"#!/bin/sh\nv{i % 50}\n" + "#" * 20_000)
                except OSError:
                    return
                i += 1
        t = threading.Thread(target=write)
        t.start()
        time.sleep(rnd.uniform(0.005, 0.1))
        os.kill(st.agent.pid, signal.SIGKILL)
        stop.set()
        t.join(patient(20))
        st.stop_agent()
        now = run.read_text()
        assert now in known, f"half a script: {now[:60]!r}"
        for p in (st.tree.backups / "idle").iterdir() if (st.tree.backups / "idle").exists() else []:
            assert p.name.startswith(".") or p.read_text() in known, p
        st.start_agent()
        assert st.ask_agent("GET", "/services/idle/run").headers["etag"] == etag_of(now)
    assert put(st.ask_agent, "/services/idle/run", "last\n").status == 200
    assert st.ask_agent("POST", "/services/idle/run/revert").json()["content"] == now
    assert [p.name for p in run.parent.iterdir()] == ["run"], "what a killed agent left is still there"
    assert all(p.name.isdigit() for p in (st.tree.backups / "idle").iterdir())


def test_stop_finishes_the_write(st):
    """SIGTERM in the middle: the answer comes, and the agent ends cleanly."""
    c = UnixHTTPConnection(st.agent_sock)
    body = json.dumps({"content": "#" * 900_000})
    c.request("PUT", "/services/idle/run", body=body, headers={"Content-Type": "application/json"})
    time.sleep(0.02)
    assert st.stop_agent() == 0
    text = (st.tree.sources / "idle" / "run").read_text()
    assert text in ("#!/bin/sh\nexec idle\n", "#" * 900_000)
    c.close()


def test_a_client_that_leaves_does_not_stop_the_write(st):
    c = UnixHTTPConnection(st.agent_sock)
    c.request("PUT", "/services/idle/run", body=json.dumps({"content": "left\n"}),
              headers={"Content-Type": "application/json"})
    c.close()
    wait_for("written", lambda: (st.tree.sources / "idle" / "run").read_text() == "left\n")
    assert st.ask_agent("GET", "/services/idle/status").status == 200


def test_pages_may_read_the_tag(st):
    h = {"Origin": "http://localhost:3000"}
    r = st.ask("GET", RUN, headers=h)
    assert {x.strip().lower() for x in r.headers["access-control-expose-headers"].split(",")} >= {"etag", "x-request-id"}
    r = st.ask("OPTIONS", RUN, headers=dict(h, **{"Access-Control-Request-Method": "PUT",
                                                  "Access-Control-Request-Headers": "if-match"}))
    assert r.status == 200 and "if-match" in r.headers["access-control-allow-headers"]


class OldAgent(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """As the Python agent: no entity tags, conditions not looked at, line ends changed when read."""
    daemon_threads = True
    script = "#!/bin/sh\nold\n"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, obj):
            b = json.dumps(obj).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(b)))
            self.end_headers()
            self.wfile.write(b)

        def address_string(self):
            return "unix"

        def log_message(self, *a):
            pass

        def do_GET(self):
            if self.path == "/services/idle/run":
                text = self.server.script.replace("\r\n", "\n")
                return self.answer(200, {"service": "idle", "path": "/x/run", "content": text})
            self.answer(404, {"detail": "Not Found"})

        def do_PUT(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.script = body["content"]
            self.answer(200, {"service": "idle", "path": "/x/run", "content": body["content"]})

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(404, {"detail": "Not Found"})


@pytest.fixture
def old_agent(own_stack):
    st = own_stack
    st.sockets.mkdir(mode=0o700, exist_ok=True)
    server = OldAgent(st.agent_sock, OldAgent.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    st.start_gantryd()
    yield st, server
    server.shutdown()
    server.server_close()


def test_an_agent_without_tags(old_agent):
    st, server = old_agent
    old = etag_of(server.script)
    assert st.get(RUN).headers["etag"] == old
    assert st.get(RUN, headers={"If-None-Match": old}).status == 304
    r = put(st.ask, RUN, "new\n", If_Match='"x"')
    assert r.status == 412 and old in r.json()["error"] and '"x"' in r.json()["error"]
    assert put(st.ask, RUN, "new\n", If_None_Match="*").status == 412
    assert server.script == "#!/bin/sh\nold\n"
    r = put(st.ask, RUN, "new\n", If_Match=old)
    assert r.status == 200 and r.headers["etag"] == etag_of("new\n") and server.script == "new\n"
    r = put(st.ask, RUN, "a\r\nb\n")
    assert r.status == 200 and "etag" not in r.headers, "what is read back has another tag"
    assert st.get(RUN).headers["etag"] == etag_of("a\nb\n")
    for method, tail in (("POST", "/revert"), ("GET", "/backups")):
        r = st.ask(method, RUN + tail)
        assert r.status == 501 and "keeps no backups" in r.json()["error"]


def test_refusals_keep_their_shape(st):
    r = put(st.ask, f"{CS}/nope/run", "x\n")
    assert r.status == 503 and r.json()["error"].startswith("Failed to communicate with agent: Client error '404")
    r = put(st.ask, f"{CS}/nope/run", "x\n", If_Match="*")
    assert r.status == 503
    assert st.get(f"{CS}/nope/run").status == 503
    assert st.ask("POST", f"{CS}/nope/run/revert").status == 404
    assert st.ask("POST", "/containers/nope/services/idle/run/revert").status == 404
    assert st.ask("POST", "/containers/missing/services/idle/run/revert").status == 503
    assert st.ask("GET", "/containers/missing/services/idle/run/backups").status == 503
    assert st.ask("GET", f"{CS}/%2e%2e/run/backups").status == 503
    assert st.ask("GET", f"{RUN}/revert").status == 405


def cli_edit(st, script, *args, **env):
    """gantry run-script edit, with a shell script as the editor."""
    ed = st.root / "my editor"
    ed.write_text("#!/bin/sh\n" + script + "\n")
    ed.chmod(0o755)
    drafts = st.root / "drafts"
    drafts.mkdir(exist_ok=True)
    e = dict(st.env, GANTRY_HOST=f"unix:{st.unix}", TMPDIR=str(drafts), VISUAL=f"'{ed}' --flag", **env)
    r = subprocess.run([program("gantry"), "run-script", "edit", "robot", "idle", *args], capture_output=True, text=True,
                       timeout=patient(60), env=e)
    return r, sorted(drafts.iterdir())


def test_cli_get_put_revert_backups(st):
    run = st.tree.sources / "idle" / "run"
    first = run.read_text()
    assert st.cli("run-script", "robot", "idle").stdout == first  # the older form
    assert st.cli("run-script", "get", "robot", "idle").stdout == first
    tag = st.cli("run-script", "get", "robot", "idle", "--etag").stdout.strip()
    assert tag == etag_of(first)
    r = st.cli("run-script", "put", "robot", "idle", "-", "--if-match", tag, input="two\n")
    assert (r.returncode, r.stdout) == (0, f"written: {run}\n")
    r = st.cli("run-script", "put", "robot", "idle", "-", "--if-match", tag, input="three\n")
    assert r.returncode == 1 and "it has changed" in r.stderr and run.read_text() == "two\n"
    bare = etag_of("two\n").strip('"')  # a shell takes the quotes away
    assert st.cli("run-script", "robot", "idle", "--set", "-", "--if-match", bare, input="three\n").returncode == 0
    lines = st.cli("run-script", "backups", "robot", "idle").stdout.splitlines()
    assert lines[0].split()[0] == "ID" and len(lines) == 3 and etag_of("two\n") in lines[1] and etag_of(first) in lines[2]
    assert json.loads(st.cli("run-script", "backups", "robot", "idle", "-o", "json").stdout)["service"] == "idle"
    r = st.cli("run-script", "revert", "robot", "idle")
    assert (r.returncode, r.stdout, run.read_text()) == (0, f"brought back: {run}\n", "two\n")
    oldest = lines[2].split()[0]
    assert st.cli("run-script", "revert", "robot", "idle", oldest).returncode == 0 and run.read_text() == first
    r = st.cli("run-script", "revert", "robot", "idle", "99")
    assert r.returncode == 1 and "There is no backup 99 of the run script of service 'idle'" in r.stderr
    for wrong in ("x", "0", "-1"):
        assert st.cli("run-script", "revert", "robot", "idle", "--", wrong).returncode == 2
    assert st.cli("run-script", "revert", "robot", "idle", "--if-match", "no").returncode == 1
    assert st.cli("run-script", "get", "robot").returncode == 1  # a container called "get", as before
    assert st.cli("run-script", "robot", "idle", "--if-match", "x").returncode == 2


def test_cli_edit(st):
    run = st.tree.sources / "idle" / "run"
    first = run.read_text()
    r, left = cli_edit(st, '[ "$1" = --flag ] && echo more >>"$2"')
    assert (r.returncode, left) == (0, []), r.stderr
    assert run.read_text() == first + "more\n"
    r, left = cli_edit(st, "true")
    assert (r.returncode, r.stdout, left) == (0, "not changed\n", [])
    # Editors write a new file and put it in the old one's place.
    r, left = cli_edit(st, 'echo new >"$2.new"; mv "$2.new" "$2"')
    assert (r.returncode, left, run.read_text()) == (0, [], "new\n")


def test_cli_edit_does_not_lose_the_work_of_others(st):
    run = st.tree.sources / "idle" / "run"
    r, left = cli_edit(st, f'echo mine >"$2"; echo theirs >"{run}"')
    assert r.returncode == 1 and run.read_text() == "theirs\n"
    assert "somebody else has changed the run script" in r.stderr
    assert len(left) == 1 and left[0].read_text() == "mine\n" and f'your text is kept in "{left[0]}"' in r.stderr
    assert stat.S_IMODE(left[0].stat().st_mode) == 0o600


def test_cli_edit_failures(st):
    run = st.tree.sources / "idle" / "run"
    first = run.read_text()
    r, left = cli_edit(st, "exit 7")
    assert r.returncode == 1 and "ended with status 7" in r.stderr and left == []
    r, left = cli_edit(st, 'echo mine >"$2"; exit 7')
    assert r.returncode == 1 and len(left) == 1
    left[0].unlink()
    r, left = cli_edit(st, 'echo " " >"$2"')
    assert r.returncode == 2 and "is empty" in r.stderr
    left[0].unlink()
    r, left = cli_edit(st, f'echo mine >"$2"; rm "{run}"')
    assert r.returncode == 1 and left[0].read_text() == "mine\n"
    left[0].unlink()
    run.write_text(first)
    e = dict(st.env, GANTRY_HOST=f"unix:{st.unix}", VISUAL="/nonexistent/editor $(touch /tmp/x)", EDITOR="true")
    r = subprocess.run([program("gantry"), "run-script", "edit", "robot", "idle"], capture_output=True, text=True, env=e,
                       timeout=patient(30))
    assert r.returncode == 1 and 'cannot start the editor "/nonexistent/editor"' in r.stderr
    e["VISUAL"] = "vi 'unended"
    r = subprocess.run([program("gantry"), "run-script", "edit", "robot", "idle"], capture_output=True, text=True, env=e,
                       timeout=patient(30))
    assert r.returncode == 1 and "a quote in it does not end" in r.stderr
    assert run.read_text() == first


def test_cli_edit_after_a_long_time(st):
    """gantryd is another one meanwhile: the connection that was open is gone."""
    run = st.tree.sources / "idle" / "run"
    go, done = st.root / "go", st.root / "done"
    t = threading.Thread(target=lambda: done.write_text(str(cli_edit(
        st, f'echo late >"$2"; touch "{go}"; while [ -e "{go}" ]; do sleep 0.05; done')[0].returncode)))
    t.start()
    wait_for("the editor", go.exists)
    st.stop_gantryd()
    st.start_gantryd()
    go.unlink()
    t.join(patient(60))
    assert done.read_text() == "0" and run.read_text() == "late\n"

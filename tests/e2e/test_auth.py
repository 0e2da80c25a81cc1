"""Identities and rights, from outside: every route against every kind of caller, guessing, replays, certificates,
users of Unix sockets, browsers, tricks in paths; and that every refusal is on record."""
import asyncio
import http.client
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest
import websockets

from harness import Stack, UnixHTTPConnection, ask, free_port, patient, program, wait_for, websocket
from test_protocol import Ca

GUARDED = {"token", "audit", "config"}
ROLES = {"viewer": {"read"}, "operator": {"read", "control"}, "admin": None}
PARAMS = {"container": "robot", "service": "idle", "profile": "nothing", "name": "nothing", "topic": "t", "file": "list.js", "id": "nothing"}
LOGS = "/ws/containers/robot/services/{}/logs"
REFUSED = {401, 403, 421, 429}
ids = itertools.count(1)
sources = itertools.count(1)


class Auth(Stack):
    """A stack with a listener that asks who it is, beside the open ones."""

    def __init__(self, root):
        super().__init__(root)
        self.asks = free_port()
        self.listeners.append(f'{{address: "127.0.0.1:{self.asks}", auth: required}}')
        self.refused = []  # (request id, status) of each refusal seen

    def note(self, request, status):
        if status in REFUSED:
            self.refused.append((request, status))

    def call(self, method, path, token=None, headers=None, body=None, source=None, port=None):
        """One request to the listener that asks, from an address of its own if that matters."""
        request = f"t{next(ids)}"
        h = {"X-Request-Id": request, **(headers or {})}
        if token is not None:
            h["Authorization"] = f"Bearer {token}"
        c = http.client.HTTPConnection("127.0.0.1", port or self.asks, timeout=patient(30),
                                       source_address=(source, 0) if source else None)
        r = ask(c, method, path, body, h)
        self.note(request, r.status)
        return r

    def token(self, name, *rights, **more):
        body = {"name": name, **more}
        if len(rights) == 1 and rights[0] in ROLES:
            body["role"] = rights[0]
        else:
            body["rights"] = list(rights)
        r = self.ask("POST", "/tokens", body)
        assert r.status == 201, r
        return r.json()["token"]

    def records(self):
        text = self.audit_file.read_text() if self.audit_file.exists() else ""
        lines = text[:text.rfind("\n") + 1].splitlines()  # the last one may be half written
        return {r["request"]: r for r in map(json.loads, lines)}


def unix_call(st, method, path, **kw):
    return ask(UnixHTTPConnection(st.unix), method, path, **kw)


def fresh():
    """An address that nobody has failed from."""
    n = next(sources)
    return f"127.{20 + n // 60000}.{n // 250 % 240 + 1}.{n % 250 + 1}"


@pytest.fixture(scope="module")
def auth(tmp_path_factory):
    st = Auth(tmp_path_factory.mktemp("auth"))
    st.start()
    yield st
    st.stop()
    st.check_clean()


@pytest.fixture(scope="module")
def operations(auth):
    """(method, path with names, verb, kind, open) of everything that the live document has."""
    found = []
    for path, item in auth.get("/openapi.json").json()["paths"].items():
        for method, op in item.items():
            if method not in {"get", "put", "post", "delete", "patch"}:
                continue
            verb, kind = op["x-gantry-right"].split(" ")
            asked = path.format(**PARAMS) + ("?after=nonsense" if path == "/v1/events" else "")  # it would never end
            found.append((method.upper(), asked, verb, kind, op.get("security") == []))
    assert len(found) > 25
    return found


def allowed(verbs, verb, kind):
    return verbs is None or kind == "self" or (verb in verbs and kind not in GUARDED)


def check(r, expected, what):
    if expected == 200:
        assert r.status not in REFUSED, (what, r)
    else:
        assert r.status == expected, (what, r)
    if r.status == 401:
        assert r.headers["www-authenticate"].startswith('Bearer realm="gantry"')
    if r.status in REFUSED:
        assert set(r.json()) == {"error", "detail"} and "gantry_" not in r.json()["error"]


@pytest.mark.parametrize("role", ROLES)
def test_every_route_for_every_role(auth, operations, role):
    token = auth.token(f"role-{role}", role)
    for method, path, verb, kind, is_open in operations:
        good = is_open or allowed(ROLES[role], verb, kind)
        check(auth.call(method, path, token), 200 if good else 403, (role, method, path))


def test_every_route_for_nobody_and_for_what_is_not_valid(auth, operations):
    revoked, began = auth.token("revoked", "admin"), time.monotonic()
    expired = auth.token("expired", "admin", expires_in=1)
    assert auth.call("GET", "/whoami", expired, source=fresh()).status == 200 or time.monotonic() - began > 1
    assert auth.call("GET", "/whoami", revoked).status == 200
    assert auth.ask("DELETE", "/tokens/revoked").status == 200
    time.sleep(1.1)
    shown = [None, "gantry_" + "A" * 43, revoked, expired]
    for method, path, verb, kind, is_open in operations:
        for token in shown:
            check(auth.call(method, path, token, source=fresh()), 200 if is_open else 401, (token, method, path))


def test_every_route_for_its_own_right_only(auth, operations):
    tokens = {}
    for method, path, verb, kind, is_open in operations:
        if is_open or kind == "self":
            continue
        for right, good in ((f"{verb} {kind} *", True), (f"* {kind} *", True), (f"{verb} nothing *", False),
                            (f"{'write' if verb != 'write' else 'read'} {kind} *", False)):
            if right not in tokens:
                tokens[right] = auth.token(f"own-{len(tokens)}", right)
            check(auth.call(method, path, tokens[right]), 200 if good else 403, (right, method, path))


def test_open_listeners_work_as_before_but_check_what_is_shown(auth, operations):
    for method, path, verb, kind, is_open in operations:
        assert auth.ask(method, path).status not in REFUSED, (method, path)
        assert unix_call(auth, method, path).status not in REFUSED, (method, path)
    assert auth.call("GET", "/containers", "wrong", source=fresh(), port=auth.port).status == 401
    assert auth.get("/whoami").json()["name"] == "open"
    assert unix_call(auth, "GET", "/whoami").json()["name"] == f"uid:{os.geteuid()}"


def test_patterns(auth):
    t = auth.token("pattern", "read service robot/id*", "control service robot/idle", "read container rob*")
    services = auth.call("GET", "/containers/robot/services", t).json()["services"]
    assert {s["id"] for s in services} == {"idle", "idle-log"}
    statuses = auth.call("GET", "/containers/robot/services/status", t).json()["statuses"]
    assert {s["name"] for s in statuses} == {"idle", "idle-log"}
    assert [c["name"] for c in auth.call("GET", "/containers", t).json()["containers"]] == ["robot"]
    for path, status in (("robot/services/idle", 200), ("robot/services/ticker", 403), ("missing/services/idle", 403)):
        assert auth.call("GET", f"/containers/{path}/status", t).status == status
    assert auth.call("GET", "/containers/missing/services", t).status == 403
    assert auth.call("POST", "/containers/robot/services/idle-log", t, body={"action": "up"}).status == 403
    assert auth.call("POST", "/containers/robot/services/idle", t, body={"action": "up"}).status == 200


TRICKS = [
    "robot%2Fservices%2Fticker", "robot/services/%2e%2e", "robot/services/idle%00", "robot/services/%00idle",
    "robot/services/..%2fticker", "robot/services/../../robot/services/ticker", "x/../robot/services/ticker",
    "robot/services/idle/../ticker", "robot/services/idle%2f..%2fticker", "robot/services/idle%252f..%252fticker",
    "robot/services//ticker", "robot//services/ticker", "robot/services/ticker/", "robot/services/ticker%20",
    "robot/services/ticker%0a", "robot/services/tick%65r", "Robot/services/ticker", "robot/services/" + "i" * 7000,
    "robot/services/idle;x=/ticker", "robot/services/idle%c0%afticker", "robot%00/services/ticker",
]


@pytest.mark.parametrize("path", TRICKS)
def test_tricks_in_names_never_widen_a_right(auth, path):
    """Whatever is made of a name: who may read and control `robot/idle` only, never gets at another service."""
    t = auth._one = getattr(auth, "_one", None) or auth.token("one-service", "* service robot/idle")
    before = auth.tree.svstat("ticker")
    for method, tail, body in (("GET", "/status", None), ("GET", "/logs", None), ("GET", "/run", None),
                               ("POST", "", {"action": "down"}), ("DELETE", "/logs", None)):
        for prefix in ("/containers/", "/"):
            r = auth.call(method, f"{prefix}{path}{tail}", t, body=body)
            assert r.status in (307, 400, 401, 403, 404, 405, 414), (method, path, tail, r)
    assert auth.tree.svstat("ticker").startswith("up") and before.startswith("up")


def test_tokens_cannot_be_shown_elsewhere(auth):
    t = auth.token("elsewhere", "viewer")
    assert auth.call("GET", "/containers", t).status == 200
    for path, headers in ((f"/containers?token={t}&access_token={t}", {}), ("/containers", {"Cookie": f"token={t}"}),
                          ("/containers", {"Authorization": f"Basic {t}"}), ("/containers", {"X-Auth-Token": t}),
                          ("/containers", {"Sec-WebSocket-Protocol": f"gantry.bearer.{t}"})):
        assert auth.call("GET", path, headers=headers).status == 401, headers


def test_guessing_is_slowed_down(auth):
    for turn in range(20):
        guesser, neighbour = fresh(), fresh()
        good, later = auth.token(f"guess-good-{turn}", "viewer"), auth.token(f"guess-later-{turn}", "viewer")
        assert auth.call("GET", "/containers", good, source=guesser).status == 200
        began = time.monotonic()
        got = [auth.call("GET", "/containers", f"gantry_{i:043}", source=guesser) for i in range(30)]
        right = auth.call("GET", "/containers", later, source=guesser)
        if time.monotonic() - began < 6:
            break  # else a try may have come back meanwhile: anew, from elsewhere
    assert [r.status for r in got[:10]] == [401] * 10
    assert {r.status for r in got[10:]} == {429}
    assert 1 <= int(got[-1].headers["retry-after"]) <= 6
    # A right guess does not get in either; who was let in before goes on; others notice nothing.
    assert right.status == 429
    assert auth.call("GET", "/containers", good, source=guesser).status == 200
    assert auth.call("GET", "/containers", later, source=neighbour).status == 200
    time.sleep(6.2)
    assert auth.call("GET", "/containers", later, source=guesser).status == 200


def test_replays(auth):
    where, began = fresh(), time.monotonic()
    t = auth.token("replayed", "viewer", expires_in=2)
    r = auth.call("GET", "/whoami", t, source=where)
    assert r.json()["expires"] if r.status == 200 else time.monotonic() - began > 2
    time.sleep(2.1)
    r = auth.call("GET", "/whoami", t, source=where)
    assert r.status == 401 and "expired" in r.json()["error"]
    t = auth.token("replayed2", "viewer")
    assert auth.call("GET", "/whoami", t, source=where).status == 200
    assert auth.ask("DELETE", "/tokens/replayed2").json()["revoked"]
    assert auth.call("GET", "/whoami", t, source=where).status == 401
    assert auth.ask("DELETE", "/tokens/replayed2").status == 404


def test_tokens_survive_a_restart_and_revoked_ones_do_not_come_back(auth):
    kept, gone = auth.token("kept", "operator"), auth.token("gone", "operator")
    assert auth.ask("DELETE", "/tokens/gone").status == 200
    auth.stop_gantryd()
    state = auth.root / "state"
    assert oct((state / "tokens.json").stat().st_mode & 0o777) == "0o600"
    text = (state / "tokens.json").read_text()
    assert kept not in text and kept[7:] not in text and '"kept"' in text and '"gone"' not in text
    assert [p.name for p in state.iterdir() if not p.name.startswith("state.db")] == ["tokens.json"]
    auth.start_gantryd()
    where = fresh()
    assert auth.call("GET", "/whoami", kept, source=where).json()["name"] == "token:kept"
    assert auth.call("GET", "/whoami", gone, source=where).status == 401


def test_nobody_gives_away_more_than_he_has(auth):
    t = auth.token("maker", "admin token m-*", "read service robot/*")
    def make(name, **body):
        return auth.call("POST", "/tokens", t, body={"name": name, **body})
    assert make("m-1", role="viewer").status == 403
    assert make("m-1", role="admin").status == 403
    assert make("m-1", rights=["read service *"]).status == 403
    assert make("x-1", rights=["read service robot/idle"]).status == 403
    assert make("m-1", rights=["read service robot/idle"]).status == 201
    assert make("m-1", rights=["read service robot/idle"]).status == 409
    for bad in ({}, {"role": "viewer", "rights": []}, {"role": "king"}, {"rights": ["read"]}, {"rights": [1]},
                {"rights": []}, {"rights": ["read service robot/*"] * 17}, {"rights": ["read service robot/*"], "expires_in": 0}):
        assert make("m-2", **bad).status in (400, 422), bad
    assert auth.call("DELETE", "/tokens/kept", t).status == 403
    assert [x["name"] for x in auth.call("GET", "/tokens", auth.token("seer", "read token m-*")).json()["tokens"]] == ["m-1"]
    assert auth.call("DELETE", "/tokens/m-1", t).status == 200


def test_rebinding_and_other_sites(auth):
    t = auth.token("browser", "admin")
    assert auth.call("GET", "/containers", t, headers={"Host": "evil.example"}).status == 421
    assert auth.call("GET", "/containers", t, headers={"Host": f"evil.example:{auth.asks}"}).status == 421
    post = dict(method="POST", path="/containers/robot/services/idle", token=t, body={"action": "up"})
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost.evil.example"},
                    {"Sec-Fetch-Site": "cross-site"}, {"Origin": f"https://127.0.0.1:{auth.asks}.evil.example"}):
        assert auth.call(headers=headers, **post).status == 403, headers
        # A form of another site, on a listener that asks nobody.
        form = {"Content-Type": "text/plain", **headers}
        r = auth.call("POST", "/containers/robot/services/idle", headers=form, body='{"action":"up"}', port=auth.port)
        assert r.status == 403
    for headers in ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-origin"},
                    {"Origin": f"http://127.0.0.1:{auth.asks}"}, {}):
        assert auth.call(headers=headers, **post).status == 200, headers


def test_websockets(auth):
    viewer, other = auth.token("ws-viewer", "viewer"), auth.token("ws-other", "read service robot/tick*")

    async def status(path, port=auth.asks, protocols=None, **headers):
        request = f"t{next(ids)}"
        h = {"X-Request-Id": request, **{k.replace("_", "-"): v for k, v in headers.items()}}
        try:
            async with websocket(f"ws://127.0.0.1:{port}{path}", subprotocols=protocols, extra_headers=h) as ws:
                frame = json.loads(await asyncio.wait_for(ws.recv(), patient(20)))
                assert frame["type"] == "logs"
                return ws.subprotocol or "open"
        except websockets.InvalidStatusCode as e:
            auth.note(request, e.status_code)
            return e.status_code

    async def go():
        path, where = LOGS.format("ticker"), dict(Authorization=f"Bearer {viewer}")
        assert await status(path) == 401
        assert await status(path, Authorization="Bearer wrong") == 401
        assert await status(path, **where) == "open"
        assert await status(path, protocols=["gantry.v1", f"gantry.bearer.{viewer}"]) == "gantry.v1"
        assert await status(path, protocols=["gantry.v1", "gantry.bearer.wrong"]) == 401
        assert await status(path, Authorization=f"Bearer {other}") == "open"
        assert await status(LOGS.format("idle"), Authorization=f"Bearer {other}") == 403
        assert await status(path + f"?token={viewer}") == 401
        for port in (auth.asks, auth.port):
            assert await status(path, port, Origin="https://evil.example", **where) == 403
            assert await status(path, port, Origin="http://localhost:8080", **where) == "open"
        assert await status(path, auth.port) == "open"
        assert await status(path, auth.port, protocols=["gantry.v1", "gantry.bearer.wrong"]) == 401
    asyncio.run(asyncio.wait_for(go(), patient(60)))
    assert b" 421 " in raw_upgrade(auth, LOGS.format("ticker"), "evil.example", viewer)


def raw_upgrade(st, path, host, token):
    with socket.create_connection(("127.0.0.1", st.asks), timeout=patient(20)) as s:
        s.sendall((f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
                   f"Authorization: Bearer {token}\r\n\r\n").encode())
        return s.recv(4096).split(b"\r\n")[0]


def test_open_streams_end_with_their_token(auth):
    """A live log is cut at its next line once its token is revoked or has expired."""
    async def go(end, life):
        """False if the token did not live long enough to get in."""
        name = f"stream-{end}-{life}"
        began = time.monotonic()
        t = auth.token(name, "viewer", **({"expires_in": life} if end == "expires" else {}))
        try:
            ws = await websocket(f"ws://127.0.0.1:{auth.asks}{LOGS.format('ticker')}", extra_headers={"Authorization": f"Bearer {t}"})
        except websockets.InvalidStatusCode as e:
            assert end == "expires" and e.status_code == 401 and time.monotonic() - began > life
            return False
        with pytest.raises(websockets.ConnectionClosed) as e:
            if end == "revoked":
                await asyncio.wait_for(ws.recv(), patient(20))
                assert (await asyncio.to_thread(auth.ask, "DELETE", f"/tokens/{name}")).status == 200
            while True:
                await asyncio.wait_for(ws.recv(), patient(20))
        assert e.value.rcvd.code == 1008
        return True
    for end in ("revoked", "expires"):
        assert any(asyncio.run(asyncio.wait_for(go(end, life), patient(60))) for life in (2, 10, 50))


def test_the_command_line(auth, tmp_path):
    r = auth.cli("token", "create", "cli", "--right", "read service robot/*", "--right", "read container *", "--expires", "1h")
    assert r.returncode == 0, r.stderr
    f = tmp_path / "token"
    f.touch(0o600)
    f.write_text(r.stdout)
    there = ("--host", f"http://127.0.0.1:{auth.asks}")
    assert auth.cli(*there, "containers").returncode == 4
    r = auth.cli(*there, "--token-file", str(f), "whoami", "-o", "json")
    assert json.loads(r.stdout)["name"] == "token:cli"
    assert auth.cli(*there, "--token-file", str(f), "services", "robot").returncode == 0
    r = auth.cli(*there, "--token-file", str(f), "down", "robot", "idle")
    assert r.returncode == 4 and "control service robot/idle" in r.stderr
    assert "cli " in auth.cli("token", "list").stdout
    assert auth.cli("token", "revoke", "cli").returncode == 0
    assert auth.cli(*there, "--token-file", str(f), "services", "robot").returncode == 4
    assert auth.cli("token", "revoke", "cli").returncode == 1
    assert auth.cli("token", "create", "x").returncode == 2
    assert auth.cli("token", "create", "x", "--role", "viewer", "--expires", "soon").returncode == 2


def test_everything_refused_and_changed_is_on_record(auth):
    """Last of this stack: each refusal of all the tests above, by its request's id; and no token in any log."""
    assert len(auth.refused) > 300
    want = dict(auth.refused)
    records = wait_for("the last record", lambda: (lambda r: r if all(k in r for k in want) else None)(auth.records()))
    for request, status in want.items():
        r = records[request]
        assert r["status"] == status and r["result"] == "refused" and r["detail"] and r["peer"].startswith("127."), r
    by = [(r["method"], r["name"], r["who"], r["result"]) for r in records.values()]
    assert ("POST", "role-viewer", "open", "done") in by and ("DELETE", "replayed2", "open", "done") in by
    for text in (auth.audit_file.read_text(), auth.gantryd.text()):
        assert "gantry_" not in text


# --- certificates, users, listeners: stacks of their own ---


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_certificates(own_stack, tmp_path):
    st = own_stack
    ca, other = Ca(tmp_path), tmp_path / "other"
    other.mkdir()
    server, port = ca.issue("server", "localhost"), free_port()
    mapped, unmapped = ca.issue("c1", "ops-alice"), ca.issue("c2", "someone")
    wrong = Ca(other, "other").issue("c3", "ops-alice")
    st.listeners.append(f'{{address: "127.0.0.1:{port}", auth: required, tls: {{cert: "{server[0]}", key: "{server[1]}", '
                        f'client_ca: "{tmp_path}/ca.pem"}}}}')
    st.auth.append('certificates: [{name: "ops-*", role: operator}]')
    st.start()

    def tls(method, path, cert=None):
        ctx = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        if cert:
            ctx.load_cert_chain(*map(str, cert))
        return ask(http.client.HTTPSConnection("localhost", port, context=ctx, timeout=patient(20)), method, path)

    who = tls("GET", "/whoami", mapped).json()
    assert who["name"] == "cert:ops-alice" and who["kind"] == "certificate"
    assert tls("POST", "/containers/robot/services/idle", mapped).status == 422
    assert tls("PUT", "/containers/robot/services/idle/run", mapped).status == 403
    assert tls("GET", "/tokens", mapped).status == 403
    r = tls("GET", "/whoami", unmapped)
    assert r.status == 401 and '"someone"' in r.json()["error"]
    assert tls("GET", "/whoami").status == 401
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls("GET", "/whoami", wrong)


ASK_AS = """
import http.client, os, socket, sys
path, uid, groups, target = sys.argv[1], int(sys.argv[2]), [int(g) for g in sys.argv[3].split(",") if g], sys.argv[4]
os.setgroups(groups); os.setgid(uid); os.setuid(uid)
class C(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect(path)
c = C("x"); c.request("GET", target); r = c.getresponse(); print(r.status, r.read().decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_users_of_a_unix_socket(own_stack):
    st = own_stack
    everybody = str(st.sockets / "everybody.sock")
    st.listeners.append(f'{{address: "unix:{everybody}", mode: "0666"}}')
    st.auth += ['peers:', '  - {uid: 20001, role: viewer}', '  - {group: "20100", rights: ["read container *"]}',
                '  - {user: nobody, role: operator}']
    st.start()
    st.sockets.chmod(0o755)

    def ask_as(uid, groups, target):
        r = subprocess.run([sys.executable, "-c", ASK_AS, everybody, str(uid), groups, target], capture_output=True,
                           text=True, timeout=patient(30))
        assert r.returncode == 0, r.stderr
        status, body = r.stdout.split(" ", 1)
        return int(status), json.loads(body)

    assert ask_as(20001, "", "/whoami")[1]["rights"] == ["read * *"]
    assert ask_as(20001, "20100", "/whoami")[1]["rights"] == ["read * *"]  # the first rule that fits
    assert ask_as(20002, "20100", "/whoami")[1] == {"name": "uid:20002", "kind": "peer", "rights": ["read container *"],
                                                    "expires": None}
    many = ",".join(str(g) for g in range(20000, 20101))
    assert ask_as(20002, many, "/containers")[0] == 200
    assert ask_as(20002, "20100", "/containers/robot/services")[0] == 403
    status, body = ask_as(20003, "20101", "/containers")
    assert status == 401 and "user 20003" in body["error"]
    assert ask_as(0, "", "/whoami")[1]["rights"] == ["* * *"]
    nobody = ask_as(65534, "", "/whoami")[1]
    assert nobody["name"] == "uid:65534" and "control * *" in nobody["rights"]


def test_ids_of_the_engine_do_not_widen_a_right(own_stack, engine):
    """The engine takes the beginning of an id for a name; a right to some names must not reach others that way."""
    st, d = own_stack, engine.docker
    st.docker_socket = engine.socket
    st.start_gantryd()
    d("create", "--name", "auth_mine", "busybox:local", "true")
    other = d("create", "--name", "auth_other", "busybox:local", "true").strip()
    wait_for("the engine seen", lambda: st.get("/docker/containers").status == 200)
    short = other[:12]

    def token(name, *rights):
        t = st.ask("POST", "/tokens", {"name": name, "rights": list(rights)}).json()["token"]
        return {"Authorization": f"Bearer {t}"}

    mine = token("mine", "* docker-container auth_mine", f"* docker-container {short[:2]}*")
    everything = token("everything", "read docker-container *")
    assert st.get("/docker/containers/auth_mine/status", headers=mine).status == 200
    assert [c["name"] for c in st.get("/docker/containers?all=true", headers=mine).json()["containers"]] == ["auth_mine"]
    assert st.get("/docker/containers/auth_other/status", headers=mine).status == 403
    for name in (short, other):
        for method, tail, body in (("GET", "/status", None), ("GET", "/logs", None), ("POST", "", {"action": "start"})):
            assert st.ask(method, f"/docker/containers/{name}{tail}", body, headers=mine).status == 404, (name, tail)
        assert st.get(f"/{name}/bashrc", headers=mine).status == 404
        assert st.get(f"/docker/containers/{name}/status", headers=everything).json()["name"] == "auth_other"
    assert st.get("/docker/containers/auth_other/status").json()["status"] == "created"
    d("rm", "auth_mine", "auth_other")


def test_new_rules_end_what_came_in_by_the_old_ones(own_stack):
    st = own_stack
    st.auth[:] = [f"peers: [{{uid: {os.geteuid()}, role: viewer}}]"]
    st.start()

    def reload(role):
        st.auth[:] = [f"peers: [{{uid: {os.geteuid()}, role: {role}}}]"]
        (st.root / "config.yml").write_text(st.config())
        n = st.gantryd.text().count("config-reloaded")
        st.gantryd.p.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: st.gantryd.text().count("config-reloaded") > n)

    c = UnixHTTPConnection(st.unix)
    c.request("GET", "/containers/robot/services/ticker/logs?follow=true")
    r = c.getresponse()
    assert r.status == 200 and r.read1(100)
    reload("viewer")
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert r.read1(100)  # goes on: nothing has changed
    assert unix_call(st, "POST", "/containers/robot/services/idle", body={"action": "up"}).status == 403
    reload("operator")
    assert unix_call(st, "POST", "/containers/robot/services/idle", body={"action": "up"}).status == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        while r.read1(100000):
            pass
        raise ConnectionError
    c.close()


def start_with(tmp_path, text, *flags):
    f = tmp_path / "c.yml"
    f.write_text(f'auth: {{tokens: "{tmp_path}/tokens.json"}}\naudit: {{file: none}}\n{text}')
    return subprocess.run([program("gantryd"), "--config", str(f), *flags], capture_output=True, text=True, timeout=patient(20))


@pytest.mark.parametrize("flags", [(), ("--check-config",)])
def test_beyond_this_machine_only_with_identities(tmp_path, flags):
    listener = 'http: {listeners: [{address: "0.0.0.0:0"%s}]}\n'
    r = start_with(tmp_path, listener % "", *flags)
    assert r.returncode != 0 and "insecure: true" in r.stderr and "gantry token create" in r.stderr
    r = start_with(tmp_path, listener % ", auth: none", *flags)
    assert r.returncode != 0 and "insecure: true" in r.stderr


@pytest.mark.parametrize("more,word", [(", auth: required", "plain-tokens"), (", insecure: true", "insecure")])
def test_beyond_this_machine_with_a_warning(own_stack, more, word):
    own_stack.listeners.append(f'{{address: "0.0.0.0:{free_port()}"{more}}}')
    own_stack.start_gantryd()
    assert f'"id":"{word}"' in own_stack.gantryd.text()


def test_a_token_is_enough_to_listen_beyond_this_machine(own_stack):
    st = own_stack
    st.start_gantryd()
    token = st.ask("POST", "/tokens", {"name": "t", "role": "viewer"}).json()["token"]
    st.stop_gantryd()
    port = free_port()
    st.listeners.append(f'{{address: "0.0.0.0:{port}"}}')
    st.start_gantryd()
    c = lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=patient(20))  # noqa: E731
    assert ask(c(), "GET", "/containers").status == 401
    assert ask(c(), "GET", "/containers", headers={"Authorization": f"Bearer {token}"}).status == 200


def test_required_everywhere(own_stack):
    st = own_stack
    st.auth.append("required: true")
    st.start_gantryd(wait=False)
    wait_for("the Unix socket", lambda: '"id":"started"' in st.gantryd.text())
    assert st.get("/containers").status == 401
    assert st.get("/healthz").status == 200
    token = ask(UnixHTTPConnection(st.unix), "POST", "/tokens", {"name": "a", "role": "viewer"}).json()["token"]
    assert st.get("/containers", headers={"Authorization": f"Bearer {token}"}).status == 200


@pytest.mark.parametrize("text,mode,word", [
    ('{"version":1,"tokens":[]}', 0o644, "0644"), ("{", 0o600, "JSON"), ('{"version":7,"tokens":[]}', 0o600, "version 7")])
def test_a_token_file_that_cannot_be_trusted_is_refused(tmp_path, text, mode, word):
    f = tmp_path / "tokens.json"
    f.write_text(text)
    f.chmod(mode)
    r = start_with(tmp_path, 'http: {listeners: [{address: "127.0.0.1:0"}]}\n')
    assert r.returncode != 0 and word in r.stderr and str(f) in r.stderr
    assert f.read_text() == text

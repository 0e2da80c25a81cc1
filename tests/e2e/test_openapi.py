"""The API's documents: the OpenAPI text, the pages made of it, and what the browser sees of them."""
import gzip
import json
import pathlib
import re
import shutil
import subprocess

import pytest

import openapi
from harness import SANITIZED, Stack, build_dir, patient, program, wait_for

TESTS = pathlib.Path(__file__).resolve().parents[1]
TYPES = {"swagger-ui.css": "text/css; charset=utf-8", "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
         "swagger-init.js": "text/javascript; charset=utf-8", "redoc.standalone.js": "text/javascript; charset=utf-8",
         "redoc-init.js": "text/javascript; charset=utf-8", "favicon-32x32.png": "image/png"}


def apidocs():
    """The folder of the pages. A build folder of the sanitizers has none of its own."""
    for d in (build_dir(), TESTS.parent / "build"):
        if (d / "share" / "apidocs").is_dir():
            return d / "share" / "apidocs"
    pytest.fail("no pages in the build folder: run make build")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A gantryd with the pages."""
    st = Stack(tmp_path_factory.mktemp("pages"))
    st.extra_config = f'  docs_root: "{apidocs()}"\n'
    st.start_gantryd()
    yield st
    st.stop()
    st.check_clean()


# --- the document ---

@pytest.fixture(scope="module")
def validate():
    """A public validator, from the npm package that tests/web names."""
    root = build_dir() / "tests-web"
    lock = (TESTS / "web" / "package-lock.json").read_text()
    if not (root / "node_modules").is_dir() or (root / "package-lock.json").read_text() != lock:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(TESTS / "web", root)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=root, check=True, timeout=patient(200))

    def run(document, path):
        path.write_text(json.dumps(document))
        return subprocess.run(
            ["node", "node_modules/@seriousme/openapi-schema-validator/bin/validate-api-cli.js", str(path)], cwd=root,
            capture_output=True, text=True, timeout=patient(120))
    return run


def test_a_public_validator_accepts_it(validate, pages, tmp_path):
    d = pages.get("/openapi.json").json()
    r = validate(d, tmp_path / "d.json")
    assert r.returncode == 0 and json.loads(r.stdout) == {"valid": True}, r.stdout
    del d["info"]["version"]
    assert validate(d, tmp_path / "bad.json").returncode != 0


def test_members(pages):
    d = pages.get("/openapi.json").json()
    assert list(d) == ["openapi", "info", "servers", "security", "tags", "paths", "components", "x-gantry-websockets"]
    assert d["info"]["title"] == "Gantry API" and d["info"]["license"]["identifier"] == "Apache-2.0"
    assert d["servers"][0]["url"] == "/"
    assert set(d["components"]["securitySchemes"]) == {"bearer", "mutualTLS"}
    assert all(t["description"] for t in d["tags"])
    assert {w["path"] for w in d["x-gantry-websockets"]} >= {"/ws/containers/{container}/services/{service}/logs"}
    tags = {t["name"] for t in d["tags"]}
    ids = []
    for path, item in d["paths"].items():
        for method, op in item.items():
            assert op["summary"] and set(op["tags"]) <= tags, path
            assert re.fullmatch(r"(read|control|write|delete|admin) [a-z-]+", op["x-gantry-right"]), op["x-gantry-right"]
            params = [openapi.deref(p) for p in op.get("parameters", [])]
            assert [p["name"] for p in params if p["in"] == "path"] == re.findall(r"\{(\w+)\}", path)
            ids.append(op["operationId"])
    assert len(ids) == len(set(ids))
    follow = d["paths"]["/containers/{container}/services/{service}/logs"]["get"]["responses"]["200"]["content"]
    assert set(follow) == {"application/json", "text/event-stream"}


def test_examples_fit_their_schemas(pages):
    n = 0
    for item in openapi.strict()["paths"].values():
        for op in item.values():
            contents = [op.get("requestBody", {}).get("content", {})]
            contents += [openapi.deref(r).get("content", {}) for r in op["responses"].values()]
            for c in contents:
                if "example" in c.get("application/json", {}):
                    openapi.fits(c["application/json"]["example"], c["application/json"]["schema"])
                    n += 1
    assert n > 50


def test_every_operation_is_served(pages):
    """Each path and method of the document leads to a call, and others of the same path do not."""
    for path in openapi.document()["paths"]:
        at = re.sub(r"\{\w+\}", "x", path)
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            # The stream of events would never end.
            r = pages.ask(method, at + ("?after=nonsense" if at == "/v1/events" else ""))
            served = r.status != 405 and not (r.status == 404 and r.json() == {"detail": "Not Found"})
            assert served == (openapi.operation(method, at) is not None), f"{method} {path}: {r}"


def test_the_check_of_answers_can_fail():
    status = "/containers/robot/services/idle/status"
    good = {"container": "robot", "service": "idle", "service_label": "idle", "name": "idle", "raw": "", "is_up": True,
            "pid": 1, "uptime_seconds": None}
    ok = {"content-type": "application/json"}
    openapi.check("GET", status, 200, ok, json.dumps(good).encode())
    error = b'{"error":"x","detail":null}'
    openapi.check("GET", status, 404, ok, error)
    for code, headers, body in (
            (200, ok, dict(good, pid="1")), (200, ok, dict(good, more=1)), (200, ok, {"name": "idle"}),
            (200, {"content-type": "text/plain"}, good), (202, ok, good), (404, ok, {"detail": "Not Found"})):
        with pytest.raises(AssertionError):
            openapi.check("GET", status, code, headers, json.dumps(body).encode())
    with pytest.raises(AssertionError):
        openapi.check("GET", "/nowhere", 500, ok, error)


def test_it_is_not_sent_twice(pages):
    for path in ("/openapi.json", "/docs", "/docs/swagger-ui.css"):
        r = pages.get(path)
        tag = r.headers["etag"]
        assert r.headers["cache-control"] == "no-cache"
        for same in (tag, f'"other", W/{tag}', "*"):
            again = pages.get(path, headers={"If-None-Match": same})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert pages.get(path, headers={"If-None-Match": '"other"'}).status == 200


# --- the files ---

def test_files(pages):
    root = apidocs()
    for name, kind in TYPES.items():
        plain, zipped = pages.get(f"/docs/{name}"), pages.get(f"/docs/{name}", headers={"Accept-Encoding": "gzip"})
        for r in (plain, zipped):
            assert (r.status, r.headers["content-type"]) == (200, kind)
            assert r.headers["x-content-type-options"] == "nosniff"
        assert plain.body == (root / name).read_bytes() and "content-encoding" not in plain.headers
        if kind.startswith("text/"):
            assert zipped.headers["content-encoding"] == "gzip" and "accept-encoding" in zipped.headers["vary"]
            assert gzip.decompress(zipped.body) == plain.body and len(zipped.body) < len(plain.body)
        head = pages.ask("HEAD", f"/docs/{name}")
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", plain.headers["etag"])
    for page in ("/docs", "/redoc"):
        policy = pages.get(page).headers["content-security-policy"]
        assert "default-src 'self'" in policy and "script-src" not in policy and "frame-ancestors 'none'" in policy


def test_only_files_of_the_list(pages):
    for name in ("swagger.html", "redoc.html", "licenses", "%2e%2e", "..", "swagger-ui.css.gz", "%2e%2e%2fVERSION",
                 "swagger-ui.css%00", "Swagger-UI.css", ".", "..%2f..%2f..%2fetc%2fpasswd", "~", "%ff"):
        r = pages.get(f"/docs/{name}")
        assert r.status == 404 and set(r.json()) <= {"error", "detail"}, name
    assert pages.ask("PUT", "/docs/swagger-ui.css", {}).status == 405


def test_a_slow_reader_costs_little(pages):
    """Ten clients ask for a file and do not read; none of it is held in memory beyond its queue."""
    import socket
    used = lambda: int(re.search(r"Private_Dirty: +(\d+)", pathlib.Path(
        f"/proc/{pages.gantryd.pid}/smaps_rollup").read_text()).group(1))
    pages.get("/docs/swagger-ui-bundle.js")
    before, clients = used(), []
    for _ in range(10):
        s = socket.create_connection(pages.address)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(s)
    assert pages.get("/").status == 200
    if not SANITIZED:
        assert used() - before < 10 * 400
    for s in clients:
        s.close()
    wait_for("the files are closed", lambda: not [f for f in pathlib.Path(
        f"/proc/{pages.gantryd.pid}/fd").iterdir() if "apidocs" in str(f.resolve())])


def test_without_the_files(tmp_path):
    st = Stack(tmp_path)
    st.extra_config = f'  docs_root: "{tmp_path}/nothing"\n'
    try:
        st.start_gantryd()
        for page in ("/docs", "/redoc"):
            r = st.get(page)
            assert r.status == 200 and b"not installed" in r.body and b"<script>" not in r.body
        assert st.get("/docs/list.js").headers["content-type"] == "text/javascript; charset=utf-8"
        assert st.get("/docs/swagger-ui.css").status == 404
        dom, console, _ = browse(st, "docs", tmp_path)
        assert "Status of a service" in dom and not console
        # What is installed while it runs is there at once.
        shutil.copytree(apidocs(), tmp_path / "nothing")
        assert b"swagger-ui" in st.get("/docs").body and st.get("/docs/swagger-ui.css").status == 200
    finally:
        st.stop()
    st.check_clean()


def test_an_installation_finds_its_files(tmp_path, monkeypatch):
    """Beside the program, under whatever prefix it was put."""
    monkeypatch.setattr("harness.program", lambda name: str(tmp_path / "prefix" / "sbin" / name))
    (tmp_path / "prefix" / "sbin").mkdir(parents=True)
    shutil.copy(program("gantryd"), tmp_path / "prefix" / "sbin" / "gantryd")
    shutil.copytree(apidocs(), tmp_path / "prefix" / "share" / "gantry" / "apidocs")
    st = Stack(tmp_path)
    try:
        st.start_gantryd()
        assert b"swagger-ui" in st.get("/docs").body
    finally:
        st.stop()
    st.check_clean()


def test_docs_root_must_be_a_whole_path(tmp_path):
    st = Stack(tmp_path)
    st.extra_config = '  docs_root: "share"\n'
    st.start_gantryd(wait=False)
    wait_for("its end", lambda: not st.gantryd.alive())
    assert 'docs_root "share"' in st.gantryd.text()
    st.gantryd.stop()
    st.gantryd = None
    st.stop()


# --- the browser ---

def browse(st, page, tmp_path):
    """What headless Chromium makes of a page: (DOM, lines of its console, URLs that the page asked for)."""
    net = tmp_path / f"net-{page}.json"
    r = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/chromium-{page}",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
         "--disable-dev-shm-usage", "--virtual-time-budget=20000",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--log-net-log={net}", "--enable-logging=stderr",
         "--dump-dom", f"{st.url}/{page}"], capture_output=True, text=True, timeout=patient(120))
    assert r.returncode == 0, r.stderr[-3000:]
    events = json.loads(net.read_text())["events"]
    asked = {e["params"]["url"] for e in events
             if "url" in e.get("params", {}) and e["params"].get("initiator") == st.url}
    return r.stdout, [line for line in r.stderr.splitlines() if "CONSOLE" in line], asked


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_in_a_browser(pages, page, tmp_path):
    dom, console, asked = browse(pages, page, tmp_path)
    for text in ("Gantry API", "Status of a service", "Start, stop or restart a container", "Replace the run script"):
        assert text in dom, text
    assert console == []
    assert f"{pages.url}/openapi.json" in asked
    assert all(url.startswith(pages.url + "/") for url in asked), asked


def test_the_browser_test_can_fail(tmp_path):
    """A page that loads from elsewhere, and scripts in it, are stopped by the policy, and that is seen."""
    root = tmp_path / "bad"
    root.mkdir()
    (root / "swagger.html").write_text(
        "<!doctype html><title>x</title><script>document.title='inline'</script>"
        "<script src='http://cdn.example/x.js'></script><p>here</p>")
    st = Stack(tmp_path)
    st.extra_config = f'  docs_root: "{root}"\n'
    try:
        st.start_gantryd()
        dom, console, asked = browse(st, "docs", tmp_path)
        assert "here" in dom and "inline</title>" not in dom
        assert len([c for c in console if "Content Security Policy" in c]) >= 2, console
        assert not any("cdn.example" in url for url in asked)
    finally:
        st.stop()
    st.check_clean()

"""Every answer of gantryd that the tests get is held against its own OpenAPI document.

harness.ask calls check(); what the document does not tell - a status, a media type, a member of an answer -
fails the test that met it.
"""
import copy
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse

import jsonschema


@functools.cache
def document():
    """The document of the gantryd under test, asked of one that serves nothing else."""
    import harness

    root = pathlib.Path(tempfile.mkdtemp(prefix="gantry-doc-"))
    sock = root / "s"
    (root / "config.yml").write_text(f'state: {{path: "{root}/state/state.db"}}\naudit: {{file: none}}\nauth: {{tokens: "{root}/tokens.json"}}\n'
                                     f'docker: {{socket: "{root}/none"}}\nhttp:\n  listeners:\n    - address: "unix:{sock}"\n')
    env = {k: v for k, v in os.environ.items() if not k.startswith("GANTRY_")}
    with open(root / "log", "wb") as log:
        p = subprocess.Popen([harness.program("gantryd"), "--config", str(root / "config.yml")], stdout=log,
                             stderr=log, env=env)
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    c = harness.UnixHTTPConnection(sock)
                    c.request("GET", "/openapi.json")
                    r = c.getresponse()
                    text = r.read()
                    assert r.status == 200, text
                    return json.loads(text)
                except (OSError, http.client.HTTPException):
                    assert time.monotonic() < end and p.poll() is None, (root / "log").read_text()
                    time.sleep(0.02)
        finally:
            p.terminate()
            p.wait(30)
            shutil.rmtree(root)


@functools.cache
def strict():
    """The same, with every schema closed: a member that it does not have is a fault."""
    d = copy.deepcopy(document())
    for s in d["components"]["schemas"].values():
        if "properties" in s:
            s["additionalProperties"] = False
    return d


@functools.cache
def templates():
    """[(pattern, item)] in the order of the document, which is that of the route table."""
    out = []
    for path, item in strict()["paths"].items():
        rx = "".join("(.*)" if p == "{topic}" else "([^/]+)" if p.startswith("{") else re.escape(p)
                     for p in re.split(r"(\{[^}]*\})", path))
        out.append((re.compile(rx, re.S), item))
    return out


def operation(method, target):
    """What the document says of a request, or None."""
    path = urllib.parse.unquote(target.split("?")[0], errors="replace")
    method = "get" if method == "HEAD" else method.lower()
    taken = False  # an older call has this path: newer ones give way, whatever its method
    for rx, item in templates():
        if not rx.fullmatch(path):
            continue
        if method in item and not (taken and item[method].get("x-gantry-yields")):
            return item[method]
        taken = taken or not all(op.get("x-gantry-yields") for op in item.values())
    return None


def deref(o):
    while "$ref" in o:
        at = strict()
        for key in o["$ref"].removeprefix("#/").split("/"):
            at = at[key]
        o = at
    return o


def fits(value, schema):
    resolver = jsonschema.RefResolver.from_schema(strict())
    jsonschema.Draft202012Validator(schema, resolver=resolver).validate(value)


# What the framework answers where no call is reached.
NO_CALL = {404: "Detail", 405: "Detail", 400: None, 401: "ErrorResponse", 403: "ErrorResponse", 421: "ErrorResponse",
           429: "ErrorResponse", 503: "ErrorResponse", 200: None, 307: None}


def check(method, target, status, headers, body):
    """Raises AssertionError if the answer is not one that the document tells."""
    if target.startswith("http") or target.startswith("/ws/"):  # a whole URL; WebSockets are no operations
        return
    what = f"{method} {target} -> {status}"
    media = headers.get("content-type", "").split(";")[0]
    op = operation(method, target)
    if op is None or status == 405:  # HEAD where there is only GET
        assert status in NO_CALL, f"{what}: no call, and no answer of the framework"
        if NO_CALL[status] and body:
            fits(json.loads(body), {"$ref": f"#/components/schemas/{NO_CALL[status]}"})
        return
    told = op["responses"].get(str(status)) or (status >= 400 and op["responses"].get("default"))
    assert told, f"{what}: the document has only {list(op['responses'])}"
    answer = deref(told)
    if method == "HEAD" or status == 304:
        assert body == b"", what
        return
    content = answer.get("content", {})
    assert media in content or "*/*" in content, f"{what}: {media!r} is not in {list(content)}"
    if media == "application/json" and media in content:
        try:
            fits(json.loads(body), content[media]["schema"])
        except jsonschema.ValidationError as e:
            raise AssertionError(f"{what}: {e.message} at {list(e.absolute_path)}\n{body[:2000]!r}") from None

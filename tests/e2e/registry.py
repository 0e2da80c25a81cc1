"""A registry of one image for a Docker Engine to pull from: as a program in the engine's network namespace.

    registry.py [GATE]     prints two ports, and ends with its input

On the first port anybody may pull, on the second only user bob with the password geheim. The repository decides what
happens: open/a is there, slow/a too (but its layers come with pauses, and no layer ends while there is a file GATE), hang/a gives no answer.
Tag "1" exists, others do not. Protocol: Docker Registry HTTP API V2, image manifest version 2 schema 2.
"""
import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import sys
import tarfile
import threading
import time

import dockerd


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def with_own(tar):
    """The archive with a file that no other has: the engine knows none of our layers from before, and has to fetch them."""
    out = io.BytesIO(tar)
    with tarfile.open(fileobj=out, mode="a") as t:
        info = tarfile.TarInfo("registry")
        info.size = 16
        t.addfile(info, io.BytesIO(os.urandom(16)))
    return out.getvalue()


class Image:
    def __init__(self):
        tar = with_own(dockerd.busybox_tar())
        layer = gzip.compress(tar, 1)
        # A second, small layer, so that there is something to count.
        empty = with_own(b"\0" * 1024)
        small = gzip.compress(empty, 1)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
                             "rootfs": {"type": "layers", "diff_ids": [digest(tar), digest(empty)]},
                             "history": [{"created_by": "a"}, {"created_by": "b"}]}).encode()
        self.blobs = {digest(b): b for b in (config, layer, small)}
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                                    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest(config)},
                                    "layers": [{"mediaType": kind, "size": len(b), "digest": digest(b)} for b in (layer, small)]}).encode()


IMAGE = Image()


def is_held():
    return len(sys.argv) > 1 and os.path.exists(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        for k, v in {"Content-Type": kind, "Content-Length": str(len(body)), "Docker-Distribution-Api-Version": "registry/2.0", **headers}.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def problem(self, status, code):
        self.answer(status, json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode(),
                    **({"WWW_Authenticate": 'Basic realm="r"'} if status == 401 else {}))

    def blob(self, repo, data):
        if repo == "slow/a" and len(data) > 4096:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            piece = len(data) // 100 + 1
            for i in range(0, len(data), piece):
                time.sleep(0.5 if is_held() else 0.02)
                while is_held() and i >= len(data) // 2:
                    time.sleep(0.1)
                self.wfile.write(data[i:i + piece])
        else:
            self.answer(200, data, "application/octet-stream", Docker_Content_Digest=digest(data))

    def do_GET(self):
        path = self.path.split("?")[0]
        known = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"bob:geheim").decode() or not self.server.closed
        if path in ("/v2", "/v2/"):
            return self.answer(200) if known else self.problem(401, "UNAUTHORIZED")
        repo = "/".join(path.split("/")[2:4])
        if repo == "hang/a":
            time.sleep(600)
        if not known:
            return self.problem(401, "UNAUTHORIZED")
        if "/manifests/" in path:
            ref = path.rsplit("/", 1)[1]
            if repo not in ("open/a", "slow/a"):
                return self.problem(404, "NAME_UNKNOWN")
            if ref not in ("1", digest(IMAGE.manifest)):
                return self.problem(404, "MANIFEST_UNKNOWN")
            return self.answer(200, IMAGE.manifest, "application/vnd.docker.distribution.manifest.v2+json", Docker_Content_Digest=digest(IMAGE.manifest))
        data = IMAGE.blobs.get(path.rsplit("/", 1)[1])
        return self.blob(repo, data) if data is not None else self.problem(404, "BLOB_UNKNOWN")

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


def main():
    for closed in (False, True):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.closed = closed
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

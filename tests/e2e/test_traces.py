"""Traces to a collector: what it is sent is read with the project's own .proto; requests, commits and the acts of drivers hang together;
a collector that is down, slow or refuses holds up nothing; without one there is none."""
import http.server
import importlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

import harness
from harness import patient, wait_for
from test_workloads import Keeper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="session")
def otlp(tmp_path_factory):
    out = tmp_path_factory.mktemp("otlp")
    subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={out}", "otlp/trace.proto"], check=True, capture_output=True)
    (out / "otlp_made.py").write_text((out / "otlp/trace_pb2.py").read_text())
    sys.path.insert(0, str(out))
    yield importlib.import_module("otlp_made")
    sys.path.remove(str(out))


class Collector:
    """`status`: what it answers; `wait`: how long it takes."""

    def __init__(self, otlp, port=0):
        self.otlp, self.spans, self.posts, self.status, self.wait, self.resources = otlp, [], [], 200, 0, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.posts.append((time.monotonic(), self.path, self.headers["content-type"], len(body)))
                status = outer.status
                time.sleep(outer.wait)
                if status == 200:
                    outer.take(body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *args):
                pass
        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True)
        self.thread.start()

    def take(self, body):
        message = self.otlp.Export.FromString(body)
        for r in message.resource_spans:
            self.resources.append({a.key: a.value.text for a in r.resource.attributes})
            for s in r.scope_spans:
                assert s.scope.name == "gantry"
                self.spans.extend(s.spans)

    def named(self, name):
        return [s for s in list(self.spans) if s.name == name]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def attrs(span):
    return {a.key: a.value.text if a.value.WhichOneof("value") == "text" else a.value.number for a in span.attributes}


@pytest.fixture
def collector(otlp):
    c = Collector(otlp)
    yield c
    c.close()


class Plain(harness.Stack):
    """gantryd alone, with traces to `endpoint`."""

    def begin(self, **env):
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        self.start_gantryd(env=dict(self.env, **env))
        return self

    def end(self):
        code = self.stop_gantryd()
        for p in self.sockets.glob("*"):
            p.unlink()
        if self.sockets.exists():
            self.sockets.rmdir()
        self.check_clean()
        return code

    def metric(self, name):
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return None


@pytest.fixture
def node(tmp_path):
    made = []

    def make(**env):
        made.append(Plain(tmp_path).begin(**env))
        return made[-1]
    yield make
    for p in made:
        if p.gantryd:
            p.end()


def test_requests_continue_the_trace_of_their_caller(node, collector):
    n = node(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}", PERSYS_NODE_ID="node-9")
    before = time.time_ns()
    n.get("/v1/node?x=1", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1,other=2"})
    n.get("/v1/node", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})  # not sampled
    n.get("/v1/node", headers={"traceparent": "00-junk"})                  # as if there was none
    n.get("/v1/workloads/nobody")
    wait_for("the spans", lambda: len(collector.named("GET /v1/node")) == 2 and collector.named("GET /v1/workloads/{id}"), 10)
    asked, own = collector.named("GET /v1/node")
    assert asked.trace_id.hex() == TRACE and asked.parent_span_id.hex() == PARENT and asked.trace_state == "vendor=1,other=2"
    assert asked.flags & 0x301 == 0x301 and len(asked.span_id) == 8 and asked.kind == 2
    assert before <= asked.start <= asked.end <= time.time_ns()
    a = attrs(asked)
    assert a["http.request.method"] == "GET" and a["http.route"] == "/v1/node" and a["http.response.status_code"] == 200
    assert a["url.path"] == "/v1/node" and a["gantry.request.id"]
    assert own.trace_id.hex() != TRACE and len(own.trace_id) == 16 and own.parent_span_id == b"" and own.trace_state == ""
    assert attrs(collector.named("GET /v1/workloads/{id}")[0])["http.response.status_code"] == 404
    assert collector.posts[0][1:3] == ("/v1/traces", "application/x-protobuf")
    r = collector.resources[0]
    assert r["service.name"] == "compute-agent" and r["service.instance.id"] == "node-9" and r["service.version"]
    wait_for("the counts", lambda: n.metric("gantry_trace_spans_exported_total") >= 3, 5)
    assert n.metric("gantry_trace_spans_dropped_total") == 0


def test_a_reload_changes_where_they_go(node, collector, otlp):
    n = node(PERSYS_NODE_ID="node-9")
    plain = (n.root / "config.yml").read_text()

    def reload(more, status=200):
        (n.root / "config.yml").write_text(plain + more)
        r = n.ask("POST", "/config/reload")
        assert r.status == status, r
        return r.json()
    n.get("/v1/node")
    r = reload(f"traces: {{endpoint: 'http://127.0.0.1:{collector.port}', service_name: first}}\ncontrol: {{address: '127.0.0.1:1'}}\n")
    assert {c["key"] for c in r["applied"]} == {"traces.endpoint", "traces.service_name"}
    assert [c["key"] for c in r["restart"]] == ["control.address"]  # that is said, by its name
    n.get("/v1/node")
    wait_for("a span", lambda: len(collector.named("GET /v1/node")) == 1, 5)
    assert collector.resources[-1]["service.name"] == "first" and collector.resources[-1]["service.instance.id"] == "node-9"
    # What the one before holds is sent before it goes.
    other = Collector(otlp)
    n.get("/v1/node")
    reload(f"traces: {{endpoint: 'http://127.0.0.1:{other.port}', service_name: second}}\n")
    n.get("/v1/node")
    wait_for("its last span", lambda: len(collector.named("GET /v1/node")) == 2, 5)
    wait_for("the first span of the other", lambda: len(other.named("GET /v1/node")) == 1, 5)
    assert other.resources[-1]["service.name"] == "second"
    # Refused as a whole: they go on as before.
    reload("traces: {endpoint: 'http://127.0.0.1:x y'}\n", status=400)
    n.listeners.append("address: '192.0.2.1:1'")  # nobody has that address
    plain, right = n.config(), plain
    reload(f"traces: {{endpoint: 'http://127.0.0.1:{collector.port}'}}\n", status=409)
    plain = right
    n.get("/v1/node")
    wait_for("it goes on", lambda: len(other.named("GET /v1/node")) == 2, 5)
    assert len(collector.named("GET /v1/node")) == 2
    # One that hangs holds nothing up, and goes.
    other.wait = 30
    n.get("/v1/node")
    wait_for("a post", lambda: len(other.posts) >= 3, 5)
    began = time.monotonic()
    reload("")
    assert time.monotonic() - began < 8 and n.metric("gantry_trace_exports_total") is None
    assert n.end() == 0 and time.monotonic() - began < 25
    other.close()


def test_what_is_left_is_sent_at_the_end(node, collector):
    n = node(OTEL_EXPORTER_JAEGER_ENDPOINT=f"127.0.0.1:{collector.port}/custom/path", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
             OTEL_SERVICE_NAME="robots")
    n.get("/v1/node")
    began = time.monotonic()
    assert n.end() == 0 and time.monotonic() - began < patient(4)
    assert len(collector.named("GET /v1/node")) == 1
    assert collector.posts[-1][1] == "/custom/path" and collector.resources[0]["service.name"] == "robots"


def test_a_collector_that_hangs_delays_the_end_by_five_seconds(node, collector):
    collector.wait = 30
    n = node(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}")
    n.get("/v1/node")
    wait_for("a post", lambda: collector.posts, 5)
    t = time.monotonic()
    assert n.get("/healthz").status == 200 and time.monotonic() - t < 8
    began = time.monotonic()
    assert n.end() == 0
    posted = collector.posts[0][0]  # it has ten seconds, which a busy machine may have used up
    assert 4 < time.monotonic() - began < 25 or began - posted > 4


def test_a_collector_that_is_down_costs_the_oldest(node, otlp):
    port = harness.free_port()
    n = node(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", n.port)
    for i in range(5200):  # eight batches of 512 wait
        c.request("GET", f"/v1/workloads/w{i}")
        c.getresponse().read()
    c.close()
    dropped = n.metric("gantry_trace_spans_dropped_total")
    assert 500 < dropped < 5200 and n.metric("gantry_trace_export_failures_total") > 0
    col = Collector(otlp, port)
    try:
        # The rest of the pauses of 1 to 45 s.
        wait_for("what waited", lambda: any(attrs(s).get("url.path") == "/v1/workloads/w5199" for s in list(col.spans)), 60)
        paths = {attrs(s).get("url.path") for s in list(col.spans)}
        assert "/v1/workloads/w0" not in paths and len(paths) > 3000
        assert n.metric("gantry_trace_spans_dropped_total") < 2500
    finally:
        n.end()
        col.close()


@pytest.mark.parametrize("status, again", [(503, True), (400, False)])
def test_a_collector_that_refuses(node, collector, status, again):
    collector.status = status
    n = node(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}")
    n.get("/v1/node")
    wait_for("a post", lambda: collector.posts, 5)
    wait_for("a failure", lambda: n.metric("gantry_trace_export_failures_total") >= 1, 5)
    collector.status = 200
    n.get("/v1/whoami")
    if again:
        wait_for("the same again", lambda: collector.named("GET /v1/node"), 10)
        assert n.metric("gantry_trace_spans_dropped_total") == 0
    else:
        wait_for("later ones", lambda: collector.spans, 10)
        assert not collector.named("GET /v1/node") and n.metric("gantry_trace_spans_dropped_total") >= 1


def test_who_does_not_want_them_has_none(node, collector):
    n = node()
    n.get("/v1/node", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert n.metric("gantry_trace_spans_exported_total") is None
    n.end()
    n = node(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}", GANTRY_TRACES_SAMPLE="0")
    for _ in range(20):
        n.get("/v1/node")
    n.get("/v1/node", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})  # the caller says so
    wait_for("the one", lambda: collector.spans, 10)
    time.sleep(1.5)
    assert len(collector.spans) == 1


@pytest.mark.parametrize("text", ["ftp://x", "host", "http://", "http://a b", "http://h:0"])
def test_an_endpoint_that_is_none_stops_the_start(tmp_path, text):
    r = subprocess.run([harness.program("gantryd")], capture_output=True, text=True, timeout=patient(20), cwd=tmp_path,
                       env=dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=text))
    assert r.returncode != 0 and "OTEL_EXPORTER_OTLP_ENDPOINT" in r.stderr and f'"{text}' in r.stderr, r


def test_a_workload_from_the_request_to_the_container(tmp_path, engine, collector):
    pytest.importorskip("grpc")
    import grpc
    k = Keeper(tmp_path, engine)
    k.env = dict(k.env, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}")
    k.begin()
    try:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "content-type": "application/json"}
        r = k.put("traced", dict(container=dict(image="busybox:local", command=["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"])),
                  headers=headers)
        assert r.status in (200, 201, 202), r
        wait_for("the act", lambda: all(collector.named(x) for x in ("workload create", "store commit", "PUT /v1/workloads/{id}")), 30)
        put = collector.named("PUT /v1/workloads/{id}")[0]
        commit, act = collector.named("store commit")[0], collector.named("workload create")[0]
        assert {s.trace_id.hex() for s in (put, commit, act)} == {TRACE} and put.parent_span_id.hex() == PARENT
        assert commit.parent_span_id == put.span_id and act.parent_span_id == put.span_id and commit.kind == 1
        assert put.start <= commit.start and act.start >= commit.end - 1_000_000
        assert attrs(act)["gantry.workload.id"] == "traced" and attrs(act)["gantry.task.id"].startswith("apply-traced-")
        pulls = collector.named("image pull")
        assert all(p.parent_span_id == act.span_id for p in pulls)
        with grpc.insecure_channel(f"unix:{k.unix}") as channel:
            call = channel.unary_unary("/persys.agent.v1.AgentService/HealthCheck")
            call(b"", timeout=patient(20), metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")])
        wait_for("the call", lambda: collector.named("persys.agent.v1.AgentService/HealthCheck"), 10)
        rpc = collector.named("persys.agent.v1.AgentService/HealthCheck")[0]
        assert rpc.trace_id.hex() == TRACE and rpc.parent_span_id.hex() == PARENT
        a = attrs(rpc)
        assert a["rpc.system"] == "grpc" and a["rpc.method"] == "HealthCheck" and a["rpc.grpc.status_code"] == 0
        assert a["rpc.service"] == "persys.agent.v1.AgentService"
    finally:
        k.remove("traced")
        k.stop()

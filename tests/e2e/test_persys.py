"""gantryd as the compute agent that its schedulers know: the six calls on a real Docker Engine, plain and with mutual TLS; bytes from
the contract's tables; variables; metrics. The client's code is made from the project's own .proto."""
import contextlib
import importlib
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import warnings

import pytest

import harness
import persys_wire as wire
from harness import wait_for
from test_workloads import Keeper

grpc = pytest.importorskip("grpc")

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE = "persys.agent.v1.AgentService"
LIMIT = 4 * 1024 * 1024
PENDING, RUNNING, STOPPED, FAILED, UNKNOWN = range(1, 6)


@pytest.fixture(scope="session")
def pb(tmp_path_factory):
    """Python's code of the .proto."""
    out = tmp_path_factory.mktemp("proto")
    subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={out}", "persys/agent/v1/agent.proto", "grpc/health/v1/health.proto",
                    "grpc/reflection/v1/reflection.proto"], check=True, capture_output=True)
    for a, b in (("persys/agent/v1/agent", "agent_made"), ("grpc/health/v1/health", "health_made"),
                 ("grpc/reflection/v1/reflection", "reflection_made")):
        (out / f"{b}.py").write_text((out / f"{a}_pb2.py").read_text())
    sys.path.insert(0, str(out))
    yield importlib.import_module("agent_made")
    sys.path.remove(str(out))


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """Servers and clients of one authority, and a stranger."""
    d = pathlib.Path(tmp_path_factory.mktemp("persys-pki"))

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=d)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for ca in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}")
    for name, ca, usage, days in (("server", "ca", "serverAuth", 2), ("server2", "ca", "serverAuth", 2), ("scheduler-1", "ca", "clientAuth", 2),
                                  ("plain", "ca", None, 2), ("wrong-use", "ca", "serverAuth", 2), ("expired", "ca", "clientAuth", -1),
                                  ("stranger", "other", "clientAuth", 2)):
        add = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"] + (["-addext", f"extendedKeyUsage={usage}"] if usage else [])
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", *add)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", str(days),
                "-copy_extensions", "copy", "-out", f"{name}.pem")
    return d


def install(pki, name):
    """Makes NAME's pair the server's, one file after the other."""
    for end in ("pem", "key"):
        new = pki / f"live.{end}.new"
        new.write_bytes((pki / f"{name}.{end}").read_bytes())
        new.rename(pki / f"live.{end}")


class Agent(Keeper):
    """gantryd with a gRPC port, as the variables of the compute agent make it."""

    def __init__(self, root, engine, pb, pki=None):
        super().__init__(root, engine)
        self.pb, self.pki = pb, pki
        self.rpc_port, self.metrics_port = harness.free_port(), harness.free_port()
        self.persys = {"PERSYS_GRPC_ADDR": "127.0.0.1", "PERSYS_GRPC_PORT": str(self.rpc_port),
                       "PERSYS_METRICS_PORT": str(self.metrics_port), "PERSYS_NODE_LABELS": "rack=a1, =x,nothing",
                       "PERSYS_NODE_REGION": "eu-1", "PERSYS_VERSION": "7.8.9"}
        if pki is None:
            self.persys["PERSYS_TLS_ENABLED"] = "F"
        else:
            install(pki, "server")
            self.persys.update(PERSYS_TLS_CERT=f"{pki}/live.pem", PERSYS_TLS_KEY=f"{pki}/live.key", PERSYS_TLS_CA=f"{pki}/ca.pem")

    def start_gantryd(self, env=None, wait=True, **kw):
        super().start_gantryd(env=env or dict(self.env, **self.persys), wait=wait, **kw)

    def channel(self, who=None, ca="ca", port=None, options=()):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1), *options]
        if self.pki is None or port is not None:
            return grpc.insecure_channel(f"127.0.0.1:{port or self.rpc_port}", options=options)
        pair = {}
        if who:
            pair = dict(private_key=(self.pki / f"{who}.key").read_bytes(), certificate_chain=(self.pki / f"{who}.pem").read_bytes())
        creds = grpc.ssl_channel_credentials(root_certificates=(self.pki / f"{ca}.pem").read_bytes(), **pair)
        return grpc.secure_channel(f"127.0.0.1:{self.rpc_port}", creds, options=options)

    def rpc(self, channel, method, metadata=None, **request):
        """One call by the generated code."""
        call = channel.unary_unary(f"/{SERVICE}/{method}", request_serializer=getattr(self.pb, method + "Request").SerializeToString,
                                   response_deserializer=getattr(self.pb, method + "Response").FromString)
        return call(getattr(self.pb, method + "Request")(**request), timeout=10, metadata=metadata)

    def status(self, channel, id):
        return self.rpc(channel, "GetWorkloadStatus", id=id).status

    def becomes(self, channel, id, state, seconds=20):
        def check():
            s = self.status(channel, id)
            return s if s.actual_state == state else None
        return wait_for(f"{id} in state {state}", check, seconds)

    def drop(self, channel, *ids):
        for id in ids:
            assert self.rpc(channel, "DeleteWorkload", id=id).success
        for id in ids:
            wait_for(f"{id} gone", lambda: self.get(id) is None, 40)


ENDS = "trap 'exit 0' TERM; while :; do sleep 0.2; done"  # when it is told to, not 30 s later


def sleeper(**more):
    return dict(container=dict(image="busybox:local", command=["sh", "-c", ENDS], **more))


@pytest.fixture(scope="module")
def agent(tmp_path_factory, engine, pb):
    a = Agent(tmp_path_factory.mktemp("persys"), engine, pb)
    a.begin()
    yield a
    for w in a.call("GET", "/v1/workloads").json()["workloads"]:
        a.remove(w["id"])
    a.stop()
    a.check_clean()


@pytest.fixture
def make_agent(tmp_path, engine, pb):
    made = []

    def make(pki=None):
        made.append(Agent(tmp_path / str(len(made)), engine, pb, pki))
        made[-1].root.mkdir()
        return made[-1]
    yield make
    for a in made:
        if a.gantryd and a.gantryd.alive():
            with contextlib.suppress(KeyError):
                for w in a.call("GET", "/v1/workloads").json()["workloads"]:
                    a.remove(w["id"])
        a.stop()
        a.check_clean()


@pytest.fixture
def channel(agent):
    with agent.channel() as c:
        yield c


def fails(call, code):
    with pytest.raises(grpc.RpcError) as e:
        call()
    assert e.value.code() == getattr(grpc.StatusCode, code), (e.value.code(), e.value.details())
    return e.value


def raw(channel, method):
    return channel.unary_unary(f"/{SERVICE}/{method}")


# ---- the wire

@pytest.mark.parametrize("message", wire.MESSAGES)
def test_numbers_of_the_messages(pb, message):
    """What is built by hand from the contract's rows is read with the same names and values, and written back."""
    for seed in (0, 1, 2):
        values = wire.sample(message, seed)
        m = getattr(pb, message).FromString(wire.build(message, values))

        def same(m, values):
            for name, v in values.items():
                got = getattr(m, name)
                for g, w in zip(list(got), v) if isinstance(v, list) else [(got, v)]:
                    same(g, w) if isinstance(w, dict) and hasattr(g, "DESCRIPTOR") else check(name, g, w)
                assert not isinstance(v, list) or len(got) == len(v), name

        def check(name, g, w):
            assert (dict(g) if isinstance(w, dict) else g) == w, name
        same(m, values)
        assert len(m.DESCRIPTOR.fields) == len(wire.fields(message))
        assert wire.parse(message, m.SerializeToString()) == values


def test_numbers_that_the_server_tells(agent, channel, pb):
    """Reflection's descriptors are those the running program was made with: each number of each message, method and enum."""
    from google.protobuf import descriptor_pb2
    r = importlib.import_module("reflection_made")
    for version in ("v1", "v1alpha"):
        call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                     request_serializer=r.ServerReflectionRequest.SerializeToString,
                                     response_deserializer=r.ServerReflectionResponse.FromString)
        answers = list(call(iter([r.ServerReflectionRequest(list_services=""), r.ServerReflectionRequest(file_containing_symbol=SERVICE)]),
                            timeout=10))
        names = {s.name for s in answers[0].list_services_response.service}
        assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names
        files = [descriptor_pb2.FileDescriptorProto.FromString(b) for b in answers[1].file_descriptor_response.file_descriptor_proto]
    f = next(f for f in files if f.package == "persys.agent.v1")
    kinds = {"string": 9, "bool": 8, "double": 1, "int32": 5, "int64": 3}
    for message, m in {m.name: m for m in f.message_type}.items():
        for field, (number, name, type_, repeated) in zip(m.field, wire.fields(message), strict=True):
            assert (field.number, field.name) == (number, name), message
            kind = 14 if type_ in wire.ENUMS else 11 if type_ in wire.MESSAGES or type_ == "map" else kinds[type_]
            assert field.type == kind and (field.label == 3) == (repeated or type_ == "map"), (message, name)
    assert {m.name for m in f.message_type} == set(wire.MESSAGES)
    for e in f.enum_type:
        prefix, words = wire.ENUMS[e.name]
        assert [(v.name, v.number) for v in e.value] == [(prefix + w, i) for i, w in enumerate(words.split())]
    assert tuple(m.name for m in f.service[0].method) == wire.METHODS


def test_bytes_by_hand(agent, channel):
    """A whole life in bytes from the tables, nothing of the .proto: every field of a container does what it says."""
    (agent.root / "data").mkdir()
    values = {"id": "hand-1", "type": 1, "revision_id": "r1", "desired_state": 1, "spec": {"container": {
        "image": "busybox:local", "command": ["sh", "-c"], "args": [ENDS], "env": {"A": "1", "B": ""},
        "volumes": [{"host_path": str(agent.root / "data"), "container_path": "/data", "read_only": True}],
        "ports": [{"host_port": 0, "container_port": 5353, "protocol": "udp"}],
        "resources": {"cpu_shares": 512, "memory_bytes": 64 << 20, "memory_swap_bytes": 64 << 20},
        "restart_policy": {"policy": "unless-stopped", "max_retry_count": 3}, "labels": {"team": "robots"}}}}
    b = wire.build("ApplyWorkloadRequest", values)
    # Fields that are not known are left alone, wherever they are.
    b += wire.field(99, wire.VARINT, 5) + wire.field(1000, wire.BYTES, b"later") + wire.field(77, wire.FIXED64, 1.5)
    a = wire.parse("ApplyWorkloadResponse", raw(channel, "ApplyWorkload")(b, timeout=10))
    assert a["applied"] and "skipped" not in a and a["message"] == "workload apply submitted for processing", a
    s = a["status"]
    assert s["id"] == "hand-1" and s["actual_state"] == PENDING and s["message"] == "task pending execution", s
    assert s["metadata"]["task_id"].startswith("apply-hand-1-") and s["metadata"]["task_status"] == "pending"
    assert abs(s["updated_at"] - time.time()) < 10

    def get():
        return wire.parse("GetWorkloadStatusResponse", raw(channel, "GetWorkloadStatus")(wire.one(1, "string", "hand-1"), timeout=10))["status"]
    s = wait_for("it runs", lambda: (lambda s: s if s["actual_state"] == RUNNING else None)(get()))
    box = agent.inspect("hand-1")
    assert (s["type"], s["revision_id"], s["desired_state"]) == (1, "r1", 1) and s["metadata"]["container.id"] == box["Id"][:12], s
    assert box["Config"]["Cmd"] == ["sh", "-c", ENDS] and {"A=1", "B="} <= set(box["Config"]["Env"])
    host = box["HostConfig"]
    assert [(m["Source"], m["Destination"], m["RW"]) for m in box["Mounts"]] == [(str(agent.root / "data"), "/data", False)]
    assert list(host["PortBindings"]) == ["5353/udp"] and box["Config"]["Labels"]["team"] == "robots"
    assert (host["CpuShares"], host["Memory"], host["MemorySwap"]) == (512, 64 << 20, 64 << 20)
    # A count with another policy than on-failure is taken, as clients' own example has it, and dropped.
    assert host["RestartPolicy"] == {"Name": "unless-stopped", "MaximumRetryCount": 0}
    rows = wire.parse("ListWorkloadsResponse", raw(channel, "ListWorkloads")(wire.one(1, "int32", 1), timeout=10))["workloads"]
    assert [r["revision_id"] for r in rows if r["id"] == "hand-1"] == ["r1"]
    h = wire.parse("HealthCheckResponse", raw(channel, "HealthCheck")(b"", timeout=10))
    assert h["healthy"] and h["version"] == "7.8.9" and h["runtime_status"] == {"container": "healthy"}, h
    assert all(0 < h[k] <= 100 for k in ("memory_utilization", "disk_utilization")) and 0 <= h.get("cpu_utilization", 0) <= 100
    wait_for("a sample of its usage", lambda: get().get("usage"), 45)
    u = get()["usage"]
    assert u["workload_id"] == "hand-1" and u["type"] == 1 and u["memory_bytes"] > 0 and u["source"] == "docker", u
    d = wire.parse("DeleteWorkloadResponse", raw(channel, "DeleteWorkload")(wire.one(1, "string", "hand-1"), timeout=10))
    assert d == {"success": True, "message": "workload deletion submitted for processing"}
    wait_for("it is gone", lambda: agent.get("hand-1") is None, 40)
    rows = wire.parse("ListActionsResponse", raw(channel, "ListActions")(
        wire.build("ListActionsRequest", {"workload_id": " hand-1 ", "newest_first": True, "limit": 5}), timeout=10))["actions"]
    assert [r["action_type"] for r in rows] == ["delete_workload", "apply_workload"], rows
    assert all(r["status"] == "completed" and r["created_at"] <= r["started_at"] <= r["ended_at"] for r in rows), rows


def test_what_is_wrong_on_the_wire(agent, channel):
    apply = raw(channel, "ApplyWorkload")
    assert "4194305" in fails(lambda: apply(wire.field(50, wire.BYTES, b"x" * (LIMIT + 1 - 6)), timeout=30), "RESOURCE_EXHAUSTED").details()
    a = wire.parse("ApplyWorkloadResponse", apply(wire.field(50, wire.BYTES, b"x" * (LIMIT - 6)), timeout=30))
    assert not a.get("applied")  # a message of just that size is read
    for b in (wire.field(1, wire.BYTES, b"\xff\xfe"), b"\x0a\x7fshort", b"\x0b"):
        fails(lambda: apply(b, timeout=10), "INTERNAL")
        fails(lambda: raw(channel, "GetWorkloadStatus")(b, timeout=10), "INTERNAL")
    fails(lambda: raw(channel, "RetryWorkload")(b"", timeout=10), "UNIMPLEMENTED")
    fails(lambda: channel.unary_unary("/persys.control.v1.AgentControl/Heartbeat")(b"", timeout=10), "UNIMPLEMENTED")
    # The port is no web server.
    out = harness.raw(("127.0.0.1", agent.rpc_port), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP/1.1 200" not in out


# ---- the calls

REFUSED = [
    (dict(id="bad-1"), "invalid request: spec must contain container, compose, or vm specification"),
    (dict(id="bad-1", spec={}), "invalid request: spec must contain container, compose, or vm specification"),
    (dict(id="..", spec=sleeper()), "id"),
    (dict(id="a", spec=sleeper()), "id"),
    (dict(id="a/../../etc", spec=sleeper()), "id"),
    (dict(id="", spec=sleeper()), "id"),
    (dict(id="x" * 200, spec=sleeper()), "id"),
    (dict(id="bad-1", type=2, spec=dict(compose=dict(compose_yaml="services: {}"))), "runtime not available"),
    (dict(id="bad-1", type=3, spec=dict(vm=dict(vcpus=1))), "runtime not available"),
    (dict(id="bad-1", type=4, spec=sleeper()), "runtime not available"),
    (dict(id="bad-1", type=2, spec=sleeper()), 'the type is "compose", but the spec is of a container'),
    (dict(id="bad-1", desired_state=9, spec=sleeper()), "9 is no desired state"),
    (dict(id="bad-1", revision_id="r\n", spec=sleeper()), "revision"),
    (dict(id="bad-1", spec=dict(container=dict(command=["x"]))), "no image"),
    (dict(id="bad-1", spec=sleeper(ports=[dict(container_port=70000)])), "70000"),
    (dict(id="bad-1", spec=sleeper(ports=[dict(container_port=80, protocol="sctp")])), '"sctp"'),
    (dict(id="bad-1", spec=sleeper(restart_policy=dict(policy="sometimes"))), '"sometimes"'),
    (dict(id="bad-1", spec=sleeper(volumes=[dict(host_path="relative", container_path="/x")])), "relative"),
    (dict(id="bad-1", spec=sleeper(managed_volumes=[dict(name="v", mount_path="/v")])), "managed volumes"),
    (dict(id="bad-1", spec=sleeper(args=["x"] * 2000)), "2000"),
]


@pytest.mark.parametrize("request_,words", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refused_with_a_reason(agent, channel, request_, words):
    a = agent.rpc(channel, "ApplyWorkload", **request_)
    assert not a.applied and not a.skipped and words in a.message and not a.HasField("status"), a
    assert ("runtime not available" in a.message) == (words == "runtime not available")
    if request_["id"] == "bad-1":
        fails(lambda: agent.status(channel, "bad-1"), "NOT_FOUND")


def test_the_life_of_a_workload(agent, channel):
    def apply(rev="1", state=1, **more):
        return agent.rpc(channel, "ApplyWorkload", id="life-1", type=1, revision_id=rev, desired_state=state, spec=sleeper(**more))
    a = apply()
    assert a.applied and not a.skipped and a.status.actual_state == PENDING
    assert agent.status(channel, "life-1").actual_state in (PENDING, RUNNING)  # never not found
    agent.becomes(channel, "life-1", RUNNING)
    first = agent.inspect("life-1")["Id"]
    a = apply()
    assert a.applied and a.skipped and a.status.actual_state == RUNNING and a.status.revision_id == "1", a
    a = apply(env={"NEW": "1"})  # of a known revision the spec is not looked at
    assert a.skipped
    assert apply(state=2).applied
    agent.becomes(channel, "life-1", STOPPED)
    box = agent.inspect("life-1")
    assert box["Id"] == first and not box["State"]["Running"]
    assert apply(state=2).skipped
    assert apply().applied
    agent.becomes(channel, "life-1", RUNNING)
    assert agent.inspect("life-1")["Id"] == first
    assert apply("2", env={"NEW": "1"}).applied
    wait_for("another object", lambda: (agent.inspect("life-1") or {"Id": first})["Id"] != first, 60)
    s = agent.becomes(channel, "life-1", RUNNING)
    assert s.revision_id == "2" and s.created_at > 0 and "NEW=1" in agent.inspect("life-1")["Config"]["Env"]
    assert agent.engine.docker("ps", "-aq", "--filter", "label=persys.workload_id=life-1").split() != []
    agent.drop(channel, "life-1")
    e = fails(lambda: agent.status(channel, "life-1"), "NOT_FOUND")
    assert "status not found" in e.details()
    d = agent.rpc(channel, "DeleteWorkload", id="life-1")
    assert d.success and "already absent" in d.message
    assert not agent.rpc(channel, "DeleteWorkload", id="../x").success
    fails(lambda: agent.status(channel, ""), "INVALID_ARGUMENT")


def test_recovery_clears_the_keys(agent, channel):
    """What the scheduler merges must be overwritten to go: a failure's keys come back empty."""
    flag = agent.root / "flag"
    flag.mkdir()
    script = "test -e /flag/well || { echo broken >&2; exit 3; }; " + ENDS
    spec = dict(container=dict(image="busybox:local", command=["sh", "-c", script],
                               volumes=[dict(host_path=str(flag), container_path="/flag", read_only=True)]))
    assert agent.rpc(channel, "ApplyWorkload", id="heal-1", revision_id="1", spec=spec).applied

    def meta():
        return dict(agent.status(channel, "heal-1").metadata)
    m = wait_for("it was given up", lambda: (lambda m: m if m.get("retry_terminal") == "true" else None)(meta()), 40)
    assert m["failure_reason"] and m["last_error"] and m["retry_attempts"], m
    assert agent.status(channel, "heal-1").actual_state == FAILED
    (flag / "well").touch()
    assert agent.rpc(channel, "ApplyWorkload", id="heal-1", revision_id="2", spec=spec).applied
    agent.becomes(channel, "heal-1", RUNNING, 40)
    m = meta()
    assert m["retry_terminal"] == "false" and m["failure_reason"] == "", m
    agent.drop(channel, "heal-1")


def test_two_hundred_connections_like_the_scheduler(agent, channel):
    assert agent.rpc(channel, "ApplyWorkload", id="poll-1", spec=sleeper()).applied
    agent.becomes(channel, "poll-1", RUNNING)
    begin = time.monotonic()
    for _ in range(200):
        with agent.channel() as c:
            assert agent.status(c, "poll-1").id == "poll-1"
    assert time.monotonic() - begin < 60
    agent.drop(channel, "poll-1")


def test_actions_are_filtered(agent, channel):
    ids = [f"act-{i}" for i in range(3)]
    for id in ids:
        assert agent.rpc(channel, "ApplyWorkload", id=id, desired_state=2, spec=sleeper()).applied
    for id in ids:
        agent.becomes(channel, id, STOPPED)
    one = agent.rpc(channel, "ListActions", workload_id="act-1").actions
    assert [(a.workload_id, a.action_type, a.status, a.error) for a in one] == [("act-1", "apply_workload", "completed", "")]
    rows = agent.rpc(channel, "ListActions", action_type="apply_workload", status="completed").actions
    assert [a.created_at for a in rows] == sorted(a.created_at for a in rows) and len(rows) >= 3
    assert [a.task_id for a in agent.rpc(channel, "ListActions", limit=2, newest_first=True).actions][0] == \
        agent.rpc(channel, "ListActions", workload_id="act-2").actions[-1].task_id
    assert not agent.rpc(channel, "ListActions", status="nonsense").actions
    assert not agent.rpc(channel, "ListWorkloads", type=2).workloads and not agent.rpc(channel, "ListWorkloads", type=4).workloads
    assert [w.id for w in agent.rpc(channel, "ListWorkloads", type=1).workloads if w.id in ids] == ids
    agent.drop(channel, *ids)


# ---- metrics

HISTOGRAMS = ("workload_reconcile_duration_seconds", "workload_apply_duration_seconds", "workload_delete_duration_seconds",
              "garbage_collection_duration_seconds")
COUNTERS = ("workload_created_total", "workload_deleted_total", "workload_failed_total", "workload_reconcile_total",
            "garbage_collection_runs_total")
BOUNDS = [".005", ".01", ".025", ".05", ".1", ".25", ".5", "1", "2.5", "5", "10"]


def test_metrics_under_the_agents_names(agent, channel):
    from test_observe import parse_metrics

    def scrape():
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=10) as r:
            assert r.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            return parse_metrics(r.read().decode())
    before = scrape()
    assert agent.rpc(channel, "ApplyWorkload", id="count-1", spec=sleeper()).applied
    agent.becomes(channel, "count-1", RUNNING)
    m = scrape()
    p = "persys_agent_"

    def grown(name, **labels):
        key = (name, tuple(labels.items()))
        return m[key] - before.get(key, 0)
    assert grown(p + "workload_created_total") == 1 and grown(p + "workload_apply_duration_seconds_count") >= 1
    assert m[(p + "workload_count", (("state", "running"), ("type", "container")))] >= 1
    assert grown(p + "task_executions_total", type="apply_workload", status="completed") == 1
    assert grown(p + "task_latency_seconds_count", type="apply_workload", status="completed") == 1
    assert m[(p + "task_failures_total", (("type", "delete_workload"),))] == 0 and m[(p + "task_queue_depth", ())] == 0
    assert m[(p + "runtime_health_status", (("runtime_type", "container"),))] == 1
    assert 0 < m[(p + "system_memory_utilization_percent", ())] < 100 and (p + "system_cpu_utilization_percent", ()) in m
    assert 0 < m[(p + "system_disk_utilization_percent", (("mount_point", "/"),))] < 100
    for name in COUNTERS:
        assert (p + name, ()) in m
    assert (p + "errors_total", (("error_code", "INVALID_IMAGE"),)) in m
    assert (p + "garbage_collection_orphaned_resources_found", (("resource_type", "total"),)) in m
    assert (p + "garbage_collection_old_failed_workloads_found", ()) in m
    assert (p + "garbage_collection_resources_deleted_total", (("resource_type", "container"),)) in m
    for name in HISTOGRAMS:
        bounds = [float(dict(k)["le"]) for (n, k) in m if n == p + name + "_bucket"]
        assert sorted(bounds) == [float(b) for b in BOUNDS] + [float("inf")], name
    assert m[(p + "workload_reconcile_duration_seconds_count", ())] > 0
    # Our own: store, gRPC, runtime, reconcile, events.
    assert grown("gantry_store_commits_total") >= 1 and m[("gantry_store_up", ())] == 1 and m[("gantry_store_size_bytes", ())] > 0
    assert grown("gantry_grpc_requests_total", method=f"/{SERVICE}/ApplyWorkload", code="OK") == 1
    assert m[("gantry_runtime_call_duration_seconds_count", (("runtime", "docker"),))] > 0
    assert m[("gantry_reconcile_duration_seconds_count", ())] > 0 and m[("gantry_workload_act_duration_seconds_count", ())] > 0
    assert grown("gantry_events_published_total") > 0 and m[("gantry_grpc_connections", ())] >= 1
    # The same over REST.
    assert b"persys_agent_workload_count" in agent.call("GET", "/metrics").body
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/health", timeout=10) as r:
        assert r.status == 200 and json.loads(r.read()) == {"status": "healthy"}
    for request, status in ((b"GET /v1/workloads HTTP/1.1", b"404"), (b"POST /metrics HTTP/1.1", b"405")):
        assert status in harness.raw(("127.0.0.1", agent.metrics_port), request + b"\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    agent.drop(channel, "count-1")

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
import urllib.error
import urllib.request
import warnings

import pytest

import harness
import persys_wire as wire
from harness import patient, wait_for
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
        return call(getattr(self.pb, method + "Request")(**request), timeout=patient(20), metadata=metadata)

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
    a.workloads["retry"] = "{first: 500ms, most: 2s, steady: 30s}"  # what ends at once may be seen to run for seconds
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
                            timeout=patient(20)))
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
    a = wire.parse("ApplyWorkloadResponse", raw(channel, "ApplyWorkload")(b, timeout=patient(20)))
    assert a["applied"] and "skipped" not in a and a["message"] == "workload apply submitted for processing", a
    s = a["status"]
    assert s["id"] == "hand-1" and s["actual_state"] == PENDING and s["message"] == "task pending execution", s
    assert s["metadata"]["task_id"].startswith("apply-hand-1-") and s["metadata"]["task_status"] == "pending"
    assert abs(s["updated_at"] - time.time()) < 120

    def get():
        return wire.parse("GetWorkloadStatusResponse", raw(channel, "GetWorkloadStatus")(wire.one(1, "string", "hand-1"), timeout=patient(20)))["status"]
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
    rows = wire.parse("ListWorkloadsResponse", raw(channel, "ListWorkloads")(wire.one(1, "int32", 1), timeout=patient(20)))["workloads"]
    assert [r["revision_id"] for r in rows if r["id"] == "hand-1"] == ["r1"]
    h = wire.parse("HealthCheckResponse", raw(channel, "HealthCheck")(b"", timeout=patient(20)))
    assert h["healthy"] and h["version"] == "7.8.9" and h["runtime_status"]["container"] == "healthy", h
    assert all(0 < h[k] <= 100 for k in ("memory_utilization", "disk_utilization")) and 0 <= h.get("cpu_utilization", 0) <= 100
    u = wait_for("a sample of its usage", lambda: get().get("usage"), 45)
    assert u["workload_id"] == "hand-1" and u["type"] == 1 and u["memory_bytes"] > 0 and u["source"] == "docker", u
    d = wire.parse("DeleteWorkloadResponse", raw(channel, "DeleteWorkload")(wire.one(1, "string", "hand-1"), timeout=patient(20)))
    assert d == {"success": True, "message": "workload deletion submitted for processing"}
    wait_for("it is gone", lambda: agent.get("hand-1") is None, 40)
    rows = wire.parse("ListActionsResponse", raw(channel, "ListActions")(
        wire.build("ListActionsRequest", {"workload_id": " hand-1 ", "newest_first": True, "limit": 5}), timeout=patient(20)))["actions"]
    assert [r["action_type"] for r in rows] == ["delete_workload", "apply_workload"], rows
    assert all(r["status"] == "completed" and r["created_at"] <= r["started_at"] <= r["ended_at"] for r in rows), rows


def test_what_is_wrong_on_the_wire(agent, channel):
    apply = raw(channel, "ApplyWorkload")
    assert "4194305" in fails(lambda: apply(wire.field(50, wire.BYTES, b"x" * (LIMIT + 1 - 6)), timeout=patient(20)), "RESOURCE_EXHAUSTED").details()
    a = wire.parse("ApplyWorkloadResponse", apply(wire.field(50, wire.BYTES, b"x" * (LIMIT - 6)), timeout=patient(20)))
    assert not a.get("applied")  # a message of just that size is read
    for b in (wire.field(1, wire.BYTES, b"\xff\xfe"), b"\x0a\x7fshort", b"\x0b"):
        fails(lambda: apply(b, timeout=patient(20)), "INTERNAL")
        fails(lambda: raw(channel, "GetWorkloadStatus")(b, timeout=patient(20)), "INTERNAL")
    fails(lambda: raw(channel, "RetryWorkload")(b"", timeout=patient(20)), "UNIMPLEMENTED")
    fails(lambda: channel.unary_unary("/persys.control.v1.AgentControl/Heartbeat")(b"", timeout=patient(20)), "UNIMPLEMENTED")
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
    (dict(id="bad-1", type=2, spec=dict(compose=dict(compose_yaml="services: {}"))), "services: there is none"),
    (dict(id="bad-1", type=2, spec=dict(compose=dict(compose_yaml="aGVsbG8="))), 'a mapping with the key "services" is wanted'),
    (dict(id="bad-1", type=2, spec=dict(compose=dict(compose_yaml=" "))), "compose_yaml is empty"),
    (dict(id="bad-1", type=2, spec=dict(compose=dict(compose_yaml="services: {a: {image: x, privileged: true}}"))),
     'services.a.privileged "true" is not allowed here'),
    (dict(id="bad-1", type=3, spec=dict(vm=dict(vcpus=1))), "runtime not available"),
    (dict(id="bad-1", type=4, spec=sleeper()), "runtime not available"),
    (dict(id="bad-1", type=2, spec=sleeper()), 'the type is "compose", but the spec is of a container'),
    (dict(id="bad-1", desired_state=9, spec=sleeper()), "9 is no desired state"),
    (dict(id="bad-1", revision_id="r\n", spec=sleeper()), "revision"),
    (dict(id="bad-1", spec=dict(container=dict(command=["x"]))), "no image"),
    (dict(id="bad-1", spec=sleeper(ports=[dict(container_port=70000)])), "70000"),
    (dict(id="bad-1", spec=sleeper(ports=[dict(container_port=80, protocol="sctp")])), '"sctp"'),
    (dict(id="bad-1", spec=sleeper(restart_policy=dict(policy="sometimes"))), '"sometimes"'),
    (dict(id="bad-1", spec=sleeper(restart_policy=dict(policy="x" * 39 + "ä"))), "is none of no"),  # its reason cuts the letter
    (dict(id="x" + "ä" * 100, spec=sleeper()), "id"),
    (dict(id="bad-1", spec=sleeper(volumes=[dict(host_path="relative", container_path="/x")])), "relative"),
    (dict(id="bad-1", spec=sleeper(managed_volumes=[dict(name="..", mount_path="/v")])), "is not the name of a volume"),
    (dict(id="bad-1", spec=sleeper(managed_volumes=[dict(name="v")])), "managed volume at index 0 is missing mount_path"),
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
    assert time.monotonic() - begin < patient(60)
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
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=patient(20)) as r:
            assert r.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            return parse_metrics(r.read().decode())
    before = wait_for("a sample of the processors", lambda: (lambda m: m if ("persys_agent_system_cpu_utilization_percent", ()) in m else None)(scrape()))
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
    assert grown(p + "task_failures_total", type="delete_workload") == 0 and m[(p + "task_queue_depth", ())] == 0
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
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/health", timeout=patient(20)) as r:
        assert r.status == 200 and json.loads(r.read()) == {"status": "healthy"}
    for request, status in ((b"GET /v1/workloads HTTP/1.1", b"404"), (b"POST /metrics HTTP/1.1", b"405")):
        assert status in harness.raw(("127.0.0.1", agent.metrics_port), request + b"\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", patient(20))
    agent.drop(channel, "count-1")


# ---- who may

def test_rights_of_tokens(make_agent):
    a = make_agent()
    a.persys["PERSYS_GRPC_ADDR"] = "0.0.0.0"
    a.begin()
    tokens = {r: a.call("POST", "/tokens", {"name": r, "role": r}).json()["token"] for r in ("viewer", "operator", "admin")}
    with a.channel() as c:
        assert '"id":"grpc-insecure"' in a.gantryd.text()
        for role, token in tokens.items():
            m = (("authorization", f"Bearer {token}"),)
            fails(lambda: a.rpc(c, "GetWorkloadStatus", metadata=m, id="none-1"), "NOT_FOUND")
            assert a.rpc(c, "HealthCheck", metadata=m).healthy
            if role == "viewer":
                fails(lambda: a.rpc(c, "ApplyWorkload", metadata=m, id="none-1", spec=sleeper()), "PERMISSION_DENIED")
                fails(lambda: a.rpc(c, "DeleteWorkload", metadata=m, id="none-1"), "PERMISSION_DENIED")
        fails(lambda: a.rpc(c, "HealthCheck", metadata=(("authorization", "Bearer nonsense"),)), "UNAUTHENTICATED")
        m = (("authorization", f"Bearer {tokens['admin']}"),)
        assert a.rpc(c, "ApplyWorkload", metadata=m, id="who-1", spec=sleeper()).applied
        a.becomes(c, "who-1", RUNNING)
        assert a.get("who-1")["applied_by"] == "token:admin", a.get("who-1")
        a.drop(c, "who-1")
    a.stop_gantryd()
    rows = [json.loads(line) for line in a.audit_file.read_text().splitlines()]
    text = [json.dumps(r) for r in rows]
    assert any("ApplyWorkload" in t and "token:admin" in t and "who-1" in t for t in text), text
    assert any("ApplyWorkload" in t and "token:viewer" in t for t in text), text
    assert not any("HealthCheck" in t and "token:viewer" in t for t in text)


def test_grpc_on_the_listeners_of_rest(make_agent):
    """By content-type, with the identities of REST."""
    a = make_agent()
    a.persys = {}
    a.auth.append("required: true")
    a.start_gantryd(wait=False)
    wait_for("its socket", lambda: '"id":"started"' in a.gantryd.text())
    with grpc.insecure_channel(f"127.0.0.1:{a.port}") as c:
        fails(lambda: a.rpc(c, "HealthCheck"), "UNAUTHENTICATED")
        assert c.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=patient(20)) == b"\x08\x01"
    with grpc.insecure_channel(f"unix:{a.unix}", options=[("grpc.default_authority", "localhost")]) as c:
        assert a.rpc(c, "HealthCheck").healthy  # our own user
        assert a.rpc(c, "ApplyWorkload", id="unix-1", spec=sleeper()).applied
        wait_for("it runs", lambda: a.status(c, "unix-1").actual_state == RUNNING, 20)
        assert a.rpc(c, "DeleteWorkload", id="unix-1").success
        wait_for("it is gone", lambda: not a.rpc(c, "ListWorkloads").workloads, 40)
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", a.rpc_port)) != 0  # no port of its own


# ---- TLS

@pytest.mark.parametrize("who,ca,ok", [("scheduler-1", "ca", True), ("plain", "ca", True), (None, "ca", False), ("stranger", "ca", False),
                                       ("wrong-use", "ca", False), ("expired", "ca", False), ("scheduler-1", "other", False)])
def test_mutual_tls(tls_agent, who, ca, ok):
    with tls_agent.channel(who, ca) as c:
        if ok:
            assert tls_agent.rpc(c, "HealthCheck").healthy
            assert tls_agent.rpc(c, "ApplyWorkload", id="tls-1", desired_state=2, spec=sleeper()).applied
            tls_agent.becomes(c, "tls-1", STOPPED)
            assert tls_agent.get("tls-1")["applied_by"] == f"cert:{who}"
            tls_agent.drop(c, "tls-1")
        else:
            fails(lambda: tls_agent.rpc(c, "HealthCheck"), "UNAVAILABLE")


@pytest.fixture(scope="module")
def tls_agent(tmp_path_factory, engine, pb, pki):
    a = Agent(tmp_path_factory.mktemp("persys-tls"), engine, pb, pki)
    a.begin()
    yield a
    a.stop()
    a.check_clean()


def handshake(a, version=None, who="scheduler-1"):
    ctx = ssl.create_default_context(cafile=str(a.pki / "ca.pem"))
    ctx.load_cert_chain(a.pki / f"{who}.pem", a.pki / f"{who}.key")
    ctx.set_alpn_protocols(["h2"])
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            ctx.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            ctx.maximum_version = version
        ctx.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", a.rpc_port), patient(20)) as s, ctx.wrap_socket(s, server_hostname="localhost") as t:
        return dict(x[0] for x in t.getpeercert()["subject"])["commonName"], t.selected_alpn_protocol(), t.version()


def test_versions_and_rotation(tls_agent, pki):
    a = tls_agent
    assert handshake(a) == ("server", "h2", "TLSv1.3") and handshake(a, ssl.TLSVersion.TLSv1_2) == ("server", "h2", "TLSv1.2")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(a, ssl.TLSVersion.TLSv1_1)
    with grpc.insecure_channel(f"127.0.0.1:{a.rpc_port}") as c:
        fails(lambda: a.rpc(c, "HealthCheck"), "UNAVAILABLE")  # plain bytes
    with a.channel("scheduler-1") as c:
        assert a.rpc(c, "HealthCheck").healthy
        install(pki, "server2")
        assert handshake(a)[0] == "server2"
        # A key that does not fit, then no certificate at all: the pair before stays.
        (pki / "live.key").write_bytes((pki / "plain.key").read_bytes())
        assert handshake(a)[0] == "server2"
        (pki / "live.pem").write_text("no certificate")
        assert handshake(a)[0] == "server2"
        wait_for("the log tells", lambda: "grpc-tls-reload-failed" in a.gantryd.text())
        install(pki, "server")
        assert handshake(a)[0] == "server"
        assert a.rpc(c, "HealthCheck").healthy  # the connection of before goes on


def test_two_hundred_tls_connections(tls_agent):
    for _ in range(200):
        with tls_agent.channel("scheduler-1") as c:
            fails(lambda: tls_agent.status(c, "none-1"), "NOT_FOUND")


def test_allowed_names_and_roles(make_agent, pki):
    a = make_agent(pki)
    a.persys.update(PERSYS_TLS_ALLOWED_CN="scheduler-*, other", GANTRY_GRPC_ROLE="viewer")
    a.begin()
    with a.channel("scheduler-1") as c:
        fails(lambda: a.status(c, "none-1"), "NOT_FOUND")
        fails(lambda: a.rpc(c, "ApplyWorkload", id="none-1", spec=sleeper()), "PERMISSION_DENIED")
    token = a.call("POST", "/tokens", {"name": "t", "role": "admin"}).json()["token"]
    with a.channel("plain") as c:
        assert "grpc.allowed_names" in fails(lambda: a.rpc(c, "HealthCheck"), "UNAUTHENTICATED").details()
        fails(lambda: a.rpc(c, "HealthCheck", metadata=(("authorization", f"Bearer {token}"),)), "UNAUTHENTICATED")
        assert c.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=patient(20)) == b"\x08\x01"
    a.stop_gantryd()
    # Rules of certificates decide as soon as there are any.
    del a.persys["PERSYS_TLS_ALLOWED_CN"]
    a.persys["GANTRY_GRPC_ROLE"] = "admin"
    a.auth.append("certificates: [{name: scheduler-1, role: viewer}]")
    a.start_gantryd()
    with a.channel("scheduler-1") as c:
        fails(lambda: a.rpc(c, "DeleteWorkload", id="none-1"), "PERMISSION_DENIED")
        fails(lambda: a.status(c, "none-1"), "NOT_FOUND")
    with a.channel("plain") as c:
        assert "auth.certificates" in fails(lambda: a.rpc(c, "HealthCheck"), "UNAUTHENTICATED").details()


# ---- beginning and ending

def refuses_to_start(a, status, *words):
    a.start_gantryd(wait=False)
    wait_for("it gives up", lambda: not a.gantryd.alive())
    text, code = a.gantryd.text(), a.gantryd.p.returncode
    a.gantryd = None
    assert code == status and all(w in text for w in words), (code, text[-2000:])


def test_files_that_are_missing(make_agent, pki):
    a = make_agent(pki)
    a.persys["PERSYS_TLS_CA"] = "/nonexistent/ca.pem"
    refuses_to_start(a, 3, "grpc.tls.ca", "/nonexistent/ca.pem", "operator's guide")
    a.persys = {"PERSYS_GRPC_PORT": str(a.rpc_port)}
    refuses_to_start(a, 3, "/etc/persys/certs/agent/compute-agent.pem")


def test_a_port_that_is_taken(make_agent):
    a = make_agent()
    with socket.socket() as s:
        s.bind(("127.0.0.1", a.rpc_port))
        s.listen()
        refuses_to_start(a, 1, "cannot serve gRPC", str(a.rpc_port))
    with socket.socket() as s:
        s.bind(("0.0.0.0", a.metrics_port))
        s.listen()
        refuses_to_start(a, 1, "cannot serve metrics", str(a.metrics_port))


def test_plain_beyond_this_machine_is_asked_for(make_agent):
    a = make_agent()
    a.persys = {}
    a.extra_config = f"grpc: {{enabled: true, port: {a.rpc_port}, tls: {{enabled: false}}}}\n"
    refuses_to_start(a, 3, "grpc without TLS", "insecure: true")


@pytest.mark.parametrize("name,value,words", [
    ("PERSYS_GRPC_PORT", "0", '"0" is no port'), ("PERSYS_GRPC_PORT", "http", '"http" is no port'), ("PERSYS_METRICS_PORT", "70000", "70000"),
    ("PERSYS_TLS_ENABLED", "yes", '"yes" is no truth value'), ("PERSYS_RECONCILE_INTERVAL", "soon", '"soon" is no duration'),
    ("PERSYS_RECONCILE_INTERVAL", "-5s", '"-5s" is no duration'), ("PERSYS_RECONCILE_INTERVAL", "0s", '"0s" is no duration'),
    ("PERSYS_RECONCILE_INTERVAL", "10", '"10" is no duration'), ("PERSYS_VAULT_CERT_TTL", "1d", '"1d" is no duration'),
    ("DOCKER_HOST", "tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"), ("PERSYS_GRPC_ADDR", "example.org", "example.org"),
    ("PERSYS_STATE_PATH", "state.db", "state.db"), ("PERSYS_CONFIG_FILE", "/nonexistent/agent_config.yaml", "/nonexistent/agent_config.yaml"),
])
def test_bad_values_are_refused_by_name(tmp_path, name, value, words):
    r = subprocess.run([harness.program("gantryd"), "--check-config"], capture_output=True, text=True, timeout=patient(40), cwd=tmp_path,
                       env=dict(os.environ, **{name: value}))
    assert r.returncode == 1 and f"{name}: " in r.stderr and words in r.stderr, r


def effective(tmp_path, **env):
    r = subprocess.run([harness.program("gantryd"), "--print-config", "effective"], capture_output=True, text=True, timeout=patient(40), cwd=tmp_path,
                       env=dict(os.environ, **env))
    assert r.returncode == 0, r
    return r.stdout


def test_variables_and_their_file(tmp_path):
    (tmp_path / "agent_config.yaml").write_text("grpc_port: 6001\nreconcile_interval: 2m\ntls_enabled: false\nnode_labels:\n  rack: a1\n"
                                                "log_level: warning\ndocker_endpoint: unix:///run/d.sock\nstate_store_path: /s/file.db\n")
    out = effective(tmp_path, PERSYS_CONFIG_FILE=str(tmp_path / "agent_config.yaml"), PERSYS_RECONCILE_INTERVAL="1m30.5s", PERSYS_NODE_ID="",
                    PERSYS_STATE_STORE_PATH="/s/variable.db", PERSYS_NODE_REGION="eu", GANTRY_NODE_REGION="us", PERSYS_NODE_LABELS="zone=z1")
    def has(key, value):
        row = [line for line in out.splitlines() if key in line]
        return row and any(value in line for line in row)
    for key, value in (("port", "6001"), ("interval", "90500ms"), ("path", "/s/variable.db"), ("socket", "/run/d.sock"), ("region", "us"),
                       ("level", "warn"), ("insecure", "true"), ("enabled", "true")):
        assert has(key, value), (key, value, out)
    assert 'node.labels: {"zone":"z1"}' in out and "rack" not in out and "PERSYS_RECONCILE_INTERVAL" in out and "agent_config.yaml:1" in out
    (tmp_path / "agent_config.yaml").write_text("grpc_prot: 6001\n")
    r = subprocess.run([harness.program("gantryd"), "--check-config"], capture_output=True, text=True, timeout=patient(40), cwd=tmp_path,
                       env=dict(os.environ, PERSYS_CONFIG_FILE=str(tmp_path / "agent_config.yaml")))
    assert r.returncode == 1 and "agent_config.yaml:1" in r.stderr and "grpc_prot" in r.stderr, r
    r = subprocess.run([harness.program("gantryd"), "--check-config"], capture_output=True, text=True, timeout=patient(40), cwd=tmp_path,
                       env=dict(os.environ, PERSYS_STORAGE_NFS_SERVER="x", PERSYS_NONSENSE="1"))
    assert r.returncode == 0 and "PERSYS_NONSENSE: warning: there is no such setting" in r.stderr, r
    assert "PERSYS_STORAGE_NFS_SERVER" not in r.stderr
    r = subprocess.run([harness.program("gantryd"), "--check-config"], capture_output=True, text=True, timeout=patient(40), cwd=tmp_path,
                       env=dict(os.environ, PERSYS_DOCKER_ENABLED="0", PERSYS_COMPOSE_ENABLED="f", PERSYS_VM_ENABLED="False"))
    assert r.returncode == 1 and "no runtime is left" in r.stderr, r


def test_a_store_of_the_original_agent_is_left_alone(make_agent):
    """A file that is none of ours is refused, and stays as it is; the port says so, and never "not found"."""
    a = make_agent()
    old = a.root / "bolt.db"
    old.write_bytes(b"\0" * 16 + bytes.fromhex("edda0ced") + os.urandom(32768))
    before = old.read_bytes()
    a.persys["PERSYS_STATE_PATH"] = str(old)
    a.begin()
    with a.channel() as c:
        assert a.rpc(c, "HealthCheck").healthy
        for method, request in (("GetWorkloadStatus", dict(id="web-1")), ("ApplyWorkload", dict(id="web-1", spec=sleeper())),
                                ("DeleteWorkload", dict(id="web-1")), ("ListWorkloads", {})):
            assert "not found" not in fails(lambda: a.rpc(c, method, **request), "UNAVAILABLE").details()
        h = importlib.import_module("health_made")
        check = c.unary_unary("/grpc.health.v1.Health/Check", request_serializer=h.HealthCheckRequest.SerializeToString,
                              response_deserializer=h.HealthCheckResponse.FromString)
        assert check(h.HealthCheckRequest(service=""), timeout=patient(20)).status == 1
        assert check(h.HealthCheckRequest(service=SERVICE), timeout=patient(20)).status == 2
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(f"http://127.0.0.1:{a.metrics_port}/health", timeout=patient(20))
    assert e.value.code == 503
    a.stop_gantryd()
    assert old.read_bytes() == before


def test_stopping(make_agent):
    """Health says so at once, who watches it is told, and gantryd ends although connections are open."""
    a = make_agent()
    a.extra_config = "shutdown: {limit: 2m}\n"
    a.begin()
    h = importlib.import_module("health_made")
    with a.channel() as c:
        watch = c.unary_stream("/grpc.health.v1.Health/Watch", request_serializer=h.HealthCheckRequest.SerializeToString,
                               response_deserializer=h.HealthCheckResponse.FromString)(h.HealthCheckRequest(service=SERVICE), timeout=patient(60))
        assert next(watch).status == 1
        begin = time.monotonic()
        assert a.stop_gantryd() == 0
        assert time.monotonic() - begin < 100
        with pytest.raises(grpc.RpcError):
            assert next(watch).status == 2
            next(watch)


def test_the_list_stays_small(make_agent):
    """Thousands of workloads whose metadata would not fit: the answer is one that clients take."""
    a = make_agent()
    a.docker_socket = str(a.root / "nobody.sock")  # nothing is made: that is not what is looked at
    a.begin()
    try:
        with a.channel() as c:
            n = 12000

            def some(first):
                with a.channel() as mine:
                    for i in range(first, n, 4):
                        r = a.rpc(mine, "ApplyWorkload", id=f"many-{i:05}-" + "y" * 100, revision_id="r" * 100, desired_state=2,
                                  spec=sleeper())
                        assert r.applied, r
            threads = [threading.Thread(target=some, args=(i,)) for i in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            rows = a.rpc(c, "ListWorkloads").workloads
            assert len(rows) == n and [r.id for r in rows] == sorted(r.id for r in rows) and all(r.revision_id == "r" * 100 for r in rows)
            assert sum(r.ByteSize() + 5 for r in rows) <= LIMIT
            assert sum(len(dict(r.metadata)) for r in rows[:3]) == 0
    finally:
        a.stop_gantryd()

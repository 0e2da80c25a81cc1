"""A stand-in for the Persys scheduler, as the compute agent's contract describes it (2.1): it is told of a node, asks it over a new
connection for every call, looks at each workload every few seconds, and every few minutes at all that the node has; what it does not
know is deleted there. Its time can run faster. It can refuse, hang, forget, lose its store, and go away.

The code of the messages is made by protoc from the project's .proto files and given to it.
"""
import collections
import threading
import time
from concurrent import futures

import grpc

from harness import patient

CONTROL = "persys.control.v1.AgentControl"
AGENT = "persys.agent.v1.AgentService"
STOPS_TRYING = {"INVALID_IMAGE", "INVALID_SPECIFICATION", "INVALID_CONFIGURATION", "PORT_BIND_CONFLICT"}
PENDING, RUNNING, STOPPED, FAILED, UNKNOWN = range(1, 6)
NAMES = {PENDING: "Pending", RUNNING: "Running", STOPPED: "Stopped", FAILED: "Failed", UNKNOWN: "Unknown"}


class Record:
    """What it wants of a workload, and what it knows."""

    def __init__(self, id, revision, desired, spec):
        self.id, self.revision, self.desired, self.spec = id, revision, desired, spec
        self.metadata, self.state, self.log = {}, "Pending", []
        self.applies, self.wait, self.not_before, self.steady, self.steady_since = 0, 1.0, 0.0, 0, 0.0


class Scheduler:
    def __init__(self, control_pb, agent_pb, port, factor=1.0, tls=None, interval=60, lease=180):
        """tls: (ca, certificate, key) as bytes: both sides show theirs."""
        self.cpb, self.apb, self.port, self.factor, self.tls = control_pb, agent_pb, port, factor, tls
        self.interval, self.lease = interval, lease
        self.lock = threading.RLock()
        self.changing = threading.RLock()  # held while something is applied or deleted, as one transaction
        self.wanted, self.nodes, self.endpoint = {}, {}, ""
        self.degraded = False
        self.on_register = self.on_heartbeat = None  # faults: called with (request, context); an answer of theirs is taken
        self.calls = []  # (time, name, peer, request, answer or None)
        self.agent_calls = collections.Counter()
        self.agent_errors, self.slowest, self.deleted = [], 0.0, []
        self.server, self.threads, self.ending = None, [], threading.Event()

    # --- what the node calls

    def stamp(self, seconds):
        at = time.time() + max(seconds / self.factor, patient(7))  # leases end by intent, not while a busy machine rests
        t = self.cpb.RegisterNodeResponse().lease_expires_at
        t.seconds, t.nanos = int(at), int(at % 1 * 1e9)
        return t

    def note(self, name, context, request, answer):
        with self.lock:
            self.calls.append((time.monotonic(), name, context.peer(), request, answer))

    def register(self, request, context):
        hook = self.on_register
        if hook:
            answer = hook(request, context)
            if answer is not None:
                self.note("register", context, request, answer)
                return answer
        if not request.node_id or not request.grpc_endpoint:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "node_id and grpc_endpoint are required")
        if self.degraded:
            answer = self.cpb.RegisterNodeResponse(accepted=False, reason="scheduler is degraded")
        else:
            with self.lock:
                self.nodes[request.node_id] = request
                self.endpoint = request.grpc_endpoint
            answer = self.cpb.RegisterNodeResponse(accepted=True, heartbeat_interval_seconds=max(round(self.interval / self.factor), 1))
            answer.lease_expires_at.CopyFrom(self.stamp(self.lease))
        self.note("register", context, request, answer)
        return answer

    def heartbeat(self, request, context):
        hook = self.on_heartbeat
        if hook:
            answer = hook(request, context)
            if answer is not None:
                self.note("heartbeat", context, request, answer)
                return answer
        with self.lock:
            known = request.node_id in self.nodes
        if not known:
            self.note("heartbeat", context, request, None)
            context.abort(grpc.StatusCode.NOT_FOUND, f"node {request.node_id} is not registered")
        with self.lock:
            for s in request.workload_statuses:
                r = self.wanted.get(s.workload_id)
                if r:
                    r.state = s.state
                    if s.message:
                        r.log.append(s.message)
        answer = self.cpb.HeartbeatResponse(acknowledged=True, drain_node=self.degraded)
        answer.lease_expires_at.CopyFrom(self.stamp(30 if self.degraded else self.lease))
        self.note("heartbeat", context, request, answer)
        return answer

    def start(self):
        pb = self.cpb
        rows = {"RegisterNode": (self.register, pb.RegisterNodeRequest), "Heartbeat": (self.heartbeat, pb.HeartbeatRequest)}
        handlers = {name: grpc.unary_unary_rpc_method_handler(fn, request_deserializer=kind.FromString,
                                                              response_serializer=lambda m: m.SerializeToString())
                    for name, (fn, kind) in rows.items()}
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CONTROL, handlers),))
        address = f"127.0.0.1:{self.port}"
        if self.tls:
            ca, certificate, key = self.tls
            credentials = grpc.ssl_server_credentials([(key, certificate)], root_certificates=ca, require_client_auth=True)
            assert self.server.add_secure_port(address, credentials)
        else:
            assert self.server.add_insecure_port(address)
        self.server.start()
        return self

    def stop(self):
        """The server goes, at once; what it knows stays."""
        if self.server:
            self.server.stop(0).wait()
            self.server = None

    def end(self):
        self.ending.set()
        for t in self.threads:
            t.join(patient(60))
            assert not t.is_alive()
        self.stop()

    def forget_nodes(self):
        with self.lock:
            self.nodes.clear()

    def named(self, name):
        with self.lock:
            return [c for c in self.calls if c[1] == name]

    def last(self, name):
        rows = self.named(name)
        return rows[-1][3] if rows else None

    # --- what it calls

    def ask(self, method, **request):
        """One call over a connection of its own: at most ten seconds of an idle machine for both."""
        with self.lock:
            endpoint = self.endpoint
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self.tls:
            ca, certificate, key = self.tls
            channel = grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(ca, key, certificate), options=options)
        else:
            channel = grpc.insecure_channel(endpoint, options=options)
        begin = time.monotonic()
        with channel:
            call = channel.unary_unary(f"/{AGENT}/{method}", request_serializer=lambda m: m.SerializeToString(),
                                       response_deserializer=getattr(self.apb, method + "Response").FromString)
            try:
                return call(getattr(self.apb, method + "Request")(**request), timeout=patient(10), wait_for_ready=True)
            finally:
                with self.lock:
                    self.agent_calls[method] += 1
                    self.slowest = max(self.slowest, time.monotonic() - begin)

    def take(self, r, status):
        """Metadata is merged; nothing ever goes from it."""
        r.metadata.update(status.metadata)
        r.state = NAMES.get(status.actual_state, "Unknown")

    def wants(self, id, revision, spec, desired=1):
        with self.lock:
            self.wanted[id] = r = Record(id, revision, desired, spec)
        self.apply(r)
        return r

    def forget(self, id):
        """The user deletes it: success of the node's answer is not looked at."""
        with self.changing:
            with self.lock:
                self.wanted.pop(id)
            self.ask("DeleteWorkload", id=id)

    def apply(self, r):
        r.applies += 1
        a = self.ask("ApplyWorkload", id=r.id, type=1, revision_id=r.revision, desired_state=r.desired, spec=r.spec)
        if not a.applied and not a.skipped:
            self.agent_errors.append(("ApplyWorkload", a.message))
            return a
        self.take(r, a.status)
        return a

    def apply_again(self, r):
        """Unless it was deleted in the meantime."""
        with self.changing:
            if self.wanted.get(r.id) is r:
                self.apply(r)

    def tries_no_more(self, r):
        return r.metadata.get("retry_terminal") == "true" or r.metadata.get("failure_reason") in STOPS_TRYING

    def reconcile_one(self, r):
        try:
            self.take(r, self.ask("GetWorkloadStatus", id=r.id).status)
        except grpc.RpcError as e:
            if "not found" not in e.details():
                self.agent_errors.append(("GetWorkloadStatus", f"{e.code()} {e.details()}"))
                return
            r.state = "Missing"
        now = time.monotonic()
        is_so = r.state == ("Running" if r.desired == 1 else "Stopped")
        r.steady = r.steady + 1 if is_so else 0
        r.steady_since = r.steady_since if r.steady > 1 else now
        if r.steady > 12 and now - r.steady_since > 10:  # a minute, and not ours; what crashes at once was running for a moment, too
            r.wait = 1.0
        if is_so:
            return
        if r.state in ("Missing", "Stopped", "Failed") and not self.tries_no_more(r) and now >= r.not_before:
            r.wait = min(r.wait * 2, 900)
            r.not_before = now + r.wait / self.factor
            self.apply_again(r)

    def reconcile(self):
        with self.lock:
            rows = list(self.wanted.values())
        for r in rows:
            if self.ending.is_set():
                return
            self.reconcile_one(r)

    def drift(self):
        there = {w.id: w for w in self.ask("ListWorkloads").workloads}
        with self.lock:
            rows = dict(self.wanted)
        for id in there:
            if id not in rows:
                self.deleted.append(id)
                self.ask("DeleteWorkload", id=id)
        for id, r in rows.items():
            if id not in there or there[id].revision_id != r.revision:
                self.apply_again(r)
            else:
                self.take(r, there[id])

    def loop(self, fn, seconds):
        while not self.ending.wait(seconds / self.factor):
            try:
                if self.server and self.nodes and not self.degraded:
                    fn()
            except grpc.RpcError as e:
                self.agent_errors.append((fn.__name__, str(e)))

    def run_loops(self):
        for fn, seconds in ((self.reconcile, 5), (self.drift, 300)):
            self.threads.append(threading.Thread(target=self.loop, args=(fn, seconds), daemon=True))
            self.threads[-1].start()

"""Starts and stops the real programs for the end-to-end tests."""
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

import openapi

SANITIZED = bool(os.environ.get("GANTRY_SANITIZED"))


def build_dir():
    return pathlib.Path(os.environ.get("GANTRY_BUILD", "build")).absolute()


def program(name):
    """The path of a built program, in a build folder with or without the Makefile's links."""
    for p in (build_dir() / "src" / name / name, build_dir() / name):
        if p.is_file():
            return str(p)
    raise FileNotFoundError(f"{name} is not built in {build_dir()}: run make build")


_ports = {}  # those of this process, each with what keeps other test runs from it


def free_port():
    """A TCP port that nothing listens on, also while a test stops its server and starts it again: outside the range from
    which the kernel takes the ports of connections, and no other test run of this machine takes it before this one ends."""
    while True:
        port = random.randrange(10240, 32768)
        if port in _ports:
            continue
        mine, probe = socket.socket(socket.AF_UNIX), socket.socket()
        try:
            mine.bind(f"\0gantry-test-port-{port}")
            probe.bind(("0.0.0.0", port))
        except OSError:
            mine.close()
            continue
        finally:
            probe.close()
        _ports[port] = mine
        return port


def patient(seconds):
    """How long to wait for what takes so long at the most on an idle machine."""
    return seconds * (6 if SANITIZED else 3)


def wait_for(what, check, seconds=10.0):
    """Polls check() until it is true; fails with the name of what was waited for. A busy machine gets more time: how fast
    something is belongs to bench/, here it only must come."""
    end = time.monotonic() + patient(seconds)
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"waited {patient(seconds)} s in vain for: {what}")
        time.sleep(0.02)


class Process:
    """A child with its log in a file; ended by its own pid, and its exit status kept."""

    def __init__(self, name, argv, log, env=None, **kw):
        self.name, self.log = name, pathlib.Path(log)
        self.out = open(log, "ab")
        self.p = subprocess.Popen(argv, stdout=self.out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  env=env, start_new_session=True, **kw)

    @property
    def pid(self):
        return self.p.pid

    def alive(self):
        return self.p.poll() is None

    def stop(self, sig=signal.SIGTERM, seconds=15):
        if self.alive():
            self.p.send_signal(sig)
        try:
            self.p.wait(patient(seconds))
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            raise AssertionError(f"{self.name} did not end within {patient(seconds)} s of signal {sig}:\n{self.text()[-3000:]}")
        finally:
            self.out.close()
        return self.p.returncode

    def text(self):
        return self.log.read_text("utf-8", "replace")


def end_services(scandir, letters="-dx"):
    """What docs/guide/troubleshooting.md says about an s6-svscan that does not end: every supervisor is told by itself."""
    for name in os.listdir(scandir):
        for d in (pathlib.Path(scandir, name), pathlib.Path(scandir, name, "log")):
            if (d / "supervise" / "control").exists():
                subprocess.run(["s6-svc", letters, str(d)], capture_output=True)


def end_svscan(process, scandir, seconds=8):
    """Ends an s6-svscan with its services. The order goes through its fifo, behind a rescan that it may not have read yet: one
    by signal can overtake it, and s6-svscan 2.11 that reads a rescan with -n after an order to end waits for supervisors that it
    tells nothing. A rescan of somebody else may still come last; then the supervisors are told one by one. A logger that a full
    disk keeps is killed."""
    subprocess.run(["s6-svscanctl", "-t", str(scandir)], capture_output=True)
    for letters in ("-dx", "-kdx"):
        end = time.monotonic() + patient(seconds)
        while process.alive() and time.monotonic() < end:
            time.sleep(0.02)
        if process.alive():
            end_services(scandir, letters)
    process.stop()


def websocket(url, **kw):
    """websockets.connect, whose own limits of 10 and 20 s are for people who wait."""
    import websockets
    return websockets.connect(url, **{"open_timeout": patient(20), "ping_timeout": patient(40), "close_timeout": patient(5), **kw})


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=patient(40)):
        super().__init__("agent", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers}, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


def ask(conn, method, path, body=None, headers=None):
    """One request on an http.client connection, which is closed afterwards."""
    h = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        h.setdefault("Content-Type", "application/json")
    elif isinstance(body, str):
        body = body.encode()
    try:
        conn.request(method, path, body=body, headers=h)
        r = conn.getresponse()
        a = Answer(r.status, r.getheaders(), r.read())
        if a.headers.get("server") == "gantry":
            openapi.check(method, path, a.status, a.headers, a.body)
        return a
    finally:
        conn.close()


def raw(address, data, seconds=patient(20), half_close=False):
    """Sends bytes as they are, to (host, port) or a socket path, and returns all that comes until the end; also of a server
    that answers and closes before it has taken everything."""
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    s.settimeout(seconds)
    s.connect(address)
    out = b""
    try:
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError):
            pass
        while True:
            b = s.recv(65536)
            if not b:
                break
            out += b
    except (ConnectionResetError, BrokenPipeError):
        pass
    except socket.timeout:
        out += b"<still open>"
    finally:
        s.close()
    return out


SERVICES = {
    "idle": "exec sleep 86400",
    "idle-log": "exec sleep 86400",
    "ticker": 'i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 0.1; done',
    "crasher": "sleep 0.3; exit 3",
    "ready": "echo >&3; exec sleep 86400",
    "normally-down": "exec sleep 86400",
    "stubborn": "trap '' TERM; while :; do sleep 0.1; done",
    "café": "exec sleep 86400",
}


class S6Tree:
    """A scandir of real services under a real s6-svscan."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.scandir, self.logs, self.sources = self.root / "service", self.root / "log", self.root / "source"
        self.backups = self.root / "run-backups"
        self.svscan = None

    def add(self, name, script, supervise=True):
        d = self.scandir / name
        d.mkdir(parents=True)
        (d / "run").write_text("#!/bin/sh\n" + script + "\n")
        (d / "run").chmod(0o755)
        if self.svscan and supervise:
            self.ctl("-a")
            wait_for(f"{name} supervised", lambda: (d / "supervise" / "status").exists())
        return d

    def ctl(self, flag):
        subprocess.run(["s6-svscanctl", flag, str(self.scandir)], check=True)

    def start(self):
        for d in (self.scandir, self.logs, self.sources):
            d.mkdir(parents=True, exist_ok=True)
        for name, script in SERVICES.items():
            self.add(name, script)
        (self.scandir / "normally-down" / "down").touch()
        (self.scandir / "ready" / "notification-fd").write_text("3\n")
        log = self.scandir / "ticker" / "log"
        log.mkdir()
        (log / "run").write_text(f"#!/bin/sh\nexec s6-log -b n5 s4096 {self.logs}/ticker\n")
        (log / "run").chmod(0o755)
        for name in ("idle", "ticker"):
            (self.sources / name).mkdir()
            (self.sources / name / "run").write_text(f"#!/bin/sh\nexec {name}\n")
            (self.sources / name / "run").chmod(0o755)
        (self.logs / "idle").mkdir()
        (self.logs / "idle" / "current").write_text("".join(f"line {i}\n" for i in range(1, 301)))
        (self.logs / "utf8bad").mkdir()
        (self.logs / "utf8bad" / "current").write_bytes(b"ok \xff\xfe bad\nnext\n")
        self.svscan = Process("s6-svscan", ["s6-svscan", str(self.scandir)], self.root / "svscan.log")
        for name in SERVICES:
            wait_for(f"{name} supervised", lambda: (self.scandir / name / "supervise" / "status").exists())
        for name in ("idle", "idle-log", "ticker", "ready", "stubborn", "café"):
            wait_for(f"{name} up", lambda: self.svstat(name).startswith("up "))
        wait_for("the ticker's log", lambda: self.ticks() > 2)

    def svstat(self, name):
        return subprocess.run(["s6-svstat", str(self.scandir / name)], capture_output=True, text=True).stdout.strip()

    def ticks(self):
        """How many lines the ticker's log has."""
        log = self.logs / "ticker" / "current"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def stop(self):
        if not self.svscan:
            return
        subprocess.run(["s6-svc", "-k", str(self.scandir / "stubborn")], capture_output=True)
        subprocess.run(["s6-svscanctl", "-t", str(self.scandir)], capture_output=True)
        end = time.monotonic() + patient(10)
        while self.svscan.alive() and time.monotonic() < end:
            subprocess.run(["s6-svc", "-xk", str(self.scandir / "stubborn")], capture_output=True)
            time.sleep(0.05)
        self.svscan.stop()
        self.svscan = None


class Stack:
    """An s6 tree, gantry-agent on it, and gantryd with that agent as container `robot`."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.tree = S6Tree(self.root)
        # Socket paths are short in the kernel; pytest's folders are not.
        self.sockets = pathlib.Path(f"/tmp/gantry-e2e-{os.getpid()}-{id(self):x}")
        self.agent_sock = str(self.sockets / "agent.sock")
        self.unix = str(self.sockets / "gantryd.sock")
        self.port = free_port()
        self.agent = self.gantryd = None
        self.extra_config = ""
        self.docker_socket = str(self.sockets / "no-docker.sock")
        self.audit_file = self.root / "audit.log"
        self.audit_config = ""
        self.compose_config = ""  # lines below compose:
        self.listeners = []
        self.auth = []  # lines below auth:
        self.env = dict(os.environ, NO_COLOR="1")
        self.env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        self.env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:exitcode=99:print_stacktrace=1")
        self.exits = []

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def config(self):
        """The configuration file's text. Tests append to extra_config and listeners."""
        more = "".join(f"    - {line}\n" for line in self.listeners)
        return f"""\
containers:
  robot:
    socket_path: "{self.agent_sock}"
    services:
      - id: "ticker"
        label: "Ticker demo"
  missing:
    socket_path: "{self.sockets}/nobody.sock"
auth:
  tokens: "{self.root}/state/tokens.json"
{"".join(f"  {line}" + chr(10) for line in self.auth)}docker:
  socket: "{self.docker_socket}"
compose:
  root: "{self.root}/compose"
{self.compose_config}state:
  path: "{self.root}/state/state.db"
secrets:
  key_file: "{self.root}/keys/secret.key"
audit:
  file: "{self.audit_file}"
{self.audit_config}http:
  listeners:
    - address: "127.0.0.1:{self.port}"
    - address: "unix:{self.unix}"
{more}{self.extra_config}"""

    def start(self):
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        self.tree.start()
        self.start_agent()
        self.start_gantryd()
        return self

    def start_agent(self, env=None, args=(), **kw):
        t = self.tree
        self.agent = Process("gantry-agent", [
            program("gantry-agent"), "serve", "--socket", self.agent_sock, "--scandir", str(t.scandir),
            "--log-dir", str(t.logs), "--source-dir", str(t.sources), "--backup-dir", str(t.backups), *args],
            self.root / "agent.log", env=env or self.env, **kw)
        wait_for("the agent's socket", lambda: self.agent.alive() and self._answers(UnixHTTPConnection(self.agent_sock)))

    def start_gantryd(self, env=None, wait=True, **kw):
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        cfg = self.root / "config.yml"
        cfg.write_text(self.config())
        self.gantryd = Process("gantryd", [program("gantryd"), "--config", str(cfg)], self.root / "gantryd.log",
                               env=env or self.env, **kw)
        if wait:
            wait_for("gantryd's answer", lambda: self.gantryd.alive() and self._answers(
                http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)))

    @staticmethod
    def _answers(conn):
        try:
            return ask(conn, "GET", "/").status == 200
        except OSError:
            return False

    def get(self, path, **kw):
        return self.ask("GET", path, **kw)

    def ask(self, method, path, body=None, headers=None, timeout=patient(40)):
        return ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout), method, path, body, headers)

    def ask_agent(self, method, path, body=None, headers=None):
        return ask(UnixHTTPConnection(self.agent_sock), method, path, body, headers)

    def ask_tls(self, port, path, ca, cert=None):
        ctx = ssl.create_default_context(cafile=str(ca))
        if cert:
            ctx.load_cert_chain(*map(str, cert))
        return ask(http.client.HTTPSConnection("localhost", port, context=ctx, timeout=patient(20)), "GET", path)

    def cli(self, *args, timeout=patient(40), **kw):
        """The gantry program against this gantryd's Unix socket."""
        env = dict(self.env, GANTRY_HOST=f"unix:{self.unix}")
        return subprocess.run([program("gantry"), *args], capture_output=True, text=True, timeout=timeout, env=env, **kw)

    def stop_gantryd(self, sig=signal.SIGTERM):
        if self.gantryd:
            g, self.gantryd = self.gantryd, None
            self.exits.append(("gantryd", g.stop(sig), g.text()))
            return self.exits[-1][1]
        return None

    def stop_agent(self, sig=signal.SIGTERM):
        if self.agent:
            a, self.agent = self.agent, None
            self.exits.append(("gantry-agent", a.stop(sig), a.text()))
            return self.exits[-1][1]
        return None

    def stop(self):
        self.stop_gantryd()
        self.stop_agent()
        self.tree.stop()
        for p in self.sockets.glob("*"):
            p.unlink()
        if self.sockets.exists():
            self.sockets.rmdir()

    def check_clean(self):
        """Nothing crashed, leaked or complained under a sanitizer."""
        for name, code, text in self.exits:
            assert code in (0, -signal.SIGKILL), f"{name} ended with {code}:\n{text[-4000:]}"
            assert "ERROR: AddressSanitizer" not in text and "runtime error:" not in text \
                and "LeakSanitizer" not in text, f"{name}:\n{text[-6000:]}"


def status_of(stack, name):
    return stack.ask_agent("GET", f"/services/{urllib.parse.quote(name)}/status").json()

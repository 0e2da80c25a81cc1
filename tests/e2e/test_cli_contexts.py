"""Several machines, credentials, and completion in real shells."""
import json
import os
import pty
import select
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from harness import patient, program, wait_for
from test_protocol import tls_stack  # noqa: F401


@pytest.fixture
def cli(tmp_path):
    """gantry with a configuration folder of its own, and no other word of where to talk to."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GANTRY_") and k != "XDG_RUNTIME_DIR"}
    env.update(XDG_CONFIG_HOME=str(tmp_path / "config"), NO_COLOR="1")
    (tmp_path / "work").mkdir()

    def run(*args, **more):
        return subprocess.run([program("gantry"), *args], env=dict(env, **more), capture_output=True, text=True, timeout=patient(30),
                              cwd=tmp_path / "work")
    run.env = env
    return run


def test_contexts(stack, cli, tmp_path):
    file = tmp_path / "config/gantry/contexts.yml"
    assert cli("context", "list").stdout.splitlines()[1:] == [] and not file.exists()
    assert cli("context", "add", "here", "--host", f"unix:{stack.unix}").returncode == 0
    assert cli("context", "add", "there", "--host", stack.url, "--token-file", "t").returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert "robot" in cli("containers").stdout
    where = json.loads(cli("context", "show", "-o", "json").stdout)
    assert where["name"] == "here" and where["host"] == f"unix:{stack.unix}"
    listed = json.loads(cli("context", "list", "-o", "json").stdout)
    assert listed["current"] == "here" and [x["name"] for x in listed["contexts"]] == ["here", "there"]
    assert listed["contexts"][1]["token_file"] == str(tmp_path / "work/t")
    (tmp_path / "work/t").write_text("0123456789abcdef\n")
    (tmp_path / "work/t").chmod(0o600)
    assert cli("context", "use", "there").returncode == 0
    r = cli("--trace", "version")
    assert r.returncode == 4 and "0123456789abcdef" not in r.stdout + r.stderr, "a token that is not known"
    assert json.loads(cli("context", "show", "-o", "json").stdout)["host"] == stack.url
    assert stack.unix in cli("--context", "here", "version").stdout
    assert stack.unix in cli("version", GANTRY_CONTEXT="here").stdout
    assert stack.unix in cli("version", GANTRY_HOST=f"unix:{stack.unix}", GANTRY_CONTEXT="there").stdout
    r = cli("--context", "there", "version", GANTRY_HOST=f"unix:{stack.unix}")
    assert r.returncode == 2 and "GANTRY_HOST" in r.stderr
    r = cli("--context", "hre", "version")
    assert r.returncode == 2 and 'did you mean "here"?' in r.stderr
    assert cli("context", "remove", "there").returncode == 0 and cli("context", "use", "there").returncode == 2
    assert "there" not in file.read_text() and "current" not in file.read_text()
    assert not [p for p in file.parent.iterdir() if p != file], "no temporary file is left"


def test_a_bad_file_is_told_with_its_place(stack, cli, tmp_path):
    file = tmp_path / "config/gantry/contexts.yml"
    file.parent.mkdir(parents=True)
    file.write_text("contexts:\n  a:\n    host: nonsense\n")
    r = cli("containers")
    assert r.returncode == 2 and f"{file}:3:11: " in r.stderr and len(r.stderr.splitlines()) == 1
    assert cli("-H", f"unix:{stack.unix}", "containers").returncode == 0, "with --host it is not needed"
    file.write_text("current: b\ncontexts: {}\n")
    assert 'the current context "b" is not there' in cli("containers").stderr
    file.chmod(0)
    if os.getuid() != 0:
        assert cli("containers").returncode == 1


def test_a_token_in_a_context(own_stack, cli, tmp_path):
    """Made by the administrator at the socket, used by a context over TCP, revoked: each step as it should be."""
    st = own_stack.start()
    file = tmp_path / "work/viewer.token"
    made = st.cli("token", "create", "from-a-context", "--role", "viewer")
    assert made.returncode == 0, made.stderr
    file.write_text(made.stdout)
    file.chmod(0o600)
    assert cli("context", "add", "tcp", "--host", st.url, "--token-file", "viewer.token").returncode == 0
    r = cli("status", "robot", "idle")
    assert r.returncode == 0 and r.stderr == "", r.stderr
    assert "token:from-a-context" in cli("whoami", "-o", "json").stdout
    r = cli("down", "robot", "idle")
    assert r.returncode == 4 and len(r.stderr.splitlines()) == 1
    wait_for("its completion", lambda: "from-a-context" in st.cli("__complete", "token", "revoke", "").stdout)
    assert st.cli("token", "revoke", "from-a-context").returncode == 0
    r = cli("status", "robot", "idle")
    assert r.returncode == 4 and made.stdout.strip() not in r.stderr


class Recorder(BaseHTTPRequestHandler):
    seen = []

    def do_GET(self):
        type(self).seen.append(self.headers.get("authorization"))
        body = b'{"containers":[]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_tokens_are_sent_only_where_they_belong(cli, tmp_path):
    servers = [HTTPServer(("127.0.0.1", 0), Recorder) for _ in range(2)]
    for s in servers:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    try:
        one, two = (f"http://127.0.0.1:{s.server_port}" for s in servers)
        token = tmp_path / "token"
        token.write_text("of-the-context\n")
        token.chmod(0o600)
        cli("context", "add", "one", "--host", one, "--token-file", str(token))

        def sent(*args, **env):
            Recorder.seen.clear()
            r = cli(*args, "containers", **env)
            assert r.returncode == 0, r.stderr
            return Recorder.seen[0], r.stderr
        assert sent() == ("Bearer of-the-context", "")
        assert sent("--host", two) == (None, ""), "the context's token went elsewhere"
        assert sent(GANTRY_HOST=two) == (None, "")
        assert sent(GANTRY_TOKEN="of-the-environment")[0] == "Bearer of-the-environment"
        token.chmod(0o640)
        header, told = sent("--host", two, "--token-file", str(token))
        assert header == "Bearer of-the-context" and "others may read" in told and "chmod 600" in told
        r = cli("containers", GANTRY_TOKEN="a\nb")
        assert r.returncode == 2 and "a\n" not in r.stderr
    finally:
        for s in servers:
            s.shutdown()
            s.server_close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_client_certificates(tls_stack, cli, tmp_path):  # noqa: F811
    st = tls_stack
    cert, key = st.client_cert
    ca, host = str(tmp_path / "ca.pem"), f"https://localhost:{st.mtls}"
    assert cli("--host", host, "--cacert", ca, "containers").returncode == 3, "without a certificate"
    r = cli("--host", host, "--cacert", ca, "--cert", str(cert), "--key", str(key), "containers")
    assert r.returncode in (0, 4), r.stderr  # 4: known, and without a right
    assert cli("context", "add", "m", "--host", host, "--cacert", ca, "--cert", str(cert), "--key", str(key)).returncode == 0
    assert cli("containers").returncode == r.returncode
    assert cli("--host", host, "--cacert", ca, "--key", str(key), "containers").returncode == 2
    r = cli("--host", host, "--cacert", "/nonexistent/ca.pem", "containers")
    assert r.returncode == 2 and "/nonexistent/ca.pem" in r.stderr


# --- completion -----------------------------------------------------------------------------------------

@pytest.fixture
def shell_env(stack, tmp_path):
    """Shells find this gantry as `gantry`, and it finds this gantryd."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gantry").symlink_to(program("gantry"))
    home = tmp_path / "home"
    home.mkdir()
    return dict(stack.env, PATH=f"{folder}:{os.environ['PATH']}", HOME=str(home), GANTRY_HOST=f"unix:{stack.unix}", TERM="dumb",
                XDG_CONFIG_HOME=str(home / ".config"))


def script_of(shell):
    return subprocess.run([program("gantry"), "completion", shell], capture_output=True, text=True, check=True).stdout


def bash_completes(env, line):
    """The machinery of `complete`, as bash calls it."""
    code = script_of("bash") + """
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=(gantry)
spec=$(complete -p gantry); function=${spec#*-F }; ${function%% *}
printf '%s\\n' "${COMPREPLY[@]}"
"""
    r = subprocess.run(["bash", "--norc", "-c", code, "bash", line], env=env, capture_output=True, text=True, timeout=patient(20))
    assert r.returncode == 0 and r.stderr == "", r.stderr
    return r.stdout.split()


def offered(completes, line, want):
    """What the daemon knows is offered if it answers within half a second: on a busy machine at another press of the key."""
    wait_for(f"{want} for {line!r}", lambda: sorted(completes(line)) == want)


def test_bash(shell_env):
    assert bash_completes(shell_env, "gantry statu") == ["status"]
    offered(lambda line: bash_completes(shell_env, line), "gantry status ", ["missing", "robot"])
    offered(lambda line: bash_completes(shell_env, line), "gantry up robot tick", ["ticker"])
    assert bash_completes(shell_env, "gantry --output=y") == ["yaml"]
    assert bash_completes(shell_env, "gantry logs --fol") == ["--follow"]
    assert bash_completes(dict(shell_env, GANTRY_HOST="unix:/nonexistent/s"), "gantry status ") == []


def test_bash_at_a_prompt(shell_env, tmp_path):
    """Typed at a real prompt, with the tabulator."""
    rc = tmp_path / "rc"
    rc.write_text("PS1='$ '\nbind 'set enable-bracketed-paste off'\n" + script_of("bash"))
    typed(shell_env, ["bash", "--noprofile", "--rcfile", str(rc), "-i"], b"$ ", (b"gantry services rob", b"gantry services robot "))


def typed(env, argv, prompt, *steps):
    """Each step: what is typed before the tabulator, and what is to be read then. The tabulator is pressed again if nothing comes
    of it for a while: a completion gives up soon."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, env)
    text = b""

    def read_until(want, seconds):
        nonlocal text
        end = time.monotonic() + seconds
        while time.monotonic() < end and want not in text.replace(b" \b", b""):  # zsh takes its blank back before it goes on
            if select.select([fd], [], [], 0.1)[0]:
                text += os.read(fd, 65536)
        return want in text.replace(b" \b", b"")
    try:
        assert read_until(prompt, patient(15)), text
        time.sleep(0.3)
        for keys, want in steps:
            os.write(fd, keys)
            for _ in range(6):
                os.write(fd, b"\t")
                if read_until(want, patient(3)):
                    break
            else:
                raise AssertionError(text)
    finally:
        os.write(fd, b"\x03exit\n")
        os.close(fd)
        os.waitpid(pid, 0)


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh(shell_env, tmp_path):
    script = tmp_path / "_gantry"
    script.write_text(script_of("zsh"))
    assert subprocess.run(["zsh", "-n", str(script)]).returncode == 0
    (tmp_path / "home/.zshrc").write_text(f"PS1='%% '\nautoload -U compinit && compinit -u -D\nsource {script}\n")
    typed(shell_env, ["zsh", "-d", "-i"], b"% ", (b"gantry services rob", b"gantry services robot"),
          (b"-o ya", b"gantry services robot -o yaml"), (b".", b"gantry services robot -o yaml ."))


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish(shell_env, tmp_path):
    script = tmp_path / "gantry.fish"
    script.write_text(script_of("fish"))

    def completes(line):
        r = subprocess.run(["fish", "-c", f"source {script}; complete -C {json.dumps(line)}"], env=shell_env, capture_output=True,
                           text=True, timeout=patient(20))
        assert r.returncode == 0, r.stderr
        return [row.split("\t")[0] for row in r.stdout.splitlines()]
    assert completes("gantry statu") == ["status"]
    offered(completes, "gantry status ", ["missing", "robot"])
    offered(completes, "gantry up robot tick", ["ticker"])
    assert completes("gantry --output=y") == ["--output=yaml"]
    assert "--follow" in completes("gantry logs --fol")

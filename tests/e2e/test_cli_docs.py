"""The manual page and docs/cli.md name every command and option of the program, and every call of the API has a command."""
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import patient, program

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*args):
    return subprocess.run([program("gantry"), *args], capture_output=True, text=True, check=True, timeout=patient(20)).stdout


def commands():
    """(words, options) of every command, from the program's own help."""
    listed = run("help").split("Commands:\n")[1].split("\nGeneral options:")[0]
    found = []
    for line in listed.splitlines():
        m = re.match(r"  ([a-z][a-z -]*?)(?= [A-Z\[]|  |$)", line)
        if m:
            words = m[1].split()
            found.append((words, re.findall(r"--([a-z][a-z-]*)", run("help", *words).split("\n\n", 1)[1])))
    assert len(found) > 20
    return found


def man():
    text = (ROOT / "docs/man/gantry.1").read_text()
    text = re.sub(r"\\f.", "", text).replace("\\-", "-")
    return re.sub(r'^\.[BI]R? |^\.BI |"', "", text, flags=re.M)


@pytest.mark.parametrize("where", ["man", "cli.md"])
def test_every_command_and_option_is_described(where):
    text = man() if where == "man" else (ROOT / "docs/cli.md").read_text()
    missing = set()
    for words, options in commands():
        group, last = " ".join(words[:-1]), words[-1]
        if not re.search(rf"(?<![\w-]){re.escape(' '.join(words))}(?![\w-])", text) and not (
                group and re.search(rf"{group} [a-z`, |]*(?<![\w-]){last}(?![\w-])", text)):
            missing.add(" ".join(words))
        missing |= {f"--{o}" for o in options if not re.search(rf"--{o}(?![\w-])", text)}
    assert not missing


def test_nothing_is_described_that_is_not_there():
    known = {o for _, options in commands() for o in options}
    told = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", man()))
    assert told - known == set()


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_page_is_well_formed():
    r = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", str(ROOT / "docs/man/gantry.1")], capture_output=True, text=True)
    assert r.returncode == 0 and r.stderr == ""


# What each call of the API is reached by. cyclo_manager's paths are the same calls under other names.
SERVICES = "/containers/{container}/services"
REACHED = {
    "GET /": "version",
    "GET /v1/workloads/{id}/parts": "compose ps",
    "GET /version": "version",
    "GET /healthz": "health",
    "GET /readyz": "health",
    "GET /metrics": "metrics",
    "GET /audit": "audit",
    "POST /v1/store/backup": "store backup",
    "POST /v1/store/restore": "store restore",
    "GET /whoami": "whoami",
    "GET /config": "config show",
    "GET /config/diff": "config diff",
    "POST /config/reload": "config reload",
    "GET /tokens": "token list",
    "POST /tokens": "token create",
    "DELETE /tokens/{name}": "token revoke",
    "GET /v1/volumes": "volumes list",
    "GET /v1/volumes/{id}": "volumes show",
    "DELETE /v1/volumes/{id}": "volumes delete",
    "GET /containers": "containers",
    f"GET {SERVICES}": "services",
    f"GET {SERVICES}/status": "status",
    f"GET {SERVICES}/{{service}}/status": "status",
    f"POST {SERVICES}/{{service}}": "restart",
    f"GET {SERVICES}/{{service}}/logs": "logs",
    f"DELETE {SERVICES}/{{service}}/logs": "logs",
    f"GET {SERVICES}/{{service}}/run": "run-script get",
    f"PUT {SERVICES}/{{service}}/run": "run-script put",
    f"POST {SERVICES}/{{service}}/run/revert": "run-script revert",
    f"GET {SERVICES}/{{service}}/run/backups": "run-script backups",
    "GET /containers/{container}/profiles": "profiles list",
    "POST /containers/{container}/profiles": "profiles create",
    "DELETE /containers/{container}/profiles/{profile}": "profiles delete",
    "GET /containers/{container}/profiles/{profile}/gateway": "profiles show",
    "POST /containers/{container}/profiles/{profile}/gateway": "profiles start",
    "GET /v1/workloads": "get",
    "GET /v1/workloads/{id}": "describe",
    "PUT /v1/workloads/{id}": "apply",
    "DELETE /v1/workloads/{id}": "delete",
    "POST /v1/workloads/{id}/action": "retry",
    "GET /v1/workloads/{id}/logs": "logs",
    "GET /v1/workloads/{id}/stats": "stats",
    "GET /v1/workloads/{id}/exec": "exec",
    "POST /v1/workloads/{id}/exec": "exec",
    "GET /v1/workloads/{id}/console": "console",
    "GET /v1/workloads/{id}/snapshots": "snapshot list",
    "POST /v1/workloads/{id}/snapshots": "snapshot create",
    "DELETE /v1/workloads/{id}/snapshots/{name}": "snapshot delete",
    "POST /v1/workloads/{id}/snapshots/{name}/revert": "snapshot revert",
    "GET /v1/tasks": "tasks",
    "GET /v1/events": "events",
    "GET /v1/explain/workload/{id}": "explain",
    "GET /v1/explain/service/{container}/{service}": "explain",
    "GET /v1/node": "node",
    "GET /v1/explain/node": "explain",
    "GET /docker/containers": "docker ps",
    "GET /docker/containers/{name}/status": "docker status",
    "POST /docker/containers/{name}": "docker restart",
    "GET /docker/containers/{name}/logs": "docker logs",
    "GET /docker/{name}/version": "docker version",
    "GET /{container}/bashrc": "bashrc get",
    "PUT /{container}/bashrc": "bashrc put",
}
# Pages for browsers and the document itself: `gantry api` prints them.
PAGES = re.compile(r"GET /(openapi\.json|docs|docs/.*|redoc)$")
# Answered with 503: not served.
NOT_SERVED = re.compile(r"\w+ /(containers/)?\{container\}/ros2/")


def test_every_call_has_a_command(stack):
    paths = json.loads(stack.cli("api", "GET", "/openapi.json").stdout)["paths"]
    verbs = {" ".join(words) for words, _ in commands()}
    without = []
    for path, item in paths.items():
        for method in set(item) & {"get", "put", "post", "delete", "patch"}:
            call = f"{method.upper()} {path}"
            old = call.replace(" /{container}/services", f" {SERVICES}", 1)
            old = re.sub(r" /docker/\{name\}(?!/version)", " /docker/containers/{name}", old)
            if REACHED.get(call, REACHED.get(old)) not in verbs and not PAGES.match(call) and not NOT_SERVED.match(call):
                without.append(call)
    assert not without

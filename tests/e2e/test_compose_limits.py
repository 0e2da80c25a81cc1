"""What Compose files may not ask for: workloads.privileged and workloads.bind_roots, with docker-compose on a real Docker Engine."""
import json
import shutil

import pytest

from harness import wait_for
from test_compose import Composer, TWO, own_keeper, project, service  # noqa: F401 (own_keeper is a fixture)

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")


def limits(k, privileged="false", roots=None):
    k.workloads["privileged"] = privileged
    k.workloads.pop("bind_roots", None)
    if roots is not None:
        k.workloads["bind_roots"] = json.dumps([str(r) for r in roots])


def again(k, **more):
    """gantryd ends, and begins with other limits."""
    k.gantryd.stop()
    limits(k, **more)
    k.start_gantryd()


def refused(k, id, yaml, text, **more):
    """At once, in words; and nothing is there."""
    a = k.up(id, yaml, **more)
    assert a.status == 400 and text in a.json()["error"], a
    assert text in k.up(id, yaml, query="?dry_run=true", **more).json()["error"]
    assert k.get(id) is None and not (k.compose_root / id).exists() and k.boxes(id) == {}


def fails(k, id, text, seconds=30):
    w = k.reaches(id, "failed", seconds)
    assert text in w["failure"], w
    assert w["failure_reason"] == "INVALID_SPECIFICATION" if "failure_reason" in w else True, w
    return w


def test_rights_of_root(own_keeper, tmp_path):  # noqa: F811
    k = own_keeper
    k.begin()
    for more in ("privileged: true", "cap_add: [SYS_ADMIN]", "devices: ['/dev/null:/dev/x']", "pid: host", "ipc: host", "userns_mode: host",
                 "security_opt: ['seccomp:unconfined']", "cgroup_parent: /x", "sysctls: {kernel.msgmax: 1, vm.swappiness: 1}"):
        refused(k, "root-1", project(web=service(more=", " + more)), f"services.web.{more.split(':')[0]}")
    # A person's file comes the same way.
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "docker-compose.yml").write_text(project(web=service(more=", privileged: true")))
    r = k.cli("import", "compose", str(tmp_path / "app" / "docker-compose.yml"), "--apply")
    assert r.returncode == 1 and 'services.web.privileged "true" is not allowed here' in r.stderr, r
    # What only the tool can tell is found before anything is started, or written over what there is.
    asks = project(web=service(more=", privileged: '${P}'"))
    assert k.up("root-1", asks, env={"P": "true"}).status == 202
    fails(k, "root-1", 'services.web.privileged is not allowed here')
    assert k.boxes("root-1") == {}
    assert k.up("root-1", asks, env={"P": "false"}).status == 202
    k.reaches("root-1", "running", 40)
    before = k.boxes("root-1")
    assert k.up("root-1", asks, env={"P": "true"}).status == 202
    w = fails(k, "root-1", 'services.web.privileged is not allowed here')
    assert k.boxes("root-1") == before and "P=false" in (k.compose_root / "root-1" / ".env").read_text(), w
    # Where it may be, it may be; and what was taken before stays, as it does with containers.
    again(k, privileged="true")
    assert k.up("root-2", project(web=service(more=", userns_mode: host"))).status == 202
    k.reaches("root-2", "running", 40)
    box = json.loads(k.engine.docker("inspect", k.boxes("root-2")["web"][0]))[0]
    assert box["HostConfig"]["UsernsMode"] == "host"
    again(k)
    k.reaches("root-2", "running", 20)
    begun = lambda: k.engine.docker("inspect", "-f", "{{.State.StartedAt}} {{.State.Running}}", k.boxes("root-2")["web"][0]).split()
    before = begun()[0]
    k.engine.docker("kill", k.boxes("root-2")["web"][0])
    wait_for("it is started again", lambda: begun()[0] != before and begun()[1] == "true", 40)
    k.reaches("root-2", "running", 40)
    a = k.up("root-2", project(web=service(more=", userns_mode: host, hostname: x")))
    assert a.status == 400, a


def test_folders(own_keeper, tmp_path):  # noqa: F811
    k = own_keeper
    inside, out = tmp_path / "in", tmp_path / "out"
    for d in (inside / "data", out):
        d.mkdir(parents=True)
    (out / "secret.env").write_text("STOLEN=yes\n")
    limits(k, roots=[inside])
    k.begin()
    for more in (f"volumes: ['{out}:/x']", "volumes: ['./x:/x']", f"volumes: ['{inside}/../out:/x']", f"env_file: {out}/secret.env",
                 f"volumes: [{{type: bind, source: {out}, target: /x}}]", f"build: {out}"):
        refused(k, "dir-1", project(web=service(more=", " + more)), "services.web." + more.split(":")[0])
    named = project(web=service(more=", volumes: ['v:/x']")) + "volumes: {v: {driver_opts: {type: none, o: bind, device: %s}}}\n"
    refused(k, "dir-1", named % out, "volumes.v.driver_opts")
    refused(k, "dir-1", TWO + "volumes: {v: {external: true}}\n", "volumes.v.external")
    # Links, and values: they are found when it is to be started.
    (inside / "link").symlink_to(out)
    assert k.up("dir-1", project(web=service(more=f", volumes: ['{inside}/link:/x']"))).status == 202
    fails(k, "dir-1", f'"{inside}/link" leads to "{out}"')
    assert k.boxes("dir-1") == {}
    variable = project(web=service(more=", volumes: ['${DIR}:/x']")) + "volumes: {v: {}}\n"
    assert k.up("dir-1", variable, env={"DIR": str(out)}).status == 202
    w = fails(k, "dir-1", "is not in a folder that may be mounted")
    assert str(out) not in w["failure"] and k.boxes("dir-1") == {}, "a value may be a secret"
    assert k.up("dir-1", variable, env={"DIR": f"{inside}/data"}).status == 202
    k.reaches("dir-1", "running", 40)
    assert k.up("dir-2", named % f"{inside}/data").status == 202
    k.reaches("dir-2", "running", 40)
    box = json.loads(k.engine.docker("inspect", k.boxes("dir-1")["web"][0]))[0]
    assert [m["Source"] for m in box["Mounts"] if m["Type"] == "bind"] == [f"{inside}/data"]
    # With other limits what runs stays; what has to be made anew is looked at again.
    again(k, roots=[out])
    k.reaches("dir-1", "running", 20)
    assert k.boxes("dir-1")["web"][1] == box["Id"]
    k.engine.docker("rm", "-f", box["Id"])
    fails(k, "dir-1", "is not in a folder that may be mounted")
    assert k.boxes("dir-1") == {}

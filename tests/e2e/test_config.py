"""Configuration: layers, generated pages, reload, sd_notify, with a real gantryd."""
import os
import pathlib
import subprocess

import pytest
from harness import program

ROOT = pathlib.Path(__file__).resolve().parents[2]


def gantryd(*args, env=None, cwd=None):
    return subprocess.run([program("gantryd"), *args], capture_output=True, text=True, timeout=20, cwd=cwd,
                          env=dict({k: v for k, v in os.environ.items() if not k.startswith("GANTRY_")}, **(env or {})))


@pytest.mark.parametrize("what,path", [("default", "packaging/gantryd.yml"), ("reference", "docs/configuration.md"),
                                       ("man", "docs/man/gantryd.yml.5")])
def test_generated_pages_are_not_stale(what, path):
    r = gantryd("--print-config", what)
    assert r.returncode == 0 and r.stderr == ""
    assert r.stdout == (ROOT / path).read_text(), f"{path} is stale: run make docs-config"


def test_check_reads_folder_and_environment(tmp_path):
    f = tmp_path / "c.yml"
    d = tmp_path / "conf.d"
    d.mkdir()
    f.write_text("http:\n  limits: {max_head: 1}\n")
    (d / "a.yml").write_text("nonsense: 1\n")
    for flag in ("--check-config", "-t"):
        r = gantryd("--config", str(f), flag, env={"GANTRY_HTTP_LIMITS_IDLE": "soon", "GANTRY_LOGLEVEL": "debug"})
        assert r.returncode == 1
        for part in (f"{f}:2:22: ", f"{d}/a.yml:1:1: ", 'GANTRY_HTTP_LIMITS_IDLE: "soon"',
                     "GANTRY_LOGLEVEL: warning: ", "did you mean GANTRY_LOG_LEVEL?"):
            assert part in r.stderr, r.stderr
    f.write_text("")
    (d / "a.yml").write_text("log: {level: debug}\n")
    r = gantryd("--config", str(f), "-t", env={"GANTRY_HOST": "unix:/x", "GANTRY_TOKEN": "t"})
    assert (r.returncode, r.stderr) == (0, "")
    r = gantryd("--config", str(f), env={"GANTRY_LOG_FORMAT": "none"})
    assert r.returncode == 3 and "GANTRY_LOG_FORMAT" in r.stderr


def test_effective_names_the_sources(tmp_path):
    f = tmp_path / "c.yml"
    (tmp_path / "conf.d").mkdir()
    f.write_text("http:\n  limits:\n    max_head: 32k\n    idle: 5s\n")
    (tmp_path / "conf.d" / "10.yml").write_text("http: {limits: {idle: 6s}}\n")
    r = gantryd("--config", str(f), "--log-level", "debug", "--print-config", "effective",
                env={"GANTRY_CONTAINERS": "{a: {socket_path: /x}}"})
    lines = r.stdout.splitlines()
    assert f"http.limits.max_head: 32k  # {f}:3" in lines
    assert f"http.limits.idle: 6s  # {tmp_path}/conf.d/10.yml:1" in lines
    assert 'containers.a.socket_path: "/x"  # GANTRY_CONTAINERS' in lines
    assert "log.level: debug  # --log-level" in lines
    assert "log.format: auto  # default" in lines


def test_print_config_wants_a_known_word():
    assert gantryd("--print-config", "all").returncode == 2

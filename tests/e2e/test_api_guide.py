"""Runs every example of docs/api.md, in one shell, and compares what it prints.

A block marked `console` has commands after "$ " and below each what it prints; "..." there stands for any text.
"""
import pathlib
import re
import subprocess
import threading

import pytest

from harness import Stack, patient

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "api.md"
MARK = "@@end-of-command@@"


def examples(text):
    """[(line number, command, expected output)]"""
    out, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            out.append([number, line[2:], []])
        elif inside:
            assert out, f"line {number}: output without a command"
            out[-1][2].append(line)
    return [(n, c, "\n".join(o)) for n, c, o in out]


def matches(got, expected):
    rx = ".*".join(re.escape(p) for p in expected.split("..."))
    return re.fullmatch(rx + "\n*", got, re.S) is not None


class Shell:
    """One sh for all commands, so that variables stay."""

    def __init__(self, env, cwd):
        self.p = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, env=env, cwd=cwd)

    def run(self, command, seconds=patient(40)):
        self.p.stdin.write(f"{command}\necho\necho {MARK}\n")
        self.p.stdin.flush()
        timer = threading.Timer(seconds, self.p.kill)
        timer.start()
        lines = []
        try:
            for line in self.p.stdout:
                if line == MARK + "\n":
                    return "".join(lines)[:-1]
                lines.append(line)
        finally:
            timer.cancel()
        raise AssertionError(f"did not end: {command}\n{''.join(lines)[-2000:]}")

    def close(self):
        self.p.stdin.close()
        self.p.stdout.close()
        self.p.wait(patient(20))


def test_the_guide(tmp_path):
    all_ = examples(GUIDE.read_text())
    assert len(all_) > 40
    st = Stack(tmp_path)
    try:
        st.start()
        sh = Shell(dict(st.env, GANTRY=st.url, SOCKET=st.unix, LC_ALL="C.UTF-8"), tmp_path)
        wrong = []
        for number, command, expected in all_:
            # How long one looks at a stream: a busy machine may not even have answered by then.
            got = sh.run(re.sub("(curl -sN -m) [12] ", rf"\1 {patient(2)} ", command))
            if not matches(got, expected):
                wrong.append(f"docs/api.md:{number}: {command}\n  expected: {expected!r}\n  got:      {got!r}")
        sh.close()
        assert not wrong, "\n".join(wrong)
    finally:
        st.stop()
    st.check_clean()


@pytest.mark.parametrize("got,expected,same", [
    ("a\n", "a", True), ("a", "a", True), ("ab", "a", False), ("a1b", "a...b", True), ("a1c", "a...b", False),
    ("", "", True), ("x", "", False), ("a\nb", "a...", True)])
def test_the_comparison(got, expected, same):
    assert matches(got, expected) == same


def test_the_guide_names_real_calls():
    """Paths in the text exist in the document."""
    import openapi
    for path in set(re.findall(r"`(/[a-z][a-z./{}_-]*)`", GUIDE.read_text())):
        assert path in openapi.document()["paths"], path

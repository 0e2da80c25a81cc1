"""End-to-end fixtures: real s6-svscan, the built programs, a real Docker Engine of our own.

GANTRY_BUILD names the build folder (default: build). Everything lives in temporary folders, on loopback and
Unix sockets, and is ended by the pid that started it.
"""
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import harness  # noqa: E402


@pytest.fixture(scope="session")
def build():
    return harness.build_dir()


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """One s6 tree, one agent and one gantryd for the tests that do not disturb them."""
    st = harness.Stack(tmp_path_factory.mktemp("stack"))
    st.start()
    yield st
    st.stop()
    st.check_clean()


@pytest.fixture
def own_stack(tmp_path):
    """The same, for one test that stops, starves or floods it. Not started yet."""
    st = harness.Stack(tmp_path)
    yield st
    st.stop()
    st.check_clean()


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """A Docker Engine of the tests' own, with the image busybox:local."""
    import dockerd
    with dockerd.Dockerd() as d:
        yield d

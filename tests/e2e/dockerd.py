"""A Docker Engine of the tests' own: private data root, private socket, image busybox:local.

    with dockerd.Dockerd() as d:
        d.docker("run", "-d", "--name", "x", "busybox:local", "sleep", "60")
        ... d.socket ...

Needs root, dockerd, the docker client and Debian's busybox-static. Nothing of it touches another engine on the
machine: it has a network namespace of its own (an engine told to use no bridge would remove the machine's docker0).
It is ended by its process id, with everything that it started.
As a program: `dockerd.py run` starts one, prints its socket and waits for the end of its input.
"""
import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

BUSYBOX = "/bin/busybox"
IMAGE = "busybox:local"


def busybox_tar(without=()):
    """The image's file system: busybox, a link for each of its applets, and the folders that programs expect."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        tar.add(BUSYBOX, "bin/busybox")
        for name in applets:
            if name != "busybox" and name not in without:
                info = tarfile.TarInfo("bin/" + name)
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
    return out.getvalue()


def has_ended(pid):
    """Whether there is no such process any more; one that nobody has waited for has ended, too."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Dockerd:
    def __init__(self, root=None):
        self.own_root = root is None
        # Short: the paths of sockets below it must fit into 107 bytes.
        self.root = str(root) if root else tempfile.mkdtemp(prefix="dkt-", dir="/tmp")
        self.socket = os.path.join(self.root, "docker.sock")
        self.log_path = os.path.join(self.root, "log")
        self.process = None

    def docker(self, *args, check=True, input=None, timeout=300):
        """Runs the docker client; its standard output as text."""
        r = subprocess.run(["docker", "-H", "unix://" + self.socket, *args], input=input, capture_output=True, timeout=timeout)
        if check and r.returncode != 0:
            raise RuntimeError("docker %s: %s" % (" ".join(args), r.stderr.decode("utf-8", "replace")))
        return r.stdout.decode("utf-8", "replace")

    def launch(self):
        """Starts the engine and waits until it answers; containers of an earlier launch are there again."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        args = ["unshare", "--net", "dockerd", "--data-root", self.root + "/data", "--exec-root", self.root + "/exec", "-H", "unix://" + self.socket,
                "--pidfile", self.root + "/pid", "--iptables=false", "--ip-forward=false", "--shutdown-timeout", "3"]
        with open(self.log_path, "ab") as log:
            # A session of its own, so that a Ctrl-C meant for the tests lets us end it in order.
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 300
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            if os.path.exists(self.socket) and self.answers():
                return self
            time.sleep(0.1)
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            tail = f.read()[-2000:]
        self.halt()
        raise RuntimeError("dockerd does not come up:\n" + tail)

    def answers(self):
        try:
            return subprocess.run(["docker", "-H", "unix://" + self.socket, "version"], capture_output=True, timeout=60).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def halt(self):
        """Ends the engine and its containerd, and keeps the data."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(180)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None

    def start(self):
        self.launch()
        self.import_busybox()
        return self

    def import_busybox(self, without=()):
        """Makes busybox:local anew. The recorded cases were made with an image that had no `true`."""
        self.docker("import", "-", IMAGE, input=busybox_tar(without))

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            made = self.docker("ps", "-aq", check=False).split()
            if made:
                self.docker("unpause", *made, check=False)
                self.docker("rm", "-f", *made, check=False)
        self.halt()
        self.unmount()
        if self.own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def unmount(self):
        """What the engine left mounted below its root; the last first."""
        with open("/proc/self/mounts", encoding="utf-8") as f:
            points = [line.split()[1] for line in f]
        for point in reversed(points):
            if point.startswith(self.root + "/"):
                subprocess.run(["umount", "-l", point], capture_output=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc):
        self.stop()


if __name__ == "__main__":
    if sys.argv[1:] != ["run"]:
        sys.exit(__doc__)
    with Dockerd() as engine:
        print(engine.socket, flush=True)
        sys.stdin.read()

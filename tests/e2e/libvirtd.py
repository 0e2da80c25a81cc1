"""A libvirtd of the tests' own: private folders and socket, and disks that boot a sector of our own making.

    with libvirtd.Libvirtd() as l:
        l.virsh("list", "--all")
        ... l.uri ...

Needs root, libvirtd, qemu-system-x86_64 and virsh. Nothing of it touches another libvirt on the machine: it has a mount
namespace of its own, in which libvirt's folders are ours. It is ended by its process id, with the emulators it started.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time

from harness import patient

FOLDERS = {"lib": "/var/lib/libvirt", "run": "/run/libvirt", "cache": "/var/cache/libvirt", "etc": "/etc/libvirt", "log": "/var/log/libvirt"}
# What cannot be written to is no KVM, to libvirt; what can be is one, until an emulator tries it.
NO_KVM = "touch {0}/no-kvm && mount --bind {0}/no-kvm /dev/kvm && mount -o remount,bind,ro /dev/kvm"
BAD_KVM = "mount --bind /dev/null /dev/kvm"


def sector(text, listens=False):
    """512 bytes that a PC boots: they print the text on the first serial port, and again twice a second (what nobody reads
    there is lost); or once, and then send back in upper case what they hear there."""
    code = bytearray(b"\xfa\x31\xc0\x8e\xd8\xbe\0\0")  # cli; xor ax,ax; mov ds,ax; begin: mov si,text
    begin = len(code) - 3

    def send():
        code.extend(b"\x88\xc4\xba\xfd\x03")  # mov ah,al; mov dx,0x3fd
        code.extend(b"\xec\xa8\x20\x74\xfb")  # wait: in al,dx; test al,0x20; jz wait
        code.extend(b"\x88\xe0\xba\xf8\x03\xee")  # mov al,ah; mov dx,0x3f8; out dx,al

    def jump(to):
        code.extend(b"\xeb" + bytes([(to - len(code) - 2) & 255]))

    loop = len(code)
    code += b"\xac\x84\xc0\x74\0"  # lodsb; test al,al; jz done
    done = len(code) - 1
    send()
    jump(loop)
    code[done] = len(code) - done - 1
    again = len(code)
    if listens:
        code += b"\xba\xfd\x03\xec\xa8\x01\x74\xf8"  # mov dx,0x3fd; in al,dx; test al,1; jz again
        code += b"\xba\xf8\x03\xec"  # mov dx,0x3f8; in al,dx
        code += b"\x3c\x61\x72\x06\x3c\x7a\x77\x02\x24\xdf"  # cmp al,'a'; jb; cmp al,'z'; ja; and al,0xdf
        send()
        jump(again)
    else:
        code += b"\xb9\x09\x00\xfb\xf4\xe2\xfc\xfa"  # mov cx,9; sti; hlt (until the BIOS's tick); loop; cli
        jump(begin)
    struct.pack_into("<H", code, 6, 0x7C00 + len(code))
    code += text.encode() + b"\0"
    assert len(code) <= 510
    return bytes(code).ljust(510, b"\0") + b"\x55\xaa"


class Libvirtd:
    def __init__(self, root=None, kvm=True, net=False):
        """kvm False: its emulators find none; net: it has a network of its own, so its bridges and leases are nobody else's."""
        self.own_root = root is None
        self.kvm, self.net = kvm, net
        # Short: the paths of sockets below it must fit into 107 bytes.
        self.root = pathlib.Path(root or tempfile.mkdtemp(prefix="lvt-", dir="/tmp"))
        self.images = self.root / "images"
        self.socket = self.root / "s" / "libvirt-sock"
        self.uri = f"qemu:///system?socket={self.socket}"
        self.log = self.root / "libvirtd.log"
        self.process = None

    def _prepare(self):
        for name in FOLDERS:
            (self.root / name).mkdir(exist_ok=True)
        self.images.mkdir(exist_ok=True)
        self.socket.parent.mkdir(exist_ok=True)
        (self.root / "libvirtd.conf").write_text(
            f'unix_sock_dir = "{self.socket.parent}"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\nlog_outputs = "3:stderr"\n')
        # No cgroups, no namespaces, no security labels: the machine of the tests may have none of them.
        (self.root / "etc" / "qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\ncgroup_controllers = [ ]\nnamespaces = [ ]\n')
        for path in FOLDERS.values():
            os.makedirs(path, exist_ok=True)

    def launch(self):
        """Starts it and waits until it answers; domains of an earlier launch are there again, and running ones go on."""
        mounts = "".join(f"mount --bind {self.root}/{name} {path} && " for name, path in FOLDERS.items())
        if not self.kvm and os.path.exists("/dev/kvm"):
            mounts += NO_KVM.format(self.root) + " && "
        if self.net:
            mounts += "ip link set lo up && "
        script = mounts + f"exec libvirtd -f {self.root}/libvirtd.conf -p {self.root}/run/libvirtd.pid"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["unshare", "-mn" if self.net else "-m", "--propagation", "private", "sh", "-c", script], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            if self.socket.exists() and self.virsh("list", "--all", check=False) is not None:
                return self
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-2000:]
        self.halt()
        raise RuntimeError("libvirtd does not come up:\n" + tail)

    def lose_kvm(self, secretly):
        """From now on its emulators find none; secretly: which libvirtd, having looked already, does not know."""
        script = BAD_KVM if secretly else NO_KVM.format(self.root)
        subprocess.run(["nsenter", "-t", str(self.process.pid), "-m", "sh", "-c", script], check=True)

    def virsh(self, *args, check=True, timeout=180):
        """Its standard output; None if it failed and need not succeed."""
        r = subprocess.run(["virsh", "-q", "-c", self.uri, *map(str, args)], capture_output=True, text=True, timeout=timeout)
        if r.returncode != 0:
            if check:
                raise RuntimeError(f"virsh {args}: {r.stderr}")
            return None
        return r.stdout

    def domains(self):
        return self.virsh("list", "--all", "--name").split()

    def define(self, xml):
        f = self.root / "domain.xml"
        f.write_text(xml)
        self.virsh("define", f)

    def kill(self, sig=signal.SIGKILL):
        if self.process:
            self.process.send_signal(sig)
            self.process.wait(120)
            self.process = None

    def halt(self):
        """Ends libvirtd; its domains run on."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def network(self, name, bridge, address, dhcp=False):
        """A network of its own, with the host as .1 and, if wanted, dnsmasq that leases .20 to .90."""
        assert self.net
        leases = f"<dhcp><range start='{address}.20' end='{address}.90'/></dhcp>" if dhcp else ""
        f = self.root / "network.xml"
        f.write_text(f"<network><name>{name}</name><bridge name='{bridge}'/><ip address='{address}.1' netmask='255.255.255.0'>{leases}</ip></network>")
        self.virsh("net-create", f)

    def emulators(self, folder="qemu", program=b"qemu-system"):
        """Process ids of the emulators that were started here, by libvirt's own notes of them."""
        found = []
        for f in (self.root / "run" / folder).glob("*.pid"):
            try:
                text = f.read_text().strip()
                line = pathlib.Path(f"/proc/{text}/cmdline").read_bytes()
            except OSError:
                continue
            if text.isdigit() and program in line:
                found.append(int(text))
        return sorted(found)

    def end(self):
        self.halt()
        for pid in self.emulators() + self.emulators("network", b"dnsmasq"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.own_root:
            for _ in range(50):
                shutil.rmtree(self.root, ignore_errors=True)
                if not self.root.exists():
                    break
                time.sleep(0.1)

    def __enter__(self):
        self._prepare()
        return self.launch()

    def __exit__(self, *exc):
        self.end()

    # ---- disks

    def disk(self, name, text, listens=False):
        """A raw disk that boots and says so."""
        p = self.images / name
        p.write_bytes(sector(text + "\r\n", listens).ljust(1 << 20, b"\0"))
        return str(p)

    def qcow2(self, name, text, listens=False):
        raw = self.disk(name + ".raw", text, listens)
        p = str(self.images / name)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, p], check=True)
        os.unlink(raw)
        return p

    def original(self, id, disk, seed=None, marked=True, kind="qemu"):
        """A domain exactly as the original compute agent makes it: named after the id, without metadata, its disks marked."""
        more = ""
        if marked:
            pathlib.Path(disk + ".persys-managed").write_text("2026-11-20T10:00:00Z")
        if seed:
            more = f"""<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{seed}'/>
              <target dev='hdb' bus='sata'/><readonly/></disk>"""
        self.define(f"""<domain type='{kind}'><name>{id}</name><memory unit='MiB'>64</memory><currentMemory unit='MiB'>64</currentMemory>
          <vcpu placement='static'>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/><apic/></features>
          <clock offset='utc'/><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
          <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
          <boot order='1'/></disk>{more}
          <serial type='pty'><target port='0'/></serial><console type='pty'><target type='serial' port='0'/></console>
          </devices></domain>""")

    def says(self, name, text, seconds=20):
        """Waits for a text on the serial port of a running domain, or for what matches a compiled pattern, by reading its
        terminal: it may begin in the middle of a line. The text that was read, or the match."""
        wanted = text if isinstance(text, re.Pattern) else re.compile(re.escape(text))
        pty = re.search(r"<source path='(/dev/pts/\d+)'", self.virsh("dumpxml", name)).group(1)
        fd = os.open(pty, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        got, match, end = "", None, time.monotonic() + patient(seconds)
        try:
            while match is None and time.monotonic() < end:
                try:
                    got += os.read(fd, 4096).decode(errors="replace")
                except OSError:
                    pass
                match = wanted.search(got)
                time.sleep(0 if match else 0.05)
        finally:
            os.close(fd)
        assert match, f"{name} said {got!r}"
        return match if wanted is text else got

"""Disks of our own making that boot: a program for UEFI, and a machine that asks for an address, writes on its disks and answers
as a guest agent (guest/, built once by the C compiler that builds everything else).

    guests.efi_disk(path, "hello")       # what OVMF finds on it says so on the first serial port
    guests.machine(path, "one", "dhcp")  # says "one: address 192.168.7.20 volume 0->1 agent asked 2" every second
"""
import functools
import pathlib
import struct
import subprocess
import tempfile

SECTOR = 512
SOURCES = pathlib.Path(__file__).parent / "guest"
FLAGS = """-m32 -std=gnu17 -Os -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror -ffreestanding -fno-pic -fno-pie
  -fno-stack-protector -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -mgeneral-regs-only -fcf-protection=none"""
MARK = b"GUEST-SAYS-HERE:"


@functools.cache
def built():
    """The machine's program as bytes."""
    with tempfile.TemporaryDirectory(prefix="gantry-guest-") as d:
        objects = []
        for source in sorted(SOURCES.glob("*.[cS]")):
            objects.append(f"{d}/{source.name}.o")
            subprocess.run(["gcc", *FLAGS.split(), "-c", source, "-o", objects[-1]], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-T", SOURCES / "guest.ld", "--oformat", "binary", "-o", f"{d}/guest", *objects], check=True)
        return (pathlib.Path(d) / "guest").read_bytes()


def machine(path, name, address=""):
    """A disk that boots it under this name, with the address "dhcp", one of its own, or none."""
    code = bytearray(built())
    at = code.index(MARK)
    struct.pack_into("32s16s", code, at + len(MARK), name.encode()[:31], address.encode()[:15])
    pathlib.Path(path).write_bytes(code.ljust(1 << 20, b"\0"))
    return str(path)


def efi_program(text):
    """A PE32+ image for UEFI on x86-64: it prints the text on the first serial port, again and again."""
    code = bytearray(b"\x48\x8d\x35\0\0\0\0")  # begin: lea rsi,[rip+text]
    loop = len(code)
    code += b"\xac\x84\xc0\x74\x13"  # lodsb; test al,al; jz done
    code += b"\x88\xc4\xba\xfd\x03\0\0"  # mov ah,al; mov edx,0x3fd
    code += b"\xec\xa8\x20\x74\xfb"  # wait: in al,dx; test al,0x20; jz wait
    code += b"\x88\xe0\xb2\xf8\xee"  # mov al,ah; mov dl,0xf8; out dx,al
    code += b"\xeb" + bytes([(loop - len(code) - 2) & 255])
    done = len(code)
    assert code[loop + 4] == done - loop - 5
    code += b"\xb9\x64\0\0\0\xfb\xf4\xe2\xfc"  # done: mov ecx,100; sti; hlt (until the firmware's tick); loop
    code += b"\xeb" + bytes([(0 - len(code) - 2) & 255])  # jmp begin
    struct.pack_into("<i", code, 3, len(code) - 7)
    code += text.encode() + b"\0"
    code = bytes(code).ljust(SECTOR, b"\0")
    base, page = 0x200, 0x1000
    relocation = struct.pack("<IIHH", page, 12, 0, 0)  # of nothing: the loader moves only what says it may be moved
    relocation = relocation.ljust(SECTOR, b"\0")
    coff = struct.pack("<HHIIIHH", 0x8664, 2, 0, 0, 0, 240, 0x222)
    optional = struct.pack("<HBBIIIII", 0x20B, 1, 0, len(code), len(relocation), 0, page, page)
    optional += struct.pack("<QIIHHHHHHIIIIHH", 0, page, SECTOR, 0, 0, 0, 0, 0, 0, 0, 3 * page, base, 0, 10, 0)
    optional += struct.pack("<QQQQII", 1 << 16, 1 << 16, 0, 0, 0, 16)
    directories = [(0, 0)] * 16
    directories[5] = (2 * page, 12)
    optional += b"".join(struct.pack("<II", *d) for d in directories)

    def section(name, address, data, at, flags):
        return struct.pack("<8sIIIIIIHHI", name, len(data), address, len(data), at, 0, 0, 0, 0, flags)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + coff + optional
    head += section(b".text", page, code, base, 0x60000020) + section(b".reloc", 2 * page, relocation, base + SECTOR, 0x42000040)
    assert len(optional) == 240 and len(head) <= base
    return head.ljust(base, b"\0") + code + relocation


def efi_disk(path, text):
    """A disk without partitions: FAT12 with \\EFI\\BOOT\\BOOTX64.EFI, where firmware looks without being told."""
    sectors, fat_sectors, roots = 2048, 6, 64
    boot = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"GUEST   ", SECTOR, 1, 1, 2, roots, sectors, 0xF8, fat_sectors, 32, 2, 0, 0)
    boot += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x12345678, b"GUEST      ", b"FAT12   ")
    boot = boot.ljust(510, b"\0") + b"\x55\xaa"
    program = efi_program(text)
    count = -(-len(program) // SECTOR)

    def entry(name, attribute, cluster, size=0):
        return struct.pack("<11sB10sHHHI", name, attribute, b"", 0, 0x21, cluster, size)
    dot, up = b".          ", b"..         "
    root = entry(b"EFI        ", 0x10, 2).ljust(roots * 32, b"\0")
    efi = (entry(dot, 0x10, 2) + entry(up, 0x10, 0) + entry(b"BOOT       ", 0x10, 3)).ljust(SECTOR, b"\0")
    folder = (entry(dot, 0x10, 3) + entry(up, 0x10, 2) + entry(b"BOOTX64 EFI", 0x20, 4, len(program))).ljust(SECTOR, b"\0")
    chain = [0xFF8, 0xFFF, 0xFFF, 0xFFF] + [i + 1 for i in range(4, 3 + count)] + [0xFFF]
    fat = bytearray(fat_sectors * SECTOR)
    for i, value in enumerate(chain):
        at, shift = i * 3 // 2, i % 2 * 4
        pair = struct.unpack_from("<H", fat, at)[0] | value << shift
        struct.pack_into("<H", fat, at, pair)
    data = boot + bytes(fat) * 2 + root + efi + folder + program
    with open(path, "wb") as f:
        f.write(data.ljust(sectors * SECTOR, b"\0"))
    return str(path)

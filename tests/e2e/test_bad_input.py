# SPDX-License-Identifier: GPL-2.0-only
"""What the host or the user's files can have wrong: each one clear line, a code, nothing left."""
import os
import shutil
import struct
import subprocess
import tempfile

import pytest

from conftest import ROOT
from helpers import can_unshare, in_namespace, one_line, refused

needs_unshare = pytest.mark.skipif(not can_unshare(), reason="mount namespaces are not permitted")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


def elf(machine=62, kind=2, bits=2, size=None):
    """A header and one program header of an ELF file without any note."""
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + b"\0" * 9
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0x100000, 64, 0, 0, 64, 56, 1,
                                 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, 0x100000, 0x100000, 4096, 4096, 4096)
    data = (header + load).ljust(8192, b"\x90")
    return data[:size]


def bzimage(size, version=0x20c, loadflags=1, xloadflags=1):
    """A Linux boot sector that promises more than the file holds."""
    data = bytearray(size)
    struct.pack_into("<B", data, 0x1f1, 4)
    struct.pack_into("<I", data, 0x1f4, 1 << 16)  # syssize: 1 MiB
    struct.pack_into("<H", data, 0x1fe, 0xaa55)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x206, version)
    data[0x202 - 1] = 0x66
    data[0x211] = loadflags
    struct.pack_into("<H", data, 0x236, xloadflags)
    return bytes(data)


KERNELS = {
    "empty": b"",
    "text": b"#!/bin/sh\necho not a kernel\n" * 100,
    "one byte": b"\x7f",
    "ELF header cut": elf(size=40),
    "ELF cut": elf(size=70),
    "ELF for arm64": elf(machine=183),
    "ELF for 32-bit arm": elf(machine=40, bits=1),
    "ELF without a PVH note": elf(),
    "ELF object": elf(kind=1),
    "bzImage cut": bzimage(8192),
    "bzImage too old": bzimage(8192, version=0x200),
    "bzImage without a 64-bit entry": bzimage(2 << 20, xloadflags=0),
    "gzip": b"\x1f\x8b\x08" + b"\0" * 5000,
}


@pytest.mark.usefixtures("kvm")
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_that_are_none(keel, tmp_path, name):
    path = tmp_path / "kernel"
    path.write_bytes(KERNELS[name])
    line = refused(keel, ["run", "--kernel", path], 1, str(path))
    print(line)


@pytest.mark.usefixtures("kvm")
def test_kernel_of_another_architecture_is_named(keel, tmp_path):
    (tmp_path / "kernel").write_bytes(KERNELS["ELF for arm64"])
    line = refused(keel, ["run", "--kernel", "kernel"], 1, "kernel")
    assert "architecture" in line or "x86" in line or "arm" in line.lower()


@pytest.mark.usefixtures("kvm")
def test_files_that_are_missing(keel, tmp_path):
    refused(keel, ["run", "--kernel", "none"], 1, "none", "No such file")
    refused(keel, ["run", "--kernel", tmp_path], 1, str(tmp_path))
    refused(keel, ["run", "--kernel", "builtin:hallo"], 1, "hallo", "keel guests")
    refused(keel, ["run", "--initrd", "none.img"], 1, "none.img", "No such file")
    refused(keel, ["run", "--disk", "none.raw"], 1, "none.raw", "exist")
    refused(keel, ["run", "--disk", tmp_path], 1, str(tmp_path))
    refused(keel, ["run", "--console", "file=none/out"], 1, "none/out", "No such file")
    refused(keel, ["run", "--console", f"socket={'x' * 200}"], 1, "xxx")
    refused(keel, ["run", "--cmdline", "x" * 100000], 1)


@pytest.mark.usefixtures("kvm")
def test_sizes(keel, tmp_path):
    initrd = tmp_path / "initrd"
    with open(initrd, "wb") as f:
        f.truncate(1 << 30)
    refused(keel, ["run", "--initrd", initrd, "--memory", "64M"], 1, str(initrd))
    (tmp_path / "empty.raw").write_bytes(b"")
    refused(keel, ["run", "--disk", "empty.raw"], 1, "empty.raw")


@pytest.mark.parametrize("size", ["0", "4K", "1M"])
def test_memory_too_small(keel, size):
    done = keel.run("run", "--memory", size)
    assert done.returncode in (1, 2)
    assert "memory" in one_line(done.stderr)
    assert keel.leftovers() == []


@pytest.mark.parametrize("size", ["64T", "4194304T", "16777215T"])
def test_memory_beyond_the_host(keel, size):
    done = keel.run("run", "--memory", size)
    assert done.returncode in (1, 2)
    assert "memory" in one_line(done.stderr)
    assert keel.leftovers() == []


@needs_unshare
@pytest.mark.parametrize("setup", ["mount --bind /dev/null /dev/kvm",
                                   "mount -t tmpfs none /dev"], ids=["not KVM", "missing"])
def test_no_kvm(keel, setup):
    if "bind" in setup and not os.path.exists("/dev/kvm"):
        pytest.skip("there is no /dev/kvm to cover")
    argv = in_namespace(keel, setup, "run")
    done = keel.run(*argv[1:], program=argv[0])
    assert done.returncode == 1
    assert "/dev/kvm" in one_line(done.stderr)
    assert keel.leftovers() == []


@needs_root
def test_no_permission(keel):
    """As nobody, from a copy that nobody can reach."""
    if not os.path.exists("/dev/kvm") or os.stat("/dev/kvm").st_mode & 0o006:
        pytest.skip("/dev/kvm is missing or open to everybody")
    with tempfile.TemporaryDirectory(prefix="keel-") as public:
        os.chmod(public, 0o755)
        shutil.copy(keel.path, public)
        os.chown(keel.runtime, 65534, 65534)
        done = keel.run("run", program=f"{public}/keel", user=65534, group=65534,
                        extra_groups=[], cwd="/")
        assert done.returncode == 1
        line = one_line(done.stderr)
        assert "/dev/kvm" in line and "ermission" in line
        assert keel.leftovers() == []
        os.chown(keel.runtime, 0, 0)


@needs_unshare
@pytest.mark.usefixtures("kvm")
def test_disk_on_a_read_only_file_system(keel, tmp_path):
    (tmp_path / "ro").mkdir()
    (tmp_path / "ro/disk.raw").write_bytes(b"\0" * 4096)
    setup = f"mount --bind {tmp_path}/ro {tmp_path}/ro; mount -o remount,ro,bind {tmp_path}/ro"
    disk = f"{tmp_path}/ro/disk.raw"
    argv = in_namespace(keel, setup, "run", "--kernel", "builtin:hello", "--disk", disk)
    done = keel.run(*argv[1:], program=argv[0])
    assert done.returncode == 1
    assert "readonly=on" in one_line(done.stderr)
    assert keel.leftovers() == []
    argv = in_namespace(keel, setup, "run", "--kernel", "builtin:hello", "--disk",
                        f"{disk},readonly=on")
    assert keel.run(*argv[1:], program=argv[0]).returncode == 0


@needs_root
def test_runtime_directory_of_somebody_else(keel):
    """/tmp/keel-UID made by another user is a trap."""
    if not can_unshare():
        pytest.skip("mount namespaces are not permitted")
    script = ('exec 3<"$0"; mount -t tmpfs none /tmp; chmod 1777 /tmp; mkdir /tmp/keel-65534; '
              'cat <&3 >/tmp/keel; chmod 755 /tmp/keel; cd /; env -u KEEL_RUNTIME_DIR -u XDG_RUNTIME_DIR setpriv '
              '--reuid 65534 --regid 65534 --clear-groups /tmp/keel ps')
    done = keel.run("-m", "sh", "-ec", script, keel.path, program="unshare")
    assert done.returncode == 1
    assert "/tmp/keel-65534" in one_line(done.stderr)


@pytest.mark.usefixtures("kvm")
def test_out_of_descriptors(keel):
    for limit in range(3, 24):
        argv = ["-c", f'ulimit -n {limit}; exec "$0" run --kernel builtin:hello', str(keel.path)]
        done = keel.run(*argv, program="sh")
        if done.returncode == 0:
            break
        if done.stderr.startswith("keel: "):  # else the loader itself could not start it
            one_line(done.stderr)
            assert done.returncode in (1, 2)
        assert keel.leftovers() == []


def test_install(keel, tmp_path):
    """make install into a directory of its own, the installed things used, make uninstall."""
    prefix = tmp_path / "prefix"
    make = ["make", "-C", str(ROOT), f"PREFIX={prefix}", f"B={keel.path.parent}"]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(make + ["install"], capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr
    found = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file()}
    assert {"bin/keel", "bin/keeld", "share/man/man1/keel.1", "lib/keel/guests/hello.elf",
            "share/bash-completion/completions/keel"} <= found
    assert keel.run("version", program=prefix / "bin/keel").returncode == 0
    page = (prefix / "share/man/man1/keel.1").read_text()
    assert page == keel.run("help", "--man").stdout
    if shutil.which("man"):
        shown = subprocess.run(["man", "-l", prefix / "share/man/man1/keel.1"], text=True,
                               capture_output=True, timeout=60)
        assert shown.returncode == 0 and "keel" in shown.stdout
    done = subprocess.run(make + ["uninstall"], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert not [p for p in prefix.rglob("*") if p.is_file()]

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A Debian 12 disk image with Debian's own kernels, made from packages and nothing else.

image.py CACHE prints the folder that holds root.ext4 and, for each flavour, vmlinuz-FLAVOUR and
initrd-FLAVOUR as update-initramfs made it inside.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from kernels import Unavailable  # pylint: disable=wrong-import-position

HERE = pathlib.Path(__file__).resolve().parent
AGENT = "/usr/local/sbin/keel-agent"
FLAVOURS = ("cloud-amd64", "amd64")
# sysvinit, because a guest inside an emulated host takes seconds per service.
PACKAGES = ["sysvinit-core", "initscripts", "udev", "kmod", "acpid", "procps", "initramfs-tools",
            "lz4", "numactl", "iproute2", "ethtool", "iputils-ping", "socat",
            *(f"linux-image-{flavour}" for flavour in FLAVOURS)]
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults,errors=remount-ro 0 0\n",
    "etc/hostname": "guest\n",
    "etc/inittab": "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n~~:S:wait:/sbin/sulogin --force\n"
                   "l0:0:wait:/etc/init.d/rc 0\nl2:2:wait:/etc/init.d/rc 2\nl6:6:wait:/etc/init.d/rc 6\n"
                   "ka:2:once:/usr/local/sbin/keel-agent\n"
                   "S0:23:respawn:/sbin/getty -n -l /bin/sh -L 115200 ttyS0 vt100\n",
    "etc/acpi/events/power": "event=button/power.*\naction=/sbin/poweroff\n",
    # Nothing here needs them, and their self-tests take seconds of an emulated CPU each.
    "etc/modprobe.d/keel.conf": "".join(f"blacklist {name}\n" for name in (
        "kvm", "kvm_amd", "kvm_intel", "aesni_intel", "ghash_clmulni_intel", "crct10dif_pclmul",
        "crc32_pclmul", "crc32c_intel", "sha1_ssse3", "sha256_ssse3", "sha512_ssse3",
        "polyval_clmulni")),
}
# Of Debian's start and stop scripts those stay that mount, start udev and acpid, stop and sync.
# The others (clock, random seed, network, swap, cleaning) cost seconds each and show nothing here.
SCRIPTS = {
    "S": {"mountkernfs.sh", "udev", "mountdevsubfs.sh", "checkroot.sh", "mountall.sh"},
    "2": {"acpid"},
    "0": {"sendsigs", "udev", "umountfs", "umountroot", "halt"},
    "6": {"sendsigs", "udev", "umountfs", "umountroot", "reboot"},
}


def sources():
    """The machine's own entries for Debian proper, so that the same mirror serves the image."""
    return [str(path) for path in (pathlib.Path("/etc/apt/sources.list"),
                                   *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*")))
            if path.is_file() and "debian-archive-keyring" in path.read_text()
            or path.is_file() and "debian.org" in path.read_text()]


def command(args, **kwargs):
    done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    if done.returncode:
        raise Unavailable(f"{args[0]} failed: {done.stdout.strip()[-400:]}")
    return done.stdout


def add_files(root):
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(HERE / "agent", root / "usr/local/sbin/keel-agent")
    (root / "usr/local/sbin/keel-agent").chmod(0o755)
    for level, keep in SCRIPTS.items():
        for link in root.glob(f"etc/rc{level}.d/[SK]*"):
            if link.name[3:] not in keep:
                link.unlink()


def build(out):
    root = out / "root"
    command(["mmdebstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES),
             "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
             "--dpkgopt=path-exclude=/usr/share/locale/*", "--aptopt=Apt::Install-Recommends false",
             "--dpkgopt=force-unsafe-io", "--skip=cleanup/reproducible",
             # Before the kernels, whose installation makes the initrds.
             '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" && '
             'echo COMPRESS=lz4 >"$1/etc/initramfs-tools/conf.d/keel"', "bookworm", str(root), *sources()])
    add_files(root)
    for flavour in FLAVOURS:
        images = sorted((root / "boot").glob(f"vmlinuz-*[0-9]-{flavour}"))
        version = images[-1].name.removeprefix("vmlinuz-")
        shutil.copy(images[-1], out / f"vmlinuz-{flavour}")
        shutil.copy(root / f"boot/initrd.img-{version}", out / f"initrd-{flavour}")
    shutil.rmtree(root / "boot")
    (root / "boot").mkdir()
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    command(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "root",
             str(out / "root.ext4"), "2200M"])
    shutil.rmtree(root)


def refresh_agent(image):
    """Puts the present agent into a copy of the image, which need not be made anew for it."""
    commands = (f"rm {AGENT}\nwrite {HERE / 'agent'} {AGENT}\nset_inode_field {AGENT} mode 0100755\n"
                f"set_inode_field {AGENT} uid 0\nset_inode_field {AGENT} gid 0\n")
    script = pathlib.Path(f"{image}.debugfs")
    script.write_text(commands)
    command(["/sbin/debugfs", "-w", "-f", str(script), str(image)])
    script.unlink()


def ensure(cache):
    """The image's folder; built when its recipe changed. Unavailable says why it can't be."""
    recipe = (HERE / "image.py").read_bytes()
    out = pathlib.Path(cache) / f"debian-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if (out / "root.ext4").exists():
        return out
    if os.geteuid() != 0:
        raise Unavailable("making a Debian image needs root")
    for tool in ("mmdebstrap", "/sbin/mke2fs"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed")
    partial = out.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        build(partial)
        for old in pathlib.Path(cache).glob("debian-*"):
            if old != partial:
                shutil.rmtree(old)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


if __name__ == "__main__":
    try:
        print(ensure(sys.argv[1]))
    except Unavailable as error:
        sys.exit(f"image: {error}")

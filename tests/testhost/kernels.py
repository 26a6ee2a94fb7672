# SPDX-License-Identifier: GPL-2.0-only
"""Debian's own kernel packages, unpacked into a cache; nothing is installed on the machine."""
import lzma
import os
import pathlib
import shutil
import struct
import subprocess


class Unavailable(Exception):
    """What is missing, for a skip's reason."""


def _run(command, **kwargs):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, **kwargs)


def _package(flavour):
    """linux-image-amd64 -> linux-image-6.1.0-NN-amd64, the package with the kernel in it."""
    for attempt in range(2):
        done = _run(["apt-cache", "depends", f"linux-image-{flavour}"])
        names = [line.split()[-1] for line in done.stdout.splitlines() if "Depends: linux-image-" in line]
        if names:
            return names[0]
        if attempt == 0 and os.geteuid() == 0:
            _run(["apt-get", "update", "-q"])
    raise Unavailable(f"Debian's package linux-image-{flavour} is not known here (apt-get update?)")


class Kernel:
    """flavour: "amd64" or "cloud-amd64"."""

    def __init__(self, cache, flavour):
        if not shutil.which("apt-get"):
            raise Unavailable("not a Debian system: no kernel packages")
        package = _package(flavour)
        self.version = package.removeprefix("linux-image-")
        self.root = pathlib.Path(cache) / package
        self.image = self.root / "boot" / f"vmlinuz-{self.version}"
        self.modules = self.root / "lib/modules" / self.version
        if not self.image.exists():
            self._fetch(pathlib.Path(cache), package)

    def _fetch(self, cache, package):
        debs = cache / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        done = _run(["apt-get", "download", "-q", package], cwd=debs)
        found = sorted(debs.glob(f"{package}_*.deb"))
        if done.returncode or not found:
            raise Unavailable(f"apt-get download {package}: {done.stderr.strip()[-200:]}")
        partial = self.root.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["dpkg", "-x", str(found[-1]), str(partial)], check=True)
        subprocess.run(["/sbin/depmod", "-b", str(partial), self.version], check=True)
        partial.rename(self.root)

    def vmlinux(self):
        """The ELF inside the bzImage: entered by PVH it saves the guest its own decompression."""
        out = self.root / "vmlinux"
        if not out.exists():
            data = self.image.read_bytes()
            setup_sectors = data[0x1f1] or 4
            offset, length = struct.unpack_from("<II", data, 0x248)
            start = (setup_sectors + 1) * 512 + offset
            payload = data[start:start + length]
            partial = out.with_suffix(".partial")
            partial.write_bytes(_decompress(payload))
            partial.rename(out)
        return out

    def module_files(self, names):
        """Paths of the modules and what they depend on, in the order to load them."""
        depends = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, needs = line.partition(":")
            depends[path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")] = (path, needs.split())
        order = []

        def add(path):
            if path not in order:
                order.append(path)

        for name in names:
            if name not in depends:
                continue  # built in
            path, needs = depends[name]
            for need in reversed(needs):
                add(need)
            add(path)
        return [self.modules / path for path in order]


def _decompress(payload):
    if payload[:6] == b"\xfd7zXZ\x00":
        return lzma.LZMADecompressor().decompress(payload)
    tools = {b"\x02\x21\x4c\x18": ["lz4", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"],
             b"\x1f\x8b": ["gzip", "-dc"]}
    for magic, command in tools.items():
        if payload.startswith(magic):
            # The last four bytes are the unpacked size, put there by the kernel's build.
            done = subprocess.run(command, input=payload[:-4], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, check=False)
            if done.stdout.startswith(b"\x7fELF"):
                return done.stdout
    raise Unavailable("the kernel's payload is compressed in a way that is not known here")

# SPDX-License-Identifier: GPL-2.0-only
"""Debian's unmodified cloud kernel on the emulated test host: what it finds, what it complains
about, and how it ends. All machines run one after the other in one test host; the tests read what
they left behind."""
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/testhost"))
import kernels  # pylint: disable=wrong-import-position

from conftest import build_dir  # pylint: disable=wrong-import-position
from helpers import on_testhost  # pylint: disable=wrong-import-position

MODULES = ["virtio_pci", "virtio_blk", "virtio_rng", "button", "evdev"]

GUEST_INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m; done
word() { grep -qw "$1" /proc/cmdline; }
echo "@up"
echo "@cpus $(nproc) $(cat /sys/devices/system/cpu/online)"
echo "@clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "@rtc $(cat /sys/class/rtc/rtc0/name) $(cat /sys/class/rtc/rtc0/since_epoch) $(date +%s)"
echo "@tables $(ls /sys/firmware/acpi/tables | tr '\n' ' ')"
echo "@ram $(awk '/MemTotal/ { print $2 }' /proc/meminfo) $(grep -c '^1000.*System RAM' /proc/iomem)"
echo "@power $(cat /sys/bus/acpi/devices/PNP0C0C:00/hid)"
grep -E 'ttyS0|rtc0|ACPI:Ged' /proc/interrupts | sed 's/^/@irq /'
grep MMCONFIG /proc/iomem | sed 's/^/@ecam /'
dmesg -r | sed -n 's/^<[0-4]>/@warning /p'
if word count; then
    n=$(head -c 1 /dev/vda | tr '\0' 0); echo "@boot $n"
    printf $((n + 1)) | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
    [ "$n" -lt 2 ] && reboot -f
fi
if word disk; then
    q=/sys/block/vda/queue
    echo "@disk $(cat /sys/block/vda/serial) $(ls /sys/block/vda/mq | wc -l)" \
        "$(cat $q/discard_max_bytes) $(cat $q/write_zeroes_max_bytes) $(cat $q/physical_block_size)"
    dd if=/dev/urandom of=/dev/vda bs=1M count=8 conv=fsync 2>/dev/null
    sum=$(dd if=/dev/vda bs=1M count=4 2>/dev/null | md5sum)
    blkdiscard -o 4194304 -l 4194304 /dev/vda && echo "@discarded"
    echo 3 > /proc/sys/vm/drop_caches
    [ "$sum" = "$(dd if=/dev/vda bs=1M count=4 2>/dev/null | md5sum)" ] && echo "@kept"
    [ "$(dd if=/dev/vda bs=1M skip=4 count=4 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] && echo "@zero"
    echo "@mode $(cat /sys/block/vda/cache_type)"
    echo "write through" > /sys/block/vda/cache_type
    echo "@mode $(cat /sys/block/vda/cache_type)"
    dd if=/dev/zero of=/dev/vda bs=4k count=16 conv=fsync 2>/dev/null && echo "@written"
    echo "@size $(cat /sys/block/vda/size)"
    n=0
    while [ "$(cat /sys/block/vda/size)" = 131072 ] && [ $n -lt 100 ]; do sleep 1; n=$((n + 1)); done
    echo "@size $(cat /sys/block/vda/size)"
fi
if word reboot; then reboot -f; fi
if word button; then
    echo "@waiting"
    head -c 24 /dev/input/event0 | od -An -tx2 | sed 's/^/@key /'
fi
poweroff -f
"""

# What runs in the test host. $1: the machine's name, $2: the kernel, then keel's options.
HOST_SCRIPT = r"""
cd /run/share
export XDG_RUNTIME_DIR=/run/tmp
boot() {
    name=$1; kernel=$2; words=$3; shift 3
    timeout 120 "$KEEL_BUILD/keel" run --name "$name" --kernel "$kernel" --initrd initrd \
        --cmdline "console=ttyS0 quiet $words" --console file=$name.console "$@" \
        >$name.out 2>&1 </dev/null
    echo $? >$name.rc
}
truncate -s 1M disk
boot cpu1 vmlinuz "" --cpus 1 --memory 256M
boot cpu2 vmlinuz "" --cpus 2 --memory 256M
boot cpu4 vmlinuz "" --cpus sockets=2,cores=2 --memory 3300M
boot pvh vmlinux "" --cpus 2 --memory 192M
boot exit vmlinux reboot --on-reboot exit --memory 192M
boot restart vmlinuz count --on-reboot restart --memory 256M --cpus 2 --disk disk
truncate -s 64M /run/tmp/disk2
boot disk vmlinuz disk --cpus 2 --memory 256M --disk /run/tmp/disk2,serial=KEEL-1,queues=2 &
for i in $(seq 100); do grep -q @size disk.console 2>/dev/null && break; sleep 1; done
"$KEEL_BUILD/keel" resize disk disk0 128M >resize.out 2>&1 </dev/null
wait
stat -c '%s %b' /run/tmp/disk2 >disk.stat
boot button vmlinux button --memory 192M --cpus 2 &
for i in $(seq 100); do grep -q @waiting button.console 2>/dev/null && break; sleep 1; done
sleep 1
"$KEEL_BUILD/keel" stop --timeout 60s button >stop.out 2>&1 </dev/null
echo $? >stop.rc
wait
echo done
"""

# The emulated CPU's doing, not the machine's: its XSAVE leaf, its microcode, its TSC, its pace.
KNOWN = re.compile(r"Speculative Return Stack Overflow|XSAVE consistency|CPUID\[0d|trace_clock"
                   r"|tracing clock|keep using the local clock|on the kernel command line"
                   r"|hrtimer: interrupt took")


def complaints(lines):
    """The warnings that are not KNOWN; a stack trace counts as one, known by any of its lines."""
    block, found = None, []
    for line in lines:
        if "[ cut here ]" in line:
            block = []
        if block is None:
            found += [] if KNOWN.search(line) else [line]
        else:
            block.append(line)
            if "[ end trace" in line:
                found += [] if any(map(KNOWN.search, block)) else block
                block = None
    return found + (block or [])


def make_initrd(kernel, path):
    from importlib import machinery, util  # the runner has no .py in its name
    loader = machinery.SourceFileLoader("testhost_run", str(ROOT / "tests/testhost/run"))
    runner = util.module_from_spec(util.spec_from_loader("testhost_run", loader))
    loader.exec_module(runner)
    modules = kernel.module_files(MODULES)
    entries = [(name, 0o40755, b"") for name in ("bin", "dev", "proc", "sys", "modules")]
    entries += [("bin/busybox", 0o100755, pathlib.Path("/bin/busybox").read_bytes()),
                ("init", 0o100755, GUEST_INIT.encode()),
                ("modules/order", 0o100644, "\n".join(m.name for m in modules).encode())]
    entries += [(f"modules/{m.name}", 0o100644, m.read_bytes()) for m in modules]
    path.write_bytes(runner.cpio(entries))


@pytest.fixture(scope="module", name="share")
def fixture_share(tmp_path_factory):
    if not pathlib.Path("/bin/busybox").exists():
        pytest.skip("busybox-static is not installed")
    try:
        kernel = kernels.Kernel(build_dir() / "cache", "cloud-amd64")
        vmlinux = kernel.vmlinux()
    except kernels.Unavailable as error:
        pytest.skip(str(error))

    def fill(share):
        make_initrd(kernel, share / "initrd")
        (share / "vmlinuz").symlink_to(kernel.image)
        (share / "vmlinux").symlink_to(vmlinux)
        (share / "script").write_text(HOST_SCRIPT)

    return on_testhost(tmp_path_factory, "linux", fill, memory=4608, timeout=900)


class Result:
    def __init__(self, share, name):
        self.code = int((share / f"{name}.rc").read_text())
        self.said = (share / f"{name}.out").read_text()
        console = share / f"{name}.console"
        self.console = console.read_bytes().decode("ascii", "replace").replace("\r", "")

    def values(self, key):
        return re.findall(rf"^@{key} ?(.*)$", self.console, re.M)

    def check(self):
        assert self.code == 0, self.said + self.console[-3000:]
        assert self.said == ""
        assert self.values("up"), self.console[-3000:]


MACHINES = ["cpu1", "cpu2", "cpu4", "pvh"]


@pytest.mark.parametrize("name,cpus", [("cpu1", 1), ("cpu2", 2), ("cpu4", 4), ("pvh", 2)])
def test_boots_and_powers_off(share, name, cpus):
    result = Result(share, name)
    result.check()
    online = "0" if cpus == 1 else f"0-{cpus - 1}"
    assert result.values("cpus") == [f"{cpus} {online}"]
    assert "Power down" in result.console


@pytest.mark.parametrize("name", MACHINES)
def test_finds_the_devices_of_the_dsdt(share, name):
    result = Result(share, name)
    result.check()
    assert result.values("clock") == ["kvm-clock"]
    assert set(result.values("tables")[0].split()) >= {"APIC", "DSDT", "FACP", "MCFG"}
    assert result.values("power") == ["PNP0C0C"]
    irqs = result.values("irq")
    for line, device in (("4-edge", "ttyS0"), ("8-edge", "rtc0"), ("9-edge", "ACPI:Ged")):
        assert any(line in irq and irq.endswith(device) for irq in irqs), irqs
    assert "e0000000-e00fffff : PCI MMCONFIG 0000 [bus 00-00]" in result.values("ecam")[0]
    name, rtc, system = result.values("rtc")[0].rsplit(" ", 2)
    assert name.startswith("rtc_cmos")
    # The same clock read twice: a wrong century, zone or encoding is off by far more.
    assert abs(int(rtc) - int(system)) < 1800


@pytest.mark.parametrize("name", MACHINES)
def test_kernel_does_not_complain(share, name):
    result = Result(share, name)
    result.check()
    assert complaints(result.values("warning")) == []


def test_memory_above_4_gib(share):
    """3300 MiB: 3 GiB below the PCI window, the rest from 4 GiB on."""
    result = Result(share, "cpu4")
    result.check()
    kib, regions = result.values("ram")[0].split()
    assert regions == "1"
    assert 3300 * 1024 * 0.95 < int(kib) < 3300 * 1024
    assert Result(share, "cpu2").values("ram")[0].endswith(" 0")


def test_reboot_exit(share):
    result = Result(share, "exit")
    result.check()
    assert len(result.values("up")) == 1


def test_reboot_restart(share):
    """Two reboots and a third boot: the machine is as new each time, its disk is not."""
    result = Result(share, "restart")
    result.check()
    assert result.values("boot") == ["0", "1", "2"]
    assert len(result.values("cpus")) == 3
    assert set(result.values("cpus")) == {"2 0-1"}


def test_power_button(share):
    result = Result(share, "button")
    result.check()
    assert (share / "stop.rc").read_text().strip() == "0", (share / "stop.out").read_text()
    # struct input_event: type 1 (key), code 116 (power), value 1 (pressed).
    assert re.search(r"0001 0074 0001", " ".join(result.values("key")))


def test_disk(share):
    """Queues, serial number, discard, cache mode and a new size, as Linux's driver sees them."""
    result = Result(share, "disk")
    result.check()
    assert result.values("disk") == [f"KEEL-1 2 {1 << 31} {1 << 28} 4096"]
    for word in ("discarded", "kept", "zero", "written"):
        assert result.values(word) == [""], (word, result.console[-3000:])
    assert result.values("mode") == ["write back", "write through"]
    assert (share / "resize.out").read_text() == "disk0 of disk has 128 MiB\n"
    assert result.values("size") == ["131072", "262144"]
    size, blocks = map(int, (share / "disk.stat").read_text().split())
    assert size == 128 << 20
    assert blocks * 512 <= (4 << 20) + 65536
    assert complaints(result.values("warning")) == []

# SPDX-License-Identifier: GPL-2.0-only
"""Our own guests, on keel with the machine's KVM and, to show that they are guests like any other,
on QEMU without KVM. A guest tells by its last line and its exit code whether all was well; what it
measures is printed, never judged."""
import os
import shutil
import subprocess
import time

import pytest

from conftest import ROOT, TIMEOUT, build_dir


def elf(guest):
    return str(build_dir() / "guests" / f"{guest}.elf")


def command(guest, *args, cmdline="", cpus=1, memory="256M"):
    return ["run", "--kernel", f"builtin:{guest}", "--cpus", cpus, "--memory", f"size={memory}",
            "--cmdline", cmdline, *args]


def run(keel, guest, *args, code=0, **kwargs):
    """Runs a guest to its end on keel and returns what it printed."""
    done = keel.run(*command(guest, *args, **kwargs), errors="replace")
    print(done.stdout, done.stderr)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return done.stdout.replace("\r", "")


def succeeds(keel, guest, *args, **kwargs):
    out = run(keel, guest, *args, **kwargs)
    assert "SUCCESS" in out.splitlines()
    assert "FAILURE" not in out
    return out


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.raw"
    with open(path, "wb") as f:
        f.truncate(32 << 20)
    return path


@pytest.mark.usefixtures("kvm")
class TestOnKvm:
    def test_hello(self, keel):
        out = succeeds(keel, "hello")
        assert "described by machine.dtb" in out
        assert "test port  there" in out

    def test_elf_file(self, keel):
        """The file is what is embedded; without the test device it powers off."""
        for args, word in ([["--testdev", "on"], "there"], [["--testdev", "off"], "absent"]):
            done = keel.run("run", "--kernel", elf("hello"), *args)
            assert done.returncode == 0, done.stderr
            assert f"test port  {word}" in done.stdout
            assert "SUCCESS" in done.stdout

    def test_null_prints_nothing(self, keel):
        assert run(keel, "null") == ""

    @pytest.mark.parametrize("cpus", [1, 2, 4, 8])
    def test_smp(self, keel, cpus):
        out = succeeds(keel, "smp", cpus=cpus)
        assert sum(line.endswith("runs") for line in out.splitlines()) == cpus

    @pytest.mark.parametrize("cpus", [2, 4])
    def test_smp_x2apic(self, keel, cpus):
        succeeds(keel, "smp", cpus=cpus, cmdline="apic=x2")

    @pytest.mark.parametrize("cpus", [1, 2, 4, 8])
    def test_clock(self, keel, cpus):
        out = succeeds(keel, "clock", cpus=cpus)
        assert "KVM clock" in out
        assert "host clock    over" in out

    @pytest.mark.parametrize(
        "cpus,cmdline",
        [
            ("1", "sockets=1 cores=1 threads=1"),
            ("2", "sockets=1 cores=2 threads=1"),
            ("sockets=1,cores=2,threads=2", "sockets=1 cores=2 threads=2"),
            ("sockets=2,cores=2,threads=1", "sockets=2 cores=2 threads=1"),
            ("sockets=2,cores=2,threads=2", "sockets=2 cores=2 threads=2"),
            ("sockets=1,cores=3,threads=1", "sockets=1 cores=3 threads=1"),
            ("sockets=2,cores=3,threads=1", "sockets=2 cores=3 threads=1"),
        ],
    )
    def test_cpuid(self, keel, cpus, cmdline):
        succeeds(keel, "cpuid", cpus=cpus, cmdline=cmdline)

    @pytest.mark.parametrize("cpus", [1, 2, 4, 8])
    def test_mem(self, keel, cpus):
        succeeds(keel, "mem", cpus=cpus, cmdline="passes=2")

    def test_mem_above_4_gib(self, keel):
        """Only the pages that are touched cost the host anything."""
        if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 6 << 30:
            pytest.skip("the machine has less than 6 GiB of memory")
        out = succeeds(keel, "mem", cpus=2, memory="5G", cmdline="size=64M from=high")
        assert "range 0x100000000" in out

    @pytest.mark.parametrize("cpus", [1, 2, 4, 8])
    def test_burn(self, keel, cpus):
        out = succeeds(keel, "burn", cpus=cpus, cmdline="duty=50 period=10ms time=500ms")
        assert sum(line.startswith("cpu ") for line in out.splitlines()) == cpus

    @pytest.mark.parametrize("cpus", [1, 2, 4, 8])
    @pytest.mark.parametrize("load", ["ws=16M mix=100", "ws=64M rate=20000 mix=50"])
    def test_dirty(self, keel, cpus, load):
        succeeds(keel, "dirty", cpus=cpus, cmdline=load + " time=500ms")

    @pytest.mark.parametrize("mode", ["irq", "poll"])
    @pytest.mark.parametrize(
        "load",
        [
            "depth=1 bs=4096",
            "depth=32 bs=512",
            "depth=4 bs=256K count=40",
            "depth=16 indirect=off",
            "depth=16 event_idx=off",
            "depth=16 indirect=off event_idx=off",
        ],
    )
    def test_blk(self, keel, disk, mode, load):
        cmdline = f"op=verify count=400 mode={mode} {load}"
        succeeds(keel, "blk", "--disk", f"path={disk}", cmdline=cmdline, cpus=2)

    def test_blk_writes_the_file(self, keel, disk):
        """The first words of each block say which one it is: checked from outside the guest."""
        cmdline = "op=write count=64 bs=4096"
        succeeds(keel, "blk", "--disk", f"path={disk}", cmdline=cmdline)
        data = disk.read_bytes()
        numbers = [int.from_bytes(data[i * 4096:i * 4096 + 8], "little") for i in range(64)]
        assert numbers == list(range(64))

    def test_blk_read_only(self, keel, disk):
        before = disk.read_bytes()
        how = f"path={disk},readonly=on"
        out = succeeds(keel, "blk", "--disk", how, cmdline="op=read count=50")
        assert "read-only" in out
        out = run(keel, "blk", "--disk", how, cmdline="op=verify count=50", code=1)
        assert "FAILURE the disk is read-only" in out
        assert disk.read_bytes() == before

    def test_blk_two_disks(self, keel, disk, tmp_path):
        other = tmp_path / "other.raw"
        with open(other, "wb") as f:
            f.truncate(8 << 20)
        out = succeeds(
            keel, "blk", "--disk", f"path={disk}", "--disk", f"path={other}",
            cmdline="disk=1 op=verify count=100",
        )
        assert "disk 1: 8 MiB" in out
        assert not any(disk.read_bytes())

    def test_failure_is_told(self, keel):
        assert "FAILURE no disk 0" in run(keel, "blk", code=1)

    @pytest.mark.parametrize("cpus", [1, 2, 4, 8])
    def test_demo(self, keel, cpus):
        out = succeeds(keel, "demo", cpus=cpus)
        assert f"{cpus} of {cpus} run" in out

    def test_demo_only_reads_a_disk(self, keel, disk):
        disk.write_bytes(os.urandom(4 << 20))
        before = disk.read_bytes()
        out = succeeds(keel, "demo", "--disk", f"path={disk}")
        assert "512 blocks of 4 KiB read" in out
        assert disk.read_bytes() == before
        out = succeeds(keel, "demo", "--disk", f"path={disk}", cmdline="scratch")
        assert "512 blocks of 4 KiB written, verified" in out
        assert disk.read_bytes() != before

    def test_poweroff(self, keel):
        succeeds(keel, "poweroff")

    @pytest.mark.parametrize("how", ["pm", "kbd", "cf9", "triple"])
    def test_reboot_restarts(self, keel, disk, how):
        """The guest counts its boots on the disk and ends at the third."""
        out = succeeds(
            keel, "reboot", "--on-reboot", "restart", "--disk", f"path={disk}",
            cmdline=f"how={how} count=3",
        )
        assert [line for line in out.splitlines() if line.startswith("boot ")] == [
            "boot 1 of 3", "boot 2 of 3", "boot 3 of 3",
        ]

    @pytest.mark.parametrize("how", ["pm", "kbd", "cf9", "triple"])
    def test_reboot_exits(self, keel, how):
        done = keel.run(*command("reboot", "--on-reboot", "exit", cmdline=f"how={how}"))
        assert done.stdout.count("reset") == 1
        assert "FAILURE" not in done.stdout

    def test_button(self, keel):
        """`keel stop` presses the power button."""
        vm = keel.start(*command("button", "--name", "button"), text=True)
        assert "waiting for the power button" in vm.stdout.readline()
        assert keel.run("stop", "button").returncode == 0
        code, out, _ = keel.finish(vm)
        assert "power button pressed" in out
        assert code == 0

    def test_forever_goes_on(self, keel):
        """The guests of the pause tests never end of themselves, and tell that they live."""
        vm = keel.start(
            *command("dirty", cmdline="ws=8M rate=1000 forever progress=100ms", cpus=2), text=True
        )
        end = time.monotonic() + TIMEOUT
        seen = 0
        while seen < 5 and time.monotonic() < end:
            seen += vm.stdout.readline().startswith("progress")
        assert seen == 5
        assert vm.poll() is None


# Each line: a guest, its vCPUs, its command line.
TESTHOST_GUESTS = """
hello 1
smp 4
clock 2 time=200ms
mem 2 size=16M
cpuid 2 dump=off
burn 2 time=300ms
dirty 2 ws=4M time=300ms mix=70
demo 2
poweroff 1
"""


def test_on_testhost():
    """On KVM as most hosts have it, with hardware virtualisation (an emulated one here)."""
    script = """
    while read -r guest cpus cmdline; do
        [ "$guest" ] || continue
        "$KEEL_BUILD"/keel run --kernel builtin:$guest --cpus $cpus --cmdline "$cmdline" </dev/null
        echo "$guest ended with $?"
    done"""
    done = subprocess.run(
        [str(ROOT / "tests/testhost/run"), "--", "sh", "-c",
         f"{script} <<'END'\n{TESTHOST_GUESTS}\nEND\n"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, errors="replace",
    )
    print(done.stdout, done.stderr)
    if done.returncode == 125:
        pytest.skip("no test host: " + done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0
    for line in TESTHOST_GUESTS.split("\n"):
        if line:
            assert f"{line.split()[0]} ended with 0" in done.stdout
    assert "FAILURE" not in done.stdout


@pytest.fixture
def qemu():
    """Runs a guest on QEMU without KVM; isa-debug-exit makes an exit code of (code << 1) | 1."""
    program = shutil.which("qemu-system-x86_64")
    if not program:
        pytest.skip("qemu-system-x86_64 is not installed")

    def run_qemu(guest, *args, machine="q35", cpus=1, cmdline=""):
        done = subprocess.run(
            [
                program, "-M", machine, "-accel", "tcg", "-m", "256", "-smp", str(cpus),
                "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", elf(guest),
                "-append", cmdline, *args,
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT,
            errors="replace",
        )
        print(done.stdout, done.stderr)
        assert done.returncode == 1
        return done.stdout.splitlines()

    return run_qemu


class TestOnQemu:
    @pytest.mark.parametrize("machine", ["microvm", "q35"])
    @pytest.mark.parametrize(
        "guest,cpus,last", [("hello", 1, ["SUCCESS"]), ("smp", 4, ["SUCCESS"]), ("null", 1, [])]
    )
    def test_same_elf(self, qemu, machine, guest, cpus, last):
        cmdline = "count=1000 rounds=10"
        assert qemu(guest, machine=machine, cpus=cpus, cmdline=cmdline)[-1:] == last

    @pytest.mark.parametrize("guest,cmdline", [("mem", ""), ("dirty", "ws=8M time=200ms mix=70")])
    def test_memory(self, qemu, guest, cmdline):
        assert qemu(guest, cpus=2, cmdline=cmdline)[-1] == "SUCCESS"

    def test_blk(self, qemu, disk):
        out = qemu(
            "blk", "-drive", f"file={disk},if=none,id=d,format=raw",
            "-device", "virtio-blk-pci,drive=d,disable-legacy=on",
            cmdline="op=verify count=200 depth=16",
        )
        assert out[-1] == "SUCCESS"

    @pytest.mark.parametrize("cmdline, words", [
        ("op=bench time=100ms warm=20ms depth=4 queues=2", "BENCH rw=read bs=4096 depth=4 queues=2"),
        ("op=bench rw=mix time=100ms warm=20ms mode=poll", "BENCH rw=mix"),
        ("op=discard count=256", "the rest unharmed"),
        ("op=id", "2 queues, blocks of 512 bytes"),
    ])
    def test_blk_modes(self, qemu, disk, cmdline, words):
        out = qemu(
            "blk", "-drive", f"file={disk},if=none,id=d,format=raw,discard=unmap",
            "-device", "virtio-blk-pci,drive=d,disable-legacy=on,num-queues=2",
            cpus=2, cmdline=cmdline,
        )
        assert any(words in line for line in out)
        assert out[-1] == "SUCCESS"

# SPDX-License-Identifier: GPL-2.0-only
"""A guest that breaks every rule of every virtio device. The machine lives, the device works again
after a reset, its neighbours and other machines don't notice, logs and memory stay bounded."""
import re
import time

import pytest

from helpers import can_unshare

pytestmark = pytest.mark.usefixtures("kvm")

LINES_PER_WINDOW = 12  # of each call site: 10, one that tells of those left out, one to spare
WINDOW = 5
# What a device may hold for a guest at its worst, beyond what the machine had at first.
GROWTH_KIB = 32 << 10


def image(path, size=16 << 20):
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def private_kib(pid, ram):
    """Memory of the process without the guest's."""
    total, size = 0, 0
    for line in open(f"/proc/{pid}/smaps", encoding="ascii"):
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            size = int(match[2], 16) - int(match[1], 16)
        elif line.startswith("Rss:") and size < ram:
            total += int(line.split()[1])
    return total


def call_sites(text):
    """The warnings, each by what is the same in all lines of its call site."""
    sites = {}
    for line in text.splitlines():
        assert line.startswith("keel: "), line
        if "left out" in line:
            continue
        for kind in ("waits for a reset", "driver is at fault", "cost an exit"):
            if kind in line:
                sites[kind] = sites.get(kind, 0) + 1
                break
        else:
            sites[line] = sites.get(line, 0) + 1
    return sites


def devices_of(tmp_path):
    """Options for as many kinds of device as there are, each writable and of no value."""
    return ["--disk", f"path={image(tmp_path / 'a.raw')},queues=2",
            "--disk", f"path={image(tmp_path / 'b.raw')},readonly=on,limit-ops=100000",
            "--balloon", "size=0", "--port", f"name=file,file={tmp_path / 'port'}",
            "--port", "name=socket,socket=port.sock", "--vsock", "cid=3,path=vsock.sock"]


def run_hostile(keel, tmp_path, cmdline, stderr, memory="256M"):
    return keel.vm("hostile", "--kernel", "builtin:hostile", "--memory", f"size={memory}",
                   "--cmdline", cmdline + " wait", "--console", "mode=stdio",
                   *devices_of(tmp_path), stderr=stderr)


def test_every_rule_on_every_device(keel, tmp_path):
    begun = time.monotonic()
    other = keel.vm("other", "--kernel", "builtin:dirty", "--cmdline",
                    "ws=8M rate=1000 forever progress=200ms")
    with open(tmp_path / "log", "wb") as log:
        vm = run_hostile(keel, tmp_path, "seed=1", log)
    before = private_kib(vm.pid, 256 << 20)
    lines = []
    while not lines or "waiting for the power button" not in lines[-1]:
        line = vm.stdout.readline().decode(errors="replace")
        assert line, lines
        assert "FAILURE" not in line, line
        lines.append(line.strip())
    with keel.rpc("hostile") as rpc:
        info = rpc.result("info")
    virtio = {name: dev for name, dev in info["devices"].items()
              if dev["type"].startswith("virtio-")}
    print("\n".join(lines), virtio)
    # Every virtio device was there, and was pressed.
    tested = [line for line in lines if "needed a reset" in line]
    assert len(tested) == len(virtio)
    for name, dev in virtio.items():
        assert dev["guest_errors"] > 50, name
        assert dev["driver_resets"] > 100, name
        assert not dev["needs_reset"] and dev["active"], name
    assert info["resets"] == 0
    after = private_kib(vm.pid, 256 << 20)
    print(f"private memory {before} KiB before, {after} KiB after")
    assert after - before < GROWTH_KIB
    # The other machine went on.
    assert other.poll() is None
    with keel.rpc("other") as rpc:
        assert rpc.result("info")["state"] == "running"
    assert keel.run("stop", "hostile").returncode == 0
    assert vm.wait() == 0
    assert "SUCCESS" in vm.stdout.read().decode()
    windows = (time.monotonic() - begun) / WINDOW + 2
    sites = call_sites((tmp_path / "log").read_text(errors="replace"))
    print(sites, f"in {windows:.0f} windows")
    assert sites["waits for a reset"] > 0
    for site, count in sites.items():
        assert count <= LINES_PER_WINDOW * windows, site


@pytest.mark.parametrize("seed", [2, 3], ids=["two", "three"])
def test_with_other_garbage(keel, tmp_path, seed):
    """What is random in it, anew."""
    done = keel.run("run", "--kernel", "builtin:hostile", "--log", "error", "--cmdline",
                    f"seed={seed} part=rings", *devices_of(tmp_path), errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
    assert done.stderr == ""


def test_after_a_pause_in_between(keel, tmp_path):
    """Pausing finds devices in every state: broken, half set up, with requests under way."""
    with open(tmp_path / "log", "wb") as log:
        vm = run_hostile(keel, tmp_path, "seed=4 kicks=1000 only=blk", log)
    with keel.rpc("hostile") as rpc:
        for _ in range(200):
            rpc.result("pause")
            rpc.result("resume")
    while "waiting for the power button" not in (line := vm.stdout.readline().decode()):
        assert line and "FAILURE" not in line, line
    assert keel.run("stop", "hostile").returncode == 0
    assert vm.wait() == 0


def test_net(keel, tmp_path):
    """The same for a network device on a tap, in a network of its own."""
    if not can_unshare():
        pytest.skip("no privilege for a network namespace")
    done = keel.run("--net", "--", keel.path, "run", "--kernel", "builtin:hostile", "--cpus", 2,
                    "--log", "error", "--cmdline", "only=net kicks=1000",
                    "--net", "tap=hostile0,queues=2", program="unshare", errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
    assert re.search(r"net 0: 5 queues, .* needed a reset [1-9]", done.stdout)
    assert done.stderr == ""

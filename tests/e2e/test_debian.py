# SPDX-License-Identifier: GPL-2.0-only
"""Debian 12, kernels (cloud and generic) and userland unmodified, on the emulated test host: modules
that load by themselves, an ext4 root that survives a reboot, shutdown by every road, steal under
contention; and every device at work on two guest nodes.

The machines run one after the other on one disk, as a user's would; the tests read what was said.
tests/testhost/agent is what runs in the guest, tests/testhost/peer what answers it on the host.
"""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/testhost"))
import image  # pylint: disable=wrong-import-position
import kernels  # pylint: disable=wrong-import-position

from conftest import build_dir  # pylint: disable=wrong-import-position
from helpers import on_testhost  # pylint: disable=wrong-import-position

DEVICES = "numa,port,net,vsock,trim,resize,balloon"
FULL = pytest.mark.parametrize("name", ["four", "generic"])

# $1: name, $2: orders, then keel's options. norandmaps: with the same programs at the same addresses
# QEMU need not translate them again for every process, which halves the time of a boot.
HOST_SCRIPT = r"""
cd /run/share
export KEEL_RUNTIME_DIR=/run/tmp/keel
grep -m1 '^flags' /proc/cpuinfo >host.flags
boot() {
    name=$1; orders=$2; shift 2
    timeout 500 $PREFIX "$KEEL_BUILD/keel" run --name "$name" \
        --kernel "vmlinuz${FLAVOUR:--cloud-amd64}" --initrd "initrd${FLAVOUR:--cloud-amd64}" \
        --cmdline "console=ttyS0 quiet loglevel=1 root=/dev/vda mitigations=off norandmaps keeltest=$orders" \
        --disk root.ext4 "$@" >$name.console 2>$name.out
    echo $? >$name.rc
}
# The same with all devices, in a network namespace with a tap.
full() {
    name=$1; orders=$2; shift 2
    yes | head -c 67108864 >/run/tmp/$name.disk
    ip netns add $name
    in="ip netns exec $name"
    $in ip link set lo up
    $in ip tuntap add dev tap0 mode tap multi_queue
    $in ip address add 10.7.0.1/24 dev tap0
    $in ip link set tap0 up
    $in "$PEER" "$KEEL_BUILD/keel" $name /run/tmp/$name.disk /run/tmp/$name.port /run/tmp/$name.vsock \
        >$name.peer 2>&1 </dev/null &
    PREFIX=$in boot $name "$orders" --disk /run/tmp/$name.disk \
        --memory size=320M,node=0 --memory size=320M,node=1 --balloon stats=1s \
        --net tap=tap0,queues=2 --port agent,socket=/run/tmp/$name.port --vsock cid=7,path=/run/tmp/$name.vsock "$@" </dev/null
}
full four facts,rewrite,@DEVICES@,reboot-once,poweroff --cpus sockets=2,cores=2
FLAVOUR=-amd64 full generic facts,@DEVICES@,reboot --cpus 2 --on-reboot pause &
state() { "$KEEL_BUILD/keel" ps --json 2>/dev/null | tr -d '\n ' | grep -o '"name":"generic","state":"[a-z]*"'; }
for i in $(seq 400); do
    case "$(state)" in *paused*) break ;; esac
    [ -f generic.rc ] && break
    sleep 1
done
state >generic.state
"$KEEL_BUILD/keel" stop --force generic >/dev/null 2>&1
wait
mkfifo /run/tmp/typed
exec 9<>/run/tmp/typed
boot one facts,wait --cpus 1 --memory 384M <&9 &
for i in $(seq 400); do grep -q "AGENT DONE" one.console 2>/dev/null && break; sleep 1; done
# Typed at the shell until it answers: getty drops what comes before it is ready.
for i in $(seq 30); do
    grep -q shell-42 one.console && break
    echo 'echo shell-$((6*7))' >&9
    sleep 2
done
"$KEEL_BUILD/keel" stop --timeout 120s one >stop.out 2>&1 </dev/null
echo $? >stop.rc
wait
PREFIX="taskset -c 1" boot two facts,contend,reboot --cpus 2 --memory 384M --on-reboot exit </dev/null
"""


@pytest.fixture(scope="module", name="share")
def fixture_share(tmp_path_factory):
    try:
        debian = image.ensure(build_dir() / "cache")
    except kernels.Unavailable as error:
        pytest.skip(str(error))

    def fill(share):
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", debian / "root.ext4", share],
                       check=True)
        image.refresh_agent(share / "root.ext4")
        for flavour in image.FLAVOURS:
            shutil.copy(debian / f"vmlinuz-{flavour}", share)
            shutil.copy(debian / f"initrd-{flavour}", share)
        (share / "script").write_text(f"PEER={ROOT}/tests/testhost/peer\n"
                                      + HOST_SCRIPT.replace("@DEVICES@", DEVICES))

    share = on_testhost(tmp_path_factory, "debian", fill, memory=2048, timeout=1200)
    (share / "root.ext4").unlink()
    return share


class Result:
    def __init__(self, share, name):
        self.code = int((share / f"{name}.rc").read_text())
        self.said = (share / f"{name}.out").read_text()
        console = share / f"{name}.console"
        self.console = console.read_bytes().decode("ascii", "replace").replace("\r", "")

    def all(self, key):
        return [value.strip() for value in
                re.findall(rf"^.*RESULT {key}\b(?!-)(.*)$", self.console, re.M)]

    def one(self, key):
        values = self.all(key)
        assert len(values) == 1, f"{key}: {values}\n{self.console[-3000:]}"
        return values[0]


@pytest.mark.parametrize("name,cpus", [("one", 1), ("two", 2), ("four", 4), ("generic", 2)])
def test_boots_to_a_userland(share, name, cpus):
    result = Result(share, name)
    assert result.said == ""
    assert set(result.all("cpus")) == {str(cpus)}, result.console[-3000:]
    assert set(result.all("clocksource")) == {"kvm-clock"}
    assert set(result.all("complaints")) == {"0"}, re.findall("COMPLAINT.*", result.console)
    assert all(("cloud" in kernel) == (name != "generic") for kernel in result.all("kernel"))


@pytest.mark.parametrize("name", ["one", "two", "four", "generic"])
def test_modules_load_by_themselves(share, name):
    result = Result(share, name)
    for modules in result.all("modules"):
        assert {"virtio_pci", "virtio_blk", "virtio_rng"} <= set(modules.split())
        if name in ("four", "generic"):
            assert {"virtio_net", "virtio_console", "virtio_balloon"} <= set(modules.split())
    assert set(result.all("root")) == {"/dev/vda ext4"}
    assert set(result.all("rng")) == {"virtio_rng.0"}
    assert all(int(irqs) >= 2 for irqs in result.all("irqs"))


def test_shell_answers(share):
    """What the shell computes, which the echo of the typed line does not show."""
    assert "shell-42" in Result(share, "one").console


def test_data_survives_a_reboot(share):
    """--on-reboot restart: the same process, the same disk, a new machine."""
    result = Result(share, "four")
    assert result.console.count("AGENT REBOOT") == 1
    assert result.one("rebooted") == "yes"
    assert re.fullmatch("[0-9a-f]{64}", result.one("written"))
    assert result.one("written") == result.one("stored") == result.one("found")


def test_poweroff_ends_with_0(share):
    result = Result(share, "four")
    assert "AGENT POWEROFF" in result.console
    assert result.code == 0


def test_power_button_shuts_down(share):
    result = Result(share, "one")
    assert (share / "stop.rc").read_text().strip() == "0", (share / "stop.out").read_text()
    assert result.code == 0
    # By Debian's own shutdown, not by force.
    assert "Will now halt" in result.console or "Power down" in result.console


def test_reboot_exit(share):
    result = Result(share, "two")
    assert "AGENT REBOOT" in result.console
    assert result.code == 0
    assert len(result.all("cpus")) == 1


def test_steal_moves_under_contention(share):
    """Two busy vCPUs on one CPU of the host for 6 s: about 6 s of steal, in ticks of 10 ms."""
    assert int(Result(share, "two").one("steal")) > 100


def test_reboot_pause(share):
    """--on-reboot pause: a new machine at its first instruction, which waits."""
    result = Result(share, "generic")
    assert "AGENT REBOOT" in result.console
    assert '"paused"' in (share / "generic.state").read_text()
    assert result.code == 0
    assert len(result.all("cpus")) == 1


@FULL
def test_two_guest_nodes(share, name):
    """numactl and sysfs see the nodes, their CPUs, memory and distances."""
    result = Result(share, name)
    assert result.one("nodes").startswith("2 nodes (0-1)")
    cpus = [["0-1", "2-3"], ["0", "1"]][name == "generic"]
    for line, number in zip(result.all("node"), (0, 1), strict=True):
        words = line.split()
        assert words[:3] == [str(number), "cpus", cpus[number]]
        assert 230 << 10 < int(words[4]) <= 320 << 10
        assert words[6:] == [["10", "20"], ["20", "10"]][number]


@FULL
def test_port(share, name):
    assert Result(share, name).one("port") == "hello GUEST"


@FULL
def test_network_through_a_tap(share, name):
    """Ping and a TCP stream both ways, over two queue pairs."""
    result = Result(share, name)
    assert result.one("netdev") == "virtio_net"
    assert result.one("netqueues") == "2 2"  # that the device has, that are in use
    assert result.one("ping") == result.one("pinged") == "3"
    for one, other in (("offered", "downloaded"), ("uploaded", "received")):
        assert re.fullmatch("[0-9a-f]{64}", result.one(one))
        assert result.one(one) == result.one(other)


@FULL
def test_vsock(share, name):
    """The guest calls the host, whose end of it is a Unix socket."""
    assert Result(share, name).one("vsock") == "FROM THE GUEST"


@FULL
def test_discard_reaches_the_file(share, name):
    """fstrim of a new file system: of a file of 64 MiB, all written, little is left."""
    result = Result(share, name)
    assert result.one("held") == "64"
    assert int(result.one("holds")) < 24


@FULL
def test_resize_is_seen(share, name):
    result = Result(share, name)
    assert int(result.one("size")) * 512 == 64 << 20
    assert int(result.one("resized")) * 512 == 96 << 20, result.one("resize")


@FULL
def test_memory_is_given_back(share, name):
    """What the guest does not use goes back: by itself, as free pages, and on demand."""
    result = Result(share, name)
    assert re.fullmatch(r"fell from \d+ to \d+", result.one("freed"))
    assert result.one("inflated") == "reached 96"
    assert int(result.one("free")) - int(result.one("left")) > 80
    words = result.one("deflated").split()
    assert words[0] == "0" and int(words[2]) > 0 and 400 < int(words[4]) <= 640


# docs/cpuid.md: what the table takes away and adds, and what KVM adds on any host.
MASKED = {"monitor"}
MASKED_ALONE = {"ht", "cmp_legacy"}  # where a socket holds one logical processor
ADDED = {"hypervisor", "x2apic", "tsc_deadline_timer"}
ADDED_BY_KVM = {"tsc_adjust", "tsc_known_freq", "virt_ssbd", "vmcb_clean"}


@pytest.mark.parametrize("name", ["one", "two", "four", "generic"])
def test_cpu_flags_are_the_hosts(share, name):
    host = set((share / "host.flags").read_text().split(":")[1].split())
    for flags in Result(share, name).all("flags"):
        guest = set(flags.split())
        assert host - guest <= MASKED | (MASKED_ALONE if name in ("one", "generic") else set())
        assert guest - host <= ADDED | ADDED_BY_KVM

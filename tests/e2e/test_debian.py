# SPDX-License-Identifier: GPL-2.0-only
"""Debian 12, kernel and userland unmodified, on the emulated test host: modules that load by
themselves, an ext4 root that survives a reboot, shutdown by every road, steal under contention.

The machines run one after the other on one disk, as a user's would; the tests read what was said.
tests/testhost/agent is what runs in the guest.
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

# $1: name, $2: orders, then keel's options. norandmaps: with the same programs at the same addresses
# QEMU need not translate them again for every process, which halves the time of a boot.
HOST_SCRIPT = r"""
cd /run/share
export KEEL_RUNTIME_DIR=/run/tmp/keel
grep -m1 '^flags' /proc/cpuinfo >host.flags
boot() {
    name=$1; orders=$2; shift 2
    timeout 500 $PREFIX "$KEEL_BUILD/keel" run --name "$name" --kernel vmlinuz --initrd initrd \
        --cmdline "console=ttyS0 quiet loglevel=1 root=/dev/vda mitigations=off norandmaps keeltest=$orders" \
        --disk root.ext4 "$@" >$name.console 2>$name.out
    echo $? >$name.rc
}
boot four facts,rewrite,reboot-once,poweroff --cpus sockets=2,cores=2 --memory 512M </dev/null
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
        shutil.copy(debian / "vmlinuz-cloud-amd64", share / "vmlinuz")
        shutil.copy(debian / "initrd-cloud-amd64", share / "initrd")
        (share / "script").write_text(HOST_SCRIPT)

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
        return [value.strip() for value in re.findall(rf"^.*RESULT {key} ?(.*)$", self.console, re.M)]

    def one(self, key):
        values = self.all(key)
        assert len(values) == 1, f"{key}: {values}\n{self.console[-3000:]}"
        return values[0]


@pytest.mark.parametrize("name,cpus", [("one", 1), ("two", 2), ("four", 4)])
def test_boots_to_a_userland(share, name, cpus):
    result = Result(share, name)
    assert result.said == ""
    assert set(result.all("cpus")) == {str(cpus)}, result.console[-3000:]
    assert set(result.all("clocksource")) == {"kvm-clock"}
    assert set(result.all("complaints")) == {"0"}, re.findall("COMPLAINT.*", result.console)


@pytest.mark.parametrize("name", ["one", "two", "four"])
def test_modules_load_by_themselves(share, name):
    result = Result(share, name)
    for modules in result.all("modules"):
        assert {"virtio_pci", "virtio_blk", "virtio_rng"} <= set(modules.split())
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


# docs/cpuid.md: what the table takes away and adds, and what KVM adds on any host.
MASKED = {"monitor"}
MASKED_ALONE = {"ht", "cmp_legacy"}  # where a socket holds one logical processor
ADDED = {"hypervisor", "x2apic", "tsc_deadline_timer"}
ADDED_BY_KVM = {"tsc_adjust", "tsc_known_freq", "virt_ssbd", "vmcb_clean"}


@pytest.mark.parametrize("name", ["one", "two", "four"])
def test_cpu_flags_are_the_hosts(share, name):
    host = set((share / "host.flags").read_text().split(":")[1].split())
    for flags in Result(share, name).all("flags"):
        guest = set(flags.split())
        assert host - guest <= MASKED | (MASKED_ALONE if name == "one" else set())
        assert guest - host <= ADDED | ADDED_BY_KVM

# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory: NUMA nodes, binding, page kinds, populating, and where the pages really are."""
import json
import os
import pathlib
import re
import signal

import pytest

from helpers import huge_pages

BURN = ["--kernel", "builtin:burn", "--cmdline", "time=100s"]
NODE0 = pathlib.Path("/sys/devices/system/node/node0")
MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("kvm")


def memory(*nodes):
    return [word for node in nodes for word in ("--memory", node)]


def refused(keel, *nodes, says, code=1):
    done = keel.run("run", "--kernel", "builtin:hello", *memory(*nodes))
    assert done.returncode == code, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    for text in says:
        assert text in done.stderr
    return done.stderr


def where(keel, name):
    done = keel.run("info", "--numa", "--json", name)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["nodes"]


def pool():
    text = pathlib.Path("/proc/meminfo").read_text()
    return {key: int(value) for key, value in re.findall(r"HugePages_(\w+): +(\d+)", text)}


@pytest.mark.parametrize("cpus, nodes", [
    (2, ["64M", "64M"]),
    (4, ["1G", "4G"]),
    (4, ["size=64M,cpus=1", "size=1M,pages=4k,cpus=0", "size=3G,cpus=2", "size=32M,cpus=3"]),
    (8, ["1G", "1G", "2G,backing=memfd", "1G,pages=4k"]),
    (3, ["3G", "64M", "size=64M,backing=memfd"]),
])
def test_guest_sees_its_nodes(keel, cpus, nodes):
    done = keel.run("run", "--kernel", "builtin:numa", "--cpus", cpus, *memory(*nodes))
    assert done.returncode == 0, done.stdout + done.stderr
    for node in range(len(nodes)):
        assert f"node {node}: CPUs" in done.stdout and f"distances {node}:" in done.stdout


def test_one_node_is_no_numa(keel):
    done = keel.run("run", "--kernel", "builtin:numa", "--memory", "64M")
    assert done.returncode != 0 and "no SRAT" in done.stdout


def test_device_tree_tells_the_nodes(keel):
    config = ["--memory", "64M,node=0", "--memory", "size=3G,pages=4k", "--cpus", "4"]
    blob = keel.run("inspect", "--dtb", *config, text=False).stdout
    assert b"numa-distance-map-v1\0" in blob and b"numa-node-id\0" in blob
    path = keel.work / "m.dtb"
    path.write_bytes(blob)
    again = json.loads(keel.run("inspect", path).stdout)
    assert [node["size"] for node in again["memory"]] == [64 * MIB, 3072 * MIB]
    assert again["memory"][0]["node"] == 0 and "node" not in again["memory"][1]
    assert again["cpus"]["sockets"] == 2
    assert b"numa-node-id\0" not in keel.run("inspect", "--dtb", "--memory", "64M",
                                             text=False).stdout


def test_options_replace_the_file(keel):
    path = keel.work / "m.json"
    path.write_text('{"memory": ["1G", "1G"]}')
    for options, count in ((["--memory", "2G"], 1), ([], 2), (memory("1M", "2M", "3M"), 3)):
        config = json.loads(keel.run("inspect", "--config", path, *options).stdout)
        assert len(config["memory"]) == count


def test_bad_nodes(keel):
    refused(keel, "64M,node=987", says=["node=987: this host has", "node"])
    refused(keel, "64M", "64M,node=987", says=["node=987"])
    refused(keel, *["1M"] * 9, says=["at most 8"], code=2)
    refused(keel, "3M,pages=2m", says=["multiple of the 2m"], code=2)
    refused(keel, "64M,cpus=1", says=["vCPUs 0 to 0"], code=2)


@pytest.mark.skipif(not NODE0.exists(), reason="the host's kernel knows no NUMA nodes")
def test_node_too_small(keel):
    total = int(re.search(r"MemTotal: +(\d+)", (NODE0 / "meminfo").read_text())[1]) << 10
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = total // MIB  # the kernel itself has some of it
    if total > host:
        pytest.skip("node 0 is larger than the host")
    text = refused(keel, f"{size}M,node=0", says=["asked for on node 0", "room for"])
    assert "prefault=off" in text
    keel.vm("vm", *BURN, "--memory", f"{size}M,node=0,prefault=off")
    nodes = where(keel, "vm")
    assert nodes[0]["host_node"] == 0 and not nodes[0]["prefault"]


def test_huge_pages_not_reserved(keel):
    free = pool()["Free"] - pool()["Rsvd"]
    need = free + 10
    text = refused(keel, f"{need * 2}M,pages=2m", says=[f"{need} huge pages of 2 MiB needed",
                                                       f"{free} free", "as root: echo"])
    path = re.search(r"echo (\d+) > (\S+)", text)
    assert pathlib.Path(path[2]).exists() and int(path[1]) >= need
    if NODE0.exists():
        refused(keel, f"{need * 2}M,pages=2m,node=0", says=["on node 0", str(NODE0)])


@pytest.mark.parametrize("backing", ["anon", "memfd"])
def test_huge_pages(keel, backing):
    with huge_pages(64):
        idle = pool()
        child = keel.vm("vm", "--kernel", "builtin:burn", "--cmdline", "time=100s", "--cpus", "2",
                        *memory(f"64M,pages=2m,node=0,backing={backing}",
                                f"64M,pages=2m,prefault=off,backing={backing}"))
        nodes = where(keel, "vm")
        assert nodes[0]["resident"] == nodes[0]["huge"] == nodes[0]["on"]["0"] == 64 * MIB
        assert nodes[0]["page_size"] == 2 * MIB and nodes[1]["resident"] <= 64 * MIB
        # Those not touched yet are promised all the same, also over a reset.
        for _ in range(3):
            now = pool()
            assert idle["Free"] - now["Free"] + now["Rsvd"] == 64 + idle["Rsvd"]
            with keel.rpc("vm") as rpc:
                rpc.result("reset")
        assert where(keel, "vm")[0]["on"] == {"0": 64 * MIB}
        child.send_signal(signal.SIGTERM)
        assert keel.finish(child)[0] == 128 + signal.SIGTERM
        assert pool() == idle


@pytest.mark.parametrize("options", ["", ",pages=4k", ",backing=memfd", ",prefault=on",
                                     ",prefault=on,backing=memfd", ",node=0,pages=4k"])
def test_guest_memory_after_a_reset(keel, options):
    """Zero again: the guest that finds a pattern at its second start would fail its checks."""
    child = keel.vm("vm", "--kernel", "builtin:dirty", "--cpus", "2", "--memory", f"64M{options}",
                    "--cmdline", "ws=16M time=100s")
    with keel.rpc("vm") as rpc:
        for _ in range(3):
            rpc.result("reset")
    if "prefault" in options or "node" in options:
        assert where(keel, "vm")[0]["resident"] == 64 * MIB
    assert child.poll() is None


def mapped(pid, size):
    """Resident bytes of the VM's mapping of that size, as the kernel tells from outside."""
    entries = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", pathlib.Path(f"/proc/{pid}/smaps").read_text(),
                       flags=re.M)
    found = [entry for entry in entries if re.search(rf"^Size: +{size >> 10} kB", entry, re.M)]
    assert len(found) == 1
    kib = {key: int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB", found[0], re.M)}
    return kib["Rss"] << 10, kib["AnonHugePages"] << 10


@pytest.mark.parametrize("pages, backing", [("4k", "anon"), ("thp", "anon"), ("4k", "memfd")])
def test_numa_counts_what_is_there(keel, pages, backing):
    size = 333 * MIB
    child = keel.vm("vm", "--kernel", "builtin:dirty", "--cpus", "2", "--memory",
                    f"{size // MIB}M,pages={pages},backing={backing}", "--cmdline",
                    "ws=32M time=100s")
    with keel.rpc("vm") as rpc:
        def used():
            return where(keel, "vm")[0]["resident"] > 16 * MIB

        keel.wait_for(used, "the guest uses its memory")
        rpc.result("pause")
        node = where(keel, "vm")[0]
        resident, huge = mapped(child.pid, size)
    assert node["resident"] == resident == sum(node["on"].values())
    assert node["huge"] == huge and (pages == "thp" or huge == 0)
    assert node["size"] == size and "host_node" not in node


def test_table(keel):
    keel.vm("vm", *BURN, "--cpus", "4", *memory("64M,node=0", "32M,backing=memfd,pages=4k"))
    lines = keel.run("info", "--numa").stdout.splitlines()
    assert lines[0].split() == ["NODE", "VCPUS", "SIZE", "PAGES", "BACKING", "BOUND", "TO",
                                "RESIDENT", "HUGE", "IS", "ON"]
    assert lines[1].split()[:8] == ["0", "0-1", "64", "MiB", "thp", "anon", "0", "64"]
    assert lines[1].endswith("0: 64 MiB")
    assert lines[2].split()[:7] == ["1", "2-3", "32", "MiB", "4k", "memfd", "-"]


def test_many_ask_at_once(keel):
    keel.vm("vm", *BURN, "--memory", "512M,prefault=on")
    clients = [keel.rpc("vm") for _ in range(20)]
    for client in clients:
        client.send(b'{"jsonrpc": "2.0", "id": 1, "method": "memory.numa"}\n')
    clients.pop().close()  # gone before it has its answer
    replies = [client.line() for client in clients]
    for reply in replies:
        assert "result" in reply or "too many" in reply["error"]["message"]
    assert sum("result" in reply for reply in replies) >= 15
    for client in clients:
        client.close()


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_populating(keel, number):
    """Taken at any moment of it, the process ends with the signal's code and leaves nothing."""
    child = keel.start("run", "--name", "vm", *BURN, "--memory", "1G,pages=4k,prefault=on")

    def begun():
        assert child.poll() is None
        return resident(child.pid) > 64 * MIB

    keel.wait_for(begun, "memory is taken")
    child.send_signal(number)
    code, _, err = keel.finish(child)
    assert code == 128 + number, err
    assert keel.leftovers() == []


def test_a_split_socket_is_warned_about(keel):
    done = keel.run("run", "--kernel", "builtin:hello", "--cpus", "cores=4", *memory("64M", "64M"))
    assert done.returncode == 0 and "warning" in done.stderr and "sockets=2" in done.stderr
    done = keel.run("run", "--kernel", "builtin:hello", "--cpus", "4", *memory("64M", "64M"))
    assert done.returncode == 0 and done.stderr == ""

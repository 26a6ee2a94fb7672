# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory on a host of two NUMA nodes: the emulated one, where no other is at hand."""
import json

import pytest

from helpers import on_testhost

MIB = 1 << 20

# Each VM's counts go to a file; what must be refused tells why.
SCRIPT = r"""
export KEEL_RUNTIME_DIR=/run/tmp/keel
keel="$KEEL_BUILD/keel"
where() {
    name=$1
    shift
    "$keel" run --name "$name" --kernel builtin:burn --cmdline "time=600s" "$@" >/dev/null \
        2>/run/share/$name.err </dev/null &
    pid=$!
    for _ in $(seq 600); do
        "$keel" info --numa --json "$name" >/run/share/$name.json 2>/dev/null && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    "$keel" info --numa "$name"
    "$keel" stop --force "$name"
    wait $pid
}
where both --cpus 2 --memory 96M,node=1 --memory 64M,node=0
where small --cpus 2 --memory 64M,node=1,pages=4k --memory 32M,node=1,backing=memfd
echo 32 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages
where pool --memory 64M,node=1,pages=2m
"$keel" run --kernel builtin:hello --memory 64M,node=0,pages=2m 2>/run/share/pool0.err
echo $? >>/run/share/pool0.err
echo 0 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages
"$keel" run --kernel builtin:hello --memory 700M,node=1 2>/run/share/full.err
echo $? >>/run/share/full.err
"$keel" run --kernel builtin:hello --memory 64M,node=2 2>/run/share/missing.err
echo $? >>/run/share/missing.err
"$keel" run --kernel builtin:numa --cpus 4 --memory 64M,node=0 --memory 64M,node=1 \
    >/run/share/tables </dev/null 2>&1
echo "ended with $?" >>/run/share/tables
"""


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    def fill(folder):
        (folder / "script").write_text(SCRIPT)

    return on_testhost(tmp_path_factory, "nodes", fill, memory=1536, timeout=300)


def nodes(share, name):
    text = (share / f"{name}.json").read_text()
    assert text, (share / f"{name}.err").read_text()
    return json.loads(text)["nodes"]


def test_every_page_is_on_its_node(share):
    found = nodes(share, "both")
    assert [node["on"] for node in found] == [{"1": 96 * MIB}, {"0": 64 * MIB}]
    found = nodes(share, "small")
    assert [node["on"] for node in found] == [{"1": 64 * MIB}, {"1": 32 * MIB}]
    assert found[0]["huge"] == 0


def test_huge_pages_of_one_node(share):
    assert nodes(share, "pool")[0]["on"] == {"1": 64 * MIB}
    text = (share / "pool0.err").read_text()
    assert "0 free on node 0" in text and text.endswith("\n1\n")


def test_refused(share):
    text = (share / "full.err").read_text()
    assert "asked for on node 1, which has room for" in text and text.endswith("\n1\n")
    text = (share / "missing.err").read_text()
    assert "node=2: this host has nodes 0-1" in text and text.endswith("\n1\n")


def test_distances_are_the_hosts(share):
    text = (share / "tables").read_text()
    assert "ended with 0" in text and "distances 0: 10 20" in text

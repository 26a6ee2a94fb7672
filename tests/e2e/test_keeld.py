# SPDX-License-Identifier: GPL-2.0-only
"""keeld: one a host, adopts what runs, not delayed by what hangs, leaves nothing."""
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from conftest import ROOT, Rpc
from helpers import one_line

BURN = ("--kernel", "builtin:burn", "--cmdline", "duty=5 forever", "--console", "none")


@pytest.fixture
def keeld(keel):
    def start(*args):
        path = keel.runtime / "keeld.sock"
        if "--socket" in args:
            path = args[args.index("--socket") + 1]
        child = keel.start(*args, program=keel.keeld)

        def answers():
            assert child.poll() is None, child.communicate()
            try:
                Rpc(path).close()
                return True
            except OSError:
                return False

        keel.wait_for(answers, "keeld listens")
        return child, path
    return start


def test_options(keel):
    version = (ROOT / "VERSION").read_text().strip()
    assert keel.run("--version", program=keel.keeld).stdout == f"keeld {version}\n"
    assert keel.run("--help", program=keel.keeld).stdout.startswith("Usage: keeld")
    for args, word in ((["--sokcet", "x"], "--socket"), (["--socket"], "path"), (["x"], "x"),
                       (["--socket="], "path"), (["--verison"], "--version")):
        done = keel.run(*args, program=keel.keeld)
        assert done.returncode == 2
        assert word in one_line(done.stderr)


def test_life(keel, keeld):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        child, path = keeld()
        assert os.stat(path).st_mode & 0o777 == 0o600
        with Rpc(path) as rpc:
            assert rpc.result("version") == {"version": (ROOT / "VERSION").read_text().strip()}
            assert {m["name"] for m in rpc.result("methods")} >= {"version", "list", "host"}
            assert rpc.result("list") == []
            assert "error" in rpc.call("list", x=1)
            child.send_signal(number)
            assert keel.finish(child) == (0, b"", b"")
        assert keel.leftovers() == []


def test_not_twice(keel, keeld, tmp_path):
    first, path = keeld()
    done = keel.run(program=keel.keeld)
    assert done.returncode == 1
    assert str(first.pid) in one_line(done.stderr)
    with Rpc(path) as rpc:
        assert rpc.result("list") == []
    # A killed one's files are replaced.
    first.kill()
    first.wait()
    assert keel.leftovers() != []
    second, _ = keeld()
    second.terminate()
    assert keel.finish(second)[0] == 0
    other, _ = keeld("--socket", str(tmp_path / "k"))
    other.terminate()
    assert keel.finish(other)[0] == 0
    assert os.listdir(tmp_path) == []


def test_bad_sockets(keel, tmp_path):
    (tmp_path / "file").write_text("mine")
    live = socket.socket(socket.AF_UNIX)
    live.bind(str(tmp_path / "live"))
    live.listen()
    for path in ("file", "live", "none/sock", "x" * 120):
        done = keel.run("--socket", path, program=keel.keeld)
        assert done.returncode == 1, path
        one_line(done.stderr)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "live"]
    live.close()


def test_host(keel, keeld):
    """Against what other tools say of this machine."""
    _, path = keeld()
    with Rpc(path) as rpc:
        host = rpc.result("host")
    lines = subprocess.run(["lscpu", "-p=CPU,NODE"], capture_output=True, text=True).stdout
    told = [line.split(",") for line in lines.splitlines() if not line.startswith("#")]
    assert [cpu["id"] for cpu in host["cpus"]] == [int(cpu) for cpu, _ in told]
    for cpu, (_, node) in zip(host["cpus"], told):
        assert cpu["node"] == int(node or 0)
    for node in host["nodes"]:
        path = pathlib.Path(f"/sys/devices/system/node/node{node['id']}/meminfo")
        if path.exists():
            total = re.search(r"MemTotal:\s+(\d+) kB", path.read_text())[1]
            assert node["memory_total"] == int(total) * 1024
        assert 0 < node["memory_free"] <= node["memory_total"]
    for i, node in enumerate(host["nodes"]):
        assert node["distances"][i] == 10


def test_list(keel, keeld, kvm):
    _, path = keeld()
    first = keel.vm("one", *BURN, "--cpus", "2", "--memory", "64M")
    deaf = keel.vm("two", *BURN)
    with Rpc(path) as rpc, Rpc(path) as other:
        vms = rpc.result("list")
        assert [vm["name"] for vm in vms] == ["one", "two"]
        assert vms[0]["pid"] == first.pid and vms[0]["cpus"] == 2
        assert vms[0]["memory"] == 64 << 20 and vms[0]["state"] == "running"
        deaf.send_signal(signal.SIGSTOP)
        rpc.send(b'{"jsonrpc":"2.0","id":"slow","method":"list"}\n')
        assert "version" in other.result("version")  # meanwhile
        slow = rpc.line()
        assert slow["id"] == "slow"
        assert [vm["state"] for vm in slow["result"]] == ["running", "silent"]
        assert slow["result"][1]["error"]
        deaf.send_signal(signal.SIGCONT)
        assert rpc.result("list")[1]["state"] == "running"
        keel.run("stop", "--force", "one")
        assert [vm["name"] for vm in rpc.result("list")] == ["two"]
    assert [line.split()[0] for line in keel.run("ps").stdout.splitlines()] == ["NAME", "two"]


def test_vms_live_without_it(keel, keeld, kvm):
    """keeld is killed and comes back: the VM was never disturbed and is found again."""
    vm = keel.vm("vm", *BURN)
    for _ in range(3):
        child, path = keeld()
        with Rpc(path) as rpc:
            assert [v["pid"] for v in rpc.result("list")] == [vm.pid]
        child.kill()
        child.wait()
    assert vm.poll() is None
    last, _ = keeld()
    last.terminate()
    assert keel.finish(last)[0] == 0


def test_hostile_clients(keel, keeld):
    _, path = keeld()
    for request in (b"{\n", b"[" * 100000 + b"\n", b"\xff\n", b'{"jsonrpc":"2.0","id":1}\n'):
        with Rpc(path) as rpc:
            rpc.send(request)
    crowd = []
    for _ in range(100):
        try:
            crowd.append(Rpc(path))
            crowd[-1].send(b'{"jsonrpc":"2.0","id":1,"method":"list"}\n' * 40)
        except OSError:
            break
    for rpc in crowd:
        rpc.close()

    def serves():
        try:
            with Rpc(path) as rpc:
                return rpc.result("list") == []
        except (OSError, EOFError):
            return False
    keel.wait_for(serves, "keeld serves again")

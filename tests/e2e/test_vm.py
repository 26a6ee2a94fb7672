# SPDX-License-Identifier: GPL-2.0-only
"""Running VMs through the verbs: ps, info, pause, resume, stop, inspect; names, sockets, API abuse."""
import json
import os
import signal
import socket
import time

import pytest

from helpers import one_line, refused

pytestmark = pytest.mark.usefixtures("kvm")

BURN = ("--kernel", "builtin:burn", "--cmdline", "duty=10 forever", "--console", "none")
BUTTON = ("--kernel", "builtin:button", "--console", "none")


def rows(keel):
    lines = keel.run("ps").stdout.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines[1:]}


def test_demo_is_the_default(keel):
    done = keel.run("run")
    assert done.returncode == 0, done
    assert "SUCCESS" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("guest, code", [("hello", 0), ("null", 0), ("poweroff", 0), ("triple", 3)])
def test_exit_codes(keel, guest, code):
    done = keel.run("run", "--kernel", f"builtin:{guest}", "--on-reboot", "exit")
    assert done.returncode == code, done
    if code:
        one_line(done.stderr)


def test_ps_and_info(keel):
    first = keel.vm("first", *BURN, "--cpus", "2", "--memory", "64M")
    keel.vm("second", *BURN, "--memory", "96M", "--paused")
    table = keel.run("ps").stdout.splitlines()
    assert table[0].split() == ["NAME", "STATE", "CPUS", "MEMORY", "UPTIME", "PID"]
    listed = rows(keel)
    assert listed["first"][:4] == ["running", "2", "64", "MiB"]
    assert listed["first"][-1] == str(first.pid)
    assert listed["second"][0] == "created"
    facts = json.loads(keel.run("ps", "--json").stdout)
    assert [vm["name"] for vm in facts] == ["first", "second"]
    assert facts[0]["memory"] == 64 << 20 and facts[0]["pid"] == first.pid
    info = json.loads(keel.run("info", "first", "--json").stdout)
    assert info["name"] == "first" and len(info["vcpus"]) == 2
    assert info["config"]["memory"][0]["size"] in (64 << 20, "64M")
    text = keel.run("info", "first").stdout
    for word in ("first", "running", "64 MiB", "VCPU", "DEVICE", "builtin:burn"):
        assert word in text
    refused_names(keel, "info", "first", "second")


def refused_names(keel, verb, *names):
    done = keel.run(verb)
    assert done.returncode == 2
    assert all(name in one_line(done.stderr) for name in names)


def test_the_one_vm_needs_no_name(keel):
    keel.vm("only", *BURN)
    assert keel.run("pause").stdout == "only paused\n"
    assert rows(keel)["only"][0] == "paused"
    assert keel.run("pause").returncode == 0  # paused already: nothing to do
    assert keel.run("resume").stdout == "only resumed\n"
    assert rows(keel)["only"][0] == "running"
    assert json.loads(keel.run("info", "--json").stdout)["name"] == "only"
    done = keel.run("info", "onyl")
    assert done.returncode == 1 and "only" in one_line(done.stderr)


def test_config_and_device_tree_of_a_running_vm(keel, tmp_path):
    keel.vm("vm", *BURN, "--cpus", "2")
    config = keel.run("inspect", "vm")
    assert config.returncode == 0
    assert json.loads(config.stdout)["cpus"]["count"] == 2
    dtb = keel.run("inspect", "vm", "--dtb", text=False).stdout
    (tmp_path / "vm.dtb").write_bytes(dtb)
    assert json.loads(keel.run("inspect", "vm.dtb").stdout) == json.loads(config.stdout)


def test_stop_presses_the_button(keel):
    child = keel.vm("vm", *BUTTON)
    done = keel.run("stop", "vm")
    assert (done.returncode, done.stdout, done.stderr) == (0, "vm stopped\n", "")
    assert child.wait(timeout=20) == 0
    assert keel.leftovers() == []


def test_stop_of_a_guest_that_ignores_it(keel):
    child = keel.vm("vm", *BURN)
    done = keel.run("stop", "--timeout", "300ms")
    assert done.returncode == 1
    assert "keel stop --force vm" in one_line(done.stderr)
    assert child.poll() is None
    keel.run("pause")
    done = keel.run("stop")
    assert done.returncode == 1
    assert "keel resume vm" in one_line(done.stderr)
    assert keel.run("stop", "--force").stdout == "vm stopped\n"
    child.wait(timeout=20)
    assert keel.leftovers() == []


def test_a_vm_that_hangs(keel):
    """ps and stop --force need nothing from it."""
    child = keel.vm("deaf", *BURN)
    keel.vm("fine", *BURN)
    child.send_signal(signal.SIGSTOP)
    listed = rows(keel)
    assert listed["deaf"][0] == "silent"
    assert listed["fine"][0] == "running"
    done = keel.run("stop", "--force", "deaf")
    assert done.returncode == 0, done
    assert child.wait(timeout=20) == -signal.SIGKILL
    assert not [name for name in keel.leftovers() if name.startswith("deaf")]


def test_name_taken(keel):
    keel.vm("vm", *BURN)
    done = keel.run("run", "--name", "vm", *BURN)
    assert done.returncode == 1
    assert "vm" in one_line(done.stderr)
    assert rows(keel)["vm"][0] == "running"


def test_files_of_a_killed_vm(keel):
    """They are not a VM to anyone, and its name can be used again."""
    child = keel.vm("vm", *BURN)
    child.kill()
    child.wait()
    assert keel.leftovers() != []
    assert rows(keel) == {}
    done = keel.run("info", "vm")
    assert done.returncode == 1
    one_line(done.stderr)
    keel.vm("vm", *BURN)
    assert rows(keel)["vm"][0] == "running"


def test_socket_paths(keel, tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "console"))
    stale.close()  # the file stays, nobody listens
    keel.vm("vm", *BURN[:4], "--console", f"socket={tmp_path}/console")
    live = keel.run("run", *BURN[:4], "--console", f"socket={tmp_path}/console")
    assert live.returncode == 1
    assert f"{tmp_path}/console" in one_line(live.stderr)
    (tmp_path / "file").write_text("mine")
    other = keel.run("run", *BURN[:4], "--console", f"socket={tmp_path}/file")
    assert other.returncode == 1
    assert f"{tmp_path}/file" in one_line(other.stderr)
    assert (tmp_path / "file").read_text() == "mine"
    keel.run("stop", "--force")
    assert not (tmp_path / "console").exists()


def test_methods_are_the_documented_ones(keel):
    keel.vm("vm", *BURN)
    with keel.rpc("vm") as rpc:
        told = {method["name"] for method in rpc.result("methods")}
    api = keel.run("help", "--api").stdout
    methods = api[api.index("## Methods"):api.index("## Events")]
    written = {line[4:] for line in methods.splitlines() if line.startswith("### ")}
    assert told | {"methods", "subscribe"} == written


def test_events(keel):
    keel.vm("vm", *BURN)
    with keel.rpc("vm") as rpc:
        rpc.result("subscribe")
        keel.run("pause")
        keel.run("resume")
        names = [rpc.line()["params"]["event"] for _ in range(2)]
        assert names == ["paused", "resumed"] or set(names) <= {"state", "paused", "resumed"}


MALFORMED = [
    b"\n", b"{}\n", b"[]\n", b"null\n", b"5\n", b'"x"\n', b"{\n", b"\xff\xfe\x00\n",
    b'{"jsonrpc":"1.0","id":1,"method":"info"}\n', b'{"jsonrpc":"2.0","id":1}\n',
    b'{"jsonrpc":"2.0","id":1,"method":5}\n', b'{"jsonrpc":"2.0","id":{},"method":"info"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"infos"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"info","params":[1]}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"info","params":{"x":1}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"stop","params":{"force":"perhaps"}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"stop","params":{"force":[[[]]]}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"info","id":2}\n',
    b'[{"jsonrpc":"2.0","id":1,"method":"info"}]\n',
    b"[" * 200000 + b"\n", b'{"a":' * 100 + b"1" + b"}" * 100 + b"\n",
]


def test_malformed_requests(keel):
    keel.vm("vm", *BURN)
    for request in MALFORMED:
        with keel.rpc("vm") as rpc:
            rpc.send(request)
            try:
                if request.strip():
                    assert "error" in rpc.line(), request[:80]
                assert rpc.call("info")["result"]["name"] == "vm"
            except (EOFError, ConnectionResetError, BrokenPipeError):
                pass  # cut off: fine for what can't be understood
        assert rows(keel)["vm"][0] == "running", request[:80]


def test_endless_and_silent_clients(keel):
    """One line without end, many clients, one who asks and never reads: the others are served."""
    keel.vm("vm", *BURN)
    flood = keel.rpc("vm")
    with pytest.raises(OSError):
        for _ in range(64):  # 64 MiB at most; the limit of a line is 1 MiB
            flood.send(b"x" * (1 << 20))
    flood.close()
    greedy = keel.rpc("vm")
    greedy.sock.settimeout(1)
    with pytest.raises(OSError):  # blocked or cut off, either is fine
        while True:
            greedy.send(b'{"jsonrpc":"2.0","id":1,"method":"info"}\n' * 100)
    crowd = []
    for _ in range(200):
        try:
            crowd.append(keel.rpc("vm"))
        except OSError:
            break
    for rpc in crowd:
        rpc.close()
    keel.wait_for(lambda: rows(keel).get("vm", ["silent"])[0] == "running", "the VM answers again")
    greedy.close()


def test_client_gone_before_the_answer(keel):
    keel.vm("vm", *BURN)
    for _ in range(50):
        with keel.rpc("vm") as rpc:
            rpc.send(b'{"jsonrpc":"2.0","id":1,"method":"pause"}\n'
                     b'{"jsonrpc":"2.0","id":2,"method":"resume"}\n')
    keel.wait_for(lambda: rows(keel)["vm"][0] in ("running", "paused"), "the VM answers")
    keel.run("resume")
    assert rows(keel)["vm"][0] == "running"


def memory_of(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0


def test_requests_leave_nothing(keel):
    """Descriptors and memory of the VM don't grow with what it was asked."""
    child = keel.vm("vm", *BURN, "--memory", "32M")

    def ask(n):
        for _ in range(n):
            with keel.rpc("vm") as rpc:
                rpc.result("info")
                rpc.call("nonsense")

    ask(50)
    fds, memory = len(os.listdir(f"/proc/{child.pid}/fd")), memory_of(child.pid)
    ask(500)
    time.sleep(0.2)
    assert len(os.listdir(f"/proc/{child.pid}/fd")) <= fds + 1
    if b"__asan_init" not in keel.path.read_bytes():  # which keeps what was freed for a while
        assert memory_of(child.pid) - memory < 1 << 20


def test_disk_locked_by_another(keel, tmp_path):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"\0" * (1 << 20))
    keel.vm("vm", *BURN, "--disk", disk)
    done = keel.run("run", "--name", "other", *BURN, "--disk", disk)
    assert done.returncode == 1
    assert "disk.raw" in one_line(done.stderr)
    assert list(rows(keel)) == ["vm"]
    keel.run("stop", "--force")
    keel.vm("one", *BURN, "--disk", f"{disk},readonly=on")
    keel.vm("two", *BURN, "--disk", f"{disk},readonly=on")  # readers may share


def test_paused_start(keel):
    keel.vm("vm", *BURN, "--paused")
    assert rows(keel)["vm"][0] == "created"
    done = keel.run("stop")
    assert done.returncode == 1
    assert "keel resume vm" in one_line(done.stderr)
    keel.run("resume")
    assert rows(keel)["vm"][0] == "running"


def test_bad_names_reach_nothing(keel):
    for name in ("../vm", "a/b", "", "."):
        done = keel.run("info", name)
        assert done.returncode in (1, 2)
        one_line(done.stderr)


def test_no_runtime_directory(keel):
    env = {**keel.env, "KEEL_RUNTIME_DIR": "/proc/keel"}
    refused(keel, ["run"], 1, "/proc/keel", env=env)

# SPDX-License-Identifier: GPL-2.0-only
"""The sandbox: what is in force in a running VM, as whom, and what is left behind.

That every feature works inside is shown by all the other tests: they run with it.
"""
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import pytest

from conftest import ROOT
from helpers import can_unshare, refused

NOBODY = 65534

pytestmark = pytest.mark.usefixtures("kvm")


def needs_root():
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    return path


def start(keel, disk, *args):
    return keel.vm("box", "--kernel", "builtin:burn", "--cpus", "2", "--disk", disk, *args)


def statuses(pid):
    """/proc/PID/task/*/status of every thread, as dicts, by thread name."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
                      if ":\t" in line)
        found[fields["Name"]] = fields
    return found


def check_threads(keel, pid, uid=None, seccomp="2"):
    # A thread is there a moment before its name and its filter are, and does nothing until then.
    def all_there():
        threads = {name: fields["Seccomp"] for name, fields in statuses(pid).items()
                   if not name.startswith("kvm-")}
        return {"vcpu0", "vcpu1", "console"} <= set(threads) and set(threads.values()) == {seccomp}
    keel.wait_for(all_there, "every thread has its filter")
    for name, fields in statuses(pid).items():
        if name.startswith("kvm-"):
            continue  # the kernel's own helper
        assert fields["Seccomp"] == seccomp, name
        assert fields["NoNewPrivs"] == "1", name
        for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(fields[caps], 16) == 0, (name, caps)
        if uid is not None:
            assert fields["Uid"].split() == [str(uid)] * 4, name
            assert fields["Gid"].split() == [str(uid)] * 4, name
            assert fields["Groups"].strip() == "", name


def walk(pid):
    """Everything below the VM's own root directory, by name."""
    top = f"/proc/{pid}/root"
    found = []
    for where, dirs, files in os.walk(top):
        found += [os.path.relpath(os.path.join(where, name), top) for name in dirs + files]
    return sorted(found)


def stop(keel, child, name="box"):
    assert keel.run("stop", "--force", name).returncode == 0
    assert child.wait(30) == 0
    assert keel.leftovers() == []


def test_every_thread_is_shut_in(keel, disk):
    child = start(keel, disk)
    check_threads(keel, child.pid)
    for fields in statuses(child.pid).values():
        if os.geteuid() == 0:
            assert int(fields["CapBnd"], 16) == 0
    limits = pathlib.Path(f"/proc/{child.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    stop(keel, child)


def test_nothing_but_the_sockets_is_in_sight(keel, disk):
    needs_root()
    child = start(keel, disk)
    info = keel.rpc("box").result("info")["sandbox"]
    if not info["own_root"]:
        pytest.skip(f"no root directory of its own here: {info['why_not']}")
    for kind in ("mnt", "net", "ipc", "uts"):
        assert os.readlink(f"/proc/{child.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    runtime = str(keel.runtime).lstrip("/")
    parts = ["/".join(runtime.split("/")[:i + 1]) for i in range(runtime.count("/") + 1)]
    files = [f"{runtime}/box{suffix}" for suffix in (".console", ".lock", ".sock")]
    assert walk(child.pid) == sorted(parts + files)
    lines = pathlib.Path(f"/proc/{child.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]
    stop(keel, child)


def test_the_console_socket_stays_and_goes(keel, disk, tmp_path):
    path = tmp_path / "con.sock"
    child = start(keel, disk, "--console", f"socket={path}")
    assert path.exists()
    stop(keel, child)
    assert not path.exists()
    child = start(keel, disk, "--console", "socket=con.sock")  # relative to the directory
    assert path.exists()
    stop(keel, child)
    assert not path.exists()


def test_another_user(keel, disk):
    needs_root()
    child = start(keel, disk, "--user", "nobody")
    check_threads(keel, child.pid, NOBODY)
    assert "user 65534:65534" in keel.run("info", "box").stdout
    # A reset makes the VM anew with what is open.
    assert keel.rpc("box").result("reset")["state"] == "running"
    check_threads(keel, child.pid, NOBODY)
    stop(keel, child)


def test_another_user_by_number_and_group(keel, disk):
    needs_root()
    child = start(keel, disk, "--user", "12345:12345")
    check_threads(keel, child.pid, 12345)
    stop(keel, child)


def test_killed_as_another_user(keel, disk):
    needs_root()
    child = start(keel, disk, "--user", "nobody")
    child.send_signal(signal.SIGKILL)
    child.wait()
    keel.wait_for(lambda: keel.leftovers() == [], "the sockets are gone")


def test_interrupted_as_another_user(keel, disk):
    needs_root()
    child = keel.vm("box", "--kernel", "builtin:burn", "--user", "nobody", "--disk", disk,
                    start_new_session=True)
    os.killpg(child.pid, signal.SIGINT)  # as Ctrl-C does: to the whole group
    assert child.wait(30) == 128 + signal.SIGINT
    assert keel.leftovers() == []


def test_a_disk_works_as_another_user(keel, disk):
    needs_root()
    os.chmod(disk, 0o600)
    done = keel.run("run", "--user", "nobody", "--kernel", "builtin:demo", "--disk", disk,
                    "--cmdline", "scratch")
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


def test_where_memory_is_can_be_asked_inside(keel, disk):
    child = start(keel, disk, "--memory", "size=64M,backing=memfd")
    done = keel.run("info", "box", "--numa")
    assert done.returncode == 0 and "memfd" in done.stdout, done.stderr
    check_threads(keel, child.pid)
    stop(keel, child)


def test_modes(keel, disk):
    for mode, number in (("kill", "2"), ("log", "2"), ("off", "0")):
        child = start(keel, disk, "--seccomp", mode)
        assert keel.rpc("box").result("info")["sandbox"]["seccomp"] == mode
        assert f"seccomp {mode}" in keel.run("info", "box").stdout
        check_threads(keel, child.pid, seccomp=number)
        stop(keel, child)


def test_without_namespaces(keel, disk):
    child = start(keel, disk, "--sandbox=off")
    info = keel.rpc("box").result("info")["sandbox"]
    assert (info["own_root"], info["landlock"], info["namespaces"]) == (False, 0, "none")
    assert os.readlink(f"/proc/{child.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    check_threads(keel, child.pid)
    stop(keel, child)


def test_a_reset_inside(keel, disk):
    """The vCPU threads of a reset are started by a thread that is shut in itself."""
    child = start(keel, disk)
    with keel.rpc("box") as rpc:
        for _ in range(5):
            assert rpc.result("reset")["state"] == "running"
    check_threads(keel, child.pid)
    stop(keel, child)


def test_bad_users(keel):
    refused(keel, ["run", "--user", "no-such-user"], 1, "--user", "no-such-user", "getent")
    refused(keel, ["run", "--user", "nobody:no-such-group"], 1, "--user", "no-such-group")
    refused(keel, ["run", "--user", ""], 1, "--user")
    refused(keel, ["run", "--seccomp", "maybe"], 2, "seccomp", "kill")


def unprivileged(keel, tmp_path, script):
    """Runs a shell script as nobody, in a mount namespace with a /dev/kvm of nobody's."""
    needs_root()
    if not can_unshare():
        pytest.skip("no mount namespaces here")
    place = tmp_path / "place"
    place.mkdir()
    copy = f"""
mount -t tmpfs none '{place}' && cd '{place}'
mknod kvm c 10 232 && chown nobody kvm && mount --bind kvm /dev/kvm
mkdir -m 700 run && chown nobody run && cp '{keel.path}' keel
truncate -s 16M disk && chown nobody disk
KEEL_RUNTIME_DIR='{place}/run' PATH="$PATH" exec setpriv --reuid nobody --regid nogroup \
    --clear-groups --inh-caps=-all --bounding-set=-all sh -c '{script}'
"""
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:
        if not os.stat(parent).st_mode & 1:
            pytest.skip(f"nobody can't enter {parent}")
    return subprocess.run(["unshare", "-m", "sh", "-ec", copy], capture_output=True, text=True,
                          timeout=100)


def test_as_nobody_from_the_start(keel):
    with tempfile.TemporaryDirectory(prefix="keel-nobody-") as path:
        done = unprivileged(keel, pathlib.Path(path), """
./keel run --kernel builtin:demo --cmdline scratch --disk path=disk >out || exit 3
./keel run --name v --kernel builtin:burn &
until ./keel info v >info 2>/dev/null; do sleep 0.05; done
cat info
for status in /proc/$!/task/*/status; do grep -E "^(Seccomp|NoNewPrivs|CapEff):" $status; done
./keel stop --force v >/dev/null && wait
ls run
tail -n 1 out
""")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.rstrip().endswith("SUCCESS"), done.stdout
    assert f"user {NOBODY}:{NOBODY}, seccomp kill" in done.stdout
    facts = set(re.findall(r"^(?:Seccomp|NoNewPrivs|CapEff):\t\w+$", done.stdout, re.M))
    assert facts == {"Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"}
    assert "v.sock" not in done.stdout


def test_another_user_needs_root(keel):
    with tempfile.TemporaryDirectory(prefix="keel-nobody-") as path:
        done = unprivileged(keel, pathlib.Path(path), "./keel run --user root; echo $?; ls run")
    assert done.stdout == "1\n"
    assert "only root may become somebody else" in done.stderr and done.stderr.count("\n") == 1


def test_no_test_turns_it_off():
    """The other end-to-end tests prove something about the sandbox only as long as they use it."""
    for path in (ROOT / "tests/e2e").glob("*.py"):
        if path.name == "test_sandbox.py":
            continue
        text = path.read_text()
        assert not re.search(r"--seccomp|--sandbox", text), path.name

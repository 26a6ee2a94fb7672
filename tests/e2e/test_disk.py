# SPDX-License-Identifier: GPL-2.0-only
"""Disks: what the guest's requests do to the host's file, and what the host's faults do to the guest."""
import contextlib
import os
import re
import shutil
import subprocess

import pytest

from helpers import can_unshare, in_namespace, one_line, refused

pytestmark = pytest.mark.usefixtures("kvm")
needs_unshare = pytest.mark.skipif(not can_unshare(), reason="mount namespaces are not permitted")

MIB = 1 << 20


def image(path, size=16 * MIB):
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def allocated(path):
    return os.stat(path).st_blocks * 512


def command(disk, cmdline, *args, cpus=1):
    return ["run", "--kernel", "builtin:blk", "--cpus", cpus, "--disk", disk, "--cmdline", cmdline,
            *args]


def succeeds(keel, *args, **kwargs):
    done = keel.run(*command(*args, **kwargs))
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "SUCCESS"
    return done


def lines_until(vm, pattern):
    """Reads the console up to the line that matches."""
    while True:
        line = vm.stdout.readline()
        assert line, f"ended without {pattern!r}"
        print(line, end="")
        match = re.search(pattern, line)
        if match:
            return match


def test_discard_reaches_the_file(keel, tmp_path):
    path = image(tmp_path / "disk")
    done = succeeds(keel, path, "op=discard count=1024")
    assert "1024 blocks written, 128 discarded, 384 zeroed" in done.stdout
    # Discarded and unmapped blocks are holes, those only zeroed are not.
    gone = (128 + 256) * 4096
    assert allocated(path) <= 1024 * 4096 - gone + 65536
    assert allocated(path) >= 1024 * 4096 - gone - 65536


def test_discard_off(keel, tmp_path):
    path = image(tmp_path / "disk")
    done = keel.run(*command(f"{path},discard=off", "op=discard count=1024"))
    assert done.returncode == 1
    assert "the disk has no discard and write zeroes" in done.stdout


def test_serial(keel, tmp_path):
    path = image(tmp_path / "disk")
    assert 'id "disk0"' in succeeds(keel, path, "op=id").stdout
    assert 'id "WD-0815"' in succeeds(keel, f"{path},serial=WD-0815", "op=id").stdout
    refused(keel, command(f"{path},serial=abcdefghijklmnopqrstu", "op=id"), 2, "serial", "20")
    refused(keel, command(f"{path},serial=a b", "op=id"), 2, "serial")


@pytest.mark.parametrize("keys, words", [
    ("queues=0", ["queues=0", "1 to 16"]),
    ("queues=17", ["queues=17"]),
    ("cache=none", ["cache=none", "writeback|direct"]),
    ("burst-ops=5", ["burst-ops needs limit-ops"]),
    ("burst-bytes=5M", ["burst-bytes needs limit-bytes"]),
    ("limit-ops=0", ["limit-ops=0"]),
    ("poll=1s", ["poll=1s"]),
])
def test_wrong_keys(keel, tmp_path, keys, words):
    refused(keel, command(f"{image(tmp_path / 'disk')},{keys}", "op=id"), 2, *words)


@pytest.mark.parametrize("keys", ["queues=2", "queues=2,cache=direct", "queues=4,poll=0s"])
def test_queues(keel, tmp_path, keys):
    """Each queue is used, and by its own thread."""
    path = image(tmp_path / "disk")
    done = keel.run(*command(path, "op=read count=1", "--name", "probe"))
    assert done.returncode == 0
    vm = keel.vm("queues", *command(f"{path},{keys}", "op=bench rw=mix queues=2 depth=4 time=60s",
                                    cpus=2)[1:], text=True)

    def counted():
        with keel.rpc("queues") as rpc:
            disk = rpc.result("info")["devices"]["disk0"]
        return len(disk["queues"]) >= 2 and all(
            q["reads"] and q["writes"] for q in disk["queues"][:2])

    try:
        keel.wait_for(counted, "requests on both queues")
    except OSError as error:
        pytest.fail(f"{error}: {keel.finish(vm)}")
    threads = {open(f"/proc/{vm.pid}/task/{tid}/comm").read().strip()
               for tid in os.listdir(f"/proc/{vm.pid}/task")}
    assert {"io-disk0.0", "io-disk0.1"} <= threads
    assert keel.run("stop", "--force", "queues").returncode == 0


def test_default_queues_follow_the_vcpus(keel, tmp_path):
    path = image(tmp_path / "disk")
    for cpus, queues in ((1, 1), (2, 2), (8, 4)):
        done = succeeds(keel, path, "op=id", cpus=cpus)
        assert f"{queues} queues, blocks" in done.stdout


@pytest.mark.parametrize("mode", ["depth=1", "depth=16 bs=64K", "depth=8 bs=512", "depth=32 mode=poll"])
def test_direct(keel, tmp_path, mode):
    path = image(tmp_path / "disk")
    done = keel.run(*command(f"{path},cache=direct", f"op=verify count=200 {mode}"))
    if done.returncode == 1 and "no direct I/O" in done.stderr:
        pytest.skip("the file system of the temporary directory has no direct I/O")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "SUCCESS"


@needs_unshare
def test_direct_refused(keel, tmp_path):
    """ramfs has no direct I/O."""
    if subprocess.run(["unshare", "-m", "mount", "-t", "ramfs", "none", str(tmp_path)],
                      capture_output=True).returncode:
        pytest.skip("ramfs cannot be mounted")
    setup = f"mount -t ramfs none {tmp_path}; truncate -s 1M {tmp_path}/disk"
    disk = f"{tmp_path}/disk,cache=direct"
    argv = in_namespace(keel, setup, *command(disk, "op=id"))
    done = keel.run(*argv[1:], program=argv[0], cwd="/")
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert "direct I/O" in line and "cache=writeback" in line


def test_limits(keel, tmp_path):
    """Requests wait, and neither a pause nor the end waits for the limit."""
    path = image(tmp_path / "disk")
    keel.vm("limits", *command(f"{path},limit-ops=20,burst-ops=1", "op=bench depth=8 time=60s")[1:])

    def limited():
        with keel.rpc("limits") as rpc:
            return rpc.result("info")["devices"]["disk0"]["limited"] > 3

    keel.wait_for(limited, "requests that wait")
    for verb in ("pause", "resume", "pause", "resume"):
        assert keel.run(verb, "limits").returncode == 0
    with keel.rpc("limits") as rpc:
        info = rpc.result("info")
    disk = info["devices"]["disk0"]
    print(f"{disk['reads']} requests in {info['uptime_ns'] / 1e9:.2f} s at 20 a second, "
          f"{disk['limited']} waits")
    assert disk["reads"] <= 20 * info["uptime_ns"] / 1e9 + 2
    assert keel.run("stop", "--force", "limits").returncode == 0


class TestResize:
    def test_grow(self, keel, tmp_path):
        path = image(tmp_path / "disk")
        vm = keel.start(*command(path, "op=resize", "--name", "web"), text=True)
        lines_until(vm, f"waiting at {16 * MIB} bytes")
        done = keel.run("resize", "web", "disk0", "32M")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "disk0 of web has 32 MiB\n"
        lines_until(vm, f"now {32 * MIB} bytes")
        lines_until(vm, "one more: IOERR")
        assert keel.finish(vm)[0] == 0
        assert os.stat(path).st_size == 32 * MIB

    def test_shrink_when_asked(self, keel, tmp_path):
        path = image(tmp_path / "disk")
        vm = keel.start(*command(path, "op=resize", "--name", "web"), text=True)
        lines_until(vm, "waiting at")
        done = keel.run("resize", "web", "disk0", "8M")
        assert done.returncode == 1
        assert "--shrink" in one_line(done.stderr)
        assert os.stat(path).st_size == 16 * MIB
        assert keel.run("resize", "--shrink", "web", "disk0", "8M").returncode == 0
        lines_until(vm, f"now {8 * MIB} bytes")
        assert keel.finish(vm)[0] == 0
        assert os.stat(path).st_size == 8 * MIB

    def test_somebody_else_did_it(self, keel, tmp_path):
        """Without a size the file's own counts. It was deleted meanwhile, which changes nothing."""
        path = image(tmp_path / "disk")
        vm = keel.start(*command(path, "op=resize", "--name", "web"), text=True)
        lines_until(vm, "waiting at")
        os.truncate(path, 24 * MIB + 100)
        os.unlink(path)
        assert keel.run("resize", "web", "disk0").returncode == 0
        lines_until(vm, f"now {24 * MIB} bytes")
        assert keel.finish(vm)[0] == 0

    def test_refusals(self, keel, tmp_path):
        path = image(tmp_path / "disk")
        vm = keel.vm("web", *command(f"{path},readonly=on", "op=resize")[1:], text=True)
        for args, words in [
            (["web"], ["which disk?"]),
            (["web", "disk1", "32M"], ["no disk disk1", "disk0"]),
            (["web", "disk0", "lots"], ["lots"]),
            (["web", "disk0", "32M"], ["read-only"]),
            (["wbe", "disk0", "32M"], ["wbe"]),
        ]:
            done = keel.run("resize", *args)
            assert done.returncode in (1, 2)
            line = one_line(done.stderr)
            for word in words:
                assert word in line
        assert vm.poll() is None
        assert keel.run("stop", "--force", "web").returncode == 0


class TestHostFails:
    @needs_unshare
    def test_full(self, keel, tmp_path):
        """The guest sees errors, keeps what it wrote, and the log stays short."""
        setup = f"mount -t tmpfs -o size=2M none {tmp_path}; truncate -s 8M {tmp_path}/disk"
        argv = in_namespace(keel, setup, *command(f"{tmp_path}/disk", "op=fill"))
        done = keel.run(*argv[1:], program=argv[0], cwd="/")
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        found = re.search(r"fill: 2048 blocks, (\d+) failed, .* 0 of the others bad", done.stdout)
        assert found and 1400 < int(found[1]) < 2048
        assert "No space left on device" in done.stderr
        assert done.stderr.count("\n") <= 25

    def test_file_size_limit(self, keel, tmp_path):
        """ulimit -f kills who writes beyond it, unless told not to."""
        path = image(tmp_path / "disk")
        argv = [str(a) for a in command(path, "op=fill count=1024")]
        done = keel.run("-c", 'ulimit -f 4096; exec "$0" "$@"', keel.path, *argv, program="sh")
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"fill: 1024 blocks, \d\d+ failed.* 0 of the others bad", done.stdout)
        assert "File too large" in done.stderr

    def test_cut_and_made_whole_again(self, keel, tmp_path):
        path = image(tmp_path / "disk")
        vm = keel.start(*command(path, "op=probe block=2000 for=2", "--name", "cut"), text=True)
        lines_until(vm, "block 2000: ok")
        os.truncate(path, 4096 * 1000)
        lines_until(vm, "block 2000: IOERR")
        with keel.rpc("cut") as rpc:
            disk = rpc.result("info")["devices"]["disk0"]
        assert disk["io_errors"] > 0 and disk["last_error"] == "Input/output error"
        os.truncate(path, 16 * MIB)
        lines_until(vm, "block 2000: ok")
        code, _, err = keel.finish(vm)
        assert code == 0
        assert err.count("\n") <= 25


@contextlib.contextmanager
def loop_device(path):
    if os.getuid() != 0 or not shutil.which("losetup"):
        pytest.skip("loop devices need root and losetup")
    done = subprocess.run(["losetup", "-f", "--show", str(path)], capture_output=True, text=True,
                          timeout=30)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True, timeout=30)


class TestBlockDevice:
    @pytest.mark.parametrize("keys", ["", ",cache=direct"])
    def test_verify(self, keel, tmp_path, keys):
        with loop_device(image(tmp_path / "disk")) as device:
            succeeds(keel, f"{device}{keys}", "op=verify count=500 depth=8")
            succeeds(keel, f"{device}{keys}", "op=discard count=512")

    def test_discard_goes_through(self, keel, tmp_path):
        path = image(tmp_path / "disk")
        with loop_device(path) as device:
            succeeds(keel, device, "op=discard count=1024")
            os.sync()
            gone = (128 + 256) * 4096
            assert allocated(path) <= 1024 * 4096 - gone + 65536

    def test_in_use(self, keel, tmp_path):
        with loop_device(image(tmp_path / "disk")) as device:
            fd = os.open(device, os.O_RDWR | os.O_EXCL)
            try:
                refused(keel, command(device, "op=id"), 1, device, "in use by the host")
            finally:
                os.close(fd)
            vm = keel.start(*command(device, "op=resize", "--name", "one"), text=True)
            lines_until(vm, "waiting at")
            done = keel.run(*command(device, "op=id", "--name", "two"))
            assert done.returncode == 1 and "in use" in one_line(done.stderr)
            assert keel.run("stop", "--force", "one").returncode == 0
            keel.finish(vm)

    def test_resize(self, keel, tmp_path):
        path = image(tmp_path / "disk")
        with loop_device(path) as device:
            vm = keel.start(*command(device, "op=resize", "--name", "web"), text=True)
            lines_until(vm, f"waiting at {16 * MIB}")
            done = keel.run("resize", "web", "disk0", "32M")
            assert done.returncode == 1 and "block device" in one_line(done.stderr)
            os.truncate(path, 20 * MIB)
            subprocess.run(["losetup", "-c", device], check=True, timeout=30)
            assert keel.run("resize", "web", "disk0").returncode == 0
            lines_until(vm, f"now {20 * MIB} bytes")
            assert keel.finish(vm)[0] == 0

    def test_device_error(self, keel, tmp_path):
        """What the loop device's file lost it can't read."""
        path = image(tmp_path / "disk")
        with loop_device(path) as device:
            vm = keel.start(*command(f"{device},cache=direct", "op=probe block=2000"), text=True)
            lines_until(vm, "block 2000: ok")
            os.truncate(path, 4096 * 1000)
            lines_until(vm, "block 2000: IOERR")
            assert keel.finish(vm)[0] == 0

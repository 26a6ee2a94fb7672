# SPDX-License-Identifier: GPL-2.0-only
"""Pause and resume: 10,000 cycles under load, and at every inconvenient moment.

The guests prove themselves that nothing was lost: `dirty` knows what every page must hold, `blk` what
every block, `smp` counts the rounds of a lock and of a ring of interrupts, `burn` the work of each
CPU. No number of milliseconds decides here: a guest that ends before its cycles are done is started
again until they are, and only an answer that never comes is a hang.
"""
import random
import re
import signal
import time

import pytest

from helpers import one_line

pytestmark = pytest.mark.usefixtures("kvm")

HANG = 60  # seconds without an answer
BURN = ("--kernel", "builtin:burn", "--cmdline", "duty=20 forever", "--console", "none")
# Seconds to stay paused or running, beside "not at all": a guest must get somewhere in between.
GAPS = (0, 0, 0, 0, 0, 0.0002, 0.0005, 0.001, 0.002, 0.004)


def ran_ns(pid, tids):
    """The time each thread has had a CPU."""
    times = []
    for tid in tids:
        with open(f"/proc/{pid}/task/{tid}/schedstat") as file:
            times.append(int(file.read().split()[0]))
    return times


def cycle(rpc, chance, limit):
    """Up to limit cycles of pause and resume on one connection; how many came before the end.

    Sometimes paused already or not yet paused: both must be harmless.
    """
    for done in range(limit):
        try:
            for method, state in (("pause", "paused"), ("resume", "running")):
                for _ in range(2 if chance.random() < 0.02 else 1):
                    reply = rpc.call(method)
                    if "error" in reply:
                        assert "ending" in reply["error"]["message"], reply
                        return done
                    assert reply["result"]["state"] == state
                time.sleep(chance.choice(GAPS))
        except (EOFError, ConnectionError):
            return done  # the guest ended; its exit code tells how
        except TimeoutError:
            pytest.fail(f"no answer to cycle {done} in {HANG} s")
    return limit


def one_guest(keel, chance, limit, console, args):
    """One run of a guest under pauses: the cycles done, its last line, and whether its CPUs ran."""
    child = keel.vm("vm", *args, "--console", f"file={console}")
    done, moved = 0, True
    try:
        with keel.rpc("vm") as rpc:
            rpc.sock.settimeout(HANG)
            vcpus = rpc.result("info")["vcpus"]
            tids = [vcpu["tid"] for vcpu in vcpus if vcpu["tid"]]
            before = ran_ns(child.pid, tids)
            done = cycle(rpc, chance, limit)
            if done == limit:
                moved = all(now > then for now, then in zip(ran_ns(child.pid, tids), before))
    except (EOFError, ConnectionError, FileNotFoundError):
        pass  # ended while it was looked at
    code, _, err = keel.finish(child)
    text = console.read_text(errors="replace")
    assert code == 0, (code, err, text[-2000:])
    assert err == b""
    assert text.rstrip().endswith("SUCCESS"), text[-2000:]
    assert moved, "a vCPU never ran between the cycles"
    return done, text


def under_load(keel, tmp_path, cycles, *args):
    """The console output of every run that it took."""
    chance = random.Random(cycles)
    texts, left = [], cycles
    while left:
        done, text = one_guest(keel, chance, left, tmp_path / "console", args)
        texts.append(text)
        left -= done
        assert len(texts) < 200, f"{left} cycles left: the guest ends before it can be paused"
    print(f"{cycles} cycles in {len(texts)} runs")
    return texts


def test_dirty_8_vcpus(keel, tmp_path):
    for text in under_load(keel, tmp_path, 1000, "--kernel", "builtin:dirty", "--cpus", "8",
                           "--memory", "64M", "--cmdline", "ws=16M time=6s progress=500ms mix=70"):
        writes = [int(n) for n in re.findall(r"progress writes (\d+)", text)]
        assert writes == sorted(writes) and writes[-1] > writes[0], text
        assert re.search(r"verified \d+ pages after \d+ writes", text)


def test_disk_4_vcpus(keel, tmp_path):
    disk = tmp_path / "disk.raw"
    with open(disk, "wb") as file:
        file.truncate(32 << 20)
    for text in under_load(keel, tmp_path, 3500, "--kernel", "builtin:blk", "--cpus", "4",
                           "--memory", "64M", "--disk", disk,
                           "--cmdline", "op=verify depth=8 count=8192"):
        assert re.search(r"verify +8192 of 4096 bytes", text), text


def test_burn_2_vcpus(keel, tmp_path):
    for text in under_load(keel, tmp_path, 3000, "--kernel", "builtin:burn", "--cpus", "2",
                           "--memory", "32M", "--cmdline", "duty=70 time=5s"):
        assert len(re.findall(r"cpu \d+ +work [1-9]", text)) == 2, text


def test_interrupts_3_vcpus(keel, tmp_path):
    for text in under_load(keel, tmp_path, 1000, "--kernel", "builtin:smp", "--cpus", "3",
                           "--memory", "32M", "--cmdline", "count=200000 rounds=5000"):
        assert "IPI ring" in text


def test_one_vcpu(keel, tmp_path):
    for text in under_load(keel, tmp_path, 1500, "--kernel", "builtin:dirty", "--memory", "32M",
                           "--cmdline", "ws=4M time=2s progress=250ms rate=20000"):
        assert re.search(r"verified \d+ pages", text)


def test_while_it_boots(keel, tmp_path):
    """From its first instruction on, through the start of its CPUs."""
    console = tmp_path / "console"
    child = keel.vm("vm", "--paused", "--kernel", "builtin:dirty", "--cpus", "4", "--memory", "64M",
                    "--cmdline", "ws=8M time=1s progress=200ms", "--console", f"file={console}")
    with keel.rpc("vm") as rpc:
        rpc.sock.settimeout(HANG)
        assert rpc.result("pause")["state"] in ("created", "paused")
        assert rpc.result("info")["exits"] == 0
        for _ in range(100):
            try:
                rpc.result("resume")
                rpc.result("pause")
            except (EOFError, ConnectionError, AssertionError):
                break
        else:
            rpc.result("resume")
    code, _, err = keel.finish(child)
    assert (code, err) == (0, b"")
    assert console.read_text().rstrip().endswith("SUCCESS")


def test_nothing_runs_while_paused(keel):
    child = keel.vm("vm", *BURN, "--cpus", "4")
    with keel.rpc("vm") as rpc:
        for _ in range(20):
            assert rpc.result("pause")["state"] == "paused"
            info = rpc.result("info")
            tids = [vcpu["tid"] for vcpu in info["vcpus"]]
            before = ran_ns(child.pid, tids)
            time.sleep(0.02)
            # A thread may still have been on its way to sleep when the answer left.
            assert sum(ran_ns(child.pid, tids)) - sum(before) < 5_000_000
            assert rpc.result("info")["exits"] == info["exits"]
            assert rpc.result("resume")["state"] == "running"


def test_twice_is_as_good_as_once(keel):
    keel.vm("vm", *BURN, "--cpus", "2")
    with keel.rpc("vm") as rpc:
        rpc.result("subscribe")
        assert rpc.result("resume")["state"] == "running"
        for _ in range(3):
            assert rpc.result("pause")["state"] == "paused"
        for _ in range(3):
            assert rpc.result("resume")["state"] == "running"
        rpc.result("info")
        names = [event["params"]["event"] for event in rpc.events]
        assert names == ["paused", "resumed"]


def test_reset_while_paused(keel):
    """The machine stays paused, and then starts from the beginning."""
    keel.vm("vm", *BURN, "--cpus", "4")
    with keel.rpc("vm") as rpc:
        for n in range(1, 6):
            assert rpc.result("pause")["state"] == "paused"
            assert rpc.result("reset")["state"] == "paused"
            info = rpc.result("info")
            assert (info["resets"], info["exits"]) == (n, 0)
            assert rpc.result("resume")["state"] == "running"
            keel.wait_for(lambda: rpc.result("info")["exits"] > 0, "the guest runs again")


def test_stop_while_paused(keel):
    child = keel.vm("vm", *BURN, "--cpus", "4")
    keel.run("pause")
    assert keel.run("stop", "--force").returncode == 0
    child.wait(timeout=HANG)
    assert keel.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_while_paused(keel, number):
    child = keel.vm("vm", *BURN, "--cpus", "2")
    with keel.rpc("vm") as rpc:
        rpc.result("pause")
    child.send_signal(number)
    assert child.wait(timeout=HANG) == 128 + number
    assert keel.leftovers() == []


def test_many_clients(keel):
    """Pauses and resumes from many connections at once: each is answered, the last word counts."""
    keel.vm("vm", *BURN, "--cpus", "4")
    clients = [keel.rpc("vm") for _ in range(8)]
    request = b'{"jsonrpc":"2.0","id":%d,"method":"%s"}\n'
    for rpc in clients:
        rpc.sock.settimeout(HANG)
    for n in range(50):
        for i, rpc in enumerate(clients):
            rpc.send(request % (n, b"pause" if (n + i) % 2 else b"resume"))
    for rpc in clients:
        for n in range(50):
            reply = rpc.line()
            assert reply["id"] == n and reply["result"]["state"] in ("paused", "running")
    assert clients[0].result("resume")["state"] == "running"
    for rpc in clients:
        rpc.close()
    assert '"running"' in keel.run("info", "--json").stdout


def test_no_vm_to_pause(keel):
    for verb in ("pause", "resume"):
        done = keel.run(verb, "nobody")
        assert done.returncode != 0
        one_line(done.stderr)

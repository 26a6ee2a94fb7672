# SPDX-License-Identifier: GPL-2.0-only
"""A signal at any moment of a VM's life: the process ends, says nothing wrong, leaves nothing."""
import signal
import time

import pytest

pytestmark = pytest.mark.usefixtures("kvm")

BURN = ("run", "--kernel", "builtin:burn", "--cmdline", "duty=5 forever", "--cpus", "2")


def end_with(keel, number, delay_s, *args):
    child = keel.start(*BURN, *args)
    time.sleep(delay_s)  # only chooses the moment; any is right
    child.send_signal(number)
    code, _, err = keel.finish(child)
    # Before the handler is in place the kernel ends it, afterwards keel does.
    assert code in (-number, 128 + number), (delay_s, code, err)
    assert err == b"" or err.startswith(b"keel: "), err
    assert keel.leftovers() == [], delay_s


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_every_moment_of_start_up(keel, number):
    for step in range(60):
        end_with(keel, number, step * 0.0005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_while_it_runs(keel, number):
    end_with(keel, number, 0.5)
    end_with(keel, number, 0.5, "--paused")


def test_several_at_once(keel):
    child = keel.vm("vm", *BURN[1:])
    for _ in range(5):
        child.send_signal(signal.SIGTERM)
        child.send_signal(signal.SIGINT)
    code, _, _ = keel.finish(child)
    assert code in (143, 130)


def test_during_requests(keel):
    """While clients ask and wait."""
    child = keel.vm("vm", *BURN[1:])
    connections = [keel.rpc("vm") for _ in range(10)]
    for rpc in connections:
        rpc.send(b'{"jsonrpc":"2.0","id":1,"method":"pause"}\n'
                 b'{"jsonrpc":"2.0","id":2,"method":"resume"}\n' * 10)
    child.send_signal(signal.SIGTERM)
    code, _, err = keel.finish(child)
    assert code == 143 and (err == b"" or err.startswith(b"keel: "))
    for rpc in connections:
        rpc.close()


def test_output_nobody_reads(keel):
    """Standard output is a full pipe: SIGTERM still ends it."""
    child = keel.start("run", "--kernel", "builtin:burn", "--cmdline", "forever")
    time.sleep(0.5)
    child.stdout.close()
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=60)
    child.stderr.close()
    assert keel.leftovers() == []


def test_ignored_signals_stay_harmless(keel):
    """SIGPIPE, SIGUSR1 from a stranger, SIGCONT after SIGSTOP: the VM goes on."""
    child = keel.vm("vm", *BURN[1:])
    for number in (signal.SIGPIPE, signal.SIGSTOP, signal.SIGCONT):
        child.send_signal(number)
        time.sleep(0.05)
    with keel.rpc("vm") as rpc:
        assert rpc.result("info")["state"] == "running"

# SPDX-License-Identifier: GPL-2.0-only
"""Terminals: keel run as the guest's console, keel console, and what happens when they go away."""
import os
import signal
import subprocess
import time

import pytest

from conftest import TIMEOUT, build_dir
from helpers import Terminal

pytestmark = pytest.mark.usefixtures("kvm")

CTRL_A = b"\x01"


@pytest.fixture
def terminal(keel):
    opened = []

    def open_terminal(*args, **kwargs):
        opened.append(Terminal(keel, *args, **kwargs))
        return opened[-1]

    yield open_terminal
    for one in opened:
        if one.child.poll() is None:
            one.child.terminate()
        one.wait()
        one.close()


def guest(name, cmdline=""):
    """By file, so that it counts as a kernel of the user's own."""
    return ["--kernel", build_dir() / "guests" / f"{name}.elf", "--cmdline", cmdline]


def test_run_is_the_console(keel, terminal):
    run = terminal("run", "--name", "vm", *guest("button"))
    run.expect(rb"Ctrl-A")  # the escape key is shown
    run.expect(rb"waiting for the power button\r?\n")
    assert run.is_raw()
    assert keel.run("stop", "vm").returncode == 0
    assert run.wait() == 0
    assert run.mode() == run.before


def test_escape_ends_the_vm(keel, terminal):
    run = terminal("run", *guest("burn", "duty=1 forever"))
    keel.wait_for(run.is_raw, "raw mode")
    run.expect(rb"Ctrl-A")
    run.send(CTRL_A + b"x")
    run.wait()
    assert run.mode() == run.before
    assert keel.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_restore_the_terminal(keel, terminal, number):
    run = terminal("run", *guest("burn", "duty=1 forever"))
    keel.wait_for(run.is_raw, "raw mode")
    run.child.send_signal(number)
    assert run.wait() == 128 + number
    assert run.mode() == run.before
    assert keel.leftovers() == []


def test_run_without_its_terminal(keel, terminal):
    run = terminal("run", *guest("burn", "duty=1 forever"))
    keel.wait_for(run.is_raw, "raw mode")
    run.hang_up()
    assert run.child.wait(timeout=TIMEOUT) == 129
    assert keel.leftovers() == []


def test_crash_restores_the_terminal(keel, terminal):
    run = terminal("run", *guest("triple"), "--on-reboot", "exit")
    assert run.wait() == 3
    assert run.mode() == run.before


def test_embedded_guests_leave_the_terminal_alone(keel, terminal):
    run = terminal("run", "--kernel", "builtin:hello")
    assert run.wait() == 0
    assert b"Hello" in run.output
    assert run.mode() == run.before


def test_console_attach_and_detach(keel, terminal):
    vm = keel.vm("vm", "--kernel", "builtin:button", "--console", "none")
    for _ in range(2):
        console = terminal("console")
        console.expect(rb"attached to vm; Ctrl-A x detaches")
        console.expect(rb"waiting for the power button")  # said before we came
        assert console.is_raw()
        console.send(b"typed" + CTRL_A + b"a" + CTRL_A + CTRL_A)
        time.sleep(0.05)  # so that the keys come as two reads, with nothing from the guest between
        console.send(CTRL_A + b"x")
        assert console.wait() == 0
        assert b"detached" in console.output
        assert console.mode() == console.before
    assert vm.poll() is None


def test_console_when_the_vm_ends(keel, terminal):
    keel.vm("vm", "--kernel", "builtin:button", "--console", "none")
    console = terminal("console", "vm")
    console.expect(rb"waiting")
    keel.run("stop", "vm")
    assert console.wait() == 0
    assert b"power button pressed" in console.output
    assert b"vm ended" in console.output
    assert console.mode() == console.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_console_signals(keel, terminal, number):
    keel.vm("vm", "--kernel", "builtin:button", "--console", "none")
    console = terminal("console", "vm")
    console.expect(rb"waiting")
    console.child.send_signal(number)
    assert console.wait() == 128 + number
    assert console.mode() == console.before


def test_console_without_its_terminal(keel, terminal):
    vm = keel.vm("vm", "--kernel", "builtin:button", "--console", "none")
    console = terminal("console", "vm")
    console.expect(rb"waiting")
    console.hang_up()
    console.child.wait(timeout=TIMEOUT)
    assert vm.poll() is None


def test_console_through_pipes(keel):
    """Input's end doesn't detach; the VM's end ends it."""
    keel.vm("vm", "--kernel", "builtin:button", "--console", "none")
    console = keel.start("console", "vm", stdin=subprocess.PIPE)
    console.stdin.write(b"some input \x01x\n")
    console.stdin.close()
    os.read(console.stdout.fileno(), 1)
    keel.run("stop", "vm")
    assert b"power button pressed" in console.stdout.read()
    assert console.wait(timeout=TIMEOUT) == 0
    assert console.stderr.read() == b""


def test_many_consoles(keel):
    keel.vm("vm", "--kernel", "builtin:button", "--console", "none")
    consoles = [keel.start("console", "vm") for _ in range(8)]
    for console in consoles:
        os.read(console.stdout.fileno(), 1)
    keel.run("stop", "vm")
    for console in consoles:
        code, out, _ = keel.finish(console)
        assert code == 0 and b"power button pressed" in out


def test_table_in_a_narrow_terminal(keel, terminal):
    keel.vm("vm", "--kernel", "builtin:burn", "--cmdline", "forever", "--console", "none")
    info = terminal("info", "vm", columns=40)
    assert info.wait() == 0
    text = info.output.decode().replace("\r\n", "\n")
    rows = text[text.index("\n\n"):].splitlines()
    assert max(map(len, rows)) <= 40

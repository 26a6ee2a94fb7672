# SPDX-License-Identifier: GPL-2.0-only
"""The console beside the terminal: files, sockets, pipes; nothing typed or printed gets lost.

The guest is a few lines of assembly that echo what is typed (guests/echo.S).
"""
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from conftest import TIMEOUT
from helpers import Terminal

pytestmark = pytest.mark.usefixtures("kvm")

FLOOD = b"".join(b"%04x\n" % n for n in range(0x8000))
SHORT = FLOOD[:5 * 0x400]


@pytest.fixture(scope="session")
def echo(tmp_path_factory):
    elf = tmp_path_factory.mktemp("guest") / "echo.elf"
    source = pathlib.Path(__file__).parent / "guests" / "echo.S"
    subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x200000",
                    "-Wl,--build-id=none", "-o", elf, source], check=True, timeout=TIMEOUT)
    return ["--kernel", elf, "--memory", "64M"]


@pytest.fixture
def terminal(keel):
    opened = []

    def open_terminal(*args, **kwargs):
        opened.append(Terminal(keel, *args, **kwargs))
        return opened[-1]

    yield open_terminal
    for one in opened:
        if one.child.poll() is None:
            one.child.kill()
            one.child.wait()
        one.close()


def read_exactly(fd, length):
    data = b""
    while len(data) < length:
        more = os.read(fd, length - len(data))
        assert more, f"ended after {data[-200:]!r}"
        data += more
    return data


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(TIMEOUT)
    client.connect(str(path))
    return client


def receive(client, length):
    data = b""
    while len(data) < length:
        more = client.recv(length - len(data))
        assert more, f"ended after {data[-200:]!r}"
        data += more
    return data


def test_typed_before_the_guest_listens(keel, echo):
    """A whole pipe of input is there at start; all of it is echoed, then the input's end is no end."""
    text = bytes(range(32, 127)).replace(b"F", b"").replace(b"f", b"").replace(b"Q", b"") * 20
    run = keel.start("run", *echo, stdin=subprocess.PIPE)
    run.stdin.write(text + b"Q")
    run.stdin.close()
    run.stdin = None
    code, out, err = keel.finish(run)
    assert (code, out, err) == (0, b">" + text, b"")


def test_input_from_a_file(keel, echo, tmp_path):
    (tmp_path / "keys").write_bytes(b"words in a row" * 50 + b"Q")
    with open(tmp_path / "keys", "rb") as keys:
        done = keel.run("run", *echo, stdin=keys)
    assert (done.returncode, done.stdout) == (0, ">" + "words in a row" * 50)


def test_output_is_lossless(keel, echo):
    """More than all buffers hold, to a reader that comes late: the guest waits for it."""
    run = keel.start("run", "--name", "vm", *echo, stdin=subprocess.PIPE)
    assert read_exactly(run.stdout.fileno(), 1) == b">"
    run.stdin.write(b"F")
    run.stdin.flush()
    with keel.rpc("vm") as rpc:
        def held_off():
            return rpc.result("info")["devices"]["serial0"]["held_off"]

        keel.wait_for(held_off, "the guest to be held off")
    run.stdin.write(b"Q")
    run.stdin.flush()
    code, out, _ = keel.finish(run)
    assert code == 0
    assert out == FLOOD


def test_output_to_a_file(keel, echo, tmp_path):
    log = tmp_path / "console.log"
    vm = keel.vm("vm", *echo, "--console", f"file={log}")
    with connect(keel.runtime / "vm.console") as client:
        client.sendall(b"fQ")
    assert vm.wait(timeout=TIMEOUT) == 0
    assert log.read_bytes() == b">" + SHORT
    assert keel.leftovers() == []


def test_output_on_a_full_device(keel, echo):
    """The machine goes on without its log, and says so once."""
    vm = keel.vm("vm", *echo, "--console", "file=/dev/full")
    with connect(keel.runtime / "vm.console") as client:
        client.sendall(b"fQ")
    code, _, err = keel.finish(vm)
    assert code == 0
    assert err.count(b"\n") == 1 and b"No space left" in err


def test_reader_that_leaves(keel, echo):
    """keel run | head -1"""
    run = keel.start("run", "--name", "vm", *echo, stdin=subprocess.PIPE)
    assert read_exactly(run.stdout.fileno(), 1) == b">"
    run.stdout.close()
    run.stdout = None
    run.stdin.write(b"fQ")
    run.stdin.close()
    run.stdin = None
    assert run.wait(timeout=TIMEOUT) == 0


def test_socket(keel, echo, tmp_path):
    path = tmp_path / "serial"
    vm = keel.vm("vm", *echo, "--console", f"socket={path}")
    with connect(path) as first, connect(keel.runtime / "vm.console") as second:
        first.sendall(b"one")
        assert receive(first, 4) == b">one"
        assert receive(second, 4) == b">one"
        second.sendall(b"two")
        assert receive(first, 3) == b"two"
        with connect(path) as late:  # sees what was said before it came
            assert receive(late, 7) == b">onetwo"
        first.sendall(b"Q")
        assert vm.wait(timeout=TIMEOUT) == 0
        assert first.recv(1) == b""
    assert not path.exists()


def test_keys_on_a_terminal(keel, echo, terminal):
    """Every key comes, Ctrl-C too; the escape key's help and its literal."""
    run = terminal("run", *echo)
    run.expect(rb">")
    run.send(b"a\x03\x1a\x1c\x04\r\x01\x01z")
    run.expect(re.escape(b"a\x03\x1a\x1c\x04\r\x01z"))
    run.send(b"\x01h")
    run.expect(rb"Ctrl-A x +end")
    run.send(b"Q")
    assert run.wait() == 0
    assert run.mode() == run.before


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGQUIT,
                                    signal.SIGSYS, signal.SIGUSR1, signal.SIGALRM])
def test_deadly_signals_restore_the_terminal(keel, echo, terminal, number):
    run = terminal("run", *echo)
    keel.wait_for(run.is_raw, "raw mode")
    run.expect(rb">")
    run.child.send_signal(number)
    assert run.wait() == -number
    assert run.mode() == run.before
    for name in keel.leftovers():  # as after any death of this kind; recovered by the next run
        (keel.runtime / name).unlink()


def test_escape_from_a_paused_guest(keel, echo, terminal):
    """A guest that reads nothing, after more keys than anything holds."""
    run = terminal("run", "--name", "vm", *echo)
    run.expect(rb">")
    assert keel.run("pause", "vm").returncode == 0
    for _ in range(40):
        run.send(b"k" * 100)
        run.read(0.01)
    run.send(b"\x01x")
    run.wait()
    assert run.mode() == run.before
    assert keel.leftovers() == []


def test_in_the_background(keel, echo, terminal):
    """keel run & in a shell with job control: not stopped, the terminal stays the shell's."""
    shell = terminal("--norc", "--noprofile", "-i", program="/bin/bash")
    shell.send(f"'{keel.path}' run --name vm --kernel '{echo[1]}' --memory 64M & \n".encode())
    keel.wait_for(keel.socket("vm").exists, "the machine")
    mode = shell.mode()
    shell.send(b"echo still-$((40+2))-here\n")
    shell.expect(rb"still-42-here")
    assert keel.run("stop", "vm", "--force").returncode == 0
    assert shell.mode()[3] == mode[3]
    shell.send(b"exit\n")
    shell.wait()

# SPDX-License-Identifier: GPL-2.0-only
"""What several end-to-end tests share."""
import contextlib
import os
import pathlib
import pty
import re
import select
import subprocess
import termios
import time

import pytest

from conftest import ROOT, TIMEOUT


def one_line(stderr):
    """stderr, which must be one line of keel's own."""
    text = stderr.decode() if isinstance(stderr, bytes) else stderr
    assert text.endswith("\n") and text.count("\n") == 1, f"not one line: {text!r}"
    assert text.startswith(("keel: ", "keeld: ")), text
    assert "AddressSanitizer" not in text
    return text


def refused(keel, args, code, *words, **kwargs):
    """keel ends with code, says one line that holds every word, and leaves nothing behind."""
    done = keel.run(*args, **kwargs)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    line = one_line(done.stderr)
    for word in words:
        assert word in line, f"{word!r} not in {line!r}"
    assert done.stdout == ""
    assert keel.leftovers() == []
    return line


@contextlib.contextmanager
def huge_pages(number):
    """More 2 MiB pages on node 0, as many as before afterwards."""
    path = pathlib.Path("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages")
    try:
        before = path.read_text()
        path.write_text(str(int(before) + number))
    except OSError as error:
        pytest.skip(f"{path}: {error.strerror}")
    try:
        if int(path.read_text()) < int(before) + number:
            pytest.skip("the host has no 2 MiB pages to reserve")
        yield
    finally:
        path.write_text(before)


def can_unshare():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


def in_namespace(keel, setup, *args):
    """argv that runs keel with args after the shell commands setup, in a mount namespace."""
    script = f'{setup}; exec "$0" "$@"'
    return ["unshare", "-m", "sh", "-ec", script, str(keel.path), *map(str, args)]


class Terminal:
    """A pseudo-terminal with a program on it."""

    def __init__(self, keel, *args, columns=None, **kwargs):
        self.master, self.slave = pty.openpty()
        if columns:
            termios.tcsetwinsize(self.slave, (24, columns))
        self.before = termios.tcgetattr(self.slave)
        self.output = b""
        self.child = keel.start(*args, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                start_new_session=True, preexec_fn=self.own_terminal, **kwargs)

    def own_terminal(self):
        # New session, so the first terminal opened becomes the controlling one.
        os.close(os.open(os.ttyname(self.slave), os.O_RDWR))

    def mode(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.mode()[3] & (termios.ICANON | termios.ECHO)

    def send(self, data):
        os.write(self.master, data)

    def read(self, timeout=0.05):
        if self.master >= 0 and select.select([self.master], [], [], timeout)[0]:
            try:
                self.output += os.read(self.master, 65536)
            except OSError:
                pass
        return self.output

    def expect(self, pattern):
        end = time.monotonic() + TIMEOUT
        while not re.search(pattern, self.read()):
            assert time.monotonic() < end, f"{pattern!r} never came: {self.output!r}"
            assert self.child.poll() is None or self.read(0.2) is None or \
                re.search(pattern, self.output), f"ended without {pattern!r}: {self.output!r}"

    def wait(self):
        end = time.monotonic() + TIMEOUT
        while self.child.poll() is None:
            self.read()  # or it would block on a full terminal
            assert time.monotonic() < end, "never ended"
        self.read()
        return self.child.returncode

    def hang_up(self):
        os.close(self.master)
        os.close(self.slave)
        self.master = self.slave = -1

    def close(self):
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)


HOST_DIED = 126  # tests/testhost/run: the emulator's fault, not the guest's


def on_testhost(tmp_path_factory, name, fill, memory, timeout):
    """Fills a folder, runs its `script` on the emulated test host and returns the folder. Starts
    afresh once when the emulated host itself locked up."""
    for _ in range(3):
        share = tmp_path_factory.mktemp(name)
        fill(share)
        done = subprocess.run(
            [str(ROOT / "tests/testhost/run"), "--timeout", str(timeout), "--memory", str(memory),
             "--share", str(share), "--", "/bin/sh", "/run/share/script"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            check=False, timeout=timeout + 100, errors="replace")
        if done.returncode != HOST_DIED:
            break
    if done.returncode == 125:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return share

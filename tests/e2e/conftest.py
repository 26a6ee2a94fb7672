# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the end-to-end tests.

Each test gets a runtime directory of its own and a `keel` that runs the binary under test there.
Whatever it started is reaped by pid, and nothing may be left in the runtime directory afterwards.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 120  # generous: only a hang may reach it


def build_dir():
    return pathlib.Path(os.environ.get("KEEL_BUILD", ROOT / "build")).resolve()


class Rpc:
    """A raw JSON-RPC connection, so that tests don't depend on Keel's own client."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(path))
        self.buffer = b""
        self.events = []
        self.next_id = 0

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the server closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def call(self, method, **params):
        """The whole reply: {"result"} or {"error"}."""
        self.next_id += 1
        request = {"jsonrpc": "2.0", "id": self.next_id, "method": method}
        if params:
            request["params"] = params
        self.send(json.dumps(request).encode() + b"\n")
        while True:
            reply = self.line()
            if reply.get("id") == self.next_id:
                return reply
            self.events.append(reply)

    def result(self, method, **params):
        reply = self.call(method, **params)
        assert "result" in reply, reply
        return reply["result"]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Keel:
    def __init__(self, runtime, work):
        self.path = build_dir() / "keel"
        self.keeld = build_dir() / "keeld"
        self.runtime = runtime
        self.work = work
        self.env = {**os.environ, "KEEL_RUNTIME_DIR": str(runtime)}
        self.children = []

    def run(self, *args, program=None, **kwargs):
        """Runs to the end; a CompletedProcess with text."""
        kwargs.setdefault("timeout", TIMEOUT)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("env", self.env)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        kwargs.setdefault("text", True)
        kwargs.setdefault("cwd", self.work)
        return subprocess.run([str(program or self.path), *map(str, args)], **kwargs)

    def start(self, *args, program=None, **kwargs):
        """Starts and returns the Popen; it is ended after the test."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("env", self.env)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        kwargs.setdefault("cwd", self.work)
        child = subprocess.Popen([str(program or self.path), *map(str, args)], **kwargs)
        self.children.append(child)
        return child

    def socket(self, name):
        return self.runtime / f"{name}.sock"

    def wait_for(self, condition, what):
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end, f"never came: {what}"
            time.sleep(0.01)

    def vm(self, name, *args, **kwargs):
        """Starts a VM and waits until its control socket answers."""
        child = self.start("run", "--name", name, *args, **kwargs)

        def answers():
            if child.poll() is not None:
                out, err = child.communicate()
                pytest.fail(f"keel run ended with {child.returncode}: {out!r} {err!r}")
            try:
                with Rpc(self.socket(name)) as rpc:
                    return "result" in rpc.call("info")
            except OSError:
                return False

        self.wait_for(answers, f"{name} answers")
        return child

    def rpc(self, name):
        return Rpc(self.socket(name))

    def finish(self, child):
        """Waits; (exit code, stdout, stderr)."""
        out, err = child.communicate(timeout=TIMEOUT)
        return child.returncode, out, err

    def end_children(self):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.terminate()
        for child in self.children:
            try:
                child.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
                pytest.fail(f"process {child.args} did not react to SIGTERM")
            except ValueError:  # its pipes were closed by the test
                child.wait()

    def leftovers(self):
        return sorted(p.name for p in self.runtime.iterdir()) if self.runtime.exists() else []


@pytest.fixture
def keel(tmp_path):
    # Unix socket paths are short, pytest's directories are not.
    runtime = pathlib.Path(tempfile.mkdtemp(prefix="keel-"))
    instance = Keel(runtime, tmp_path)
    if not instance.path.exists():
        shutil.rmtree(runtime)
        pytest.fail(f"{instance.path} is missing; run make first, or set KEEL_BUILD")
    try:
        yield instance
        instance.end_children()
        assert instance.leftovers() == []
    finally:
        for child in instance.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def kvm():
    """Skips where the machine has no usable /dev/kvm."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"/dev/kvm: {error.strerror}")

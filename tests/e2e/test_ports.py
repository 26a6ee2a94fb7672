# SPDX-License-Identifier: GPL-2.0-only
"""--port: a guest of ours drives the ports, these tests are the host's side."""
import os
import select
import socket
import stat
import termios
import threading
import zlib

import pytest

from conftest import TIMEOUT
from helpers import Terminal, one_line, refused

pytestmark = pytest.mark.usefixtures("kvm")


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect(str(path))
    return sock


def read(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(min(1 << 20, length - len(data)))
        assert more, f"ended after {len(data)} of {length} bytes"
        data += more
    return data


class Guest:
    """The ports guest in a VM; its ports' sockets are in the runtime directory."""

    def __init__(self, keel, ports, cmdline=""):
        self.keel = keel
        self.out = keel.work / "console"
        args = []
        for port in ports:
            args += ["--port", port]
        self.vm = keel.vm("p", "--kernel", "builtin:ports", "--cmdline", cmdline, "--console",
                          f"file={self.out}", *args)
        self.says("ports ready")

    def text(self):
        return self.out.read_text().replace("\r", "")

    def says(self, line, times=1):
        self.keel.wait_for(lambda: self.text().splitlines().count(line) >= times, line)

    def ports(self):
        with self.keel.rpc("p") as rpc:
            return {port["name"]: port for port in rpc.result("info")["devices"]["ports"]["ports"]}

    def end(self):
        assert self.keel.run("stop", "--force", "p").returncode == 0
        assert self.keel.finish(self.vm)[0] == 0
        assert "FAILURE" not in self.text()


def port(keel, name, more=""):
    return f"{name},socket={keel.runtime}/{name}.port{more}"


def test_names_and_echo(keel):
    names = [f"port{i}" for i in range(14)]
    guest = Guest(keel, [port(keel, name) for name in names] + [port(keel, "hvc", ",console=on")])
    guest.says("port 0 console")
    guest.says("port 0 name hvc")
    for i, name in enumerate(names):
        guest.says(f"port {i + 1} name {name}")
    for name in names:
        path = keel.runtime / f"{name}.port"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with connect(path) as sock:
            sock.sendall(name.encode())
            assert read(sock, len(name)) == name.encode()
    guest.end()
    assert keel.leftovers() == []


def echo(sock, data, result):
    """Sends and receives at once; a socket that is not read stops the guest, not us."""
    sender = threading.Thread(target=sock.sendall, args=(data,))
    sender.start()
    result.append(read(sock, len(data)))
    sender.join()


def test_big_data_on_several_ports(keel):
    guest = Guest(keel, [port(keel, "a"), port(keel, "b")])
    data = {name: os.urandom(8 << 20) for name in "ab"}
    results = {name: [] for name in "ab"}
    socks = {name: connect(keel.runtime / f"{name}.port") for name in "ab"}
    threads = [threading.Thread(target=echo, args=(socks[n], data[n], results[n])) for n in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    for name in "ab":
        assert results[name] == [data[name]]
        assert guest.ports()[name]["bytes_in"] == guest.ports()[name]["bytes_out"] == 8 << 20
        socks[name].close()
    guest.end()


def test_one_way_with_checksum(keel):
    count = 16 << 20
    guest = Guest(keel, [port(keel, "a")], f"mode=source count={count} ends=1")
    with connect(keel.runtime / "a.port") as sock:
        crc = zlib.crc32(read(sock, count))
    assert keel.finish(guest.vm)[0] == 0
    assert f"port 1 sent {count} crc {crc:08x}" in guest.text()

    guest = Guest(keel, [port(keel, "a")], "mode=sink ends=1")
    data = os.urandom(count)
    with connect(keel.runtime / "a.port") as sock:
        sock.sendall(data)
    assert keel.finish(guest.vm)[0] == 0
    assert f"port 1 received {count} crc {zlib.crc32(data):08x}" in guest.text()


def test_reconnect(keel):
    """The guest is told of each client that comes and goes; a second one at a time is refused."""
    guest = Guest(keel, [port(keel, "a")])
    for i in range(1, 11):
        with connect(keel.runtime / "a.port") as sock:
            sock.sendall(b"hello")
            assert read(sock, 5) == b"hello"
            with connect(keel.runtime / "a.port") as other:
                assert other.recv(1) == b""
            assert guest.ports()["a"]["refused"] == i
        guest.says("port 1 closed", i)
    guest.says("port 1 opened", 10)
    guest.end()


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_client_that_does_not_read(keel):
    """The guest is held off at a socket's worth of data; the VM answers and does not grow."""
    count = 64 << 20
    guest = Guest(keel, [port(keel, "a"), port(keel, "b")], f"mode=source count={count}")
    with connect(keel.runtime / "b.port") as sock:
        assert read(sock, 1 << 20)  # warms up whatever is used once
    with connect(keel.runtime / "a.port") as sock:
        keel.wait_for(lambda: guest.ports()["a"]["bytes_out"] > 0, "the first bytes")
        before = resident(guest.vm.pid)
        seen = -1
        while seen != guest.ports()["a"]["bytes_out"]:
            seen = guest.ports()["a"]["bytes_out"]
            with connect(keel.runtime / "b.port") as other:
                read(other, 4 << 20)  # the other port goes on meanwhile
        assert seen < 1 << 20
        assert resident(guest.vm.pid) - before < 2048
        crc = zlib.crc32(read(sock, count))
    guest.says(f"port 1 sent {count} crc {crc:08x}")
    guest.end()


def test_guest_that_does_not_read(keel):
    guest = Guest(keel, [port(keel, "a")], "mode=deaf")
    with connect(keel.runtime / "a.port") as sock:
        guest.says("port 1 opened")
        sock.setblocking(False)
        sent = 0
        while select.select([], [sock], [], 0.2)[1]:
            try:
                sent += sock.send(bytes(65536))
            except BlockingIOError:
                break
            assert sent < 8 << 20
        assert guest.ports()["a"]["bytes_in"] == 0
        with keel.rpc("p") as rpc:
            assert rpc.result("pause")["state"] == "paused"
            assert rpc.result("resume")["state"] == "running"
    # Nobody is left to read it, and so it does not keep the next client away.
    with connect(keel.runtime / "a.port"):
        guest.says("port 1 opened", 2)
    guest.end()


def test_half_closed_client_gets_the_rest(keel):
    guest = Guest(keel, [port(keel, "a")])
    with connect(keel.runtime / "a.port") as sock:
        data = os.urandom(100000)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read(sock, len(data)) == data
    guest.says("port 1 closed")
    guest.end()


def test_driver_resets_in_the_middle(keel):
    """Every 50 buffers the guest resets the device: the client stays and is opened to it again."""
    guest = Guest(keel, [port(keel, "a")], "resets=50")
    with connect(keel.runtime / "a.port") as sock:
        sender = threading.Thread(target=sock.sendall, args=(bytes(4 << 20),))
        sender.start()
        while sender.is_alive():
            if select.select([sock], [], [], 0.1)[0]:
                assert sock.recv(1 << 20)
        sender.join()
        guest.says("reset", 5)
        guest.says("port 1 opened", 6)
    guest.end()


def test_pause_and_machine_reset(keel):
    guest = Guest(keel, [port(keel, "a")])
    with connect(keel.runtime / "a.port") as sock, keel.rpc("p") as rpc:
        for _ in range(20):
            rpc.result("pause")
            sock.sendall(b"x" * 1000)
            rpc.result("resume")
            assert read(sock, 1000) == b"x" * 1000
        rpc.result("pause")
        with connect(keel.runtime / "a.port") as other:
            assert other.recv(1) == b""
        rpc.result("resume")
        rpc.result("reset")
        guest.says("ports ready", 2)
        guest.says("port 1 opened", 2)
        sock.sendall(b"again")
        assert read(sock, 5) == b"again"
    guest.end()


def test_console_port(keel, tmp_path):
    """hvc0: several people, and its terminal has a size."""
    guest = Guest(keel, [port(keel, "hvc", ",console=on")])
    with connect(keel.runtime / "hvc.port") as one, connect(keel.runtime / "hvc.port") as two:
        one.sendall(b"typed")
        assert read(one, 5) == read(two, 5) == b"typed"
    with connect(keel.runtime / "hvc.port") as late:
        assert read(late, 5) == b"typed"
    with keel.rpc("p") as rpc:
        rpc.result("console-size", columns=132, rows=43)
        guest.says("port 0 size 132x43 config 132x43")
        assert "error" in rpc.call("console-size", columns=0, rows=43)
    guest.end()
    guest = Guest(keel, [f"log,file={tmp_path}/log"], "mode=source count=1000000")
    guest.says("port 0 size 132x43 config 132x43", 0)
    keel.wait_for(lambda: (tmp_path / "log").stat().st_size == 1000000, "the file")
    crc = zlib.crc32((tmp_path / "log").read_bytes())
    guest.says(f"port 1 sent 1000000 crc {crc:08x}")
    with keel.rpc("p") as rpc:
        assert "console=on" in rpc.call("console-size", columns=80, rows=25)["error"]["message"]
    guest.end()


def test_attach_by_name(keel):
    """keel console --port finds the socket, and hands the terminal's size on."""
    guest = Guest(keel, [port(keel, "hvc", ",console=on"), port(keel, "agent"), "log,file=log"])
    done = keel.run("console", "p", "--port", "none")
    assert done.returncode == 1 and "hvc, agent, log" in one_line(done.stderr)
    done = keel.run("console", "p", "--port", "log")
    assert done.returncode == 1 and "file" in one_line(done.stderr)
    for name in ("hvc", "agent"):
        terminal = Terminal(keel, "console", "--port", name, columns=91)
        terminal.expect(b"attached")
        terminal.send(b"typed")
        terminal.expect(b"typed")
        if name == "hvc":
            guest.says("port 0 size 91x24 config 91x24")
            termios.tcsetwinsize(terminal.slave, (30, 100))
            guest.says("port 0 size 100x30 config 100x30")
        terminal.send(b"\x01x")
        assert terminal.wait() == 0
        terminal.close()
    guest.end()


def test_without_multiport(keel):
    guest = Guest(keel, [port(keel, "hvc", ",console=on")], "multiport=off")
    with connect(keel.runtime / "hvc.port") as sock:
        sock.sendall(b"typed")
        assert read(sock, 5) == b"typed"
    guest.end()


def test_stale_and_live_sockets(keel, tmp_path):
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        done = keel.run("run", "--port", f"a,socket={path}")
        assert done.returncode == 1
        assert str(path) in one_line(done.stderr) and "another process" in done.stderr
    assert path.exists()  # now stale
    guest = Guest(keel, [f"a,socket={path}"])
    with connect(path) as sock:
        sock.sendall(b"x")
        assert read(sock, 1) == b"x"
    guest.end()
    assert not path.exists()


def test_refused(keel, tmp_path):
    (tmp_path / "plain").write_text("")
    for args, code, *words in [
        (["--port", "a"], 2, "port a", "socket=PATH"),
        (["--port", "a,socket=s,file=f"], 2, "port a", "either"),
        (["--port", "socket=s"], 2, "name"),
        (["--port", "a/b,socket=s"], 2, "a/b"),
        (["--port", "a,socket=s", "--port", "a,socket=t"], 2, "two ports"),
        (["--port", "a,socket=s,console=on", "--port", "b,file=t,console=on"], 2, "console"),
        (["--port", "a,scoket=s"], 2, "socket"),
        (["--port", f"a,socket={'x' * 120}"], 1, "xxx", "longer"),
        (["--port", "a,socket=none/s"], 1, "none/s"),
        (["--port", "a,socket=plain"], 1, "plain", "not a socket"),
        (["--port", "a,file=none/f"], 1, "none/f"),
        (sum((["--port", f"p{i},socket=s{i}"] for i in range(16)), []), 2, "15"),
    ]:
        refused(keel, ["run", *args], code, *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain"]

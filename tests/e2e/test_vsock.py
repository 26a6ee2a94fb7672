# SPDX-License-Identifier: GPL-2.0-only
"""--vsock: a guest of ours has the sockets inside, these tests the Unix sockets outside."""
import os
import re
import select
import socket
import threading
import zlib

import pytest

from conftest import TIMEOUT
from helpers import refused

pytestmark = pytest.mark.usefixtures("kvm")


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))  # waits while the backlog is full
    sock.settimeout(TIMEOUT)
    return sock


def read(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(min(1 << 20, length - len(data)))
        assert more, f"ended after {len(data)} of {length} bytes"
        data += more
    return data


def read_all(sock):
    data = b""
    while more := sock.recv(1 << 20):
        data += more
    return data


class Guest:
    def __init__(self, keel, cmdline=""):
        self.keel = keel
        self.path = keel.runtime / "v.vsock"
        self.out = keel.work / "console"
        self.vm = keel.vm("v", "--kernel", "builtin:vsock", "--cmdline", cmdline, "--console",
                          f"file={self.out}", "--vsock", f"cid=33,path={self.path}")
        self.says("vsock ready, cid 33")

    def text(self):
        return self.out.read_text().replace("\r", "")

    def says(self, pattern, times=1):
        self.keel.wait_for(lambda: len(re.findall(pattern, self.text())) >= times, pattern)

    def dial(self, port=1024):
        """A connection to the guest's port."""
        sock = connect(self.path)
        sock.sendall(f"CONNECT {port}\n".encode())
        line = b""
        while not line.endswith(b"\n"):
            line += sock.recv(1) or pytest.fail(f"refused: {self.text()}")
        assert re.fullmatch(rb"OK \d+\n", line)
        return sock

    def info(self):
        with self.keel.rpc("v") as rpc:
            return rpc.result("info")["devices"]["vsock"]

    def end(self):
        assert self.keel.run("stop", "--force", "v").returncode == 0
        assert self.keel.finish(self.vm)[0] == 0
        assert "FAILURE" not in self.text()

    def finishes(self):
        code, _, err = self.keel.finish(self.vm)
        assert code == 0, self.text() + err.decode()
        assert "SUCCESS" in self.text()


class Server(threading.Thread):
    """Listens where the guest's calls to a port of the host go."""

    def __init__(self, guest_path, port, serve):
        super().__init__(daemon=True)
        self.path = f"{guest_path}_{port}"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(256)
        self.serve = serve
        self.ended = False
        self.results = []
        self.start()

    def run(self):
        threads = []
        while True:
            sock, _ = self.listener.accept()
            if self.ended:
                sock.close()
                break
            sock.settimeout(TIMEOUT)
            thread = threading.Thread(target=self.one, args=(sock,), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join(TIMEOUT)

    def one(self, sock):
        with sock:
            self.results.append(self.serve(sock))

    def close(self):
        self.ended = True
        connect(self.path).close()
        self.join(TIMEOUT)
        self.listener.close()
        os.unlink(self.path)


def echo_after_end(sock):
    """Reads to the end of the caller's half, then sends it all back."""
    data = read_all(sock)
    sock.sendall(data)
    return len(data), zlib.crc32(data)


def test_host_calls_guest(keel):
    guest = Guest(keel)
    with guest.dial() as sock:
        sock.sendall(b"hello")
        assert read(sock, 5) == b"hello"
        info = guest.info()
        assert info["connections"] == 1 and info["bytes_to_guest"] == info["bytes_to_host"] == 5
    guest.says(r"1024:\d+ closed sent 5 .* received 5 ")
    keel.wait_for(lambda: guest.info()["connections"] == 0, "no connection is left")
    guest.end()


def test_data_follows_the_greeting_at_once(keel):
    guest = Guest(keel)
    with connect(guest.path) as sock:
        sock.sendall(b"CONNECT 1024\nand more")
        line = b""
        while not line.endswith(b"\n"):
            line += sock.recv(1)
        assert read(sock, 8) == b"and more"
    guest.end()


@pytest.mark.parametrize("text", [b"\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT -1\n", b"GET /\n",
                                  b"CONNECT 4294967295\n", b"CONNECT 99999999999999999999\n",
                                  b"CONNECT 1024 \n", b"x" * 40, b"CONNECT 1025\n"])
def test_refused_calls(keel, text):
    """What is no call, or a port on which nobody listens: closed, nothing more."""
    guest = Guest(keel)
    with connect(guest.path) as sock:
        sock.sendall(text)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    with guest.dial() as sock:
        sock.sendall(b"still here")
        assert read(sock, 10) == b"still here"
    guest.end()


def test_guest_calls_host(keel):
    count = 4 << 20
    server = Server(keel.runtime / "v.vsock", 7000, echo_after_end)
    guest = Guest(keel, f"mode=connect port=7000 count={count}")
    guest.finishes()
    server.close()
    crc = server.results[0][1]
    assert server.results == [(count, crc)]
    assert f"5000:7000 closed sent {count} crc {crc:08x} received {count} crc {crc:08x}" \
        in guest.text()


def test_nobody_listens(keel):
    guest = Guest(keel, "mode=connect port=7000 conns=3")
    guest.finishes()
    assert guest.text().count("refused") == 3


def test_hundred_connections(keel):
    count = 100000
    server = Server(keel.runtime / "v.vsock", 7000, echo_after_end)
    guest = Guest(keel, f"mode=connect port=7000 count={count} conns=100")
    guest.finishes()
    server.close()
    assert len(server.results) == 100
    for length, crc in server.results:
        assert length == count
        assert f"crc {crc:08x} received {count} crc {crc:08x}" in guest.text()

    guest = Guest(keel)
    socks = [guest.dial() for _ in range(100)]
    assert guest.info()["connections"] == 100
    for i, sock in enumerate(socks):
        sock.sendall(b"%d" % i * 1000)
    for i, sock in enumerate(socks):
        assert read(sock, len(b"%d" % i) * 1000) == b"%d" % i * 1000
        sock.close()
    keel.wait_for(lambda: guest.info()["connections"] == 0, "no connection is left")
    guest.end()


def test_too_many_connections(keel):
    """The 257th is refused; the others are none the worse."""
    guest = Guest(keel)
    idle = [connect(guest.path) for _ in range(256)]
    keel.wait_for(lambda: guest.info()["connections"] == 256, "all are there")
    with connect(guest.path) as sock:
        assert sock.recv(1) == b""
    assert guest.info()["refused"] == 1
    idle[0].close()
    keel.wait_for(lambda: guest.info()["connections"] == 255, "one has left")
    with guest.dial() as sock:
        sock.sendall(b"x")
        assert read(sock, 1) == b"x"
    for sock in idle:
        sock.close()
    guest.end()


def test_big_data(keel):
    guest = Guest(keel)
    data = os.urandom(16 << 20)
    with guest.dial() as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert read(sock, len(data)) == data
        sender.join()
        # Half close: the guest sends what is left, then it ends, too.
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    guest.end()

    guest = Guest(keel, "mode=sink ends=1")
    with guest.dial() as sock:
        sock.sendall(data)
    guest.finishes()
    assert f"received {len(data)} crc {zlib.crc32(data):08x}" in guest.text()

    guest = Guest(keel, f"mode=source count={len(data)} ends=1")
    with guest.dial() as sock:
        crc = zlib.crc32(read_all(sock))
    guest.finishes()
    assert f"sent {len(data)} crc {crc:08x}" in guest.text()


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def settled(guest, key):
    """The counter's value once it stands still while another connection goes on."""
    seen = -1
    while seen != guest.info()[key]:
        seen = guest.info()[key]
        assert seen < 2 << 20
        for _ in range(20):
            guest.info()
    return seen


def test_host_that_does_not_read(keel):
    """The guest runs out of credit: it waits, the VM answers, its memory does not grow."""
    count = 32 << 20
    guest = Guest(keel, f"mode=source count={count}")
    with guest.dial() as sock:
        keel.wait_for(lambda: guest.info()["bytes_to_host"] > 65536, "some data")
        before = resident(guest.vm.pid)
        settled(guest, "bytes_to_host")
        assert resident(guest.vm.pid) - before < 2048
        with guest.dial() as other:
            read(other, 1 << 20)
        crc = zlib.crc32(read_all(sock))
    guest.says(f"sent {count} crc {crc:08x}")
    guest.end()


def test_guest_that_does_not_read(keel):
    """Never more than the guest's credit; what is left stays in the socket."""
    guest = Guest(keel, "mode=deaf")
    with guest.dial() as sock:
        sock.setblocking(False)
        while select.select([], [sock], [], 0.3)[1]:
            try:
                sock.send(bytes(65536))
            except BlockingIOError:
                break
        keel.wait_for(lambda: guest.info()["bytes_to_guest"] == 65536, "the credit is used up")
        assert guest.info()["packets_to_guest"] < 100
    guest.end()


def send_until_closed(sock):
    try:
        while True:
            sock.sendall(bytes(65536))
    except OSError:
        pass


def test_guest_resets_the_device_in_the_middle(keel):
    """A call may come at any moment of it: it is refused or served, and later ones are."""
    guest = Guest(keel, "resets=200")
    while guest.text().count("reset") < 5:
        with connect(guest.path) as sock:
            sock.sendall(b"CONNECT 1024\n")
            sender = threading.Thread(target=send_until_closed, args=(sock,), daemon=True)
            sender.start()
            try:
                read_all(sock)
            except ConnectionResetError:
                pass
            sender.join(TIMEOUT)
    keel.wait_for(lambda: guest.info()["connections"] == 0, "no connection is left")
    guest.end()


def test_pause_and_machine_reset(keel):
    guest = Guest(keel)
    with guest.dial() as sock, keel.rpc("v") as rpc:
        for _ in range(20):
            rpc.result("pause")
            sock.sendall(b"x" * 1000)
            rpc.result("resume")
            assert read(sock, 1000) == b"x" * 1000
        rpc.result("pause")
        late = connect(guest.path)
        late.sendall(b"CONNECT 1024\n")
        rpc.result("resume")
        assert late.recv(2) == b"OK"
        late.close()
        rpc.result("reset")
        assert sock.recv(1) == b""
    guest.says("vsock ready", 2)
    with guest.dial() as sock:
        sock.sendall(b"again")
        assert read(sock, 5) == b"again"
    guest.end()


def test_options_refused(keel, tmp_path):
    (tmp_path / "plain").write_text("")
    for value, code, *words in [
        ("cid=3", 2, "path"),
        ("path=s", 2, "cid"),
        ("cid=2,path=s", 2, "cid", "3"),
        ("cid=0,path=s", 2, "cid"),
        ("cid=4294967295,path=s", 2, "cid"),
        ("cid=3,path=plain", 1, "plain", "not a socket"),
        ("cid=3,path=none/s", 1, "none/s"),
        (f"cid=3,path={'x' * 98}", 1, "longer"),
    ]:
        refused(keel, ["run", "--vsock", value], code, *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain"]

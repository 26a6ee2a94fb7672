# SPDX-License-Identifier: GPL-2.0-only
"""--net: a guest of ours on one side; a tap in a network namespace, or passt, on the other."""
import os
import shutil
import socket
import subprocess
import threading
import zlib

import pytest

from conftest import TIMEOUT
from helpers import one_line, refused

pytestmark = pytest.mark.usefixtures("kvm")

HOST, GUEST = "10.0.0.1", "10.0.0.2"


class Namespace:
    """A network namespace with one tap; it and all in it are gone at the end."""

    def __init__(self, queues):
        self.name = f"keel-test-{os.getpid()}"
        self.ip("netns", "add", self.name)
        try:
            self.inside("ip", "link", "set", "lo", "up")
            self.inside("ip", "tuntap", "add", "tap0", "mode", "tap",
                        *(["multi_queue"] if queues > 1 else []))
            self.inside("ip", "address", "add", f"{HOST}/24", "dev", "tap0")
            self.inside("ip", "link", "set", "tap0", "up")
        except BaseException:
            self.remove()
            raise

    @staticmethod
    def ip(*args):
        done = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=TIMEOUT,
                              check=False)
        if done.returncode:
            pytest.skip(f"ip {' '.join(args)}: {done.stderr.strip()}")

    def argv(self, *args):
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def inside(self, *args):
        subprocess.run(self.argv(*args), check=True, timeout=TIMEOUT, capture_output=True)

    def enter(self):
        """This thread moves in, for good."""
        with open(f"/run/netns/{self.name}", "rb") as handle:
            # Python 3.11 has no setns().
            import ctypes  # pylint: disable=import-outside-toplevel
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(handle.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")

    def call(self, function):
        """function() in a thread that lives in the namespace; its result."""
        result = []

        def run():
            try:
                self.enter()
                result.append((True, function()))
            except BaseException as error:  # pylint: disable=broad-except
                result.append((False, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(2 * TIMEOUT)
        assert result, "the host's side hangs"
        good, value = result[0]
        if not good:
            raise value
        return value

    def remove(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=True, timeout=TIMEOUT)


@pytest.fixture
def namespace(request):
    if not shutil.which("ip"):
        pytest.skip("ip (iproute2) is not installed")
    made = Namespace(getattr(request, "param", 1))
    try:
        yield made
    finally:
        made.remove()


class Guest:
    def __init__(self, keel, namespace, net, cmdline):
        self.keel = keel
        self.out = keel.work / "console"
        self.vm = keel.vm("n", "--kernel", "builtin:net", "--cmdline", cmdline, "--console",
                          f"file={self.out}", "--net", net,
                          program=None, preexec_fn=namespace.enter)
        self.text = lambda: self.out.read_text().replace("\r", "")

    def says(self, text):
        self.keel.wait_for(lambda: text in self.text(), text)

    def info(self):
        with self.keel.rpc("n") as rpc:
            return rpc.result("info")["devices"]["net0"]

    def end(self):
        code, _, err = self.keel.finish(self.vm)
        assert code == 0, (self.text(), err)
        assert "SUCCESS" in self.text()


def udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    return sock


def payload(number, size):
    data = bytes((number * 31 + i * 7) & 0xff for i in range(size - 4))
    return data + zlib.crc32(data).to_bytes(4, "little")


@pytest.mark.parametrize("namespace,options", [(1, ""), (4, ",queues=4"), (1, ",offload=off")],
                         indirect=["namespace"], ids=["one queue", "four queues", "no offload"])
def test_echo(keel, namespace, options):
    """The host asks, the guest answers: every datagram comes back as it was."""
    pairs = 4 if "queues" in options else 1
    guest = Guest(keel, namespace, f"tap=tap0{options}", f"op=echo count=100000 pairs={pairs}")
    guest.says("ready")

    def ask():
        socks = [udp() for _ in range(8)]
        for number in range(400):
            sock, data = socks[number % 8], payload(number, 20 + number * 3)
            sock.sendto(data, (GUEST, 7))
            assert sock.recv(4096) == data
        info = guest.info()
        socks[0].sendto(b"quit", (GUEST, 7))
        return info

    info = namespace.call(ask)
    guest.end()
    assert info["backend"] == "tap" and info["tap"] == "tap0" and info["link"]
    assert info["queue_pairs"] == info["queue_pairs_used"] == pairs
    assert info["rx"]["packets"] >= 400 and info["tx"]["packets"] >= 400
    assert info["tx"]["errors"] == info["tx"]["drops"] == info["guest_errors"] == 0


def test_guest_asks(keel, namespace):
    """The other way around, with many on their way; the guest verifies what comes back."""

    def serve():
        sock = udp()
        sock.bind((HOST, 7))
        guest = Guest(keel, namespace, "tap=tap0", "op=ping count=3000 depth=16 size=900")
        for _ in range(3000):
            data, where = sock.recvfrom(4096)
            sock.sendto(data, where)
        guest.end()
        return guest.text()

    assert "ping 3000 of 900 bytes" in namespace.call(serve)


def test_pause_loses_no_frame(keel, namespace):
    """Frames that come while the VM is paused wait in the tap."""
    guest = Guest(keel, namespace, "tap=tap0", "op=echo count=100000")
    guest.says("ready")

    def ask():
        sock = udp()
        with keel.rpc("n") as rpc:
            for number in range(50):
                if number % 2 == 0:
                    rpc.result("pause")
                sock.sendto(payload(number, 500), (GUEST, 7))
                if number % 2 == 0:
                    rpc.result("resume")
                assert sock.recv(4096) == payload(number, 500)
        sock.sendto(b"quit", (GUEST, 7))

    namespace.call(ask)
    guest.end()


def test_limit(keel, namespace):
    """A limit delays and loses nothing here; that it holds back is counted, not timed."""
    guest = Guest(keel, namespace, "tap=tap0,limit-ops=200,burst-ops=1", "op=echo count=100000")
    guest.says("ready")

    def ask():
        sock = udp()
        # Until its address is known the host's kernel keeps only a few for it.
        sock.sendto(payload(0, 100), (GUEST, 7))
        assert sock.recv(4096) == payload(0, 100)
        for number in range(60):
            sock.sendto(payload(number, 100), (GUEST, 7))
        for number in range(60):
            assert sock.recv(4096) == payload(number, 100)
        waits = guest.info()["limit_waits"]
        sock.sendto(b"quit", (GUEST, 7))
        return waits

    assert namespace.call(ask) > 0
    guest.end()


def test_tap_of_our_own(keel, namespace):
    """A tap that is not there is made for the run, and gone after it."""
    vm = Guest(keel, namespace, "tap=fresh0", "op=echo").vm
    namespace.inside("ip", "link", "show", "fresh0")
    assert keel.run("stop", "--force", "n").returncode == 0
    keel.finish(vm)
    done = subprocess.run(namespace.argv("ip", "link", "show", "fresh0"), capture_output=True,
                          timeout=TIMEOUT, check=False)
    assert done.returncode != 0


def test_tap_busy(keel, namespace):
    guest = Guest(keel, namespace, "tap=tap0", "op=echo")
    refused(keel_beside(keel, namespace), ["run", "--name", "m", "--net", "tap=tap0"], 1, "tap0",
            "in use")
    assert keel.run("stop", "--force", "n").returncode == 0
    keel.finish(guest.vm)


def keel_beside(keel, namespace):
    """keel.run() inside the namespace, while another VM is there."""

    class Beside:
        def run(self, *args, **kwargs):
            return keel.run(*args, preexec_fn=namespace.enter, **kwargs)

        def leftovers(self):
            return [name for name in keel.leftovers() if not name.startswith("n.")]

    return Beside()


@pytest.mark.parametrize("net,words", [
    ("mac=52:00:00:00:00:01", ["tap=NAME", "fd=N", "user"]),
    ("tap=a,user", ["not several"]),
    ("tap=", ["characters"]),
    ("tap=averyveryverylongname", ["characters"]),
    ("tap=lo", ["lo", "no tap"]),
    ("tap=x,mac=01:00:00:00:00:01", ["mac="]),
    ("tap=x,mac=zz:00:00:00:00:01", ["mac="]),
    ("tap=x,queues=9", ["queues"]),
    ("user,queues=2", ["one queue pair"]),
    ("fd=999", ["fd=999"]),
    ("fd=0:1", ["descriptors"]),
    ("fd=x", ["numbers"]),
    ("tap=x,mtu=10", ["mtu"]),
    ("tap=x,burst-ops=5", ["burst-ops"]),
])
def test_bad_input(keel, net, words):
    done = keel.run("run", "--net", net)
    assert done.returncode in (1, 2) and done.stdout == ""
    line = one_line(done.stderr)
    for word in words:
        assert word in line, line
    assert keel.leftovers() == []


def test_no_permission(keel):
    """Without CAP_NET_ADMIN a tap can't be made: said, with what to do."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) is not installed")
    done = subprocess.run(["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin",
                           str(keel.path), "run", "--net", "tap=keeltest0"], env=keel.env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "tap=keeltest0" in one_line(done.stderr)
    assert "ip tuntap add" in done.stderr, done.stderr


def passt_missing():
    return not shutil.which("passt")


@pytest.mark.skipif(passt_missing(), reason="passt is not installed")
def test_user(keel, namespace):
    """By way of passt the gateway's address is the host's loopback: the guest talks to a server
    there and verifies what comes back."""
    for args in (["link", "add", "out0", "type", "veth", "peer", "name", "out1"],
                 ["address", "add", "192.0.2.1/24", "dev", "out0"], ["link", "set", "out0", "up"],
                 ["link", "set", "out1", "up"], ["route", "add", "default", "via", "192.0.2.254"]):
        namespace.inside("ip", *args)

    def serve():
        sock = udp()
        sock.bind(("127.0.0.1", 7))
        guest = Guest(keel, namespace, "user",
                      "op=ping count=500 depth=4 size=700 ip=192.0.2.1 peer=192.0.2.254")
        backend = guest.info()["backend"]
        for _ in range(500):
            data, where = sock.recvfrom(4096)
            sock.sendto(data, where)
        guest.end()
        return backend, guest.text()

    backend, text = namespace.call(serve)
    assert backend == "passt"
    assert "ping 500 of 700 bytes" in text, text


def test_passt_missing(keel):
    done = keel.run("run", "--net", "user", env={**keel.env, "PATH": "/nonexistent"})
    assert done.returncode == 1
    assert "apt-get install passt" in one_line(done.stderr)
    assert keel.leftovers() == []

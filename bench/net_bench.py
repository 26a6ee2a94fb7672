# SPDX-License-Identifier: GPL-2.0-only
"""The network part of the bench: the guest `net` on a tap, in a network namespace made for it."""
import os
import re
import signal
import subprocess
import time

from io_bench import (Failed, MEMORY_MIB, WATCHDOG, observe, qemu_pci, reap, show, start, summary,
                      tell_aims)

PING_TOLD = r"^ping \d+ of .*: (?P<rate>\d+)/s[^$]*?p50 (?P<p50>[\d.]+) .*p99 (?P<p99>[\d.]+)"
RECV_TOLD = r"^recv (?P<count>\d+) of .*: (?P<rate>\d+)/s"
SEND_TOLD = r"^send (?P<count>\d+) of .*: (?P<rate>\d+)/s"
SINK_TOLD = r"^SINK count=(?P<count>\d+) .* rate=(?P<rate>\d+)"
GUEST, HOST, PORT = "10.0.0.2", "10.0.0.1", "7"
STREAM = 1400  # bytes of a datagram
SECONDS = 1.5  # that a run is made to last, by the rate of the run before


class Network:
    """A namespace with a tap; it goes with the process that holds it."""

    def __init__(self, bench):
        self.bench = bench
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])

    def __enter__(self):
        end = time.monotonic() + 10
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            if self.holder.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise Failed("no network namespace can be made here")
            time.sleep(0.01)
        try:
            for command in ("ip link set lo up",
                            "ip tuntap add dev tap0 mode tap vnet_hdr",
                            f"ip addr add {HOST}/24 dev tap0",
                            "ip link set tap0 up"):
                subprocess.run(self.inside(command.split()), check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise Failed(f"{command}: {error.stderr.decode().strip()}") from None
        return self

    def __exit__(self, *_):
        self.holder.kill()
        self.holder.wait()

    def inside(self, argv):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *map(str, argv)]

    def peer(self, *args):
        return start(self.bench, self.inside([self.bench.build / "bench/peer", *args]))


def commands(bench, network, cmdline):
    kernel = bench.build / "guests/net.elf"
    cmdline = f"ip={GUEST} peer={HOST} port={PORT} {cmdline}"
    found = {"keel": (network.inside([
        bench.build / "keel", "run", "--name", "bench-io", "--kernel", kernel, "--testdev", "on",
        "--memory", f"{MEMORY_MIB}M", "--net", "tap=tap0", "--cmdline", cmdline]), 0)}
    if bench.qemu_cpu:
        found["qemu"] = (network.inside(qemu_pci(bench, kernel, cmdline, [
            "-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no,vhost=off", "-device",
            "virtio-net-pci,netdev=net,disable-legacy=on,disable-modern=off"])), 1)
    return found


def told(argv, code, wanted, out, pattern):
    found = re.search(pattern, out, re.MULTILINE)
    if code != wanted or not found:
        raise Failed(f"{' '.join(map(str, argv))}: exit code {code}: {out.strip()[-400:]}")
    return {key: float(value) for key, value in found.groupdict().items()}


def stopped(child):
    """What a peer says when it is told to end."""
    child.send_signal(signal.SIGTERM)
    return reap(child)[1]


def run_ping(bench, network, argv, code):
    echo = network.peer("echo", PORT)
    try:
        status, out, _ = reap(start(bench, argv))
        return told(argv, status, code, out, PING_TOLD)
    finally:
        stopped(echo)


def run_send(bench, network, argv, code):
    """What arrives counts, not what the guest believes to have sent."""
    sink = network.peer("sink", PORT)
    status, out, _ = reap(start(bench, argv))
    arrived = stopped(sink)
    sent = told(argv, status, code, out, SEND_TOLD)
    found = told(argv, 0, 0, arrived, SINK_TOLD)
    return {"rate": found["rate"], "lost": 1 - found["count"] / sent["count"]}


def run_recv(bench, network, argv, code, count):
    guest = start(bench, argv)
    seen = b""
    signal.alarm(WATCHDOG)
    try:
        while b"ready" not in seen:
            more = os.read(guest.stdout.fileno(), 4096)
            if not more:
                break
            seen += more
    finally:
        signal.alarm(0)
    source = network.peer("source", GUEST, PORT, STREAM, count)
    try:
        status, out, _ = reap(guest)
    except Failed as error:
        raise Failed(f"{error}; the sender: {stopped(source).strip() or 'silent'}") from None
    stopped(source)
    found = told(argv, status, code, seen.decode(errors="replace") + out, RECV_TOLD)
    return {"rate": found["rate"], "lost": max(0, 1 - found["count"] / count)}


def bare_runs(network, kind, count):
    """The same between two processes over the loopback device."""
    if kind.startswith("ping"):
        echo = network.peer("echo", PORT)
        time.sleep(0.05)
        status, out, _ = reap(network.peer("ping", "127.0.0.1", PORT, 64, count, kind.split()[1]))
        stopped(echo)
        return told(["peer ping"], status, 0, out, PING_TOLD)
    sink = network.peer("sink", PORT)
    time.sleep(0.05)
    source = network.peer("source", "127.0.0.1", PORT, STREAM, count)
    time.sleep(SECONDS)
    stopped(source)
    found = told(["peer sink"], 0, 0, stopped(sink), SINK_TOLD)
    return {"rate": found["rate"], "lost": 1 - found["count"] / count}


def cmdline_of(kind, count):
    if kind.startswith("ping"):
        return f"op=ping size=64 depth={kind.split()[1]} count={count} warmup={count // 10}"
    return f"op={kind} size={STREAM} count={count} check=off"


def one_run(bench, network, kind, argv, code, count):
    if kind.startswith("ping"):
        return run_ping(bench, network, argv, code)
    if kind == "send":
        return run_send(bench, network, argv, code)
    return run_recv(bench, network, argv, code, count)


def steady(bench, network, argv, code):
    echo = network.peer("echo", PORT)
    try:
        return observe(bench, argv, code, b"net 0:",
                       lambda out, status: told(argv, status, code, out, PING_TOLD)["rate"])
    finally:
        stopped(echo)


def one_kind(bench, network, kind, rounds):
    counts = dict.fromkeys(("keel", "qemu", "bare"), 5000)
    runs = {}
    for number in range(rounds + 1):
        for vmm in counts:
            count = counts[vmm]
            if vmm == "bare":
                found = bare_runs(network, kind, count)
            else:
                if vmm == "qemu" and not bench.qemu_cpu:
                    continue
                argv, code = commands(bench, network, cmdline_of(kind, count))[vmm]
                found = one_run(bench, network, kind, argv, code, count)
            # The first run only tells how long the others have to be.
            counts[vmm] = max(1000, int(found["rate"] * SECONDS))
            if number:
                runs.setdefault(vmm, []).append(found)
    result = {vmm: summary(list_) for vmm, list_ in runs.items()}
    for vmm in (("keel", "qemu") if kind.startswith("ping") else ()):
        if vmm in result:
            argv, code = commands(bench, network, cmdline_of(kind, counts[vmm] * 5))[vmm]
            result[vmm].update(steady(bench, network, argv, code))
    return result


def bench_net(bench, rounds, table):
    result, rows = {}, []
    if not (bench.build / "guests/net.elf").exists():
        raise Failed("there is no guest net")
    with Network(bench) as network:
        for kind in ("ping 1", "ping 32", "send", "recv"):
            result[kind] = one_kind(bench, network, kind, rounds)
            for vmm, found in result[kind].items():
                rows.append([kind, vmm, show(found["rate"], 1000), show(found.get("p50")),
                             show(found.get("p99"), 1, 0), show(found.get("lost"), 0.01),
                             show(found.get("cpu_us"), 1, 2),
                             show(found.get("exits_per_request"), 1, 5),
                             show(found.get("private_kib"), 1, 0)])
    table("Network on a tap: UDP round trips of 64 bytes, 1 or 32 on their way; streams of 1400",
          ["traffic", "", "1000/s", "p50 us", "p99 us", "lost %", "CPU us", "exits each", "KiB"],
          rows)
    tell_aims(result, "rate")
    return result

# SPDX-License-Identifier: GPL-2.0-only
"""Disks beside QEMU and beside the same requests without a guest; what net_bench.py shares.

The guests' own drivers measure; all VMMs run the same ELF one after the other in each round, so that
the host's load falls on all alike. What costs time to look at (exits, memory) is looked at in a run
of its own. CPU is that of the whole process, vCPU included, per request.
"""
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

MEMORY_MIB = 128
DISK_MIB = 64
TIME_MS, WARM_MS = 1000, 100
WATCHDOG = 60
RATE_AIM = 1.3
MEMORY_AIM_KIB = 2048


class Failed(Exception):
    pass


def median(values):
    return statistics.median(values) if values else None


def show(value, scale=1, digits=1):
    return "-" if value is None else f"{value / scale:.{digits}f}"


def qemu_pci(bench, kernel, cmdline, devices):
    """q35 with virtio-pci: the guest's PCI, MSI-X and test device as under Keel."""
    return ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", bench.qemu_cpu, "-m",
            str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *devices,
            "-kernel", str(kernel), "-append", cmdline]


def disk_commands(bench, disk, cache, cmdline):
    """{vmm: (argv, exit code of success)}"""
    kernel = bench.build / "guests/blk.elf"
    found = {"keel": ([str(bench.build / "keel"), "run", "--name", "bench-io", "--kernel",
                       str(kernel), "--testdev", "on", "--memory", f"{MEMORY_MIB}M", "--disk",
                       f"path={disk},cache={cache}", "--cmdline", cmdline], 0)}
    if bench.qemu_cpu:
        direct = "on" if cache == "direct" else "off"
        found["qemu"] = (qemu_pci(bench, kernel, cmdline, [
            "-object", "iothread,id=io", "-blockdev",
            f"driver=file,filename={disk},node-name=file,aio=io_uring,cache.direct={direct}",
            "-blockdev", f"driver=raw,file=file,node-name=disk,cache.direct={direct}", "-device",
            "virtio-blk-pci,drive=disk,iothread=io,disable-legacy=on,disable-modern=off,"
            "write-cache=on"]), 1)
    return found


def reap(child):
    """(exit code, output, CPU seconds) of a child whose output is a pipe."""
    signal.alarm(WATCHDOG)
    try:
        out = child.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(child.pid, 0)
    except TimeoutError:
        child.kill()
        raise Failed(f"{child.args[0]} hung") from None
    finally:
        signal.alarm(0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, out, usage.ru_utime + usage.ru_stime


def start(bench, argv):
    return subprocess.Popen(argv, env=bench.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)


def told(argv, code, wanted, out):
    line = re.search(r"^BENCH (.*?)\r?$", out, re.MULTILINE)
    if code != wanted or not line:
        raise Failed(f"{' '.join(map(str, argv))}: exit code {code}: {out.strip()[-400:]}")
    return dict(word.split("=") for word in line[1].split())


def userspace_exits(pid, seconds):
    """Exits to the process's own code, by the kernel's tracepoint; None where perf can't."""
    if not shutil.which("perf"):
        return None
    done = subprocess.run(["perf", "stat", "-x,", "-e", "kvm:kvm_userspace_exit", "-p", str(pid),
                           "--", "sleep", str(seconds)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=WATCHDOG)
    count = re.search(r"^(\d+),", done.stdout, re.MULTILINE)
    return int(count[1]) if count and done.returncode == 0 else None


def beyond_guest(pid):
    """Private and all resident KiB of a process without guest RAM."""
    size = private = resident = 0
    ram = False
    sums = [0, 0]
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            key, _, rest = line.partition(":")
            if key == "Size":
                size, private = int(rest.split()[0]), 0
            elif key == "Rss":
                resident = int(rest.split()[0])
            elif key in ("Private_Clean", "Private_Dirty"):
                private += int(rest.split()[0])
            elif key == "VmFlags":
                if not ram and MEMORY_MIB * 1024 <= size < MEMORY_MIB * 1024 + 512:
                    ram = True
                else:
                    sums = [sums[0] + private, sums[1] + resident]
    return {"private_kib": sums[0], "resident_kib": sums[1]}


def cpu_ns(pid):
    """CPU time of all threads, as the scheduler counts it."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as stat:
                total += int(stat.read().split()[0])
        except OSError:
            pass
    return total


def observe(bench, argv, code, begun, rate):
    """Exits and CPU per request, and memory, in the steady state of a run that is not measured.
    begun is what the guest prints when it starts; rate(output, exit code) tells requests/s."""
    child = start(bench, argv)
    seen = b""
    signal.alarm(WATCHDOG)
    try:
        while begun not in seen:
            more = os.read(child.stdout.fileno(), 4096)
            if not more:
                break
            seen += more
    except TimeoutError:
        child.kill()
        raise Failed(f"{argv[0]} hung") from None
    finally:
        signal.alarm(0)
    time.sleep(0.3)
    seconds = 1
    before, since = cpu_ns(child.pid), time.monotonic()
    exits = userspace_exits(child.pid, seconds)
    if exits is None:
        time.sleep(seconds)
    used, passed = cpu_ns(child.pid) - before, time.monotonic() - since
    memory = beyond_guest(child.pid)
    status, out, _ = reap(child)
    per_second = rate(seen.decode(errors="replace") + out, status)
    memory["cpu_us"] = used / 1e3 / (per_second * passed)
    memory["exits_per_request"] = None if exits is None else exits / (per_second * seconds)
    return memory


def summary(runs):
    return {key: median([run[key] for run in runs]) for key in runs[0]}


def rate_of(argv, code):
    return lambda out, status: float(told(argv, status, code, out)["iops"])


def one_kind(bench, disk, cache, op, depth, rounds):
    """{vmm: medians} of one kind of request."""
    cmdline = f"op=bench rw={op} depth={depth} time={TIME_MS}ms warm={WARM_MS}ms"
    bare = [str(bench.build / "bench/bare_io"), disk, op, str(depth), str(TIME_MS),
            "direct" if cache == "direct" else "buffered"]
    runs = {}
    for _ in range(rounds):
        for vmm, (argv, code) in {**disk_commands(bench, disk, cache, cmdline),
                                  "bare": (bare, 0)}.items():
            status, out, cpu = reap(start(bench, argv))
            found = told(argv, status, code, out)
            runs.setdefault(vmm, []).append({
                "iops": int(found["iops"]), "p50_us": int(found["p50_ns"]) / 1e3,
                "p99_us": int(found["p99_ns"]) / 1e3,
                "cpu_us": cpu * 1e6 / int(found["requests"])})
    result = {vmm: summary(list_) for vmm, list_ in runs.items()}
    longer = cmdline.replace(f"time={TIME_MS}ms", "time=3s")
    for vmm, (argv, code) in disk_commands(bench, disk, cache, longer).items():
        result[vmm].update(observe(bench, argv, code, b"disk 0:", rate_of(argv, code)))
    return result


def verdict(name, ratio, aim):
    return f"{name} {ratio:.2f} ({'met' if ratio >= aim else 'NOT met'})"


def tell_aims(found, key):
    """The aims beside what was measured."""
    rates, exits, memory = [], [], []
    for kind, vmms in found.items():
        if "qemu" in vmms:
            rates.append(verdict(kind, vmms["keel"][key] / vmms["qemu"][key], RATE_AIM))
        if vmms["keel"].get("exits_per_request") is not None:
            exits.append(vmms["keel"]["exits_per_request"])
        if "private_kib" in vmms["keel"]:
            memory.append(vmms["keel"]["private_kib"])
    if rates:
        print(f"  aim: keel / qemu at least {RATE_AIM} in each rate: " + ", ".join(rates))
    if exits:
        most = max(exits)
        print(f"  aim: no exits to userspace per request: at most {most:.5f} "
              f"({'met' if most < 0.001 else 'NOT met'})")
    if memory:
        print(f"  aim: private memory beyond the guest at most {MEMORY_AIM_KIB} KiB: "
              f"{max(memory)} ({'met' if max(memory) <= MEMORY_AIM_KIB else 'NOT met'})")


def bench_disk(bench, rounds, table):
    result, rows = {}, []
    with tempfile.NamedTemporaryFile(dir=bench.build / "bench", suffix=".raw") as disk:
        for _ in range(DISK_MIB):
            disk.write(os.urandom(1 << 20))
        disk.flush()
        os.fsync(disk.fileno())
        for cache in ("writeback", "direct"):
            for op in ("read", "write"):
                for depth in (1, 32):
                    kind = f"{op} {depth} {cache}"
                    result[kind] = one_kind(bench, disk.name, cache, op, depth, rounds)
                    for vmm, found in result[kind].items():
                        rows.append([kind, vmm, show(found["iops"], 1000), show(found["p50_us"]),
                                     show(found["p99_us"], 1, 0), show(found["cpu_us"], 1, 2),
                                     show(found.get("exits_per_request"), 1, 5),
                                     show(found.get("private_kib"), 1, 0)])
    table("Disk: 4 KiB at random, one or 32 in flight, through the page cache or past it",
          ["request", "", "1000/s", "p50 us", "p99 us", "CPU us", "exits each", "KiB"], rows)
    tell_aims({kind: v for kind, v in result.items() if kind.endswith("writeback")}, "iops")
    print("  past the page cache the host's disk is the limit: its own rate is the row \"bare\"")
    return result

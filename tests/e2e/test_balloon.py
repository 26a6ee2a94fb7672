# SPDX-License-Identifier: GPL-2.0-only
"""The balloon: memory that a guest gives up is the host's again, and reads zero when it returns."""
import json
import re

import pytest

from helpers import huge_pages, one_line, refused

pytestmark = pytest.mark.usefixtures("kvm")

MIB = 1 << 20
SIZE = 64 * MIB  # what the guest fills
SLACK = 4 * MIB  # page tables and buffers that come and go besides


def resident(child):
    with open(f"/proc/{child.pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Rss:\s+(\d+) kB", file.read(), re.M).group(1)) << 10


class Guest:
    """The guest `balloon` under the host's orders."""

    def __init__(self, keel, tmp_path, *balloon, how="balloon", cycles=1,
                 memory="128M", size="64M"):
        self.keel = keel
        self.log = tmp_path / "console"
        self.child = keel.vm("vm", "--kernel", "builtin:balloon", "--memory", memory,
                             "--balloon", ",".join(balloon) or "0", "--console", f"file={self.log}",
                             "--cmdline", f"how={how} cycles={cycles} size={size}")

    def says(self, text, times=1):
        self.keel.wait_for(lambda: self.log.read_text().count(text) >= times, text)
        return self

    def balloon(self, *size):
        done = self.keel.run("balloon", "vm", "--json", *size)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def ends_well(self):
        code, _, err = self.keel.finish(self.child)
        assert code == 0 and err == b"", (err, self.log.read_text())
        assert "SUCCESS" in self.log.read_text()


@pytest.mark.parametrize("how, given", [("balloon", 16 * MIB), ("report", 0)])
def test_huge_pages_go_back_whole(keel, tmp_path, how, given):
    """And on demand only: free memory that is reported may be wanted again at once."""
    with huge_pages(32):
        check_huge_pages(keel, tmp_path, how, given)


def check_huge_pages(keel, tmp_path, how, given):
    guest = Guest(keel, tmp_path, how=how, memory="64M,pages=2m", size="32M")
    guest.says("filled 32 MiB")
    guest.balloon(str(17 * MIB))
    guest.says("gave up 17 MiB")
    info = guest.balloon()
    assert info["given_back"] == given, info
    assert info["kept"] == (MIB if how == "balloon" else 0)
    guest.balloon("0")
    # What was kept reads as before, which the guest takes for a failure; it says which page.
    code, out, _ = keel.finish(guest.child)
    assert code == 1 and f"page {given // 4096} of 4352 given up reads" in guest.log.read_text(), out


@pytest.mark.parametrize("memory", ["", ",backing=memfd", ",pages=4k"])
@pytest.mark.parametrize("how", ["balloon", "report"])
def test_memory_goes_back_and_returns(keel, tmp_path, how, memory):
    guest = Guest(keel, tmp_path, how=how, cycles=2, memory="128M" + memory)
    for cycle in (1, 2):
        full = resident(guest.says("filled 64 MiB", cycle).child)
        info = guest.balloon("48M")
        assert info["target"] == 48 * MIB and info["driver"]
        low = resident(guest.says("gave up 48 MiB", cycle).child)
        assert full - low > 48 * MIB - SLACK, (full, low)
        if how == "balloon":
            assert guest.balloon()["actual"] == 48 * MIB
        assert guest.balloon("0")["target"] == 0
        guest.says("took back 48 MiB, all zero", cycle)
        if cycle == 1:
            # The guest fills all of it again.
            assert resident(guest.says("filled 64 MiB", 2).child) - low > 48 * MIB - SLACK
            info = guest.balloon()
            assert info["given_back"] == 48 * MIB
            assert info["actual"] == info["bad_pages"] == info["errors"] == 0
            assert info["reported"] == (48 * MIB if how == "report" else 0)
    guest.ends_well()


def test_initial_size_statistics_and_pause(keel, tmp_path):
    guest = Guest(keel, tmp_path, "size=32M", "stats=100ms")
    with keel.rpc("vm") as rpc:
        rpc.result("subscribe")
        guest.says("gave up 32 MiB")
        keel.wait_for(lambda: guest.balloon().get("stats_reports", 0) >= 2, "statistics")
        # A buffer for statistics is with the device at nearly all times; pausing takes it back.
        for _ in range(20):
            rpc.result("pause")
            assert rpc.result("balloon.info")["actual"] == 32 * MIB
            rpc.result("resume")
        before = guest.balloon()["stats_reports"]
        keel.wait_for(lambda: guest.balloon()["stats_reports"] > before + 1, "statistics go on")
        stats = guest.balloon()["stats"]
        assert stats["free"] == SIZE and 100 * MIB < stats["total"] <= 128 * MIB
        # Told while paused, seen when it goes on.
        rpc.result("pause")
        assert rpc.result("balloon.set", size=0)["target"] == 0
        rpc.result("resume")
        guest.says("took back 32 MiB")
        events = [e["params"] for e in rpc.events if e.get("params", {}).get("event") == "balloon"]
        assert all(e["actual"] in (0, 32 * MIB) for e in events), events
    guest.ends_well()


def test_event(keel, tmp_path):
    guest = Guest(keel, tmp_path)
    guest.says("filled")
    with keel.rpc("vm") as rpc:
        rpc.result("subscribe")
        rpc.result("balloon.set", size=16 * MIB)
        while not any(e["params"]["event"] == "balloon" for e in rpc.events):
            rpc.events.append(rpc.line())
        event = next(e["params"] for e in rpc.events if e["params"]["event"] == "balloon")
        assert (event["target"], event["actual"]) == (16 * MIB, 16 * MIB)
        rpc.result("balloon.set", size=0)
    guest.ends_well()


def test_table_and_info(keel, tmp_path):
    guest = Guest(keel, tmp_path)
    guest.says("filled")
    assert keel.run("balloon", "vm", "1M").returncode == 0
    guest.says("gave up 1 MiB")
    lines = keel.run("balloon").stdout.splitlines()
    assert lines[0].split("  ")[0] == "TARGET"
    assert lines[1].split()[:6] == ["1", "MiB", "1", "MiB", "1", "MiB"]
    assert lines[1].split()[-1] == "ready"
    assert lines[3].startswith("GUEST TOTAL")
    row = next(l for l in keel.run("info", "vm").stdout.splitlines() if l.startswith("balloon"))
    assert "virtio-balloon" in row and f"actual={MIB}" in row and f"given_back={MIB}" in row
    assert keel.run("balloon", "vm", "0").returncode == 0
    guest.ends_well()


def test_bad_input(keel, tmp_path):
    refused(keel, ["run", "--balloon", "1G", "--memory", "512M"], 1, "balloon", "512 MiB")
    refused(keel, ["run", "--balloon", "stats=1ms"], 2, "stats", "100ms")
    refused(keel, ["run", "--balloon", "0", "--balloon", "0"], 2, "balloon")
    refused(keel, ["run", "--balloon", "reprting=off"], 2, "reporting")
    keel.vm("without", "--kernel", "builtin:button", "--console", "none")
    done = keel.run("balloon", "without")
    assert done.returncode == 1 and "--balloon" in one_line(done.stderr)
    Guest(keel, tmp_path)
    for size, word in (("1T", "128 MiB"), ("much", "size"), ("-1", "size")):
        done = keel.run("balloon", "vm", "--", size) if size[0] == "-" else \
            keel.run("balloon", "vm", size)
        assert done.returncode in (1, 2) and word in one_line(done.stderr)
    with keel.rpc("vm") as rpc:
        assert rpc.call("balloon.set")["error"]["code"] == -32602
        assert rpc.call("balloon.set", size=-1)["error"]["code"] == -32602


def test_configuration_keeps_it(keel):
    """On, off and numbers survive the way through JSON and machine.dtb."""
    done = keel.run("inspect", "--balloon", "size=1M,stats=off,reporting=off,deflate-on-oom=on",
                    "--memory", "64M")
    assert json.loads(done.stdout)["balloon"] == [
        {"size": MIB, "stats": 0, "reporting": False, "hinting": True, "deflate-on-oom": True}]
    (keel.work / "vm.json").write_text(done.stdout)
    assert keel.run("inspect", "--config", "vm.json").stdout == done.stdout
    (keel.work / "vm.json").write_text('{"balloon": {"stats": false}}')
    config = json.loads(keel.run("inspect", "--config", "vm.json").stdout)
    assert config["balloon"][0]["stats"] == 0
    assert json.loads(keel.run("inspect").stdout)["balloon"] == []

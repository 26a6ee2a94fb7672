# SPDX-License-Identifier: GPL-2.0-only
"""CPU models: what a guest sees of them, how hosts are intersected, and every refusal."""
import json
import re
import subprocess

import pytest

from helpers import on_testhost, refused

HOST = ["run", "--kernel", "builtin:hello", "--cpu"]

# Leaf, subleaf, register of some flags that KVM leaves to the model everywhere.
PLACES = {
    "3dnowprefetch": (0x80000001, "ecx", 8),
    "lahf_lm": (0x80000001, "ecx", 0),
    "mmxext": (0x80000001, "edx", 22),
    "fxsr_opt": (0x80000001, "edx", 25),
    "nonstop_tsc": (0x80000007, "edx", 8),
    "kvm_asyncpf": (0x40000001, "eax", 4),
    "kvm_pv_ipi": (0x40000001, "eax", 11),
}


def dump(keel, *args):
    """CPU 0's leaves as the guest reads them: {(leaf, sub): {register: value}}."""
    done = keel.run("run", "--kernel", "builtin:cpuid", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    line = re.compile(r"cpuid cpu=0 leaf=(\w+) sub=(\w+) eax=(\w+) ebx=(\w+) ecx=(\w+) edx=(\w+)")
    return {
        (int(m[1], 16), int(m[2], 16)): dict(
            zip(("eax", "ebx", "ecx", "edx"), (int(m[i], 16) for i in range(3, 7))))
        for m in line.finditer(done.stdout)
    }


def has(leaves, flag):
    leaf, register, bit = PLACES[flag]
    return leaves.get((leaf, 0), {}).get(register, 0) >> bit & 1 == 1


def flags_of(keel, model):
    done = keel.run("cpu", "show", model, "--json")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout)["flags"])


@pytest.fixture(name="host")
def host_flags(keel, kvm):
    return flags_of(keel, "host")


@pytest.fixture(name="model")
def host_model(keel, kvm):
    return json.loads(keel.run("cpu", "show", "--json").stdout)


def write(keel, name, model):
    path = keel.work / name
    path.write_text(json.dumps(model))
    return path


class TestGuest:
    def test_removed_flags_are_gone(self, keel, host):
        before = dump(keel)
        for flag in PLACES:
            assert has(before, flag) == (flag in host), flag
            if flag in host:
                assert not has(dump(keel, "--cpu", f"host,-{flag}"), flag), flag

    def test_level(self, keel, host):
        leaves = dump(keel, "--cpu", "x86-64-v1")
        shown = {flag for flag in PLACES if has(leaves, flag)}
        assert shown == {"kvm_pv_ipi"}
        # Without XSAVE there is no XSAVE leaf to speak of; some KVMs show both regardless.
        if not leaves[(1, 0)]["ecx"] >> 26 & 1:
            assert leaves.get((0xD, 0), {"eax": 0})["eax"] == 0

    def test_whole_host_through_a_file(self, keel, model):
        """A host's own model shows what the host shows."""
        path = write(keel, "host.json", model)
        assert dump(keel, "--cpu", path) == dump(keel)

    def test_identity(self, keel, model):
        model.update(family=6, model=0x55, stepping=4, brand="A brand of CPU", name="mine")
        leaves = dump(keel, "--cpu", write(keel, "mine.json", model), "--cpus", "2")
        assert leaves[(1, 0)]["eax"] == 0x00050654
        brand = b"".join(
            leaves[(0x80000002 + i, 0)][r].to_bytes(4, "little")
            for i in range(3) for r in ("eax", "ebx", "ecx", "edx"))
        assert brand.rstrip(b"\0") == b"A brand of CPU"

    def test_last_leaf(self, keel, model):
        model["max-extended"] = 0x80000008
        leaves = dump(keel, "--cpu", write(keel, "short.json", model))
        assert leaves[(0x80000000, 0)]["eax"] == 0x80000008
        assert max(leaf for leaf, _ in leaves) == 0x80000008

    def test_what_kvm_shows_anyway_is_said(self, keel, host):
        """Some KVMs show flags that they were told to hide: then a warning, and info tells."""
        with_avx = [flag for flag in ("avx2", "avx512f") if flag in host]
        if not with_avx:
            pytest.skip("the host has no AVX2 to hide")
        keel.vm("v", "--kernel", "builtin:burn", "--cmdline", "forever", "--cpu", "x86-64-v2",
                stderr=subprocess.PIPE)
        cpu = json.loads(keel.run("info", "--cpu", "--json", "v").stdout)
        assert cpu["cpu"] == "x86-64-v2" and cpu["model"] == "x86-64-v2"
        for row in cpu["differences"]:
            assert row["reason"], row
        rows = {row["flag"]: row for row in cpu["differences"]}
        for flag in with_avx:
            if rows[flag]["guest"]:
                assert "whatever" in rows[flag]["reason"]
            else:
                assert re.search("x86-64-v2|needs avx", rows[flag]["reason"])
        text = keel.run("info", "--cpu", "v").stdout
        assert "Option    --cpu x86-64-v2" in text and "REASON" in text

    def test_dtb_carries_the_model(self, keel, host):
        """What moves with a machine: not the words of the option but what they meant."""
        keel.vm("v", "--kernel", "builtin:burn", "--cmdline", "forever", "--cpu",
                "host,-nonstop_tsc")
        blob = bytes.fromhex(keel.rpc("v").result("dtb")["dtb"])
        start = blob.index(b'{"keel-cpu-model"')
        carried = json.loads(blob[start:blob.index(b"\0", start)])
        assert set(carried["flags"]) == host - {"nonstop_tsc"}
        config = json.loads(keel.run("inspect", "v").stdout)
        assert config["cpu"] == "host,-nonstop_tsc" and "cpu-model" not in config


class TestBaseline:
    def test_of_one_host_is_the_host(self, keel, model):
        path = write(keel, "a.json", model)
        shared = json.loads(keel.run("cpu", "baseline", path, path).stdout)
        model["name"] = shared["name"]
        assert shared == model

    def test_of_two(self, keel, model):
        other = dict(model, model=model["model"] + 1,
                     flags=[f for f in model["flags"] if f != "nonstop_tsc"])
        paths = write(keel, "a.json", model), write(keel, "b.json", other)
        done = keel.run("cpu", "baseline", *paths)
        assert keel.run("cpu", "baseline", *reversed(paths)).stdout == done.stdout
        shared = json.loads(done.stdout)
        assert set(shared["flags"]) == set(other["flags"])
        assert shared["model"] == model["model"]
        both = write(keel, "both.json", shared)
        leaves = dump(keel, "--cpu", both)
        assert not has(leaves, "nonstop_tsc")
        assert keel.run("cpu", "diff", both, paths[0]).returncode == 1

    def test_vendors(self, keel, model):
        other = dict(model, vendor="GenuineOther")
        line = refused(keel, ["cpu", "baseline", write(keel, "a.json", model),
                              write(keel, "b.json", other)], 2, "vendors", "GenuineOther")
        assert "a.json" in line and "b.json" in line


class TestDiff:
    def test_equal(self, keel, host):
        done = keel.run("cpu", "diff", "host", "host")
        assert (done.returncode, done.stdout) == (0, "")

    def test_different(self, keel, host):
        done = keel.run("cpu", "diff", "host", "host,-nx", "--json")
        assert done.returncode == 2 and "nx" in done.stderr
        done = keel.run("cpu", "diff", "x86-64-v1", "x86-64-v2", "--json")
        assert done.returncode == 1
        rows = {row["what"]: row for row in json.loads(done.stdout)}
        assert set(rows) == {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}
        assert all(row["reason"] == "no part of x86-64-v1" for row in rows.values())
        assert "no part of x86-64-v1" in keel.run("cpu", "diff", "x86-64-v1", "x86-64-v2").stdout

    @pytest.mark.parametrize("level", ["x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"])
    def test_every_reason_is_said(self, keel, host, level):
        done = keel.run("cpu", "diff", "host", level, "--json")
        for row in json.loads(done.stdout):
            assert row["reason"] or " " in row["what"] or row["what"].startswith("max-"), row


class TestRefusals:
    @pytest.mark.parametrize("value,words", [
        ("host,-avx22", ["avx22", "did you mean avx2?"]),
        ("hosst", ["did you mean host?"]),
        ("nothing-like-it", ["x86-64-v1", "x86-64-v4"]),
        ("host,avx2", ["+FLAG"]),
        ("host,-lm", ["lm", "64-bit"]),
        ("host,-apic", ["apic", "interrupts"]),
        ("host,-syscall", ["syscall"]),
        ("host,+monitor", ["monitor", "MWAIT"]),
        ("host,+arch_capabilities", ["arch_capabilities"]),
        ("host,+ia64", ["unknown CPU flag"]),
        ("host,+3dnow,-3dnow", ["both"]),
        ("./none.json", ["./none.json", "No such file"]),
        ("/dev/null", ["/dev/null"]),
    ])
    def test_run(self, keel, kvm, value, words):
        refused(keel, HOST + [value], 1, "--cpu", *words)

    def test_flag_that_the_host_lacks(self, keel, host):
        lacking = next(f for f in ("amx_tile", "xop", "avx512er") if f not in host)
        refused(keel, HOST + [f"host,+{lacking}"], 1, lacking, "can't be given")

    def test_model_of_a_better_host(self, keel, model):
        lacking = next(f for f in ("amx_tile", "xop", "avx512er") if f not in model["flags"])
        needs = ["avx", "xsave"] if lacking == "xop" else ["xfd", "xsaves", "xsavec", "xsave"]
        if lacking == "avx512er":
            pytest.skip("the host has everything")
        model["flags"] += [f for f in [lacking, *needs] if f not in model["flags"]]
        if lacking == "amx_tile":
            model["xsave"].update({"17": [64, 2752, 2], "18": [8192, 2816, 6]})
        refused(keel, HOST + [write(keel, "big.json", model)], 1, "this host can't show")

    def test_model_without_a_needed_flag(self, keel, model):
        model["flags"].remove("apic")
        refused(keel, HOST + [write(keel, "bad.json", model)], 1, "apic", "every guest needs")

    def test_damaged_file(self, keel, kvm):
        path = keel.work / "bad.json"
        path.write_text('{"keel-cpu-model": 1,\n "name": }')
        refused(keel, HOST + [path], 1, "bad.json", "line 2")

    @pytest.mark.parametrize("args,words", [
        ([], ["show, baseline or diff"]),
        (["shw"], ["did you mean show?"]),
        (["diff", "host"], ["diff MODEL MODEL"]),
        (["baseline", "host"], ["baseline MODEL MODEL"]),
        (["show", "host", "host"], ["show [MODEL]"]),
        (["show", "hos"], ["did you mean host?"]),
    ])
    def test_verb(self, keel, kvm, args, words):
        refused(keel, ["cpu", *args], 2, *words)


# On the emulated test host, whose KVM shows what it is told and nothing else.

SCRIPT = r"""
cd /run/share
export XDG_RUNTIME_DIR=/run/tmp
guest() {
    name=$1; shift
    timeout 100 "$KEEL_BUILD/keel" run --kernel builtin:cpuid "$@" >$name.out 2>&1 </dev/null
    echo $? >$name.rc
}
"$KEEL_BUILD/keel" cpu show --json >host.json
guest plain
guest host --cpu host.json
guest v1 --cpu x86-64-v1
guest v2 --cpu x86-64-v2
guest minus --cpu host,-smap,-aes
guest v4 --cpu x86-64-v4
guest hidden --cpu host,+arch_capabilities
"""

LEVEL1_ECX = 1 << 31 | 1 << 24 | 1 << 21  # hypervisor, tsc_deadline_timer, x2apic
LEVEL2_ECX = LEVEL1_ECX | 1 << 0 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23


@pytest.fixture(name="share", scope="module")
def on_the_test_host(tmp_path_factory):
    return on_testhost(tmp_path_factory, "cpu", lambda share: (share / "script").write_text(SCRIPT),
                       1024, 600)


class TestOnTestHost:
    @staticmethod
    def leaves(share, name):
        text = (share / f"{name}.out").read_text()
        assert (share / f"{name}.rc").read_text() == "0\n", text
        found = {}
        for line in re.findall(r"^cpuid cpu=0 (.*)$", text, re.M):
            words = dict(word.split("=") for word in line.split())
            found[int(words["leaf"], 16), int(words["sub"], 16)] = {
                r: int(words[r], 16) for r in ("eax", "ebx", "ecx", "edx")}
        return found

    @pytest.mark.parametrize("name,ecx", [("v1", LEVEL1_ECX), ("v2", LEVEL2_ECX)])
    def test_levels_are_exact(self, share, name, ecx):
        leaves = self.leaves(share, name)
        assert leaves[1, 0]["ecx"] == ecx
        assert leaves.get((7, 0), {"ebx": 0})["ebx"] == 0
        assert leaves[0x80000001, 0]["ecx"] & ~2 == (1 if name == "v2" else 0)

    def test_flags_that_were_removed(self, share):
        plain, minus = self.leaves(share, "plain"), self.leaves(share, "minus")
        assert plain[1, 0]["ecx"] ^ minus[1, 0]["ecx"] == 1 << 25
        assert plain[7, 0]["ebx"] ^ minus[7, 0]["ebx"] == 1 << 20

    def test_file_of_the_host_is_the_host(self, share):
        plain, through = self.leaves(share, "plain"), self.leaves(share, "host")
        for leaves in plain, through:
            leaves.pop((0xD, 0))  # KVM's own: sizes for a host without XSAVE
        assert plain == through

    @pytest.mark.parametrize("name,words", [
        ("v4", "this host can't show model x86-64-v4"),
        ("hidden", "+arch_capabilities can't be given"),
    ])
    def test_refusals(self, share, name, words):
        assert (share / f"{name}.rc").read_text() == "1\n"
        assert words in (share / f"{name}.out").read_text()

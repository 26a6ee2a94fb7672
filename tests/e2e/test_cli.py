# SPDX-License-Identifier: GPL-2.0-only
"""The command line itself: parsing, help, documents, inspect. Nothing here needs KVM."""
import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, build_dir
from helpers import Terminal, one_line, refused

VERBS = "run ps info pause resume stop balloon resize console inspect cpu guests version help".split()


@pytest.mark.parametrize("args, words", [
    (["rnu"], ["rnu", "keel run"]),
    (["frobnicate"], ["frobnicate", "keel help"]),
    (["--memory", "1G"], ["keel run"]),
    (["run", "--memroy", "1G"], ["--memroy", "--memory"]),
    (["run", "--comand-line", "x"], ["--comand-line", "keel run --help"]),
    (["run", "--kernle=x"], ["--kernle", "--kernel"]),
    (["ps", "--memory", "1G"], ["--memory"]),
    (["ps", "--jsno"], ["--jsno", "--json"]),
    (["run", "-m", "1G"], ["-m", "long"]),
    (["run", "--memory"], ["--memory", "value"]),
    (["run", "--memory", "--cpus", "2"], ["--memory", "value", "--cpus"]),
    (["run", "--memory", "sise=1G"], ["--memory", "sise", "size"]),
    (["run", "--disk", "paht=x"], ["--disk", "paht", "path"]),
    (["run", "--disk", "path=x,readonyl=on"], ["--disk", "readonyl", "readonly"]),
    (["run", "--disk", "path=x,readonly=maybe"], ["--disk", "readonly", "maybe"]),
    (["run", "--disk", ""], ["--disk"]),
    (["run", "--disk", "readonly=on"], ["--disk", "path"]),
    (["run", "--memory", "lots"], ["--memory", "lots"]),
    (["run", "--memory", "-1"], ["--memory", "-1"]),
    (["run", "--memory", "99999999999999999999G"], ["--memory"]),
    (["run", "--cpus", "0x"], ["--cpus"]),
    (["run", "--cpus", "100000"], ["--cpus"]),
    (["run", "--cpus", "sockets=2,cores=2,threads=1,count=5"], ["cpus"]),
    (["run", "--on-reboot", "explode"], ["--on-reboot", "explode", "restart"]),
    (["run", "--rng", "perhaps"], ["perhaps"]),
    (["run", "--console", "stido"], ["--console", "stido", "stdio"]),
    (["run", "--console", "file=a,socket=b"], ["console"]),
    (["run", "--name", "../etc"], ["name", "../etc"]),
    (["run", "--name", "x" * 64], ["name"]),
    (["run", "--name", ""], ["name"]),
    (["run", "--log", "loud"], ["--log", "loud"]),
    (["run", "vmlinuz"], ["vmlinuz", "--kernel"]),
    (["run"] + ["--disk", "x"] * 17, ["--disk", "16"]),
    (["ps", "all"], ["all", "keel ps"]),
    (["info", "a", "b"], ["keel info [NAME]"]),
    (["stop", "--timeout", "soon"], ["--timeout", "soon"]),
    (["stop", "--force=perhaps"], ["--force", "perhaps"]),
    (["help", "rnu"], ["rnu", "run"]),
    (["guests", "--extract", "hallo"], ["hallo", "hello"]),
    (["guests", "x.elf"], ["--extract"]),
    (["inspect", "vm", "--cpus", "2"], ["not both"]),
])
def test_usage_errors(keel, args, words):
    refused(keel, args, 2, *words)


@pytest.mark.parametrize("verb", ["info", "pause", "resume", "stop", "console", "inspect"])
def test_no_such_vm(keel, verb):
    refused(keel, [verb, "nobody"], 1, "nobody")


@pytest.mark.parametrize("verb", ["info", "pause", "resume", "stop", "console"])
def test_no_vm_at_all(keel, verb):
    refused(keel, [verb], 1, "no VMs are running", "keel run")


@pytest.mark.parametrize("text, where, words", [
    ('{"memory": "1G",\n "cpus": }', ":2", []),
    ('{\n "memroy": "1G"\n}', ":2:", ["memroy", "memory"]),
    ('\n\n{"memory": {"sise": "1G"}}', ":3:", ["sise", "size"]),
    ('{"cmdline": "}]\\\"{,:",\n\n"cpus":{"count": 1},\n"memory"\n:{\n"size": "lots"}}', ":4:",
     ["lots"]),
    ('{"disk": [{"readonly": true}]}', ":1:", ["path"]),
    ('{"disk": [\n"a",\n{"path": "b",\n"readonly": true},\n{"path": 5}]}', ":1:", ["path"]),
    ('{"disk": [\n' + ",\n".join(['{"path": "x"}'] * 17) + "]}", ":1:", ["16"]),
    ('{"rng": true, "cpus": -1}', ":1:", ["cpus"]),
    ('{"name": 5}', ":1:", ["name"]),
    ('{"memory": "1G", "memory": "2G"}', ":1", []),
    ("[]", ":1:", []),
    ("", "", []),
    ("[" * 100000, "", []),
    ('{"name": "a\\u0000b"}', "", []),
    ("\x00\x01\x02", "", []),
])
def test_config_file_errors(keel, tmp_path, text, where, words):
    path = tmp_path / "vm.json"
    path.write_text(text)
    refused(keel, ["run", "--config", path], 2, f"{path}{where}", *words)


def test_config_file_too_big(keel, tmp_path):
    (tmp_path / "vm.json").write_text('{"cmdline": "' + "y" * (1 << 20) + '"}')
    refused(keel, ["run", "--config", "vm.json"], 2, "vm.json", "1 MiB")


def test_config_file_missing(keel, tmp_path):
    refused(keel, ["inspect", "--config", tmp_path / "none.json"], 2, "none.json", "No such file")
    refused(keel, ["inspect", "--config", tmp_path], 2, str(tmp_path))
    refused(keel, ["inspect", "--config", "/dev/zero"], 2, "/dev/zero")


def test_options_go_over_the_file(keel, tmp_path):
    path = tmp_path / "vm.json"
    path.write_text('{"memory": {"size": "1G"}, "cpus": 2, "disk": {"path": "a"}, "rng": false}')
    done = keel.run("inspect", "--memory=3G", "--config", path, "--disk", "b,readonly=on",
                    "--rng", "on")
    config = json.loads(done.stdout)
    assert config["memory"][0]["size"] in (3 << 30, "3G")
    assert config["cpus"]["count"] == 2
    assert [(d["path"], d["readonly"]) for d in config["disk"]] == [("a", False), ("b", True)]
    assert config["rng"]["enabled"] is True


MACHINE = ["--name", "web", "--kernel", "/boot/vmlinuz", "--initrd", "/boot/initrd", "--cmdline",
           "console=ttyS0 a,b \"c\"", "--memory", "size=1536M", "--cpus",
           "sockets=2,cores=3,threads=2", "--disk", "a,,b.raw", "--disk",
           "path=/dev/sdz,readonly=on", "--console", "file=out.log", "--on-reboot", "exit",
           "--rng", "off"]


def test_one_machine_in_every_form(keel, tmp_path):
    """Options, JSON and device tree must tell the same machine."""
    first = keel.run("inspect", *MACHINE)
    assert first.returncode == 0, first.stderr
    config = json.loads(first.stdout)
    assert config["cmdline"] == "console=ttyS0 a,b \"c\""
    assert config["cpus"] == {"count": 12, "sockets": 2, "cores": 3, "threads": 2}
    assert config["disk"][0]["path"] == "a,b.raw"
    assert config["on-reboot"] == "exit"
    assert config["console"]["file"] == "out.log"
    (tmp_path / "web.json").write_text(first.stdout)
    assert keel.run("inspect", "--config", "web.json").stdout == first.stdout
    dtb = keel.run("inspect", "--dtb", *MACHINE, text=False).stdout
    assert dtb[:4] == b"\xd0\x0d\xfe\xed"
    (tmp_path / "web.dtb").write_bytes(dtb)
    assert json.loads(keel.run("inspect", "web.dtb").stdout) == config
    again = keel.run("inspect", "--dtb", "web.dtb", text=False).stdout
    assert again == dtb
    compact = keel.run("inspect", "web.dtb", "--json").stdout
    assert compact.count("\n") == 1 and json.loads(compact) == config


def test_device_tree_is_valid(keel, tmp_path):
    if not shutil.which("dtc"):
        pytest.skip("dtc is not installed")
    dtb = keel.run("inspect", "--dtb", "--cpus", "2", text=False).stdout
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts"], input=dtb, capture_output=True,
                          check=True)
    assert b"/dts-v1/" in done.stdout


def test_hostile_device_trees(keel, tmp_path):
    dtb = keel.run("inspect", "--dtb", *MACHINE, text=False).stdout
    path = tmp_path / "bad.dtb"
    for content in (b"", b"\xd0\x0d\xfe\xed", dtb[:-1], dtb[: len(dtb) // 2], b"\0" * 4096,
                    os.urandom(4096), b"\xd0\x0d\xfe\xed" + b"\xff" * 4096):
        path.write_bytes(content)
        refused(keel, ["inspect", path], 1, "bad.dtb")
    refused(keel, ["inspect", "/dev/zero"], 1, "/dev/zero")
    refused(keel, ["inspect", tmp_path / "none.dtb"], 1, "none.dtb", "No such file")
    for at in range(0, len(dtb), 7):  # every byte may lie: no crash, and one line when refused
        path.write_bytes(dtb[:at] + bytes([dtb[at] ^ 0xff]) + dtb[at + 1:])
        done = keel.run("inspect", path)
        assert done.returncode in (0, 1), (at, done)
        if done.returncode:
            one_line(done.stderr)


def test_binary_output_is_not_for_terminals(keel):
    for args in (["inspect", "--dtb"], ["guests", "--extract", "hello", "-"]):
        terminal = Terminal(keel, *args)
        assert terminal.wait() == 2
        assert b"not for a terminal" in terminal.output
        assert terminal.output.count(b"\n") == 1
        terminal.close()


def test_full_disk(keel):
    with open("/dev/full", "w") as full:
        done = keel.run("inspect", stdout=full)
    assert done.returncode == 1
    assert "standard output" in one_line(done.stderr)


def test_closed_standard_files(keel):
    done = subprocess.run(["sh", "-c", '"$0" version <&- >&- 2>&-', str(keel.path)], timeout=60)
    assert done.returncode == 0


def test_empty_ps(keel):
    done = keel.run("ps")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no VMs are running\n")
    done = keel.run("ps", "--json")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, [], "")


def test_version(keel):
    version = (ROOT / "VERSION").read_text().strip()
    assert keel.run("version").stdout == f"keel {version}\n"
    assert keel.run("--version").stdout == f"keel {version}\n"
    assert json.loads(keel.run("version", "--json").stdout) == {"version": version}


def test_guests(keel, tmp_path):
    listed = json.loads(keel.run("guests", "--json").stdout)
    names = [guest["name"] for guest in listed]
    assert {"demo", "hello", "burn"} <= set(names)
    table = keel.run("guests").stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == names
    for guest in listed:
        elf = (build_dir() / "guests" / f"{guest['name']}.elf").read_bytes()
        done = keel.run("guests", "--extract", guest["name"])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (tmp_path / f"{guest['name']}.elf").read_bytes() == elf
        assert guest["size"] == len(elf)
    piped = keel.run("guests", "--extract", "builtin:hello", "-", text=False).stdout
    assert piped == (tmp_path / "hello.elf").read_bytes()
    refused(keel, ["guests", "--extract", "hello", "none/x.elf"], 1, "none/x.elf")
    assert not list(tmp_path.glob("*.??????"))


# Help and the documents that come from the tables.

def options_of(keel, verb):
    return re.findall(r"^  --([a-z-]+)", keel.run("help", verb).stdout, re.M)


def test_help_knows_every_verb(keel):
    overview = keel.run("help")
    assert overview.returncode == 0
    assert keel.run().stdout == keel.run("--help").stdout == overview.stdout
    listed = re.search(r"Verbs:\n(.*?)\n\n", overview.stdout, re.S).group(1)
    assert re.findall(r"^  ([a-z]+)", listed, re.M) == VERBS
    for verb in VERBS:
        text = keel.run("help", verb)
        assert text.returncode == 0 and text.stderr == ""
        assert f"Usage: keel {verb}" in text.stdout
        assert keel.run(verb, "--help").stdout == text.stdout
        assert max(map(len, text.stdout.splitlines())) <= 100


def test_help_follows_the_terminal(keel):
    terminal = Terminal(keel, "help", "run", columns=60)
    assert terminal.wait() == 0
    wide = [line for line in terminal.output.decode().splitlines() if len(line) > 60]
    assert all(line.lstrip().startswith(("--", "[")) or "=" in line for line in wide), wide
    terminal.close()


def test_documents_are_the_tables(keel):
    api = keel.run("help", "--api").stdout
    assert api == (ROOT / "docs/api.md").read_text(), "run make docs and commit docs/api.md"
    cli = (ROOT / "docs/cli.md").read_text()
    man = keel.run("help", "--man").stdout
    for verb in VERBS:
        assert f"`keel {verb}" in cli
        assert f'.SS "keel {verb}' in man
        for option in options_of(keel, verb):
            assert "\\-\\-" + option.replace("-", "\\-") in man, option
    codes = re.search(r"Exit codes:\n(.*?)\n\n", keel.run("help").stdout, re.S).group(1)
    for code in re.findall(r"^  (\S+)  ", codes, re.M):
        assert f"| {code} |" in cli


def test_man_page(keel, tmp_path):
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    page = tmp_path / "keel.1"
    page.write_text(keel.run("help", "--man").stdout)
    done = subprocess.run(["man", "--warnings=w", "-E", "UTF-8", "-l", str(page)], text=True,
                          capture_output=True, env={**os.environ, "MANWIDTH": "80"}, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
    for heading in ("NAME", "SYNOPSIS", "VERBS", "MACHINE OPTIONS", "EXIT STATUS", "FILES"):
        assert f"\n{heading}\n" in done.stdout or done.stdout.startswith(heading)
    assert "--on-reboot restart|exit|pause" in done.stdout


def test_completion_in_a_shell(keel, tmp_path):
    """A bash of its own at a terminal: the Tab key itself."""
    (tmp_path / "completion.bash").write_text(keel.run("help", "--completion").stdout)
    shell = Terminal(keel, "--norc", "--noprofile", "-i", program="/bin/bash", columns=200,
                     env={**keel.env, "PS1": "$ ", "TERM": "dumb", "HISTFILE": "",
                          "PATH": f"{keel.path.parent}:{os.environ['PATH']}"})
    shell.expect(rb"\$ ")
    shell.send(b"source ./completion.bash\r")
    shell.expect(rb"bash\r*\n.*\$ ")
    for typed, completed in ((b"keel run --mem\t", b"--memory "),
                             (b"si\t", b"size="),
                             (b"1G --on-reboot=ex\t", b"--on-reboot=exit "),
                             (b"--kernel builtin:hel\t", b"builtin:hello "),
                             (b"--config compl\t", b"completion.bash ")):
        shell.output = b""
        shell.send(typed)
        shell.expect(re.escape(completed))
    shell.child.kill()
    shell.wait()
    shell.close()


def complete(keel, line, cwd):
    """What bash would offer at the end of line; a trailing ~ stands for "no space follows"."""
    script = """
    compopt() { [[ $1 == -o && $2 == nospace ]] && nospace='~'; }
    source "$1"
    COMP_LINE=$2 COMP_POINT=${#2} nospace=
    _keel
    printf '%s\\n' "${COMPREPLY[@]/%/$nospace}"
    """
    path = cwd / "completion.bash"
    path.write_text(keel.run("help", "--completion").stdout)
    env = {**keel.env, "PATH": f"{keel.path.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script, "bash", str(path), line], capture_output=True,
                          text=True, env=env, cwd=cwd, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout.split()


@pytest.mark.parametrize("line, expected", [
    ("keel ", VERBS),
    ("keel pa", ["pause"]),
    ("keel help st", ["stop"]),
    ("keel run --mem", ["--memory"]),
    ("keel run --on-reboot ", ["restart", "exit", "pause"]),
    ("keel run --on-reboot=re", ["restart"]),
    ("keel run --memory ", [f"{key}=~" for key in ("size", "node", "pages", "backing", "prefault",
                                                   "cpus")]),
    ("keel run --disk path=x,re", ["x,readonly=~"]),
    ("keel run --disk path=x,readonly=o", ["on", "off"]),
    ("keel run --log d", ["debug"]),
    ("keel run --kernel builtin:hel", ["hello"]),
    ("keel guests --extract hel", ["hello"]),
    ("keel ps --", ["--help", "--json"]),
    ("keel run --config web", ["web.json"]),
    ("keel run --config=web", ["web.json"]),
    ("keel inspect we", ["web.json"]),
    ("keel ps x", []),
])
def test_completion(keel, tmp_path, line, expected):
    (tmp_path / "web.json").write_text("{}")
    assert complete(keel, line, tmp_path) == expected


def test_completion_script_is_clean(keel, tmp_path):
    script = keel.run("help", "--completion").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for verb in VERBS:
        offered = complete(keel, f"keel {verb} --", tmp_path)
        assert offered == ["--help"] + ["--" + name for name in options_of(keel, verb)]

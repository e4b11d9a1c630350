# SPDX-License-Identifier: MIT
"""Completion in a real bash: commands, options and their words, repositories, and names of VMs,
disks, chains and snapshots a part at a time; silence where there is nothing to complete."""
import os
import pty
import select
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, write_at

SCRIPT = SOURCE_ROOT / "tools" / "completion" / "backtree.bash"
PROBE = ('source "$S"; f=$(complete -p backtree | sed "s/.*-F \\([^ ]*\\).*/\\1/"); COMP_WORDS=("$@"); '
         'COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=(); '
         '$f backtree "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; '
         '((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; true')
NAMES = {"web1": ("vda", "vdb.old"), "web1.example-2": ("root_disk",), "9lives": ("a", "a-b")}


def history(case):
    case.init("--keep-all")
    for vm, disks in NAMES.items():
        for disk in disks:
            make_disk(case.dir / f"{vm}.{disk}", MIB, [(0, 100 * KIB)], seed=disk)
        case.backtree("add", case.repo, vm, *(f"{d}={case.dir}/{vm}.{d}" for d in disks))
    case.backtree("backup", case.repo, "web1/vda")
    write_at(case.dir / "web1.vda", 0, b"changed")
    case.backtree("backup", case.repo, "web1/vda")
    case.backtree("backup", case.repo, "web1/vda", "--full")
    return case.listed()


def completed(case, *words):
    """What is offered for the last of the words. Nothing else may be printed."""
    done = case.run(["bash", "-c", f"export PATH={BINARY.parent}:$PATH; {PROBE}", "bash", "backtree", *words],
                    env={"S": str(SCRIPT)})
    eq(done.err, "", f"stderr of completing {words}")
    return done.out.split("\n")[:-1]


def test_commands_and_options(case):
    commands = set(completed(case, ""))
    for line in case.backtree("--help").out.split("Commands:\n")[1].split("\n\n")[0].splitlines():
        check(line.split()[0] in commands, f"{line} is offered: {commands}")
    eq(completed(case, "di"), ["diff"], "di")
    eq(completed(case, "nothing"), [], "what no command begins with")
    eq(completed(case, "list", "--nam"), ["--names"], "an option")
    eq(completed(case, "list", case.repo, "--lim"), ["--limit="], "an option with a value")
    eq(set(completed(case, "diff", case.repo, "-")), {"--json", "--help"}, "all of diff's")
    check({"failed", "forgotten"} <= set(completed(case, "list", case.repo, "--state", "=", "")), "states")
    eq(completed(case, "jobs", case.repo, "--kind", "=", "ver"), ["verify"], "a word of an option")


def test_repositories_are_folders(case):
    history(case)
    (case.dir / "file").write_text("x")
    check(str(case.repo) in completed(case, "list", case.dir / "re"), "a folder")
    eq(completed(case, "list", case.dir / "fi"), [], "a file is none")


# command → numbers of parts that are a whole name for it
TAKES = {"backup": (1, 2), "prune": (1, 2), "list": (1, 2, 3), "remove": (1, 2, 4), "verify": (1, 2, 4),
         "show": (1, 2, 3, 4), "restore": (2, 4), "diff": (2, 4)}


@each({"unmounted": False, "mounted": True})
def test_names(case, mounted):
    """Each part by itself, for every command that takes names."""
    listed = history(case)
    if mounted:
        case.mount()
    for command, levels in TAKES.items():
        names_of(case, listed, command, levels)


def names_of(case, listed, command, levels):
    def offers(typed):
        return sorted(completed(case, command, case.repo, typed))

    def wanted(names, level):
        found = list(names) if level in levels else []
        return sorted(found + ([n + "/" for n in names] if level < levels[-1] else []))

    eq(offers(""), wanted(NAMES, 1), "VMs")
    eq(offers("web1"), wanted(["web1", "web1.example-2"], 1), "VMs that begin alike")
    eq(offers("web1/"), wanted(["web1/vda", "web1/vdb.old"], 2), "disks")
    eq(offers("9lives/a"), wanted(["9lives/a", "9lives/a-b"], 2), "disks that begin alike")
    chains = ["web1/vda/chain-0001", "web1/vda/chain-0002"]
    latest = ["web1/vda/latest"] if levels[-1] == 4 else []
    eq(offers("web1/vda/"), sorted((wanted(chains, 3) if levels[-1] > 2 else []) + latest), "chains")
    eq(offers("web1/vda/l"), latest, "latest")
    eq(offers("web1/vdb.old/"), [], "a disk without snapshots")
    snapshots = [n for n in listed if n.startswith("web1/vda/chain-0001/")]
    eq(offers("web1/vda/chain-0001/"), snapshots if levels[-1] == 4 else [], "snapshots")
    eq(offers("web1/vda/chain-0001/0002"), snapshots[1:] if levels[-1] == 4 else [], "one snapshot")
    for nothing in ("web9", "web9/", "web1/vdz/", listed[0] + "/", "//", "web1//", "-- x", "../"):
        eq(offers(nothing), [], f"{nothing!r}")


def test_other_places(case):
    listed = history(case)
    eq(completed(case, "diff", case.repo, listed[0], "web1/vda/chain-0002/"), [listed[2]], "the second of diff")
    eq(completed(case, "diff", case.repo, "--json", listed[0], "web1/vd"),
       ["web1/vda", "web1/vda/", "web1/vdb.old", "web1/vdb.old/"], "behind an option")
    eq(completed(case, "diff", case.repo, listed[0], listed[1], ""), [], "a third")
    eq(sorted(completed(case, "list", case.repo, "--vm", "=", "web")), ["web1", "web1.example-2"], "--vm=")
    eq(completed(case, "jobs", case.repo, "--disk", "=", "web1/vdb"), ["web1/vdb.old"], "--disk=")
    eq(sorted(completed(case, "add", case.repo, "web1")), ["web1", "web1.example-2"], "add to a VM")
    eq(sorted(completed(case, "restore", case.repo, listed[0], case.dir / "web1.vd")),
       [f"{case.dir}/web1.vda", f"{case.dir}/web1.vdb.old"], "a target is a file")
    quoted = case.dir / "my repo"
    case.repo.rename(quoted)
    eq(completed(case, "show", f"'{quoted}'", "9"), ["9lives", "9lives/"], "a quoted path")
    eq(completed(case, "show", str(quoted).replace(" ", "\\ "), "9"), ["9lives", "9lives/"], "an escaped one")


BROKEN = {
    "missing": lambda r: r.rename(r.with_name("away")),
    "no repository": lambda r: (r / "config").unlink(),
    "a file": lambda r: (r.rename(r.with_name("away")), r.write_text("x")),
    "noise for a catalog": lambda r: (r / "catalog.db").write_bytes(b"\xaa" * 5000),
    "an empty config": lambda r: (r / "config").write_text(""),
}


def test_nothing_of_a_broken_repository(case):
    history(case)
    for name, break_it in BROKEN.items():
        repo = case.dir / "broken" / name.replace(" ", "-") / "repo"
        repo.parent.mkdir(parents=True)
        shutil.copytree(case.repo, repo)
        eq(completed(case, "show", repo, "9"), ["9lives", "9lives/"], "before")
        break_it(repo)
        for words in (("show", repo, ""), ("diff", repo, "web1/"), ("list", repo, "--vm", "=", ""),
                      ("restore", repo, "web1/vda/chain-0001/0")):
            eq(completed(case, *words), [], f"{name}: {words}")


def test_at_a_prompt(case):
    """Keys, as somebody types them: each TAB goes on as far as names are alike."""
    listed = history(case)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(PATH=f"{BINARY.parent}:{os.environ['PATH']}", PS1="PROMPT", TERM="dumb",
                          INPUTRC="/dev/null", HISTFILE="/dev/null", LC_ALL="C.UTF-8", COLUMNS="300")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    seen = b""

    def until(what, seconds=20):
        nonlocal seen
        deadline = time.monotonic() + seconds * SLOWDOWN
        while what not in seen:
            check(time.monotonic() < deadline, f"no {what!r} in {seen!r}")
            if fd in select.select([fd], [], [], 0.2)[0]:
                seen += os.read(fd, 4096).replace(b"\x07", b"")  # the bell of what is ambiguous

    try:
        until(b"PROMPT")
        os.write(fd, f"source {SCRIPT}; cd {case.dir}; bind 'set enable-bracketed-paste off'\n".encode())
        os.write(fd, b"backtree sho\trep\t")
        until(b"backtree show repo/")
        os.write(fd, b" web1/vda/c\t1/0001\t")
        until(listed[0].encode())
        os.write(fd, b" --js\t| grep -c '\"kind\": \"full\"' ; echo en''ded\n")
        until(b"ended")
        check(b"\r\n1\r\n" in seen, f"the completed line is right: {seen!r}")
    finally:
        os.write(fd, b"\x15exit\n")
        os.close(fd)
        os.waitpid(pid, 0)


main()

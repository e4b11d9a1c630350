# SPDX-License-Identifier: MIT
"""The command line itself: help, exit statuses, bad words and bad names; and what an unprivileged
user is told.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk

COMMANDS = ["init", "mount", "umount", "add", "remove", "backup", "restore", "list", "show",
            "diff", "jobs", "prune", "stats"]
WITH_JSON = ["list", "show", "diff", "jobs", "prune", "stats"]


def ready(case):
    image = make_disk(case.dir / "vda.raw", MIB, [(0, 100 * KIB)])
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={image}")
    return image


def state(case):
    """What must be as it was; packs of notes tell also of what was made and undone."""
    return [case.catalog.rows(f"SELECT * FROM {t} ORDER BY id") for t in
            ("vm_backup_contexts", "vm_disks", "backup_jobs", "backup_disks",
             "packs WHERE id IN (SELECT pack_id FROM chunks WHERE kind <> 4)")]


def test_help(case):
    done = case.backtree("--help")
    eq(done.err, "", "stderr")
    for command in COMMANDS:
        check(re.search(rf"^\s+{command}\b", done.out, re.M), f"{command} is listed: {done.out}")
    for line in re.findall(r"^  (\w[\w-]*)  ", done.out, re.M):
        case.backtree(line, "--help")


def test_version(case):
    done = case.backtree("--version")
    check(re.search(r"\d+\.\d+\.\d+", done.out), f"a version: {done}")


@each(COMMANDS)
def test_help_of(case, command):
    done = case.backtree(command, "--help")
    eq(done.err, "", "stderr")
    check(f"backtree {command}" in done.out, f"synopsis: {done.out}")
    check("REPO" in done.out, "names its operand")
    check(all(len(line) <= 100 for line in done.out.splitlines()), "lines of 100 columns or less")
    eq("--json" in done.out, command in WITH_JSON, "--json where there is a listing")


@each(COMMANDS)
def test_no_operands(case, command):
    done = case.backtree(command, status=2)
    check(done.err.startswith("backtree: ") and command in done.err, f"says what is missing: {done}")
    eq(done.out, "", "stdout")


@each(COMMANDS)
def test_unknown_option(case, command):
    ready(case)
    before = state(case)
    done = case.backtree(command, "--nonsense", case.repo, "x", "y", status=2)
    check("nonsense" in done.err, f"names it: {done}")
    eq(state(case), before, "the catalog")


@each({"no command": [], "unknown command": ["frobnicate"], "an option alone": ["--nonsense"],
       "a path": ["/tmp"]})
def test_usage(case, words):
    done = case.backtree(*words, status=2)
    check(done.err.startswith("backtree: ") or not words, f"says what is wrong: {done}")
    check(done.err, "something on stderr")
    if words:
        check(words[0] in done.err, f"names the word: {done}")


@each(["init", "umount", "stats", "list", "jobs"])
def test_too_many_operands(case, command):
    ready(case)
    done = case.backtree(command, case.repo, "extra", "more", status=2)
    check("extra" in done.err or "operand" in done.err or "REPO" in done.err, f"says why: {done}")


BAD_NAMES = {
    "slash": "a/b", "two dots": "..", "a dot": ".", "leading dash": "-web", "leading dot": ".web",
    "65 characters": "x" * 65, "control character": "a\x01b", "newline": "a\nb", "blank": "a b",
    "empty": "", "escape sequence": "a\x1b[31mb", "not ASCII": "caf\u00e9", "reserved": "backup",
    "not UTF-8": "a\udcff",
}


@each({f"{way}, {name}": (way, text) for way in ("unmounted", "mounted")
       for name, text in BAD_NAMES.items() if name != "reserved"})
def test_bad_vm_name(case, row):
    way, name = row
    image = ready(case)
    if way == "mounted":
        case.mount()
    before = state(case)
    done = case.backtree("add", "--", case.repo, name, f"vda={image}", status=(1, 2))
    eq(len(done.err.splitlines()), 1, f"one line: {done}")
    check("\x1b" not in done.err and "\x01" not in done.err, f"no raw control characters: {done!r}")
    eq(state(case), before, "the catalog")


@each({f"{way}, {name}": (way, text) for way in ("unmounted", "mounted")
       for name, text in BAD_NAMES.items()})
def test_bad_disk_name(case, row):
    way, name = row
    image = ready(case)
    if way == "mounted":
        case.mount()
    before = state(case)
    done = case.backtree("add", "--", case.repo, "web1", f"{name}={image}", status=(1, 2))
    eq(len(done.err.splitlines()), 1, f"one line: {done}")
    eq(state(case), before, "the catalog")


UNKNOWN = {
    "backup of a VM": (["backup", "{r}", "web9"], "web9"),
    "backup of a disk": (["backup", "{r}", "web1/vdz"], "vdz"),
    "backup of a snapshot": (["backup", "{r}", "web1/vda/chain-0001"], None),
    "remove of a VM": (["remove", "{r}", "web9"], "web9"),
    "remove of a disk": (["remove", "{r}", "web1/vdz"], "vdz"),
    "restore of a VM": (["restore", "{r}", "web9/vda", "{d}/x"], "web9"),
    "restore of a snapshot": (["restore", "{r}", "web1/vda/chain-0001/0001-full-x", "{d}/x"], "chain-0001"),
    "restore of a disk never backed up": (["restore", "{r}", "web1/vda", "{d}/x"], "web1/vda"),
    "restore of a whole VM": (["restore", "{r}", "web1", "{d}/x"], None),
    "an incremental of nothing": (["backup", "{r}", "web1", "--incremental"], "incremental"),
}


@each({f"{way}, {name}": (way, row) for way in ("unmounted", "mounted")
       for name, row in UNKNOWN.items()})
def test_unknown(case, row):
    way, (words, says) = row
    ready(case)
    if way == "mounted":
        case.mount()
    before = state(case)
    case.refused(*(w.format(r=case.repo, d=case.dir) for w in words), says=says, status=(1, 2))
    eq(state(case), before, "the catalog")
    check(not (case.dir / "x").exists(), "no target was made")


@each({"full and incremental": ["--full", "--incremental"], "a bad tag": ["--tag=a b"],
       "an empty tag": ["--tag="], "a tag with a comma": ["--tag=a,b"],
       "a tag of 65": ["--tag=" + "x" * 65], "a value where none is": ["--full=yes"],
       "no value where one is": ["--tag"]})
def test_bad_backup_option(case, options):
    ready(case)
    before = state(case)
    done = case.backtree("backup", case.repo, "web1", *options, status=(1, 2))
    check(done.err.startswith("backtree: "), f"says why: {done}")
    eq(state(case), before, "the catalog")


BAD_SOURCES = {
    "missing": ("{d}/nothing", "No such file"),
    "a directory": ("{d}", "director|folder"),
    "a fifo": ("{d}/fifo", "fifo"),
    "a character device": ("/dev/null", "character"),
    "unknown format": ("vmdk:{d}/vda.raw", "vmdk"),
    "empty": ("", None),
    "in the repository": ("{r}/catalog.db", "repository"),
    "on the mount": ("{m}/README", None),
}


@each({f"{way}, {name}": (way, row) for way in ("unmounted", "mounted")
       for name, row in BAD_SOURCES.items()})
def test_bad_source(case, row):
    way, (source, says) = row
    ready(case)
    os.mkfifo(case.dir / "fifo")
    if way == "mounted":
        case.mount()
    before = state(case)
    text = source.format(d=case.dir, r=case.repo, m=case.mnt)
    case.refused("add", case.repo, "web2", f"vda={text}", says=says, status=(1, 2), timeout=15)
    eq(state(case), before, "the catalog")


def unprivileged(case, *words, status):
    """The command as another user."""
    os.chmod(case.dir, 0o755)
    return case.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BINARY, *words],
                    status=status)


def test_without_permission(case):
    needs_root()
    ready(case)
    can_run = case.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BINARY,
                        "--help"], status=None)
    if can_run.status != 0:
        raise Skip("another user cannot reach the binary")
    for words in (("list", case.repo), ("backup", case.repo, "web1"), ("stats", case.repo),
                  ("mount", "-f", case.repo, case.mnt)):
        done = unprivileged(case, *words, status=1)
        check("Permission denied" in done.err, f"says why: {done}")
        eq(len(done.err.splitlines()), 1, f"one line: {done}")


def test_source_without_permission(case):
    """A repository of an ordinary user, and a disk that only root may read."""
    needs_root()
    mine = case.dir / "mine"
    mine.mkdir()
    os.chown(mine, 65534, 65534)
    secret = make_disk(case.dir / "secret.raw", MIB, [(0, 4096)])
    os.chmod(secret, 0o600)
    done = unprivileged(case, "init", mine / "repo", status=None)
    if done.status != 0:
        raise Skip("another user cannot reach the binary")
    done = unprivileged(case, "add", mine / "repo", "web1", f"vda={secret}", status=1)
    check("Permission denied" in done.err and str(secret) in done.err, f"says why: {done}")
    os.chmod(secret, 0o644)
    unprivileged(case, "add", mine / "repo", "web1", f"vda={secret}", status=0)
    unprivileged(case, "backup", mine / "repo", "web1", status=0)
    os.chmod(secret, 0o600)
    done = unprivileged(case, "backup", mine / "repo", "web1", status=1)
    check("Permission denied" in done.err, f"says why: {done}")
    done = unprivileged(case, "restore", mine / "repo", "web1/vda", secret, status=1)
    check("Permission denied" in done.err, f"says why: {done}")


def test_bad_fault_variable(case):
    for value in ("nonsense=kill", "1-pack-append=nonsense", "1-pack-append", "1-pack-append:0=EIO",
                  "=kill"):
        done = case.backtree("list", case.repo, status=(1, 2), env={"BACKTREE_FAULT": value})
        check("BACKTREE_FAULT" in done.err or "fault" in done.err, f"{value} is told: {done}")


main()

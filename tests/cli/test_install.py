# SPDX-License-Identifier: MIT
"""What `meson install` puts in place, man pages against --help, the mount helper, the completion,
and what a terminal is shown.
"""
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, make_scattered_disk
from terminal import on_terminal

COMMANDS = ["init", "mount", "umount", "add", "remove", "backup", "restore", "list", "show",
            "diff", "jobs", "prune", "stats", "check", "gc", "rebuild"]
BUILD = BINARY.parent.parent
MAN = SOURCE_ROOT / "tools" / "man"


def installed(case):
    """`meson install` into a folder of its own. Returns name → path of what is there."""
    if not (BUILD / "build.ninja").exists():
        raise Skip("the binary is in no meson build folder")
    case.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", case.dir / "root",
              "--quiet"], timeout=120)
    return {p.name: p for p in (case.dir / "root").rglob("*") if not p.is_dir()}


def test_installed_files(case):
    files = installed(case)
    for name in ["backtree", "mount.backtree", "backtree.1", "mount.backtree.8",
                 *(f"backtree-{c}.1" for c in COMMANDS)]:
        check(name in files or name + ".gz" in files, f"{name} is installed: {sorted(files)}")
    paths = [str(p.relative_to(case.dir / "root")) for p in files.values()]
    check(any("bash-completion" in p for p in paths) or
          any("bash-completion" in str(p) for p in (case.dir / "root").rglob("*")), "completion")
    check(any(p.endswith(".service") for p in paths), f"a systemd service: {paths}")
    check(any(p.endswith(".timer") for p in paths), f"a systemd timer: {paths}")
    for path in (case.dir / "root").rglob("*"):
        if path.name in ("backtree", "mount.backtree") and "completions" not in str(path):
            check(os.access(path, os.X_OK), f"{path} is executable")


def test_installed_binary_runs(case):
    installed(case)
    binary = next(p for p in (case.dir / "root").rglob("bin/backtree"))
    case.run([binary, "--help"])


def test_nothing_is_left_to_fill_in(case):
    """Generated files have no @PLACEHOLDER@ and name no build folder."""
    for path in installed(case).values():
        if path.suffix in (".service", ".timer") or path.name == "mount.backtree":
            text = path.read_text()
            check(not re.search(r"@[A-Za-z_]+@", text), f"{path.name}: {text}")
            check(str(BUILD) not in text, f"{path.name} names the build folder")


def test_systemd_units(case):
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze")
    files = installed(case)
    units = [p for p in files.values() if p.suffix in (".service", ".timer")]
    for unit in units:
        # The binary of ExecStart= is not at its final place.
        text = re.sub(r"(?m)^(Exec\w+=[-+!]*)\S*backtree", r"\1/bin/true", unit.read_text())
        unit.write_text(text)
    names = [re.sub(r"@\.", "@web1.", str(u)) for u in units]
    for unit, name in zip(units, names):
        if str(unit) != name:
            shutil.copy(unit, name)
    done = case.run(["systemd-analyze", "verify", "--man=no", *names], status=None)
    ours = [line for line in done.err.splitlines() if "backtree" in line]
    eq(ours, [], "complaints")


def words(text):
    return set(re.findall(r"--[a-z][a-z-]*", text))


@each(COMMANDS)
def test_man_page(case, command):
    """Each option of --help is in the page and the other way round; the page renders."""
    page = MAN / f"backtree-{command}.1"
    done = case.run(["mandoc", "-T", "utf8", page])
    text = re.sub(r".\x08", "", done.out)
    lint = case.run(["mandoc", "-T", "lint", "-W", "warning", page], status=None)
    eq(lint.status, 0, f"mandoc -T lint: {lint.out}")
    help_text = case.backtree(command, "--help").out
    # Options of other commands may be spoken of; those of this one are listed with a tag.
    eq(words(help_text) - words(text), set(), "options in --help but not in the page")
    own = set(re.findall(r"(?m)^\s{2,8}(--[a-z][a-z-]*)", text))
    eq(own - words(help_text), set(), "options in the page but not in --help")
    check(f"backtree-{command}" in text or f"backtree {command}" in text, "its name")


@each(["backtree.1", "mount.backtree.8"])
def test_other_page(case, name):
    lint = case.run(["mandoc", "-T", "lint", "-W", "warning", MAN / name], status=None)
    eq(lint.status, 0, f"mandoc -T lint: {lint.out}")
    if name == "backtree.1":
        text = re.sub(r".\x08", "", case.run(["mandoc", "-T", "utf8", MAN / name]).out)
        for command in COMMANDS:
            check(re.search(rf"\b{command}\b", text), f"{command} is in the page")


def test_mount_helper(case):
    """mount -t backtree REPO MNT, through the helper where mount(8) finds it."""
    needs_root()
    if os.path.exists("/sbin/mount.backtree"):
        raise Skip("a mount helper is installed already")
    helper = BINARY.parent / "mount.backtree"
    if not helper.exists():
        raise Skip("no mount helper in the build folder")
    # The helper as it is, but with our binary and as a plain command: mount(8) runs
    # `mount.backtree REPO MNT -o OPTIONS`.
    text = re.sub(r'(?<=")[^"]*/bin/backtree(?=")', str(BINARY), helper.read_text())
    script = case.dir / "mount.backtree"
    script.write_text(text)
    script.chmod(0o755)
    case.init()
    case.run([script, case.repo, case.mnt, "-o", "rw,noauto,cache=32M"])
    check((case.mnt / "README").exists(), "mounted")
    case.backtree("umount", case.mnt)
    case.run([script, "-h"], status=None, timeout=5)
    done = case.run([script, case.dir / "nothing", case.mnt, "-o", "rw"], status=None)
    check(done.status == 32 and "No such file" in done.err, f"a failure is told: {done}")


def test_completion(case):
    script = SOURCE_ROOT / "tools" / "completion" / "backtree.bash"
    case.run(["bash", "-n", script])
    probe = ('source "$S"; f=$(complete -p backtree | sed "s/.*-F \\([^ ]*\\).*/\\1/"); '
             'COMP_WORDS=(backtree ""); COMP_CWORD=1; COMP_LINE="backtree "; COMP_POINT=9; '
             '$f backtree "" backtree; printf "%s\\n" "${COMPREPLY[@]}"')
    done = case.run(["bash", "-c", f"export PATH={BINARY.parent}:$PATH; {probe}"],
                    env={"S": str(script)})
    offered = set(done.out.split())
    eq(set(COMMANDS) - offered, set(), f"commands not offered: {done}")


@each({"unmounted": False, "mounted": True})
def test_progress_bar(case, mounted):
    image = make_scattered_disk(case.dir / "vda.raw", 20)
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={image}")
    if mounted:
        case.mount(fault="source-read=sleep-80")
    status, seen = on_terminal(["backup", case.repo, "web1"],
                               env={"BACKTREE_FAULT": "source-read=sleep-80"})
    eq(status, 0, f"exit status: {seen!r}")
    check(seen.count("\r") >= 3, f"a line that is drawn again: {seen!r}")
    check("%" in seen and "/s" in seen, f"share and rate: {seen!r}")
    check("web1/vda" in seen, f"the snapshot at the end: {seen!r}")


def test_no_progress_bar_off_a_terminal(case):
    image = make_scattered_disk(case.dir / "vda.raw", 10)
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={image}")
    done = case.backtree("backup", case.repo, "web1", env={"BACKTREE_FAULT": "source-read=sleep-50"})
    check("\r" not in done.out + done.err and "%" not in done.out + done.err, f"plain: {done}")


def test_listing_on_a_terminal(case):
    image = make_disk(case.dir / "vda.raw", MIB, [(0, 100 * KIB)])
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={image}")
    case.backtree("backup", case.repo, "web1")
    for command in ("list", "jobs", "stats"):
        status, seen = on_terminal([command, case.repo])
        eq(status, 0, f"exit status of {command}: {seen!r}")
        check("web1" in seen, f"{command}: {seen!r}")


main()

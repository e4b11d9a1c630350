# SPDX-License-Identifier: MIT
"""backtree diff: any two snapshots, either order, against what both raw disks hold; its forms; what
it refuses; beside a daemon and without one."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import extents
from backtree_testing import *
from disks import KIB, MIB, copy, make_disk, noise, write_at
from terminal import on_terminal

CHUNK = 64 * KIB


def history(case):
    """web1/vda in four generations, the last one larger and so of another chain; web1/vdb in one.
    {path: file with its bytes}."""
    case.init("--keep-all")
    vda = make_disk(case.dir / "vda.raw", 20 * MIB + 100, [(0, MIB), (10 * MIB, 2 * MIB)])
    make_disk(case.dir / "vdb.raw", 15 * MIB, [(0, MIB), (3 * MIB, MIB)])
    case.backtree("add", case.repo, "web1", f"vda={vda}", f"vdb={case.dir}/vdb.raw")
    made = {}
    for generation in range(4):
        if generation:
            write_at(vda, generation * 3 * MIB + 77, noise(100 * KIB, generation))
            write_at(vda, 10 * MIB + generation * CHUNK, bytes(CHUNK))
        if generation == 3:
            os.truncate(vda, 30 * MIB)
            write_at(vda, 29 * MIB, b"grown")
        case.backtree("backup", case.repo, "web1/vda")
        made[case.listed("--disk=web1/vda")[-1]] = copy(vda, case.dir / f"vda.{generation}")
    case.backtree("backup", case.repo, "web1/vdb")
    made[case.listed("--disk=web1/vdb")[-1]] = case.dir / "vdb.raw"
    eq(len(made), 5, f"snapshots {made}")
    return made


def test_every_two_snapshots(case):
    """Of one disk and of two, in both orders, of equal and of different sizes."""
    made = history(case)
    for old, old_raw in made.items():
        for new, new_raw in made.items():
            out = case.backtree("diff", case.repo, old, new).out
            extents.expect(out, old_raw, new_raw, CHUNK, f"{old} to {new}")
            eq(out == "", old == new, f"something differs between {old} and {new}")


def test_one_snapshot_is_compared_with_its_parent(case):
    made = history(case)
    names, raws = list(made), list(made.values())
    extents.expect(case.backtree("diff", case.repo, names[0]).out, None, raws[0], CHUNK, "the full")
    extents.expect(case.backtree("diff", case.repo, names[2]).out, raws[1], raws[2], CHUNK, "the third")
    before = [case.backtree("diff", case.repo, n).out for n in names]
    case.mount()
    for name, text in zip(names, before):
        eq((case.vm(name) / "changes").read_text(), text, f"changes of {name}")
        eq(case.backtree("diff", case.repo, name).out, text, "beside the daemon")


def test_short_names(case):
    made = history(case)
    names = list(made)
    wanted = case.backtree("diff", case.repo, names[0], names[3]).out
    for latest in ("web1/vda", "web1/vda/latest", "vms/web1/vda/latest", names[3] + "/"):
        eq(case.backtree("diff", case.repo, names[0], latest).out, wanted, latest)
        eq(case.backtree("diff", case.repo, latest, names[0]).out, wanted, f"{latest}, turned")


def test_json(case):
    made = history(case)
    names = list(made)
    answer = case.backtree("diff", case.repo, names[2], names[3], "--json").json()
    eq(list(answer), ["from", "to", "chunk_size", "extents", "extent_count", "changed_bytes"], "keys")
    plain = extents.parse(case.backtree("diff", case.repo, names[2], names[3]).out)
    eq([(e["offset"], e["length"]) for e in answer["extents"]], plain, "extents")
    eq((answer["extent_count"], answer["changed_bytes"]), (len(plain), sum(n for _, n in plain)), "sums")
    for key, name in (("from", names[2]), ("to", names[3])):
        record = case.backtree("show", case.repo, name, "--json").json()
        eq(answer[key], {k: record[k] for k in ("path", "capacity", "digest")}, key)
    alone = case.backtree("diff", case.repo, names[0], "--json").json()
    eq(alone["from"], None, "what a full is compared with")
    same = case.backtree("diff", case.repo, names[0], names[0], "--json").json()
    eq((same["extents"], same["extent_count"], same["changed_bytes"]), ([], 0, 0), "with itself")


def test_on_a_terminal(case):
    made = history(case)
    names = list(made)
    status, seen = on_terminal(["diff", case.repo, names[1], names[2]])
    eq(status, 0, f"exit status of {seen!r}")
    plain = extents.parse(case.backtree("diff", case.repo, names[1], names[2]).out)
    for offset, length in plain:
        check(any(line.split()[:2] == [str(offset), str(length)] for line in seen.splitlines()),
              f"{offset} {length} in {seen!r}")
    check(f"{len(plain)} extents, " in seen and names[1] in seen and names[2] in seen, f"total: {seen!r}")
    check("\033[" in seen, f"the titles stand out: {seen!r}")
    check("\033" not in on_terminal(["diff", case.repo, names[1]], env={"NO_COLOR": "1"})[1], "NO_COLOR")
    check("size: 20.0 MiB before, 30.0 MiB after" in on_terminal(["diff", case.repo, names[2], names[3]])[1],
          "that the disk has grown")
    eq(on_terminal(["diff", case.repo, names[0], names[0]])[1].splitlines()[0].split(",")[0], "0 extents",
       "nothing differs")


REFUSED = {
    "an unknown VM": (["web9/vda"], 1, "no VM named web9"),
    "an unknown disk": (["web1/vdz", "web1/vda"], 1, "no disk named vdz"),
    "an unknown snapshot": (["web1/vda", "web1/vda/chain-0001/0009-full-20200101T000000Z"], 1, "0009-full"),
    "a VM": (["web1"], 1, "name a disk"),
    "a chain": (["web1/vda/chain-0001", "web1/vda"], 1, "name a disk"),
    "a path that is none": (["../x", "web1/vda"], 1, "\\.\\."),
    "nothing": ([], 2, "missing operand"),
    "three": (["a", "b", "c"], 2, "unexpected operand 'c'"),
    "an option that is none": (["web1/vda", "--fast"], 2, "unknown option '--fast'"),
}


@each(REFUSED)
def test_refused(case, row):
    operands, status, says = row
    history(case)
    case.refused("diff", case.repo, *operands, status=status, says=says)
    case.refused("diff", case.repo, *operands, "--json", status=status, says=says)


def test_no_repository(case):
    case.refused("diff", case.dir / "nothing", "web1/vda", says="not a backtree repository")
    case.refused("diff", case.dir, "web1/vda", says="not a.*repository|config")


def test_after_forgetting_and_gc(case):
    """What is left is compared as before; a snapshot without its parent, with the one before."""
    made = history(case)
    names, raws = list(made), list(made.values())
    case.mount()
    case.vm(names[1]).rmdir()
    case.backtree("gc", case.repo)
    for _ in range(2):
        extents.expect(case.backtree("diff", case.repo, names[2]).out, raws[0], raws[2], CHUNK, "relinked")
        extents.expect(case.backtree("diff", case.repo, names[3], names[0]).out, raws[0], raws[3], CHUNK, "ends")
        case.refused("diff", case.repo, names[1], names[2], says="no snapshot named")
        if case.daemon:
            case.umount()


def test_a_snapshot_that_is_forgotten_under_way(case):
    """Forgotten and collected by a daemon between two reads of the command: no damage is told."""
    names = list(history(case))
    case.mount()
    child = case.spawn([BINARY, "diff", case.repo, names[1], names[0]], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True,
                       env=dict(os.environ, BACKTREE_FAULT="pack-read:3=hold", BACKTREE_FAULT_HOLD=f"{case.dir}/held"))
    held = case.dir / "held.pack-read"
    within(20, held.exists, "it waits at the root of the first one's map")
    case.vm(names[1]).rmdir()
    case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))
    held.unlink()
    out, err = child.communicate(timeout=20 * SLOWDOWN)
    eq((child.returncode, out), (1, ""), f"status and output, {err}")
    check(f"{names[1]} was forgotten meanwhile" in err, f"says so: {err}")


def test_damage(case):
    """A map that cannot be read: exit status 3 and no list at all when nothing was found before."""
    made = history(case)
    names = list(made)
    for path in case.data_packs():
        path.rename(path.with_suffix(".away"))
    result = case.refused("diff", case.repo, names[1], names[2], status=3)
    check("pack" in result.err, f"says why: {result}")
    case.refused("diff", case.repo, names[1], names[2], "--json", status=3)


def test_a_giant_with_little_on_it(case):
    tib = 1 << 40
    disk = make_disk(case.dir / "vda.raw", 4 * tib, [(n * tib // 4, 3 * CHUNK) for n in range(16)])
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={disk}")
    case.backtree("backup", case.repo, "web1")
    before = copy(disk, case.dir / "before")
    write_at(disk, 2 * tib + CHUNK, bytes(CHUNK))
    write_at(disk, 4 * tib - CHUNK, b"x")
    case.backtree("backup", case.repo, "web1", "--full")
    first, second = case.listed()
    found = extents.expect(case.backtree("diff", case.repo, first, second).out, before, disk, CHUNK, "4 TiB")
    eq(len(found), 2, "extents")


def test_output_that_cannot_be_written(case):
    made = history(case)
    first = list(made)[0]
    done = case.sh(f"{BINARY} diff {case.repo} {first} > /dev/full", status=1)
    check("No space left" in done.err, f"says why: {done}")


main()

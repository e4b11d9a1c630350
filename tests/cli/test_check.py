# SPDX-License-Identifier: MIT
"""check: silent on a healthy repository, also beside a daemon that works; each planted fault is
found and named.
"""
import os
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, write_at


def prepare(case):
    case.init()
    for name in ("a", "b"):
        make_disk(case.dir / f"{name}.raw", 3 * MIB, [(0, MIB), (2 * MIB, 100 * KIB)], name)
    case.backtree("add", case.repo, "web1", f"vda={case.dir}/a.raw", f"vdb={case.dir}/b.raw")
    case.backtree("backup", case.repo, "web1", "--tag=x")
    write_at(case.dir / "a.raw", 0, noise(100, 1))
    case.backtree("backup", case.repo, "web1")


def largest(case):
    return max(case.pack_files(), key=lambda p: p.stat().st_size)


def sql(text):
    def plant(case):
        with sqlite3.connect(case.repo / "catalog.db") as connection:
            connection.execute("PRAGMA foreign_keys = off")
            connection.execute(text)
        connection.close()
    return plant


def on_pack(action):
    return lambda case: action(largest(case))


def flip_payload(case):
    """A byte of a chunk's payload, far from headers."""
    pack = largest(case)
    row = case.catalog.rows('SELECT "offset" FROM chunks c JOIN packs p ON p.id = c.pack_id '
                            "WHERE p.uuid = ? AND kind = 1 ORDER BY stored_length DESC LIMIT 1",
                            pack.stem)[0]
    at = row["offset"] + 64 + 1000
    byte = pack.read_bytes()[at]
    write_at(pack, at, bytes([byte ^ 1]))


def leave_open_pack(case):
    pack = largest(case)
    pack.with_suffix(".open").write_bytes(b"BT")


# fault: (plant, found by the quick check, what it says, class)
FAULTS = {
    "missing pack": (on_pack(lambda p: p.unlink()), True, r"pack .*: its file is missing"),
    "cut pack": (on_pack(lambda p: os.truncate(p, p.stat().st_size - 1)), True,
                 r"pack .* bytes, the catalog says"),
    "pack's header": (on_pack(lambda p: write_at(p, 20, b"\xff\xff")), True, r"pack header"),
    "pack's trailer": (on_pack(lambda p: write_at(p, p.stat().st_size - 20, b"\xff\xff")), True,
                       r"pack trailer"),
    "pack's index": (on_pack(lambda p: write_at(p, p.stat().st_size - 60, b"\xff\xff")), True,
                     r"index's checksum"),
    "payload of a chunk": (flip_payload, False, r"pack .* at \d+: payload checksum"),
    "row of a chunk is gone": (sql("DELETE FROM chunks WHERE \"row\" = (SELECT min(\"row\") FROM "
                                   "chunks WHERE kind = 1)"), True,
                               r"(?s)index and the catalog's rows.*cannot be read"),
    "row of a map node is gone": (sql("DELETE FROM chunks WHERE \"row\" = (SELECT min(\"row\") "
                                      "FROM chunks WHERE kind = 2)"), True, r"cannot be read"),
    "offset of a row": (sql("UPDATE chunks SET \"offset\" = \"offset\" + 1 WHERE kind = 1"), True,
                        r"index and the catalog's rows"),
    "length of a row": (sql("UPDATE chunks SET raw_length = 5 WHERE kind = 1"), True,
                        r"of another size"),
    "digest of a snapshot": (sql("UPDATE backup_disks SET digest = randomblob(32) WHERE number = 2"),
                             True, r"its digest in the catalog"),
    "capacity of a snapshot": (sql("UPDATE backup_disks SET capacity = 4096 WHERE number = 1"),
                               True, r"its capacity in the catalog|cannot be read"),
    "tags of a snapshot": (sql("UPDATE backup_disks SET tags = 'y' WHERE number = 1"), True,
                           r"its tags in the catalog"),
    "number of a snapshot": (sql("UPDATE backup_disks SET number = 7 WHERE number = 2"), True,
                             r"its number in the catalog"),
    "record of a snapshot is gone": (sql("DELETE FROM chunks WHERE kind = 3"), True,
                                     r"its record is in no pack"),
    "foreign key": (sql("UPDATE backup_disks SET job_id = 999 WHERE number = 1"), True,
                    r"catalog\.db: .*"),
    "catalog is noise": (lambda c: (c.repo / "catalog.db").write_bytes(noise(50000, 1)), True,
                         r"catalog\.db: .*backtree rebuild"),
    "catalog is cut": (lambda c: os.truncate(c.repo / "catalog.db", 20000), True, r"catalog\.db: "),
}

LEFTOVERS = {
    "open pack": (leave_open_pack, r"never sealed"),
    "orphan pack": (lambda c: leave_sealed_copy(c), r"the catalog does not know it"),
    "strange file": (lambda c: (c.repo / "packs" / "notes.txt").write_text("x"), r"no pack"),
}


def leave_sealed_copy(case):
    """A pack that was sealed when the crash came: its job's transaction did not happen."""
    make_disk(case.dir / "c.raw", MIB, [(0, 300 * KIB)], "c")
    case.backtree("add", case.repo, "web2", f"vda={case.dir}/c.raw")
    case.backtree("backup", case.repo, "web2", status=None,
                  env={"BACKTREE_FAULT": "2-pack-sealed=kill"})


@each({"quick": (), "full": ("--full",)})
def test_healthy(case, options):
    prepare(case)
    done = case.backtree("check", case.repo, *options)
    eq(len(done.out.splitlines()), 1, f"a summary alone: {done}")
    check("whole" in done.out and done.err == "", f"it says so: {done}")
    report = case.backtree("check", case.repo, "--json", *options).json()
    eq((report["whole"], report["damage"], report["findings"]), (True, 0, []), "the report")
    eq(report["snapshots"], 4, "snapshots")
    eq(report["proved_bytes"], case.pack_bytes() if options else 0, "bytes proved")


@each(FAULTS)
def test_finds(case, row):
    plant, quick, says = row
    prepare(case)
    case.backtree("check", case.repo)
    plant(case)
    before = [(p.name, p.stat().st_size) for p in case.pack_files()]
    for options in ([(), ("--full",)] if quick else [("--full",)]):
        done = case.backtree("check", case.repo, *options, status=3)
        check(re.search(says, done.out), f"says {says!r}: {done}")
        check(all(line.startswith(("damage: ", "leftover: ")) for line in
                  done.out.splitlines()[:-1]), f"a line a finding: {done}")
        report = case.backtree("check", case.repo, "--json", *options, status=3).json()
        eq(report["damage"] + report["leftovers"], len(report["findings"]), "findings counted")
        check(report["damage"] > 0, "damage is damage")
        check(not report["whole"], "not whole")
    if not quick:
        eq(case.backtree("check", case.repo).status, 0, "the quick check reads no chunks")
    eq([(p.name, p.stat().st_size) for p in case.pack_files()], before, "nothing is changed")


@each(LEFTOVERS)
def test_leftovers(case, row):
    plant, says = row
    prepare(case)
    plant(case)
    done = case.backtree("check", case.repo, "--full")
    check(re.search(says, done.out), f"says {says!r}: {done}")
    check("leftover: " in done.out and "damage: " not in done.out, f"told apart: {done}")


def test_beside_a_daemon_that_works(case):
    """Backups that add packs and a cancelled one that takes them away: nothing is found."""
    prepare(case)
    big = make_disk(case.dir / "big.raw", 200 * MIB, [(0, 150 * MIB)], "big")
    case.mount(fault="source-read=sleep-5")
    case.add("web2", vda=big)
    for words in ("", "cancel"):
        make_disk(big, 200 * MIB, [(0, 150 * MIB)], f"big{words}")
        job = case.request(case.vm("web2") / "backup", "full")
        rounds = 0
        while case.state(job) in ("pending", "running"):
            options = ["--full"] if rounds % 3 == 2 else []
            done = case.backtree("check", case.repo, *options)
            eq(len(done.out.splitlines()), 1, f"findings: {done}")
            rounds += 1
            if words and rounds == 2:
                case.trigger(case.job_dir(job) / "cancel")
        check(rounds >= 2, f"{rounds} rounds beside the job")
    (case.snapshots("web1", "vda")[0]).rmdir()
    case.backtree("check", case.repo, "--full")


def test_refusals(case):
    case.refused("check", case.dir / "nothing", says="not a backtree repository")
    case.init()
    case.backtree("check", case.repo, "--nonsense", status=2)
    case.backtree("check", status=2)


def test_no_catalog(case):
    """A repository that lost its catalog is damaged, and what mends it is said."""
    prepare(case)
    for path in case.repo.glob("catalog.db*"):
        path.unlink()
    done = case.backtree("check", case.repo, status=3)
    check(re.search("^damage: catalog.db: .*backtree rebuild makes a new one", done.out), f"{done}")


main()

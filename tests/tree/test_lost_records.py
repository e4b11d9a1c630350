# SPDX-License-Identifier: MIT
"""The record that describes a snapshot is damaged: nothing of the disk is, so it reads as before, is
restored, compared and built on, and the next backup of any VM stores the record again, so that a
rebuild finds it."""
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, noise, read_at, write_at

HEADER = 64  # of a record in a pack


def chain(case, count=4):
    """web1/vda in so many snapshots, one of them with tags; [(folder, SHA-256)], oldest first."""
    image = make_disk(case.dir / "vda.raw", 3 * MIB + 100, [(0, MIB), (2 * MIB, 400 * KIB)])
    case.start()
    case.add("web1", vda=image)
    seen = []
    for number in range(count):
        write_at(image, number * 70 * KIB, noise(64 * KIB, f"change {number}"))
        case.backup("web1", "tag=nightly" if number == 1 else "")
        seen.append((case.latest("web1", "vda"), digest(image)))
    case.daemon.allow_errors("damage")
    return seen


def damage(case, *numbers):
    """One bit of the newest copy of each of these snapshots' records."""
    for number in numbers:
        row = case.catalog.rows(
            'SELECT p.uuid, c."offset" AS at, c.stored_length AS len FROM backup_disks b '
            "JOIN chunks c ON c.id = b.record JOIN packs p ON p.id = c.pack_id "
            'WHERE b.number = ? ORDER BY c."row" DESC', number)[0]
        path = case.repo / "packs" / row["uuid"][:2] / f"{row['uuid']}.pack"
        at = row["at"] + HEADER + row["len"] // 2
        write_at(path, at, bytes([read_at(path, at, 1)[0] ^ 16]))
    case.remount()
    case.daemon.allow_errors("damage")


def status(case, key):
    lines = dict(line.split(" ", 1) for line in (case.mnt / "status").read_text().splitlines())
    return lines[key]


def whole(case, seen):
    for snapshot, expected in seen:
        check("DAMAGED" not in os.listdir(snapshot), f"{snapshot.name}: nothing of it is damaged")
        eq(digest(snapshot / "disk.raw"), expected, f"{snapshot.name}: SHA-256")


def rebuilt(case, seen):
    """From packs alone: the same snapshots with the same bytes."""
    case.umount()
    for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
        (case.repo / name).unlink(missing_ok=True)
    case.backtree("rebuild", case.repo)
    case.mount()
    eq([s.name for s in case.snapshots("web1", "vda")], [s.name for s, _ in seen], "snapshots")
    whole(case, seen)


def test_reads_as_before(case):
    seen = chain(case)
    before = [case.info(snapshot) for snapshot, _ in seen]
    damage(case, 1, 2, 3, 4)
    whole(case, seen)
    eq([case.info(snapshot) for snapshot, _ in seen], before, "info.json")
    target = case.dir / "target.raw"
    case.restore(seen[1][0], target)
    eq(digest(target), seen[1][1], "restored")
    check((seen[2][0] / "changes").read_text(), "changes are told")
    names = [str(snapshot.relative_to(case.mnt / "vms")) for snapshot, _ in seen]
    case.backtree("diff", case.repo, names[0], names[2])


def test_told_and_healed(case):
    """A verification tells it and no snapshot is damaged; the next backup, of another VM, heals."""
    seen = chain(case)
    damage(case, 1, 3)
    for _ in range(2):  # also when nothing about it is news
        job = case.wait_job(case.request(case.mnt / "control" / "verify"), "failed")
        figures = job["figures"]
        eq(figures["damaged_records"] + figures["known_damaged_records"], 2, "records")
        eq(figures["damaged_snapshots"], 0, "snapshots of which something cannot be read")
        log = (case.job_dir(job["job"]) / "log").read_text()
        eq([f"damage: web1/vda/chain-0001/{s.name}: its record is lost" in log for s, _ in seen],
           [True, False, True, False], f"the log names them: {log}")
        case.wait_job(case.request(seen[0][0] / "verify"), "failed")
        case.wait_job(case.request(seen[1][0] / "verify"))
    eq((status(case, "state"), status(case, "lost_records")), ("damaged", "2"), "status")
    whole(case, seen)
    other = make_disk(case.dir / "other.raw", MIB, [(0, 100 * KIB)], seed="other")
    case.add("web2", vda=other)
    job = case.backup("web2")
    log = (case.job_dir(job["job"]) / "log").read_text()
    eq([f"of web1/vda/chain-0001/{s.name} was lost, and is stored again" in log for s, _ in seen],
       [True, False, True, False], f"the log says so: {log}")
    eq(status(case, "lost_records"), "0", "status")
    case.wait_job(case.request(case.mnt / "control" / "verify"))
    eq(status(case, "state"), "healthy", "status")
    eq(case.backtree("check", case.repo, "--full").status, 0, "check")
    case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))
    whole(case, seen)
    rebuilt(case, seen)
    eq(case.info(seen[1][0])["tags"], ["nightly"], "tags")


def test_after_parents_went(case):
    """Whose parent is forgotten is not told by the catalog: it is found all the same."""
    seen = chain(case, 5)
    for number in (2, 0, 1):
        seen[number][0].rmdir()
    left = seen[3:]
    damage(case, 4, 5)
    whole(case, left)
    case.wait_job(case.request(case.mnt / "control" / "verify"), "failed")
    case.backup("web1", "full")
    eq(status(case, "lost_records"), "0", "healed")
    newest = (case.latest("web1", "vda"), digest(case.dir / "vda.raw"))
    rebuilt(case, left + [newest])


def test_of_a_rebuilt_catalog(case):
    """What a rebuild knows is what the records said: they can be made from it as well."""
    seen = chain(case)
    rebuilt(case, seen)
    damage(case, 1, 2, 3, 4)
    whole(case, seen)
    case.wait_job(case.request(case.mnt / "control" / "verify"), "failed")
    case.backup("web1")
    eq(status(case, "lost_records"), "0", "healed")
    rebuilt(case, seen + [(case.latest("web1", "vda"), digest(case.dir / "vda.raw"))])


def test_a_row_that_was_changed_too(case):
    """Record and row damaged: nothing proves the row, so nothing is read by it."""
    seen = chain(case, 2)
    damage(case, 1)
    case.umount()
    database = sqlite3.connect(case.repo / "catalog.db")
    with database:
        database.execute("UPDATE backup_disks SET capacity = capacity - 4096 WHERE number = 1")
    database.close()
    case.mount()
    case.daemon.allow_errors(".")
    try:
        digest(seen[0][0] / "disk.raw")
        check(False, "it was read")
    except OSError as error:
        eq(error.errno, errno.EIO, "reading it")
    eq(digest(seen[1][0] / "disk.raw"), seen[1][1], "the other one")


main()

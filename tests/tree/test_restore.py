# SPDX-License-Identifier: MIT
"""Restore by the trigger: what is written, what is not, what is proved, and what is left when it
fails. Refusals are in test_restore_refused.py.
"""
import os
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import (KIB, MIB, copy, digest, loop_device, loop_mounted, make_disk, make_ext4,
                   make_scattered_disk, noise, read_at, write_at)

CHUNK = 64 * KIB


def backed_up(case, fault=None, size=8 * MIB, extents=((0, 3 * MIB), (5 * MIB, MIB))):
    """web1/vda with one snapshot. Returns (image, snapshot)."""
    image = make_disk(case.dir / "vda.raw", size, extents)
    case.start()
    case.add("web1", vda=image)
    case.backup("web1")
    if fault:
        case.remount(fault=fault)
    return image, case.snapshots("web1", "vda")[0]


def differing(case, image, name="target.raw", chunks=8):
    """A copy of the disk in which `chunks` chunks are others. Returns (target, copy of the target)."""
    target = copy(image, case.dir / name)
    for number in range(chunks):
        write_at(target, number * 4 * CHUNK + 100, noise(200, f"other {number}"))
    return target, copy(target, case.dir / f"{name}.before")


def safety_jobs(case):
    return [j for j in case.catalog.jobs() if j["trigger"] == "pre_restore_safety"]


def leftovers(case):
    return [p.name for p in case.dir.iterdir() if ".backtree-" in p.name]


def test_by_cp(case):
    image, snapshot = backed_up(case)
    case.sh(f"cp {snapshot}/disk.raw restored.raw")
    case.expect_same(case.dir / "restored.raw", image)


def test_by_dd_onto_a_device(case):
    needs_root()
    image, snapshot = backed_up(case)
    make_disk(case.dir / "backing.raw", 8 * MIB)
    with loop_device(case.dir / "backing.raw") as device:
        case.sh(f"dd if={snapshot}/disk.raw of={device} bs=1M conv=fsync status=none")
    case.expect_same(case.dir / "backing.raw", image)


def test_to_a_new_file(case):
    image, snapshot = backed_up(case)
    target = case.dir / "new.raw"
    job = case.restore(snapshot, target)
    case.expect_same(target, image)
    eq(target.stat().st_size, 8 * MIB, "size")
    check(target.stat().st_blocks * 512 <= 4 * MIB + CHUNK, "the new file is sparse")
    eq(stat.S_IMODE(target.stat().st_mode), 0o600, "mode")
    eq(job["kind"], "restore", "kind")
    eq(job["restore"]["target"], str(target), "target")
    eq(job["restore"]["snapshot"], f"web1/vda/chain-0001/{snapshot.name}", "snapshot")
    eq(job["restore"]["written_bytes"], 4 * MIB, "bytes written")
    eq(job["restore"]["verified_bytes"], 4 * MIB, "bytes verified")
    eq(safety_jobs(case), [], "there was nothing to save")
    eq(leftovers(case), [], "temporary files")
    eq(case.catalog.job_count("restore"), 1, "restore records")


@each({"0 bytes": 0, "1 byte": 1, "513 bytes": 513, "a chunk and one": CHUNK + 1})
def test_odd_sizes(case, size):
    image, snapshot = backed_up(case, size=size, extents=((0, size),))
    case.restore(snapshot, case.dir / "new.raw")
    case.expect_same(case.dir / "new.raw", image)
    if size:
        target = make_disk(case.dir / "target.raw", size, [(0, size)], seed="other")
        case.restore(snapshot, target)
        case.expect_same(target, image)


def test_new_file_appears_whole(case):
    """Until it is whole the name is not there."""
    image, snapshot = backed_up(case, fault="restore-write=sleep-20")
    target = case.dir / "new.raw"
    job = case.request_restore(snapshot, target)
    while case.state(job) not in ENDED:
        if target.exists():
            case.expect_same(target, image)
        time.sleep(0.01)
    case.wait_job(job)
    case.expect_same(target, image)


def test_in_place_writes_what_differs(case):
    image, snapshot = backed_up(case)
    target, before = differing(case, image)
    inode = target.stat().st_ino
    job = case.restore(snapshot, target)
    case.expect_same(target, image)
    eq(target.stat().st_ino, inode, "the same file")
    eq(job["restore"]["written_bytes"], 8 * CHUNK, "bytes written")
    check(job["restore"]["compared_bytes"] >= 3 * MIB, f"bytes compared: {job}")
    check(job["restore"]["verified_bytes"] >= 8 * CHUNK, f"bytes verified: {job}")
    saved = safety_jobs(case)
    eq(len(saved), 1, "safety jobs")
    eq(saved[0]["state"], "completed", "state of the safety job")
    eq(job["restore"]["safety_job"], saved[0]["id"], "the restore names its safety job")
    newest = case.snapshots("web1", "vda")[-1]
    eq(case.info(newest)["job"], saved[0]["id"], "snapshot of the safety job")
    case.expect_same(newest / "disk.raw", before)


def test_nothing_differs(case):
    image, snapshot = backed_up(case)
    target = copy(image, case.dir / "target.raw")
    stamp = target.stat().st_mtime_ns
    job = case.restore(snapshot, target, "safety=off")
    eq(job["restore"]["written_bytes"], 0, "bytes written")
    eq(target.stat().st_mtime_ns, stamp, "mtime of a target that was not written")


def test_onto_the_disk_itself(case):
    """The usual case: the disk's own image, damaged, back to what it was; and the chain goes on."""
    image, snapshot = backed_up(case)
    original = copy(image, case.dir / "original.raw")
    write_at(image, MIB, noise(MIB, "damage"))
    damaged = copy(image, case.dir / "damaged.raw")
    case.restore(snapshot, image)
    case.expect_same(image, original)
    first, safety = case.snapshots("web1", "vda")
    case.expect_same(first / "disk.raw", original)
    case.expect_same(safety / "disk.raw", damaged)
    eq(case.info(safety)["trigger"], "pre_restore_safety", "trigger of the safety snapshot")
    write_at(image, 0, noise(10, "life goes on"))
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    case.restore(safety, image)
    case.expect_same(image, damaged)


def test_a_foreign_target_does_not_disturb_the_chain(case):
    """The safety backup of a target that is not the disk stands in a chain of its own."""
    image, snapshot = backed_up(case)
    target, before = differing(case, image)
    case.restore(snapshot, target)
    eq(case.latest("web1", "vda"), snapshot, "latest is still the disk's own")
    write_at(image, 0, noise(10, "x"))
    case.backup("web1")
    newest = case.latest("web1", "vda")
    eq((newest.parent.name, newest.name[:9]), ("chain-0001", "0002-incr"), "the chain goes on")
    case.expect_same(newest / "disk.raw", image)
    safety = next(s for s in case.snapshots("web1", "vda") if s.parent.name != "chain-0001")
    case.expect_same(safety / "disk.raw", before)


@each({"before the path": "safety=off {}", "after the path": "{} safety=off"})
def test_without_safety(case, words):
    image, snapshot = backed_up(case)
    target, _ = differing(case, image)
    case.trigger(snapshot / "restore", words.format(target))
    job = case.wait_job(case.catalog.newest_job("restore"))
    case.expect_same(target, image)
    eq(safety_jobs(case), [], "safety jobs")
    check(not job["restore"]["safety_job"], "no safety job named")


def test_safety_on_can_be_said(case):
    image, snapshot = backed_up(case)
    target, _ = differing(case, image)
    case.restore(snapshot, target, "safety=on")
    eq(len(safety_jobs(case)), 1, "safety jobs")


def test_a_larger_target_keeps_its_tail(case):
    image, snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", 10 * MIB, [(0, 10 * MIB)], seed="other")
    tail = read_at(target, 8 * MIB, 2 * MIB)
    case.restore(snapshot, target)
    eq(target.stat().st_size, 10 * MIB, "size")
    eq(read_at(target, 0, 8 * MIB), image.read_bytes(), "the disk")
    eq(read_at(target, 8 * MIB, 2 * MIB), tail, "what lies behind it")


def test_holes_are_restored(case):
    """What is a hole in the snapshot reads as zeros in the target and takes no room."""
    image, snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", 8 * MIB, [(0, 8 * MIB)], seed="other")
    case.restore(snapshot, target)
    case.expect_same(target, image)
    check(target.stat().st_blocks * 512 <= 4 * MIB + CHUNK, "holes were punched")


def test_to_a_loop_device(case):
    needs_root()
    image, snapshot = backed_up(case)
    make_disk(case.dir / "backing.raw", 8 * MIB, [(0, 8 * MIB)], seed="other")
    before = copy(case.dir / "backing.raw", case.dir / "before.raw")
    with loop_device(case.dir / "backing.raw") as device:
        job = case.restore(snapshot, device)
        case.expect_same(device, image)
        eq(job["restore"]["target"], str(device), "target")
    case.expect_same(case.dir / "backing.raw", image)
    safety = next(s for s in case.snapshots("web1", "vda") if s != snapshot)
    case.expect_same(safety / "disk.raw", before)


def test_guest_in_place(case):
    """A guest's files are back after a restore in place."""
    needs_root()
    image = make_ext4(case.dir / "vda.raw", 32 * MIB, {"etc/passwd": b"root\n"})
    case.start()
    case.add("web1", vda=image)
    case.backup("web1")
    with loop_mounted(image, case.dir / "guest") as guest:
        (guest / "etc/passwd").unlink()
    case.restore(case.snapshots("web1", "vda")[0], image)
    with loop_mounted(image, case.dir / "guest", "loop,ro,noload") as guest:
        eq((guest / "etc/passwd").read_bytes(), b"root\n", "passwd")


def test_older_snapshot(case):
    image, _ = backed_up(case)
    digests = [digest(image)]
    for number in range(3):
        write_at(image, number * MIB, noise(MIB // 2, number))
        case.backup("web1")
        digests.append(digest(image))
    target = case.dir / "target.raw"
    for number in (3, 0, 2, 1):
        case.restore(case.snapshots("web1", "vda")[number], target, "safety=off")
        eq(digest(target), digests[number], f"snapshot {number}")


SCRIPTS = {
    "echo": 'echo "$T" > "$R"',
    "printf without newline": 'printf %s "$T" > "$R"',
    "append": 'echo "$T" >> "$R"',
    "tee": 'echo "$T" | tee "$R"',
    "dd byte by byte": 'echo "$T" | dd of="$R" bs=1 status=none',
    "cp": 'echo "$T" > words; cp words "$R"',
    "group": '{ /bin/true; echo "$T"; /bin/true; } > "$R"',
}


@each(SCRIPTS)
def test_written_by(case, script):
    image, snapshot = backed_up(case)
    target = case.dir / "a new disk.raw"
    case.sh(f"set -e; {script}", env={"T": str(target), "R": str(snapshot / "restore")})
    within(10, lambda: case.catalog.job_count("restore") > 0, "a restore record")
    case.settle()
    eq(case.catalog.job_count("restore"), 1, "restore records")
    eq(case.state(case.catalog.newest_job("restore")), "completed", "state")
    case.expect_same(target, image)


def test_trigger_reads_its_job(case):
    _, snapshot = backed_up(case)
    job = case.restore(snapshot, case.dir / "new.raw")
    eq((snapshot / "restore").read_text(), f"{job['job']} completed\n", "the trigger's words")


def test_progress_and_log(case):
    _, snapshot = backed_up(case, fault="restore-write=sleep-50")
    job = case.request_restore(snapshot, case.dir / "new.raw")
    seen = set()
    while case.state(job) not in ENDED:
        done, total = map(int, (case.job_dir(job) / "progress").read_text().split()[:2])
        check(done <= total or total == 0, f"{done} of {total}")
        seen.add(done)
        time.sleep(0.02)
    case.wait_job(job)
    check(len(seen) > 2, f"progress moves: {seen}")
    check((case.job_dir(job) / "log").read_text(), "a log")


# --- failures: the target is byte for byte what it was


def expect_rolled_back(case, job, target, before, says, state="failed"):
    info = case.wait_job(job, state)
    check(says in info["reason"], f"reason says {says!r}: {info['reason']!r}")
    case.expect_same(target, before)
    case.daemon.allow_errors(".")
    return info


@each({f"{code} at write {n}": (code, n) for code, n in
       (("EIO", 1), ("EIO", 3), ("EIO", 8), ("ENOSPC", 2))})
def test_write_error(case, row):
    code, number = row
    image, snapshot = backed_up(case, fault=f"restore-write:{number}={code}")
    target, before = differing(case, image)
    words = {"EIO": "Input/output error", "ENOSPC": "No space left"}[code]
    job = case.request_restore(snapshot, target)
    expect_rolled_back(case, job, target, before, words)
    eq(len(safety_jobs(case)), 1, "the safety backup is there besides")
    case.restore(snapshot, target)
    case.expect_same(target, image)


@each({"without a safety backup": "safety=off", "with one": "safety=on"})
def test_write_error_late(case, words):
    image, snapshot = backed_up(case, fault="restore-write:6=EIO")
    target, before = differing(case, image)
    job = case.request_restore(snapshot, target, words)
    expect_rolled_back(case, job, target, before, "Input/output error")


@each(["restore-read", "restore-sync", "restore-verify"])
def test_error_at(case, point):
    image, snapshot = backed_up(case, fault=f"{point}=EIO")
    target, before = differing(case, image)
    job = case.request_restore(snapshot, target)
    expect_rolled_back(case, job, target, before, "Input/output error")


@each(["restore-write:3", "restore-sync", "restore-verify:2", "restore-rename"])
def test_error_with_a_new_file(case, point):
    """A new file that could not be finished is not there, nor is anything beside it."""
    _, snapshot = backed_up(case, fault=f"{point}=EIO")
    target = case.dir / "new.raw"
    job = case.request_restore(snapshot, target)
    info = case.wait_job(job, "failed")
    check("Input/output error" in info["reason"], f"reason: {info['reason']}")
    check(not target.exists(), "the target's name")
    eq(leftovers(case), [], "temporary files")
    case.daemon.allow_errors(".")


def test_error_on_a_device(case):
    needs_root()
    image, snapshot = backed_up(case, fault="restore-write:4=EIO")
    target, before = differing(case, image)
    with loop_device(target) as device:
        job = case.request_restore(snapshot, device)
        info = case.wait_job(job, "failed")
        check("Input/output error" in info["reason"], f"reason: {info['reason']}")
    case.expect_same(target, before)
    case.daemon.allow_errors(".")


def test_rollback_that_fails_says_so(case):
    """When not even the roll-back works the reason tells it, and the safety snapshot holds all."""
    image, snapshot = backed_up(case, fault="restore-write:5=EIO,restore-rollback=EIO")
    target, before = differing(case, image)
    info = case.wait_job(case.request_restore(snapshot, target), "failed")
    check("roll" in info["reason"], f"the reason speaks of the roll-back: {info['reason']}")
    saved = safety_jobs(case)[0]["id"]
    safety = next(s for s in case.snapshots("web1", "vda") if case.info(s)["job"] == saved)
    case.expect_same(safety / "disk.raw", before)
    case.daemon.allow_errors(".")


def test_what_was_put_back_is_compared(case):
    """A target that does not keep what the roll-back gave it: said, never passed over."""
    image, snapshot = backed_up(case, fault="restore-write:6=EIO,restore-rollback=sleep-300")
    target, before = differing(case, image)
    job = case.request_restore(snapshot, target, "safety=off")
    old = before.read_bytes()[:300]
    within(20, lambda: read_at(target, 0, 300) == image.read_bytes()[:300],
           "the first chunk is written")
    within(20, lambda: read_at(target, 0, 300) == old, "the first chunk is put back")
    write_at(target, 10, b"decayed")
    info = case.wait_job(job, "failed")
    check("PUTTING THE TARGET BACK FAILED" in info["reason"], f"reason: {info['reason']}")
    check("was put back as it was" not in info["reason"], f"no false comfort: {info['reason']}")
    case.daemon.allow_errors(".")


def test_what_was_written_is_compared(case):
    """A target that does not keep what it was given fails verification and is rolled back."""
    image, snapshot = backed_up(case, fault="restore-verify=sleep-300")
    target, before = differing(case, image, chunks=8)
    job = case.request_restore(snapshot, target)

    def all_written():
        check(case.state(job) not in ENDED, f"ended too early: {case.job(job)}")
        return image.read_bytes() == target.read_bytes()

    within(20, all_written, "everything is written")
    # The last chunk that was written decays before it is read back.
    write_at(target, 7 * 4 * CHUNK + 300, b"decayed")
    expect_rolled_back(case, job, target, before, "read back")


def test_a_failed_safety_backup_stops_the_restore(case):
    image, snapshot = backed_up(case, fault="1-pack-append=ENOSPC")
    target, before = differing(case, image)
    info = case.wait_job(case.request_restore(snapshot, target), "failed")
    check("safety" in info["reason"], f"the reason speaks of the safety backup: {info['reason']}")
    case.expect_same(target, before)
    eq(safety_jobs(case)[0]["state"], "failed", "state of the safety job")
    case.daemon.allow_errors(".")


def test_cancel_rolls_back(case):
    image, snapshot = backed_up(case, fault="restore-write=sleep-100", size=16 * MIB,
                                extents=((0, 12 * MIB),))
    target, before = differing(case, image, chunks=40)
    job = case.request_restore(snapshot, target, "safety=off")
    within(20, lambda: target.read_bytes() != before.read_bytes(), "something is written")
    begun = time.monotonic()
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")
    check(time.monotonic() - begun < 1.5 * SLOWDOWN, f"took {time.monotonic() - begun:.1f} s")
    case.expect_same(target, before)


def test_cancel_of_a_new_file(case):
    _, snapshot = backed_up(case, fault="restore-write=sleep-200")
    job = case.request_restore(snapshot, case.dir / "new.raw")
    case.wait_state(job, "running")
    within(10, lambda: int((case.job_dir(job) / "progress").read_text().split()[0]) > 0,
           "the new file is being written")
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")
    check(not (case.dir / "new.raw").exists(), "the target's name")
    eq(leftovers(case), [], "temporary files")


def test_cancel_during_the_safety_backup(case):
    make_scattered_disk(case.dir / "target.raw", 40, seed="t")
    before = digest(case.dir / "target.raw")
    _, snapshot = backed_up(case, fault="source-read=sleep-100,restore-read=sleep-100")
    job = case.request_restore(snapshot, case.dir / "target.raw")
    case.wait_state(job, "running")
    within(10, lambda: safety_jobs(case), "a safety job")
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled", seconds=5)
    case.settle(10)
    check(safety_jobs(case)[0]["state"] in ("cancelled", "completed"), "the safety job ended too")
    eq(digest(case.dir / "target.raw"), before, "the target")


def test_one_that_had_not_begun_is_not_begun_later(case):
    """It waits behind a backup when the daemon dies: the next owner goes on with backups alone."""
    image, snapshot = backed_up(case, fault="source-read=sleep-500")
    target, before = differing(case, image)
    case.request(case.vm("web1") / "backup", "full")
    restore = case.request_restore(snapshot, target)
    eq(case.state(restore), "pending", "the restore behind the backup")
    case.crash()
    case.mount()
    case.daemon.allow_errors("interrupted")
    case.settle()
    eq(case.state(restore), "failed", "the restore")
    reason = case.job(restore)["reason"]
    check("before it had begun; nothing was written" in reason, reason)
    case.expect_same(target, before)


def test_backup_and_restore_of_a_vm_take_turns(case):
    """The restore is a job of the VM like any other: one at a time."""
    image, snapshot = backed_up(case, fault="restore-write=sleep-100")
    target, _ = differing(case, image)
    restore = case.request_restore(snapshot, target, "safety=off")
    case.wait_state(restore, "running")
    backup = case.request(case.vm("web1") / "backup")
    eq(case.state(backup), "pending", "the backup waits")
    case.wait_job(backup)
    check(case.job(backup)["started_at"] >= case.job(restore)["finished_at"], "one at a time")


main()

# SPDX-License-Identifier: MIT
"""gc in the tree and as a command: space of what was forgotten comes back, every snapshot that is
left reads byte for byte what it was, also through files that were open all the time.
"""
import os
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, noise, write_at


def gc(case, words="", state="completed"):
    """Runs a collection through control/gc; returns its figures."""
    return case.wait_job(case.request(case.mnt / "control" / "gc", words), state)["figures"]


def disk_usage(case):
    """Bytes of the packs' blocks, as du counts them."""
    return int(case.run(["du", "-s", "--block-size=1", case.repo / "packs"]).out.split()[0])


def generations(case, count=3, size=48 * MIB, vm="web1"):
    """A disk with `count` generations of other bytes; the SHA-256 of each snapshot."""
    image = make_disk(case.dir / f"{vm}.raw", size + 100, [(0, size)], seed=vm)
    case.add(vm, vda=image)
    expected = []
    for number in range(count):
        if number:
            write_at(image, MIB, noise(size // 2, f"{vm}{number}"))
        case.backup(vm)
        expected.append(digest(image))
    return image, expected


def nothing_to_do(case):
    figures = gc(case)
    eq({k: v for k, v in figures.items() if k.startswith("packs_") or k in
        ("freed_bytes", "copied_bytes", "damage")},
       {"packs_dropped": 0, "packs_rewritten": 0, "packs_made": 0, "packs_passed_over": 0, "packs_without_room": 0,
        "freed_bytes": 0, "copied_bytes": 0, "damage": 0}, "a second run")


def test_space_comes_back(case):
    case.start()
    _, expected = generations(case)
    snapshots = case.snapshots("web1", "vda")
    before = disk_usage(case)
    nothing_to_do(case)
    eq(disk_usage(case), before, "nothing was forgotten yet")
    snapshots[0].rmdir()
    snapshots[1].rmdir()
    used = case.pack_bytes()
    figures = gc(case)
    eq(case.pack_bytes(), used - figures["freed_bytes"], "bytes of packs")
    check(disk_usage(case) < before - 40 * MIB, f"{before} → {disk_usage(case)}")
    eq(digest(snapshots[2] / "disk.raw"), expected[2], "the snapshot that is left")
    log = (case.job_dir(case.catalog.newest_job("gc")) / "log").read_text()
    check(f"{figures['freed_bytes']} bytes freed" in log, f"its log: {log}")
    nothing_to_do(case)
    case.remount()
    eq(digest(snapshots[2] / "disk.raw"), expected[2], "after another mount")
    case.backtree("check", case.repo, "--full")


def test_all_of_it(case):
    """A repository of which everything was forgotten holds next to nothing, and is good as new."""
    case.start()
    image, _ = generations(case, 2, 16 * MIB)
    for snapshot in case.snapshots("web1", "vda"):
        snapshot.rmdir()
    figures = gc(case)
    check(case.pack_bytes() < 64 * KIB, f"{case.pack_bytes()} bytes are left: {figures}")
    nothing_to_do(case)
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    case.backtree("check", case.repo, "--full")


def test_deleted_files_are_closed(case):
    """The daemon keeps no descriptor of a pack that is gone: its space would not come back."""
    case.start()
    generations(case, 2, 16 * MIB)
    for snapshot in case.snapshots("web1", "vda"):
        digest(snapshot / "disk.raw")
    case.snapshots("web1", "vda")[0].rmdir()
    gc(case)
    folder = f"/proc/{case.daemon.process.pid}/fd"
    held = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)
            if os.path.lexists(f"{folder}/{fd}")]
    eq([name for name in held if ".pack (deleted)" in name], [], "descriptors of removed packs")


def test_a_reader_with_the_file_open(case):
    """disk.raw is open, a part of it was read, and nothing is cached: its packs are rewritten, and
    it goes on with the right bytes, as do readers all over the file meanwhile."""
    image_size = 48 * MIB
    case.start()
    _, expected = generations(case, 3, image_size)
    content = (case.snapshots("web1", "vda")[2] / "disk.raw").read_bytes()
    case.remount()
    snapshots = case.snapshots("web1", "vda")
    wrong, reads, stop = [], [0], threading.Event()

    def read_on(fd, seed):
        numbers = random.Random(seed)
        while not stop.is_set():
            at = numbers.randrange(image_size)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if os.pread(fd, 200 * KIB, at) != content[at:at + 200 * KIB]:
                wrong.append(at)
            reads[0] += 1

    fd = os.open(snapshots[2] / "disk.raw", os.O_RDONLY)
    first = os.pread(fd, MIB, 0)
    snapshots[0].rmdir()
    snapshots[1].rmdir()
    threads = [threading.Thread(target=read_on, args=(fd, n), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    figures = gc(case, "threshold=1%")
    gc(case, "threshold=1%")
    stop.set()
    for thread in threads:
        thread.join(20)
    check(figures["packs_rewritten"] > 0, f"packs under the file were rewritten: {figures}")
    check(reads[0] > 10, f"{reads[0]} reads beside it")
    eq(wrong, [], "reads with wrong bytes")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    eq(first, content[:MIB], "what was read before")
    eq(os.pread(fd, len(content), 0), content, "all of it through the old descriptor")
    os.close(fd)
    eq(digest(snapshots[2] / "disk.raw"), expected[2], "SHA-256")


def test_beside_a_restore(case):
    """A restore that reads slowly gets the right bytes while its packs are rewritten."""
    case.start()
    _, expected = generations(case, 3, 24 * MIB)
    case.remount(fault="restore-write=sleep-20")
    snapshots = case.snapshots("web1", "vda")
    snapshots[0].rmdir()
    snapshots[1].rmdir()
    target = case.dir / "target.raw"
    case.request_restore(snapshots[2], target)
    job = case.catalog.newest_job("restore")
    case.wait_state(job, "running")
    figures = gc(case, "threshold=1%")
    check(figures["packs_rewritten"] > 0, f"packs under the restore were rewritten: {figures}")
    eq(case.state(job), "running", "the restore, all the time")
    case.wait_job(job)
    eq(digest(target), expected[2], "what was restored")


def test_dry_run(case):
    """What a dry run tells is what a run then does; it changes nothing, and as a command makes no
    job and needs no lock."""
    case.start()
    generations(case)
    for snapshot in case.snapshots("web1", "vda")[:2]:
        snapshot.rmdir()
    for _ in range(20):  # notes to merge
        path = case.snapshots("web1", "vda")[0] / "protected"
        path.write_text("1\n")
        path.write_text("0\n")
    files, jobs = case.pack_files(), case.catalog.job_count("gc")
    told = case.backtree("gc", case.repo, "--dry-run", "--json").json()
    eq(case.catalog.job_count("gc"), jobs, "no job")
    line = case.backtree("gc", "--dry-run", case.repo).out
    check("would be freed" in line, f"says so: {line}")
    as_job = gc(case, "dry-run")
    eq(as_job["dry_run"], 1, "a dry run")
    eq(case.pack_files(), files, "packs")
    case.umount()
    alone = case.backtree("gc", "--dry-run", "--json", case.repo).json()
    eq(alone, told, "without a daemon")
    done = case.backtree("gc", "--json", case.repo).json()["figures"]
    for name in ("packs", "packs_dropped", "packs_rewritten", "packs_made", "copied_bytes",
                 "freed_bytes", "live_bytes", "dead_bytes"):
        eq(told[name], done[name], f"{name} as told")
        eq(as_job[name], done[name], f"{name} as told by the job")
    check(done["packs_rewritten"] >= 2 and done["freed_bytes"] > 20 * MIB, f"figures: {done}")
    again = case.backtree("gc", "--json", case.repo).json()["figures"]
    eq(again["packs_rewritten"] + again["packs_dropped"], 0, "nothing is left to do")


def test_a_full_disk(case):
    """With room for less than a pack what needs no copying goes, and then the rest."""
    needs_root()
    small = case.dir / "small"
    with open(case.dir / "small.img", "wb") as out:
        out.truncate(120 * MIB)
    case.run(["mkfs.ext4", "-q", "-m", "0", case.dir / "small.img"])
    small.mkdir()
    case.run(["mount", "-o", "loop", case.dir / "small.img", small])
    case.repo = small / "repo"
    case.catalog.path = case.repo / "catalog.db"
    case.start()
    generations(case, 1, 24 * MIB, "web2")
    _, expected = generations(case, 2, 24 * MIB)
    case.snapshots("web2", "vda")[0].rmdir()
    case.snapshots("web1", "vda")[0].rmdir()
    stat = os.statvfs(small)
    room = stat.f_bavail * stat.f_frsize
    with open(small / "filler", "wb") as out:
        os.posix_fallocate(out.fileno(), 0, room - 2 * MIB)
    figures = gc(case)
    check(figures["packs_rewritten"] >= 2 and figures["freed_bytes"] > 30 * MIB, f"{figures}")
    stat = os.statvfs(small)
    check(stat.f_bavail * stat.f_frsize > 30 * MIB, "the file system has it")
    case.remount()
    eq(digest(case.latest("web1", "vda") / "disk.raw"), expected[1], "the snapshot")
    case.umount()
    case.run(["umount", small])


def test_words(case):
    case.start()
    trigger = case.mnt / "control" / "gc"
    for words in ("nonsense", "threshold=0%", "threshold=101%", "threshold=", "threshold=x",
                  "threshold=20%%", "web1"):
        case.refuses((errno.EINVAL,), lambda w=words: case.trigger(trigger, w))
    for words in ("", "threshold=1%", "threshold=100", "dry-run threshold=7%", "trigger=scheduled"):
        case.wait_job(case.request(trigger, words))
    case.refused("gc", case.dir / "nothing", says="not a backtree repository")
    case.backtree("gc", case.repo, "--threshold=0", status=2)
    case.backtree("gc", status=2)
    done = case.backtree("gc", case.repo, "--threshold=50%")
    eq(len(done.out.splitlines()), 1, f"one line: {done}")


def test_cancel(case):
    """Within a second, nothing lost, nothing left behind; the next run goes on."""
    case.start()
    _, expected = generations(case, 3, 160 * MIB)
    case.remount(fault="1-pack-append=sleep-50")
    for snapshot in case.snapshots("web1", "vda")[:2]:
        snapshot.rmdir()
    used = case.pack_bytes()
    job = case.request(case.mnt / "control" / "gc")
    within(30, lambda: any(p.suffix == ".open" for p in case.pack_files()), "it copies")
    begun = time.monotonic()
    case.trigger(case.job_dir(job) / "cancel")
    case.wait_job(job, "cancelled")
    check(time.monotonic() - begun < 1 * SLOWDOWN, "within a second")
    eq([p.name for p in case.pack_files() if p.suffix == ".open"], [], "open packs")
    eq(digest(case.latest("web1", "vda") / "disk.raw"), expected[2], "the snapshot")
    case.remount()
    gc(case)
    check(case.pack_bytes() < used - 100 * MIB, "the next run frees it")
    eq(digest(case.latest("web1", "vda") / "disk.raw"), expected[2], "the snapshot, again")
    case.backtree("check", case.repo, "--full")


def test_two_requests_one_job(case):
    """A collection that waits stands for a second request; one that differs does not."""
    case.start(fault="gc-mark=sleep-700")
    trigger = case.mnt / "control" / "gc"
    first = case.request(trigger)
    case.wait_state(first, "running")
    second = case.request(trigger)
    eq(case.request(trigger), second, "the pending one")
    check(case.request(trigger, "dry-run") not in (first, second), "another one")
    case.settle()


def test_damage(case):
    """A live record that cannot be copied keeps its pack, is told, and fails the job; everything
    else is collected."""
    case.start()
    generations(case, 1, 16 * MIB, "web2")
    _, expected = generations(case, 2, 16 * MIB)
    chunks = case.catalog.rows("SELECT p.uuid, c.offset, c.stored_length FROM chunks c "
                               "JOIN packs p ON p.id = c.pack_id WHERE c.kind = 1 ORDER BY c.row")
    first_pack = [c["uuid"] for c in chunks][0]
    second_pack = next(c["uuid"] for c in chunks if c["uuid"] != first_pack)
    victim = [c for c in chunks if c["uuid"] == second_pack][-1]  # of web1, never overwritten
    case.snapshots("web2", "vda")[0].rmdir()
    case.snapshots("web1", "vda")[0].rmdir()
    case.umount()
    pack = case.repo / "packs" / victim["uuid"][:2] / f"{victim['uuid']}.pack"
    data = bytearray(pack.read_bytes())
    data[victim["offset"] + 64 + victim["stored_length"] // 2] ^= 1
    pack.write_bytes(data)
    before = case.pack_bytes()
    done = case.backtree("gc", case.repo, status=3)
    check("freed" in done.out and "damage was met" in done.err, f"it says so: {done}")
    check(done.out.startswith("damage: "), f"and what it is: {done}")
    check(pack.exists(), "its pack")
    check(case.pack_bytes() < before - 15 * MIB, "the other VM's packs went")
    eq(case.catalog.rows("SELECT state FROM backup_jobs WHERE kind = 'gc'"), [{"state": "failed"}],
       "its record")
    data[victim["offset"] + 64 + victim["stored_length"] // 2] ^= 1
    pack.write_bytes(data)
    case.backtree("gc", case.repo)
    case.mount()
    eq(digest(case.latest("web1", "vda") / "disk.raw"), expected[1], "the snapshot")


def test_a_map_that_is_gone(case):
    """What a snapshot with a damaged map refers to cannot be told from garbage: nothing goes, and it
    says why and how to get on."""
    case.start()
    generations(case, 1, 8 * MIB, "web2")
    _, expected = generations(case, 2, 8 * MIB)
    root = case.catalog.value("SELECT p.uuid || ' ' || c.offset FROM backup_disks d "
                              "JOIN chunks c ON c.id = d.digest JOIN packs p ON p.id = c.pack_id "
                              "WHERE d.state = 'completed' ORDER BY d.id LIMIT 1").split()
    case.snapshots("web1", "vda")[0].rmdir()
    case.umount()
    pack = case.repo / "packs" / root[0][:2] / f"{root[0]}.pack"
    data = bytearray(pack.read_bytes())
    data[int(root[1]) + 64 + 20] ^= 1
    pack.write_bytes(data)
    before = case.pack_bytes()
    done = case.backtree("gc", case.repo, status=3)
    check("web2/vda/chain-0001/0001-full" in done.err and "forgotten" in done.err, f"says: {done}")
    eq(case.pack_bytes(), before, "nothing went")
    case.backtree("remove", case.repo, next(n for n in case.listed() if n.startswith("web2")))
    case.backtree("gc", case.repo)
    check(case.pack_bytes() < before - 8 * MIB, "after it was forgotten")
    case.mount()
    eq(digest(case.latest("web1", "vda") / "disk.raw"), expected[1], "the other snapshot")


def test_old_notes_are_not_carried_out_again(case):
    """A pack of notes that gc has replaced comes back, as after a crash before it was removed: what
    it says was done long ago, and undone since."""
    case.start()
    generations(case, 1, 2 * MIB)
    snapshot = case.snapshots("web1", "vda")[0]
    before = set(case.pack_files())
    (snapshot / "protected").write_text("1\n")
    note = (set(case.pack_files()) - before).pop()
    saved = shutil.copy(note, case.dir / "saved")
    (snapshot / "protected").write_text("0\n")
    for _ in range(8):  # enough packs to be merged
        (snapshot / "protected").write_text("1\n")
        (snapshot / "protected").write_text("0\n")
    figures = gc(case)
    check(figures["packs_rewritten"] >= 16 and not note.exists(), f"merged: {figures}")
    case.umount()
    shutil.copy(saved, note)
    case.mount()
    check("adopted the sealed pack" in case.daemon.log(), "it was found")
    eq((snapshot / "protected").read_text().strip(), "0", "protected, as it was last said")
    gc(case)
    check(not note.exists(), "a second copy goes")
    case.umount()
    case.backtree("rebuild", case.repo)
    case.mount()
    eq((snapshot / "protected").read_text().strip(), "0", "after a rebuild")


def test_rebuild_after_gc(case):
    """Snapshots, what was forgotten and what is protected are there after a rebuild from packs that
    a collection has made."""
    case.start()
    image, expected = generations(case, 3, 16 * MIB)
    snapshots = case.snapshots("web1", "vda")
    snapshots[0].rmdir()
    (snapshots[2] / "protected").write_text("1\n")
    gc(case, "threshold=1%")
    case.umount()
    case.backtree("rebuild", case.repo)
    case.backtree("check", case.repo, "--full")
    case.mount()
    eq([s.name for s in case.snapshots("web1", "vda")], [s.name for s in snapshots[1:]], "snapshots")
    for snapshot, value in zip(snapshots[1:], expected[1:]):
        eq(digest(snapshot / "disk.raw"), value, snapshot.name)
    eq((snapshots[2] / "protected").read_text().strip(), "1", "protected")
    write_at(image, 0, noise(100, "more"))
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


main()

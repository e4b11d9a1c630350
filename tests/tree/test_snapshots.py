# SPDX-License-Identifier: MIT
"""disk.raw is the disk as it was: every byte, every hole, whatever its size and history."""
import mmap
import os
import random
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import (KIB, MIB, copy, data_chunks, digest, extents_of_chunks, loop_device,
                   loop_mounted, make_disk, make_ext4, noise, read_at, seek_extents, write_at)

CHUNK = 64 * KIB


def vm(case, image, init=()):
    case.start(init=init)
    case.add("web1", vda=image)
    return case.vm("web1")


def raw(case, number=-1, disk="vda"):
    return case.snapshots("web1", disk)[number] / "disk.raw"


SIZES = {
    "0 bytes": 0,
    "1 byte": 1,
    "511 bytes": 511,
    "512 bytes": 512,
    "a chunk less one": CHUNK - 1,
    "a chunk": CHUNK,
    "a chunk and one": CHUNK + 1,
    "three chunks and a bit": 3 * CHUNK + 777,
    "a leaf less one": 256 * CHUNK - 1,
    "a leaf": 256 * CHUNK,
    "a leaf and one": 256 * CHUNK + 1,
}


@each(SIZES)
def test_size(case, size):
    image = make_disk(case.dir / "vda.raw", size, [(0, min(size, 5 * CHUNK))])
    if size > 6 * CHUNK:
        write_at(image, size - 700, noise(700, "tail"))
    vm(case, image)
    case.backup("web1")
    eq(raw(case).stat().st_size, size, "st_size")
    case.expect_same(raw(case), image)
    if size:
        write_at(image, size - 1, b"\x5a")
        case.backup("web1")
        check("-incr-" in case.snapshots("web1", "vda")[1].name, "an incremental")
        case.expect_same(raw(case), image)
        eq(case.info(case.snapshots("web1", "vda")[1])["capacity"], size, "capacity")


@each({f"{size // KIB} KiB": size for size in (16 * KIB, 32 * KIB, 128 * KIB, 1024 * KIB, 4096 * KIB)})
def test_chunk_size(case, size):
    image = make_disk(case.dir / "vda.raw", 9 * MIB + 4097, [(0, 100), (3 * MIB - 50, MIB),
                                                             (9 * MIB, 4097)])
    vm(case, image, init=("--chunk-size", str(size)))
    case.backup("web1")
    eq(case.info(case.snapshots("web1", "vda")[0])["chunk_size"], size, "chunk_size")
    write_at(image, 5 * MIB, b"changed")
    case.backup("web1")
    case.expect_same(raw(case), image)
    eq(seek_extents(raw(case)),
       extents_of_chunks(data_chunks(image, size), size, 9 * MIB + 4097), "data extents")


PATTERNS = {
    "all zero, all hole": [],
    "data at the start": [(0, CHUNK)],
    "data at the end": [(63 * CHUNK, CHUNK)],
    "every second chunk": [(n * CHUNK, CHUNK) for n in range(0, 64, 2)],
    "one byte in each third": [(n * CHUNK + 5, 1) for n in range(0, 64, 3)],
    "across a border": [(7 * CHUNK - 10, 20)],
    "full": [(0, 64 * CHUNK)],
}


@each(PATTERNS)
def test_holes_are_exact(case, extents):
    size = 64 * CHUNK
    image = make_disk(case.dir / "vda.raw", size, extents)
    vm(case, image)
    case.backup("web1")
    chunks = data_chunks(image, CHUNK)
    case.expect_same(raw(case), image)
    eq(seek_extents(raw(case)), extents_of_chunks(chunks, CHUNK, size), "SEEK_DATA and SEEK_HOLE")
    eq(raw(case).stat().st_blocks * 512, len(chunks) * CHUNK, "st_blocks")
    eq(case.info(case.snapshots("web1", "vda")[0])["data_bytes"], len(chunks) * CHUNK, "data_bytes")


def test_seek_at_the_edges(case):
    image = make_disk(case.dir / "vda.raw", 10 * CHUNK, [(2 * CHUNK, CHUNK), (5 * CHUNK, CHUNK)])
    vm(case, image)
    case.backup("web1")
    fd = os.open(raw(case), os.O_RDONLY)
    for whence, offset, expected in ((os.SEEK_DATA, 0, 2 * CHUNK), (os.SEEK_HOLE, 0, 0),
                                     (os.SEEK_DATA, 2 * CHUNK, 2 * CHUNK),
                                     (os.SEEK_DATA, 2 * CHUNK + 77, 2 * CHUNK + 77),
                                     (os.SEEK_HOLE, 2 * CHUNK + 77, 3 * CHUNK),
                                     (os.SEEK_DATA, 3 * CHUNK, 5 * CHUNK),
                                     (os.SEEK_HOLE, 5 * CHUNK, 6 * CHUNK),
                                     (os.SEEK_HOLE, 9 * CHUNK, 9 * CHUNK)):
        eq(os.lseek(fd, offset, whence), expected, f"lseek({offset}, {whence})")
    for whence, offset in ((os.SEEK_DATA, 6 * CHUNK), (os.SEEK_DATA, 10 * CHUNK),
                           (os.SEEK_HOLE, 10 * CHUNK), (os.SEEK_DATA, 11 * CHUNK)):
        raises(errno.ENXIO, lambda: os.lseek(fd, offset, whence), f"lseek({offset}, {whence})")
    os.close(fd)


def test_zeros_that_are_written_are_holes_too(case):
    """A block of zeros takes no room, whether the source has a hole there or not."""
    image = make_disk(case.dir / "vda.raw", 4 * MIB, [(0, CHUNK)])
    write_at(image, 1 * MIB, bytes(1 * MIB))
    vm(case, image)
    case.backup("web1")
    eq(raw(case).stat().st_blocks * 512, CHUNK, "st_blocks")
    case.expect_same(raw(case), image)


def test_cp_is_sparse(case):
    image = make_disk(case.dir / "vda.raw", 256 * MIB, [(0, MIB), (200 * MIB, MIB)])
    vm(case, image)
    case.backup("web1")
    case.sh(f"cp {raw(case)} copy.raw", timeout=30)
    case.expect_same(case.dir / "copy.raw", image)
    blocks = (case.dir / "copy.raw").stat().st_blocks * 512
    check(blocks <= 3 * MIB, f"the copy takes {blocks} bytes")


def test_a_huge_sparse_disk(case):
    """4 TiB with a few islands: the cost follows the data."""
    places = [0, 1 << 30, (3 << 40) + 4096, (4 << 40) - 4096]
    image = make_disk(case.dir / "vda.raw", 4 << 40, [(place, 4096) for place in places])
    vm(case, image)
    case.backup("web1")
    eq(raw(case).stat().st_size, 4 << 40, "st_size")
    eq(raw(case).stat().st_blocks * 512, 4 * CHUNK, "st_blocks")
    for number, place in enumerate(places):
        eq(read_at(raw(case), place, 4096), noise(4096, f"1/{number}"), f"bytes at {place}")
    eq(len(seek_extents(raw(case))), 4, "extents")
    write_at(image, 2 << 40, b"later")
    case.backup("web1")
    eq(read_at(raw(case), 2 << 40, 6), b"later\0", "bytes of the incremental")
    check(case.pack_bytes() < 2 * MIB, f"packs take {case.pack_bytes()}")


def test_reads_of_every_shape(case):
    size = 20 * CHUNK + 1234
    image = make_disk(case.dir / "vda.raw", size, [(0, 3 * CHUNK), (7 * CHUNK + 5, 4 * CHUNK),
                                                   (20 * CHUNK, 1234)])
    expected = image.read_bytes()
    vm(case, image)
    case.backup("web1")
    fd = os.open(raw(case), os.O_RDONLY)
    numbers = random.Random(7)
    for _ in range(400):
        offset = numbers.randrange(0, size + CHUNK)
        length = numbers.choice((1, 2, 511, 512, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK))
        eq(os.pread(fd, length, offset), expected[offset:offset + length], f"{length} at {offset}")
    eq(os.pread(fd, 10, size), b"", "at the end")
    eq(os.pread(fd, 10, size + 10 * MIB), b"", "past the end")
    eq(os.pread(fd, 100, size - 3), expected[-3:], "across the end")
    os.close(fd)


def test_mmap(case):
    image = make_disk(case.dir / "vda.raw", 8 * CHUNK, [(CHUNK, 3 * CHUNK)])
    vm(case, image)
    case.backup("web1")
    with open(raw(case), "rb") as source, \
            mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as view:
        eq(view[:], image.read_bytes(), "mapped bytes")


def test_direct_reads(case):
    image = make_disk(case.dir / "vda.raw", 8 * CHUNK, [(CHUNK, 3 * CHUNK)])
    vm(case, image)
    case.backup("web1")
    case.sh(f"dd if={raw(case)} of=direct.raw bs=128K iflag=direct status=none")
    case.expect_same(case.dir / "direct.raw", image)


def test_many_readers_at_once(case):
    image = make_disk(case.dir / "vda.raw", 24 * MIB, [(0, 8 * MIB), (16 * MIB, 8 * MIB)])
    vm(case, image)
    case.backup("web1")
    expected, seen = digest(image), []
    threads = [threading.Thread(target=lambda: seen.append(digest(raw(case)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eq(seen, [expected] * 8, "digests")


def test_reading_while_a_backup_runs(case):
    image = make_disk(case.dir / "vda.raw", 16 * MIB, [(0, 12 * MIB)])
    vm(case, image)
    case.backup("web1")
    old = copy(image, case.dir / "old.raw")
    for number in range(6):
        write_at(image, number * MIB, noise(MIB, f"new {number}"))
        job = case.request(case.vm("web1") / "backup", "full" if number % 2 else "")
        case.expect_same(raw(case, 0), old)
        case.wait_job(job)
    case.expect_same(raw(case), image)


def test_generations(case):
    """Ten generations of random changes: each reads back as it was, whatever came later."""
    size = 6 * MIB + 333
    image = make_disk(case.dir / "vda.raw", size, [(0, 3 * MIB)])
    vm(case, image)
    numbers, digests = random.Random(5), []
    for generation in range(10):
        for _ in range(numbers.randrange(0, 6)):
            length = numbers.choice((1, 100, 4096, CHUNK, 3 * CHUNK))
            offset = numbers.randrange(0, size - length)
            zero = numbers.random() < 0.3
            write_at(image, offset, bytes(length) if zero else noise(length, numbers.random()))
        case.backup("web1", "full" if generation == 6 else "")
        digests.append(digest(image))
        eq(digest(raw(case)), digests[-1], f"generation {generation}")
    eq([digest(raw(case, n)) for n in range(10)], digests, "all generations")
    case.remount()
    eq([digest(raw(case, n)) for n in range(10)], digests, "all generations after a new mount")
    chunks = [extents_of_chunks(data_chunks(raw(case, n), CHUNK), CHUNK, size) for n in range(10)]
    eq([seek_extents(raw(case, n)) for n in range(10)], chunks, "holes of all generations")


def test_incrementals_hold_the_changes_alone(case):
    image = make_disk(case.dir / "vda.raw", 64 * MIB, [(0, 32 * MIB)])
    vm(case, image)
    case.backup("web1")
    packed = case.pack_bytes()
    write_at(image, 10 * MIB, noise(1, 1))
    write_at(image, 40 * MIB, noise(CHUNK, 2))
    case.backup("web1")
    info = case.info(case.snapshots("web1", "vda")[1])
    eq(info["changed_bytes"], 2 * CHUNK, "changed_bytes")
    # One of them in full; the other, where one byte changed, as a delta.
    check(CHUNK <= info["new_bytes"] < CHUNK + 32 * KIB, f"new_bytes {info['new_bytes']}")
    check(abs(case.pack_bytes() - packed - info["new_bytes"]) < 4 * KIB, "what packs/ grew by")
    case.expect_same(raw(case), image)


def test_an_unchanged_disk_adds_next_to_nothing(case):
    image = make_disk(case.dir / "vda.raw", 64 * MIB, [(0, 16 * MIB)])
    vm(case, image)
    case.backup("web1")
    case.backup("web1")
    case.backup("web1", "full")
    for number in (1, 2):
        info = case.info(case.snapshots("web1", "vda")[number])
        check(info["new_bytes"] < 16 * KIB, f"new_bytes {info['new_bytes']}")
        case.expect_same(raw(case, number), image)
    eq(case.info(case.snapshots("web1", "vda")[1])["changed_bytes"], 0, "changed_bytes")


def test_a_file_that_is_touched_but_not_changed(case):
    image = make_disk(case.dir / "vda.raw", 4 * MIB, [(0, 2 * MIB)])
    vm(case, image)
    case.backup("web1")
    write_at(image, MIB, read_at(image, MIB, MIB))
    case.backup("web1")
    eq(case.info(case.snapshots("web1", "vda")[1])["changed_bytes"], 0, "changed_bytes")


def test_change_back(case):
    image = make_disk(case.dir / "vda.raw", 4 * MIB, [(0, 2 * MIB)])
    old = copy(image, case.dir / "old.raw")
    vm(case, image)
    case.backup("web1")
    write_at(image, 0, noise(MIB, "x"))
    case.backup("web1")
    write_at(image, 0, read_at(old, 0, MIB))
    case.backup("web1")
    a, _, c = (case.info(s) for s in case.snapshots("web1", "vda"))
    eq(c["digest"], a["digest"], "the same content, the same digest")
    check(c["new_bytes"] < 16 * KIB, f"nothing is stored again: {c['new_bytes']}")
    case.expect_same(raw(case), old)


def test_data_becomes_hole(case):
    image = make_disk(case.dir / "vda.raw", 4 * MIB, [(0, 2 * MIB)])
    vm(case, image)
    case.backup("web1")
    case.sh(f"fallocate --punch-hole --offset 0 --length {MIB} vda.raw")
    case.backup("web1")
    case.expect_same(raw(case), image)
    eq(seek_extents(raw(case)), [(MIB, 2 * MIB)], "extents")


def test_dedup_across_disks_and_vms(case):
    image = make_disk(case.dir / "vda.raw", 32 * MIB, [(0, 8 * MIB)])
    copy(image, case.dir / "vdb.raw")
    vm(case, image)
    (case.vm("web1") / "vdb").mkdir()
    (case.vm("web1") / "vdb" / "source").write_text(f"{case.dir}/vdb.raw\n")
    case.add("web2", root=case.dir / "vdb.raw")
    case.backup("web1/vda")
    packed = case.pack_bytes()
    case.backup("web1/vdb")
    case.backup("web2")
    check(case.pack_bytes() - packed < 64 * KIB, f"stored once: grew {case.pack_bytes() - packed}")
    case.expect_same(raw(case, disk="vdb"), image)
    case.expect_same(case.latest("web2", "root") / "disk.raw", image)


def test_dedup_within_a_disk(case):
    image = make_disk(case.dir / "vda.raw", 32 * MIB)
    block = noise(CHUNK, "same")
    for number in range(0, 500, 2):
        write_at(image, number * CHUNK, block)
    vm(case, image)
    case.backup("web1")
    check(case.pack_bytes() < 128 * KIB, f"one chunk stored: {case.pack_bytes()}")
    case.expect_same(raw(case), image)


def test_compression(case):
    image = make_disk(case.dir / "vda.raw", 8 * MIB)
    write_at(image, 0, b"".join(b"line %d of a log that compresses\n" % n for n in range(150000)))
    vm(case, image)
    case.backup("web1")
    check(case.pack_bytes() < 2 * MIB, f"text compresses: {case.pack_bytes()}")
    case.expect_same(raw(case), image)


@each({"grown": 6 * MIB, "shrunk": 3 * MIB, "grown by a byte": 4 * MIB + 1})
def test_another_size_starts_a_new_chain(case, size):
    image = make_disk(case.dir / "vda.raw", 4 * MIB, [(0, 2 * MIB)])
    old = copy(image, case.dir / "old.raw")
    vm(case, image)
    case.backup("web1")
    os.truncate(image, size)
    # Whether that is known when it is asked for or when the source is opened: no incremental.
    try:
        case.backup("web1", "incremental", state="failed")
        case.daemon.allow_errors(".")
    except OSError as error:
        eq(error.errno, errno.EINVAL, "errno")
    eq(len(case.snapshots("web1", "vda")), 1, "snapshots")
    case.backup("web1")
    eq([c.name for c in case.chains("web1", "vda")], ["chain-0001", "chain-0002"], "chains")
    newest = case.snapshots("web1", "vda")[-1]
    eq((newest.parent.name, newest.name[:9]), ("chain-0002", "0001-full"), "the new snapshot")
    case.expect_same(newest / "disk.raw", image)
    case.expect_same(raw(case, 0), old)
    eq(case.info(case.vm("web1") / "vda")["capacity"], size, "capacity of the disk")
    case.backup("web1")
    eq(case.snapshots("web1", "vda")[-1].name[:9], "0002-incr", "the chain goes on")


def test_full_starts_a_chain(case):
    image = make_disk(case.dir / "vda.raw", MIB, [(0, 4096)])
    vm(case, image)
    for words in ("", "", "full", "", "full"):
        case.backup("web1", words)
    names = [f"{s.parent.name}/{s.name[:9]}" for s in case.snapshots("web1", "vda")]
    eq(names, ["chain-0001/0001-full", "chain-0001/0002-incr", "chain-0002/0001-full",
               "chain-0002/0002-incr", "chain-0003/0001-full"], "chains")


def test_a_guest_file_system(case):
    """A loop mount straight off the tree shows the files as they were."""
    needs_root()
    image = make_ext4(case.dir / "vda.raw", 64 * MIB, {"etc/motd": b"first\n", "big": noise(MIB, 1)})
    vm(case, image)
    case.backup("web1")
    with loop_mounted(image, case.dir / "guest") as guest:
        (guest / "etc/motd").write_bytes(b"second\n")
        (guest / "new").write_bytes(noise(3 * MIB, 2))
    case.backup("web1")
    for number, motd in ((0, b"first\n"), (1, b"second\n")):
        with loop_mounted(raw(case, number), case.dir / "old", "loop,ro,noload") as guest:
            eq((guest / "etc/motd").read_bytes(), motd, "motd")
            eq((guest / "big").read_bytes(), noise(MIB, 1), "big")
            eq((guest / "new").exists(), number == 1, "new")


def test_a_snapshot_as_a_loop_device(case):
    needs_root()
    image = make_disk(case.dir / "vda.raw", 8 * MIB, [(MIB, MIB)])
    vm(case, image)
    case.backup("web1")
    with loop_device(raw(case), "--read-only") as device:
        case.expect_same(device, image)


def test_several_disks_of_one_moment(case):
    for number, disk in enumerate(("vda", "vdb", "vdc")):
        make_disk(case.dir / f"{disk}.raw", (number + 1) * MIB + number, [(0, 300 * KIB)], seed=disk)
    case.start()
    case.add("web1", **{d: case.dir / f"{d}.raw" for d in ("vda", "vdb", "vdc")})
    job = case.backup("web1")
    eq(case.catalog.job_count(), 1, "one job for all disks")
    eq([d["state"] for d in job["disks"]], ["completed"] * 3, "states of the disks")
    for disk in ("vda", "vdb", "vdc"):
        case.expect_same(raw(case, disk=disk), case.dir / f"{disk}.raw")
        eq(case.info(case.snapshots("web1", disk)[0])["job"], job["job"], "job of the snapshot")


main()

# SPDX-License-Identifier: MIT
"""disk.qcow2 is the disk as a qcow2 image: what QEMU's own tools say of it, for disks of all sizes,
with holes, damage, gc, many readers, and an overlay over it.
"""
import hashlib
import json
import os
import random
import shutil
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import (KIB, MIB, copy, data_chunks, digest, extents_of_chunks, make_disk, noise,
                   read_at, seek_extents, write_at)

CLUSTER = 64 * KIB
TIB = 1 << 40
HEADER = 64  # of a record in a pack


def start(case, image, init=()):
    if not (shutil.which("qemu-img") and shutil.which("qemu-io")):
        raise Skip("qemu-img and qemu-io (package qemu-utils) are not installed")
    case.start(init=init)
    case.add("web1", vda=image)
    case.backup("web1")


def qcow2(case, number=-1):
    return case.snapshots("web1", "vda")[number] / "disk.qcow2"


def raw(case, number=-1):
    return case.snapshots("web1", "vda")[number] / "disk.raw"


def qemu_img(case, *args):
    """Its words as JSON."""
    return case.run(["qemu-img", args[0], "--output=json", *args[1:]], timeout=60).json()


def check_image(case, path):
    """qemu-img check finds nothing. Returns what it counted."""
    found = qemu_img(case, "check", "-f", "qcow2", path)
    eq([found.get(key, 0) for key in ("corruptions", "leaks", "check-errors")], [0, 0, 0],
       f"qemu-img check {path}: {found}")
    eq(found["image-end-offset"] <= path.stat().st_size, True, "nothing past the end")
    return found


def compare(case, path, image):
    case.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, image], timeout=60)


def mapped(case, path):
    """[(start, end, offset in the file), …] of what is allocated."""
    rows = qemu_img(case, "map", "-f", "qcow2", path)
    return [(row["start"], row["start"] + row["length"], row["offset"])
            for row in rows if row["data"]]


def expect_image(case, path, image):
    check_image(case, path)
    compare(case, path, image)
    eq(path.stat().st_size % CLUSTER, 0, "whole clusters")
    eq(qemu_img(case, "info", path)["virtual-size"], (os.path.getsize(image) + 511) // 512 * 512,
       "virtual size")


# --- every size, chunk size and pattern

SIZES = (0, 1, 511, 512, 513, 4096, CLUSTER - 1, CLUSTER, CLUSTER + 1, 3 * CLUSTER + 777, 16 * MIB,
         16 * MIB + 1, 64 * MIB - 512)


@each({f"{size} bytes": size for size in SIZES})
def test_size(case, size):
    image = make_disk(case.dir / "vda.raw", size, [(0, min(size, 5 * CLUSTER))])
    if size > 6 * CLUSTER:
        write_at(image, size - 700, noise(700, "tail"))
    start(case, image)
    expect_image(case, qcow2(case), image)
    compare(case, qcow2(case), raw(case))
    if size:
        write_at(image, size - 1, b"\x5a")
        case.backup("web1")
        check("-incr-" in qcow2(case).parent.name, "an incremental")
        expect_image(case, qcow2(case), image)


@each({f"{size // KIB} KiB": size for size in (16 * KIB, 32 * KIB, 128 * KIB, MIB, 4 * MIB)})
def test_chunk_size(case, size):
    image = make_disk(case.dir / "vda.raw", 21 * MIB + 4097,
                      [(20 * KIB, 100), (3 * MIB - 50, MIB), (9 * MIB, 4097), (21 * MIB, 4097)])
    start(case, image, init=("--chunk-size", str(size)))
    expect_image(case, qcow2(case), image)
    eq(qemu_img(case, "info", qcow2(case))["cluster-size"], CLUSTER, "cluster size")
    # A cluster is allocated when any chunk in it is data.
    chunks = data_chunks(image, size)
    clusters = sorted({n for chunk in chunks
                       for n in range(chunk * size // CLUSTER,
                                      ((chunk + 1) * size + CLUSTER - 1) // CLUSTER)
                       if n * CLUSTER < 21 * MIB + 4097})
    end = (21 * MIB + 4097 + 511) // 512 * 512
    eq([(a, b) for a, b, _ in mapped(case, qcow2(case))], extents_of_chunks(clusters, CLUSTER, end),
       "allocated")


PATTERNS = {
    "all hole": [],
    "data at the start": [(0, CLUSTER)],
    "data at the end": [(63 * CLUSTER, CLUSTER)],
    "every second chunk": [(n * CLUSTER, CLUSTER) for n in range(0, 64, 2)],
    "across a border": [(7 * CLUSTER - 10, 20)],
    "full": [(0, 64 * CLUSTER)],
}


@each(PATTERNS)
def test_holes(case, extents):
    """The map, the file's own holes, and its bytes fit each other."""
    image = make_disk(case.dir / "vda.raw", 64 * CLUSTER, extents)
    start(case, image)
    path, chunks = qcow2(case), data_chunks(image, CLUSTER)
    found = check_image(case, path)
    eq(found.get("allocated-clusters", 0), len(chunks), "allocated clusters")
    allocated = mapped(case, path)
    eq([(a, b) for a, b, _ in allocated], extents_of_chunks(chunks, CLUSTER, 64 * CLUSTER), "map")
    content = path.read_bytes()
    eq(len(content), path.stat().st_size, "st_size")
    data, position = seek_extents(path), 0
    for begin, end in data:
        eq(content[position:begin], bytes(begin - position), "a hole of the file")
        position = end
    eq(content[position:], bytes(len(content) - position), "the last hole of the file")
    for begin, end, offset in allocated:
        check(any(a <= offset and offset + end - begin <= b for a, b in data), "data is no hole")
    # Header, refcount table, L1 table, one refcount block; an L2 table where there is data.
    taken = (len(chunks) + 4 + (len(chunks) > 0)) * CLUSTER
    eq(sum(b - a for a, b in data), taken, "allocated bytes of the file")
    eq(path.stat().st_blocks * 512, taken, "st_blocks")


def test_seek_at_the_edges(case):
    image = make_disk(case.dir / "vda.raw", 10 * CLUSTER, [(2 * CLUSTER, CLUSTER)])
    start(case, image)
    size, first = qcow2(case).stat().st_size, mapped(case, qcow2(case))[0][2]
    fd = os.open(qcow2(case), os.O_RDONLY)
    for whence, offset, expected in ((os.SEEK_DATA, 0, 0), (os.SEEK_DATA, 77, 77),
                                     (os.SEEK_HOLE, first, first + CLUSTER),
                                     (os.SEEK_DATA, first - 1, first),
                                     (os.SEEK_HOLE, first - 5, first - 5),
                                     (os.SEEK_HOLE, size - 1, size - 1)):
        eq(os.lseek(fd, offset, whence), expected, f"lseek({offset}, {whence})")
    for whence, offset in ((os.SEEK_DATA, first + CLUSTER), (os.SEEK_DATA, size),
                           (os.SEEK_HOLE, size), (os.SEEK_DATA, size + CLUSTER)):
        raises(errno.ENXIO, lambda: os.lseek(fd, offset, whence), f"lseek({offset}, {whence})")
    os.close(fd)


def test_a_huge_sparse_disk(case):
    """4 TiB with a few islands: it opens at once, and costs what the islands cost."""
    places = [0, 1 << 30, 3 * TIB + CLUSTER, 4 * TIB - CLUSTER]
    image = make_disk(case.dir / "vda.raw", 4 * TIB, [(place, 4096) for place in places])
    start(case, image)
    path = qcow2(case)
    before = case.daemon.memory_peak()
    eq(qemu_img(case, "info", path)["virtual-size"], 4 * TIB, "virtual size")
    eq(check_image(case, path).get("allocated-clusters"), 4, "allocated clusters")
    allocated = mapped(case, path)
    eq([(a, b - a) for a, b, _ in allocated], [(place, CLUSTER) for place in places], "map")
    for number, (_, _, offset) in enumerate(allocated):
        eq(read_at(path, offset, 4096), noise(4096, f"1/{number}"), f"bytes of island {number}")
    check(path.stat().st_blocks * 512 < MIB, f"st_blocks {path.stat().st_blocks}")
    check(sum(b - a for a, b in seek_extents(path)) < 2 * MIB, "what the file takes")
    case.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", path, case.dir / "copy.qcow2"],
             timeout=60)
    case.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", path, case.dir / "copy.qcow2"],
             timeout=60)
    check(case.daemon.memory_peak() - before < 16 * MIB, "memory does not follow the disk's size")


def test_tens_of_terabytes(case):
    """More than a refcount block of tables."""
    places = [5 * MIB, 20 * TIB, 40 * TIB + CLUSTER]
    image = make_disk(case.dir / "vda.raw", 0)
    try:
        os.truncate(image, 10 * TIB)
        os.truncate(image, 48 * TIB + 512)
    except OSError:
        places = [5 * MIB, 7 * TIB, 9 * TIB + CLUSTER]  # what the file system takes (ext4: 16 TiB)
    for place in places:
        write_at(image, place, noise(4096, place))
    start(case, image)
    eq(check_image(case, qcow2(case)).get("allocated-clusters"), 3, "allocated clusters")
    allocated = mapped(case, qcow2(case))
    eq([a for a, _, _ in allocated], places, "map")
    for place, (_, _, offset) in zip(places, allocated):
        eq(read_at(qcow2(case), offset, 4096), noise(4096, place), f"bytes at {place}")


# --- what people do with it


def test_convert(case):
    image = make_disk(case.dir / "vda.raw", 40 * MIB + 333, [(0, 9 * MIB), (30 * MIB, MIB)])
    start(case, image)
    for wanted in ("raw", "qcow2"):
        case.run(["qemu-img", "convert", "-f", "qcow2", "-O", wanted, qcow2(case),
                  case.dir / f"out.{wanted}"], timeout=60)
        case.run(["qemu-img", "compare", "-f", wanted, "-F", "raw", case.dir / f"out.{wanted}",
                  image], timeout=60)


def test_cp(case):
    """A plain copy is a sparse file and a good image on its own."""
    image = make_disk(case.dir / "vda.raw", 900 * MIB, [(0, 3 * MIB), (800 * MIB, 2 * MIB)])
    start(case, image)
    case.sh(f"cp {qcow2(case)} copy.qcow2", timeout=60)
    expect_image(case, case.dir / "copy.qcow2", image)
    blocks = (case.dir / "copy.qcow2").stat().st_blocks * 512
    check(blocks <= 6 * MIB, f"the copy takes {blocks} bytes")
    eq(digest(case.dir / "copy.qcow2"), digest(qcow2(case)), "bytes of the copy")


def test_the_same_at_each_open(case):
    image = make_disk(case.dir / "vda.raw", 20 * MIB + 100, [(0, 3 * MIB), (11 * MIB, MIB)])
    start(case, image)
    seen = [(digest(qcow2(case)), qcow2(case).stat().st_size, qcow2(case).stat().st_ino)]
    for _ in range(2):
        case.remount()
        seen.append((digest(qcow2(case)), qcow2(case).stat().st_size, qcow2(case).stat().st_ino))
    eq(len(set(seen)), 1, f"digests and sizes {seen}")
    # The layout follows from the size, so an image of the same content is the same file.
    case.backup("web1", "full")
    eq(digest(qcow2(case)), seen[0][0], "of another full")


def test_generations(case):
    size = 6 * MIB + 333
    image = make_disk(case.dir / "vda.raw", size, [(0, 3 * MIB)])
    start(case, image)
    numbers, kept = random.Random(6), [copy(image, case.dir / "0.raw")]
    for generation in range(1, 5):
        for _ in range(5):
            length = numbers.choice((1, 4096, CLUSTER, 3 * CLUSTER))
            zero = numbers.random() < 0.4
            write_at(image, numbers.randrange(0, size - length),
                     bytes(length) if zero else noise(length, numbers.random()))
        case.backup("web1")
        kept.append(copy(image, case.dir / f"{generation}.raw"))
    for generation, expected in enumerate(kept):
        expect_image(case, qcow2(case, generation), expected)


def test_an_overlay(case):
    """A guest's writes go to the overlay; the snapshot stays what it was."""
    image = make_disk(case.dir / "vda.raw", 30 * MIB, [(0, 8 * MIB)])
    start(case, image)
    before = digest(qcow2(case))
    case.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", qcow2(case), "-F", "qcow2",
              case.dir / "over.qcow2"])
    io = case.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0x11 1000 70000",
                   "-c", "write -P 0x22 20M 64k", "-c", "discard 4M 1M", "-c", "flush",
                   case.dir / "over.qcow2"], timeout=60)
    check("failed" not in io.out.lower(), f"{io}")
    expected = bytearray(image.read_bytes())
    expected[1000:71000] = b"\x11" * 70000
    expected[20 * MIB:20 * MIB + CLUSTER] = b"\x22" * CLUSTER
    expected[4 * MIB:5 * MIB] = bytes(MIB)
    (case.dir / "expected.raw").write_bytes(expected)
    check_image(case, case.dir / "over.qcow2")
    compare(case, case.dir / "over.qcow2", case.dir / "expected.raw")
    eq(digest(qcow2(case)), before, "the snapshot's file")
    compare(case, qcow2(case), image)


def test_it_cannot_be_written(case):
    image = make_disk(case.dir / "vda.raw", MIB, [(0, MIB)])
    start(case, image)
    case.refuses(errno.EROFS, lambda: open(qcow2(case), "r+b").close(), "can only be read")
    case.refuses(errno.EROFS, lambda: os.truncate(qcow2(case), 0))
    case.refuses(errno.EPERM, lambda: os.unlink(qcow2(case)))
    case.run(["qemu-io", "-f", "qcow2", "-c", "write 0 512", qcow2(case)], status=1)
    expect_image(case, qcow2(case), image)


def test_direct_reads(case):
    image = make_disk(case.dir / "vda.raw", 8 * CLUSTER + 5, [(CLUSTER, 3 * CLUSTER)])
    start(case, image)
    case.sh(f"dd if={qcow2(case)} of=direct.qcow2 bs=128K iflag=direct status=none")
    case.expect_same(case.dir / "direct.qcow2", qcow2(case))
    io = case.run(["qemu-io", "-r", "-n", "-f", "qcow2", "-c", "read -P 0 0 64k", qcow2(case)])
    check("verification failed" not in io.out, f"past the page cache: {io}")
    compare(case, case.dir / "direct.qcow2", image)


def test_reads_of_every_shape(case):
    image = make_disk(case.dir / "vda.raw", 9 * CLUSTER, [(0, CLUSTER), (5 * CLUSTER, 2 * CLUSTER)])
    start(case, image, init=("--chunk-size", str(16 * KIB)))
    content, numbers = qcow2(case).read_bytes(), random.Random(8)
    case.remount()
    fd = os.open(qcow2(case), os.O_RDONLY)
    for _ in range(300):
        offset = numbers.randrange(0, len(content) + CLUSTER)
        length = numbers.choice((1, 7, 512, 4096, 4097, CLUSTER, 5 * CLUSTER))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        eq(os.pread(fd, length, offset), content[offset:offset + length], f"{length} at {offset}")
    os.close(fd)


def test_many_readers_at_once(case):
    image = make_disk(case.dir / "vda.raw", 24 * MIB, [(0, 8 * MIB), (16 * MIB, 8 * MIB)])
    start(case, image)
    expected = [digest(qcow2(case)), digest(image)]
    case.remount()
    seen = []
    threads = [threading.Thread(target=lambda f=f: seen.append(digest(f(case))))
               for f in (qcow2, raw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eq(sorted(seen), sorted(expected * 4), "digests")


def test_a_look_reads_nothing(case):
    """Neither ls nor stat nor find reads a record: the first reads would fail here, of the
    snapshot's own record, which the catalog can stand in for, and of its map."""
    image = make_disk(case.dir / "vda.raw", MIB, [(0, MIB)])
    start(case, image)
    case.remount(fault="pack-read:1=EIO,pack-read:2=EIO")
    case.sh(f"ls -lsR {case.mnt}/vms; find {case.mnt}/vms -name '*.qcow2' -size +1M | grep qcow2")
    case.daemon.allow_errors("cannot open the disk")
    raises(errno.EIO, lambda: qcow2(case).read_bytes(), "the first read of a map")
    compare(case, qcow2(case), image)


# --- what happens meanwhile


def test_forgetting_waits_for_a_reader(case):
    image = make_disk(case.dir / "vda.raw", MIB, [(0, MIB)])
    start(case, image)
    with open(qcow2(case), "rb") as source:
        source.read(1)
        case.refuses(errno.EBUSY, lambda: case.snapshots("web1", "vda")[0].rmdir())

    def forgotten():
        try:
            case.snapshots("web1", "vda")[0].rmdir()
        except OSError as error:
            eq(error.errno, errno.EBUSY, "the kernel has not told of the close yet")
            return False
        return True

    within(10, forgotten, "it can be forgotten once the file is closed")


def test_an_open_file_survives_gc(case):
    image = make_disk(case.dir / "vda.raw", 12 * MIB, [(0, 10 * MIB)])
    start(case, image)
    for generation in range(2):
        write_at(image, 2 * MIB, noise(6 * MIB, f"generation {generation}"))
        case.backup("web1")
    content = qcow2(case).read_bytes()
    case.remount()
    path = qcow2(case)
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, 10, 0)
    for snapshot in case.snapshots("web1", "vda")[:2]:
        snapshot.rmdir()
    figures = case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))["figures"]
    check(figures["packs_rewritten"] > 0, f"packs under the file were rewritten: {figures}")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    eq(b"".join(os.pread(fd, MIB, at) for at in range(0, len(content), MIB)), content,
       "all of it through the old descriptor")
    os.close(fd)
    compare(case, path, image)


# --- damage


def flip(case, row):
    pack = case.repo / "packs" / row["uuid"][:2] / f"{row['uuid']}.pack"
    at = row["at"] + HEADER + row["len"] // 2
    write_at(pack, at, bytes([read_at(pack, at, 1)[0] ^ 1]))


def unreadable(case, path):
    """Offsets of the 64 KiB blocks of the file that give EIO."""
    case.daemon.allow_errors(r"/disk\.(qcow2|raw): ")
    bad = []
    fd = os.open(path, os.O_RDONLY)
    for at in range(0, os.fstat(fd).st_size, CLUSTER):
        try:
            os.pread(fd, CLUSTER, at)
        except OSError as error:
            eq(error.errno, errno.EIO, "the error")
            bad.append(at)
    os.close(fd)
    return bad


def test_a_damaged_chunk(case):
    """EIO for its cluster; tables and everything else go on."""
    image = make_disk(case.dir / "vda.raw", 40 * CLUSTER, [(0, 30 * CLUSTER)])
    start(case, image)
    offset = mapped(case, qcow2(case))[0][2]
    row, = case.catalog.rows(
        'SELECT c."offset" AS at, c.stored_length AS len, p.uuid FROM chunks c '
        "JOIN packs p ON p.id = c.pack_id WHERE c.id = ?",
        hashlib.sha256(read_at(image, 7 * CLUSTER, CLUSTER)).digest())
    flip(case, row)
    case.remount()
    eq(unreadable(case, qcow2(case)), [offset + 7 * CLUSTER], "what gives EIO")
    check_image(case, qcow2(case))
    io = case.run(["qemu-io", "-r", "-f", "qcow2", "-c", "read 448k 64k", qcow2(case)], status=1)
    check("Input/output error" in io.out + io.err, f"qemu is told: {io}")
    for at in (6, 8, 35):
        io = case.run(["qemu-io", "-r", "-f", "qcow2", "-c", f"read {at * 64}k 64k", qcow2(case)])
        check("ops" in io.out, f"beside it: {io}")
    # The content comes back with the next backup, for this snapshot too.
    case.backup("web1", "full")
    case.remount()
    compare(case, qcow2(case, 0), image)


def test_a_damaged_map(case):
    """A leaf that cannot be read: its clusters give EIO, and are not passed off as holes."""
    image = make_disk(case.dir / "vda.raw", 64 * MIB, [(0, MIB), (40 * MIB, MIB), (50 * MIB, MIB)])
    start(case, image)
    offset = mapped(case, qcow2(case))[0][2]
    rows = case.catalog.rows(
        'SELECT c."offset" AS at, c.stored_length AS len, p.uuid FROM chunks c '
        'JOIN packs p ON p.id = c.pack_id WHERE c.kind = 2 ORDER BY c."row"')
    eq(len(rows), 4, "three leaves and a root")
    flip(case, rows[1])  # of 32 to 48 MiB
    case.remount()
    eq(unreadable(case, qcow2(case)), [offset + at for at in range(32 * MIB, 48 * MIB, CLUSTER)],
       "what gives EIO")
    check_image(case, qcow2(case))
    for start_at, length in ((0, MIB), (50 * MIB, MIB)):
        eq(read_at(qcow2(case), offset + start_at, length), read_at(image, start_at, length),
           f"bytes at {start_at}")


main()

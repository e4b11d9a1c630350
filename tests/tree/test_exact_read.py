# SPDX-License-Identifier: MIT
"""disk.raw under every way of reading there is: what is read is what was backed up, holes cost
nothing, readers in order are read ahead of and readers at random are not, damage is EIO where it is
and nowhere else, and memory stays within its bound."""
import ctypes
import mmap
import os
import random
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, read_at, seek_extents, write_at

CHUNK = 64 * KIB
HEADER = 64  # of a record in a pack


def start(case, size, extents, options=()):
    """A mounted repository with one snapshot of such a disk, nothing of it cached. Gives the image
    and disk.raw."""
    image = make_disk(case.dir / "vda.raw", size, extents)
    case.start()
    case.add("web1", vda=image)
    case.backup("web1")
    case.remount(options=options)
    return image, case.latest("web1", "vda") / "disk.raw"


def counters(case):
    """How many chunks and map nodes were decoded: for readers, ahead of them, and of these read."""
    seen = {}
    for line in (case.mnt / "metrics").read_text().splitlines():
        if line.startswith("backtree_cache_"):
            name, value = line.split()
            seen[name.removeprefix("backtree_cache_")] = float(value)
    return seen["misses"], seen["prefetched"], seen["prefetched_used"]


class Direct:
    """A file read past the page cache: every read is one request to the daemon."""

    def __init__(self, path, size=MIB):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.memory = mmap.mmap(-1, size)

    def read(self, offset, length):
        count = os.preadv(self.fd, [memoryview(self.memory)[:length]], offset)
        return self.memory[:count]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


# --- prefetch

def test_random_reads_decode_nothing_more(case):
    """4 KiB here and there: one chunk is decoded for each, and none ahead."""
    image, raw = start(case, 32 * MIB, [(0, 32 * MIB)])
    chunks = list(range(32 * MIB // CHUNK))
    random.Random(3).shuffle(chunks)
    before = counters(case)
    with Direct(raw) as direct, open(raw, "rb", buffering=0) as buffered:
        os.posix_fadvise(buffered.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for number, chunk in enumerate(chunks):
            at = chunk * CHUNK + 4096 * (number % 16)
            seen = direct.read(at, 4096) if number % 2 else os.pread(buffered.fileno(), 4096, at)
            check(seen == read_at(image, at, 4096), f"wrong bytes at {at}")
    misses, ahead, _ = (after - first for after, first in zip(counters(case), before))
    eq(ahead, 0, "chunks decoded ahead")
    check(len(chunks) <= misses <= len(chunks) + 8, f"{misses} decoded for {len(chunks)} chunks")


def test_random_reads_of_more_than_the_cache_holds(case):
    """4 KiB all over a disk six times the cache, half of it deltas; then in a few places again and again."""
    size = 48 * MIB
    image, _ = start(case, size, [(0, size)], ("-o", "cache=8M"))
    for at in range(0, size, 2 * CHUNK):
        write_at(image, at + 1000, b"changed a little")
    case.backup("web1")
    raw = case.latest("web1", "vda") / "disk.raw"
    expected = image.read_bytes()
    numbers = random.Random(4)

    def decoded_for(offsets):
        before = counters(case)
        for at in offsets:
            check(direct.read(at, 4096) == expected[at:at + 4096], f"wrong bytes at {at}")
        return counters(case)[0] - before[0]

    with Direct(raw) as direct:
        offsets = [numbers.randrange(size // 4096) * 4096 for _ in range(4000)]
        misses = decoded_for(offsets)
        check(misses <= len(offsets) + 16, f"{misses} decoded for {len(offsets)} reads")
        # What is not kept at the first read is at the second.
        places = numbers.sample(range(size // CHUNK), 10)
        offsets = [place * CHUNK + piece * 4096 for place in places for piece in range(16)]
        numbers.shuffle(offsets)
        misses = decoded_for(offsets)
        check(misses <= 3 * len(places) + 16, f"{misses} decoded for {len(offsets)} reads of {len(places)} chunks")


@each({"4 KiB": 4096, "64 KiB": 64 * KIB, "100 KiB": 100 * KIB, "1 MiB": MIB})
def test_reads_in_order_are_read_ahead_of(case, length):
    """A reader in order finds chunks decoded, and none is decoded twice."""
    size = 24 * MIB + 12345
    image, raw = start(case, size, [(0, 9 * MIB), (15 * MIB, 9 * MIB + 12345)])
    expected = image.read_bytes()
    chunks = sum(end - begin for begin, end in seek_extents(raw)) // CHUNK + 1
    before = counters(case)
    with Direct(raw) as direct:
        offset = 0
        while seen := direct.read(offset, length):
            check(seen == expected[offset:offset + length], f"wrong bytes at {offset}")
            offset += len(seen)
            if 2 * MIB <= offset < 2 * MIB + len(seen):  # on a busy machine it may take a while
                within(20, lambda: counters(case)[1] > before[1], "chunks were decoded ahead")
    eq(offset, size, "bytes to the end")
    misses, ahead, used = (after - first for after, first in zip(counters(case), before))
    check(ahead > 0 and used > 0, f"{ahead} chunks decoded ahead, {used} of them read")
    check(misses + ahead <= chunks + 16, f"{misses} + {ahead} decoded for {chunks} chunks")


def test_many_readers_in_order(case):
    """Eight readers from eight places, buffered and direct, each sees what the source has."""
    size = 48 * MIB
    image, raw = start(case, size, [(0, 20 * MIB), (24 * MIB, 24 * MIB)], ("-o", "cache=8M"))
    expected, wrong, done = image.read_bytes(), [], []

    def read_on(number):
        with Direct(raw) if number % 2 else open(raw, "rb", buffering=0) as source:
            begin = number * size // 8
            for at in [*range(begin, size, 128 * KIB), *range(0, begin, 128 * KIB)]:
                seen = (source.read(at, 128 * KIB) if number % 2 else
                        os.pread(source.fileno(), 128 * KIB, at))
                if seen != expected[at:at + 128 * KIB]:
                    wrong.append((number, at))
        done.append(number)

    threads = [threading.Thread(target=read_on, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * SLOWDOWN)
    eq(wrong, [], "readers and offsets with wrong bytes")
    eq(len(done), 8, "readers that came to the end")


def test_closing_in_the_middle(case):
    """A reader that goes away while chunks are decoded ahead of it takes nothing along, again and
    again, and so does an unmount (the end of the test)."""
    image, raw = start(case, 32 * MIB, [(0, 32 * MIB)])
    for number in range(40):
        begin = number * 512 * KIB
        with Direct(raw) as direct:
            for at in range(begin, begin + 6 * CHUNK, CHUNK):
                check(direct.read(at, CHUNK) == read_at(image, at, CHUNK), f"wrong bytes at {at}")
    with Direct(raw) as direct:
        for at in range(0, 8 * CHUNK, CHUNK):
            direct.read(at, CHUNK)
        within(20, lambda: counters(case)[1] > 0, "chunks were decoded ahead")


# --- damage

def flip_chunk(case, image, number):
    """Changes a bit in the payload of a chunk as it is stored."""
    rows = case.catalog.rows(
        'SELECT c."offset" AS at, c.stored_length AS len, p.uuid FROM chunks c JOIN packs p ON '
        "p.id = c.pack_id WHERE c.id = ?", bytes.fromhex(sha256(read_at(image, number * CHUNK, CHUNK))))
    eq(len(rows), 1, "copies of the chunk")
    pack = case.repo / "packs" / rows[0]["uuid"][:2] / f"{rows[0]['uuid']}.pack"
    at = rows[0]["at"] + HEADER + rows[0]["len"] // 2
    write_at(pack, at, bytes([read_at(pack, at, 1)[0] ^ 1]))


def sha256(content):
    return subprocess.run(["sha256sum"], input=content, stdout=subprocess.PIPE,
                          check=True).stdout.split()[0].decode()


def test_prefetch_runs_over_damage_in_silence(case):
    """What is decoded ahead meets damage first: nobody hears of it until somebody reads there, and
    then it is EIO for that chunk alone."""
    image, raw = start(case, 16 * MIB, [(0, 16 * MIB)])
    flip_chunk(case, image, 40)
    with Direct(raw) as direct:
        for number in range(40):
            check(direct.read(number * CHUNK, CHUNK) == read_at(image, number * CHUNK, CHUNK),
                  f"wrong bytes in chunk {number}")
        within(10, lambda: counters(case)[1] > counters(case)[2], "chunks beyond were decoded")
    eq(case.daemon.log().count("error: "), 0, "errors in the log")
    case.umount()
    eq(case.catalog.value("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL"), 0, "marks")

    case.mount()
    case.daemon.allow_errors(r"/disk\.raw: ")
    with Direct(raw) as direct:
        for number in range(256):
            at = number * CHUNK
            if number == 40:
                raises(errno.EIO, lambda: direct.read(at, CHUNK), "the damaged chunk")
            else:
                check(direct.read(at, CHUNK) == read_at(image, at, CHUNK), f"chunk {number}")
    with open(raw, "rb", buffering=0) as buffered:
        os.posix_fadvise(buffered.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        at = 40 * CHUNK
        raises(errno.EIO, lambda: os.pread(buffered.fileno(), 4096, at), "buffered, damaged")
        eq(os.pread(buffered.fileno(), 4096, at - 4096), read_at(image, at - 4096, 4096), "before")
        eq(os.pread(buffered.fileno(), 4096, at + CHUNK), read_at(image, at + CHUNK, 4096), "behind")


# --- ways of reading

ODD = 5 * CHUNK + 777


def test_direct_reads_of_an_odd_disk(case):
    image, raw = start(case, ODD, [(0, CHUNK), (3 * CHUNK, 2 * CHUNK + 777)])
    expected = image.read_bytes()
    with Direct(raw) as direct:
        for offset, length in ((0, 4096), (CHUNK - 4096, 8192), (CHUNK, CHUNK), (0, MIB),
                               (ODD - 777 - 4096, 8192), (5 * CHUNK, 4096), (ODD + 4096, 4096)):
            eq(direct.read(offset, length), expected[offset:offset + length], f"{length} at {offset}")


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
LIBC.readahead.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_size_t]


@each({"shared": mmap.MAP_SHARED, "private": mmap.MAP_PRIVATE})
def test_mapped(case, flags):
    image, raw = start(case, ODD, [(0, CHUNK), (3 * CHUNK, 2 * CHUNK + 777)])
    expected = image.read_bytes()
    fd = os.open(raw, os.O_RDONLY)
    with mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ) as view:
        for at in random.Random(5).sample(range(ODD), 50):
            eq(view[at], expected[at], f"byte {at}")
        eq(view[:], expected, "all of it")
    address = LIBC.mmap(None, 8 * CHUNK, mmap.PROT_READ, flags, fd, 0)
    tail = ctypes.string_at(address + 5 * CHUNK, 4096)
    eq(tail, expected[5 * CHUNK:] + bytes(4096 - 777), "the last page")
    child = os.fork()
    if child == 0:  # a page that lies past the end
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        ctypes.string_at(address + 5 * CHUNK + 4096, 1)
        os._exit(0)
    eq(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -signal.SIGBUS, "past the end")
    LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(8 * CHUNK))
    if flags == mmap.MAP_PRIVATE:
        with mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
            view[:3] = b"own"
        eq(os.pread(fd, 3, 0), expected[:3], "the file after a write to a private mapping")
    else:
        raises((errno.EACCES, errno.EPERM), lambda: mmap.mmap(
            fd, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE), "mapping it for writing")
    os.close(fd)


def test_advice(case):
    image, raw = start(case, ODD, [(0, ODD)])
    fd = os.open(raw, os.O_RDONLY)
    for advice in (os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_WILLNEED, os.POSIX_FADV_RANDOM,
                   os.POSIX_FADV_NOREUSE, os.POSIX_FADV_DONTNEED, os.POSIX_FADV_NORMAL):
        os.posix_fadvise(fd, 0, 0, advice)
        eq(os.pread(fd, ODD + 1, 0), image.read_bytes(), f"bytes after advice {advice}")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    eq(LIBC.readahead(fd, CHUNK, 10 * CHUNK), 0, "readahead(2)")
    eq(os.pread(fd, ODD, 0), image.read_bytes(), "bytes after readahead(2)")
    os.close(fd)


def test_moved_by_the_kernel(case):
    """sendfile and splice never show the bytes to their caller."""
    image, raw = start(case, ODD, [(0, CHUNK), (3 * CHUNK, 2 * CHUNK + 777)])
    fd = os.open(raw, os.O_RDONLY)

    def moved(name, move):
        target = case.dir / name
        out = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
        done = 0
        while count := move(out, done):
            done += count
        os.close(out)
        case.expect_same(target, image)

    moved("sendfile.raw", lambda out, done: os.sendfile(out, fd, done, MIB))
    with open(case.dir / "range.raw", "wb") as out:  # the kernel has it for one file system alone
        raises(errno.EXDEV, lambda: os.copy_file_range(fd, out.fileno(), MIB), "copy_file_range")
    reader, writer = os.pipe()

    def through_pipe(out, done):
        count = os.splice(fd, writer, 32 * KIB, done)
        left = count
        while left:
            left -= os.splice(reader, out, left, None, done + count - left)
        return count

    moved("splice.raw", through_pipe)
    os.close(reader)
    os.close(writer)
    os.close(fd)


def test_an_empty_disk(case):
    _, raw = start(case, 0, [])
    eq((raw.stat().st_size, raw.stat().st_blocks), (0, 0), "size and blocks")
    fd = os.open(raw, os.O_RDONLY)
    eq(os.pread(fd, 4096, 0), b"", "what is read")
    raises(errno.ENXIO, lambda: os.lseek(fd, 0, os.SEEK_DATA), "SEEK_DATA")
    raises(errno.ENXIO, lambda: os.lseek(fd, 0, os.SEEK_HOLE), "SEEK_HOLE")
    os.close(fd)
    with Direct(raw) as direct:
        eq(direct.read(0, 4096), b"", "what is read past the page cache")
    case.sh(f"cp {raw} copy.raw && cmp copy.raw {raw}")


# --- holes

def test_a_copy_of_a_giant_reads_its_data_alone(case):
    """cp of 4 TiB with 10 MiB in it decodes those 10 MiB, and the copy is as sparse."""
    extents = [(1 << 30, 4 * MIB), (3 << 40, 5 * MIB), ((4 << 40) - MIB, MIB)]
    image, raw = start(case, 4 << 40, extents)
    eq(raw.stat().st_blocks * 512, 10 * MIB, "st_blocks")
    eq(seek_extents(raw), [(at, at + length) for at, length in extents], "extents")
    case.sh(f"cp --sparse=auto {raw} copy.raw", timeout=60)
    misses, ahead, _ = counters(case)
    check(misses + ahead <= 10 * MIB // CHUNK + 40, f"{misses} + {ahead} were decoded")
    copied = case.dir / "copy.raw"
    eq(copied.stat().st_size, 4 << 40, "size of the copy")
    check(copied.stat().st_blocks * 512 <= 11 * MIB, f"the copy has {copied.stat().st_blocks} blocks")
    for at, length in extents:
        eq(read_at(copied, at, length), read_at(image, at, length), f"bytes at {at}")


# --- memory

@each({"8 MiB": 8, "the default, 64 MiB": 64})
def test_memory_is_bounded(case, cache):
    """Twelve readers of a disk many times the cache: the peak stays within 64 MiB and the cache."""
    if any(name in BINARY.read_bytes() for name in (b"__asan_init", b"__tsan_init")):
        raise Skip("a sanitizer build takes more")
    size = 320 * MIB
    options = ("-o", "cache=8M") if cache == 8 else ()
    image, raw = start(case, size, [(at, 32 * MIB) for at in range(0, size, 32 * MIB)], options)

    def read_on(number):
        if number % 3 == 0:
            with Direct(raw) as source:
                for at in range(number * size // 12, size, MIB):
                    source.read(at, MIB)
        else:
            with open(raw, "rb", buffering=0) as source:
                numbers = random.Random(number)
                for at in range(number * size // 12, size, MIB):
                    os.pread(source.fileno(), MIB, at)
                    os.pread(source.fileno(), 4096, numbers.randrange(size))

    threads = [threading.Thread(target=read_on, args=(n,), daemon=True) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(80 * SLOWDOWN)
    lines = open(f"/proc/{case.daemon.process.pid}/status", encoding="ascii").read().splitlines()
    peak = next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM"))
    check(peak <= (64 + cache) * MIB, f"the peak was {peak / MIB:.1f} MiB with a cache of {cache} MiB")
    check(peak > 8 * MIB, f"{peak} bytes are no peak of anything")
    case.expect_same(raw, image)


main()

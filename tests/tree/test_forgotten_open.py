# SPDX-License-Identifier: MIT
"""Open files of snapshots: they cannot be forgotten by hand, a policy forgets them, and whoever has
disk.raw or disk.qcow2 open then reads on to the last byte until he closes it. Collections run all
the time; what nobody has open any more goes."""
import contextlib
import hashlib
import mmap
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, loop_device, make_disk, make_ext4, noise, seek_extents, write_at

SIZE = 12 * MIB
FIRST = [(0, 4 * MIB), (6 * MIB, 6 * MIB - 512)]  # where the first generation has data


def two_generations(case):
    """The older snapshot's folder and what its disk.raw holds; the newer one shares the first MiB."""
    image = make_disk(case.dir / "vda.raw", SIZE - 512, FIRST)
    case.start()
    case.add("web1", vda=image)
    case.backup("web1")
    content = image.read_bytes()
    write_at(image, MIB, noise(SIZE - 512 - MIB, "second"))
    case.backup("web1")
    case.remount()
    return case.snapshots("web1", "vda")[0], content


def gc(case):
    job = case.request(case.mnt / "control" / "gc", "threshold=1%")
    figures = case.wait_job(job)["figures"]
    return figures, (case.job_dir(job) / "log").read_text()


def forget_by_policy(case, forgotten=1):
    job = case.prune("web1 keep-last=1")
    eq((job["prune"]["forgotten"], job["prune"]["skipped"]), (forgotten, 0), "forgotten")
    return (case.job_dir(job["job"]) / "log").read_text()


def read_all(fd, size):
    """All of it by requests to the daemon: past the page cache, in pieces of 256 KiB."""
    memory, pieces = mmap.mmap(-1, 256 * KIB), []
    for at in range(0, size, 256 * KIB):
        count = os.preadv(fd, [memory], at)
        pieces.append(memory[:count])
    return b"".join(pieces)


def open_direct(path):
    return os.open(path, os.O_RDONLY | os.O_DIRECT)


def collected(case):
    """A collection finds nothing open (the kernel tells of a close a moment after close(2))."""
    return gc(case)[0]["forgotten_open"] == 0


def is_freed(case, used):
    within(20, lambda: collected(case), "nothing is open any more")
    check(case.pack_bytes() < used - 8 * MIB, f"{used} bytes of packs, then {case.pack_bytes()}")
    case.backtree("check", case.repo, "--full")


def removed(folder):
    try:
        folder.rmdir()
    except OSError as error:
        eq(error.errno, errno.EBUSY, "rmdir")
        return False
    return True


@each(["disk.raw", "disk.qcow2"])
def test_by_hand_it_is_refused(case, name):
    snapshot, _ = two_generations(case)
    with open(snapshot / name, "rb") as file:
        file.read(1)
        case.refuses(errno.EBUSY, snapshot.rmdir, "a file of it is open")
        check((snapshot / "info.json").exists(), "it is still there")
    within(10, lambda: removed(snapshot), "it can be forgotten once the file is closed")


@each(["disk.raw", "disk.qcow2"])
def test_reads_go_on(case, name):
    snapshot, _ = two_generations(case)
    expected = (snapshot / name).read_bytes()
    before = os.stat(snapshot / name)
    extents = seek_extents(snapshot / name)
    case.remount()
    fd = open_direct(snapshot / name)
    used = case.pack_bytes()
    check("files of it are open" in forget_by_policy(case), "the prune's log says so")
    check(not snapshot.exists(), "its name is gone")
    for _ in range(2):
        figures, log = gc(case)
        eq(figures["forgotten_open"], 1, "kept because it is open")
        check("1 forgotten snapshots stay" in log, f"the log says so: {log}")
        eq(read_all(fd, len(expected)), expected, "every byte of it")
    now = os.fstat(fd)
    eq((now.st_size, now.st_blocks, now.st_mtime, now.st_ino),
       (before.st_size, before.st_blocks, before.st_mtime, before.st_ino), "fstat")
    eq(seek_extents(f"/proc/self/fd/{fd}"), extents, "extents, opened once more")
    eq(digest(f"/proc/self/fd/{fd}"), hashlib.sha256(expected).hexdigest(), "read once more")
    os.close(fd)
    is_freed(case, used)


def test_the_last_of_several(case):
    """Two descriptors and a mapping: what is open last keeps it."""
    snapshot, content = two_generations(case)
    first, second = open_direct(snapshot / "disk.raw"), open_direct(snapshot / "disk.qcow2")
    mapped = os.open(snapshot / "disk.raw", os.O_RDONLY)
    memory = mmap.mmap(mapped, 0, prot=mmap.PROT_READ)
    os.close(mapped)
    used = case.pack_bytes()
    forget_by_policy(case)
    os.close(second)
    eq(gc(case)[0]["forgotten_open"], 1, "it counts once")
    eq(read_all(first, len(content)), content, "the other descriptor")
    os.close(first)
    eq(gc(case)[0]["forgotten_open"], 1, "the mapping keeps it")
    memory.madvise(mmap.MADV_DONTNEED)
    check(memory[:] == content, "through the mapping")
    memory.close()
    is_freed(case, used)


def test_a_file_system_in_use(case):
    """The disk is attached to a loop device and mounted when its snapshot goes."""
    content = noise(3 * MIB, "a file")
    image = case.dir / "vda.raw"
    make_ext4(image, 16 * MIB, {"dir/file": content})
    case.start()
    case.add("web1", vda=image)
    case.backup("web1")
    write_at(image, 0, noise(16 * MIB, "all of it"))
    case.backup("web1")
    case.remount()
    snapshot, folder = case.snapshots("web1", "vda")[0], case.dir / "guest"
    folder.mkdir()
    with loop_device(snapshot / "disk.raw", "--read-only") as device:
        case.sh(f"mount -o ro,noload {device} {folder}")
        try:
            forget_by_policy(case)
            gc(case)
            eq((folder / "dir/file").read_bytes(), content, "a file in it, read for the first time")
        finally:
            case.sh(f"umount {folder}")
    within(20, lambda: collected(case), "nothing is open any more")


def test_nothing_else_is_left(case):
    """The disk and the VM are removed too while the file is open."""
    snapshot, content = two_generations(case)
    fd = open_direct(snapshot / "disk.raw")
    forget_by_policy(case)
    case.snapshots("web1", "vda")[0].rmdir()
    (case.vm("web1") / "vda").rmdir()
    case.vm("web1").rmdir()
    eq(gc(case)[0]["forgotten_open"], 1, "kept")
    eq(read_all(fd, len(content)), content, "every byte of it")
    eq(os.fstat(fd).st_size, len(content), "fstat")
    os.close(fd)
    within(20, lambda: collected(case), "nothing is open any more")
    check(case.pack_bytes() < 64 * KIB, f"{case.pack_bytes()} bytes of packs are left")


def test_the_daemon_dies(case):
    """What only an open file kept is garbage for the next owner."""
    snapshot, content = two_generations(case)
    fd = open_direct(snapshot / "disk.raw")
    used = case.pack_bytes()
    forget_by_policy(case)
    eq(gc(case)[0]["forgotten_open"], 1, "kept")
    case.crash()
    with contextlib.suppress(OSError):  # the mount that it was of is dead
        os.close(fd)
    case.mount()
    is_freed(case, used)
    newest = case.latest("web1", "vda") / "disk.raw"
    case.expect_same(newest, case.dir / "vda.raw")
    check(newest.read_bytes() != content, "it is the newer one that is left")


def test_opening_while_it_goes(case):
    """Files are opened at the moments when their snapshots are forgotten and collected: either there
    is no such file any more, or all of it can be read."""
    seed = int(os.environ.get("BACKTREE_SEED") or random.randrange(1 << 30))
    print(f"# seed {seed}", flush=True)
    numbers, size = random.Random(seed), 2 * MIB
    image = make_disk(case.dir / "vda.raw", size, [(0, size)])
    case.start(options=("-o", "cache=8M"))
    case.add("web1", vda=image)
    contents, wrong, reads, stop = {}, [], [0, 0], threading.Event()

    def read_some():
        while not stop.is_set():
            for path, content in list(contents.items()):
                try:
                    fd = open_direct(path)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.EBUSY):
                        wrong.append((path.name, error))
                    continue
                try:
                    reads[not path.exists()] += 1
                    time.sleep(0.02)
                    if read_all(fd, size) != content:
                        wrong.append((path.name, "other bytes"))
                except OSError as error:
                    wrong.append((path.name, error))
                finally:
                    os.close(fd)

    readers = [threading.Thread(target=read_some, daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    until = time.monotonic() + (120 if LONG else 6)
    while time.monotonic() < until:
        write_at(image, numbers.randrange(2) * MIB, noise(MIB, numbers.random()))
        case.backup("web1")
        contents[case.latest("web1", "vda") / "disk.raw"] = image.read_bytes()
        if len(contents) > 1:
            case.prune("web1 keep-last=1")
            gc(case)
            del contents[next(iter(contents))]
    stop.set()
    for reader in readers:
        reader.join(20)
    eq(wrong, [], "what readers met")
    check(reads[0] > 5, f"{reads} files were read")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    case.backtree("check", case.repo, "--full")


main()

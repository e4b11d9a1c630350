# SPDX-License-Identifier: MIT
"""SNAPSHOT/changes: exactly the chunks that differ from the parent, from maps alone, whatever the
size of the disk; what stat says of it; and what damage and forgetting do."""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../corrupt"))
import extents
from backtree_testing import *
from damage import CHUNK_KIND, MAP_KIND, Pack, packs
from disks import KIB, MIB, copy, make_disk, make_scattered_disk, noise, write_at

CHUNK = 16 * KIB
TIB = 1 << 40
UNKNOWN = 4096  # what a stat says of a file that nobody has opened


def change(disk, generation):
    """Some writes, some of them what is there already, some zeros, a chunk that becomes data."""
    choose = random.Random(generation)
    size = disk.stat().st_size
    for number in range(20):
        at = choose.randrange(size - 40 * KIB)
        if number % 4 == 3:
            write_at(disk, at // CHUNK * CHUNK, bytes(2 * CHUNK))
        else:
            write_at(disk, at, noise(choose.choice((1, 500, 20 * KIB)), f"{generation}/{number}"))
    with open(disk, "r+b") as same:  # written over with what it holds
        same.seek(size // 2)
        block = same.read(50 * KIB)
        same.seek(size // 2)
        same.write(block)


def history(case, generations=4, size=10 * MIB + 5000):
    """web1/vda in so many generations. [(snapshot, file with its bytes), …], oldest first."""
    disk = make_disk(case.dir / "vda.raw", size, [(0, 300 * KIB), (5 * MIB, 2 * MIB)])
    case.start(init=("--chunk-size=16K", "--keep-all"))
    case.add("web1", vda=disk)
    copies = []
    for generation in range(generations):
        if generation:
            change(disk, generation)
        case.backup("web1")
        copies.append(copy(disk, case.dir / f"vda.{generation}"))
    return list(zip(case.snapshots("web1", "vda"), copies))


def test_what_differs_from_the_parent(case):
    made = history(case)
    before = None
    for snapshot, raw in made:
        found = extents.expect((snapshot / "changes").read_text(), before, raw, CHUNK, snapshot.name)
        check(found, f"{snapshot.name} lists something")
        before = raw


def test_nothing_changed(case):
    made = history(case, 1)
    case.backup("web1")
    unchanged = case.snapshots("web1", "vda")[-1] / "changes"
    eq(unchanged.stat().st_size, 0, "size, known without a look")
    eq(unchanged.read_text(), "", "text")
    check(made[0][0] / "changes", "the full")


def test_a_disk_of_holes_and_an_empty_one(case):
    make_disk(case.dir / "holes.raw", 3 * MIB)
    make_disk(case.dir / "one.raw", 1, [(0, 1)])
    case.start(init=("--chunk-size=16K",))
    case.add("web1", holes=case.dir / "holes.raw", one=case.dir / "one.raw")
    case.backup("web1")
    holes, one = (case.latest("web1", d) / "changes" for d in ("holes", "one"))
    eq((holes.stat().st_size, holes.read_text()), (0, ""), "holes")
    eq(one.read_text(), "0 1\n", "one byte: cut at the disk's end")


def test_a_new_chain_begins_with_all_of_it(case):
    made = history(case, 2)
    case.backup("web1", "full")
    newest = case.snapshots("web1", "vda")[-1]
    extents.expect((newest / "changes").read_text(), None, made[-1][1], CHUNK, newest.name)


def test_a_parent_that_was_forgotten(case):
    made = history(case)
    last = made[3][0] / "changes"
    before = last.read_text()
    with open(last) as reader:
        (made[2][0]).rmdir()
        eq(reader.read(), before, "what is open stays as it was")
        extents.expect(last.read_text(), made[1][1], made[3][1], CHUNK, "after its parent went")
        eq(last.stat().st_size, len(last.read_text()), "size, after it was opened again")
    made[1][0].rmdir()
    made[0][0].rmdir()
    extents.expect(last.read_text(), None, made[3][1], CHUNK, "after all of them went")
    job = case.request(case.mnt / "control" / "gc")
    case.wait_job(job)
    extents.expect(last.read_text(), None, made[3][1], CHUNK, "after gc")


def forget_while_opening(case, made, forget, record):
    """Opens the changes of the last snapshot; while its walk waits at this record that it reads (two
    descriptions, then the root of the parent's map and its own), `forget` is forgotten and collected.
    The text, or the error."""
    os.environ["BACKTREE_FAULT_HOLD"] = str(case.dir / "held")
    case.remount(fault=f"pack-read:{record}=hold")
    box = {}

    def read():
        try:
            box["text"] = (made[-1][0] / "changes").read_text()
        except OSError as error:
            box["error"] = error

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    held = case.dir / "held.pack-read"
    within(20, held.exists, "the walk waits")
    forget.rmdir()
    case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))
    held.unlink()
    case.bounded(thread.join, 20, "the open")
    return box


def test_a_parent_that_is_forgotten_and_collected_under_way(case):
    """Its map is gone when the walk wants to read it: not damage, for there is another parent now."""
    made = history(case, 3)
    box = forget_while_opening(case, made, made[1][0], 3)
    check("text" in box, f"it was read: {box}")
    extents.expect(box["text"], made[0][1], made[2][1], CHUNK, "against the parent's parent")


def test_a_snapshot_that_is_forgotten_and_collected_under_way(case):
    made = history(case, 3)
    box = forget_while_opening(case, made, made[2][0], 4)
    check("error" in box, f"its map is gone: {box}")
    eq(box["error"].errno, errno.ENOENT, "what is said of it")


def test_a_protected_snapshot(case):
    made = history(case, 2)
    (made[1][0] / "protected").write_text("1\n")
    extents.expect((made[1][0] / "changes").read_text(), *(raw for _, raw in made), CHUNK, "protected")


def test_looking_reads_no_map(case):
    """Not find, not ls, not du: with the first reads of records armed to fail, of two snapshots'
    own, which the catalog can stand in for, and of a map, all of them work and the first open
    fails."""
    made = history(case)
    case.remount(fault="pack-read:1=EIO,pack-read:2=EIO,pack-read:3=EIO")
    for command in ("find {m} -ls", "find {m} -size +1000000c", "ls -lR {m}", "du -a {m}",
                    "du -a --apparent-size {m}", "find {m} -name changes -newer /etc/passwd"):
        case.sh(command.format(m=case.mnt))
    for snapshot, _ in made:
        eq((snapshot / "changes").stat().st_size, UNKNOWN, "size before it was opened")
    case.daemon.allow_errors("Input/output error|pack-read")
    raises(errno.EIO, (made[1][0] / "changes").read_text, "the first read of a map")
    extents.expect((made[1][0] / "changes").read_text(), made[0][1], made[1][1], CHUNK, "the next")


TOOLS = {
    "cat": "cat {f}",
    "cp": "cp {f} copy && cat copy",
    "cp --sparse=always": "cp --sparse=always {f} copy && cat copy",
    "dd": "dd if={f} bs=7 status=none",
    "tail": "tail -n +1 {f}",
    "tac": "tac {f} | tac",
    "sort": "sort -n {f}",
    "grep -r": "grep -rh . {f}",
    "tar": "tar cf t.tar {f} 2>/dev/null && tar xOf t.tar",
    "python": "python3 -c 'import sys; print(end=open(sys.argv[1]).read())' {f}",
    "shutil": "python3 -c 'import shutil, sys; shutil.copy(sys.argv[1], \"copy\")' {f} && cat copy",
    "mmap": "python3 -c 'import mmap, sys; f = open(sys.argv[1]); "
            "print(end=mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)[:].decode())' {f}",
}


def test_tools_get_all_of_it(case):
    """Each on a mount of its own, whose daemon does not know the size yet."""
    made = history(case, 2)
    wanted = (made[1][0] / "changes").read_text()
    check(len(wanted) > 100, f"a text to read: {wanted}")
    for name, script in TOOLS.items():
        case.remount()
        eq((made[1][0] / "changes").stat().st_size, UNKNOWN, "size before")
        got = case.sh(script.format(f=made[1][0] / "changes")).out
        eq(got, wanted, name)
    case.remount()
    eq(case.sh(f"wc -c < {made[1][0]}/changes").out.strip(), str(len(wanted)), "wc -c")
    eq((made[1][0] / "changes").stat().st_size, len(wanted), "size, known from now on")
    eq((made[1][0] / "changes").stat().st_blocks, (len(wanted) + 511) // 512, "blocks")


def test_reading_anywhere(case):
    made = history(case, 2)
    with open(made[1][0] / "changes", "rb", buffering=0) as file:
        whole = file.read()
        for offset, length in ((0, 1), (5, 10), (len(whole) - 3, 100), (len(whole), 5), (10**12, 5)):
            eq(os.pread(file.fileno(), length, offset), whole[offset:offset + length], f"{offset}")
        eq(os.lseek(file.fileno(), 0, os.SEEK_END), len(whole), "SEEK_END")
        eq(os.lseek(file.fileno(), 3, os.SEEK_DATA), 3, "SEEK_DATA")
        eq(os.lseek(file.fileno(), 3, os.SEEK_HOLE), len(whole), "SEEK_HOLE")
        raises(errno.ENXIO, lambda: os.lseek(file.fileno(), len(whole), os.SEEK_DATA), "past the end")


def test_it_can_only_be_read(case):
    made = history(case, 1)
    path = made[0][0] / "changes"
    eq(oct(path.stat().st_mode), oct(0o100400), "mode")
    denied = (errno.EPERM, errno.EROFS, errno.EACCES)
    for what in (lambda: path.write_text("x"), lambda: os.truncate(path, 0), path.unlink,
                 lambda: os.chmod(path, 0o600), lambda: os.utime(path)):
        raises(denied, what, "a change")


def test_a_giant_with_little_on_it(case):
    """4 TiB: the walk follows the difference, or this would not end."""
    disk = make_disk(case.dir / "vda.raw", 4 * TIB, [(n * 60 * (TIB // 1000), 5000) for n in range(50)])
    case.start()
    case.add("web1", vda=disk)
    case.backup("web1")
    before = copy(disk, case.dir / "before")
    write_at(disk, 4 * TIB - 3, b"end")
    write_at(disk, 30 * 60 * (TIB // 1000) + 10, b"changed")
    case.backup("web1")
    first, second = case.snapshots("web1", "vda")
    extents.expect((first / "changes").read_text(), None, before, 64 * KIB, "the full")
    found = extents.expect((second / "changes").read_text(), before, disk, 64 * KIB, "the incremental")
    eq(len(found), 2, "extents")


def break_records(case, kind, only=lambda record: True):
    """Changes a byte of every stored record of that kind. Returns how many."""
    broken = 0
    for path in packs(case.repo):
        data = bytearray(path.read_bytes())
        for record in Pack(path).of(kind):
            if not only(record):
                continue
            at = data.index(record.id) - 16 + 64 + record.stored // 2
            data[at] ^= 0xff
            broken += 1
        path.write_bytes(data)
    return broken


def test_no_data_is_read(case):
    """With every chunk broken and every map whole, each list is what it was."""
    made = history(case, 3)
    texts = [(snapshot / "changes").read_text() for snapshot, _ in made]
    case.umount()
    check(break_records(case, CHUNK_KIND) > 20, "chunks were broken")
    case.mount()
    for (snapshot, _), text in zip(made, texts):
        eq((snapshot / "changes").read_text(), text, snapshot.name)
    case.daemon.allow_errors(".")
    raises(errno.EIO, (made[2][0] / "disk.raw").read_bytes, "its data")


def test_a_damaged_map(case):
    """EIO at open, never a list that is too short; what does not need the map goes on."""
    made = history(case, 3)
    case.umount()
    root = bytes.fromhex(case.catalog.value("SELECT hex(digest) FROM backup_disks WHERE number = 2"))
    eq(break_records(case, MAP_KIND, lambda record: record.id == root), 1, "the middle one's root")
    case.mount()
    case.daemon.allow_errors(".")
    for snapshot, _ in made[1:]:
        raises(errno.EIO, (snapshot / "changes").read_text, f"the changes of {snapshot.name}")
        check((snapshot / "info.json").read_text(), "the rest of it can be read")
    check("the map of web1/vda/chain-0001/0002-incr-" in case.daemon.log(), f"says which: {case.daemon.log()}")
    extents.expect((made[0][0] / "changes").read_text(), None, made[0][1], CHUNK, "the first one")


def test_an_open_that_is_given_up(case):
    """A killed reader ends the walk: what is left of it would take minutes."""
    disk = make_scattered_disk(case.dir / "vda.raw", 400)
    case.start(init=("--chunk-size=16K",))
    case.add("web1", vda=disk)
    case.backup("web1")
    changes = case.latest("web1", "vda") / "changes"
    case.remount(fault="pack-read=sleep-500")
    reader = case.spawn(["cat", changes])
    time.sleep(1)
    eq(reader.poll(), None, "it waits for its open")
    reader.kill()
    case.bounded(reader.wait, 20, "the killed reader")
    case.remount()
    eq(len(extents.parse(changes.read_text())), 400, "extents")


def test_many_readers_at_once(case):
    made = history(case, 3)
    wanted = [(snapshot / "changes").read_text() for snapshot, _ in made]
    out = case.sh("for i in $(seq 12); do for s in " + " ".join(str(s / "changes") for s, _ in made) +
                  "; do cat $s & done; done | sort | uniq -c | awk '{print $1}' | sort -u; wait").out
    check(int(out.split()[0]) % 12 == 0, f"each line as often as there are readers: {out}")
    eq([(snapshot / "changes").read_text() for snapshot, _ in made], wanted, "afterwards")


main()

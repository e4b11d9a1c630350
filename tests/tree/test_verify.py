# SPDX-License-Identifier: MIT
"""Verification through the tree: what damage in a pack does to which snapshots, DAMAGED and EIO for
those bytes alone, what heals it, and which share of a repository a run looks at.
"""
import hashlib
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, copy, extents_of_chunks, make_disk, noise, read_at, write_at

CHUNK = 64 * KIB
SIZE = 6 * MIB + 100
HEADER = 64  # of a record in a pack
SHARED = 4   # a chunk that both disks have, and once more at 40
CHANGED = 9  # one that the second snapshot has another content of


def prepare(case):
    """web1 in two snapshots, web2 with most of the same content, web3 with none of it."""
    case.start()
    a = make_disk(case.dir / "a.raw", SIZE, [(0, MIB), (5 * MIB, 300 * KIB)], "a")
    write_at(a, 40 * CHUNK, read_at(a, SHARED * CHUNK, CHUNK))
    b = copy(a, case.dir / "b.raw")
    write_at(b, 0, noise(CHUNK, "b"))
    c = make_disk(case.dir / "c.raw", MIB, [(0, 200 * KIB)], "c")
    case.add("web1", vda=a)
    case.add("web2", vda=b)
    case.add("web3", vda=c)
    images = {}
    case.backup("web1")
    images[case.latest("web1", "vda")] = copy_of(case, a, "a1")
    write_at(a, CHANGED * CHUNK, noise(CHUNK, "changed"))
    for vm in ("web1", "web2", "web3"):
        case.backup(vm)
        source = {"web1": a, "web2": b, "web3": c}[vm]
        images[case.latest(vm, "vda")] = copy_of(case, source, f"{vm}-last")
    return images


def copy_of(case, image, name):
    return copy(image, case.dir / f"{name}.copy")


def chunk_at(image, number):
    content = read_at(image, number * CHUNK, CHUNK)
    return content + bytes(CHUNK - len(content))


def copies(case, content):
    """Rows of the index for a chunk's content, with the pack's file, oldest first."""
    rows = case.catalog.rows(
        'SELECT c."offset" AS at, c.stored_length AS len, c.damaged_at, p.uuid FROM chunks c '
        "JOIN packs p ON p.id = c.pack_id WHERE c.id = ? ORDER BY c.\"row\"",
        hashlib.sha256(content).digest())
    check(rows, "the content is stored")
    return rows


def pack_of(case, uuid):
    return case.repo / "packs" / uuid[:2] / f"{uuid}.pack"


def flip(case, row, at=None):
    path = pack_of(case, row["uuid"])
    at = row["at"] + HEADER + (row["len"] // 2 if at is None else at)
    write_at(path, at, bytes([read_at(path, at, 1)[0] ^ 1]))


def flip_chunk(case, image, number):
    flip(case, copies(case, chunk_at(image, number))[0])


def uses(image, content):
    """[(offset, length)] of what of a disk is this chunk."""
    count = (os.path.getsize(image) + CHUNK - 1) // CHUNK
    chunks = [n for n in range(count) if chunk_at(image, n) == content]
    return [(s, e - s) for s, e in extents_of_chunks(chunks, CHUNK, os.path.getsize(image))]


def damaged(snapshot):
    """[(offset, length)] as DAMAGED lists them; [] when it is not there."""
    path = snapshot / "DAMAGED"
    if not path.exists():
        check("DAMAGED" not in os.listdir(snapshot), "listed and not there")
        return []
    check("DAMAGED" in os.listdir(snapshot), "there and not listed")
    lines = path.read_text().splitlines()
    check(lines[0].startswith("# "), f"a comment first: {lines}")
    eq(path.stat().st_size, len(path.read_bytes()), "st_size")
    check(all(len(line.split(" ", 2)) == 3 for line in lines[1:]), f"three fields: {lines}")
    return [tuple(int(n) for n in line.split()[:2]) for line in lines[1:]]


def unreadable(case, snapshot, image):
    """[(offset, length)] in chunks that give EIO; everything else must be right."""
    bad = []
    case.daemon.allow_errors(r"/disk\.raw: ")
    fd = os.open(snapshot / "disk.raw", os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        eq(size, os.path.getsize(image), "size")
        for number in range((size + CHUNK - 1) // CHUNK):
            try:
                content = os.pread(fd, CHUNK, number * CHUNK)
            except OSError as error:
                eq(error.errno, errno.EIO, "the error")
                bad.append(number)
                continue
            check(content == read_at(image, number * CHUNK, CHUNK),
                  f"{snapshot.name}: chunk {number} has wrong bytes")
    finally:
        os.close(fd)
    return [(s, e - s) for s, e in extents_of_chunks(bad, CHUNK, size)]


def verify(case, words="", state="completed", path=None):
    job = case.request(path or case.mnt / "control" / "verify", words)
    return case.wait_job(job, state)


def log(case, job):
    return (case.job_dir(job["job"]) / "log").read_text()


def status(case, key):
    lines = dict(line.split(" ", 1) for line in (case.mnt / "status").read_text().splitlines())
    return lines[key]


def expect_whole(case, images):
    for snapshot, image in images.items():
        eq(damaged(snapshot), [], f"DAMAGED of {snapshot}")
        eq(case.info(snapshot)["damaged"], False, "info.json")
        case.expect_same(snapshot / "disk.raw", image)


# --- nothing wrong


def test_whole(case):
    images = prepare(case)
    eq(status(case, "last_verified"), "never", "before")
    eq([case.info(s)["verified_at"] for s in images], [None] * 4, "before")
    job = verify(case)
    eq((job["kind"], job["vm"], job["damage"]), ("verify", None, False), "the record")
    figures = job["figures"]
    eq(figures["proved_bytes"], case.pack_bytes(), "bytes proved")
    eq(job["done_bytes"], job["total_bytes"], "all of it is done")
    eq(job["total_bytes"], case.pack_bytes(), "the total")
    eq(figures["records"], case.catalog.value("SELECT count(*) FROM chunks"), "records")
    eq((figures["verified_snapshots"], figures["damaged_records"]), (4, 0), "snapshots")
    check(all(case.info(s)["verified_at"] for s in images), "verified_at")
    check(status(case, "last_verified") != "never" and status(case, "oldest_verified") != "never",
          "status")
    eq((status(case, "unverified_bytes"), status(case, "unverified_snapshots")), ("0", "0"), "left")
    expect_whole(case, images)


def test_of_one_snapshot(case):
    images = prepare(case)
    first = case.snapshots("web1", "vda")[0]
    job = verify(case, path=first / "verify")
    eq((job["vm"], job["disk"]), ("web1", "vda"), "what it is about")
    eq(job["done_bytes"], job["total_bytes"], "all of it")
    check(0 < job["total_bytes"] < case.pack_bytes(), "a part of the packs")
    eq([bool(case.info(s)["verified_at"]) for s in images], [s == first for s in images],
       "verified_at")
    check((first / "verify").read_text().startswith(f"{job['job']} completed"), "the trigger reads")
    eq(job["figures"]["packs"] < len(case.pack_files()), True, "packs with something of it")


@each({"a VM": "web1", "a disk": "web1/vda"})
def test_of_a_name(case, name):
    images = prepare(case)
    verify(case, name)
    eq([bool(case.info(s)["verified_at"]) for s in images],
       [s.parts[-4] == "web1" for s in images], "verified_at")


@each({"no share": "0%", "more than all": "101%", "part 0": "0/3", "past the end": "4/3",
       "no age": "unverified=x", "a name and a share": "web1 5%", "two shares": "5% 1/2",
       "an unknown word": "fast", "two lines": "5%\n5%"})
def test_refused_words(case, words):
    prepare(case)
    codes = (errno.EINVAL, errno.ENOENT) if words == "fast" else errno.EINVAL
    case.refuses(codes, lambda: case.trigger(case.mnt / "control" / "verify", words),
                 "control/verify: .{10}")
    eq(case.catalog.job_count("verify"), 0, "jobs")


def test_a_snapshot_takes_no_share(case):
    prepare(case)
    case.refuses(errno.EINVAL, lambda: case.trigger(case.latest("web1", "vda") / "verify", "5%"),
                 "not both")


# --- damage


def test_a_flipped_byte(case):
    images = prepare(case)
    content = chunk_at(case.dir / "a.raw", SHARED)
    flip_chunk(case, case.dir / "a.raw", SHARED)
    case.remount()  # what is in memory is still right
    job = verify(case, state="failed")
    eq(job["damage"], True, "the job notes damage")
    check("payload checksum" in job["reason"], f"the reason says what: {job['reason']}")
    touched = 0
    for snapshot, image in images.items():
        expected = uses(image, content)
        eq(damaged(snapshot), expected, f"DAMAGED of {snapshot}")
        eq(unreadable(case, snapshot, image), expected, f"EIO of {snapshot}")
        eq(case.info(snapshot)["damaged"], bool(expected), "info.json")
        eq(os.getxattr(snapshot, "user.backtree.damaged"), b"1" if expected else b"0", "xattr")
        eq(bool(case.info(snapshot)["verified_at"]), not expected, "verified_at")
        touched += bool(expected)
    eq(touched, 3, "snapshots that share the chunk")
    eq((job["figures"]["damaged_records"], job["figures"]["damaged_snapshots"]), (1, 3), "figures")
    eq(job["figures"]["damaged_bytes"], 6 * CHUNK, "bytes")
    eq((status(case, "damaged_snapshots"), status(case, "lost_records")), ("3", "1"), "status")
    check(log(case, job).count("damage: ") == 4, f"a line a finding: {log(case, job)}")


def test_only_the_snapshot_that_has_it(case):
    images = prepare(case)
    old = case.snapshots("web1", "vda")[0]
    content = chunk_at(images[old], CHANGED)
    flip_chunk(case, images[old], CHANGED)
    # web2 was made from the old disk, so that it has that chunk too.
    verify(case, "web1", state="failed")
    for snapshot, image in images.items():
        eq(damaged(snapshot), uses(image, content), f"DAMAGED of {snapshot}")
    eq(damaged(case.latest("web1", "vda")), [], "the newer one")
    check(case.info(case.latest("web1", "vda"))["verified_at"], "which is verified")


@each({"a full": ("web1", "full"), "an incremental with its cache": ("web1", "incremental"),
       "another VM": ("web2", "incremental"), "a full of another VM": ("web2", "full")})
def test_heals(case, row):
    vm, words = row
    images = prepare(case)
    flip_chunk(case, case.dir / "a.raw", SHARED)
    verify(case, state="failed")
    job = case.backup(vm, words)
    check(log(case, job).count("healed: ") == 3, f"the log says so: {log(case, job)}")
    images[case.latest(vm, "vda")] = case.dir / ("a.raw" if vm == "web1" else "b.raw")
    eq([copy["damaged_at"] is None for copy in copies(case, chunk_at(case.dir / "a.raw", SHARED))],
       [False, True], "copies: the damaged one, and a new one")
    expect_whole(case, images)
    eq((status(case, "damaged_snapshots"), status(case, "lost_records")), ("0", "0"), "status")
    job = verify(case)
    eq((job["figures"]["superseded_records"], job["figures"]["verified_snapshots"]), (1, 5), "clean")
    eq(case.backtree("check", case.repo, "--full").status, 0, "check")
    case.remount()
    expect_whole(case, images)


def test_heals_as_far_as_the_source_goes(case):
    """Content that no source has any more stays damaged; the rest of the same snapshot heals."""
    images = prepare(case)
    old = case.snapshots("web1", "vda")[0]
    gone, held = chunk_at(images[old], CHANGED), chunk_at(images[old], SHARED)
    flip_chunk(case, images[old], CHANGED)
    flip_chunk(case, images[old], SHARED)
    verify(case, state="failed")
    eq(damaged(old), sorted(uses(images[old], gone) + uses(images[old], held)), "both")
    job = case.backup("web1")
    eq(damaged(old), uses(images[old], gone), "what is left")
    eq(damaged(case.snapshots("web1", "vda")[1]), [], "the newer one")
    check("damaged still" in log(case, job), f"the log says so: {log(case, job)}")
    job = verify(case, state="failed")
    eq(damaged(old), uses(images[old], gone), "as verified again")
    case.backup("web2")
    eq(damaged(old), [], "the other VM has it")
    verify(case)


def test_a_reader_s_damage_heals_without_a_verification(case):
    images = prepare(case)
    flip_chunk(case, case.dir / "a.raw", SHARED)
    case.remount()
    check(unreadable(case, case.latest("web1", "vda"), case.dir / "a.raw"), "EIO")
    case.backup("web1", "incremental")
    images[case.latest("web1", "vda")] = case.dir / "a.raw"
    case.remount()
    expect_whole(case, images)


def map_rows(case):
    return case.catalog.rows('SELECT c."offset" AS at, c.stored_length AS len, p.uuid FROM chunks c '
                             "JOIN packs p ON p.id = c.pack_id WHERE c.kind = 2")


def test_a_damaged_map_heals_without_a_verification(case):
    """The parent's map cannot be read: the nodes that are made anew must not pass for stored."""
    images = prepare(case)
    for row in map_rows(case):
        flip(case, row)
    case.remount()
    for vm, name in (("web1", "a"), ("web2", "b"), ("web3", "c")):
        job = case.backup(vm)
        check("map cannot be read" in log(case, job), f"it is noticed: {log(case, job)}")
        case.remount()
        case.expect_same(case.latest(vm, "vda") / "disk.raw", case.dir / f"{name}.raw")
        images[case.latest(vm, "vda")] = case.dir / f"{name}.raw"
    # The older snapshots of the same content are whole with that; the first of web1 is not.
    verify(case, state="failed")
    first = case.snapshots("web1", "vda")[0]
    eq(damaged(first), [(0, SIZE)], "what had a map of its own")
    del images[first]
    expect_whole(case, images)


def test_a_damaged_map(case):
    images = prepare(case)
    for row in map_rows(case):
        flip(case, row)
    case.remount()
    verify(case, state="failed")
    for snapshot, image in images.items():
        eq(damaged(snapshot), [(0, os.path.getsize(image))], f"DAMAGED of {snapshot}")
    for vm, name in (("web1", "a"), ("web2", "b"), ("web3", "c")):
        case.backup(vm, "full")
        images[case.latest(vm, "vda")] = case.dir / f"{name}.raw"
    del images[case.snapshots("web1", "vda")[0]]
    expect_whole(case, images)


# --- whole packs


def prepare_large(case):
    """A disk of more than a pack, so that a pack without snapshot records can be lost."""
    case.start()
    image = make_disk(case.dir / "a.raw", 90 * MIB, [(0, 80 * MIB)], "large")
    case.add("web1", vda=image)
    case.backup("web1")
    pack = max(case.pack_files(), key=lambda p: p.stat().st_size)
    check(pack.stat().st_size >= 64 * MIB, "a full pack")
    return image, pack


def contents(case, pack):
    return case.catalog.rows("SELECT c.id AS id FROM chunks c JOIN packs p ON p.id = c.pack_id "
                             "WHERE p.uuid = ? AND c.kind = 1", pack.stem)


def lost_extents(case, image, pack):
    ids = {bytes(row["id"]) for row in contents(case, pack)}
    count = os.path.getsize(image) // CHUNK
    chunks = [n for n in range(count) if hashlib.sha256(chunk_at(image, n)).digest() in ids]
    return [(s, e - s) for s, e in extents_of_chunks(chunks, CHUNK, os.path.getsize(image))]


def test_a_lost_pack_heals(case):
    image, pack = prepare_large(case)
    first = case.latest("web1", "vda")
    expected = lost_extents(case, image, pack)
    pack.unlink()
    case.remount()
    eq(case.catalog.value("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL"),
       case.catalog.value("SELECT record_count FROM packs WHERE uuid = ?", pack.stem),
       "marked at start")
    job = verify(case, state="failed")
    # Leaves of the map were lost with it, and with them what they alone led to.
    extents = damaged(first)
    check(extents and extents[0][0] == expected[0][0] and
          sum(n for _, n in extents) >= sum(n for _, n in expected), f"{extents} of {expected}")
    eq(unreadable(case, first, image), extents, "EIO")
    check("missing" in log(case, job) or "known damage" in log(case, job), "told")
    case.backup("web1", "incremental")
    eq(damaged(first), [], "healed")
    case.expect_same(first / "disk.raw", image)
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    job = verify(case)
    check(job["figures"]["superseded_records"] > 1000, "what the lost pack held is not needed")


def test_a_pack_that_comes_back(case):
    image, pack = prepare_large(case)
    first = case.latest("web1", "vda")
    pack.rename(case.dir / "away")
    case.remount()
    verify(case, state="failed")
    check(damaged(first), "damaged")
    (case.dir / "away").rename(pack)
    case.remount()
    job = verify(case, "1%")
    check(job["figures"]["cleared_marks"] > 1000, f"marks are cleared: {job['figures']}")
    eq(damaged(first), [], "DAMAGED is gone")
    case.expect_same(first / "disk.raw", image)
    eq(case.catalog.value("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL"), 0, "marks")


def test_a_truncated_pack_heals(case):
    image, pack = prepare_large(case)
    first = case.latest("web1", "vda")
    os.truncate(pack, 40 * MIB)
    case.remount()
    job = verify(case, "web1", state="failed")
    check("the pack ends after" in log(case, job), f"says so: {log(case, job)}")
    extents = damaged(first)
    eq(unreadable(case, first, image), extents, "EIO")
    check(0 < extents[0][0] <= 40 * MIB, f"what is in front is whole: {extents}")
    case.backup("web1", "incremental")
    eq(damaged(first), [], "healed")
    case.expect_same(first / "disk.raw", image)
    job = verify(case)
    eq(job["figures"]["damaged_indexes"], 1, "the pack has no index any more")


# --- beside others, and ended


def test_beside_a_backup(case):
    case.start(fault="source-read=sleep-20")
    image = make_disk(case.dir / "a.raw", 40 * MIB, [(0, 20 * MIB)], "a")
    case.add("web1", vda=image)
    case.backup("web1")
    write_at(image, 0, noise(5 * MIB, "x"))
    backup = case.request(case.vm("web1") / "backup", "full")
    case.wait_state(backup, "running")
    rounds = 0
    while case.state(backup) == "running":
        verify(case)
        rounds += 1
    case.wait_job(backup)
    check(rounds > 0, "it ran beside")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    eq(verify(case)["figures"]["verified_snapshots"], 2, "both")


@each({"everything": "", "a VM": "web1"})
def test_cancel(case, words):
    case.start()
    image = make_disk(case.dir / "a.raw", 40 * MIB, [(0, 32 * MIB)], "a")
    case.add("web1", vda=image)
    case.backup("web1")
    case.remount(fault="pack-read=sleep-30")
    job = case.request(case.mnt / "control" / "verify", words)
    within(20, lambda: int((case.job_dir(job) / "progress").read_text().split()[0]) > 0, "progress")
    begun = time.monotonic()
    os.utime(case.job_dir(job) / "cancel")
    eq(case.wait_job(job, "cancelled")["reason"], "cancelled", "the reason")
    check(time.monotonic() - begun < 1.5 * SLOWDOWN, "within a second")
    eq(case.info(case.latest("web1", "vda"))["verified_at"], None, "nothing is said to be whole")


def test_an_interrupted_one(case):
    case.start()
    case.add("web1", vda=make_disk(case.dir / "a.raw", 40 * MIB, [(0, 32 * MIB)], "a"))
    case.backup("web1")
    case.remount(fault="pack-read=sleep-50")
    job = case.request(case.mnt / "control" / "verify")
    case.wait_state(job, "running")
    case.crash()
    case.mount()
    check("interrupted" in case.job(job)["reason"], "the reason")
    verify(case)


# --- shares


def many_packs(case, count=7):
    case.start()
    image = make_disk(case.dir / "a.raw", 4 * MIB, [(0, MIB)], "a")
    case.add("web1", vda=image)
    for number in range(count):
        write_at(image, (number % 4) * MIB, noise(300 * KIB, f"pack{number}"))
        case.backup("web1")
    return case.catalog.value("SELECT count(*) FROM packs")


def proved(case):
    return case.catalog.value("SELECT count(*) FROM packs WHERE verified_at IS NOT NULL")


def test_shares_in_percent_go_round(case):
    count = many_packs(case)
    runs = 0
    while proved(case) < count:
        before = proved(case)
        job = verify(case, "10%")
        check(proved(case) > before, "each run proves what was not proved")
        check(job["total_bytes"] < case.pack_bytes(), "a share")
        runs += 1
        check(runs <= 10, "ten tenths are all of it")
    check(runs > 2, f"more than a few runs: {runs}")
    times = dict((r["id"], r["verified_at"]) for r in
                 case.catalog.rows("SELECT id, verified_at FROM packs"))
    verify(case, "10%")
    again = case.catalog.rows("SELECT id FROM packs WHERE verified_at > ?", max(times.values()))
    oldest = sorted(times, key=lambda i: (times[i], i))[:len(again)]
    eq(sorted(r["id"] for r in again), sorted(oldest), "the oldest proofs are made anew")


def test_parts_cover_everything(case):
    count = many_packs(case)
    seen = 0
    for part in range(1, 5):
        seen += verify(case, f"{part}/4")["figures"]["packs"]
    eq((seen, proved(case)), (count, count), "each pack once")


def test_what_was_not_verified(case):
    count = many_packs(case, 3)
    eq(verify(case, "unverified=1h")["figures"]["packs"], count, "all")
    eq(verify(case, "unverified=1h")["figures"]["packs"], 0, "none is left")
    write_at(case.dir / "a.raw", 0, noise(1000, "new"))
    case.backup("web1")
    eq(verify(case, "unverified=1h")["figures"]["packs"], 1, "the new one")
    eq(verify(case, "web1 unverified=1h")["figures"]["verified_snapshots"], 4, "snapshots")
    eq(verify(case, "web1 unverified=1h")["figures"]["verified_snapshots"], 0, "none is left")
    job = verify(case, "unverified=0s 1%")
    check(0 < job["total_bytes"] < case.pack_bytes(), "a share of that")


def test_damage_outside_of_the_share(case):
    """A run that meets no damage ends well, whatever is known of the rest."""
    many_packs(case)
    image = case.dir / "a.raw"
    row = copies(case, chunk_at(image, 16))[0]
    flip(case, row)
    pack = case.catalog.value("SELECT id FROM packs WHERE uuid = ?", row["uuid"])
    verify(case, state="failed")
    check(damaged(case.latest("web1", "vda")), "known")
    for part in range(1, 4):
        job = case.wait_job(case.request(case.mnt / "control" / "verify", f"{part}/3"), None)
        met = int(row["uuid"][:8], 16) % 3 == part - 1
        eq(job["state"], "failed" if met else "completed", f"part {part}, pack {pack}")
        check(damaged(case.latest("web1", "vda")), "still listed")


# --- after a backup


def test_verify_after(case):
    prepare(case)
    backup = case.backup("web1", "verify_after=1")
    eq(backup["verify_after"], True, "the record")
    job = case.catalog.newest_job("verify")
    check(job, "a verification is recorded with it")
    info = case.wait_job(job)
    eq(info["words"], f"job={backup['job']}", "of what it made")
    eq(info["figures"]["verified_snapshots"], 1, "snapshots")
    check(case.info(case.latest("web1", "vda"))["verified_at"], "verified_at")
    case.backup("web1", "verify_after=0")
    case.settle()
    eq(case.catalog.job_count("verify"), 1, "none without it")


def test_verify_after_finds_damage(case):
    prepare(case)
    flip_chunk(case, case.dir / "a.raw", SHARED)
    case.backup("web1", "verify_after=1")  # believes the fingerprint
    info = case.wait_job(case.catalog.newest_job("verify"), "failed")
    eq(info["damage"], True, "damage")
    check(damaged(case.latest("web1", "vda")), "listed")
    case.backup("web1", "verify_after=1")
    case.wait_job(case.catalog.newest_job("verify"))
    eq(damaged(case.latest("web1", "vda")), [], "healed")


def test_a_joined_request_brings_it(case):
    case.start(fault="source-read=sleep-100")
    case.add("web1", vda=make_disk(case.dir / "a.raw", 40 * MIB, [(0, 12 * MIB)], "a"))
    running = case.request(case.vm("web1") / "backup")
    case.wait_state(running, "running")
    pending = case.request(case.vm("web1") / "backup")
    eq(case.request(case.vm("web1") / "backup", "verify_after=1"), pending, "joined")
    case.wait_job(pending)
    case.settle()
    eq([j["words"] for j in (case.job(case.catalog.newest_job("verify")),)], [f"job={pending}"],
       "verified")


if __name__ == "__main__":
    main()

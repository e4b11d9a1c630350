# SPDX-License-Identifier: MIT
"""Blocks that collide under XXH3, made by `collide` (how: tests/unit/xxh3_pair.h), in two disks and
at one place in two generations: what is read and restored is what was backed up, byte for byte."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import tap
from backtree_testing import *
from disks import KIB, copy, noise, write_at

CHUNK = 64 * KIB
COLLIDE = os.environ.get("BACKTREE_COLLIDE",
                         str(BINARY.parent.parent / "tests/corrupt/collide"))


def pair(case, secret="default", seed="block"):
    """Two blocks of a chunk's size that collide under XXH3 with that secret."""
    one, other = case.dir / "block", case.dir / "other"
    one.write_bytes(noise(CHUNK, seed))
    case.run([COLLIDE, secret, one, other])
    blocks = one.read_bytes(), other.read_bytes()
    check(blocks[0] != blocks[1] and len(blocks[0]) == len(blocks[1]) == CHUNK, "two blocks")
    return blocks


def secret_of(case):
    return re.search(r"^fingerprint_secret (\w{384})$", (case.repo / "config").read_text(),
                     re.M).group(1)


def disk(case, name, *chunks):
    path = case.dir / f"{name}.raw"
    path.write_bytes(b"".join(chunks))
    return path


def expect(case, snapshot, image):
    """Read, and restored."""
    case.expect_same(snapshot / "disk.raw", image)
    target = case.dir / f"restored-{image.name}"
    target.unlink(missing_ok=True)
    case.restore(snapshot, target)
    case.expect_same(target, image)


def believed(case, job):
    """How many chunks a backup believed unchanged by their fingerprints."""
    log = (case.job_dir(job["job"]) / "log").read_text()
    return sum(int(n) for n in re.findall(r"(\d+) chunks unchanged by fingerprint", log))


def test_in_two_disks(case):
    one, other = pair(case)
    same = noise(CHUNK, "same")
    images = {"vda": disk(case, "vda", same, one, one), "vdb": disk(case, "vdb", other, same),
              "vdc": disk(case, "vdc", one, other)}
    case.start()
    case.add("web1", **images)
    case.backup("web1")
    for name, image in images.items():
        expect(case, case.latest("web1", name), image)
    # Three contents are three chunks, each stored once.
    eq(case.catalog.value("SELECT count(*) FROM chunks WHERE kind = 1"), 3, "chunks")
    case.remount()
    for name, image in images.items():
        case.expect_same(case.latest("web1", name) / "disk.raw", image)


@each({"first": 0, "middle": 20, "last": 39})
def test_at_one_place_in_two_generations(case, place):
    """Incrementals that believe the fingerprint cache see the one become the other, and back."""
    one, other = pair(case)
    image = disk(case, "vda", noise(40 * CHUNK, "rest"))
    write_at(image, place * CHUNK, one)
    case.start()
    case.add("web1", vda=image)
    generations = [copy(image, case.dir / "0.raw")]
    case.backup("web1")
    for number, block in enumerate((other, one, other), 1):
        write_at(image, place * CHUNK, block)
        generations.append(copy(image, case.dir / f"{number}.raw"))
        eq(believed(case, case.backup("web1")), 39, "chunks believed")
        info = case.info(case.latest("web1", "vda"))
        eq((info["kind"], info["changed_bytes"]), ("incremental", CHUNK), "kind, changed_bytes")
    for snapshot, raw in zip(case.snapshots("web1", "vda"), generations, strict=True):
        expect(case, snapshot, raw)


def test_secret_known_one_chunk(case):
    """Who knows the repository's secret can hide a change of its own disk from an incremental. Not
    more: it holds the block that was there or the one that is, and a full holds the one that is."""
    case.init()
    one, other = pair(case, secret_of(case))
    image = disk(case, "vda", noise(CHUNK, "before"), one, noise(CHUNK, "behind"))
    bystander = disk(case, "vdb", other)
    case.mount()
    case.add("web1", vda=image, vdb=bystander)
    old = copy(image, case.dir / "old.raw")
    case.backup("web1")
    write_at(image, CHUNK, other)
    case.backup("web1")
    raw = (case.latest("web1", "vda") / "disk.raw").read_bytes()
    check(raw in (old.read_bytes(), image.read_bytes()), "one of the two, whole")
    tap.diagnose("the change was " + ("found" if raw == image.read_bytes() else "not seen"))
    case.expect_same(case.latest("web1", "vdb") / "disk.raw", bystander)
    case.backup("web1", "full")
    expect(case, case.latest("web1", "vda"), image)
    expect(case, case.snapshots("web1", "vda")[0], old)


def test_secret_known_many_chunks(case):
    """One chunk in 128 that is believed is proved: of 4,096 hidden changes one is found, but for a
    chance of 1 in 10^14, and then nothing is believed: all of them are backed up."""
    case.init()
    one, other = pair(case, secret_of(case))
    image = case.dir / "vda.raw"
    image.write_bytes(one * 4096)
    case.mount()
    case.add("web1", vda=image)
    case.backup("web1")
    image.write_bytes(other * 4096)
    job = case.backup("web1")
    case.daemon.allow_errors("fingerprint|cache")
    check("the cache is not believed" in (case.job_dir(job["job"]) / "log").read_text(),
          "the log says that a fingerprint was wrong")
    check("-incr-" in case.latest("web1", "vda").name, "an incremental all the same")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


main()

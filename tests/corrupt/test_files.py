# SPDX-License-Identifier: MIT
"""Whole files damaged: packs cut, zeroed, swapped, doubled; catalog.db cut, zeroed, rolled back.
Reading gives the right bytes or a refusal with a sentence, and start-up behaves."""
import os
import re
import shutil
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backtree_testing import *
from damage import CHUNK, Pack, back_up_again, expect, make, packs, probe, settle
from disks import noise, write_at


def cuts(path):
    """Every boundary of a structure of a pack, and a byte to each side."""
    at, ends = 64, [0, 64]
    for record in Pack(path).records:
        ends += [at + 64, at + 64 + record.stored]
        at += 64 + record.stored
    ends += [at + 56 * n for n in range(len(Pack(path).records) + 1)]
    size = path.stat().st_size
    return sorted({n for end in ends for n in (end - 1, end, end + 1) if 0 <= n < size})


def starts(case, expected, says=None):
    """A backup after start-up, which says what it found; every snapshot is right or refused."""
    told = back_up_again(case, expected)
    check(not says or re.search(says, told), f"start-up says {says!r}, not {told!r}")
    expect(probe(case, expected))


def test_pack_cut_anywhere(case):
    """At each boundary of a structure and beside it; what lies before the cut is still read."""
    expected = make(case)
    for pack in packs(case.repo):
        whole = pack.read_bytes()
        refused = []
        for cut in cuts(pack):
            pack.write_bytes(whole[:cut])
            seen = probe(case, expected)
            expect(seen, says="the pack ends after|pack is missing" if any(
                c == "refused" for c, _ in seen.values()) else None)
            refused.append(sum(c == "refused" for c, _ in seen.values()))
        eq(refused, sorted(refused, reverse=True), f"the longer {pack.name}, the less is refused")
        check(refused[0] > 0 and refused[-1] == 0, f"a cut index does not keep content from being "
              f"read: {refused}")
        pack.write_bytes(whole)
    expect(probe(case, expected), refused=0)


WHOLE = {
    "emptied": (lambda p: p.write_bytes(b""), "the pack ends after 0 of", "damage: pack"),
    "zeroed": (lambda p: p.write_bytes(bytes(p.stat().st_size)), "magic number", None),
    "noise": (lambda p: p.write_bytes(noise(p.stat().st_size, 7)), "magic number", None),
    "gone": (lambda p: p.unlink(), "the pack is missing", "damage: pack .* is missing"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "Is a directory", "is no pack|is missing"),
    "a link out": (lambda p: (p.unlink(), p.symlink_to("/dev/zero")), "symbolic links",
                   "is no pack|is missing"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"\0" * 100), None, "damage: pack"),
}


@each(WHOLE)
def test_a_pack(case, row):
    damage, sentence, at_start = row
    expected = make(case)
    damage(packs(case.repo)[0])
    seen = probe(case, expected)
    expect(seen, says=sentence, refused=None if sentence else 0)
    starts(case, expected, at_start)
    after = probe(case, expected)
    eq({path: after[path][0] for path in seen}, {path: word for path, (word, _) in seen.items()},
       "what is read after a start")


def test_packs_swapped(case):
    """Each under the other's name: neither is believed."""
    expected = make(case)
    first, second = packs(case.repo)[:2]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    expect(probe(case, expected), says="pack .* at \\d+: ", refused=4)
    starts(case, expected)


def test_pack_doubled_under_another_uuid(case):
    """A copy is not adopted under a name that is not its own, and disturbs nobody."""
    expected = make(case)
    name = str(uuid.uuid4())
    copy = case.repo / "packs" / name[:2] / f"{name}.pack"
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(packs(case.repo)[0], copy)
    starts(case, expected, f"pack {name}: its header says it is pack")
    expect(probe(case, expected), refused=0)
    check(copy.exists(), "it is left alone")


def test_catalog_rolled_back(case):
    """An older catalog.db put back: what it knows is right, and newer packs are adopted."""
    expected = make(case)
    shutil.copy(case.repo / "catalog.db", case.dir / "old.db")
    write_at(case.dir / "vda", CHUNK, noise(500, "newer"))
    case.backtree("backup", case.repo, "web1")
    settle(case.repo)
    shutil.copy(case.dir / "old.db", case.repo / "catalog.db")
    expect(probe(case, expected), refused=0)
    starts(case, expected, "adopted the sealed pack")
    expect(probe(case, expected), refused=0)


def test_catalog_of_another_time_and_packs_missing(case):
    """A newer catalog.db over older packs: what is not there is refused."""
    expected = make(case)
    shutil.copytree(case.repo / "packs", case.dir / "old")
    case.backtree("backup", case.repo, "web1", "--full")
    settle(case.repo)
    shutil.rmtree(case.repo / "packs")
    shutil.copytree(case.dir / "old", case.repo / "packs")
    expected |= {path: case.dir / path.split("/")[1] for path in case.listed()[2::3]}
    settle(case.repo)
    expect(probe(case, expected), says="the pack is missing|no pack holds", refused=2)


CATALOG = {
    "emptied": lambda data: b"",
    "half a header": lambda data: data[:50],
    "one page": lambda data: data[:4096],
    "a page and a bit": lambda data: data[:4096 + 1000],
    "half": lambda data: data[:len(data) // 2],
    "half, zeros": lambda data: data[:len(data) // 2] + bytes(len(data) - len(data) // 2),
    "last page gone": lambda data: data[:-4096],
    "zeroed": lambda data: bytes(len(data)),
    "noise": lambda data: noise(len(data), 5),
    "text": lambda data: b"not a database\n" * 1000,
}


@each(CATALOG)
def test_catalog(case, damage):
    """Start-up and reading refuse a damaged catalog with one sentence that names it."""
    expected = make(case)
    path = case.repo / "catalog.db"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    expect(probe(case, expected))
    done = case.backtree("list", case.repo, status=None)
    check(done.status == 0 or re.search("^backtree: .*(catalog|database)", done.err),
          f"says what is wrong: {done}")
    settle(case.repo)
    path.write_bytes(whole)
    expect(probe(case, expected), refused=0)


def test_catalog_gone(case):
    expected = make(case)
    (case.repo / "catalog.db").unlink()
    expect(probe(case, expected), says="catalog", refused=4)
    for command in (("list", case.repo), ("backup", case.repo, "web1")):
        case.refused(*command, status=3, says="catalog.db.*backtree rebuild makes a new one")


@each(["config", "lock", "cache", "packs"])
def test_gone(case, name):
    expected = make(case)
    path = case.repo / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    seen = probe(case, expected)
    expect(seen, refused=0 if name in ("lock", "cache") else 4)


main()

# SPDX-License-Identifier: MIT
"""A small repository to damage, what reading it gives, and packs taken apart and put together.

The reading is done by the program `prober` (tests/corrupt/prober.c), which opens a repository
read-only and reads every snapshot. Packs are as docs/FORMAT.md says; their checksums are made right
by `reseal`, since XXH3 is not in Python.
"""
import hashlib
import os
import re
import shutil
import struct
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import BINARY, check, eq
from disks import noise, write_at

TESTS = BINARY.parent.parent / "tests/corrupt"
PROBER = os.environ.get("BACKTREE_PROBER", str(TESTS / "prober"))
RESEAL = os.environ.get("BACKTREE_RESEAL", str(TESTS / "reseal"))
CHUNK = 16384
CHUNK_KIND, MAP_KIND, SNAPSHOT_KIND = 1, 2, 3
DELTA = 2  # a codec: the payload begins with the id of the base
# What damage must lead to: the right bytes, or this.
REFUSED = "refused"


def make(case, sizes=(("vda", 5 * CHUNK + 8192), ("vdb", 3 * CHUNK))):
    """web1 with two disks in two generations; {path in the tree: file with its bytes}."""
    case.init("--chunk-size=16K")
    for name, size in sizes:
        # One chunk that does not compress, one that does, a hole; no two disks alike.
        data = noise(CHUNK, name) + (name.encode() * CHUNK)[:CHUNK]
        (case.dir / name).write_bytes(data + bytes(size - len(data)))
    case.backtree("add", case.repo, "web1", *(f"{n}={case.dir / n}" for n, _ in sizes))
    expected = {}
    for generation in ("1", "2"):
        case.backtree("backup", case.repo, "web1")
        for name, _ in sizes:
            shutil.copy(case.dir / name, case.dir / f"{name}.{generation}")
            write_at(case.dir / name, CHUNK + 100, noise(900, name + generation))
            write_at(case.dir / name, 5000, noise(50, name + generation))  # stored as a delta
    for path in case.listed():
        disk, number = re.fullmatch(r"web1/(\w+)/chain-0001/000(\d)-.*", path).groups()
        expected[path] = case.dir / f"{disk}.{number}"
    eq(len(expected), 2 * len(sizes), "snapshots")
    settle(case.repo)
    return expected


def settle(repo):
    """Nothing beside catalog.db: what is changed in it is what is read."""
    for name in ("catalog.db-wal", "catalog.db-shm"):
        (repo / name).unlink(missing_ok=True)


def probe(case, expected, repo=None):
    """{path: (class, sentence)} of every snapshot, read without any start-up."""
    repo = repo or case.repo
    out = case.run([PROBER, "read", repo, *(f"{p}={raw}" for p, raw in expected.items())]).out
    settle(repo)
    seen = {}
    for line in out.splitlines():
        path, word, sentence = (line.split(" ", 2) + ["", ""])[:3]
        seen[path] = (word, sentence)
    eq(sorted(seen), sorted(expected), "snapshots the prober tells of")
    return seen


def expect(seen, says=None, refused=None):
    """Right bytes or a refusal; a refused one says `says`; `refused`: how many there are."""
    bad = {p: c for p, c in seen.items() if c[0] not in ("right", REFUSED)}
    eq(bad, {}, "snapshots that are neither right nor refused")
    told = [sentence for word, sentence in seen.values() if word == REFUSED]
    check(all(told), f"every refusal has a sentence: {seen}")
    if says:
        check(told and all(re.search(says, s) for s in told), f"says {says!r}, not {told}")
    if refused is not None:
        eq(len(told), refused, f"refused of {seen}")


def back_up_again(case, expected):
    """A full backup of vdb, which starts up as the owner; what is said. Adds it to `expected`."""
    told = case.backtree("backup", case.repo, "web1/vdb", "--full").err
    newest = [path for path in case.listed() if path not in expected]
    eq(len(newest), 1, f"new snapshots: {newest}")
    settle(case.repo)
    shutil.copy(case.dir / "vdb", case.dir / "vdb.again")
    expected[newest[0]] = case.dir / "vdb.again"
    return told


def all_packs(repo):
    return sorted(Path(repo).glob("packs/*/*.pack"), key=lambda p: (p.stat().st_mtime_ns, p.name))


def packs_of_notes(repo):
    return [p for p in all_packs(repo) if p.read_bytes()[68:69] == b"\x04"]  # their first record


def packs(repo):
    """Those with content, oldest first; packs of notes hold none."""
    return [p for p in all_packs(repo) if p not in packs_of_notes(repo)]


class Record:
    def __init__(self, kind, codec, raw, id_, payload):
        self.kind, self.codec, self.raw, self.id, self.payload = kind, codec, raw, id_, payload
        self.stored = len(payload)

    @property
    def base(self):
        return self.payload[:32] if self.codec == DELTA else None


def content_id(kind, content):
    domain = {MAP_KIND: b"backtree-map".ljust(16, b"\0"),
              SNAPSHOT_KIND: b"backtree-snap".ljust(16, b"\0")}.get(kind, b"")
    return hashlib.sha256(domain + content).digest()


class Pack:
    """A pack's records; write() puts them together again, with right checksums."""

    def __init__(self, path):
        self.path = Path(path)
        data = self.path.read_bytes()
        self.header = data[:64]
        offset, count = struct.unpack_from("<QQ", data, len(data) - 40)
        self.records = []
        for n in range(count):
            id_, at, raw, stored, kind, codec = struct.unpack_from("<32sQIIBB", data,
                                                                   offset + 56 * n)
            self.records.append(Record(kind, codec, raw, id_, data[at + 64:at + 64 + stored]))

    def of(self, kind):
        return [r for r in self.records if r.kind == kind]

    def deltas(self):
        return [r for r in self.records if r.codec == DELTA]

    def write(self, case, index=None, bases=None):
        """`index(entries)`, `bases(ids)`: a last change to the list of the index' entries, and to
        that of the deltas' bases behind them."""
        body, entries = self.header, []
        for r in self.records:
            entries.append(bytearray(struct.pack("<32sQIIBBHI", r.id, len(body), r.raw, r.stored,
                                                 r.kind, r.codec, 0, 0)))
            body += b"BTRC" + struct.pack("<BBHII32sQQ", r.kind, r.codec, 0, r.raw, r.stored, r.id,
                                          0, 0) + r.payload
        if index:
            index(entries)
        ids = [r.base for r in self.deltas()]
        if bases:
            bases(ids)
        data = body + b"".join(entries) + b"".join(ids)
        data += b"BTINDEX\n" + struct.pack("<QQQQQ", len(body), len(entries), 0, len(ids), 0)
        self.path.write_bytes(data)
        case.run([RESEAL, self.path])

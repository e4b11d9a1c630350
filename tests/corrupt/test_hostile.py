# SPDX-License-Identifier: MIT
"""Checksums right, content hostile: packs forged from good ones (damage.Pack makes every checksum
right) and rows of the catalog changed. Field → what must be said."""
import json
import os
import re
import sqlite3
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backtree_testing import *
from damage import (CHUNK, CHUNK_KIND, DELTA, MAP_KIND, SNAPSHOT_KIND, Pack, Record, back_up_again,
                    content_id, expect, make, packs, probe, settle)

MIB = 1 << 20


def sql(repo, *statements):
    database = sqlite3.connect(repo / "catalog.db")
    database.execute("PRAGMA ignore_check_constraints=ON")
    with database:
        for statement in statements:
            text, values = statement if isinstance(statement, tuple) else (statement, ())
            database.execute(text, values)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    settle(repo)


def bomb(size):
    """A zstd frame of `size` zeros in blocks of one repeated byte: 4 bytes for each 128 KiB."""
    blocks = size // (128 * 1024)
    body = b"".join(struct.pack("<I", (128 * 1024) << 3 | 2 | (n == blocks - 1))[:3] + b"\0"
                    for n in range(blocks))
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + body


def change(of, **fields):
    """The first record of a kind gets other fields: header and index alike."""
    def forge(pack):
        record = pack.of(of)[0]
        for name, value in fields.items():
            setattr(record, name, value)
        if "payload" in fields and "stored" not in fields:
            record.stored = len(record.payload)
    return forge


def in_index(offset, fmt, value):
    """A field of the first index entry alone."""
    def patch(entries):
        struct.pack_into(fmt, entries[0], offset, value)
    return patch


# What start-up must say when it finds a pack the catalog does not know, and whether it is adopted.
UNKNOWN = {
    "raw length 0": (change(CHUNK_KIND, raw=0), None, "out of range"),
    "raw length past the bound": (change(CHUNK_KIND, raw=8 * MIB + 1, codec=1), None,
                                  "out of range"),
    "raw length of 4 GiB": (change(CHUNK_KIND, raw=2**32 - 1, codec=1), None, "out of range"),
    "stored length 0": (change(CHUNK_KIND, payload=b"", codec=1), None, "out of range"),
    "stored length past the end": (change(CHUNK_KIND, stored=8 * MIB, codec=1), None,
                                   "instead of|accounts for"),
    "stored length past the bound": (change(CHUNK_KIND, stored=2**32 - 1, codec=1), None,
                                     "out of range"),
    "lengths that differ, stored as it is": (change(CHUNK_KIND, codec=0, raw=CHUNK + 1), None,
                                             "differ"),
    "kind 0": (change(CHUNK_KIND, kind=0), None, "kind 0 is never written"),
    "kind of the future": (change(CHUNK_KIND, kind=9), None, "unknown kind 9"),
    "codec of the future": (change(CHUNK_KIND, codec=3), None, "unknown codec 3"),
    "a delta of a map": (change(MAP_KIND, codec=DELTA, payload=b"\7" * 50), None,
                         "a delta of kind 2 and 50 bytes is none"),
    "a delta of nothing but a base": (change(CHUNK_KIND, codec=DELTA, payload=b"\7" * 32), None,
                                      "a delta of kind 1 and 32 bytes is none"),
    "flags": (None, in_index(50, "<H", 1), "unknown flags 0x0001"),
    "reserved bytes": (None, in_index(52, "<I", 1), "reserved bytes are not zero"),
    "index offset before the header": (None, in_index(32, "<Q", 0), "is at 0 instead of 64"),
    "index offset at the end of numbers": (None, in_index(32, "<Q", 2**64 - 64), "instead of 64"),
    "entries out of order": (None, list.reverse, "instead of 64"),
    "an entry twice": (None, lambda e: e.append(bytes(e[-1])), "instead of"),
    "an entry too few": (None, list.pop, "accounts for"),
    "no entries": (None, list.clear, "accounts for 64 of"),
}


@each(UNKNOWN)
def test_unknown_pack(case, row):
    """Forgotten by the catalog and forged: start-up says what is wrong, leaves it alone, goes on."""
    forge, index, sentence = row
    expected = make(case)
    pack = Pack(packs(case.repo)[0])
    if forge:
        forge(pack)
    pack.write(case, index)
    sql(case.repo, ("DELETE FROM chunks WHERE pack_id = (SELECT id FROM packs WHERE uuid = ?)",
                    (pack.path.stem,)), ("DELETE FROM packs WHERE uuid = ?", (pack.path.stem,)))
    expect(probe(case, expected), says="no pack holds")
    told = back_up_again(case, expected)
    check(pack.path.stem in told and re.search(sentence, told),
          f"says {sentence!r}, not {told!r}")
    check(pack.path.exists(), "it is left alone")
    expect(probe(case, expected))


# A pack that the catalog believes (it was adopted, or its rows agree): what reading must say.
BELIEVED = {
    "a bomb": (change(CHUNK_KIND, payload=bomb(1 << 30), codec=1), "does not decompress"),
    "a bomb that fits the bound": (change(CHUNK_KIND, payload=bomb(8 * MIB), codec=1, raw=8 * MIB),
                                   "is 8388608 bytes instead of 16384"),
    "no zstd at all": (change(CHUNK_KIND, payload=b"x" * 100, codec=1), "does not decompress"),
    "a frame that is cut": (change(CHUNK_KIND, payload=bomb(MIB)[:20], codec=1),
                            "does not decompress"),
    "a frame of fewer bytes": (change(CHUNK_KIND, payload=b"\x28\xb5\x2f\xfd\x20\5\x29\0\0hello",
                                      codec=1), "decompresses to 5 bytes instead of 16384"),
    "a chunk of another length": (change(CHUNK_KIND, payload=b"x" * 512, raw=512, codec=0),
                                  "is 512 bytes instead of 16384"),
    "a chunk under another id": (change(CHUNK_KIND, id=b"\7" * 32), "no pack holds the record"),
    "a chunk told a map node": (change(CHUNK_KIND, kind=MAP_KIND), "is of kind 2 instead of 1"),
    "a map told a chunk": (change(MAP_KIND, kind=CHUNK_KIND), "is of kind 1 instead of 2"),
    "other bytes in a map": (change(MAP_KIND, payload=b"y" * 100, raw=100, codec=0),
                             "the content is not what its id says"),
}


def believe(case, pack):
    """The catalog's rows of a pack are those of its index."""
    row = "(SELECT id FROM packs WHERE uuid = ?)"
    offset, rows = 64, []
    for r in pack.records:
        rows.append((f"INSERT INTO chunks (id, pack_id, \"offset\", stored_length, raw_length, kind,"
                     f" codec, base) VALUES (?, {row}, ?, ?, ?, ?, ?, ?)",
                     (r.id, pack.path.stem, offset, r.stored, r.raw, r.kind, r.codec, r.base)))
        offset += 64 + r.stored
    sql(case.repo, (f"DELETE FROM chunks WHERE pack_id = {row}", (pack.path.stem,)), *rows,
        ("UPDATE packs SET file_bytes = ? WHERE uuid = ?",
         (pack.path.stat().st_size, pack.path.stem)))


@each(BELIEVED)
def test_believed_pack(case, row):
    forge, sentence = row
    expected = make(case)
    pack = Pack(packs(case.repo)[0])
    forge(pack)
    pack.write(case)
    expect(probe(case, expected), says="catalog says|no pack holds|pack ends|magic|checksum")
    believe(case, pack)
    expect(probe(case, expected), says=sentence)
    back_up_again(case, expected)
    expect(probe(case, expected))


def test_other_bytes_in_a_snapshots_record(case):
    """The catalog tells the same and proves it. Where it believes in the forged record's length it
    cannot: how much the backup added is known only with the record's own bytes."""
    expected = make(case)
    pack = Pack(packs(case.repo)[0])
    change(SNAPSHOT_KIND, payload=b"{}", raw=2, codec=0)(pack)
    pack.write(case)
    expect(probe(case, expected), refused=0)
    believe(case, pack)
    expect(probe(case, expected), says="the content is not what its id says")
    back_up_again(case, expected)
    expect(probe(case, expected), says="the content is not what its id says")


def rebase(of):
    """The delta of the first pack with one names another base: of(its pack, the other's)."""
    def forge(first, second):
        delta = first.deltas()[0]
        delta.payload = of(first, second) + delta.payload[32:]
    return forge


def reframe(frame):
    def forge(first, second):
        delta = first.deltas()[0]
        delta.payload = delta.payload[:32] + frame(delta.payload[32:])
        delta.stored = len(delta.payload)
    return forge


def cycle(first, second):
    a, b = first.deltas()[0], second.deltas()[0]
    a.payload, b.payload = b.id + a.payload[32:], a.id + b.payload[32:]


def short_base(first, second):
    content = b"x" * 512
    first.records.append(Record(CHUNK_KIND, 0, 512, content_id(CHUNK_KIND, content), content))
    rebase(lambda a, b: content_id(CHUNK_KIND, content))(first, second)


# Deltas in packs that the catalog believes. Each disk has one, in a pack of its own.
DELTAS = {
    "a base nobody has": (rebase(lambda a, b: b"\7" * 32), "no pack holds the record 0707"),
    "a base of zeros": (rebase(lambda a, b: bytes(32)), "cannot be a delta against itself"),
    "its own base": (rebase(lambda a, b: a.deltas()[0].id), "is itself a delta"),
    "a base that is a delta": (rebase(lambda a, b: b.deltas()[0].id), "is itself a delta"),
    "a cycle": (cycle, "is itself a delta"),
    "a base that is a map node": (rebase(lambda a, b: a.of(MAP_KIND)[0].id),
                                  "is of kind 2 instead of 1"),
    "a base of another length": (short_base, "is 512 bytes instead of 16384"),
    "the base of another": (rebase(lambda a, b: b.deltas()[0].base),
                            "does not go with its base"),
    "no frame": (reframe(lambda f: b"x"), "payload is no delta"),
    "a frame without a checksum": (reframe(lambda f: f[:4] + bytes([f[4] & ~4]) + f[5:-4]),
                                   "payload is no delta"),
    "a checksum of other bytes": (reframe(lambda f: f[:-1] + bytes([f[-1] ^ 1])),
                                  "does not go with its base"),
    "two frames": (reframe(lambda f: f + f), "payload is no delta"),
    "a bomb": (reframe(lambda f: bomb(1 << 30)), "payload is no delta"),
    "a bomb with a checksum": (reframe(lambda f: bomb(1 << 30)[:4] + b"\xe4" + bomb(1 << 30)[5:]
                                       + b"abcd"), "does not go with its base"),
}


def two_packs(case):
    """The packs of the second generation, one a disk, with a delta each."""
    found = [pack for pack in map(Pack, packs(case.repo)) if pack.deltas()]
    eq([len(pack.deltas()) for pack in found], [1, 1], "deltas of the packs that have some")
    return found


@each(DELTAS)
def test_delta(case, row):
    forge, sentence = row
    expected = make(case)
    both = two_packs(case)
    forge(*both)
    for pack in both:
        pack.write(case)
        believe(case, pack)
    expect(probe(case, expected), says=sentence, refused=2 if forge is cycle else 1)
    case.backtree("check", case.repo, "--full", status=3)
    back_up_again(case, expected)
    expect(probe(case, expected))


# Bases in the index of a pack that the catalog does not know: (change of the list, what is said).
BASES = {
    "one too many": (lambda ids: ids.append(b"\7" * 32), "has 2 bases for 1 deltas"),
    "one too few": (list.clear, "has 0 bases and more deltas"),
    "zeros": (lambda ids: ids.__setitem__(0, bytes(32)), "cannot be a delta against itself"),
    "another than the record's": (lambda ids: ids.__setitem__(0, b"\7" * 32),
                                  "has another base than the catalog says|no pack holds"),
    "more than entries": (lambda ids: ids.extend([b"\7" * 32] * 56), "does not fit a file"),
}


@each(BASES)
def test_bases(case, row):
    """Forgotten by the catalog, so that start-up reads its index."""
    change_bases, sentence = row
    expected = make(case)
    pack = two_packs(case)[0]
    pack.write(case, bases=change_bases)
    sql(case.repo, ("DELETE FROM chunks WHERE pack_id = (SELECT id FROM packs WHERE uuid = ?)",
                    (pack.path.stem,)), ("DELETE FROM packs WHERE uuid = ?", (pack.path.stem,)))
    told = back_up_again(case, expected)
    seen = probe(case, expected)
    if "adopted" in told:
        expect(seen, says=sentence)
    else:
        check(re.search(sentence, told), f"says {sentence!r}, not {told!r}")
        expect(seen)
    eq(sum(word == "refused" for word, _ in seen.values()), 1, "snapshots that are refused")


def node(level, places, shift=14, count=None):
    """A map node: {place: id}."""
    bitmap = bytearray(32)
    for place in places:
        bitmap[place // 8] |= 1 << place % 8
    return (b"BTMN" + bytes([1, level, shift, 0])
            + struct.pack("<H", len(places) if count is None else count) + bytes(6) + bytes(bitmap)
            + b"".join(places[p] for p in sorted(places)))


LEAF_OF = node(0, {0: b"\5" * 32})
# Roots of a disk of five and a half chunks (one leaf), with right ids and checksums.
MAPS = {
    "a level too high": (node(1, {0: content_id(MAP_KIND, LEAF_OF)}), "is of level 1 instead of 0"),
    "level 7": (node(7, {0: b"\5" * 32}), "level 7 is out of range"),
    "level 255": (node(255, {0: b"\5" * 32}), "level 255 is out of range"),
    "another chunk size": (node(0, {0: b"\5" * 32}, shift=16), "2\\^16 bytes instead of 2\\^14"),
    "a chunk size of 2 GiB": (node(0, {}, shift=31), "chunk size 2\\^31 is out of range"),
    "a shift of 200": (node(0, {}, shift=200), "chunk size 2\\^200 is out of range"),
    "a place past the end": (node(0, {6: b"\5" * 32}), "place 6 lies past the end"),
    "the last place": (node(0, {255: b"\5" * 32}), "place 255 lies past the end"),
    "a zero id": (node(0, {0: bytes(32)}), "zero id"),
    "count too large": (node(0, {0: b"\5" * 32}, count=256), "its count says 256"),
    "ids cut": (node(0, {0: b"\5" * 32, 1: b"\6" * 32})[:-1], "do not hold 2 ids"),
    "half a header": (b"BTMN\1", "5 bytes are too few"),
    "a version of the future": (b"BTMN\2" + node(0, {})[5:], "version 2 is newer"),
    "a chunk nobody has": (node(0, {0: b"\5" * 32}), "no pack holds the record 0505"),
    "its own snapshot's record as a chunk": (None, "is of kind 3 instead of 1"),
}


# A snapshot of vda as its record tells it.
RECORD_SQL = """SELECT b.uuid, c.uuid context_uuid, c.name context_name, d.uuid disk_uuid,
    d.name disk_name, h.uuid chain_uuid, h.number chain_number, b.number, j.uuid job_uuid,
    j.id job_number, b.kind, j."trigger", b.tags, b.change_id, h.source, b.capacity, b.chunk_size,
    b.data_bytes, b.read_bytes, b.changed_bytes, b.taken_at, b.started_at, b.digest,
    b.finished_at, c.created_at context_created_at, d.created_at disk_created_at,
    j.created_at job_created_at, j.started_at job_started_at, j.mode job_mode
  FROM backup_disks b JOIN vm_backup_contexts c ON c.id = b.context_id
    JOIN vm_disks d ON d.id = b.disk_id JOIN backup_chains h ON h.id = b.chain_id
    JOIN backup_jobs j ON j.id = b.job_id
  WHERE d.name = 'vda' AND b.number = CAST(? AS INTEGER)"""


@each(MAPS)
def test_map(case, row):
    """A whole forged snapshot: map, record and catalog agree, and only the map is hostile."""
    content, sentence = row
    expected = make(case)
    first = next(iter(expected))
    rows = case.catalog.rows(RECORD_SQL, first.split("/")[-1][:4])
    settle(case.repo)
    old = rows[0]["digest"]
    pack = next(p for p in map(Pack, packs(case.repo)) if any(r.id == old for r in p.records))
    root = next(r for r in pack.records if r.id == old)
    if content is None:
        content = node(0, {0: pack.of(SNAPSHOT_KIND)[0].id})
    root.payload, root.codec, root.id = content, 0, content_id(MAP_KIND, content)
    root.raw = root.stored = len(content)
    text = json.dumps(rows[0] | {"version": 1, "foreign": False, "digest": root.id.hex(),
                                 "parent_uuid": "", "added_bytes": 0, "job_one_disk": False}).encode()
    record = Record(SNAPSHOT_KIND, 0, len(text), content_id(SNAPSHOT_KIND, text), text)
    pack.records.append(record)
    pack.write(case)
    believe(case, pack)
    sql(case.repo, ("UPDATE backup_disks SET digest = ?, record = ? WHERE digest = ?",
                    (root.id, record.id, old)))
    seen = probe(case, expected)
    expect(seen, says=sentence, refused=1)
    eq(seen[first][0], "refused", first)


# A row of the catalog against the snapshot's own record.
ROWS = {
    "size smaller": ("backup_disks SET capacity = capacity - 512", "another size"),
    "size larger, same level": ("backup_disks SET capacity = capacity + 4096", "another size"),
    "size of a terabyte": ("backup_disks SET capacity = 1 << 40", "another size"),
    "chunk size": ("backup_disks SET chunk_size = 32768", "another chunk size"),
    "number": ("backup_disks SET number = number + 4", None),
    "time": ("backup_disks SET taken_at = taken_at + 1", "another time"),
    "kind": ("backup_disks SET kind = 'full'", None),
    "digest of nobody": ("backup_disks SET digest = zeroblob(32)", "another digest"),
    "digest of another snapshot": (
        "backup_disks SET digest = (SELECT digest FROM backup_disks WHERE id = 2)",
        "another digest"),
    "record of nobody": ("backup_disks SET record = randomblob(32)", "no pack holds the record"),
    "record that is a chunk": (
        "backup_disks SET record = (SELECT id FROM chunks WHERE kind = 1 LIMIT 1)",
        "is of kind 1 instead of 3"),
    "uuid": ("backup_disks SET uuid = '00000000-0000-4000-8000-' || printf('%012d', id)",
             "another uuid"),
    "uuid of a disk": ("vm_disks SET uuid = '00000000-0000-4000-8000-' || printf('%012d', id)",
                       "another disk"),
    "uuid of a VM": ("vm_backup_contexts SET uuid = '00000000-0000-4000-8000-000000000001'",
                     "another VM"),
    "uuid of a chain": ("backup_chains SET uuid = '00000000-0000-4000-8000-' || printf('%012d', id)",
                        "another chain"),
    "chunks elsewhere": ("chunks SET \"offset\" = \"offset\" + 64", "magic number"),
    "chunks at the end of numbers": ("chunks SET \"offset\" = 9223372036854775807",
                                     "pack .* at 9223372036854775807: "),
    "chunks longer": ("chunks SET stored_length = stored_length + 1",
                      "catalog says|pack ends after"),
    "chunks of no length": ("chunks SET raw_length = 0", "says that .* is 0 bytes|instead of"),
    "chunks huge": ("chunks SET raw_length = 4294967295, stored_length = 4294967295",
                    "is 4294967295 bytes|out of range"),
    "records of another kind": ("chunks SET kind = 9", "is of kind 9 instead of"),
    "records of another codec": ("chunks SET codec = 1 - codec", "the catalog says"),
    "packs of another name": ("packs SET uuid = '../../../../../../../etc/passwd/././././././'",
                              "a row holds what this program never stored"),
}


@each(ROWS)
def test_row_of_the_catalog(case, row):
    update, sentence = row
    expected = make(case)
    names = probe(case, expected)
    eq({c for c, _ in names.values()}, {"right"}, "before")
    where = " WHERE id <> 0" if "uuid = '.." not in update else \
        " WHERE id = (SELECT min(id) FROM packs WHERE raw_bytes > 0)"
    sql(case.repo, f"UPDATE {update}{where}")
    seen = probe(case, expected)
    if sentence:
        told = {c for c, _ in seen.values()}
        check("wrong" not in told and "crashed" not in told, f"{seen}")
        check(any(c != "right" for c, _ in seen.values()), f"it is noticed: {seen}")
        if "missing" not in told and "renamed" not in told:
            expect(seen, says=sentence)
    else:
        # Under another name nothing is found, and what is listed there is refused.
        check({c for c, _ in seen.values()} <= {"missing", "right", "refused"}, f"{seen}")


main()

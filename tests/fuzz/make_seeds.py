#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of the fuzz targets, from real structures: make_seeds.py FOLDER

The pack, its map node and its snapshot record are those of docs/FORMAT.md's annotated dump."""
import hashlib
import os
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def dump():
    text = (ROOT / "docs/FORMAT.md").read_text()
    text = text[text.index("<!-- dump: begin -->"):text.index("<!-- dump: end -->")]
    return b"".join(bytes.fromhex(line) for line in
                    re.findall(r"^  [0-9a-f]{6}  ((?:[0-9a-f]{2} ?)+) ", text, re.M))


def texts():
    names = ["web1", "a", "A.b-c_9", "x" * 64, "x" * 65, "chain-0001", "chain-1", "README", "-a",
             "tag:1", "web1/vda", "vms/v/d", "v/d/chain-0001/0001-full-20261121T065500Z", "v/",
             "v/d/latest", "v/d", "chain-99999", "chain-9223372036854775807", "..", "\x01\x7f"]
    return {
        "names": names, "catalog_path": names,
        "backup_request": ["", "auto", "full tag=a tag=b", "incremental trigger=scheduled\n",
                           "tag=a tag=a", "full incremental", "trigger=pre_restore_safety", "\0",
                           "tag=" + "x" * 64 + " tag=" + "y" * 64, "auto\ttag=a:b"],
        "restore_request": ["/t", "safety=off /t", "/t safety=on\n", "/a b c", "safety=off", "x",
                            "safety=on /t safety=off", "/" + "x" * 300, "/\x01", " /t "],
        "prune_request": ["", "web1", "web1/vda keep-daily=7 trigger=scheduled\n", "x" * 64 + "/" + "y" * 64,
                          "keep-last=3\tkeep-within=2w", "a b", "trigger=manual trigger=manual", "none",
                          "keep-last=1 keep-last=2", "keep-yearly=0", "a/b/c", "\0"],
        "source_check": ["/dev/vg0/web1", "/", "qcow2:/x", "nbd+unix:///d?socket=/s", "x", "/\n",
                         "/" + "p" * 4094, "/" + "p" * 4095, "a+b-c.d:x", ""],
        "sizes": ["65536", "64K", "64KiB", "64KB", "1p", "18446744073709551615", "-5", "+7",
                  "18446744073709551616", "16384P", "99999999999999999999K", " 1", "1000", ""],
        "mount_options": ["", "allow_other,cache=64M", "fsname=x,rw", "ro", "x-systemd.automount",
                          "comment=a,noauto,nofail", "cache=64KB", "fsname=", "allow_other,,"],
    }


def clocks():
    now = struct.pack("<Q", 1795244100 * 10**9 * 2)
    return [now + text.encode() for text in (
        "2026-11-21", "2026-11-21T06:55:00Z", "2026-11-21 06:55", "@1795244100", "90s", "30m", "7d",
        "2w", "1970-01-01", "@0", "2262-04-11T23:47:16Z", "9999-12-31", "2024-02-30", "0s", "h")]


def retentions():
    def policy(words, *snapshots):
        now = 1795244100 * 10**9
        return (bytes([len(snapshots)]) + b"".join(struct.pack("<qB", now - age * 10**9, flags)
                                                   for age, flags in snapshots)
                + struct.pack("<q", now) + words.encode())

    hour, day = 3600, 86400
    return [policy("keep-last=10 keep-daily=7 keep-weekly=4 keep-monthly=12",
                   *((n * day, 4 * (n == 0)) for n in range(12))),
            policy("keep-last=1", (0, 4), (hour, 0), (hour, 1), (-hour, 0), (2 * hour, 2)),
            policy("keep-hourly=2 keep-yearly=1", (0, 0), (60, 0), (hour, 0), (400 * day, 0)),
            policy("keep-within=3h keep-monthly=1", (hour, 0), (5 * hour, 0), (40 * day, 2)),
            policy("none", (0, 0)), policy(""), policy("keep-last=0"), policy("keep-within=99999w"),
            policy("none keep-last=1"), policy("keep-daily=7\tkeep-daily=7"), policy("keep-x=1")]


def notes():
    def note(what, **keys):
        text = "".join(f',"{key}":{value}' for key, value in sorted(keys.items()))
        return f'{{"at":1795244100123456789{text},"version":1,"what":"{what}"}}'

    uuid = '"00000000-0000-4000-8000-00000000000%d"'
    vm = {"context_created_at": 5, "context_name": '"web1"', "context_uuid": uuid % 2}
    disk = {**vm, "capacity": 5 << 40, "chunk_size": 65536, "disk_created_at": 6, "disk_name": '"vda"',
            "disk_uuid": uuid % 3, "source": '"/dev/vg0/web1"'}
    odd = {key: value for key, value in disk.items() if key != "source"}
    return [note("forgotten", snapshot_uuid=uuid % 1), note("protected", snapshot_uuid=uuid % 1),
            note("unprotected", snapshot_uuid=uuid % 1), note("vm", **vm), note("disk", **disk),
            note("vm-removed", context_uuid=uuid % 2), note("disk", source_hex='"2fff"', **odd),
            note("disk-removed", context_uuid=uuid % 2, disk_uuid=uuid % 3), note("new"),
            note("disk", **{**disk, "chunk_size": 1000, "source": '""'}), "{}", "[1]"]


def maps():
    def tree(capacity, shift, *nodes):
        out = struct.pack("<QB", capacity, shift)
        for level, places in nodes:
            out += bytes([level, shift, len(places)]) + b"".join(bytes(p) for p in places)
        return out

    mib = 1 << 20
    return [tree(4 * mib, 14, (0, [(0, 9), (255, 8)])),
            tree(8 * mib, 14, (1, [(0, 2), (1, 3)]), (0, [(3, 9)]), (0, [(255, 9)])),
            tree(8 * mib, 14, (1, [(0, 1)])), tree(8 * mib, 14, (1, [(0, 2), (1, 2)]), (0, [])),
            tree(1 << 36, 14, (2, [(1, 2), (7, 2)]), (1, [(4, 3), (200, 3)]), (0, [(0, 1)])),
            tree(2**64 - 1, 14, (6, [(3, 2), (4, 1)]), (5, [(0, 3)])), tree(0, 16, (0, [])),
            tree(4 * mib, 16, (0, [(64, 9)]))]


def config():
    return ("format 1\nuuid ee000000-0000-4000-8000-000000000001\ncreated 2026-11-21T06:55:00Z\n"
            "chunk_size 65536\ncompression_level 1\nfeatures -\nretention none\nfingerprint_secret "
            + "0f" * 192 + "\n")


def records(pack):
    """(kind, offset, end) of each."""
    at, (index,) = 64, struct.unpack_from("<Q", pack, len(pack) - 40)
    while at < index:
        end = at + 64 + struct.unpack_from("<I", pack, at + 12)[0]
        yield pack[at + 4], at, end
        at = end
    assert at == index and pack[-48:-40] == b"BTINDEX\n"


# zstd -1 --patch-from=BASE, of 16 KiB of "A" with ten of them changed to digits.
DELTA = bytes.fromhex("28b52ffd64003fbd00006041303132333435363738394102006a0cf04e383d6003cc65756d")


def delta_pack(pack, base=None, bases=1):
    """The dump's chunk and a delta against it; checksums are the target's to make right."""
    plain = pack[0x40:0x8b]
    id_, chunk = plain[16:48], bytearray(b"A" * 16384)
    chunk[5000:5010] = b"0123456789"
    new = hashlib.sha256(chunk).digest()
    payload = (base or id_) + DELTA
    body = pack[:64] + plain + b"BTRC" + struct.pack("<BBHII32sQQ", 1, 2, 0, 16384, len(payload), new,
                                                      0, 0) + payload
    entry = struct.Struct("<32sQIIBBHI")
    index = entry.pack(id_, 64, 16384, len(plain) - 64, 1, 1, 0, 0)
    index += entry.pack(new, 64 + len(plain), 16384, len(payload), 1, 2, 0, 0)
    trailer = struct.pack("<QQQQQ", len(body), 2, 0, bases, 0)
    return body + index + (base or id_) * bases + b"BTINDEX\n" + trailer


def seeds():
    pack = dump()
    content = {kind: pack[at + 64:end] for kind, at, end in records(pack)}  # one of each kind
    ends = [end for _, _, end in records(pack)]
    node, record = content[2], content[3]
    assert record[:1] + record[-1:] == b"{}" and node[:4] == b"BTMN"
    full = b"BTMN\1\0\x10\0" + struct.pack("<H", 256) + bytes(6) + b"\xff" * 32 + b"\x11" * 8192
    yield from texts().items()
    yield "clock", clocks()
    yield "map_tree", maps()
    yield "map_node", [node, full, b"BTMN\1\6\x0e\0" + bytes(40)]
    yield "retention", retentions()
    yield "note", notes()
    yield "snapshot_record", [record, record.replace(b'"source":"/dev/vg0/web1"',
                                                     b'"source_hex":"2fff"'),
                              record.replace(b'"tags":""', b'"tags":"a,b"')]
    yield "repo_config", ["R" + config(), "R" + config().replace("features -", "features x"),
                          " " + config(), "Rformat 2\n", "R" + config().replace("65536", "16384"),
                          "R" + config().replace("features -", "features delta")]
    pieces = [pack[:64], pack[64:128], pack[ends[-1]:ends[-1] + 56], pack[-48:]]
    size = struct.pack("<Q", len(pack))
    delta = delta_pack(pack)
    yield "pack_structures", [*(bytes([which + repair]) + size + piece
                                for which, piece in enumerate(pieces) for repair in (0, 4)),
                              b"\7" + struct.pack("<Q", len(delta)) + delta[-48:],
                              b"\5" + size + delta[0x8b:0xcb]]
    yield "pack_file", [*(bytes([flags]) + pack for flags in (0, 3, 7)), b"\7" + delta,
                        b"\7" + delta_pack(pack, b"\7" * 32), b"\7" + delta_pack(pack, bases=2),
                        b"\7" + delta_pack(pack, bases=0)]
    damaged = pack[:70] + b"\xff" + pack[71:]
    within = pack[:128] + pack[64:ends[1]] + pack[128:]  # a record in the payload of another
    yield "pack_salvage", [bytes([flags]) + data for flags, data in
                           ((0, pack), (0, pack[:-40]), (0, damaged), (7, damaged), (6, within),
                            (0, pack[:300]), (1, bytes(64) + pack[64:]), (7, pack[:64] + pack[200:]))]
    leaf = struct.Struct("<QBB")
    yield "fingerprint_cache", [b"\3" + leaf.pack(0, 5, 0) + leaf.pack(9, 6, 0), b"\3", b"\1",
                                b"\3" + leaf.pack(3, 5, 0) + leaf.pack(9, 6, 1),
                                b"\3" + leaf.pack(9, 5, 0) + leaf.pack(3, 6, 0) + b"x"]


def main():
    for target, inputs in seeds():
        folder = Path(sys.argv[1]) / target
        os.makedirs(folder, exist_ok=True)
        for number, data in enumerate(inputs):
            data = data.encode() if isinstance(data, str) else data
            (folder / f"seed-{number:02}").write_bytes(data)


main()

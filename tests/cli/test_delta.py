# SPDX-License-Identifier: MIT
"""Deltas from end to end: a light change costs little, every snapshot comes back byte by byte, also
after a rebuild; what loses its base is named, counts as unknown, and is stored again.
"""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, same, write_at

CHUNK = 64 * KIB


def change(path, generation):
    """A few hundred bytes in each of eight chunks, at other places in each generation."""
    for chunk in range(8):
        write_at(path, chunk * CHUNK + 1000 * (generation + 1), noise(200, f"{generation} {chunk}"))


def prepare(case, generations, *options):
    """web1/vda in so many generations; {path of a snapshot: file with its bytes}."""
    case.init(*options)
    disk = make_disk(case.dir / "disk.raw", 4 * MIB + 100, [(0, MIB), (3 * MIB, 100 * KIB)], "disk")
    case.backtree("add", case.repo, "web1", f"vda={disk}")
    expected = {}
    for generation in range(generations):
        if generation:
            change(disk, generation)
        case.backtree("backup", case.repo, "web1")
        newest = [path for path in case.listed() if path not in expected]
        expected[newest[0]] = shutil.copy(disk, case.dir / f"disk.{generation}")
    return expected


def new_bytes(case):
    rows = json.loads(case.backtree("list", case.repo, "--json").out)
    return [row["new_bytes"] for row in sorted(rows, key=lambda row: row["number"])]


def assert_snapshots(case, expected):
    for path, original in expected.items():
        target = case.dir / "restored.raw"
        case.backtree("restore", case.repo, path, target)
        eq(same(target, original), None, path)
        target.unlink()


def delta_packs(case):
    """uuids of the packs that hold deltas."""
    return {row["uuid"] for row in case.catalog.rows(
        "SELECT DISTINCT p.uuid FROM packs p JOIN chunks c ON c.pack_id = p.id WHERE c.base NOT NULL")}


def test_generations(case):
    expected = prepare(case, 5)
    added = new_bytes(case)
    check(added[0] > MIB, f"the full is whole: {added}")
    check(max(added[1:]) < 20 * KIB + 8 * KIB, f"eight chunks with 200 new bytes a generation: {added}")
    rows = case.catalog.rows("SELECT base FROM chunks WHERE base NOT NULL")
    eq(len(rows), 4 * 8, "deltas")
    bases = {row["id"] for row in case.catalog.rows("SELECT id FROM chunks WHERE base IS NULL")}
    check({row["base"] for row in rows} <= bases, "no base is a delta")
    assert_snapshots(case, expected)
    case.backtree("check", case.repo, "--full")
    (case.repo / "catalog.db").unlink()
    case.backtree("rebuild", case.repo)
    eq(len(case.catalog.rows("SELECT 1 FROM chunks WHERE base NOT NULL")), 4 * 8, "deltas")
    case.backtree("check", case.repo, "--full")
    assert_snapshots(case, expected)
    # What comes back is known, plain or not.
    shutil.copyfile(case.dir / "disk.2", case.dir / "disk.raw")
    case.backtree("backup", case.repo, "web1")
    check(new_bytes(case)[-1] < 20 * KIB, f"nothing but a map: {new_bytes(case)}")


def test_without(case):
    """--no-delta: each changed chunk in full, and no program of before deltas is kept out."""
    expected = prepare(case, 2, "--no-delta")
    check("\nfeatures -\n" in (case.repo / "config").read_text(), "config asks for nothing")
    check(new_bytes(case)[1] > 8 * CHUNK, f"eight chunks: {new_bytes(case)}")
    eq(case.catalog.rows("SELECT 1 FROM chunks WHERE base NOT NULL"), [], "deltas")
    assert_snapshots(case, expected)


def test_feature_is_told(case):
    case.init()
    check("\nfeatures delta\n" in (case.repo / "config").read_text(), "config asks for deltas")


def lose_base(case):
    """The file of the full's pack goes."""
    plain = [p for p in case.pack_files() if p.stem not in delta_packs(case) and p.stat().st_size > MIB]
    eq(len(plain), 1, "the pack of the full")
    plain[0].unlink()


def test_base_is_lost(case):
    """Told by check and by a rebuild; the next full stores what was a delta in full."""
    expected = prepare(case, 2)
    first, second = expected
    lose_base(case)
    told = case.backtree("check", case.repo, status=3).out
    check(first in told and second in told, f"both snapshots are damaged: {told}")
    (case.repo / "catalog.db").unlink()
    told = case.backtree("rebuild", case.repo, status=3)
    check("8 records are deltas whose base is in no pack" in told.out + told.err, f"{told}")
    told = case.backtree("check", case.repo, "--full", status=3).out
    check("deltas of it without a base in any pack: 8" in told and second in told, f"{told}")
    case.backtree("backup", case.repo, "web1", "--full")
    newest = [path for path in case.listed() if path not in expected]
    assert_snapshots(case, {newest[0]: case.dir / "disk.raw", second: expected[second]})
    check(first not in case.listed(), "what the first was is in no pack")
    case.backtree("check", case.repo, "--full")


main()

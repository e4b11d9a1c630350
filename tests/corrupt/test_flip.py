# SPDX-License-Identifier: MIT
"""Every byte of a small repository changed, one at a time: right bytes or a refusal, never wrong
bytes, never a crash or a hang. A sample by default; every byte with BACKTREE_LONG=1, then on all
cores, each with a copy of the repository."""
import collections
import os
import queue
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap
from backtree_testing import *
from damage import PROBER, make, packs, packs_of_notes

# Tables and indexes that say what a snapshot is and where it is, looked at more closely.
TOLD = ("backup_disks", "backup_chains", "vm_disks", "vm_backup_contexts", "packs", "chunks")


PIECE = 1024  # bytes of a file that a process changes, when all are


def probe_damaged(repo, expected, file, span):
    """The prober's counts for one file, or a piece of it, and what it says is bad."""
    args = [PROBER, "flip", str(repo), str(file), str(span),
            *(f"{p}={raw}" for p, raw in expected.items())]
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          errors="backslashreplace", timeout=40000, check=True)
    *notes, last = done.stdout.splitlines()
    words = last.split()[1:]
    counts = collections.Counter({w: int(n) for w, n in zip(words[::2], words[1::2], strict=True)})
    return counts, [note for note in notes if note.startswith(("# wrong", "# crashed"))]


def every_byte(case, expected, file):
    """probe_damaged() of the whole file, a worker a core: damage of one must not meet another's."""
    repos = queue.Queue()
    for number in range(os.cpu_count()):
        copy = case.dir / f"copy-{number}"
        shutil.copytree(case.repo, copy)
        shutil.copytree(case.repo, f"{copy}.untouched")
        repos.put(copy)

    def work(first):
        repo = repos.get()
        try:
            return probe_damaged(repo, expected, file, f"1:{first}:{first + PIECE}")
        finally:
            repos.put(repo)

    with ThreadPoolExecutor(repos.qsize()) as workers:
        done = list(workers.map(work, range(0, (case.repo / file).stat().st_size, PIECE)))
    for copy in case.dir.glob("copy-*"):
        shutil.rmtree(copy)
    return (sum((counts for counts, _ in done), collections.Counter()),
            [note for _, notes in done for note in notes])


def flip(case, expected, file, span):
    """{class: count} of one file, after telling them. `span` 1 is every byte."""
    counts, bad = (every_byte(case, expected, file) if span == 1 else
                   probe_damaged(case.repo, expected, file, span))
    tap.diagnose(f"{file} {span}: {dict(counts)}")
    eq(bad, [], f"bytes of {file}")
    check(sum(counts.values()) > 0, f"{file}: something was changed")
    return counts


def none_lost(counts):
    """No checksum guards the catalog, but everything else: nothing may be missing or renamed."""
    eq((counts["missing"], counts["renamed"]), (0, 0), f"missing, renamed of {counts}")


def test_config(case):
    expected = make(case)
    counts = flip(case, expected, "config", 1 if LONG else 11)
    eq(counts["right"], 0, "changes of config that went unnoticed")
    none_lost(counts)


def test_lock(case):
    expected = make(case)
    (case.repo / "lock").write_text("pid 17\ncommand mount\nmountpoint /mnt\n")
    counts = flip(case, expected, "lock", 1)
    eq(counts["refused"], 0, "the text of a lock nobody holds means nothing")


def test_fingerprint_cache(case):
    """A damaged fingerprint is never given; the snapshots do not depend on it."""
    expected = make(case)
    shutil.copytree(case.repo, f"{case.repo}.untouched")
    for cache in sorted((case.repo / "cache").glob("*.fingerprints")):
        counts = flip(case, expected, f"cache/{cache.name}", 1 if LONG else 211)
        eq(counts["refused"], 0, "snapshots refused for want of a cache")


def test_packs(case):
    expected = make(case)
    for pack in packs(case.repo):
        none_lost(flip(case, expected, pack.relative_to(case.repo), 1 if LONG else 401))


def test_packs_of_notes(case):
    """No snapshot is read through them."""
    expected = make(case)
    found = packs_of_notes(case.repo)
    check(found, "there are notes")
    for pack in found:
        counts = flip(case, expected, pack.relative_to(case.repo), 1 if LONG else 53)
        eq(counts["refused"], 0, "snapshots refused for a note")
        none_lost(counts)


def pages(repo):
    """(first, end) of the root page of each table and index of TOLD: small ones have one."""
    database = sqlite3.connect(f"file:{repo}/catalog.db?immutable=1", uri=True)
    size = database.execute("PRAGMA page_size").fetchone()[0]
    rows = database.execute("SELECT name, tbl_name, rootpage FROM sqlite_master WHERE rootpage > 0")
    found = [(name, (page - 1) * size, page * size) for name, table, page in rows if table in TOLD]
    database.close()
    return found


def entries(repo, index):
    """Where the first column's type is told in each entry of a small index (sqlite.org/fileformat2)."""
    database = sqlite3.connect(f"file:{repo}/catalog.db?immutable=1", uri=True)
    size = database.execute("PRAGMA page_size").fetchone()[0]
    (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)).fetchone()
    database.close()
    first = (page - 1) * size
    leaf = (repo / "catalog.db").read_bytes()[first:first + size]
    eq(leaf[0], 10, "the kind of page: a leaf of an index")
    cells = [int.from_bytes(leaf[8 + 2 * n:10 + 2 * n], "big")
             for n in range(int.from_bytes(leaf[3:5], "big"))]
    return [first + cell + 2 for cell in cells]  # behind the lengths of payload and header


def test_ids_of_another_type(case):
    """An id that is a text sorts before all others, so that searches in the index go astray and end
    at entries of other records."""
    expected = make(case)
    places = entries(case.repo, "sqlite_autoindex_chunks_1")
    check(len(places) > 15, f"{len(places)} entries")
    for at in places:
        none_lost(flip(case, expected, "catalog.db", f"1:{at}:{at + 1}"))


def test_catalog_anywhere(case):
    flip(case, make(case), "catalog.db", 1 if LONG else 1499)


def test_catalog_where_snapshots_are_told(case):
    """SQLite's pages have no checksums: rows are compared with the snapshots' own records."""
    if LONG:
        raise Skip("every byte is changed by the test before")
    expected = make(case)
    for name, first, end in pages(case.repo):
        flip(case, expected, "catalog.db", f"{29 if name == 'backup_disks' else 83}:{first}:{end}")


main()

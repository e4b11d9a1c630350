# SPDX-License-Identifier: MIT
"""What differs between two raw disks, found by reading both, and lists of extents as backtree
prints them. Knows nothing of maps."""
from pathlib import Path

from backtree_testing import Failure, check
from disks import seek_extents


def parse(text):
    """[(offset, length), …] of `offset length` lines: ascending, not empty, never adjoining."""
    extents = []
    for line in text.splitlines():
        words = line.split(" ")
        check(len(words) == 2 and all(w.isdigit() for w in words), f"'offset length': {line!r}")
        offset, length = map(int, words)
        check(length > 0, f"an empty extent: {line!r}")
        check(not extents or offset > sum(extents[-1]), f"{line!r} after {extents[-1:]}")
        extents.append((offset, length))
    return extents


def places_with_data(paths, chunk):
    """Numbers of the chunks in which some of the files holds data, by SEEK_DATA."""
    places = set()
    for path in paths:
        for start, end in seek_extents(path):
            places.update(range(start // chunk, (end + chunk - 1) // chunk))
    return sorted(places)


def differing(old, new, chunk):
    """What diff must say: differing chunks, and all bytes past the end of the smaller; old None
    is a disk of holes."""
    paths = [Path(p) for p in (old, new) if p]
    sizes = [p.stat().st_size for p in paths]
    low, high = min(sizes), max(sizes)
    runs = []

    def add(start, end):
        if start >= end:
            return
        if runs and runs[-1][1] >= start:
            runs[-1][1] = max(runs[-1][1], end)
        else:
            runs.append([start, end])

    files = [open(p, "rb") for p in paths]
    try:
        for number in places_with_data(paths, chunk):
            start = number * chunk
            if start >= low:
                break
            blocks = []
            for file in files:
                file.seek(start)
                blocks.append(file.read(chunk).ljust(chunk, b"\0"))
            if len(blocks) == 1:
                blocks.append(bytes(chunk))
            if blocks[0] != blocks[1]:
                add(start, min(start + chunk, high))
        add(low, high)
    finally:
        for file in files:
            file.close()
    return [(start, end - start) for start, end in runs]


def expect(text, old, new, chunk, what):
    """`text` lists exactly the chunks in which the two disks differ. Returns the extents."""
    seen, wanted = parse(text), differing(old, new, chunk)
    if seen != wanted:
        raise Failure(f"{what}: {len(seen)} extents {seen[:8]}, the disks differ in {wanted[:8]}")
    return seen

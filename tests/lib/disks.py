# SPDX-License-Identifier: MIT
"""Disks for tests: sparse raw images with known bytes, ext4 images, loop mounts of them.

Contents come from a seeded generator, so a failing test fails the same way again. Nothing here
knows backtree.
"""
import contextlib
import hashlib
import os
import random
import subprocess
from pathlib import Path

KIB = 1024
MIB = 1024 * 1024


def noise(length, seed):
    """`length` bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(length)


def make_disk(path, size, extents=(), seed=1):
    """A sparse image of `size` bytes with noise at each (offset, length) of `extents`."""
    path = Path(path)
    with open(path, "wb") as out:
        out.truncate(size)
        for number, (offset, length) in enumerate(extents):
            out.seek(offset)
            out.write(noise(length, f"{seed}/{number}"))
    return path


def make_scattered_disk(path, extents=24, spacing=16 * MIB, seed=1):
    """Small islands of data far apart: at least one read of the source for each of them.

    With a fault point that sleeps at every read this is a disk whose backup takes as long as a
    test wants, whatever the size of a read.
    """
    return make_disk(path, extents * spacing, [(n * spacing, 4096) for n in range(extents)], seed)


def write_at(path, offset, data):
    with open(path, "r+b") as out:
        out.seek(offset)
        out.write(data)


def read_at(path, offset, length):
    with open(path, "rb") as source:
        source.seek(offset)
        return source.read(length)


def digest(path):
    """SHA-256 of all bytes, read to the end (not to st_size)."""
    state = hashlib.sha256()
    with open(path, "rb", buffering=0) as source:
        while block := source.read(MIB):
            state.update(block)
    return state.hexdigest()


def same(left, right):
    """None when both files hold the same bytes, else a sentence naming the first difference."""
    offset = 0
    with open(left, "rb") as a, open(right, "rb") as b:
        while True:
            x, y = a.read(MIB), b.read(MIB)
            if x != y:
                at = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), min(len(x), len(y)))
                return f"{left} and {right} differ at byte {offset + at}"
            if not x:
                return None
            offset += len(x)


def copy(source, target):
    """A copy that keeps holes, flushed."""
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True, timeout=120)
    return Path(target)


def data_chunks(path, chunk_size):
    """Numbers of the chunks that are not all zero."""
    chunks, number = [], 0
    zero = bytes(chunk_size)
    with open(path, "rb") as source:
        while block := source.read(chunk_size):
            if block != zero[:len(block)]:
                chunks.append(number)
            number += 1
    return chunks


def extents_of_chunks(chunks, chunk_size, size):
    """[(start, end), …] of adjoining chunks, cut at `size`."""
    extents = []
    for number in chunks:
        start, end = number * chunk_size, min((number + 1) * chunk_size, size)
        if extents and extents[-1][1] == start:
            extents[-1] = (extents[-1][0], end)
        else:
            extents.append((start, end))
    return extents


def seek_extents(path):
    """[(start, end), …] as lseek's SEEK_DATA and SEEK_HOLE tell them."""
    fd = os.open(path, os.O_RDONLY)
    try:
        extents, offset = [], 0
        while True:
            try:
                start = os.lseek(fd, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == 6:  # ENXIO: only holes follow
                    return extents
                raise
            offset = os.lseek(fd, start, os.SEEK_HOLE)
            extents.append((start, offset))
    finally:
        os.close(fd)


def make_ext4(path, size, files, label="guest"):
    """An ext4 file system straight on the image, holding `files` (name → bytes)."""
    path = Path(path)
    root = path.with_name(path.name + ".root")
    root.mkdir()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    with open(path, "wb") as out:
        out.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-L", label, "-d", str(root), str(path)], check=True,
                   timeout=60)
    subprocess.run(["rm", "-r", str(root)], check=True, timeout=60)
    return path


@contextlib.contextmanager
def loop_mounted(image, folder, options="loop"):
    """Mounts a file system image for the body of a `with`. Needs root."""
    Path(folder).mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", options, str(image), str(folder)], check=True, timeout=60)
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=60)


@contextlib.contextmanager
def loop_device(image, *options):
    """Attaches a file to a free loop device for the body of a `with`. Needs root."""
    made = subprocess.run(["losetup", "--find", "--show", *options, str(image)], check=True,
                          stdout=subprocess.PIPE, text=True, timeout=60)
    device = made.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=60)

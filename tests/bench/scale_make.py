# SPDX-License-Identifier: MIT
"""Builds the big repositories that `scale` measures, by real backups through a mounted daemon.

The base holds a chain of many snapshots, many VMs with a few snapshots each, a 4 GiB and a 4 TiB disk with the same
data, and many job records. A repository of N chunks is a copy of it with one more VM, whose disks hold what is missing:
in each chunk one block of 4 KiB that is nowhere else, so a chunk costs a block of the source and some hundred bytes of
the repository. What is finished is kept, and used by the next run; a base that is not is made anew, a repository goes
on with its next disk.
"""
import contextlib
import json
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import time

import programs

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
BLOCK = 4 * KIB
CHUNK = 16 * KIB
CHAIN_CHUNKS = 4096
BULK_CHUNKS = 250000  # of a disk: 1 GB of blocks
# A file of that many extents takes minutes to remove from a file system that discards what it frees.
BULK_SOURCES = pathlib.Path("/dev/shm")
SPARSE_PIECES = 1000
SPARSE_SIZES = {"small": 4 * GIB, "large": 4 * TIB}


def block(number, seed):
    """4 KiB that stand nowhere else and compress well."""
    return (b"%08d/%023d" % (seed, number)) * (BLOCK // 32)


def make_source(path, chunks, seed):
    """A sparse disk: a block of data at the beginning of each of its chunks."""
    path.unlink(missing_ok=True)
    with open(path, "wb", buffering=0) as file:
        file.truncate(chunks * CHUNK)
        for number in range(chunks):
            os.pwrite(file.fileno(), block(number, seed), number * CHUNK)


def make_sparse(path, size):
    path.unlink(missing_ok=True)
    with open(path, "wb", buffering=0) as file:
        file.truncate(size)
        for number in range(SPARSE_PIECES):
            os.pwrite(file.fileno(), block(number, 99), size // SPARSE_PIECES * number // CHUNK * CHUNK)


class Mounted:
    """A repository with its daemon, for the body of a `with`."""

    def __init__(self, binary, home, options=()):
        self.binary, self.repository, self.mountpoint = binary, home / "repository", home / "mnt"
        words = [binary, "mount", "-f", *options, self.repository, self.mountpoint]
        self.running = programs.mounted(words, self.mountpoint, home / "daemon.log", timeout=600)
        self.server = None

    def __enter__(self):
        self.server = self.running.__enter__()
        return self

    def __exit__(self, *what):
        return self.running.__exit__(*what)

    def vm(self, name):
        return self.mountpoint / "vms" / name

    def backup(self, vm, words=""):
        """Starts a backup, waits for its end and gives the seconds."""
        start = time.monotonic()
        trigger = os.open(self.vm(vm) / "backup", os.O_RDWR)
        try:
            os.write(trigger, f"{words}\n".encode())
            job = int(os.pread(trigger, 64, 0).split()[0])
        finally:
            os.close(trigger)
        self.wait(job)
        return time.monotonic() - start

    def wait(self, job):
        state = (self.mountpoint / "jobs" / str(job) / "wait").read_text().strip()
        if state != "completed":
            said = (self.mountpoint / "jobs" / str(job) / "log").read_text()
            raise programs.Failure(f"job {job} {state}: {said[-500:]}")

    def jobs(self):
        return [int(name) for name in os.listdir(self.mountpoint / "jobs") if name.isdigit()]


class Builder:
    def __init__(self, outdir, binary, say, counts):
        self.outdir, self.binary, self.say = outdir, binary, say
        self.snapshots, self.vms, self.vm_snapshots, self.job_count = counts
        self.sources = outdir / "sources"
        self.sources.mkdir(parents=True, exist_ok=True)

    def describe(self, chunks):
        """What a finished folder was made with; another description is made anew."""
        return {"chunk_size": CHUNK, "chunks": chunks, "snapshots": self.snapshots, "vms": self.vms,
                "vm_snapshots": self.vm_snapshots, "jobs": self.job_count}

    def state(self, home, chunks):
        """What is noted of a folder, None when there is none or it was made for something else."""
        try:
            made = json.loads((home / "made.json").read_text())
        except (OSError, ValueError):
            return None
        return made if made["of"] == self.describe(chunks) else None

    def note(self, home, chunks, finished, **figures):
        made = {"of": self.describe(chunks), "finished": finished, **figures}
        (home / "made.json").write_text(json.dumps(made))

    def add(self, home, vm, **disks):
        programs.call(self.binary, "add", home / "repository", vm, *(f"{name}={path}" for name, path in disks.items()))

    # --- the base

    def build_base(self):
        home = self.outdir / "base"
        if self.state(home, 0):
            return home
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        programs.call(self.binary, "init", home / "repository", f"--chunk-size={CHUNK}", "--keep-all")
        self.add_sources(home)
        with Mounted(self.binary, home) as mounted:
            times = self.build_chain(mounted)
            self.build_vms(mounted)
            self.say("4 GiB and 4 TiB disk")
            mounted.backup("sparse")
            self.build_jobs(mounted)
        self.note(home, 0, True, incremental_seconds=times)
        return home

    def add_sources(self, home):
        self.say("sources")
        make_source(self.sources / "chain.raw", CHAIN_CHUNKS, 1)
        self.add(home, "chain", vda=self.sources / "chain.raw")
        for number in range(self.vms):
            path = self.sources / f"vm{number:03d}.raw"
            make_source(path, 16, 1000 + number)
            self.add(home, f"vm{number:03d}", vda=path)
        for name, size in SPARSE_SIZES.items():
            make_sparse(self.sources / f"{name}.raw", size)
        self.add(home, "sparse", **{name: self.sources / f"{name}.raw" for name in SPARSE_SIZES})

    def build_chain(self, mounted):
        """Seconds of each backup of the chain: a full and incrementals of one changed block."""
        self.say(f"a chain of {self.snapshots} snapshots")
        rnd, times = random.Random(1), []
        with open(self.sources / "chain.raw", "r+b", buffering=0) as disk:
            for number in range(self.snapshots):
                if number:
                    os.pwrite(disk.fileno(), block(number, 2), rnd.randrange(CHAIN_CHUNKS) * CHUNK)
                times.append(mounted.backup("chain"))
        return times

    def build_vms(self, mounted):
        self.say(f"{self.vms} VMs with {self.vm_snapshots} snapshots each")
        for generation in range(self.vm_snapshots):
            for number in range(self.vms):
                with open(self.sources / f"vm{number:03d}.raw", "r+b", buffering=0) as disk:
                    os.pwrite(disk.fileno(), block(number, 3000 + generation), generation % 16 * CHUNK)
                mounted.backup(f"vm{number:03d}")

    def build_jobs(self, mounted):
        """Prunes that keep everything: one word makes a job for every VM."""
        self.say(f"{self.job_count} job records")
        while len(jobs := mounted.jobs()) < self.job_count:
            (mounted.mountpoint / "control" / "prune").write_text("\n")
            while os.listdir(mounted.mountpoint / "jobs" / "active"):
                time.sleep(0.05)
            if len(mounted.jobs()) == len(jobs):
                raise programs.Failure("a prune of every VM made no job")

    # --- the repositories

    def build(self, chunks):
        """The folder of a repository of `chunks` chunks: it holds `repository` and `mnt`."""
        home = self.outdir / f"chunks-{chunks}"
        made = self.state(home, chunks)
        if not made:
            base = self.build_base()
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            subprocess.run(["cp", "-a", base / "repository", home / "repository"], check=True)
            made = {"finished": False, "bulk_seconds": 0}
            self.note(home, chunks, **made)
        while not made["finished"]:
            left = chunks - self.chunks_of(home)
            if left > 0:
                made["bulk_seconds"] += self.add_bulk(home, min(left, BULK_CHUNKS))
            made["finished"] = left <= BULK_CHUNKS
            self.note(home, chunks, made["finished"], bulk_seconds=made["bulk_seconds"])
        return home

    @staticmethod
    def ask(home, sql):
        catalog = sqlite3.connect(f"file:{home / 'repository' / 'catalog.db'}?mode=ro", uri=True)
        with contextlib.closing(catalog):
            return catalog.execute(sql).fetchone()[0]

    @classmethod
    def chunks_of(cls, home):
        """Records: a map node to 256 chunks is among them."""
        return cls.ask(home, "SELECT sum(record_count) FROM packs")

    def add_bulk(self, home, chunks):
        number = self.ask(home, "SELECT count(*) FROM vm_disks d JOIN vm_backup_contexts c ON c.id = d.context_id "
                                "WHERE c.name = 'bulk'")
        self.say(f"disk {number} with {chunks} chunks")
        source = BULK_SOURCES / f"backtree-scale-{os.getpid()}.raw"
        try:
            make_source(source, chunks, 100000 + number)
            self.add(home, "bulk", **{f"vd{number}": source})
            start = time.monotonic()
            programs.call(self.binary, "backup", home / "repository", f"bulk/vd{number}")
            return time.monotonic() - start
        finally:
            source.unlink(missing_ok=True)

# SPDX-License-Identifier: MIT
"""A small repository, copies of it, and commands in which the Nth call of a class fails.

World makes the repository once; a Trial is a copy of it in which one command ran with one fault. It
all lives in memory where there is a /dev/shm, because a round is thousands of trials.
"""
import atexit
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from backtree_testing import BINARY, SLOWDOWN, Catalog, Failure, check, mounts_below
from disks import KIB, make_disk, noise, write_at

INTERPOSE = Path(os.environ.get("BACKTREE_INTERPOSE", "build/tests/faults/interpose.so")).absolute()
PROBER = Path(os.environ.get("BACKTREE_PROBER", "build/tests/corrupt/prober")).absolute()
HANG_SECONDS = 12 * SLOWDOWN
DISK = "web1/vda"


class Fault:
    """CLASS:ERROR:N, and whether every later call fails too."""

    def __init__(self, kind, error, number, sticky=False):
        self.kind = kind
        self.error = error
        self.number = number
        self.sticky = sticky

    def words(self):
        code = self.error if self.error == "short" else getattr(errno, self.error)
        return f"{self.kind}:{code}:{self.number}{'+' if self.sticky else ''}"

    def __str__(self):
        return f"{self.kind} {self.number}{' and later' if self.sticky else ''}: {self.error}"


class Outcome:
    """What came of a command: status (None: hung), out, err, and what the interposer reports."""

    def __init__(self, status, out, err, report):
        self.status = status
        self.out = out
        self.err = err
        self.hit = re.search(r"^hit (\S+) (.*)$", report, re.M)
        self.counts = {c: int(n) for c, n in re.findall(r"^count (\S+) (\d+)$", report, re.M)}
        self.firsts = [int(n) for n in re.findall(r"^first (\d+)$", report, re.M)]
        self.stack = [line for line in report.splitlines() if re.search(r"\(.*\)\[0x", line)]

    @property
    def place(self):
        """Where the program stood, the same in every run."""
        return tuple(re.sub(r"\[0x.*", "", line) for line in self.stack)

    @property
    def path(self):
        return self.hit.group(2) if self.hit else ""

    def __repr__(self):
        place = f"{self.hit.group(1)} {self.path}" if self.hit else "no call failed"
        return f"status {self.status}, {place}\nstdout: {self.out}\nstderr: {self.err}"


def environment(root, report, fault=None):
    env = dict(os.environ, LC_ALL="C.UTF-8", LD_PRELOAD=str(INTERPOSE),
               BACKTREE_CALLS_ROOT=str(root), BACKTREE_CALLS_REPORT=str(report))
    env.pop("BACKTREE_CALLS", None)
    if fault:
        env["BACKTREE_CALLS"] = fault.words()
    else:
        env["BACKTREE_CALLS_STACKS"] = "1"
    return env


def plain(*args):
    """A command without faults."""
    try:
        done = subprocess.run([str(BINARY), *map(str, args)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=HANG_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(None, "", "", "")
    return Outcome(done.returncode, done.stdout, done.stderr, "")


def must(*args):
    outcome = plain(*args)
    check(outcome.status == 0, f"backtree {' '.join(map(str, args))}: {outcome}")
    return outcome.out


def snapshots(repo):
    """path → record, of every completed snapshot."""
    rows = json.loads(must("list", repo, "--json"))
    return {row["path"]: row for row in rows if row["state"] == "completed"}


class World:
    """The folder of everything: REPO with three snapshots of web1/vda, the disk as it is now, and
    what each snapshot reads as."""

    def __init__(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.dir = Path(tempfile.mkdtemp(prefix=f"backtree-test-{os.getpid()}-", dir=base)).resolve()
        atexit.register(self.remove)
        self.repo = self.dir / "repo"
        self.disk = make_disk(self.dir / "web1.raw", 300 * KIB,
                              [(0, 100 * KIB), (160 * KIB, 60 * KIB)], seed="world")
        self.held = make_disk(self.dir / "held.raw", 300 * KIB,
                              [(40 * KIB, 100 * KIB), (250 * KIB, 20 * KIB)], seed="held")
        self.raws = []
        self.expected = {}  # path of a snapshot → the raw file it must equal
        self.counter = itertools.count(1)  # trials are made by several threads
        must("init", "--chunk-size=16K", self.repo)
        must("add", self.repo, "web1", f"vda={self.disk}")
        for generation in range(3):
            write_at(self.disk, 30 * KIB * generation, noise(20 * KIB, generation))
            must("backup", self.repo, "web1")
            self.keep_raw(f"generation-{generation}.raw")
        write_at(self.disk, 170 * KIB, noise(20 * KIB, "now"))

    def remove(self):
        """Nothing may be mounted any more: to remove what a mount shows would forget snapshots."""
        for point in mounts_below(self.dir):
            subprocess.run(["umount", "-l", point], check=False, timeout=60)
        if not mounts_below(self.dir):
            shutil.rmtree(self.dir, ignore_errors=True)

    def keep_raw(self, name):
        raw = self.dir / name
        shutil.copyfile(self.disk, raw)
        self.raws.append(raw)
        for path in snapshots(self.repo):
            self.expected.setdefault(path, raw)

    @property
    def oldest(self):
        return min(self.expected)

    def trial(self, variant):
        """A fresh copy of a repository in a folder of its own."""
        return Trial(self, variant, self.dir / f"trial-{next(self.counter)}")


class Trial:
    def __init__(self, world, variant, folder):
        self.world = world
        self.dir = folder
        self.repo = folder / "repo"
        self.target = folder / "target.raw"
        self.report = folder / "report"
        folder.mkdir()
        shutil.copytree(variant, self.repo)
        self.catalog = Catalog(self.repo / "catalog.db")
        self.outcome = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, args, fault=None):
        """The command with its fault (without one: calls are counted)."""
        self.report.write_text("")
        with subprocess.Popen([str(BINARY), *map(str, args)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace",
                              env=environment(self.dir.parent, self.report, fault)) as child:
            try:
                out, err = child.communicate(timeout=HANG_SECONDS)
                status = child.returncode
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                status = None
        self.outcome = Outcome(status, out, err, self.report.read_text(errors="replace"))
        return self.outcome

    def digest(self):
        """Of every file the command may have changed; of the lock and the shared memory of SQLite
        only the names count, what is in them is nobody's after the process."""
        state = hashlib.sha256()
        for path in sorted(self.dir.rglob("*")):
            state.update(str(path.relative_to(self.dir)).encode() + b"\0")
            if path.is_file() and path.name not in ("lock", "catalog.db-shm", "report"):
                state.update(path.read_bytes())
        return state.digest()

    def read_all(self, expected):
        """Sentences about snapshots that do not read as the raw file they must equal."""
        rows = list(expected.items())
        wrong = []
        for first in range(0, len(rows), 8):
            words = [f"{path}={raw}" for path, raw in rows[first:first + 8]]
            done = subprocess.run([str(PROBER), "read", str(self.repo), *words], text=True,
                                  stdout=subprocess.PIPE, timeout=HANG_SECONDS, check=False)
            lines = done.stdout.splitlines()
            if done.returncode != 0 or len(lines) != len(words):
                raise Failure(f"prober: {done.returncode} {lines}")
            # One listed under the name of another batch is that batch's to judge.
            wrong += [line for line in lines if line.split()[1] not in
                      (("right",) if len(rows) <= 8 else ("right", "renamed"))]
        return wrong

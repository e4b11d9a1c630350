# SPDX-License-Identifier: MIT
"""Runs backtree's commands under the recorder, notes what must be true from when on, and replays.

A Recording owns `root`, the folder that is recorded: the repository `root/repo` and targets of
restores. Disks are outside of it. Every command that touches the root is recorded, listings too
(they open the catalog), so that the log is all that ever happened there.
"""
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from backtree_testing import BINARY, LONG, SLOWDOWN, check, eq, within
from daemon import Failure
from disks import KIB, make_disk, noise, write_at

RECORDER = os.environ.get("BACKTREE_RECORDER", "build/tests/crash/librecord.so")
REPLAY = os.environ.get("BACKTREE_REPLAY", "build/tests/crash/replay")
PUT, DROP = 32, 33  # of record_format.h
WORKERS = min(os.cpu_count() or 1, 8)


# States are written and read once each: to memory where there is a file system in it.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
STATES = "backtree-crash-"


def sweep_dead_states():
    """States of runs that were killed."""
    for folder in Path(MEMORY).glob(STATES + "*"):
        pid = folder.name[len(STATES):].split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


class Replayed:
    """What `replay run` told."""

    def __init__(self, name, text):
        self.name = name
        self.policies, self.totals, self.faults = {}, {}, []
        for line in text.splitlines():
            kind, *words = line.split("\t")
            if kind == "policy":
                self.policies[words[0]] = (int(words[1]), int(words[2]))
            elif kind == "totals":
                numbers = words[0].split()
                self.totals = dict(zip(numbers[::2], map(int, numbers[1::2])))
            elif kind == "fault":
                self.faults.append(" → ".join(words))

    def states(self):
        return sum(states for states, _ in self.policies.values())


class Recording:
    def __init__(self, case, blind=""):
        self.case = case
        self.root = case.dir / "root"
        self.root.mkdir()
        self.repo = case.repo = self.root / "repo"
        case.catalog.path = self.repo / "catalog.db"
        self.log = case.dir / "log"
        self.log.write_bytes(b"")
        self.env = {"LD_PRELOAD": str(RECORDER), "BACKTREE_RECORD_ROOT": str(self.root),
                    "BACKTREE_RECORD_LOG": str(self.log), "BACKTREE_RECORD_BLIND": blind}
        self.disks = {}  # "web1/vda" → image
        self.known = {}  # snapshot → file with its bytes
        self.required = set()
        self.lines = []  # (position in the log, words)
        self.kept = 0

    # --- what must be true

    def position(self):
        return self.log.stat().st_size

    def say(self, *words, at=None):
        self.lines.append((self.position() if at is None else at, [str(w) for w in words]))

    def keep(self, path):
        """A copy of what a file holds now."""
        self.kept += 1
        copy = self.case.dir / f"kept-{self.kept}.raw"
        shutil.copyfile(path, copy)
        return copy

    def learn(self, contents, required=True):
        """Snapshots not seen before are of `contents` (disk → file). With `required`, all that are
        listed are there for good."""
        for path in self.listed():
            if path not in self.known:
                self.known[path] = contents[path.rsplit("/", 2)[0]]
            if required and path not in self.required:
                self.required.add(path)
                self.say("must", path)

    # --- commands

    def run(self, *args, status=0, fault=None):
        env = dict(self.env, **({"BACKTREE_FAULT": fault} if fault else {}))
        return self.case.backtree(*args, status=status, env=env)

    def listed(self):
        out = self.run("list", self.repo, "--names").out
        return [line for line in out.splitlines() if line.count("/") == 3]

    def newest(self, disk):
        return [p for p in self.listed() if p.startswith(disk + "/")][-1]

    def init(self):
        self.run("init", self.repo, "--chunk-size=16K")
        self.say("open")

    def add(self, vm, *disks, size=80 * KIB + 100):
        for disk in disks:
            path = self.case.dir / f"{vm}-{disk}.raw"
            make_disk(path, size, [(0, 40 * KIB), (60 * KIB, 10 * KIB)], seed=f"{vm}{disk}")
            self.disks[f"{vm}/{disk}"] = path
        self.run("add", self.repo, vm, *(f"{d}={self.disks[f'{vm}/{d}']}" for d in disks))

    def change(self, generation):
        for name, image in self.disks.items():
            write_at(image, 18 * KIB, noise(9 * KIB, f"{name} {generation}"))

    def contents(self):
        contents = {name: self.keep(image) for name, image in self.disks.items()}
        for name, copy in contents.items():
            self.say("content", name, copy, at=0)
        return contents

    def backup(self, vm, *options, status=0, fault=None):
        contents = self.contents()
        self.run("backup", self.repo, vm, *options, status=status, fault=fault)
        # What a process that was killed had committed is known to it and to nobody else.
        self.learn(contents, required=status != -signal.SIGKILL)

    def cancelled_backup(self, vm, point):
        """Interrupted as by a user, while it waits at a fault point."""
        contents = self.contents()
        env = dict(os.environ, **self.env, BACKTREE_FAULT=f"{point}=sleep-300")
        child = self.case.spawn([BINARY, "backup", self.repo, vm], env=env,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = self.position()
        within(20, lambda: self.position() > begun + 20000, "the backup has begun")
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        eq(child.wait(30 * SLOWDOWN), 1, "exit status of the cancelled backup")
        self.learn(contents)

    def removal(self, action, listed=None):
        """What forgets snapshots: until it has reported success they may be there."""
        listed = listed or self.listed
        before, at = set(listed()), self.position()
        action()
        gone = sorted(before - set(listed()))
        check(gone, "snapshots are forgotten")
        for path in gone:
            self.say("may", path, at=at)
            self.say("gone", path)

    def restore(self, snapshot, name, *options, outcome="restored", fault=None, status=0):
        target = self.root / name
        before = self.keep(target) if target.exists() else "-"
        known, at = set(self.listed()), self.position()
        self.run("restore", self.repo, snapshot, target, *options, fault=fault, status=status)
        if outcome:
            self.say(outcome, name)
        new = [p for p in self.listed() if p not in known]
        self.say("restoring", name, before, self.known[snapshot], new[0] if new else "-", at=at)
        for path in new:
            self.known[path] = before
        self.learn({})

    def rebuild(self):
        self.run("rebuild", self.repo)
        self.say("rebuilt")

    # --- through a mount

    def mount(self):
        """Mounts with the daemon under the recorder."""
        os.environ.update(self.env)
        try:
            self.case.mount()
        finally:
            for name in self.env:
                del os.environ[name]

    def tree_listed(self):
        vms = self.case.mnt / "vms"
        return sorted(str(path.relative_to(vms)) for path in vms.glob("*/*/chain-*/[0-9]*"))

    def tree_backup(self, *vms):
        """A touch of each, at once."""
        contents = self.contents()
        for job in [self.case.request(self.case.vm(vm) / "backup") for vm in vms]:
            self.case.wait_job(job, "completed")
        at = self.position()
        for path in self.tree_listed():
            if path not in self.known:
                self.known[path] = contents[path.rsplit("/", 2)[0]]
                self.required.add(path)
                self.say("must", path, at=at)

    # --- done by hand between two commands, and durable

    def put(self, name, data):
        path = self.root / name
        path.write_bytes(data)
        self.by_hand(PUT, name, path.stat().st_ino, data)

    def drop(self, name):
        (self.root / name).unlink()
        self.by_hand(DROP, name, 0, b"")

    def by_hand(self, operation, name, inode, data):
        with open(self.log, "ab") as out:
            out.write(struct.pack("=IIIIQQQ", operation, 0, len(name), 0, inode, 0, len(data)) +
                      name.encode() + data)

    # --- replaying

    def compare(self):
        """The whole log gives the tree that is there: nothing was missed."""
        return self.case.run([REPLAY, "compare", self.log, self.root], status=None)

    def replay(self, name, **settings):
        expect = self.case.dir / "expect"
        lines = [(0, ["known", path, raw]) for path, raw in self.known.items()]
        lines += sorted(self.lines, key=lambda line: line[0])
        expect.write_text("".join("\t".join([str(at), *map(str, words)]) + "\n"
                                  for at, words in lines))
        self.case.watchdog.cancel()  # the replayer has a limit of its own
        sweep_dead_states()
        work = tempfile.mkdtemp(prefix=f"{STATES}{os.getpid()}-", dir=MEMORY)
        settings.setdefault("workers", WORKERS)
        settings.setdefault("slowest", int(2000 * SLOWDOWN))
        try:
            done = self.case.run([REPLAY, "run", self.log, expect, work] +
                                 [f"{key}={value}" for key, value in settings.items()],
                                 status=(0, 1), timeout=36000 if LONG else 300)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        result = Replayed(name, done.out)
        if not result.totals:
            raise Failure(f"the replayer told nothing: {done}")
        return result

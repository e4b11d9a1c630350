# SPDX-License-Identifier: MIT
"""The jobs that have to withstand a fault, one entry each.

A Scenario says how its repository is prepared, which command runs, and what must be true of a
success and of a failure beyond what the judge asks of every one. A new kind of job is one more
entry of SCENARIOS.
"""
import json
import os
import shutil
import subprocess

from backtree_testing import BINARY
from disks import same
from world import must


class Scenario:
    """`done(trial)` and `undone(trial)` return a sentence of what is wrong, or None."""

    survives = ()  # pairs of class and error that must not make the command fail
    forgets = 0  # the oldest so many snapshots go with a success, with a failure all of them or none
    reports_damage = False  # exit status 3 may tell of a read that failed

    def prepare(self, world, repo):
        """Changes the copy of the repository that all trials of this scenario begin with."""

    def before(self, trial):
        """What a single trial needs."""

    def command(self, trial):
        raise NotImplementedError

    def run(self, trial, fault):
        self.before(trial)
        trial.run(self.command(trial), fault)

    def done(self, trial):
        """After exit status 0."""

    def undone(self, trial):
        """After a failure."""


# What the kernel may do to any call at any time is no failure.
UNHURT = {(kind, error) for kind in ("read", "write", "open") for error in ("EINTR", "short")}


def tells_success(outcome):
    """The work is done and the command could not record, see or tell all of it, and says so."""
    return ("it is completed, but that is not recorded" in outcome.err or
            "how cannot be seen" in outcome.err or "lost sight of job" in outcome.err or
            ": restored to " in outcome.out)


class Backup(Scenario):
    survives = UNHURT

    def __init__(self, word):
        self.word = word

    def command(self, trial):
        return ["backup", trial.repo, "web1", self.word]

    def done(self, trial):
        rows = must("list", trial.repo, "--names").split()
        made = [r for r in rows if r.count("/") == 3 and r not in trial.world.expected]
        return None if len(made) == 1 else f"said 0, but made {made}"


class Restore(Scenario):
    survives = UNHURT

    def __init__(self, *options, new=False):
        self.options = options
        self.new = new

    def before(self, trial):
        if not self.new:
            # By a process of its own: a file that is open here while another thread forks is open
            # in that child too, for a moment, and then the target is in use.
            subprocess.run(["cp", trial.world.held, trial.target], check=True, timeout=60)

    def command(self, trial):
        return ["restore", trial.repo, trial.world.oldest, trial.target, *self.options]

    def done(self, trial):
        return same(trial.target, trial.world.expected[trial.world.oldest])

    def undone(self, trial):
        left = [p.name for p in trial.dir.iterdir() if p.name.startswith("target.raw.")]
        if left:
            return f"left {left}"
        if self.new:
            there = trial.target.exists() and not tells_success(trial.outcome)
            return "the new file is there" if there else None
        if "PUTTING THE TARGET BACK FAILED" in trial.outcome.err:
            return None
        if tells_success(trial.outcome) and not self.done(trial):
            return None
        return same(trial.target, trial.world.held)


class Prune(Scenario):
    forgets = 2

    def command(self, trial):
        return ["prune", trial.repo, "web1", "--keep-last=1"]


class Forget(Scenario):
    forgets = 1

    def command(self, trial):
        return ["remove", trial.repo, trial.world.oldest]


class Add(Scenario):
    def command(self, trial):
        return ["add", trial.repo, "web2", f"vda={trial.world.disk}"]

    def done(self, trial):
        names = must("list", trial.repo, "--names").split()
        return None if "web2/vda" in names else f"said 0, but there is {names}"


class Check(Scenario):
    reports_damage = True

    def command(self, trial):
        return ["check", trial.repo, "--full"]

    def done(self, trial):
        return None if "whole" in trial.outcome.out else "said 0, but not 'whole'"


class Collect(Scenario):
    """Two of three snapshots are forgotten: their content goes, that of the last one moves."""

    forgets = 2  # before the command: they must stay forgotten
    reports_damage = True

    def prepare(self, world, repo):
        must("prune", repo, "web1", "--keep-last=1")

    def command(self, trial):
        return ["gc", trial.repo, "--threshold=1%"]

    def done(self, trial):
        left = must("gc", trial.repo, "--threshold=1%", "--dry-run", "--json")
        return None if json.loads(left)["freed_bytes"] == 0 else f"said 0, but left {left}"


class Verify(Scenario):
    reports_damage = True

    def command(self, trial):
        return ["verify", trial.repo]


class Rebuild(Scenario):
    """With `lost`, there is no catalog to fall back on."""

    def __init__(self, lost=False):
        self.lost = lost

    def prepare(self, world, repo):
        if self.lost:
            (repo / "catalog.db").unlink()

    def command(self, trial):
        return ["rebuild", trial.repo]


class StartUp(Scenario):
    """After a kill: a running job, a sealed pack the catalog does not know, an open pack, an
    unfinished cache. The command itself is of no interest; what starts up is the owner."""

    def prepare(self, world, repo):
        subprocess.run([str(BINARY), "backup", str(repo), "web1", "--full"], timeout=60,
                       env=dict(os.environ, BACKTREE_FAULT="3-pack-commit=kill"), check=False)
        name = "00c0ffee-0000-4000-8000-000000000000"
        (repo / "packs" / "00").mkdir(exist_ok=True)
        (repo / "packs" / "00" / f"{name}.open").write_bytes(bytes(5000))
        (repo / "cache" / "unfinished.tmp").write_bytes(bytes(100))

    def command(self, trial):
        return ["add", trial.repo, "web2"]

    def done(self, trial):
        left = [p.name for p in trial.repo.rglob("*") if p.name.startswith(("00c0ffee", "unfin"))]
        state = trial.catalog.value("SELECT state FROM backup_jobs ORDER BY id DESC LIMIT 1")
        return None if not left and state == "failed" else f"left {left}, a job that is {state}"


SCENARIOS = {
    "backup full": Backup("--full"),
    "backup incremental": Backup("--incremental"),
    "restore in place": Restore(),
    "restore in place, no safety": Restore("--no-safety"),
    "restore to a new file": Restore(new=True),
    "prune": Prune(),
    "forget": Forget(),
    "add": Add(),
    "check": Check(),
    "gc": Collect(),
    "verify": Verify(),
    "rebuild": Rebuild(),
    "rebuild without a catalog": Rebuild(lost=True),
    "start-up": StartUp(),
}

# class → the ways in which a call of it fails; "+" means that every later one fails too
ERRORS = {
    "read": ("EIO", "EINTR", "short"),
    "write": ("ENOSPC", "ENOSPC+", "EIO", "EINTR", "short"),
    "sync": ("EIO", "EIO+", "ENOSPC", "EINTR"),
    "open": ("EMFILE", "EIO", "ENOSPC", "EINTR"),
    "name": ("EIO", "ENOSPC+"),
    "resize": ("ENOSPC", "EIO", "EINTR"),
    "look": ("EIO",),
    "lock": ("ENOLCK",),
    "close": ("EIO", "EINTR"),
    "map": ("ENOMEM",),
    "thread": ("EAGAIN", "EAGAIN+"),
    "memory": ("ENOMEM", "ENOMEM+"),
}

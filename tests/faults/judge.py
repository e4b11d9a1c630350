# SPDX-License-Identifier: MIT
"""Whether what a faulted command left behind is right.

Every way of being wrong is a sentence. The judge runs commands without faults on what is left: the
next start and a backup, a full check, and a reading of every snapshot.
"""
import re
import threading

from world import DISK, plain, snapshots

LOG_LINE = re.compile(r"backtree: (error|warning): |fuse: ")
# What a sentence may name as the cause of each error.
CAUSES = {
    "EIO": r"Input/output error|I/O error|unable to open database",
    "ENOSPC": r"No space left|disk is full|I/O error|unable to open database",
    "EMFILE": r"Too many open files|unable to open database|I/O error",
    "EINTR": r"Interrupted system call|I/O error|unable to open database",
    "ENOLCK": r"No locks available|I/O error|locked",
    "ENOMEM": r"[Oo]ut of memory|Cannot allocate memory|not enough memory|I/O error|"
              r"SHA-256 (is not available|failed)|unable to open database",
    "EAGAIN": r"Resource temporarily unavailable",
    "short": r"short|nothing was written|I/O error",
}


def of_itself(scenario, fault, outcome):
    """Of exit status and stderr."""
    if outcome.status is None:
        return "hangs"
    if outcome.status < 0:
        return f"killed by signal {-outcome.status}"
    lines = [line for line in outcome.err.splitlines() if not LOG_LINE.match(line)]
    if outcome.status == 0:
        return f"said 0 and complains: {lines}" if lines else None
    if outcome.status == 3:
        told = scenario.reports_damage and fault.kind in ("read", "look", "open") \
            and fault.error in ("EIO", "EMFILE", "ENOSPC")
        return None if told else "damage is told where there is none"
    if outcome.status not in (1, 75):
        return f"exit status {outcome.status}"
    if len(lines) != 1 or not lines[0].startswith("backtree: "):
        return f"not one line on stderr: {lines}"
    lost = r"for writing|readonly database|\.rebuild: No such file"
    if fault.kind == "open" and re.search(lost, lines[0]):
        return None  # SQLite opens for reading what it cannot for writing, and loses the cause
    # Also a warning before it may have named the cause.
    if not re.search(CAUSES[fault.error], outcome.err):
        return f"names no cause: {lines[0]}"
    return None


def is_checkpoint(outcome):
    """A checkpoint that fails leaves everything in the log, flushed by the commits before it."""
    return any("sqlite3_close" in line or "sqlite3_wal_checkpoint" in line
               for line in outcome.stack)


def is_folder_of_log(outcome):
    """SQLite flushes the folder of a new log, and does not look at what came of it."""
    return outcome.path.endswith("/repo") and any("libsqlite3" in line for line in outcome.stack)


def of_the_gate(fault, outcome):
    """A flush that failed must not be followed by success, but for caches and what is told."""
    if fault.kind != "sync" or fault.error == "EINTR" or not outcome.hit or outcome.status != 0:
        return None
    if "/cache/" in outcome.path or is_checkpoint(outcome) or is_folder_of_log(outcome):
        return None
    # A transaction that failed is done again, from its first byte in the log; not for ever.
    if "catalog.db" in outcome.path and outcome.path.endswith("-wal") and not fault.sticky:
        return None
    if re.search(r"^backtree: warning: .*\bnote\b", outcome.err, re.M):
        return None  # it is done, and the warning says what a rebuild would not know
    return f"said 0 after a flush of {outcome.path} that failed"


def of_survival(scenario, fault, outcome):
    if outcome.status != 0 and (fault.kind, fault.error) in scenario.survives:
        return f"failed of what is no failure: {outcome.err}"
    return None


class Judge:
    """`verdict()` is None or what is wrong. What has been judged before, byte for byte the same
    files with the same ending, is not judged again."""

    def __init__(self, world, scenario):
        self.world = world
        self.scenario = scenario
        self.seen = {}
        self.lock = threading.Lock()

    def verdict(self, trial, fault):
        outcome = trial.outcome
        return (of_itself(self.scenario, fault, outcome) or of_the_gate(fault, outcome) or
                of_survival(self.scenario, fault, outcome) or self.of_files(trial))

    def of_files(self, trial):
        succeeded = trial.outcome.status == 0
        own = self.scenario.done(trial) if succeeded else self.scenario.undone(trial)
        if own:
            return own
        key = (succeeded, trial.digest())
        with self.lock:
            if key in self.seen:
                return self.seen[key]
        verdict = self.after(trial, succeeded)
        with self.lock:
            self.seen[key] = verdict
        return verdict

    def after(self, trial, succeeded):
        """The next start, and everything there was."""
        if not trial.catalog.path.exists():
            again = plain("rebuild", trial.repo)
            if again.status != 0:
                return f"no catalog, and the next rebuild: {again}"
        next_backup = plain("backup", trial.repo, "web1")
        if next_backup.status != 0:
            return f"the next backup: {next_backup}"
        stuck = trial.catalog.rows("SELECT id, kind, state FROM backup_jobs "
                                   "WHERE state IN ('pending', 'running')")
        if stuck and "a pending one runs with the next mount" not in trial.outcome.err:
            return f"jobs without an end: {stuck}"
        wrong = self.of_snapshots(trial, succeeded)
        if wrong:
            return wrong
        full = plain("check", trial.repo, "--full")
        return f"the next check: {full}" if full.status != 0 else None

    def of_snapshots(self, trial, succeeded):
        old = sorted(self.world.expected)
        there = snapshots(trial.repo)
        forgotten = [path for path in old[:self.scenario.forgets] if path not in there]
        if len(forgotten) not in (0, self.scenario.forgets):
            return f"forgotten by half: {forgotten}"
        if succeeded and len(forgotten) != self.scenario.forgets:
            return "said 0 and forgot nothing"
        lost = [path for path in old[self.scenario.forgets:] if path not in there]
        if lost:
            return f"lost {lost}"
        expected = {}
        for path, row in there.items():
            if not path.startswith(DISK):
                return f"a snapshot of nobody's: {path}"
            made = self.world.held if row["trigger"] == "pre_restore_safety" else self.world.disk
            expected[path] = self.world.expected.get(path, made)
        wrong = trial.read_all(expected)
        return f"not what they were: {wrong}" if wrong else None

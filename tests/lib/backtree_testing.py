# SPDX-License-Identifier: MIT
"""What a test of the mounted program is made of: a Case.

A Case owns a work folder with a repository (`repo`), a mountpoint (`mnt`) and whatever the test
puts beside them, runs commands and daemons, and at its end requires that every daemon ended with 0
and had nothing to complain about. It leaves nothing behind: mounts and loop devices below the work
folder are taken away whatever happened. A watchdog ends daemons (with a stack dump) when a test
takes too long, so a blocked system call on the mount comes back.

The environment says what to test: BACKTREE (the binary; build/tools/backtree otherwise),
BACKTREE_TEST_SLOWDOWN (factor on every time-out), BACKTREE_LONG=1 (longer rounds), BACKTREE_KEEP=1
(keep the work folder of a failed test).
"""
import contextlib
import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import tap
from daemon import SANITIZER_LINE, SLOWDOWN, Daemon, Failure, mounts_below, within
from disks import same
from tap import Skip, each

SOURCE_ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BACKTREE", SOURCE_ROOT / "build/tools/backtree")).absolute()
LONG = os.environ.get("BACKTREE_LONG") == "1"
TEST_SECONDS = 3600 if LONG else 90
ENDED = ("completed", "failed", "cancelled")
SNAPSHOT_NAME = re.compile(r"(\d{4,})-(full|incr)-(\d{8}T\d{6}Z)$")

__all__ = ["BINARY", "Case", "Daemon", "ENDED", "Failure", "LONG", "SLOWDOWN", "SNAPSHOT_NAME",
           "SOURCE_ROOT", "Skip", "check", "each", "eq", "errno", "main", "mounts_below",
           "needs_root", "raises", "within"]


def check(condition, what):
    if not condition:
        raise Failure(what)


def eq(seen, expected, what="value"):
    if seen != expected:
        raise Failure(f"{what}: expected {expected!r}, seen {seen!r}")


def raises(codes, action, what="the call"):
    """Requires an OSError with one of `codes` (an errno or several) and returns it."""
    codes = codes if isinstance(codes, (tuple, set, list)) else (codes,)
    wanted = "/".join(errno.errorcode[c] for c in codes)
    try:
        action()
    except OSError as error:
        if error.errno not in codes:
            raise Failure(f"{what}: expected {wanted}, seen {error}") from error
        return error
    raise Failure(f"{what}: expected {wanted}, but it worked")


def needs_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


class Watchdog:
    """Calls `action` once when `seconds` have passed before cancel()."""

    def __init__(self, seconds, action):
        self.fired = False
        self.action = action
        self.timer = threading.Timer(seconds, self.fire)
        self.timer.daemon = True
        self.timer.start()

    def fire(self):
        self.fired = True
        self.action()

    def cancel(self):
        self.timer.cancel()


class Result:
    """A finished command: status, out, err."""

    def __init__(self, args, done):
        self.args = args
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise Failure(f"{' '.join(self.args)}: no JSON ({error}): {self.out[:300]!r}") from error

    def __repr__(self):
        return f"{' '.join(self.args)} → {self.status}\nstdout: {self.out}\nstderr: {self.err}"


class Catalog:
    """Looks into catalog.db from outside: read-only, one short connection a question."""

    def __init__(self, path):
        self.path = path

    def rows(self, sql, *values):
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)
        connection.row_factory = sqlite3.Row
        with contextlib.closing(connection):
            return [dict(row) for row in connection.execute(sql, values)]

    def value(self, sql, *values):
        rows = self.rows(sql, *values)
        return next(iter(rows[0].values())) if rows else None

    def jobs(self, kind="backup"):
        return self.rows("SELECT * FROM backup_jobs WHERE kind = ? ORDER BY id", kind)

    def job_count(self, kind="backup"):
        return self.value("SELECT count(*) FROM backup_jobs WHERE kind = ?", kind)

    def newest_job(self, kind="backup"):
        return self.value("SELECT max(id) FROM backup_jobs WHERE kind = ?", kind)

    def state(self, job):
        return self.value("SELECT state FROM backup_jobs WHERE id = ?", job)

    def unfinished(self):
        return self.value("SELECT count(*) FROM backup_jobs WHERE state IN ('pending', 'running')")


class Case:
    """One test's world. Built by main() for each point; see the module's words."""

    counter = 0

    def __init__(self, title, verbose):
        Case.counter += 1
        self.title = title
        self.verbose = verbose
        # A path without links: mountinfo shows resolved ones.
        base = Path(os.environ.get("TMPDIR", "/tmp")).resolve()
        self.dir = Path(tempfile.mkdtemp(prefix=f"backtree-test-{os.getpid()}-", dir=base))
        self.repo = self.dir / "repo"
        self.mnt = self.dir / "mnt"
        self.mnt.mkdir()
        self.catalog = Catalog(self.repo / "catalog.db")
        self.daemon = None
        self.daemons = []
        self.children = []
        self.saved_notes = ""
        self.last_resort = None
        self.watchdog = Watchdog(TEST_SECONDS * SLOWDOWN, self.time_out)

    # --- the end

    def time_out(self):
        for daemon in self.daemons:
            if daemon.alive():
                daemon.abort()
        # Whoever still waits for something else than a daemon is not worth waiting for.
        timer = threading.Timer(30 * SLOWDOWN, self.give_up)
        timer.daemon = True
        timer.start()
        self.last_resort = timer

    def give_up(self):
        tap.say(f"Bail out! {self.title}: hangs although its daemons are dead")
        self.sweep()
        os._exit(1)

    def finish(self):
        """What must be true at the end of a test that went well."""
        check(not self.watchdog.fired, f"not finished within {TEST_SECONDS * SLOWDOWN:g} s")
        if self.daemon is not None:
            self.umount()

    def close(self, failed):
        """Takes everything away, whatever happened. After a failure the notes are kept."""
        self.watchdog.cancel()
        if self.last_resort is not None:
            self.last_resort.cancel()
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for daemon in self.daemons:
            if daemon.alive():
                daemon.kill()
        self.saved_notes = self.collect_notes() if failed else ""
        self.sweep()
        if failed and os.environ.get("BACKTREE_KEEP") == "1":
            tap.say(f"# kept {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def sweep(self):
        for point in mounts_below(self.dir):
            subprocess.run(["umount", "-l", point], check=False, timeout=60)
        loops = subprocess.run(["losetup", "--list", "--noheadings", "-O", "NAME,BACK-FILE"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               check=False, timeout=60).stdout
        for line in loops.splitlines():
            device, _, backing = line.strip().partition(" ")
            if backing.strip().startswith(str(self.dir) + "/"):
                subprocess.run(["losetup", "--detach", device], check=False, timeout=60)

    def collect_notes(self):
        notes = []
        for number, daemon in enumerate(self.daemons, 1):
            log = daemon.log().strip()
            notes.append(f"daemon {number}: ended with {daemon.process.returncode}; its stderr:")
            notes.append(log[-6000:] or "(nothing)")
            if daemon.dump:
                notes.append(daemon.dump[-12000:])
        return "\n".join(notes)

    def notes(self):
        return self.saved_notes

    # --- running things

    def run(self, args, status=0, timeout=60, env=None, **more):
        """Runs a command and requires its exit status (an int, several, or None for any)."""
        args = [str(a) for a in args]
        environment = dict(os.environ, LC_ALL="C.UTF-8", **(env or {}))
        more.setdefault("stdin", subprocess.DEVNULL)
        if "input" in more:
            del more["stdin"]
        try:
            done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  errors="surrogateescape", timeout=timeout * SLOWDOWN,
                                  env=environment, check=False, **more)
        except subprocess.TimeoutExpired:
            raise Failure(f"{' '.join(args)}: not ended in {timeout * SLOWDOWN:g} s") from None
        result = Result(args, done)
        if self.verbose:
            tap.diagnose(repr(result))
        if SANITIZER_LINE.search(result.err):
            raise Failure(f"sanitizer report of {result}")
        if status is not None:
            wanted = status if isinstance(status, (tuple, list)) else (status,)
            check(result.status in wanted, f"expected exit status {status} of {result}")
        return result

    def backtree(self, *args, **more):
        return self.run([BINARY, *args], **more)

    def refused(self, *args, status=1, says=None, **more):
        """A command that must fail with one clear line on stderr and nothing on stdout."""
        result = self.backtree(*args, status=status, **more)
        lines = result.err.splitlines()
        if status != 2:
            eq(len(lines), 1, f"lines on stderr of {result}")
        check(lines and lines[0].startswith("backtree: "), f"begins with 'backtree: ': {result}")
        eq(result.out, "", f"stdout of {result.args}")
        if says:
            check(re.search(says, result.err), f"says {says!r}: {result}")
        return result

    def listed(self, *options):
        """Paths of the snapshots `backtree list --names` tells, VMs, disks and chains left out."""
        out = self.backtree("list", self.repo, "--names", *options).out
        return [line for line in out.splitlines() if line.count("/") == 3]

    def sh(self, script, status=0, **more):
        """A bash script, with the work folder as its current folder."""
        more.setdefault("cwd", self.dir)
        return self.run(["bash", "-c", script], status=status, **more)

    def spawn(self, args, **more):
        """A child that runs beside the test and is taken away at its end."""
        child = subprocess.Popen([str(a) for a in args], **more)
        self.children.append(child)
        return child

    # --- the repository and its mount

    def init(self, *options):
        self.backtree("init", *options, self.repo)

    def mount(self, fault=None, options=(), wait=True):
        check(self.daemon is None, "the test mounts twice")
        daemon = Daemon(BINARY, self.repo, self.mnt, self.dir / f"daemon-{len(self.daemons)}.log",
                        fault, options)
        self.daemons.append(daemon)
        self.daemon = daemon
        if wait:
            daemon.wait_mounted()
        return daemon

    def umount(self):
        daemon, self.daemon = self.daemon, None
        daemon.stop()

    def crash(self):
        """kill -9 the daemon and take the dead mount away, as an owner would."""
        daemon, self.daemon = self.daemon, None
        daemon.kill()
        subprocess.run(["umount", "-l", str(self.mnt)], check=False, stderr=subprocess.DEVNULL,
                       timeout=60)

    def remount(self, fault=None, options=()):
        self.umount()
        return self.mount(fault, options)

    def start(self, *, fault=None, options=(), init=()):
        """init and mount."""
        self.init(*init)
        return self.mount(fault, options)

    # --- VMs, disks, triggers (through the tree)

    def vm(self, name):
        return self.mnt / "vms" / name

    def add(self, vm, **disks):
        """Makes a VM and its disks as a user would: mkdir, mkdir, echo > source."""
        if not self.vm(vm).exists():
            self.vm(vm).mkdir()
        for disk, source in disks.items():
            (self.vm(vm) / disk).mkdir()
            (self.vm(vm) / disk / "source").write_text(f"{source}\n")
        return self.vm(vm)

    def trigger(self, path, words=""):
        """echo WORDS > path, in one write; raises the OSError of a refusal."""
        with open(path, "wb", buffering=0) as out:
            out.write(str(words).encode() + b"\n")

    def request(self, path, words=""):
        """trigger(), and the number of the job that stands for it."""
        self.trigger(path, words)
        return self.job_of(path)

    def job_of(self, trigger):
        words = Path(trigger).read_text().split()
        check(len(words) == 2 and words[0].isdigit(), f"{trigger} reads 'N STATE', not {words}")
        return int(words[0])

    def job_dir(self, job):
        return self.mnt / "jobs" / str(job)

    def state(self, job):
        return (self.job_dir(job) / "state").read_text().strip()

    def info(self, folder):
        return json.loads((Path(folder) / "info.json").read_text())

    def job(self, job):
        return self.info(self.job_dir(job))

    def wait_state(self, job, *states, seconds=30):
        def probe():
            state = self.state(job)
            if state in states:
                return state
            check(state not in ENDED, f"job {job} is {state}, not {states}: {self.job(job)}")
            return None

        return within(seconds, probe, f"job {job} is {'/'.join(states)}")

    def wait_job(self, job, state="completed", seconds=60):
        """Reads jobs/N/wait; requires the last state. Returns the job's info."""
        seen = self.bounded(lambda: (self.job_dir(job) / "wait").read_text().strip(), seconds,
                            f"jobs/{job}/wait")
        if state is not None and seen != state:
            raise Failure(f"job {job}: expected {state}, is {seen}: {self.job(job)}\n"
                          f"{(self.job_dir(job) / 'log').read_text()}")
        return self.job(job)

    def bounded(self, action, seconds, what):
        """Runs a blocking call in a thread; fails when it has not returned in time."""
        box = {}

        def work():
            try:
                box["value"] = action()
            except BaseException as error:  # pylint: disable=broad-except
                box["error"] = error

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(seconds * SLOWDOWN)
        if thread.is_alive():
            raise Failure(f"{what} did not return within {seconds * SLOWDOWN:g} s")
        if "error" in box:
            raise box["error"]
        return box.get("value")

    def backup(self, vm, words="", state="completed"):
        """Triggers a backup of "web1" or "web1/vda" and waits for its end."""
        job = self.request(self.vm(vm) / "backup", words)
        return self.wait_job(job, state)

    def restore(self, snapshot, target, words="", state="completed"):
        job = self.request_restore(snapshot, target, words)
        return self.wait_job(job, state)

    def prune(self, words="", state="completed"):
        """Triggers a prune of what the words name and waits for its end."""
        job = self.request(self.mnt / "control" / "prune", words)
        return self.wait_job(job, state)

    def request_restore(self, snapshot, target, words=""):
        self.trigger(snapshot / "restore", f"{words} {target}".strip())
        return self.catalog.newest_job("restore")

    def settle(self, seconds=60):
        """Until no job is pending or running."""
        within(seconds, lambda: self.catalog.unfinished() == 0, "every job has ended", 0.02)

    def last_error(self):
        return (self.mnt / "last_error").read_text(errors="surrogateescape")

    def refuses(self, codes, action, says=None):
        """An operation on the tree that must fail, with its sentence in last_error."""
        error = raises(codes, action)
        sentence = self.last_error()
        check(sentence.strip(), f"last_error is empty after {error}")
        check(not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", sentence), f"controls: {sentence!r}")
        if says:
            check(re.search(says, sentence), f"last_error says {says!r}, not {sentence!r}")
        return sentence

    # --- what the tree holds

    def chains(self, vm, disk):
        return sorted(p for p in (self.vm(vm) / disk).iterdir() if p.name.startswith("chain-"))

    def snapshots(self, vm, disk):
        """Every snapshot folder of a disk, oldest first."""
        found = []
        for chain in self.chains(vm, disk):
            found += sorted(p for p in chain.iterdir() if SNAPSHOT_NAME.match(p.name))
        return found

    def latest(self, vm, disk):
        return (self.vm(vm) / disk / "latest").resolve()

    def pack_files(self):
        return sorted(p for p in (self.repo / "packs").rglob("*") if p.is_file())

    def data_packs(self):
        """Packs but those of notes, whose first record is of kind 4."""
        return [p for p in self.pack_files() if p.read_bytes()[68:69] != b"\x04"]

    def pack_bytes(self):
        return sum(p.stat().st_size for p in self.pack_files())

    def expect_same(self, left, right):
        difference = same(left, right)
        check(difference is None, difference)


def sweep_dead_runs():
    """Work folders of test processes that were killed: mounts and files."""
    base = Path(os.environ.get("TMPDIR", "/tmp")).resolve()
    for folder in base.glob("backtree-test-*"):
        pid = folder.name.split("-")[2]
        if not pid.isdigit() or Path(f"/proc/{pid}").exists():
            continue
        for point in mounts_below(folder):
            subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL,
                           timeout=60)
        if os.environ.get("BACKTREE_KEEP") != "1":
            shutil.rmtree(folder, ignore_errors=True)


def main():
    if not BINARY.exists():
        tap.say(f"Bail out! {BINARY} is not there: build first, or set BACKTREE")
        sys.exit(1)
    sweep_dead_runs()
    # A run that is told to end takes its mounts along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(tap.run(sys.modules["__main__"], Case, sys.argv[1:]))

# SPDX-License-Identifier: MIT
"""The Nth call of each class fails in a daemon that mounts, serves a snapshot and is unmounted.

What is read is right or an error, never other bytes; the daemon ends by itself with 0, or says in
one line why it cannot mount; and what is left is judged like what a command leaves. A sample of the
N, every one with BACKTREE_LONG=1; see tests/faults/rounds.py.
"""
import errno
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from rounds import every_error
from scenarios import ERRORS, Scenario
from world import HANG_SECONDS, Outcome, environment

# What a read or a listing may answer when a call behind it has failed.
ANSWERS = {errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.EAGAIN, errno.ENOLCK,
           errno.EINTR, errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.EROFS,
           errno.EBUSY}


def is_mounted(point):
    return str(point) in mounts_below(point)


def wait_mounted(point, daemon):
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        if is_mounted(point):
            return True
        time.sleep(0.005)
    return False


def is_answer(error, point):
    """A daemon that had to end took its mount away: what is behind it holds nothing."""
    return error.errno in ANSWERS or error.errno == errno.ENOENT and not is_mounted(point)


def read_right(point, path, raw):
    """None, or what is wrong with what is read."""
    try:
        with open(path, "rb", buffering=0) as served:
            data = served.read(1 << 20)
            while more := served.read(1 << 20):
                data += more
    except OSError as error:
        return None if is_answer(error, point) else f"reading {path}: {error}"
    return None if data == raw.read_bytes() else f"{path} reads as other bytes"


def use(trial, point):
    """A listing, and a reading of the first snapshot and the last."""
    try:
        for folder in (point, point / "vms" / "web1" / "vda", point / "jobs"):
            os.listdir(folder)
    except OSError as error:
        if not is_answer(error, point):
            return f"listing: {error}"
    expected = sorted(trial.world.expected.items())
    for path, raw in (expected[0], expected[-1]):
        wrong = read_right(point, point / "vms" / path / "disk.raw", raw)
        if wrong:
            return wrong
    return None


def unmount(point):
    """Busy for a moment while the kernel releases what was open."""
    for _ in range(100):
        if subprocess.run(["umount", str(point)], stderr=subprocess.DEVNULL, timeout=60,
                          check=False).returncode == 0:
            return
        time.sleep(0.02)
    subprocess.run(["umount", "-l", str(point)], stderr=subprocess.DEVNULL, timeout=60, check=False)


class Mounted(Scenario):
    """`run` takes the place of a command: the daemon from its start to its end."""

    def run(self, trial, fault):
        point = trial.dir.parent / f"mnt-{trial.dir.name}"
        point.mkdir()
        trial.report.write_text("")
        log = trial.dir.parent / f"log-{trial.dir.name}"
        with open(log, "wb") as out:
            daemon = subprocess.Popen(
                [str(BINARY), "mount", "-f", str(trial.repo), str(point)], stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, env=environment(trial.repo, trial.report, fault))
        trial.wrong = None
        if wait_mounted(point, daemon):
            trial.wrong = use(trial, point)
            unmount(point)
        try:
            status = daemon.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            status = None
        if is_mounted(point):
            subprocess.run(["umount", "-l", str(point)], timeout=60, check=False)
            trial.wrong = trial.wrong or "a mount without a daemon"
        point.rmdir()
        trial.outcome = Outcome(status, "", log.read_text(errors="replace"),
                                trial.report.read_text(errors="replace"))
        log.unlink()

    def done(self, trial):
        return trial.wrong

    def undone(self, trial):
        return trial.wrong


MOUNTED = Mounted()


@each(list(ERRORS))
def test_nth(case, kind):
    needs_root()
    case.watchdog.cancel()
    every_error("mount and read", MOUNTED, kind)


main()

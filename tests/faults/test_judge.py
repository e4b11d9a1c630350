# SPDX-License-Identifier: MIT
"""The judge itself: what is wrong must be called so, or the other files of this suite prove nothing."""
import os
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from judge import Judge, of_itself, of_survival, of_the_gate
from scenarios import SCENARIOS
from world import Fault, Outcome, World, must

world = World()
FAULT = Fault("write", "ENOSPC", 1)
SAID = "backtree: backup web1: cannot write x: No space left on device\n"


def said(status, err="", report=""):
    return Outcome(status, "", err, report)


def judged(name, damage, status=0, err="", run=True):
    """What the judge says of a command that ran well (or not at all), and then `damage`."""
    scenario = SCENARIOS[name]
    with world.trial(world.repo) as trial:
        scenario.before(trial)
        if run:
            trial.run(scenario.command(trial))
            eq(trial.outcome.status, 0, f"without a fault: {trial.outcome}")
        out = trial.outcome.out if run else ""
        trial.outcome = Outcome(status, out, err, "")
        damage(trial)
        return Judge(world, scenario).verdict(trial, FAULT)


def nothing(_trial):
    pass


def data_pack(trial):
    """The pack with most in it."""
    return max((trial.repo / "packs").rglob("*.pack"), key=lambda p: p.stat().st_size)


def flip(trial):
    pack = data_pack(trial)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)


def forget_newest(trial):
    must("remove", trial.repo, max(world.expected))


def forget_one(trial):
    must("remove", trial.repo, world.oldest)


def target_half_written(trial):
    with open(trial.target, "r+b") as out:
        out.write(b"half")


def leave_running(trial):
    connection = sqlite3.connect(trial.repo / "catalog.db")
    with connection:
        connection.execute("UPDATE backup_jobs SET state = 'pending', kind = 'prune', mode = NULL, "
                           "started_at = NULL, finished_at = NULL, reason = '' WHERE id = 1")
    connection.close()


@each(["backup full", "restore in place", "prune", "check"])
def test_nothing_wrong(_, name):
    eq(judged(name, nothing), None, "verdict")


def test_a_failure_that_left_everything_as_it_was(_):
    eq(judged("restore in place", nothing, 1, SAID, run=False), None, "verdict")


# name → scenario, what is done to the repository, status told, whether the command ran before, and
# what the judge says of it
WRONG = {
    "a flipped byte": ("check", flip, 0, False, "not what|check|said 0"),
    "a missing pack": ("backup full", lambda t: data_pack(t).unlink(), 1, False, "missing"),
    "a lost snapshot": ("backup full", forget_newest, 1, False, "lost"),
    "a backup that was not made": ("backup full", nothing, 0, False, "made"),
    "a restore that was not made": ("restore in place", nothing, 0, False, "differ"),
    "a new file that is not there": ("restore to a new file", nothing, 0, False, "target|No such"),
    "a target not put back": ("restore in place", target_half_written, 1, False, "differ"),
    "a prune that forgot nothing": ("prune", nothing, 0, False, "forgot nothing"),
    "a prune that forgot a part": ("prune", forget_one, 1, False, "half"),
    "a job without an end": ("add", leave_running, 1, False, "without an end"),
}


@each(WRONG)
def test_told(_, row):
    name, damage, status, run, says = row
    try:
        verdict = judged(name, damage, status, SAID if status else "", run)
    except FileNotFoundError as error:
        verdict = str(error)
    check(verdict, "something is wrong")
    check(re.search(says, verdict), f"says {says!r}: {verdict}")


STATUS = {
    "a hang": (None, "", "hangs"),
    "a signal": (-11, "", "signal 11"),
    "a silent failure": (1, "", "not one line"),
    "two sentences": (1, SAID + SAID, "not one line"),
    "no cause": (1, "backtree: backup web1: it went wrong\n", "names no cause"),
    "an exit status of nobody's": (255, SAID, "exit status 255"),
    "damage that is none": (3, SAID, "damage"),
    "success with a complaint": (0, SAID, "complains"),
}


@each(STATUS)
def test_ending(_, row):
    status, err, says = row
    verdict = of_itself(SCENARIOS["backup full"], FAULT, said(status, err))
    check(verdict and says in verdict, f"says {says!r}: {verdict}")


def test_a_good_ending(_):
    eq(of_itself(SCENARIOS["backup full"], FAULT, said(1, SAID)), None, "verdict")


def test_the_gate_of_flushes(_):
    fault = Fault("sync", "EIO", 1)
    pack = said(0, report="hit fdatasync /r/packs/00/x.open\n")
    check(of_the_gate(fault, pack), "a pack that is not flushed, and success")
    cache = said(0, report="hit fsync /r/cache/x.tmp\n")
    eq(of_the_gate(fault, cache), None, "a cache")
    pack.status = 1
    eq(of_the_gate(fault, pack), None, "a pack that is not flushed, and a failure")


def test_survival(_):
    fault = Fault("read", "EINTR", 1)
    check(of_survival(SCENARIOS["backup full"], fault, said(1, SAID)), "a failure of EINTR")
    eq(of_survival(SCENARIOS["backup full"], FAULT, said(1, SAID)), None, "one of ENOSPC")


def test_calls_are_made_to_fail(_):
    """The library itself: what is ordered happens, once or from there on."""
    with world.trial(world.repo) as trial:
        outcome = trial.run(["backup", trial.repo, "web1"])
        check(outcome.status == 0 and not outcome.hit, f"counts alone: {outcome}")
        for kind in ("read", "write", "sync", "open", "name", "look", "lock", "close", "memory"):
            check(outcome.counts[kind] > 0, f"{kind}: {outcome.counts}")
        outcome = trial.run(["backup", trial.repo, "web1"], Fault("thread", "EAGAIN", 1))
        check(outcome.status == 1 and outcome.hit.group(1) == "pthread_create", f"{outcome}")
        outcome = trial.run(["backup", trial.repo, "web1"], Fault("write", "ENOSPC", 1, sticky=True))
        check(outcome.status == 1 and "No space" in outcome.err, f"{outcome}")


main()

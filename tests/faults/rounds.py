# SPDX-License-Identifier: MIT
"""Rounds of trials: a scenario, a class of calls, each error, each N.

A sample of the N, of two for each error, or one once a minute has gone by. BACKTREE_LONG=1 takes
every N; of allocations, which are tens of thousands in loops of the libraries, the first from each
call stack there is. BACKTREE_SEED chooses another sample, BACKTREE_SAMPLE says how many N of each
error it has, BACKTREE_JOBS how many trials run beside each other. Each round tells its counts in a
row of a table: calls in a run without faults; call stacks at which one failed; trials; those that
went well all the same; those that failed as they should; those that are wrong.
"""
import os
import random
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import tap
from backtree_testing import LONG, check, eq
from judge import Judge
from scenarios import ERRORS
from world import Fault, World

JOBS = int(os.environ.get("BACKTREE_JOBS") or os.cpu_count())
SAMPLE = int(os.environ.get("BACKTREE_SAMPLE") or 0)
PATIENCE = 40  # seconds after which a sample is of one
BEGUN = time.monotonic()
SEED = os.environ.get("BACKTREE_SEED") or "1"
WRONG_MAX = 12  # told of a point
world = None
variants = {}


def variant_of(scenario):
    """The repository that the trials of a scenario begin with."""
    global world
    world = world or World()
    if scenario not in variants:
        folder = world.dir / f"variant-{len(variants)}"
        shutil.copytree(world.repo, folder)
        scenario.prepare(world, folder)
        variants[scenario] = folder
    return variants[scenario]


def attempt(scenario, fault):
    """One trial, closed by who uses it."""
    trial = world.trial(variant_of(scenario))
    scenario.run(trial, fault)
    return trial


def count_calls(scenario):
    variant_of(scenario)
    with attempt(scenario, None) as trial:
        eq(trial.outcome.status, 0, f"without a fault: {trial.outcome}")
        eq(scenario.done(trial), None, "the result without a fault")
        return trial.outcome


def numbers(counted, name, kind, error):
    """Every N (and some beyond, as threads do not always make the same calls), or a sample."""
    total = counted.counts[kind]
    if LONG and not SAMPLE and kind == "memory":
        return counted.firsts
    if LONG and not SAMPLE:
        return range(1, total + 1 + total // 20)
    # The last few may not come: a call more or less depends on what another thread did first.
    likely = max(1, total - max(2, total // 10))
    wanted = SAMPLE or (2 if time.monotonic() - BEGUN < PATIENCE else 1)
    chance = random.Random(f"{SEED} {name} {kind} {error}")
    return sorted(chance.sample(range(1, likely + 1), min(wanted, likely)))


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = Counter()
        self.places = set()
        self.wrong = []

    def note(self, fault, trial, verdict):
        """False when the call did not come, and all is well."""
        with self.lock:
            if not trial.outcome.hit and not verdict:
                return False
            self.counts["tried"] += 1
            self.places.add(trial.outcome.place)
            if verdict:
                self.counts["wrong"] += 1
                self.wrong.append(f"{fault}: {verdict}\n{trial.outcome}\n" +
                                  "\n".join(trial.outcome.stack[4:16]))
            else:
                self.counts["survived" if trial.outcome.status == 0 else "failed"] += 1
            return True


def one(judge, fault, tally):
    """Of a sample, an earlier call instead of one that does not come this time."""
    with attempt(judge.scenario, fault) as trial:
        reached = tally.note(fault, trial, judge.verdict(trial, fault))
    if not reached and fault.number > 1 and (SAMPLE or not LONG):
        one(judge, Fault(fault.kind, fault.error, fault.number // 2, fault.sticky), tally)


def every_error(name, scenario, kind):
    counted = count_calls(scenario)
    total = counted.counts[kind]
    tally = Tally()
    judge = Judge(world, scenario)
    faults = [Fault(kind, error.rstrip("+"), number, error.endswith("+"))
              for error in ERRORS[kind] for number in numbers(counted, name, kind, error)]
    with ThreadPoolExecutor(JOBS) as pool:
        for done in [pool.submit(one, judge, fault, tally) for fault in faults]:
            done.result()
    row = " | ".join(str(tally.counts[c]) for c in ("tried", "survived", "failed", "wrong"))
    tap.say(f"# | {name} | {kind} | {total} | {len(tally.places)} | {row} |")
    check(tally.counts["tried"] > 0 or total == 0, "a call that failed")
    check(not tally.wrong, f"{len(tally.wrong)} wrong:\n" + "\n".join(tally.wrong[:WRONG_MAX]))

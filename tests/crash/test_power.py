# SPDX-License-Identifier: MIT
"""Every crash a recorded run may have ended in: each prefix of its file operations, with what was
not synced kept, lost, torn and reordered (tests/crash/disk_state.h states the model). Each state is
opened by the next owner and must be all right (tests/crash/recovered.h).

A row of SCENARIOS is what a user does, under the recorder; its replay is a sample. BACKTREE_LONG=1
looks at every point with every policy and many seeds; BACKTREE_SEED=N chooses another sample.
"""
import os
import re
import signal
import sys
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, noise
from recording import REPLAY, Recording

SEED = int(os.environ.get("BACKTREE_SEED") or 1)
SAMPLE = 700  # states of a scenario, of which some are the same
LONG_SEEDS = 5  # of each of the two policies by seed, at every point
LONG_SAMPLE = 10000  # of a scenario with more states than are worth the time
CHECKPOINT_BACKUPS = 50


# --- what a user does


def backups(rec):
    """From an empty folder: two disks, a full, incrementals, a second full."""
    rec.init()
    rec.add("web1", "vda", "vdb")
    rec.backup("web1")
    rec.change(1)
    rec.backup("web1")
    rec.change(2)
    rec.backup("web1/vdb", "--tag=nightly")
    rec.backup("web1", "--full")


def failed_and_cancelled(rec):
    """Backups that fail at the second disk and are cancelled, and one that works."""
    rec.init()
    rec.add("web1", "vda", "vdb")
    rec.backup("web1")
    rec.change(1)
    rec.backup("web1", fault="2-pack-sync:2=EIO", status=1)
    rec.change(2)
    rec.cancelled_backup("web1", "source-read")
    rec.change(3)
    rec.backup("web1")


def killed(rec):
    """Backups killed at steps of the order of durability; each next start deals with it."""
    rec.init()
    rec.add("web1", "vda", "vdb")
    rec.backup("web1")
    for number, point in enumerate(("1-pack-append:2", "2-pack-sealed", "3-pack-committed",
                                    "4-snapshot-sealed:2", "5-snapshot-committed")):
        rec.change(number)
        rec.backup("web1", fault=f"{point}=kill", status=-signal.SIGKILL)
    rec.backup("web1")


def forgetting(rec):
    """Snapshots removed and pruned, one prune killed when its notes are sealed."""
    rec.init()
    rec.add("web1", "vda", "vdb")
    for generation in range(4):
        rec.change(generation)
        rec.backup("web1")
    second = rec.listed()[1]
    rec.removal(lambda: rec.run("remove", rec.repo, second))
    rec.removal(lambda: rec.run("prune", rec.repo, "--keep-last=2"))

    def killed_prune():
        rec.run("prune", rec.repo, "--keep-last=1", fault="job-commit=kill",
                status=-signal.SIGKILL)
        rec.change("last")
        rec.backup("web1")  # its start does what the sealed notes say

    rec.removal(killed_prune)


def collecting(rec):
    """Garbage collected after snapshots were forgotten, by a gc that is killed, one that drops and one
    that rewrites packs; then a backup of what was forgotten."""
    rec.init()
    rec.add("web1", "vda", "vdb")
    for generation in range(4):
        rec.change(generation)
        rec.backup("web1")
    rec.removal(lambda: rec.run("prune", rec.repo, "--keep-last=1"))
    rec.run("gc", rec.repo, "--threshold=1%", fault="gc-commit=kill", status=-signal.SIGKILL)
    rec.run("gc", rec.repo, "--threshold=60%")
    rec.run("gc", rec.repo, "--threshold=1%")
    rec.change(1)
    rec.backup("web1")
    rec.run("verify", rec.repo)


def mounted(rec):
    """The same by the tree: backups of two VMs at once, a snapshot protected, another forgotten."""
    needs_root()
    case = rec.case
    rec.init()
    rec.add("web1", "vda", "vdb")
    rec.add("web2", "vda")
    rec.mount()
    for generation in range(3):
        rec.change(generation)
        rec.tree_backup("web1", "web2")
    first, second = sorted(rec.known)[:2]
    (case.mnt / "vms" / first / "protected").write_text("1\n")
    rec.say("protected", first)
    rec.removal((case.mnt / "vms" / second).rmdir, rec.tree_listed)
    case.umount()


def checkpoints(rec):
    """One mount's many backups, so that the catalog's log is checkpointed and begun anew while the
    program runs, then a prune."""
    needs_root()
    case = rec.case
    rec.init()
    rec.add("web1", "vda", size=33 * KIB)
    rec.mount()
    for generation in range(CHECKPOINT_BACKUPS):
        rec.change(generation)
        rec.tree_backup("web1")
        if generation == CHECKPOINT_BACKUPS - 8:
            rec.removal(lambda: case.prune("web1 keep-last=3"), rec.tree_listed)
    case.umount()
    listing = case.run([REPLAY, "list", rec.log]).out
    begun = Counter(re.findall(r"write +inode (\d+) \(repo/catalog\.db-wal\) 0\+32 ", listing))
    check(max(begun.values()) >= 3, f"times each log of the catalog's was begun: {begun}")


def restores(rec):
    """To a new file, in place over something else, and one that fails and is rolled back."""
    rec.init()
    rec.add("web1", "vda")
    rec.backup("web1")
    rec.change(1)
    rec.backup("web1")
    first, second = rec.listed()
    size = 80 * KIB + 100
    rec.restore(first, "new.raw")
    rec.put("place.raw", noise(size, "another disk"))
    rec.restore(second, "place.raw")
    rec.put("kept.raw", noise(size, "one to be kept"))
    rec.restore(first, "kept.raw", outcome="rolledback", fault="restore-write:3=EIO", status=1)
    rec.restore(second, "kept.raw", "--no-safety", outcome="rolledback",
                fault="restore-verify=EIO", status=1)


def rebuilding(rec):
    """With the catalog there, and after it was lost."""
    rec.init()
    rec.add("web1", "vda", "vdb")
    rec.backup("web1")
    rec.change(1)
    rec.backup("web1")
    first = rec.listed()[0]
    rec.removal(lambda: rec.run("remove", rec.repo, first))
    rec.rebuild()
    rec.say("rebuilding")
    rec.drop("repo/catalog.db")
    rec.rebuild()
    rec.change(2)
    rec.backup("web1")


SCENARIOS = {
    "backups": backups,
    "failed, cancelled": failed_and_cancelled,
    "killed": killed,
    "forget, prune": forgetting,
    "gc": collecting,
    "mounted, protect": mounted,
    "checkpoints": checkpoints,
    "restores": restores,
    "rebuild": rebuilding,
}


# --- the tests


def tell(result):
    print(f"# {result.name}: {result.totals['operations']} operations, {result.states()} states, "
          f"{sum(right for _, right in result.policies.values())} right, slowest start "
          f"{result.totals['slowest-us'] / 1000:.0f} ms, thoroughly {result.totals['thorough']}")
    for policy, (states, right) in result.policies.items():
        print(f"#   {policy:22} {states:8} {right:8}", flush=True)


@each(SCENARIOS)
def test_power(case, scenario):
    rec = Recording(case)
    scenario(rec)
    missed = rec.compare()
    eq((missed.status, missed.out), (0, ""), "the log against the tree")
    if LONG:
        result = rec.replay(scenario.__name__, seed=SEED, seeds=LONG_SEEDS, thorough=32,
                            sample=LONG_SAMPLE if scenario is checkpoints else 0)
    else:
        result = rec.replay(scenario.__name__, seed=SEED, seeds=4, thorough=8,
                            sample=SAMPLE // 2 if scenario is checkpoints else SAMPLE)
    tell(result)
    eq(result.faults, [], "states that are not right")
    check(result.states() > SAMPLE / 4, f"{result.states()} states")


# --- the suite itself


def short(rec):
    rec.init()
    rec.add("web1", "vda")
    rec.backup("web1")
    rec.change(1)
    rec.backup("web1")


def short_restore(rec):
    short(rec)
    rec.put("place.raw", noise(80 * KIB + 100, "another disk"))
    rec.restore(rec.listed()[0], "place.raw")


@each({"content of packs": (short, ".open"), "names": (short, "folders"),
       "catalog's log": (short, "catalog.db-wal"), "catalog": (short, "catalog.db"),
       "target": (short_restore, "place.raw")})
def test_a_missing_sync_is_found(case, row):
    """With these syncs taken for not having happened, the same run must show states that lost
    something: a suite that calls everything right would be worth nothing."""
    scenario, ignored = row
    rec = Recording(case)
    scenario(rec)
    eq(rec.replay("whole", seed=SEED, sample=300).faults, [], "states that are not right")
    result = rec.replay("broken", seed=SEED, sample=300, ignore=ignored)
    check(result.totals["faults"] >= 1, f"{result.totals['faults']} faults are found")
    check(any("lost" in f or "checksum" in f or "bytes" in f or "missing" in f or "start:" in f
              for f in result.faults), f"what is found: {result.faults}")


@each(["open", "pwrite", "ftruncate", "rename", "unlink", "mkdir"])
def test_a_missed_operation_is_found(case, call):
    """The comparison of log and tree tells a recorder that does not see one kind of call."""
    rec = Recording(case, blind=call)
    rec.run("init", rec.repo, "--chunk-size=16K", status=None)
    check(rec.compare().status != 0, "the comparison fails")


main()

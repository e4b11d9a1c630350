# SPDX-License-Identifier: MIT
"""control/check: a check as a job, quick and full; what damage it tells and what it leaves alone."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, write_at


def prepare(case, **more):
    case.start(**more)
    image = make_disk(case.dir / "vda.raw", 8 * MIB, [(0, 4 * MIB)])
    case.add("web1", vda=image)
    case.backup("web1")


def run(case, words="", state="completed"):
    return case.wait_job(case.request(case.mnt / "control" / "check", words), state)


def log(case, job):
    return (case.job_dir(job["job"]) / "log").read_text()


@each({"quick": "", "full": "full", "by the clock": "full trigger=scheduled"})
def test_whole(case, words):
    prepare(case)
    job = run(case, words)
    eq((job["kind"], job["vm"], job["damage"]), ("check", None, False), "the record")
    eq(job["trigger"], "scheduled" if "scheduled" in words else "manual", "trigger")
    packs = case.pack_bytes()
    eq(job["figures"]["proved_bytes"], packs if "full" in words else 0, "bytes proved")
    eq(job["figures"]["snapshots"], 1, "snapshots")
    check(log(case, job).count("\n") == 1 and "1 snapshots" in log(case, job),
          f"one line tells the sum: {log(case, job)}")
    eq((case.mnt / "control" / "check").read_text(), f"{job['job']} completed\n", "the trigger")
    line = next(l for l in case.backtree("jobs", case.repo).out.splitlines() if " check " in l)
    check(" (all) " in line, f"what it is of: {line}")
    check(words.split(" ")[0] in line, f"its words: {line}")


@each({"an unknown word": "quick", "a name": "web1", "a word twice": "full full",
       "an unknown trigger": "trigger=often", "a share": "5%", "two lines": "full\nfull"})
def test_refused_words(case, words):
    prepare(case)
    case.refuses(errno.EINVAL, lambda: case.trigger(case.mnt / "control" / "check", words),
                 "control/check: .{10}")
    eq(case.catalog.job_count("check"), 0, "jobs")


def test_damage(case):
    """A quick check reads no content, but what is known of it by then it tells."""
    prepare(case)
    pack = max(case.pack_files(), key=lambda path: path.stat().st_size)
    write_at(pack, pack.stat().st_size // 2, b"damage")
    run(case)
    job = run(case, "full", state="failed")
    eq((job["damage"], job["figures"]["damage"]), (True, 1), "full")
    check("1 finding, see the log" in job["reason"], job["reason"])
    check("checksum does not match" in log(case, job), log(case, job))

    name = case.listed()[0]
    case.wait_job(case.request(case.mnt / "control" / "verify"), "failed")
    job = run(case, state="failed")
    check(f"damage: {name}: 65536 bytes in 1 extent cannot be read" in log(case, job), log(case, job))
    done = case.backtree("check", case.repo, status=3)
    check(f"damage: {name}: 65536 bytes" in done.out, f"the command: {done}")
    case.backup("web1")
    eq(run(case)["damage"], False, "healed")


def test_cancelled(case):
    prepare(case, fault="pack-read=sleep-500")
    job = case.request(case.mnt / "control" / "check", "full")
    case.wait_state(job, "running")
    begun = time.monotonic()
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")
    check(time.monotonic() - begun < 5 * SLOWDOWN, "long before all is read")


main()

# SPDX-License-Identifier: MIT
"""backtree prune and init --keep-...: the same unmounted and mounted, what --dry-run says, JSON, and
what is refused.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, write_at

WAYS = ["unmounted", "mounted"]
DEFAULT = "keep-last=10 keep-daily=7 keep-weekly=4 keep-monthly=12"


def ready(case, way="unmounted", backups=4, vms=("web1",)):
    case.init()
    for vm in vms:
        image = make_disk(case.dir / f"{vm}.raw", MIB, [(0, 200 * KIB)], seed=vm)
        case.backtree("add", case.repo, vm, f"vda={image}")
        for number in range(backups):
            write_at(image, 70 * KIB * number, noise(100, number))
            case.backtree("backup", case.repo, vm)
    if way == "mounted":
        case.mount()


def policies(case):
    return {row["name"]: row["retention"]
            for row in case.catalog.rows("SELECT name, retention FROM vm_backup_contexts")}


@each(WAYS)
def test_prune(case, way):
    ready(case, way, vms=("web1", "web2"))
    done = case.backtree("prune", case.repo, "--keep-last=1")
    eq(done.out, "web1: 3 forgotten, 1 kept\nweb2: 3 forgotten, 1 kept\n", "what it says")
    eq(done.err, "", "stderr")
    eq([p.split("/")[-1][:9] for p in case.listed()], ["0004-incr"] * 2, "snapshots")
    jobs = case.catalog.jobs("prune")
    eq([(j["state"], j["trigger"]) for j in jobs], [("completed", "manual")] * 2, "records")
    out = case.backtree("jobs", case.repo, "--kind=prune").out
    check("3 forgotten, 1 kept by keep-last=1" in out, f"jobs tells it: {out}")


@each(WAYS)
def test_of_one_vm_or_disk(case, way):
    ready(case, way, vms=("web1", "web2"))
    eq(case.backtree("prune", case.repo, "web1", "--keep-last=2").out,
       "web1: 2 forgotten, 2 kept\n", "a VM")
    eq(case.backtree("prune", case.repo, "web1/vda", "--keep-last=1").out,
       "web1/vda: 1 forgotten, 1 kept\n", "a disk")
    eq(len(case.listed("web2")), 4, "snapshots of the other VM")
    eq(case.backtree("prune", case.repo, "web2").out, "web2: 0 forgotten, 4 kept\n", "the default")


@each(WAYS)
def test_dry_run(case, way):
    ready(case, way)
    before = case.catalog.rows("SELECT * FROM backup_disks"), case.catalog.rows("SELECT * FROM backup_jobs")
    lines = case.backtree("prune", case.repo, "web1", "--dry-run", "--keep-last=1",
                          "--keep-yearly=2").out.splitlines()
    eq(lines[0].split(), ["SNAPSHOT", "ADDED", "VERDICT", "RULE"], "titles")
    eq([line.split()[3:] for line in lines[1:]],
       [["forget"], ["forget"], ["forget"], ["keep", "last", "1"]], "verdicts")
    found = case.backtree("prune", case.repo, "--dry-run", "--json", "--keep-daily=1").json()
    eq([item["keep"] for item in found], [False] * 3 + [True], "verdicts as JSON")
    eq([item["path"] for item in found], case.listed(), "paths")
    check(re.fullmatch(r"daily \d{4}-\d\d-\d\d", found[3]["rule"]), f"rule: {found[3]}")
    eq(found[0]["rule"], None, "rule of one that goes")
    check(found[0]["new_bytes"] > 0 and found[0]["taken_at"].endswith("Z"), f"{found[0]}")
    eq((case.catalog.rows("SELECT * FROM backup_disks"), case.catalog.rows("SELECT * FROM backup_jobs")),
       before, "the catalog")


@each(WAYS)
def test_json(case, way):
    ready(case, way)
    jobs = case.backtree("prune", case.repo, "--keep-last=3", "--json").json()
    eq([(j["kind"], j["vm"], j["prune"]) for j in jobs],
       [("prune", "web1", {"policy": "keep-last=3", "kept": 3, "forgotten": 1, "skipped": 0})],
       "records")


@each(WAYS)
def test_set(case, way):
    ready(case, way, backups=2)
    eq(case.backtree("prune", case.repo, "web1", "--set=keep-daily=2  keep-last=1").out,
       "web1: keep-last=1 keep-daily=2\n", "what it says")
    eq(policies(case), {"web1": "keep-last=1 keep-daily=2"}, "the catalog")
    eq((case.catalog.job_count("prune"), len(case.listed())), (0, 2), "nothing is pruned")
    eq(case.backtree("show", case.repo, "web1", "--json").json()["retention"],
       "keep-last=1 keep-daily=2", "show")
    case.backtree("prune", case.repo, "web1")
    eq(len(case.listed()), 1, "snapshots")
    eq(case.backtree("prune", case.repo, "web1", "--set=none").out, "web1: none\n", "none")
    eq(case.backtree("prune", case.repo, "web1", "--set=default").out,
       f"web1: {DEFAULT} (the repository's default)\n", "default")
    eq(policies(case), {"web1": None}, "the catalog")


@each({"one that is none": ("web1", "--keep-last=0"), "twice": ("web1", "--keep-last=1", "--keep-last=2"),
       "a blank": ("web1", "--keep-last=1 keep-daily=1"), "empty": ("--keep-within=",),
       "set without a VM": ("--set=none",), "a bad policy": ("web1", "--set=keep-x=1"),
       "set and more": ("web1", "--set=none", "--dry-run"),
       "set and a rule": ("web1", "--set=none", "--keep-last=1"),
       "two names": ("web1", "web2")})
def test_wrong_usage(case, words):
    ready(case, backups=1)
    done = case.backtree("prune", case.repo, *words, status=2)
    check(done.err.startswith("backtree: prune: "), f"says what is wrong: {done}")
    eq((case.catalog.job_count("prune"), policies(case)), (0, {"web1": None}), "the catalog")


@each({f"{way}, {what}": (way, words) for way in WAYS for what, words in
       {"an unknown VM": ("web9",), "an unknown disk": ("web1/vdz",), "a chain": ("web1/vda/chain-0001",),
        "an unknown VM to set": ("web9", "--set=none"), "a disk to set": ("web1/vda", "--set=none"),
        "an unknown VM, dry": ("web9", "--dry-run")}.items()})
def test_refused(case, row):
    way, words = row
    ready(case, way, backups=1)
    case.refused("prune", case.repo, *words, says=f"^backtree: prune {words[0]}: ")
    eq((case.catalog.job_count("prune"), policies(case)), (0, {"web1": None}), "the catalog")


@each({"the default": ((), DEFAULT), "one rule": (("--keep-last=3",), "keep-last=3"),
       "several": (("--keep-yearly=1", "--keep-within=4w", "--keep-hourly=6"),
                   "keep-within=4w keep-hourly=6 keep-yearly=1"),
       "everything": (("--keep-all",), "none")})
def test_init(case, row):
    options, words = row
    done = case.backtree("init", case.repo, *options)
    check(words in done.out, f"says it: {done}")
    eq(case.catalog.value("SELECT value FROM repository WHERE key = 'retention'"), words, "policy")
    eq(case.backtree("stats", case.repo, "--json").json()["retention"], words, "stats")


@each({"none": ("--keep-last=0",), "no number": ("--keep-daily=x",), "twice": ("--keep-last=1",) * 2,
       "all and some": ("--keep-all", "--keep-last=1")})
def test_init_refused(case, options):
    case.backtree("init", case.repo, *options, status=2)
    check(not case.repo.exists(), "nothing was made")


def test_scheduled_backup_without_a_mount(case):
    """The command does not end before the prune that follows its backup has."""
    ready(case, backups=3)
    case.backtree("prune", case.repo, "web1", "--set=keep-last=2")
    case.backtree("backup", case.repo, "web1", "--scheduled")
    jobs = case.catalog.jobs("prune")
    eq([(j["state"], j["trigger"]) for j in jobs], [("completed", "scheduled")], "its prune")
    eq(len(case.listed()), 2, "snapshots")


main()

# SPDX-License-Identifier: MIT
"""`metrics`: what a monitoring system reads is valid, and agrees with the records."""
import os
import shutil
import sys
import time
from datetime import datetime

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, write_at


def read_metrics(case):
    """{name or name{labels}: value}; every family must have HELP, TYPE and stand together."""
    text = (case.mnt / "metrics").read_text()
    check(text.endswith("\n# EOF\n"), "the end")
    values, described, family = {}, set(), None
    for line in text.splitlines()[:-1]:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            check(family not in described, f"{family} stands together")
        elif line.startswith("# TYPE "):
            eq(line, f"# TYPE {family} gauge", "type")
            described.add(family)
        else:
            name, value = line.rsplit(" ", 1)
            eq(name.split("{")[0], family, "family")
            values[name] = float(value)
    return values


def test_valid(case):
    """By the checker of the program that will read it."""
    if not shutil.which("promtool"):
        raise Skip("promtool (package prometheus) is not installed")
    case.start()
    make_disk(case.dir / "vda.raw", MIB, [(0, 512 * KIB)])
    case.add("a-VM.with_every.KIND-of-0", vda=case.dir / "vda.raw")
    case.backup("a-VM.with_every.KIND-of-0")
    case.sh(f"promtool check metrics < {case.mnt}/metrics")


def test_figures(case):
    case.start()
    eq(read_metrics(case)["backtree_contexts"], 0, "VMs of an empty repository")
    image = make_disk(case.dir / "vda.raw", 8 * MIB, [(0, 4 * MIB)])
    case.add("web1", vda=image)
    case.add("web2", vda=image)
    case.backup("web1")
    write_at(image, MIB, noise(100 * KIB, "later"))
    write_at(image, 3 * MIB, noise(KIB, "a little"))
    job = case.backup("web1")
    seen = read_metrics(case)
    rows = list(case.catalog.rows("SELECT sum(capacity), sum(data_bytes) FROM backup_disks")[0].values())
    packs = list(case.catalog.rows("SELECT sum(raw_bytes), sum(file_bytes), count(*) FROM packs")[0].values())
    expected = {
        "backtree_contexts": 2, "backtree_disks": 2, "backtree_chains": 1, "backtree_snapshots": 2,
        'backtree_jobs{state="completed"}': 2, 'backtree_jobs{state="failed"}': 0,
        "backtree_logical_bytes": rows[0], "backtree_data_bytes": rows[1],
        "backtree_unique_bytes": packs[0], "backtree_stored_bytes": packs[1],
        "backtree_packs": packs[2], "backtree_protected_snapshots": 0,
        'backtree_state{state="healthy"}': 1, 'backtree_state{state="failing"}': 0,
        "backtree_records": case.catalog.value("SELECT count(*) FROM chunks"),
        "backtree_deltas": case.catalog.value("SELECT count(base) FROM chunks"), "backtree_dedup_ratio": rows[1] / packs[0],
        "backtree_compression_ratio": packs[0] / packs[1],
        'backtree_vm_snapshots{vm="web1"}': 2, 'backtree_vm_snapshots{vm="web2"}': 0,
        'backtree_vm_last_success_timestamp_seconds{vm="web2"}': 0,
        'backtree_vm_last_read_bytes{vm="web1"}': job["disks"][0]["read_bytes"],
        'backtree_vm_last_new_bytes{vm="web1"}': job["disks"][0]["new_bytes"],
        'backtree_vm_new_bytes{vm="web1"}': case.catalog.value("SELECT sum(new_bytes) FROM backup_disks"),
        'backtree_vm_failing{vm="web1"}': 0, 'backtree_vm_damaged_snapshots{vm="web1"}': 0,
        'backtree_vm_last_duration_seconds{vm="web2"}': 0,
    }
    check(seen["backtree_deltas"] > 0, "there are deltas")
    for name, value in expected.items():
        check(abs(seen[name] - value) <= 1e-9 * abs(value), f"{name}: {seen[name]}, not {value}")
    at = case.catalog.value("SELECT last_success_at FROM vm_backup_contexts WHERE name = 'web1'")
    eq(round(seen['backtree_vm_last_success_timestamp_seconds{vm="web1"}']), round(at / 1e9), "when")


def test_failures_and_cache(case):
    case.start()
    image = make_disk(case.dir / "vda.raw", MIB, [(0, MIB)])
    case.add("web1", vda=image)
    case.backup("web1")
    raw = case.latest("web1", "vda") / "disk.raw"
    for offset in (0, 4096, 8192):
        with open(raw, "rb", buffering=0) as source:
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.pread(source.fileno(), 512, offset)
    seen = read_metrics(case)
    check(seen["backtree_cache_misses"] > 0, f"misses: {seen}")
    image.rename(case.dir / "away.raw")
    case.backup("web1", state="failed")
    seen = read_metrics(case)
    eq(seen['backtree_vm_failed_jobs{vm="web1"}'], 1, "failed jobs of the VM")
    eq(seen['backtree_jobs{state="failed"}'], 1, "failed jobs")
    eq(seen['backtree_vm_snapshots{vm="web1"}'], 1, "snapshots")
    eq((seen["backtree_failing_jobs"], seen['backtree_vm_failing{vm="web1"}'],
        seen['backtree_state{state="failing"}']), (1, 1, 1), "the failure stands")
    check(0 < seen["backtree_start_time_seconds"] <= time.time() and seen["backtree_reserve_bytes"] > 0, f"{seen}")
    (case.dir / "away.raw").rename(image)
    case.backup("web1")
    seen = read_metrics(case)
    eq((seen["backtree_failing_jobs"], seen['backtree_vm_failing{vm="web1"}'],
        seen['backtree_state{state="healthy"}']), (0, 0, 1), "made good")


DAMAGE = ["damaged_snapshots", "lost_records", "unverified_snapshots", "unverified_bytes",
          "last_verified_timestamp_seconds", "oldest_verified_timestamp_seconds"]


def damage_figures(case):
    """The six gauges, after they were seen to agree with `status`."""
    seen = read_metrics(case)
    status = dict(line.split(" ", 1) for line in (case.mnt / "status").read_text().splitlines())
    for name in DAMAGE:
        said = status[name.replace("_timestamp_seconds", "")]
        if name.endswith("_timestamp_seconds"):
            said = 0 if said == "never" else datetime.fromisoformat(said.replace("Z", "+00:00")).timestamp()
        eq(int(seen["backtree_" + name]), int(said), f"{name} in metrics and status")
    return [seen["backtree_" + name] for name in DAMAGE]


def test_damage(case):
    """A gauge goes up with damage, and down again when it has healed."""
    case.start()
    eq(damage_figures(case), [0] * 6, "an empty repository")
    image = make_disk(case.dir / "vda.raw", 8 * MIB, [(0, 4 * MIB)])
    case.add("web1", vda=image)
    case.backup("web1")
    packs = case.catalog.value("SELECT sum(file_bytes) FROM packs")
    eq(damage_figures(case), [0, 0, 1, packs, 0, 0], "nothing was verified")

    before = time.time()
    (case.mnt / "control/verify").write_text("\n")
    case.wait_job(2)
    figures = damage_figures(case)
    eq(figures[:4], [0, 0, 0, 0], "all was verified")
    check(before - 1 <= figures[5] <= figures[4] <= time.time() + 1, f"when: {figures}")
    check(read_metrics(case)["backtree_last_verify_timestamp_seconds"] >= before - 1, "the job's end")

    pack = max((case.repo / "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    write_at(pack, pack.stat().st_size // 2, b"damage")
    (case.mnt / "control/verify").write_text("\n")
    case.wait_job(3, state="failed")
    figures = damage_figures(case)
    eq(figures[:2], [1, 1], "one snapshot, one chunk")
    seen = read_metrics(case)
    eq((seen['backtree_state{state="damaged"}'], seen['backtree_vm_damaged_snapshots{vm="web1"}']),
       (1, 1), "told with the VM")

    (case.mnt / "vms/web1/backup").write_text("full\n")
    case.wait_job(4)
    eq(damage_figures(case)[:2], [0, 0], "healed")


main()

# SPDX-License-Identifier: MIT
"""jobs/: a folder for each record, whose files can be read, polled, waited for and cancelled."""
import json
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, make_scattered_disk

SLOW = "source-read=sleep-100"


def slow_job(case, extents=60, words="", fault=SLOW):
    """A job that runs for some seconds unless it is cancelled."""
    make_scattered_disk(case.dir / "vda.raw", extents)
    case.start(fault=fault)
    case.add("web1", vda=case.dir / "vda.raw")
    job = case.request(case.vm("web1") / "backup", words)
    case.wait_state(job, "running")
    return job


def quick_job(case, words=""):
    make_disk(case.dir / "vda.raw", 1 * MIB, [(0, 300 * KIB)])
    case.start()
    case.add("web1", vda=case.dir / "vda.raw")
    return case.wait_job(case.request(case.vm("web1") / "backup", words))["job"]


def cancel(case, job):
    (case.job_dir(job) / "cancel").touch()


def test_files_of_a_job(case):
    job = quick_job(case)
    names = {p.name for p in case.job_dir(job).iterdir()}
    check({"info.json", "state", "progress", "log", "cancel", "wait"} <= names, f"files: {names}")
    eq((case.job_dir(job) / "state").read_text(), "completed\n", "state")
    eq((case.job_dir(job) / "wait").read_text(), "completed\n", "wait of an ended job")


def test_record(case):
    job = quick_job(case, "full tag=x trigger=scheduled")
    info = case.job(job)
    eq(info["job"], job, "job number")
    eq(info["kind"], "backup", "kind")
    eq(info["state"], "completed", "state")
    eq(info["trigger"], "scheduled", "trigger")
    eq(info["mode"], "full", "mode")
    eq(info["vm"], "web1", "vm")
    eq(info["tags"], ["x"], "tags")
    for key in ("created_at", "started_at", "finished_at"):
        check(len(info[key]) == 20 and info[key].endswith("Z"), f"{key} is ISO 8601: {info[key]}")
    check(info["created_at"] <= info["started_at"] <= info["finished_at"], "times in order")
    eq(len(info["disks"]), 1, "disks")
    disk = info["disks"][0]
    eq(disk["state"], "completed", "state of the disk")
    eq(info["done_bytes"], info["total_bytes"], "progress at the end")
    raw = (case.job_dir(job) / "info.json").read_text()
    check("\n  " in raw and raw.endswith("\n"), "pretty-printed")
    eq(json.loads(raw), info, "two reads of an ended job")


def test_links_to_snapshots(case):
    job = quick_job(case)
    links = [p for p in case.job_dir(job).iterdir() if p.is_symlink()]
    eq(len(links), 1, "links")
    eq(links[0].resolve(), case.snapshots("web1", "vda")[0], "where it leads")
    check(not os.readlink(links[0]).startswith("/"), "a relative link")


def test_links_of_several_disks(case):
    case.start()
    for disk in ("vda", "vdb"):
        make_disk(case.dir / f"{disk}.raw", 256 * KIB, [(0, 10 * KIB)], seed=disk)
    case.add("web1", vda=case.dir / "vda.raw", vdb=case.dir / "vdb.raw")
    job = case.backup("web1")["job"]
    targets = {p.resolve() for p in case.job_dir(job).iterdir() if p.is_symlink()}
    eq(targets, set(case.snapshots("web1", "vda") + case.snapshots("web1", "vdb")), "links")


def test_active(case):
    job = slow_job(case)
    active = case.mnt / "jobs" / "active"
    eq([p.name for p in active.iterdir()], [str(job)], "active")
    eq((active / str(job)).resolve(), case.job_dir(job), "where it leads")
    cancel(case, job)
    case.wait_job(job, "cancelled")
    within(2, lambda: not list(active.iterdir()), "active is empty again")


def test_unknown_jobs(case):
    quick_job(case)
    for name in ("0", "2", "99999999999999999999", "-1", "01", "x", "1x", " 1"):
        raises(errno.ENOENT, lambda: os.stat(case.mnt / "jobs" / name), f"jobs/{name}")
    raises((errno.EPERM, errno.EROFS, errno.EACCES), lambda: (case.mnt / "jobs" / "2").mkdir())
    raises((errno.EPERM, errno.EROFS, errno.EACCES), lambda: os.rmdir(case.job_dir(1)))


def test_log(case):
    log = (case.job_dir(quick_job(case)) / "log").read_text()
    check(len(log.splitlines()) >= 2, f"says what was done: {log!r}")
    check("vda" in log, f"names the disk: {log!r}")


def test_progress_is_real(case):
    job = slow_job(case, extents=16)
    seen = []
    while case.state(job) == "running":
        words = (case.job_dir(job) / "progress").read_text().split()
        eq(len(words), 4, f"words of progress {words}")
        done, total = int(words[0]), int(words[1])
        check(0 <= done <= total, f"done of total: {words}")
        check(not seen or done >= seen[-1], f"never goes back: {seen} {done}")
        seen.append(done)
        time.sleep(0.02)
    check(len(set(seen)) >= 5, f"moves while the job runs: {sorted(set(seen))}")
    case.wait_job(job)
    done, total, rate, _ = (case.job_dir(job) / "progress").read_text().split()
    eq(done, total, "done at the end")
    check(int(total) > 0, "total")
    eq(rate, "0", "rate of an ended job")
    eq(int(done), case.job(job)["done_bytes"], "the record's bytes")


def test_wait_blocks_until_the_end(case):
    job = slow_job(case)
    answers = []
    readers = [threading.Thread(
        target=lambda: answers.append((case.job_dir(job) / "wait").read_text()), daemon=True)
        for _ in range(20)]
    for reader in readers:
        reader.start()
    time.sleep(0.2)
    eq(answers, [], "answers while the job runs")
    # Twenty blocked readers hold no thread of the daemon: everything else goes on.
    begun = time.monotonic()
    eq(case.state(job), "running", "state while others wait")
    check((case.mnt / "README").read_text(), "README while others wait")
    check(time.monotonic() - begun < 1 * SLOWDOWN, "not held up by those who wait")
    cancel(case, job)
    for reader in readers:
        reader.join(10 * SLOWDOWN)
    eq(answers, ["cancelled\n"] * 20, "answers")


def test_wait_of_a_pending_job(case):
    job = slow_job(case, extents=12)
    second = case.request(case.vm("web1") / "backup")
    eq(case.state(second), "pending", "state")
    case.wait_job(second)
    eq(case.state(job), "completed", "the first has ended too")


def test_wait_is_interruptible(case):
    job = slow_job(case)
    reader = case.spawn(["cat", case.job_dir(job) / "wait"], stdout=subprocess.DEVNULL)
    time.sleep(0.2)
    check(reader.poll() is None, "cat waits")
    reader.send_signal(signal.SIGINT)
    try:
        eq(reader.wait(3 * SLOWDOWN), -signal.SIGINT, "how cat ended")
    except subprocess.TimeoutExpired:
        raise Failure("a signal does not end a read of wait") from None
    eq(case.state(job), "running", "the job does not care")
    cancel(case, job)
    case.wait_job(job, "cancelled")


def test_wait_at_unmount(case):
    """A reader of wait keeps the mount busy; when it is killed the mount can go."""
    job = slow_job(case)
    reader = case.spawn(["cat", case.job_dir(job) / "wait"], stdout=subprocess.DEVNULL)
    time.sleep(0.1)
    done = case.run(["umount", case.mnt], status=(16, 32))
    check("busy" in done.err, f"umount says busy: {done}")
    reader.kill()
    reader.wait(5)
    case.daemon.allow_errors("interrupted")


def test_wait_when_the_daemon_is_told_to_go(case):
    """SIGTERM: whoever waits is answered, nobody hangs."""
    job = slow_job(case)
    reader = case.spawn(["cat", case.job_dir(job) / "wait"], stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)
    time.sleep(0.1)
    case.daemon.allow_errors("interrupted")
    daemon, case.daemon = case.daemon, None
    daemon.terminate()
    try:
        reader.wait(5 * SLOWDOWN)
    except subprocess.TimeoutExpired:
        raise Failure("a reader of wait hangs after the daemon has gone") from None


def polled(fd, events, milliseconds):
    poller = select.poll()
    poller.register(fd, events)
    return dict(poller.poll(milliseconds)).get(fd, 0)


def test_poll_wait(case):
    job = slow_job(case)
    fd = os.open(case.job_dir(job) / "wait", os.O_RDONLY)
    eq(polled(fd, select.POLLIN, 200), 0, "nothing to read while it runs")
    threading.Timer(0.2, lambda: cancel(case, job)).start()
    begun = time.monotonic()
    check(polled(fd, select.POLLIN, 10000) & select.POLLIN, "readable at the end")
    check(time.monotonic() - begun < 3 * SLOWDOWN, f"after {time.monotonic() - begun:.1f} s")
    eq(os.read(fd, 100), b"cancelled\n", "what it reads")
    os.close(fd)


def test_poll_state(case):
    """Readable when something has happened to the state since it was last read on that descriptor."""
    job = slow_job(case)
    fd = os.open(case.job_dir(job) / "state", os.O_RDONLY)
    check(polled(fd, select.POLLIN, 1000), "readable before the first read")
    eq(os.read(fd, 100), b"running\n", "state")
    if polled(fd, select.POLLIN, 500):  # told of its start only after that was read
        eq(os.pread(fd, 100, 0), b"running\n", "state")
    eq(polled(fd, select.POLLIN, 200), 0, "nothing new while nothing changes")
    threading.Timer(0.2, lambda: cancel(case, job)).start()
    begun = time.monotonic()
    check(polled(fd, select.POLLIN, 10000) & select.POLLIN, "readable when it changes")
    check(time.monotonic() - begun < 3 * SLOWDOWN, f"after {time.monotonic() - begun:.1f} s")
    eq(os.pread(fd, 100, 0), b"cancelled\n", "read again on the same descriptor")
    os.close(fd)


def test_poll_progress(case):
    """Readable each time something has happened to the job; before long its bytes have moved."""
    job = slow_job(case)
    fd = os.open(case.job_dir(job) / "progress", os.O_RDONLY)
    before = os.read(fd, 200)

    def moved():
        begun = time.monotonic()
        check(polled(fd, select.POLLIN, 10000) & select.POLLIN, "readable when bytes move")
        check(time.monotonic() - begun < 3 * SLOWDOWN, f"after {time.monotonic() - begun:.1f} s")
        return os.pread(fd, 200, 0) != before

    within(3, moved, "other words on the same descriptor")
    os.close(fd)
    cancel(case, job)
    case.wait_job(job, "cancelled")


def test_select_and_epoll(case):
    """Many descriptors, waited for by one program."""
    job = slow_job(case)
    fds = [os.open(case.job_dir(job) / "wait", os.O_RDONLY) for _ in range(5)]
    poller = select.epoll()
    for fd in fds:
        poller.register(fd, select.EPOLLIN)
    eq(poller.poll(0.2), [], "events while it runs")
    threading.Timer(0.2, lambda: cancel(case, job)).start()
    seen = set()
    deadline = time.monotonic() + 3 * SLOWDOWN
    while len(seen) < 5 and time.monotonic() < deadline:
        seen |= {fd for fd, _ in poller.poll(1)}
    eq(seen, set(fds), "descriptors that became readable")
    poller.close()
    for fd in fds:
        os.close(fd)


def test_cancel_running(case):
    """Within a second, and nothing is left but the record."""
    make_scattered_disk(case.dir / "vda.raw", 60)
    make_disk(case.dir / "small.raw", 256 * KIB, [(0, 200 * KIB)])
    case.start(fault=SLOW)
    case.add("web1", vda=case.dir / "small.raw")
    case.add("web2", vda=case.dir / "vda.raw")
    case.backup("web1")
    packs = case.pack_files()
    chunks = case.catalog.value("SELECT count(*) FROM chunks")
    job = case.request(case.vm("web2") / "backup")
    case.wait_state(job, "running")
    time.sleep(0.2)
    begun = time.monotonic()
    cancel(case, job)
    info = case.wait_job(job, "cancelled")
    check(time.monotonic() - begun < 1 * SLOWDOWN, f"took {time.monotonic() - begun:.2f} s")
    eq(info["disks"][0]["state"], "cancelled", "state of the disk")
    eq(case.snapshots("web2", "vda"), [], "snapshots")
    eq(case.chains("web2", "vda"), [], "chains")
    eq(case.pack_files(), packs, "files in packs/")
    eq(case.catalog.value("SELECT count(*) FROM chunks"), chunks, "chunk rows")


def test_cancel_drops_sealed_packs(case):
    """A job that has sealed packs already leaves none of them."""
    make_disk(case.dir / "vda.raw", 160 * MIB, [(0, 160 * MIB)])
    case.start(fault="source-read=sleep-5")
    case.add("web1", vda=case.dir / "vda.raw")
    job = case.request(case.vm("web1") / "backup")
    within(30, lambda: case.catalog.value("SELECT count(*) FROM packs WHERE job_id IS NOT NULL") > 0
           or case.state(job) in ENDED, "a sealed pack")
    begun = time.monotonic()
    cancel(case, job)
    case.wait_job(job, "cancelled")
    check(time.monotonic() - begun < 1 * SLOWDOWN, f"took {time.monotonic() - begun:.2f} s")
    eq(case.data_packs(), [], "files in packs/")
    # Notes about the VM and its disk (kind 4) stay.
    eq(case.catalog.value("SELECT count(*) FROM packs WHERE raw_bytes > 0"), 0, "pack rows")
    eq(case.catalog.value("SELECT count(*) FROM chunks WHERE kind <> 4"), 0, "chunk rows")


def test_cancel_pending(case):
    first = slow_job(case)
    second = case.request(case.vm("web1") / "backup")
    cancel(case, second)
    info = case.wait_job(second, "cancelled", seconds=2)
    check(not info["started_at"], f"never started: {info['started_at']}")
    eq(case.state(first), "running", "the running one goes on")
    third = case.request(case.vm("web1") / "backup")
    check(third > second, "a cancelled job answers no touch")
    cancel(case, third)
    cancel(case, first)
    case.settle()


def test_cancel_ended(case):
    job = quick_job(case)
    case.refuses((errno.EALREADY, errno.EINVAL, errno.EPERM, errno.EBUSY),
                 lambda: case.trigger(case.job_dir(job) / "cancel"))
    eq(case.state(job), "completed", "state")


def test_cancel_twice(case):
    """The second of two cancels at once is no error of the job's."""
    job = slow_job(case)
    case.sh('touch "$C" & touch "$C" & wait', env={"C": str(case.job_dir(job) / "cancel")})
    case.wait_job(job, "cancelled")


def test_cancelled_totals(case):
    job = slow_job(case)
    cancel(case, job)
    case.wait_job(job, "cancelled")
    info = case.info(case.vm("web1"))
    eq(info["runs"], 1, "runs")
    eq(info["successes"], 0, "successes")
    eq(info["failures"], 0, "failures")


def test_reading_cancel_does_nothing(case):
    job = slow_job(case)
    case.sh('cat "$C"; grep -r zzz "$D" --exclude=wait || true',
            env={"C": str(case.job_dir(job) / "cancel"), "D": str(case.job_dir(job))})
    eq(case.state(job), "running", "state")
    eq(stat.S_IMODE((case.job_dir(job) / "cancel").stat().st_mode), 0o600, "mode of cancel")
    cancel(case, job)
    case.wait_job(job, "cancelled")


def test_mtimes_follow_jobs(case):
    """`ls -t jobs` is by time."""
    quick_job(case)
    for _ in range(2):
        time.sleep(0.02)
        case.backup("web1")
    listing = case.sh(f"ls -t {case.mnt}/jobs").out.split()
    eq([n for n in listing if n.isdigit()], ["3", "2", "1"], "ls -t")


def test_records_outlive_unmounting(case):
    job = quick_job(case, "tag=kept")
    before = case.job(job)
    log = (case.job_dir(job) / "log").read_text()
    case.remount()
    eq(case.job(job), before, "info.json")
    eq((case.job_dir(job) / "log").read_text(), log, "log")


main()

# SPDX-License-Identifier: MIT
"""Targets a restore must not touch: refused when it is asked for, with the reason, no job, and not
a byte changed.
"""
import fcntl
import os
import stat
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, loop_device, loop_mounted, make_disk, make_ext4, make_scattered_disk

SIZE = 4 * MIB


def backed_up(case, fault=None):
    image = make_disk(case.dir / "vda.raw", SIZE, [(0, MIB)])
    case.start(fault=fault)
    case.add("web1", vda=image)
    case.backup("web1")
    return case.snapshots("web1", "vda")[0]


def refuse(case, snapshot, line, code, says=None, watch=None):
    """The restore is refused; `watch` (a file) and the catalog are what they were."""
    before = watch.read_bytes() if watch else None
    names = sorted(p.name for p in case.dir.iterdir())
    sentence = case.bounded(
        lambda: case.refuses(code, lambda: case.trigger(snapshot / "restore", line), says), 10,
        "a refusal")
    eq(case.catalog.job_count("restore"), 0, "restore records")
    eq(case.catalog.job_count(), 1, "backup records")
    eq(sorted(p.name for p in case.dir.iterdir()), names, "files beside the target")
    if watch:
        eq(watch.read_bytes() == before, True, "the target is what it was")
    return sentence


WORDS = {
    "nothing": ("", errno.EINVAL),
    "relative": ("target.raw", errno.EINVAL),
    "unknown word": ("safety=maybe {d}/new.raw", errno.EINVAL),
    "safety alone": ("safety=off", errno.EINVAL),
    "two lines": ("{d}/new.raw\n{d}/other.raw", errno.EINVAL),
    "control character": ("{d}/new\x01.raw", errno.EINVAL),
    "5000 characters": ("/" + "x" * 5000, (errno.EINVAL, errno.ENAMETOOLONG, errno.EFBIG)),
    "missing folder": ("{d}/no/such/new.raw", errno.ENOENT),
    "a folder": ("{d}", (errno.EINVAL, errno.EISDIR)),
    "the root": ("/", (errno.EINVAL, errno.EISDIR)),
    "trailing slash": ("{d}/new.raw/", (errno.EINVAL, errno.EISDIR, errno.ENOENT, errno.ENOTDIR)),
    "below a file": ("{d}/vda.raw/x", (errno.ENOTDIR, errno.ENOENT, errno.EINVAL)),
    "a character device": ("/dev/null", errno.EINVAL),
    "on the mount": ("{m}/vms/web1/new.raw", errno.EINVAL),
    "a snapshot": ("{s}/disk.raw", errno.EINVAL),
    "in the repository": ("{r}/packs/new.raw", errno.EINVAL),
    "the catalog": ("{r}/catalog.db", errno.EINVAL),
}


@each(WORDS)
def test_refused(case, row):
    line, code = row
    snapshot = backed_up(case)
    refuse(case, snapshot, line.format(d=case.dir, m=case.mnt, r=case.repo, s=snapshot), code)
    check(not (case.dir / "new.raw").exists(), "no target was made")


@each({"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK})
def test_special_file(case, kind):
    snapshot = backed_up(case)
    os.mknod(case.dir / "special", kind | 0o600)
    refuse(case, snapshot, case.dir / "special", (errno.EINVAL, errno.ENXIO))


@each({"by a byte": SIZE - 1, "empty": 0, "half": SIZE // 2})
def test_smaller(case, size):
    snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", size, [(0, size)], seed="t")
    refuse(case, snapshot, target, (errno.ENOSPC, errno.EINVAL), "needs", watch=target)


def test_mounted_image(case):
    needs_root()
    snapshot = backed_up(case)
    target = make_ext4(case.dir / "target.raw", 8 * MIB, {"file": b"x"})
    with loop_mounted(target, case.dir / "guest", "loop,ro,noload"):
        refuse(case, snapshot, target, errno.EBUSY, "mounted|loop|in use")


def test_mounted_device(case):
    needs_root()
    snapshot = backed_up(case)
    target = make_ext4(case.dir / "target.raw", 8 * MIB, {"file": b"x"})
    with loop_device(target) as device, loop_mounted(device, case.dir / "guest", "ro,noload"):
        refuse(case, snapshot, device, errno.EBUSY, "mounted|in use")


def test_attached_to_a_loop_device(case):
    needs_root()
    snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    with loop_device(target) as device:
        refuse(case, snapshot, target, errno.EBUSY, str(device), watch=target)


def test_attached_under_another_name(case):
    """A hard link and a symbolic link are the same file."""
    needs_root()
    snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    os.link(target, case.dir / "hard.raw")
    os.symlink(target, case.dir / "soft.raw")
    with loop_device(target):
        refuse(case, snapshot, case.dir / "hard.raw", errno.EBUSY, watch=target)
        refuse(case, snapshot, case.dir / "soft.raw", errno.EBUSY, watch=target)


def test_device_held_exclusively(case):
    needs_root()
    snapshot = backed_up(case)
    backing = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    with loop_device(backing) as device:
        fd = os.open(device, os.O_RDWR | os.O_EXCL)
        refuse(case, snapshot, device, errno.EBUSY, watch=backing)
        os.close(fd)


def test_read_only_device(case):
    """Refused when it is asked for, or by the job when it opens the device; not written anyhow."""
    needs_root()
    snapshot = backed_up(case)
    backing = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    before = backing.read_bytes()
    with loop_device(backing, "--read-only") as device:
        try:
            job = case.request_restore(snapshot, device)
        except OSError as error:
            check(error.errno in (errno.EACCES, errno.EROFS, errno.EPERM), f"errno: {error}")
        else:
            info = case.wait_job(job, "failed")
            check("ermi" in info["reason"] or "Read-only" in info["reason"], f"reason: {info}")
            case.daemon.allow_errors(".")
    eq(backing.read_bytes() == before, True, "the target is what it was")


def lock_flock(fd):
    fcntl.flock(fd, fcntl.LOCK_EX)


def lock_flock_shared(fd):
    fcntl.flock(fd, fcntl.LOCK_SH)


def lock_ofd(kind, start, length):
    def lock(fd):
        # struct flock: l_type, l_whence, l_start, l_len, l_pid
        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", kind, 0, start, length, 0))  # F_OFD_SETLK
    return lock


LOCKS = {
    "flock": lock_flock,
    "shared flock": lock_flock_shared,
    "OFD write lock": lock_ofd(fcntl.F_WRLCK, 0, 0),
    "OFD read lock": lock_ofd(fcntl.F_RDLCK, 0, 0),
    "QEMU's byte 100": lock_ofd(fcntl.F_RDLCK, 100, 1),
    "QEMU's byte 203": lock_ofd(fcntl.F_RDLCK, 203, 1),
}


@each(LOCKS)
def test_locked(case, lock):
    snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    fd = os.open(target, os.O_RDWR)
    lock(fd)
    refuse(case, snapshot, target, errno.EBUSY, "lock|in use", watch=target)
    os.close(fd)
    case.restore(snapshot, target)


def test_locked_by_another_process(case):
    snapshot = backed_up(case)
    target = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    script = ("import fcntl,os,sys,time; f=open(sys.argv[1],'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); "
              "print('locked', flush=True); time.sleep(60)")
    holder = case.spawn([sys.executable, "-c", script, target], stdout=subprocess.PIPE)
    eq(holder.stdout.readline(), b"locked\n", "the other process")
    refuse(case, snapshot, target, errno.EBUSY, "lock|in use", watch=target)
    holder.kill()
    holder.wait()


def test_source_of_a_running_job(case):
    """An image that is being read for a backup is in use."""
    slow = make_scattered_disk(case.dir / "slow.raw", 60)
    snapshot = backed_up(case, fault="source-read=sleep-100")
    case.add("web2", vda=slow)
    job = case.request(case.vm("web2") / "backup")
    within(20, lambda: int((case.job_dir(job) / "progress").read_text().split()[0]) > 0,
           "the source is being read")
    case.refuses(errno.EBUSY, lambda: case.trigger(snapshot / "restore", str(slow)))
    eq(case.catalog.job_count("restore"), 0, "restore records")
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")


def test_target_locked_after_it_was_asked_for(case):
    """The check is made again when the job begins: the job fails, the target is untouched."""
    slow = make_scattered_disk(case.dir / "slow.raw", 12)
    snapshot = backed_up(case, fault="source-read=sleep-100")
    (case.vm("web1") / "vdb").mkdir()
    (case.vm("web1") / "vdb" / "source").write_text(f"{slow}\n")
    target = make_disk(case.dir / "target.raw", SIZE, [(0, KIB)], seed="t")
    before = target.read_bytes()
    first = case.request(case.vm("web1") / "vdb" / "backup")
    case.wait_state(first, "running")
    restore = case.request_restore(snapshot, target, "safety=off")
    eq(case.state(restore), "pending", "it waits for the VM's running job")
    fd = os.open(target, os.O_RDWR)
    lock_flock(fd)
    info = case.wait_job(restore, "failed")
    check("lock" in info["reason"] or "in use" in info["reason"], f"reason: {info['reason']}")
    os.close(fd)
    eq(target.read_bytes() == before, True, "the target is what it was")
    case.daemon.allow_errors(".")


def test_a_forgotten_snapshot_cannot_be_restored(case):
    snapshot = backed_up(case)
    os.rmdir(snapshot)
    raises(errno.ENOENT, lambda: case.trigger(snapshot / "restore", str(case.dir / "new.raw")))


def test_snapshot_that_is_being_restored_is_not_forgotten(case):
    snapshot = backed_up(case, fault="restore-write=sleep-200")
    job = case.request_restore(snapshot, case.dir / "new.raw")
    case.wait_state(job, "running")
    case.refuses(errno.EBUSY, lambda: os.rmdir(snapshot))
    case.wait_job(job)
    os.rmdir(snapshot)


def test_looking_at_the_trigger_restores_nothing(case):
    snapshot = backed_up(case)
    case.sh(f"cat {snapshot}/restore; stat {snapshot}/restore; grep -r x {snapshot} || true")
    eq(case.catalog.job_count("restore"), 0, "restore records")


def test_a_touch_names_no_target(case):
    snapshot = backed_up(case)
    case.sh(f"touch {snapshot}/restore", status=1)
    eq(case.catalog.job_count("restore"), 0, "restore records")


main()

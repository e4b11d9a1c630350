# SPDX-License-Identifier: MIT
"""Adding and removing VMs and disks with mkdir, echo > source and rmdir; what is refused, with the
reason, and that a refusal changes nothing.
"""
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, loop_device, make_disk, make_scattered_disk

GOOD_NAMES = ["a", "A", "0", "web1", "web-1.example_x", "x" * 64, "a.", "a-", "a_", "9lives",
              "backups", "latest2", "chain", "x..y"]
BAD_NAMES = {
    "leading dash": ("-web", errno.EINVAL),
    "leading dot": (".web", errno.EINVAL),
    "leading underscore": ("_web", errno.EINVAL),
    "65 characters": ("x" * 65, errno.ENAMETOOLONG),
    "255 characters": ("x" * 255, errno.ENAMETOOLONG),
    "blank": ("a b", errno.EINVAL),
    "newline": ("a\nb", errno.EINVAL),
    "escape": ("a\x1bb", errno.EINVAL),
    "delete": ("a\x7fb", errno.EINVAL),
    "not ASCII": ("caf\u00e9", errno.EINVAL),
    "not UTF-8": (b"a\xff", errno.EINVAL),
    "colon": ("a:b", errno.EINVAL),
    "backslash": ("a\\b", errno.EINVAL),
    "star": ("*", errno.EINVAL),
    "percent": ("a%s", errno.EINVAL),
    "dollar": ("$HOME", errno.EINVAL),
}
RESERVED_BESIDE_DISKS = ["backup", "info.json", "retention"]


def state(case):
    return case.catalog.rows("SELECT name FROM vm_backup_contexts ORDER BY id"), \
        case.catalog.rows("SELECT name, source FROM vm_disks ORDER BY id")


def one_disk(case, size=1 * MIB):
    make_disk(case.dir / "vda.raw", size, [(0, 100 * KIB)])
    case.start()
    case.vm("web1").mkdir()
    (case.vm("web1") / "vda").mkdir()
    return case.vm("web1") / "vda"


def put(path, text):
    with open(path, "wb", buffering=0) as out:
        out.write(text if isinstance(text, bytes) else text.encode())


@each(GOOD_NAMES)
def test_good_name(case, name):
    case.start()
    case.vm(name).mkdir()
    (case.vm(name) / name).mkdir()
    eq([p.name for p in (case.mnt / "vms").iterdir()], [name], "vms/")
    eq(case.info(case.vm(name))["vm"], name, "name in info.json")
    case.remount()
    check((case.vm(name) / name / "source").exists(), "there after a new mount")


@each(BAD_NAMES)
def test_bad_vm_name(case, row):
    name, code = row
    case.start()
    before = state(case)
    path = os.path.join(os.fsencode(case.mnt / "vms"), os.fsencode(name))
    case.refuses(code, lambda: os.mkdir(path))
    eq(state(case), before, "the catalog")
    eq(list((case.mnt / "vms").iterdir()), [], "vms/")


@each(BAD_NAMES)
def test_bad_disk_name(case, row):
    name, code = row
    one_disk(case)
    before = state(case)
    path = os.path.join(os.fsencode(case.vm("web1")), os.fsencode(name))
    case.refuses(code, lambda: os.mkdir(path))
    eq(state(case), before, "the catalog")


@each(RESERVED_BESIDE_DISKS)
def test_reserved_disk_name(case, name):
    one_disk(case)
    before = state(case)
    raises((errno.EINVAL, errno.EEXIST), lambda: (case.vm("web1") / name).mkdir())
    eq(state(case), before, "the catalog")


def test_names_once(case):
    disk = one_disk(case)
    raises(errno.EEXIST, lambda: case.vm("web1").mkdir())
    raises(errno.EEXIST, disk.mkdir)
    case.sh(f"mkdir -p {disk}")
    eq(len(state(case)[1]), 1, "disks")


def test_two_mkdirs_at_once(case):
    case.start()
    case.sh('for i in 1 2 3 4 5 6 7 8; do mkdir "$V" 2>err.$i & done; wait',
            env={"V": str(case.vm("web1"))})
    eq(len(state(case)[0]), 1, "VMs")


def test_mkdir_p(case):
    case.start()
    case.sh(f"mkdir -p {case.vm('web1')}/vda {case.vm('web1')}/vdb")
    eq([d["name"] for d in state(case)[1]], ["vda", "vdb"], "disks")


def test_source_is_read_back(case):
    disk = one_disk(case)
    eq((disk / "source").read_text(), "", "source before one is set")
    eq(case.info(disk)["capacity"], 0, "capacity before a source is set")
    put(disk / "source", f"{case.dir}/vda.raw\n")
    eq((disk / "source").read_text(), f"{case.dir}/vda.raw\n", "source")
    eq(case.info(disk)["capacity"], 1 * MIB, "capacity, known before any backup")
    eq(case.catalog.job_count(), 0, "job records")


SOURCE_SCRIPTS = {
    "echo": 'echo "$D" > "$S"',
    "printf without newline": 'printf %s "$D" > "$S"',
    "append": 'echo "$D" >> "$S"',
    "tee": 'echo "$D" | tee "$S"',
    "dd byte by byte": 'echo "$D" | dd of="$S" bs=1 status=none',
    "dd conv=notrunc": 'echo "$D" | dd of="$S" conv=notrunc status=none',
    "cp": 'echo "$D" > words; cp words "$S"',
    "group": '{ /bin/true; echo "$D"; /bin/true; } > "$S"',
}


@each(SOURCE_SCRIPTS)
def test_source_written_by(case, script):
    disk = one_disk(case)
    case.sh(f"set -e; {script}", env={"D": str(case.dir / "vda.raw"), "S": str(disk / "source")})
    within(5, lambda: (disk / "source").read_text() == f"{case.dir}/vda.raw\n", "source is set")
    eq(case.info(disk)["capacity"], 1 * MIB, "capacity")


def test_path_with_blanks_and_umlauts(case):
    disk = one_disk(case)
    odd = case.dir / "a disk of J\u00fcrgen's.raw"
    make_disk(odd, 128 * KIB, [(0, 4096)])
    put(disk / "source", f"{odd}\n")
    eq((disk / "source").read_text(), f"{odd}\n", "source")
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", odd)


def test_source_can_be_changed(case):
    disk = one_disk(case)
    make_disk(case.dir / "other.raw", 2 * MIB, [(0, 4096)], seed=2)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    case.backup("web1")
    put(disk / "source", f"{case.dir}/other.raw\n")
    eq(case.info(disk)["capacity"], 2 * MIB, "capacity")
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", case.dir / "other.raw")
    case.expect_same(case.snapshots("web1", "vda")[0] / "disk.raw", case.dir / "vda.raw")


def test_source_by_symbolic_link(case):
    """/dev/vg0/web1 is a link: it is followed, and named as it was given."""
    disk = one_disk(case)
    os.symlink(case.dir / "vda.raw", case.dir / "link")
    put(disk / "source", f"{case.dir}/link\n")
    eq((disk / "source").read_text(), f"{case.dir}/link\n", "source")
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", case.dir / "vda.raw")


def test_block_device(case):
    needs_root()
    disk = one_disk(case)
    with loop_device(case.dir / "vda.raw", "--read-only") as device:
        put(disk / "source", f"{device}\n")
        eq(case.info(disk)["capacity"], 1 * MIB, "capacity")
        case.backup("web1")
        case.expect_same(case.latest("web1", "vda") / "disk.raw", case.dir / "vda.raw")


BAD_SOURCES = {
    "missing": ("{d}/nothing.raw", errno.ENOENT, "nothing.raw"),
    "missing folder": ("{d}/no/disk.raw", errno.ENOENT, "no/disk.raw"),
    "relative": ("vda.raw", errno.EINVAL, "absolute"),
    "empty": ("", errno.EINVAL, None),
    "only blanks": ("   ", errno.EINVAL, None),
    "a directory": ("{d}", errno.EINVAL, "director"),
    "a fifo": ("{d}/fifo", errno.EINVAL, "fifo"),
    "a socket": ("{d}/socket", (errno.EINVAL, errno.ENXIO), "socket"),
    "a character device": ("/dev/null", errno.EINVAL, "character"),
    "unknown format": ("vmdk:{d}/vda.raw", errno.EINVAL, "vmdk"),
    "unknown scheme": ("ftp://host/disk", errno.EINVAL, "ftp"),
    "below a file": ("{d}/vda.raw/x", (errno.ENOTDIR, errno.ENOENT), "vda.raw/x"),
    "a link to itself": ("{d}/loop", errno.ELOOP, "loop"),
    "a link to nothing": ("{d}/dangling", errno.ENOENT, "dangling"),
    "on the mount": ("{m}/README", errno.EINVAL, "mount|backtree"),
    "a snapshot of the mount": ("{m}/vms/web0/vda/latest/disk.raw", errno.EINVAL, "mount|backtree"),
    "a link onto the mount": ("{d}/tomount", errno.EINVAL, "mount|backtree"),
    "in the repository": ("{r}/catalog.db", errno.EINVAL, "repository"),
    "two lines": ("{d}/vda.raw\n{d}/vda.raw", errno.EINVAL, None),
    "control character": ("{d}/vda\x01.raw", errno.EINVAL, None),
    "5000 characters": ("/" + "x" * 5000, (errno.EINVAL, errno.ENAMETOOLONG, errno.EFBIG), None),
}


@each(BAD_SOURCES)
def test_bad_source(case, row):
    template, code, says = row
    make_disk(case.dir / "web0.raw", 128 * KIB, [(0, 4096)])
    disk = one_disk(case)
    case.add("web0", vda=case.dir / "web0.raw")
    case.backup("web0")
    os.mkfifo(case.dir / "fifo")
    os.mknod(case.dir / "socket", stat.S_IFSOCK | 0o600)
    os.symlink("loop", case.dir / "loop")
    os.symlink("nowhere", case.dir / "dangling")
    os.symlink(case.mnt / "README", case.dir / "tomount")
    before = state(case)
    text = template.format(d=case.dir, m=case.mnt, r=case.repo)
    case.bounded(lambda: case.refuses(code, lambda: put(disk / "source", text + "\n"), says), 10,
                 "a bad source is refused")
    eq(state(case), before, "the catalog")
    eq((disk / "source").read_text(), "", "source")
    eq(case.info(disk)["capacity"], 0, "capacity")


def test_refused_source_leaves_the_old_one(case):
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    case.refuses(errno.ENOENT, lambda: put(disk / "source", "/no/such/disk\n"), "/no/such/disk")
    eq((disk / "source").read_text(), f"{case.dir}/vda.raw\n", "source")
    case.backup("web1")


def test_refused_source_reaches_the_shell(case):
    disk = one_disk(case)
    done = case.sh(f"echo /no/such/disk > {disk}/source", status=1)
    check("No such file" in done.err, f"the shell says why: {done}")


def test_source_while_a_job_runs(case):
    make_scattered_disk(case.dir / "slow.raw", 60)
    disk = one_disk(case)
    case.remount(fault="source-read=sleep-100")
    put(disk / "source", f"{case.dir}/slow.raw\n")
    job = case.request(disk / "backup")
    case.wait_state(job, "running")
    case.refuses(errno.EBUSY, lambda: put(disk / "source", f"{case.dir}/vda.raw\n"))
    eq((disk / "source").read_text(), f"{case.dir}/slow.raw\n", "source")
    case.refuses(errno.EBUSY, lambda: os.rmdir(disk))
    case.refuses((errno.EBUSY, errno.ENOTEMPTY), lambda: os.rmdir(case.vm("web1")))
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")
    put(disk / "source", f"{case.dir}/vda.raw\n")


# --- rmdir


def test_rmdir_of_what_holds_nothing(case):
    disk = one_disk(case)
    os.rmdir(disk)
    check(not disk.exists(), "the disk is gone")
    os.rmdir(case.vm("web1"))
    eq(list((case.mnt / "vms").iterdir()), [], "vms/")
    eq(state(case), ([], []), "the catalog")
    case.vm("web1").mkdir()


def test_rmdir_of_a_vm_with_disks(case):
    """rmdir removes a VM that holds no snapshots, or says ENOTEMPTY and changes nothing."""
    one_disk(case)
    try:
        os.rmdir(case.vm("web1"))
    except OSError as error:
        eq(error.errno, errno.ENOTEMPTY, "errno")
        eq(len(state(case)[1]), 1, "disks")
    else:
        eq(state(case), ([], []), "the catalog")


def test_rmdir_while_it_holds_snapshots(case):
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    case.backup("web1")
    before = state(case)
    case.refuses(errno.ENOTEMPTY, lambda: os.rmdir(disk))
    case.refuses(errno.ENOTEMPTY, lambda: os.rmdir(case.vm("web1")))
    eq(state(case), before, "the catalog")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", case.dir / "vda.raw")


def test_rm_r_destroys_nothing(case):
    """rm -r on the tree by mistake: refused file by file, nothing forgotten by rm's unlinks."""
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    case.backup("web1")
    case.sh(f"rm -rf {case.vm('web1')}", status=1)
    eq(len(case.snapshots("web1", "vda")), 1, "snapshots")


def test_rmdir_of_a_snapshot_forgets_it(case):
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    for _ in range(3):
        case.backup("web1")
    first, second, third = case.snapshots("web1", "vda")
    os.rmdir(second)
    eq(case.snapshots("web1", "vda"), [first, third], "snapshots")
    eq(case.info(third)["parent"], first.name, "the third's parent is the first now")
    case.expect_same(third / "disk.raw", case.dir / "vda.raw")
    case.backup("web1")
    eq(SNAPSHOT_NAME.match(case.snapshots("web1", "vda")[-1].name).group(1), "0004",
       "numbers are not used again")
    case.remount()
    eq(len(case.snapshots("web1", "vda")), 3, "snapshots after a new mount")
    eq(case.catalog.job_count(), 4, "the jobs' records stay")
    check(case.job(2)["state"] == "completed", "the record of the job that made it")


def test_forgetting_the_newest_and_the_first(case):
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    for _ in range(3):
        case.backup("web1")
    snapshots = case.snapshots("web1", "vda")
    os.rmdir(snapshots[2])
    eq(case.latest("web1", "vda"), snapshots[1], "latest")
    os.rmdir(snapshots[0])
    case.expect_same(snapshots[1] / "disk.raw", case.dir / "vda.raw")
    case.backup("web1")
    newest = case.snapshots("web1", "vda")[-1]
    case.expect_same(newest / "disk.raw", case.dir / "vda.raw")
    for snapshot in case.snapshots("web1", "vda"):
        os.rmdir(snapshot)
    eq(case.chains("web1", "vda"), [], "chains")
    check(not os.path.lexists(disk / "latest"), "latest of a disk without snapshots")
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", case.dir / "vda.raw")
    check("-full-" in case.latest("web1", "vda").name, "a new chain begins with a full")


def test_rmdir_of_an_open_snapshot(case):
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    case.backup("web1")
    snapshot = case.snapshots("web1", "vda")[0]
    with open(snapshot / "disk.raw", "rb"):
        case.refuses(errno.EBUSY, lambda: os.rmdir(snapshot))
    within(3, lambda: forgotten(snapshot), "it can be forgotten once it is closed")


def forgotten(snapshot):
    try:
        os.rmdir(snapshot)
        return True
    except OSError as error:
        eq(error.errno, errno.EBUSY, "errno")
        return False


def test_rmdir_of_a_running_jobs_parent(case):
    make_scattered_disk(case.dir / "slow.raw", 10)
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/slow.raw\n")
    case.backup("web1")
    case.remount(fault="source-read=sleep-200")
    job = case.request(disk / "backup")
    case.wait_state(job, "running")
    case.refuses(errno.EBUSY, lambda: os.rmdir(case.snapshots("web1", "vda")[0]))
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")
    os.rmdir(case.snapshots("web1", "vda")[0])


def test_disk_and_vm_go_after_their_snapshots(case):
    disk = one_disk(case)
    put(disk / "source", f"{case.dir}/vda.raw\n")
    case.backup("web1")
    os.rmdir(case.snapshots("web1", "vda")[0])
    os.rmdir(disk)
    os.rmdir(case.vm("web1"))
    eq(state(case), ([], []), "the catalog")
    eq(case.catalog.job_count(), 0, "a deleted context takes its jobs along")


main()

# SPDX-License-Identifier: MIT
"""A trigger makes exactly one job record on every way of writing it, and none on any way of not
writing it. Records are counted in the catalog once nothing runs any more.
"""
import os
import stat
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, make_disk, make_scattered_disk

# Shell scripts that are one command each; T is the trigger. The mode they ask for is told.
SCRIPTS = {
    "touch": ("auto", 'touch "$T"'),
    "touch -c": ("auto", 'touch -c "$T"'),
    "touch -m": ("auto", 'touch -m "$T"'),
    "echo": ("auto", 'echo > "$T"'),
    "echo full": ("full", 'echo full > "$T"'),
    "colon redirect": ("auto", ': > "$T"'),
    "append": ("full", 'echo full >> "$T"'),
    "colon append": ("auto", ': >> "$T"'),
    "redirect alone": ("auto", '> "$T"'),
    "printf without newline": ("full", 'printf full > "$T"'),
    "printf of nothing": ("auto", 'printf "" > "$T"'),
    "blanks around": ("full", 'printf "  full \\n" > "$T"'),
    "dd": ("full", 'echo full | dd of="$T" status=none'),
    "dd conv=notrunc": ("full", 'echo full | dd of="$T" conv=notrunc status=none'),
    "dd byte by byte": ("full", 'echo full | dd of="$T" bs=1 status=none'),
    "dd conv=fsync": ("full", 'echo full | dd of="$T" conv=fsync status=none'),
    "cp of a file": ("full", 'echo full > words; cp words "$T"'),
    "cp --no-preserve of an empty file": ("auto", ': > empty; cp empty "$T"'),
    "cp /dev/null": ("auto", 'cp /dev/null "$T"'),
    "cat": ("full", 'echo full > words; cat words > "$T"'),
    "group": ("full", '{ true; echo full; } > "$T"'),
    "group with a program first": ("full", '{ /bin/true; echo full; } > "$T"'),
    "group with a program last": ("full", '{ echo full; /bin/true; } > "$T"'),
    "subshell": ("full", '(echo full) > "$T"'),
    "exec": ("full", 'exec 3> "$T"; echo full >&3; exec 3>&-'),
    "exec, kept open": ("full", 'exec 3> "$T"; echo full >&3; sleep 0.2; /bin/true; exec 3>&-'),
    "exec, nothing written": ("auto", 'exec 3> "$T"; /bin/true; exec 3>&-'),
    "program as writer": ("full", '/bin/echo full > "$T"'),
    "sh -c": ("full", 'sh -c "echo full; sleep 0.1; /bin/true" > "$T"'),
    "tee": ("full", 'echo full | tee "$T" > tee.out'),
    "tee -a": ("full", 'echo full | tee -a "$T" > tee.out'),
    "truncate -s0": ("auto", 'truncate -s0 "$T"'),
    "here-document": ("full", 'cat > "$T" <<< full'),
    "read-write redirect": ("full", 'echo full 1<> "$T"'),
    "two descriptors of one open": ("full", 'exec 3> "$T" 4>&3; echo full >&4; exec 3>&- 4>&-'),
}


def small_vm(case):
    make_disk(case.dir / "vda.raw", 256 * KIB, [(0, 70 * KIB)])
    case.start()
    case.add("web1", vda=case.dir / "vda.raw")
    eq(case.catalog.job_count(), 0, "job records before the first trigger")
    return case.vm("web1") / "backup"


def expect_one(case, mode):
    """Exactly one record, completed, of the mode asked for, and one snapshot."""
    within(10, lambda: case.catalog.job_count() > 0, "a job record exists")
    case.settle()
    eq(case.catalog.job_count(), 1, "job records")
    job = case.catalog.newest_job()
    eq(case.catalog.state(job), "completed", "state")
    eq(case.job(job)["mode"], mode, "mode")
    eq(case.job(job)["trigger"], "manual", "trigger")
    eq(len(case.snapshots("web1", "vda")), 1, "snapshots")


@each(SCRIPTS)
def test_one_record(case, row):
    mode, script = row
    trigger = small_vm(case)
    case.sh(f"set -e; {script}", env={"T": str(trigger)})
    expect_one(case, mode)


def test_disk_trigger(case):
    small_vm(case)
    case.sh('touch "$T"', env={"T": str(case.vm("web1") / "vda" / "backup")})
    expect_one(case, "auto")


def test_python_open_write_close(case):
    trigger = small_vm(case)
    with open(trigger, "w", encoding="ascii") as out:
        out.write("full\n")
    expect_one(case, "full")


def test_python_open_close(case):
    with open(small_vm(case), "w", encoding="ascii"):
        pass
    expect_one(case, "auto")


def test_python_write_only_without_truncation(case):
    fd = os.open(small_vm(case), os.O_WRONLY)
    os.write(fd, b"full\n")
    os.close(fd)
    expect_one(case, "full")


def test_words_in_several_writes(case):
    fd = os.open(small_vm(case), os.O_WRONLY)
    os.write(fd, b"fu")
    os.write(fd, b"ll ta")
    os.write(fd, b"g=split\n")
    os.close(fd)
    expect_one(case, "full")
    eq(case.job(1)["tags"], ["split"], "tags")


def test_os_utime(case):
    os.utime(small_vm(case))
    expect_one(case, "auto")


def test_utimes_with_a_given_time(case):
    """touch -d is a touch like any other."""
    trigger = small_vm(case)
    case.sh('touch -d "2020-01-01" "$T"', env={"T": str(trigger)})
    expect_one(case, "auto")


def test_read_on_the_writing_descriptor(case):
    fd = os.open(small_vm(case), os.O_RDWR)
    os.write(fd, b"full\n")
    words = os.pread(fd, 100, 0).decode().split()
    eq(words[0], "1", "job read back")
    check(words[1] in ("pending", "running", "completed"), f"a state, not {words}")
    within(10, lambda: os.pread(fd, 100, 0) == b"1 completed\n", "the same descriptor tells the end")
    os.close(fd)
    expect_one(case, "full")


def test_duplicated_descriptors(case):
    fd = os.open(small_vm(case), os.O_WRONLY)
    copies = [os.dup(fd) for _ in range(5)]
    os.close(copies.pop())
    os.write(fd, b"full\n")
    for copy in copies:
        os.close(copy)
    case.settle()
    time.sleep(0.1)
    os.close(fd)
    expect_one(case, "full")


def test_job_ends_while_still_open(case):
    """A descriptor that stays open long after its job has ended makes no second one when closed."""
    fd = os.open(small_vm(case), os.O_RDWR)
    os.write(fd, b"full\n")
    os.fsync(fd)
    os.pread(fd, 100, 0)
    within(10, lambda: case.catalog.job_count() == 1, "the job is there before the close")
    case.settle()
    os.close(fd)
    expect_one(case, "full")


def test_forked_writer(case):
    """The child's copy of the descriptor is flushed at its exit; still one command."""
    fd = os.open(small_vm(case), os.O_WRONLY)
    case.run(["/bin/sh", "-c", f"echo full >&{fd}"], pass_fds=[fd])
    case.run(["/bin/true"], pass_fds=[fd])
    os.close(fd)
    expect_one(case, "full")


def test_every_touch_that_finds_nothing_running_is_a_job(case):
    trigger = small_vm(case)
    for number in range(1, 6):
        case.sh('touch "$T"', env={"T": str(trigger)})
        within(10, lambda: case.catalog.job_count() >= number, "a job record exists")
        case.settle()
        eq(case.catalog.job_count(), number, "job records")
    eq(len(case.snapshots("web1", "vda")), 5, "snapshots")


def test_two_shells_at_once(case):
    """Writers on different VMs at the same moment: one record each."""
    make_disk(case.dir / "a.raw", 256 * KIB, [(0, 70 * KIB)], seed=1)
    make_disk(case.dir / "b.raw", 256 * KIB, [(0, 70 * KIB)], seed=2)
    case.start()
    case.add("web1", vda=case.dir / "a.raw")
    case.add("web2", vda=case.dir / "b.raw")
    case.sh('for i in 1 2 3 4 5; do echo full > "$A" & echo full > "$B" & wait; '
            'for T in "$A" "$B"; do read -r n s < "$T"; cat "$J/$n/wait"; done; done',
            env={"A": str(case.vm("web1") / "backup"), "B": str(case.vm("web2") / "backup"),
                 "J": str(case.mnt / "jobs")})
    case.settle()
    eq(case.catalog.job_count(), 10, "job records")
    eq(len(case.snapshots("web1", "vda")), 5, "snapshots of web1")
    eq(len(case.snapshots("web2", "vda")), 5, "snapshots of web2")


def test_many_writers_on_one_trigger(case):
    """Twenty threads at once on one idle VM: each reads a job that exists, and because at most one
    may wait while one runs, there are never more unfinished records than two."""
    make_scattered_disk(case.dir / "vda.raw", extents=20)
    case.start(fault="source-read=sleep-20")
    case.add("web1", vda=case.dir / "vda.raw")
    trigger = case.vm("web1") / "backup"
    jobs, errors = [], []
    start = threading.Barrier(20)

    def writer():
        try:
            start.wait()
            fd = os.open(trigger, os.O_RDWR)
            os.write(fd, b"full\n")
            jobs.append(int(os.pread(fd, 100, 0).split()[0]))
            os.close(fd)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=writer) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eq(errors, [], "errors of the writers")
    count = case.catalog.job_count()
    check(1 <= count <= 2, f"one running, at most one pending: not {count} records")
    check(set(jobs) <= set(range(1, count + 1)), f"every writer reads a real job: {set(jobs)}")
    case.settle()
    eq(case.catalog.job_count(), count, "job records at the end")


# Everything that looks at a trigger without writing it.
LOOKS = {
    "cat": 'cat "$T"',
    "stat": 'stat "$T"',
    "ls -l": 'ls -l "$T"',
    "grep": 'grep -r nothing "$V" || true',
    "find": 'find "$V" -newer /etc/hostname',
    "cp from it": 'cp "$T" here',
    "tar of the VM": 'tar cf - --exclude=disk.raw -C "$V" . | wc -c',
    "md5sum": 'md5sum "$T"',
    "test -w": 'test -w "$T"',
    "getfattr": 'getfattr -d -m - "$T" || true',
    "open for reading": 'exec 3< "$T"; read -r x <&3 || true; exec 3<&-',
    "refused chmod": 'chmod 777 "$T" || true',
    "refused rm": 'rm -f "$T" || true',
    "refused mv away": 'mv "$T" "$T.old" || true',
    "refused ln": 'ln "$T" "$T.old" || true',
}


@each(LOOKS)
def test_no_record(case, script):
    trigger = small_vm(case)
    case.sh(script, env={"T": str(trigger), "V": str(case.vm("web1"))})
    time.sleep(0.1)
    eq(case.catalog.job_count(), 0, "job records")
    check(trigger.exists(), "the trigger is still there")
    eq(stat.S_IMODE(trigger.stat().st_mode), 0o600, "mode")


# words → what they make: (mode, trigger, tags)
WORDS = {
    "": ("auto", "manual", []),
    "auto": ("auto", "manual", []),
    "full": ("full", "manual", []),
    "tag=nightly": ("auto", "manual", ["nightly"]),
    "full tag=a tag=b": ("full", "manual", ["a", "b"]),
    "tag=a full": ("full", "manual", ["a"]),
    "trigger=scheduled": ("auto", "scheduled", []),
    "trigger=manual": ("auto", "manual", []),
    "auto trigger=scheduled tag=v1.2:x_y-z": ("auto", "scheduled", ["v1.2:x_y-z"]),
    "tag=a tag=a": ("auto", "manual", ["a"]),
}


@each({words or "nothing": (words, made) for words, made in WORDS.items()})
def test_words(case, row):
    words, made = row
    trigger = small_vm(case)
    job = case.wait_job(case.request(trigger, words))
    eq((job["mode"], job["trigger"], job["tags"]), made, "mode, trigger, tags")
    snapshot = case.info(case.snapshots("web1", "vda")[0])
    eq(snapshot["tags"], made[2], "tags of the snapshot")


def test_incremental_word(case):
    trigger = small_vm(case)
    case.refuses(errno.EINVAL, lambda: case.trigger(trigger, "incremental"))
    eq(case.catalog.job_count(), 0, "records of a refused incremental")
    case.wait_job(case.request(trigger))
    job = case.wait_job(case.request(trigger, "incremental"))
    eq(job["mode"], "incremental", "mode")
    check("-incr-" in case.snapshots("web1", "vda")[1].name, "the second snapshot is incremental")


BAD_WORDS = ["bogus", "fulll", "FULL", "full bogus", "full incremental", "auto full", "tag=",
             "tag=-x", "tag=a/b", "tag=" + "x" * 65, "trigger=", "trigger=pre_restore_safety",
             "trigger=scheduled trigger=manual", "full\x01", "full,tag=a", "x" * 5000, "=", "tag"]


@each({(w if len(w) < 50 else w[:20] + f"… ({len(w)} characters)"): w for w in BAD_WORDS})
def test_refused_words(case, words):
    trigger = small_vm(case)
    case.refuses((errno.EINVAL, errno.EFBIG), lambda: case.trigger(trigger, words))
    time.sleep(0.05)
    eq(case.catalog.job_count(), 0, "job records")
    case.wait_job(case.request(trigger))
    eq(case.catalog.job_count(), 1, "records of the good trigger after the bad one")


def test_refusal_names_the_word(case):
    trigger = small_vm(case)
    case.refuses(errno.EINVAL, lambda: case.trigger(trigger, "fulll"), says="fulll")


def test_refusal_reaches_the_shell(case):
    trigger = small_vm(case)
    result = case.sh('echo bogus > "$T"', status=1, env={"T": str(trigger)})
    check("Invalid argument" in result.err, f"the shell says why: {result}")
    result = case.sh('echo bogus | dd of="$T" status=none', status=1, env={"T": str(trigger)})
    check("Invalid argument" in result.err, f"dd says why: {result}")
    eq(case.catalog.job_count(), 0, "job records")


def test_refused_once_is_over(case):
    """The close after a refused write does not run the command again."""
    trigger = small_vm(case)
    fd = os.open(trigger, os.O_RDWR)
    refused = 0
    for action in (lambda: os.write(fd, b"bogus\n"), lambda: os.close(fd)):
        try:
            action()
        except OSError as error:
            eq(error.errno, errno.EINVAL, "errno")
            refused += 1
    check(refused >= 1, "write or close refuses")
    time.sleep(0.05)
    eq(case.catalog.job_count(), 0, "job records")


def test_vm_without_disks(case):
    case.start()
    (case.vm("empty")).mkdir()
    case.refuses(errno.ENOENT, lambda: case.trigger(case.vm("empty") / "backup"))
    eq(case.catalog.job_count(), 0, "job records")


def test_disk_without_source(case):
    case.start()
    (case.vm("web1")).mkdir()
    (case.vm("web1") / "vda").mkdir()
    case.refuses(errno.ENOENT, lambda: case.trigger(case.vm("web1") / "backup"))
    case.refuses(errno.ENOENT, lambda: case.trigger(case.vm("web1") / "vda" / "backup"))
    eq(case.catalog.job_count(), 0, "job records")


def test_refused_touch_is_told(case):
    case.start()
    (case.vm("empty")).mkdir()
    case.sh('touch "$T"', status=1, env={"T": str(case.vm("empty") / "backup")})
    eq(case.catalog.job_count(), 0, "job records")


def test_trigger_reads_its_newest_job(case):
    trigger = small_vm(case)
    for number in (1, 2, 3):
        case.wait_job(case.request(trigger))
        eq(trigger.read_text(), f"{number} completed\n", "the trigger's words")


def test_trigger_before_any_job(case):
    trigger = small_vm(case)
    text = trigger.read_text()
    check(not text.strip() or not text.split()[0].isdigit(), f"names no job: {text!r}")


def test_large_disks_take_the_same_path(case):
    """A trigger answers at once, however long the backup takes."""
    make_scattered_disk(case.dir / "vda.raw", extents=30)
    case.start(fault="source-read=sleep-100")
    case.add("web1", vda=case.dir / "vda.raw")
    begun = time.monotonic()
    job = case.request(case.vm("web1") / "backup")
    check(time.monotonic() - begun < 1 * SLOWDOWN, "the trigger did not wait for the backup")
    check(case.state(job) in ("pending", "running"), "the job is under way")
    (case.job_dir(job) / "cancel").touch()
    case.wait_job(job, "cancelled")


main()

# SPDX-License-Identifier: MIT
"""A `backtree mount -f` run as a child of the test, and everything that must be true of its end.

The child stays in the foreground with stderr in a file. Every way to stop it is bounded; a daemon
that does not end gets a stack dump (gdb, where there is one) and SIGKILL, and the test fails. A
clean stop requires exit status 0 and a stderr without sanitizer reports or error lines.
"""
import os
import re
import shutil
import signal
import subprocess
import time

# A sanitizer build is some times slower; time-outs are multiplied by this.
SLOWDOWN = float(os.environ.get("BACKTREE_TEST_SLOWDOWN", "1"))

SANITIZER_LINE = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:")
ERROR_LINE = re.compile(r"\berror: |Assertion .* failed")


class Failure(AssertionError):
    """What the product did is not what it promises."""


def within(seconds, probe, what, interval=0.01):
    """Calls `probe` until it returns something true, which is returned; fails after `seconds`."""
    deadline = time.monotonic() + seconds * SLOWDOWN
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds * SLOWDOWN:g} s: {what}")
        time.sleep(interval)


def mounts_below(folder):
    """Mountpoints at or below `folder`, innermost first."""
    found = []
    prefix = str(folder)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            point = line.split()[4].encode("latin-1", "replace").decode("unicode_escape")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return found[::-1]


def stack_dump(pid):
    """Where each thread of a process stands, frames of the C library left out."""
    if not shutil.which("gdb"):
        return "(no gdb for a stack dump)"
    try:
        done = subprocess.run(
            ["gdb", "-p", str(pid), "-batch", "-nx", "-ex", "thread apply all bt 24"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=60, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return "(gdb did not answer)"
    lines = []
    for line in done.stdout.splitlines():
        if line.startswith("Thread "):
            lines.append(line)
        elif line.startswith("#") and " at " in line and "./nptl/" not in line \
                and "sysdeps" not in line:
            where = re.match(r"#\d+\s+(?:0x\w+ in )?(\w+).* at (\S+)$", line)
            lines.append("  " + (" at ".join(where.groups()) if where else line[:140]))
    return "\n".join(lines)


class Daemon:
    """One mounted repository. `fault` is the value of BACKTREE_FAULT for this daemon."""

    def __init__(self, binary, repo, mountpoint, log_path, fault=None, options=()):
        self.mountpoint = mountpoint
        self.log_path = log_path
        self.dump = ""
        self.allowed = []
        env = dict(os.environ)
        env.pop("BACKTREE_FAULT", None)
        if fault:
            env["BACKTREE_FAULT"] = fault
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:exitcode=86")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=86")
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(binary), "mount", "-f", *options, str(repo), str(mountpoint)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                start_new_session=True)

    def wait_mounted(self, seconds=20):
        """Returns once the mount answers; a daemon that dies first is a failure with its words."""

        def answers():
            if self.process.poll() is not None:
                raise Failure(f"the daemon ended with {self.process.returncode} before it was "
                              f"mounted: {self.log().strip()}")
            if str(self.mountpoint) not in mounts_below(self.mountpoint):
                return False
            return os.path.exists(self.mountpoint / "README")

        within(seconds, answers, f"{self.mountpoint} is mounted")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def allow_errors(self, pattern):
        """The test provokes error lines that match this; others still fail it."""
        self.allowed.append(re.compile(pattern))

    def alive(self):
        return self.process.poll() is None

    def memory_peak(self):
        """Peak resident bytes so far."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise Failure("no VmHWM in /proc")

    def unmount(self):
        """umount(8), tried again for a moment while the kernel still holds a released file."""

        def gone():
            done = subprocess.run(["umount", str(self.mountpoint)], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, timeout=60 * SLOWDOWN, text=True)
            if done.returncode != 0 and "busy" not in done.stderr:
                raise Failure(f"umount: {done.stderr.strip()}")
            return done.returncode == 0

        within(5, gone, f"{self.mountpoint} can be unmounted (busy)", interval=0.05)

    def wait_ended(self, seconds=15):
        """The exit status of a daemon that is about to end by itself."""
        try:
            return self.process.wait(seconds * SLOWDOWN)
        except subprocess.TimeoutExpired:
            self.abort()
            raise Failure(f"the daemon did not end within {seconds * SLOWDOWN:g} s\n"
                          f"{self.dump}") from None

    def stop(self):
        """Unmounts; the daemon must end with 0 and have nothing to complain about."""
        self.unmount()
        status = self.wait_ended()
        if status != 0:
            raise Failure(f"the daemon ended with {status}: {self.log()[-4000:]}")
        self.check_log()

    def terminate(self, signum=signal.SIGTERM):
        """Asks by signal instead of umount(8); the same must be true of the end."""
        self.process.send_signal(signum)
        status = self.wait_ended()
        if status != 0:
            raise Failure(f"the daemon ended with {status} after {signum!r}: {self.log()[-4000:]}")
        self.check_log()

    def kill(self):
        """SIGKILL, as a crash; the dead mount stays."""
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def abort(self):
        """Ends a daemon that hangs: stacks first, then SIGKILL."""
        if self.alive():
            self.dump = stack_dump(self.process.pid)
        self.kill()

    def check_log(self):
        for line in self.log().splitlines():
            if SANITIZER_LINE.search(line):
                raise Failure(f"sanitizer report of the daemon:\n{self.log()[-8000:]}")
            if ERROR_LINE.search(line) and not any(p.search(line) for p in self.allowed):
                raise Failure(f"the daemon logged: {line}")

# SPDX-License-Identifier: MIT
"""The programs the bench measures, each behind the same few methods, with a repository of its own.

A program says why it is missing (`missing`), makes an empty repository (`init`), backs up the two disks,
restores the last backup with its own command, and mounts the repository to give the path of each disk in it.
Nothing here measures time, and nothing prints: a command that fails raises Failure with the end of what it said.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import time

EXAMPLES = pathlib.Path("/usr/share/doc/libfuse3-dev/examples")


class Failure(Exception):
    """A command failed, or a mount never came; the message is one that a person can use."""


def call(*words, env=None, cwd=None):
    """Runs a command to its end and gives what it wrote to stdout."""
    words = [str(word) for word in words]
    done = subprocess.run(words, env={**os.environ, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise Failure(f"{' '.join(words)}: exit status {done.returncode}: {said}")
    return done.stdout


def bytes_below(folder):
    """What the files below a folder take on disk."""
    files = (entry for entry in folder.rglob("*") if entry.is_file() and not entry.is_symlink())
    return sum(file.stat().st_blocks * 512 for file in files)


@contextlib.contextmanager
def mounted(words, mountpoint, log, env=None, timeout=60):
    """Runs a FUSE server in the foreground on `mountpoint`, gives its process, and unmounts at the end."""
    mountpoint.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        server = subprocess.Popen([str(word) for word in words], env={**os.environ, **(env or {})},
                                  stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + timeout
        while not os.path.ismount(mountpoint):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"{words[0]} did not mount on {mountpoint}; see {log}")
            time.sleep(0.02)
        yield server
    finally:
        if os.path.ismount(mountpoint):
            subprocess.run(["umount", mountpoint], stderr=subprocess.DEVNULL, check=False)
        try:
            server.wait(timeout)
        except subprocess.TimeoutExpired:
            subprocess.run(["umount", "-l", mountpoint], stderr=subprocess.DEVNULL, check=False)
            server.kill()
            server.wait()


class Program:
    name = ""
    peer = True        # takes part in the ratios
    full_only = False  # knows no incremental
    mounts = True

    def __init__(self, home, disks):
        self.home = pathlib.Path(home)
        self.disks = disks  # name → path, the same in every generation
        self.repository = self.home / "repo"
        self.mountpoint = self.home / "mnt"
        self.log = self.home / "server.log"

    def missing(self):
        """Why this program cannot be measured, or None."""

    def version(self):
        return ""

    def init(self):
        """An empty repository."""

    def backup(self, generation):
        raise NotImplementedError

    def restore(self, target):
        """Restores the last backup of both disks below `target` with the program's own command, if it has one; gives
        where they are."""
        raise NotImplementedError

    def mount(self):
        """A context that mounts the repository with nothing cached and gives name → path of the last backup."""
        raise NotImplementedError

    def running(self):
        """A context around all backups: a daemon that must run, say."""
        return contextlib.nullcontext()

    def clear(self):
        shutil.rmtree(self.home, ignore_errors=True)


class Borg(Program):
    def __init__(self, home, disks, chunk, label):
        super().__init__(home, disks)
        self.chunk = chunk
        self.name = f"borg, fixed {label}, zstd 1"
        self.last = None
        self.env = {"BORG_BASE_DIR": str(self.home / "base"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def missing(self):
        return None if shutil.which("borg") else "borg is not installed"

    def version(self):
        return call("borg", "--version").strip()

    def init(self):
        self.home.mkdir(parents=True)
        call("borg", "init", "--encryption", "none", self.repository, env=self.env)

    def backup(self, generation):
        self.last = f"{self.repository}::g{generation}"
        call("borg", "create", f"--chunker-params=fixed,{self.chunk}", "--sparse", "--compression", "zstd,1",
             "--files-cache=disabled", self.last, *self.disks.values(), env=self.env)

    def restore(self, target):
        call("borg", "extract", "--sparse", self.last, env=self.env, cwd=target)
        return {name: pathlib.Path(f"{target}{path}") for name, path in self.disks.items()}

    @contextlib.contextmanager
    def mount(self):
        words = ["borg", "mount", "--foreground", self.last, self.mountpoint]
        with mounted(words, self.mountpoint, self.log, self.env):
            yield {name: pathlib.Path(f"{self.mountpoint}{path}") for name, path in self.disks.items()}


class Restic(Program):
    name = "restic, defaults"

    def __init__(self, home, disks):
        super().__init__(home, disks)
        self.env = {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": "bench",
                    "RESTIC_CACHE_DIR": str(self.home / "cache")}

    def missing(self):
        return None if shutil.which("restic") else "restic is not installed"

    def version(self):
        return " ".join(call("restic", "version").split()[:2])

    def init(self):
        self.home.mkdir(parents=True)
        call("restic", "init", env=self.env)

    def backup(self, generation):
        call("restic", "backup", "--quiet", "--tag", f"g{generation}", *self.disks.values(), env=self.env)

    def restore(self, target):
        call("restic", "restore", "latest", "--quiet", "--target", target, env=self.env)
        return {name: pathlib.Path(f"{target}{path}") for name, path in self.disks.items()}

    @contextlib.contextmanager
    def mount(self):
        with mounted(["restic", "mount", self.mountpoint], self.mountpoint, self.log, self.env):
            latest = self.mountpoint / "snapshots" / "latest"
            yield {name: pathlib.Path(f"{latest}{path}") for name, path in self.disks.items()}


class QemuImg(Program):
    name = "qemu-img convert -c, zstd"
    full_only = True
    mounts = False

    def missing(self):
        return None if shutil.which("qemu-img") else "qemu-img is not installed"

    def version(self):
        return call("qemu-img", "--version").splitlines()[0]

    def init(self):
        self.repository.mkdir(parents=True)

    def backup(self, generation):
        for name, path in self.disks.items():
            call("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", path,
                 self.repository / f"{name}-g{generation}.qcow2")


class PassThrough(Program):
    """libfuse's example server over the folder of the disks: what a mount costs that does no work of its own."""
    name = "FUSE pass-through (limit)"
    peer = False

    def __init__(self, home, disks):
        super().__init__(home, disks)
        self.server = self.home / "passthrough_ll"

    def missing(self):
        if not (EXAMPLES / "passthrough_ll.c").exists():
            return "libfuse3-dev's examples are not installed"
        return None if shutil.which("gcc") and shutil.which("pkg-config") else "gcc or pkg-config is not installed"

    def init(self):
        flags = call("pkg-config", "--cflags", "--libs", "fuse3").split()
        self.home.mkdir(parents=True)
        call("gcc", "-O2", EXAMPLES / "passthrough_ll.c", "-o", self.server, *flags)

    @contextlib.contextmanager
    def mount(self):
        source = next(iter(self.disks.values())).parent
        with mounted([self.server, "-f", "-o", f"source={source}", self.mountpoint], self.mountpoint, self.log):
            yield {name: self.mountpoint / path.name for name, path in self.disks.items()}


class Backtree(Program):
    """backtree with a daemon that owns the repository, or, with `daemon` off, by its command alone."""
    peer = False
    vm = "bench"

    def __init__(self, home, disks, binary, daemon=True):
        super().__init__(home, disks)
        self.binary = binary
        self.daemon = daemon
        self.mounts = daemon
        self.name = "backtree" if daemon else "backtree, not mounted"
        self.server = None

    def missing(self):
        return None if os.access(self.binary, os.X_OK) else f"{self.binary} is not there: build it, or set BACKTREE"

    def version(self):
        return call(self.binary, "--version").strip()

    def init(self):
        self.home.mkdir(parents=True)
        call(self.binary, "init", self.repository)
        call(self.binary, "add", self.repository, self.vm, *(f"{name}={path}" for name, path in self.disks.items()))

    @contextlib.contextmanager
    def running(self):
        if not self.daemon:
            yield
            return
        words = [self.binary, "mount", "-f", self.repository, self.mountpoint]
        with mounted(words, self.mountpoint, self.log) as self.server:
            yield

    def backup(self, generation):
        call(self.binary, "backup", self.repository, self.vm)

    def restore(self, target):
        for name in self.disks:
            call(self.binary, "restore", self.repository, f"{self.vm}/{name}", target / f"{name}.raw")
        return {name: target / f"{name}.raw" for name in self.disks}

    @contextlib.contextmanager
    def mount(self):
        with self.running():
            vm = self.mountpoint / "vms" / self.vm
            yield {name: vm / name / "latest" / "disk.raw" for name in self.disks}


def find_backtree():
    """The binary to measure: $BACKTREE, or the one of the build folder."""
    source = pathlib.Path(__file__).resolve().parents[2]
    return os.environ.get("BACKTREE") or str(source / "build" / "tools" / "backtree")

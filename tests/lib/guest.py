# SPDX-License-Identifier: MIT
"""A small guest for tests: Debian's kernel for virtual machines, an initramfs of busybox and the
virtio drivers, and a root file system that the test backs up.

The initramfs mounts /dev/vda and hands over to the init of that disk, so everything the guest does
comes from the disk. The kernel's package is not installed, which would run its hooks on this machine:
it is downloaded through apt and unpacked once into build-guest/ of the source folder. What keeps a
guest from running here is a Skip that says what.

QEMU runs it without KVM, which takes some seconds of processor time everywhere; BACKTREE_GUEST_ACCEL
names another accelerator. A /dev/kvm that is there is no sign of one that works: within a virtual
machine a guest may start on it and crawl.
"""
import lzma
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tap import Skip

CACHE = Path(__file__).resolve().parents[2] / "build-guest"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX = Path("/bin/busybox")
ACCELERATOR = os.environ.get("BACKTREE_GUEST_ACCEL", "tcg")
# In the order of loading.
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "virtio_blk")

INITRAMFS_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
n=0
until [ -b /dev/vda ] || [ $n -ge 600 ]; do /bin/busybox usleep 50000; n=$((n + 1)); done
/bin/busybox mount -t ext4 /dev/vda /root && /bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""

# What a boot tells, a line each; the file is in its place before the guest is turned off.
ROOT_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "guest: text $(/bin/busybox cat /etc/text)"
echo boot >> /var/boots
/bin/busybox sync
echo "guest: boots $(/bin/busybox wc -l < /var/boots)"
/bin/busybox grep -q '^/dev/vda / ext4 rw' /proc/mounts && echo "guest: root vda"
/bin/busybox mount -o remount,ro /
echo "guest: done"
/bin/busybox poweroff -f
"""


def needed(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed (tools/install-deps test)")


def call(*args, **more):
    return subprocess.run([str(a) for a in args], check=True, timeout=300, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more).stdout


def newest_kernel():
    """The package that the name without a version stands for."""
    for line in call("apt-cache", "depends", KERNEL_PACKAGE).splitlines():
        if line.strip().startswith("Depends: linux-image-"):
            return line.split()[1]
    raise Skip(f"apt does not know {KERNEL_PACKAGE}: no kernel for a guest")


def unpack_kernel(package, target):
    """Downloads the package and keeps the kernel and the drivers, in one step or not at all."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        os.chmod(scratch, 0o755)  # apt's own user reads it
        call("apt-get", "-q", "download", package, cwd=scratch)
        deb, = Path(scratch).glob("*.deb")
        call("dpkg-deb", "-x", deb, f"{scratch}/all")
        kept = Path(scratch) / "kept"
        kept.mkdir()
        vmlinuz, = Path(scratch).glob("all/boot/vmlinuz-*")
        shutil.copy(vmlinuz, kept / "vmlinuz")
        for name in MODULES:
            found, = Path(scratch).glob(f"all/**/{name}.ko*")
            data = found.read_bytes()
            (kept / f"{name}.ko").write_bytes(
                lzma.decompress(data) if found.suffix == ".xz" else data)
        try:
            kept.rename(target)
        except OSError:
            if not target.exists():  # or another test was first
                raise


def kernel():
    """The folder with `vmlinuz` and the drivers."""
    if platform.machine() != "x86_64":
        raise Skip("the guest's kernel is for x86_64")
    cached = sorted(CACHE.glob("linux-image-*"))
    if cached:
        return cached[-1]
    needed("apt-get", "dpkg-deb")
    try:
        package = newest_kernel()
        unpack_kernel(package, CACHE / package)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no reason given"]
        raise Skip(f"no kernel for a guest: {' '.join(error.cmd[:3])}: {lines[-1]}") from error
    return CACHE / package


def make_initramfs(drivers, path):
    needed("cpio", BUSYBOX)
    root = path.with_name(path.name + ".root")
    for name in ("bin", "dev", "modules", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in MODULES:
        shutil.copy(drivers / f"{name}.ko", root / "modules")
    (root / "init").write_text(INITRAMFS_INIT.format(modules=" ".join(MODULES)))
    (root / "init").chmod(0o755)
    subprocess.run(["bash", "-c", f"find . | cpio --quiet -o -H newc > '{path}'"], cwd=root,
                   check=True, timeout=60)
    return path


def make_root_disk(path, size, text):
    """A root file system straight on the disk, with a text that its init tells."""
    needed("mkfs.ext4", BUSYBOX)
    root = path.with_name(path.name + ".root")
    for name in ("bin", "dev", "etc", "proc", "sbin", "var"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    (root / "sbin/init").write_text(ROOT_INIT)
    (root / "sbin/init").chmod(0o755)
    (root / "etc/text").write_text(text + "\n")
    with open(path, "wb") as out:
        out.truncate(size)
    call("mkfs.ext4", "-q", "-d", root, path)
    shutil.rmtree(root)
    return path


def change_text(disk, text):
    """As if the guest had written it."""
    source = disk.with_name("text")
    source.write_text(text + "\n")
    call("debugfs", "-w", "-R", "rm /etc/text", disk)
    call("debugfs", "-w", "-R", f"write {source} /etc/text", disk)


def boot(case, drivers, initramfs, overlay, seconds=80):
    """Runs the guest to its end. Returns what it told, {word: rest}."""
    needed("qemu-system-x86_64")
    done = case.run(
        ["qemu-system-x86_64", "-accel", ACCELERATOR, "-machine", "q35", "-m", "192", "-nodefaults",
         "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
         "-kernel", drivers / "vmlinuz", "-initrd", initramfs,
         "-append", "console=ttyS0 panic=-1 quiet nokaslr mitigations=off",
         "-drive", f"file={overlay},format=qcow2,if=virtio"], timeout=seconds)
    lines = [line.strip().split(" ", 2) for line in done.out.splitlines()
             if line.startswith("guest: ")]
    told = {words[1]: words[2] if len(words) > 2 else "" for words in lines}
    if "done" not in told:
        raise AssertionError(f"the guest did not come to its end: {done}")
    return told

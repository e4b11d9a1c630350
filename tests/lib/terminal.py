# SPDX-License-Identifier: MIT
"""The program under test on a pseudo-terminal."""
import fcntl
import os
import pty
import select
import struct
import termios
import time

from backtree_testing import BINARY, SLOWDOWN


def on_terminal(arguments, seconds=30, env=None, width=0, binary=BINARY):
    """Runs a command there, `width` columns wide (0: not set). Returns (status, what it printed)."""
    pid, fd = pty.fork()
    if pid == 0:
        if width:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8", **(env or {})})
        os.execv(binary, [str(binary), *map(str, arguments)])
    seen = b""
    deadline = time.monotonic() + seconds * SLOWDOWN
    while time.monotonic() < deadline:
        if fd in select.select([fd], [], [], 0.2)[0]:
            try:
                block = os.read(fd, 4096)
            except OSError:
                break
            if not block:
                break
            seen += block
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return status, seen.decode(errors="replace")

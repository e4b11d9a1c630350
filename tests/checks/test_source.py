# SPDX-License-Identifier: MIT
"""The source itself: formatted, within its rooms' walls, and of the size it is meant to be."""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *

C_FOLDERS = ("base", "catalog", "fs", "tools", "tests")
C_FILES = sorted(p for folder in C_FOLDERS for p in (SOURCE_ROOT / folder).rglob("*.[ch]"))
ROOMS = ("base", "catalog", "fs/store", "fs/source", "fs/job", "fs/tree", "tools")

# header → the only room that may include it
WALLS = {
    r"sqlite3\.h": "catalog",
    r"zstd\w*\.h": "fs/store",
    r"xxhash\.h": "fs/store",
    r"openssl/\w+\.h": "fs/store",
    r"fuse\w*\.h|fuse3/\w+\.h": "fs/tree",
    r"libnbd\.h|libvirt/\w+\.h": "fs/source",
}
# Arrows run down only: what each room may include of the others.
BELOW = {
    "base": set(),
    "catalog": {"base"},
    "fs/store": {"base", "catalog"},
    "fs/source": {"base"},
    "fs/job": {"base", "catalog", "fs/store", "fs/source"},
    "fs/tree": {"base", "catalog", "fs/store", "fs/source", "fs/job"},
    "tools": {"base", "catalog", "fs/store", "fs/source", "fs/job", "fs/tree"},
}


def room_of(path):
    text = str(path.relative_to(SOURCE_ROOT) if path.is_absolute() else path)
    return next((room for room in ROOMS if text.startswith(room + "/")), None)


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M)


def test_there_is_something_to_check(_):
    check(len(C_FILES) > 40, f"{len(C_FILES)} C files")


def test_clang_format(_):
    if not shutil.which("clang-format"):
        raise Skip("no clang-format")
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *C_FILES], cwd=SOURCE_ROOT,
                          stderr=subprocess.PIPE, text=True, timeout=100, check=False)
    wrong = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.M)))
    eq((wrong, done.returncode), ([], 0), "files to run `clang-format -i` on")


@each({pattern: (pattern, room) for pattern, room in WALLS.items()})
def test_one_room_alone_includes(_, row):
    pattern, room = row
    guilty = [str(p.relative_to(SOURCE_ROOT)) for p in C_FILES if room_of(p) not in (room, None)
              for name in includes(p) if re.fullmatch(pattern, name)]
    eq(guilty, [], f"files outside {room}")


@each(ROOMS)
def test_arrows_run_down(_, room):
    guilty = []
    for path in C_FILES:
        if room_of(path) != room:
            continue
        for name in includes(path):
            other = next((r for r in ROOMS if name.startswith(r + "/")), None)
            if other and other != room and other not in BELOW[room]:
                guilty.append(f"{path.relative_to(SOURCE_ROOT)} includes {name}")
    eq(guilty, [], "includes against the arrows")


def test_licence_lines(case):
    """Every source file begins with its licence (a script after its #! line)."""
    tracked = [SOURCE_ROOT / name for name in case.run(
        ["git", "-C", SOURCE_ROOT, "ls-files"], status=None).out.split("\n") if name]
    kinds = (".c", ".h", ".py", ".build", ".sh", ".in", ".bash")
    scripts = [p for p in tracked if p.is_file() and p.read_bytes()[:2] == b"#!"]
    files = set(C_FILES) | {p for p in tracked if p.suffix in kinds and p.is_file()} | set(scripts)
    missing = [str(p.relative_to(SOURCE_ROOT)) for p in sorted(files)
               if not any("SPDX-License-Identifier: MIT" in line
                          for line in p.read_text().splitlines()[:2])]
    eq(missing, [], "files without `SPDX-License-Identifier: MIT` in their first lines")


def test_nothing_is_left_to_do(_):
    words = re.compile(r"\b(TODO|FIXME|HACK)\b|\bXXX:")
    found = [f"{p.relative_to(SOURCE_ROOT)}: {line.strip()}" for p in C_FILES
             for line in p.read_text().splitlines() if words.search(line)]
    eq(found, [], "unfinished places")


def test_files_of_600_lines_or_less(_):
    files = C_FILES + sorted((SOURCE_ROOT / "tests").rglob("*.py"))
    long = {str(p.relative_to(SOURCE_ROOT)): n for p in files
            if (n := len(p.read_text().splitlines())) > 600}
    eq(long, {}, "files over 600 lines")


def functions(path):
    """(name, lines) of each function: from its first line to the brace that closes it."""
    begun = name = None
    for number, line in enumerate(path.read_text().splitlines()):
        if re.match(r"[a-z_].*[^;]$", line) and "(" in line and not line.startswith(("//", "#")):
            begun, name = number, re.search(r"(\w+)\(", line)
        elif line == "}" and begun is not None and name:
            yield name.group(1), number - begun + 1
            begun = None
        elif line.endswith(";") and not line.startswith((" ", "\t")):
            begun = None


def test_functions_of_100_lines_or_less(_):
    long = {f"{p.relative_to(SOURCE_ROOT)}: {name}": count for p in C_FILES if p.suffix == ".c"
            for name, count in functions(p) if count > 100}
    eq(long, {}, "functions over 100 lines")


def test_nothing_prints_or_exits_below_tools(_):
    """No exit, abort or printing below the commands."""
    words = re.compile(r"\b(printf|puts|perror|exit|abort|_exit)\s*\(")
    found = []
    for path in C_FILES:
        if room_of(path) in (None, "tools") or path.name == "log.c":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = re.sub(r'"(\\.|[^"\\])*"|//.*', "", line)
            if words.search(code):
                found.append(f"{path.relative_to(SOURCE_ROOT)}:{number}: {line.strip()}")
    allowed = [f for f in found if re.search(r"fs/tree/\w+\.c:\d+: .*_exit\(", f)]
    eq([f for f in found if f not in allowed], [], "places")


@each(["tools/install-deps", "tools/demo", "tests/run", "tests/fuzz/run", ".ci/run"])
def test_scripts_are_well_formed(case, name):
    path = SOURCE_ROOT / name
    check(os.access(path, os.X_OK), f"{name} is executable")
    case.run(["bash", "-n", path])


main()

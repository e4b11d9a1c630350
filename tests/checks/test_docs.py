# SPDX-License-Identifier: MIT
"""What the documents say exists, exists."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *

DOCS = ["README.md", "docs/ARCHITECTURE.md", "docs/FORMAT.md", "docs/TESTING.md"]
TOP = ("base/", "catalog/", "fs/", "tools/", "tests/", "docs/", ".ci/", "meson")
C_TEXT = {p: p.read_text() for folder in ("base", "catalog", "fs", "tools")
          for p in (SOURCE_ROOT / folder).rglob("*.[ch]")}


def text_of(name):
    path = SOURCE_ROOT / name
    check(path.exists(), f"{name} is there")
    return path.read_text()


@each(DOCS)
def test_named_paths_exist(_, name):
    """Every `path` of ours in backquotes or links is a file or folder."""
    text = text_of(name)
    named = set(re.findall(r"`([\w./-]+)`", text)) | set(re.findall(r"\]\(([\w./-]+)\)", text))
    ours = {n for n in named if n.startswith(TOP) and "/" in n}
    base = (SOURCE_ROOT / name).parent
    missing = sorted(n for n in ours if not (SOURCE_ROOT / n).exists() and not (base / n).exists())
    eq(missing, [], "paths that do not exist")


@each(DOCS)
def test_named_functions_exist(_, name):
    """Every `function()` is one."""
    code = "\n".join(C_TEXT.values())
    named = set(re.findall(r"`(\w+)\(\)`", text_of(name)))
    system = {"fsync", "fdatasync", "rename", "flock", "lseek", "poll", "read", "write", "open",
              "close", "mmap", "main", "pread", "pwrite", "fork", "umount", "unlink"}
    missing = sorted(n for n in named - system if not re.search(rf"\b{n}\b", code))
    eq(missing, [], "functions that do not exist")


@each(DOCS)
def test_speaks_of_backtree_alone(_, name):
    text = text_of(name)
    for word in (r"/home/", r"/root/", r"\bTODO\b", r"\bFIXME\b"):
        check(not re.search(word, text), f"{name} contains {word}")


def test_readme_fits_two_screens(_):
    lines = text_of("README.md").splitlines()
    check(20 < len(lines) <= 160, f"{len(lines)} lines")


def test_readme_commands_exist(case):
    """Each `backtree COMMAND` of the transcript is a command."""
    commands = set(re.findall(r"\bbacktree ([a-z]+) ", text_of("README.md")))
    check(len(commands) >= 3, f"the README shows commands: {commands}")
    known = set(re.findall(r"(?m)^  ([a-z]+)  ", case.backtree("--help").out))
    shown = set(re.findall(r"(?m)^\s*(?:[$#] )?(?:sudo )?backtree ([a-z]+) ", text_of("README.md")))
    eq(sorted(shown - known), [], "commands of the transcript that are none")


def test_format_document_has_every_structure(_):
    """Sizes and magics of the format headers stand in docs/FORMAT.md."""
    text = text_of("docs/FORMAT.md")
    header = (SOURCE_ROOT / "fs/store/pack_format.h").read_text()
    for magic in re.findall(r'magic "([A-Z]+)', header):
        check(magic in text, f"magic {magic}")
    for name in ("config", "packs/", "catalog.db", "cache/", "lock"):
        check(f"`{name}`" in text, f"{name} of a repository")


def test_testing_document_names_every_suite(_):
    text = text_of("docs/TESTING.md")
    for folder in sorted(p.name for p in (SOURCE_ROOT / "tests").iterdir()
                         if p.is_dir() and (p / "meson.build").exists()):
        check(f"--suite {folder}" in text, f"docs/TESTING.md has a command for suite {folder}")
    for point in re.findall(r'^\s*X\(\w+,\s*"([^"]+)"\)',
                            (SOURCE_ROOT / "base" / "fault.h").read_text(), re.M):
        check(f"`{point}`" in text, f"docs/TESTING.md lists the fault point {point}")


main()

# SPDX-License-Identifier: MIT
"""Counts single test cases of a `meson test` run and prints the closing line.

    count.py STATUS TESTLOG.json

Each TAP point is a case. A program that ended badly without a point that says so (a crash, a
time-out, fewer points than planned) is a failed case of its own, and so is a run that failed
although every case passed. What failed is named, with the last of what it told about itself, in
lines that begin with "FAILED". Exit status 0 only when something ran and nothing failed.
"""
import json
import re
import sys

POINT = re.compile(r"^(not )?ok\b[^#\n]*(?:#\s*(SKIP|TODO)\b)?", re.I | re.M)
PLAN = re.compile(r"^1\.\.(\d+)", re.M)
TOLD_LINES = 25


def tell(name, text):
    """What failed and why: the end of the diagnostic lines that follow the point."""
    print(f"FAILED {name}")
    for line in text.rstrip().splitlines()[-TOLD_LINES:]:
        print(f"FAILED     {line}")


def diagnosis(text, point):
    """The lines behind a point that are not the next point's."""
    after = text[point.end():].partition("\n")[2]
    following = POINT.search(after)
    return after[: following.start()] if following else after


def count_program(record):
    """(passed, failed, skipped) of one test program, from meson's record of it."""
    passed = failed = skipped = 0
    text = record.get("stdout") or ""
    for point in POINT.finditer(text):
        if point.group(2) and point.group(2).upper() == "SKIP":
            skipped += 1
        elif point.group(1):
            failed += 1
            line = text[point.start():].partition("\n")[0]
            tell(f"{record['name']}: {line}", diagnosis(text, point))
        else:
            passed += 1
    planned = sum(int(n) for n in PLAN.findall(text))
    result = record["result"]
    if result == "SKIP" and not passed + failed + skipped:
        skipped += 1
    elif result not in ("OK", "SKIP", "EXPECTEDFAIL") and not failed:
        failed += 1
        tell(f"{record['name']}: {result}", record.get("stderr") or text)
    elif planned > passed + failed + skipped:
        failed += 1
        tell(f"{record['name']}: {planned} cases planned, {passed + failed + skipped - 1} told", "")
    elif result == "OK" and not passed + failed + skipped:
        passed += 1  # no TAP: the program is the case
    return passed, failed, skipped


def main(status, path):
    totals = [0, 0, 0]
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            records = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        print(f"no record of the tests: {error}")
        records = []
    for record in records:
        totals = [a + b for a, b in zip(totals, count_program(record))]
    passed, failed, skipped = totals
    if failed == 0 and (int(status) != 0 or passed == 0):
        failed = 1
        print("FAILED the run, although no case did" if passed else "FAILED: nothing ran")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

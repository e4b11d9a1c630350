# SPDX-License-Identifier: MIT
"""Runs the test functions of a file and tells the results as TAP, one point a function.

A file's tests are its functions named test_*; each takes one argument, made by the factory given
to run(). A function decorated with @each(table) is one point for every entry of the table and
takes the entry's value as a second argument. Run a file by hand:

    python3 tests/tree/test_triggers.py [-v] [-l] [NAME…]

-l lists the points, NAME runs those that contain it, -v shows what the commands of a test print.
"""
import sys
import time
import traceback


class Skip(Exception):
    """The test cannot run here; the reason is told."""


def each(table):
    """One point for every name → value of `table` (a dict, or a list of names)."""
    rows = dict(table) if isinstance(table, dict) else {str(name): name for name in table}

    def wrap(function):
        function.table = rows
        return function

    return wrap


def collect(module):
    points = []
    for name, function in vars(module).items():
        if not name.startswith("test_") or not callable(function):
            continue
        title = name[len("test_"):].replace("_", " ")
        if hasattr(function, "table"):
            for key, value in function.table.items():
                points.append((f"{title}: {key}", function, (value,)))
        else:
            points.append((title, function, ()))
    return points


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def diagnose(text):
    for line in text.rstrip().splitlines():
        say("# " + line)


def tap_name(title):
    """TAP gives `#` and a backslash a meaning of their own; control characters would break lines."""
    return "".join(c if c.isprintable() and c not in "#\\" else "?" for c in title)


def run_point(number, point, make_case, verbose):
    title, function, extra = point
    begun = time.monotonic()
    case = None
    try:
        case = make_case(title, verbose)
        try:
            function(case, *extra)
            case.finish()
        finally:
            case.close(failed=sys.exc_info()[0] not in (None, Skip))
    except Skip as skip:
        say(f"ok {number} - {tap_name(title)} # SKIP {skip}")
        return True
    except Exception:  # pylint: disable=broad-except
        say(f"not ok {number} - {tap_name(title)}")
        diagnose(traceback.format_exc())
        if case is not None:
            diagnose(case.notes())
        return False
    say(f"ok {number} - {tap_name(title)}")
    if verbose:
        diagnose(f"{time.monotonic() - begun:.2f} s")
    return True


def run(module, make_case, arguments):
    verbose = "-v" in arguments
    names = [a for a in arguments if not a.startswith("-")]
    points = collect(module)
    if names:
        points = [p for p in points if any(n in p[0] or n in p[1].__name__ for n in names)]
    if "-l" in arguments:
        for title, _, _ in points:
            print(title)
        return 0
    say("TAP version 13")
    say(f"1..{len(points)}")
    failed = 0
    for number, point in enumerate(points, 1):
        failed += not run_point(number, point, make_case, verbose)
    return 1 if failed or not points else 0

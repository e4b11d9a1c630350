# SPDX-License-Identifier: MIT
"""The Nth call of each class fails, in each kind of job: nothing crashes, nothing completed is lost,
and who says that it is done has done it. How many N: see tests/faults/rounds.py.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from rounds import every_error
from scenarios import ERRORS, SCENARIOS


@each({f"{name}, {kind}": (name, kind) for name in SCENARIOS for kind in ERRORS})
def test_nth(case, row):
    case.watchdog.cancel()  # each command has a bound of its own
    name, kind = row
    every_error(name, SCENARIOS[name], kind)


main()

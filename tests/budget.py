"""How many CPU seconds each folder of tests takes, against what it may take; printed at the end of a run.

Nothing fails over it: a machine's seconds are not another's. A folder that is over its budget on two quiet cores wants
tests that are smaller, or fewer that say the same.
"""

import collections
import os

import pytest

from tests.distributed.launch import Server

BUDGETS = {
    "architectures": 12,
    "calibration": 3,
    "checkpoints": 14,
    "contracts": 140,
    "distillation": 3,
    "distributed": 100,
    "docs": 12,
    "e2e": 13,
    "ensembling": 48,
    "evaluation": 26,
    "export": 24,
    "fuzz": 4,
    "inputs": 7,
    "jobs": 120,
    "merging": 44,
    "pruning": 14,
    "quantization": 20,
    "recipe": 9,
    "scripts": 25,
    "tasks": 13,
    "training": 75,
    "floor 0": 18,
}
"""Folder below tests -> CPU seconds on the machine of the README's figures: what they took, and 15 % more."""
_KEY = "cpu_s"
_BEGAN = pytest.StashKey()


def folder_of(nodeid):
    """The folder of a test; files at the top and private folders are floor 0, the pages of docs count by themselves."""
    parts = nodeid.partition("::")[0].split("/")[1:]
    if parts[0] == "test_docs.py":
        return "docs"
    return "floor 0" if len(parts) == 1 or parts[0].startswith("_") else parts[0]


def _cpu_s():
    spent = os.times()  # children too: some tests are processes of their own
    return spent.user + spent.system + spent.children_user + spent.children_system + Server.cpu_s


class Clock:
    """Notes each test's CPU seconds in its report, which comes back from every process; adds them up at the end."""

    def __init__(self):
        self.spent = collections.Counter()
        self.cases = collections.Counter()

    def begin(self, item):
        """Before a test's fixtures are made."""
        item.stash[_BEGAN] = _cpu_s()

    def end(self, item, report):
        """After what it made is torn down."""
        if report.when == "teardown" and _BEGAN in item.stash:
            report.user_properties = [*report.user_properties, (_KEY, _cpu_s() - item.stash[_BEGAN])]

    def add(self, report):
        """What a process says of a test."""
        folder = folder_of(report.nodeid)
        if report.when == "call":
            self.cases[folder] += 1
        if report.when == "teardown":
            self.spent[folder] += dict(report.user_properties).get(_KEY, 0.0)

    def lines(self):
        """The table."""
        yield f"{'folder':<14}{'cases':>7}{'CPU s':>8}{'budget':>8}"
        for folder in sorted(self.cases):
            spent, budget = self.spent[folder], BUDGETS.get(folder)
            over = "  over" if budget is not None and spent > budget else "" if budget is not None else "  has no budget"
            yield f"{folder:<14}{self.cases[folder]:>7}{spent:>8.1f}{budget or '-':>8}{over}"
        total = sum(self.spent.values())
        yield f"{'together':<14}{sum(self.cases.values()):>7}{total:>8.1f}{sum(BUDGETS.values()):>8}"

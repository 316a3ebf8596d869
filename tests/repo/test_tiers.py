"""Every test belongs to a tier: some target of the Makefile runs it, and CI runs targets that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# One process for all, because importing what the tests import is what takes the time.
COLLECT = """
import json, sys, pytest

class Ids(list):
    def pytest_collection_finish(self, session):
        self.append([item.nodeid for item in session.items])

ids = Ids()
for arguments in json.loads(sys.argv[1]):
    pytest.main([*arguments, "-n", "0", "--collect-only", "-qq"], plugins=[ids])
print(json.dumps(ids))
"""


@pytest.fixture(scope="module")
def targets() -> list[str]:
    return re.findall(r"^(test[\w-]*|check):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def _pytest_arguments(targets: Sequence[str]) -> list[list[str]]:
    """Return what each `pytest` that these targets start is told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    dry = ["make", "--dry-run", "--no-print-directory", *targets]
    shown = subprocess.run(dry, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    words = [shlex.split(line) for line in shown.stdout.splitlines() if "/pytest" in line]
    return [line[[word.endswith("/pytest") for word in line].index(True) + 1 :] for line in words]


def _collect(selections: Sequence[Sequence[str]]) -> list[set[str]]:
    """Return the ids of the tests that each of these arguments selects."""
    command = [sys.executable, "-c", COLLECT, json.dumps(selections)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [set(ids) for ids in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.long
def test_every_test_is_run_by_a_target(targets: list[str]) -> None:
    tiers = _pytest_arguments(targets)
    assert len(tiers) == len(targets) - 1  # all but `check`
    everything, *selected = _collect([["-m", ""], *tiers])
    assert len(everything) > 1000
    assert all(selected), "a target selects no test"
    assert sorted(everything - set().union(*selected)) == []


def test_ci_runs_targets_that_exist(targets: list[str]) -> None:
    run = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert {"check", "test", "test-renders", "test-clients"} <= set(run) <= set(targets)

"""The campaign of attacks and faults: what it runs, and that it can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.campaign.run import AREAS, area_of, most_memory
from tests.support.faults.seeds import SEEDS

REPOSITORY = Path(__file__).resolve().parents[2]
CAMPAIGN = [sys.executable, str(REPOSITORY / "scripts" / "campaign" / "run.py")]


def test_each_area_has_tests_and_a_fault_that_one_of_them_finds() -> None:
    assert list(AREAS) == list(SEEDS)
    for name, area in AREAS.items():
        for path in (*area.tests, area.seeded):
            assert (REPOSITORY / "tests" / path).exists(), path
        assert area_of(f"tests/{area.seeded}::test_of_it") == name


def test_what_was_tried_and_held_is_counted() -> None:
    ended = subprocess.run([*CAMPAIGN, "secrets"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    row, total = (
        line.split("|") for line in ended.stdout.splitlines() if line.startswith(("| sec", "| all"))
    )
    assert int(row[2]) == int(row[3]) == int(total[2]) > 50
    assert re.search(
        r"^most memory of a process, with the tests': \d+\.\d\d GB, tests/\S+::\S+$",
        ended.stdout,
        re.MULTILINE,
    )


def test_the_memory_of_processes_that_ended_is_known() -> None:
    before = most_memory()
    subprocess.run([sys.executable, "-c", f"b'x' * ({before} + (300 << 20))"], check=True)
    assert most_memory() > before + (250 << 20)


@pytest.mark.slow
def test_the_fault_of_each_area_is_found() -> None:
    ended = subprocess.run([*CAMPAIGN, "--seeded"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("found: FAILED") == len(AREAS)

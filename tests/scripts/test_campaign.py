"""The campaign of attacks and faults: what it runs, and that it can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.campaign.memory import measured, take_little
from scripts.campaign.run import AREAS, most_memory
from tests.support.faults.seeds import SEEDS

REPOSITORY = Path(__file__).resolve().parents[2]
CAMPAIGN = [sys.executable, str(REPOSITORY / "scripts" / "campaign" / "run.py")]


def test_each_area_has_tests_and_a_fault_that_one_of_them_finds() -> None:
    assert list(AREAS) == list(SEEDS)
    for name, area in AREAS.items():
        for path in (*area.tests, area.seeded):
            assert (REPOSITORY / "tests" / path).exists(), path
        assert any(area.seeded.startswith(path) for path in area.tests), name


def test_what_was_tried_and_held_is_counted() -> None:
    ended = subprocess.run([*CAMPAIGN, "secrets"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    row, total = (
        line.split("|") for line in ended.stdout.splitlines() if line.startswith(("| sec", "| all"))
    )
    assert int(row[2]) == int(row[3]) == int(total[2]) > 50
    assert re.fullmatch(r" *0\.\d\d GB ", row[4])


def test_the_memory_of_processes_that_ended_is_known() -> None:
    before = most_memory()
    subprocess.run([sys.executable, "-c", f"b'x' * ({before} + (300 << 20))"], check=True)
    assert most_memory() > before + (250 << 20)


def test_the_memory_of_a_command_is_its_own() -> None:
    own = b"x" * (500 << 20)
    small = measured([sys.executable, "-c", "pass"])
    large = measured([sys.executable, "-c", "b'x' * (300 << 20); import sys; sys.exit('an error')"])
    del own
    assert (small.status, large.status, large.error) == (0, 1, "an error\n")
    assert 250 << 20 < large.memory - small.memory < 350 << 20
    assert measured([sys.executable, "-c", "while True: pass"], seconds=0.1).status == -9


def test_a_command_that_takes_too_much_memory_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("نص\n" * 10)
    assert take_little([tmp_path / "a.txt"])
    assert "most memory of 2 commands on crafted files: 0." in capsys.readouterr().out
    assert not take_little([tmp_path / "a.txt"], most=1 << 20)
    assert "a.txt: 0." in capsys.readouterr().out
    assert not take_little([])


@pytest.mark.slow
def test_the_fault_of_each_area_is_found() -> None:
    ended = subprocess.run([*CAMPAIGN, "--seeded"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("found: FAILED") == len(AREAS)

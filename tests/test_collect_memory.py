"""Collecting needs no more memory for more text; benchmarks/collect_memory.py measures gigabytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qarib_tasks.presets import SAMPLE

sys.path.append(str(SAMPLE.parent / "benchmarks"))

from collect_memory import make
from vocabulary import timed


@pytest.mark.slow
def test_four_times_the_text_takes_the_memory_of_one(tmp_path: Path) -> None:
    peaks = {}
    for megabytes in (150, 600):
        text, out = tmp_path / "text.txt", tmp_path / str(megabytes) / "data.txt"
        make(SAMPLE / "tweets.txt", text, megabytes * 1_000_000)
        command = [sys.executable, "-m", "qarib_tasks.cli", "collect", text, "-o", out, "--document", "line"]
        peaks[megabytes] = timed(*command)[2]
        out.unlink()
    assert peaks[600] < 1.1 * peaks[150]
    assert peaks[600] < 1000

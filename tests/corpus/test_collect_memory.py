"""Collecting needs no more memory for more text; benchmarks/compare/collect_memory.py measures gigabytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qarib_tasks.config.presets import SAMPLE

sys.path += [str(SAMPLE.parent / "benchmarks"), str(SAMPLE.parent / "benchmarks" / "compare")]

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


@pytest.mark.slow
def test_killed_at_any_instant_it_ends_with_the_same_files(tmp_path: Path) -> None:
    sources = [SAMPLE / f"{name}.txt" for name in ("classical", "tweets", "office", "muwatta")]

    def run(folder: Path, seconds: float | None) -> bool:
        """Whether it ended before it was killed, after so many seconds."""
        command = [sys.executable, "-m", "qarib_tasks.cli", "collect", *map(str, sources)]
        command += [
            "-o",
            str(folder / "data.txt"),
            "--heldout",
            str(folder / "heldout.txt"),
            "--heldout-share",
            "0.1",
        ]
        environment = {**os.environ, "PYTHONPATH": str(SAMPLE.parent)}
        try:
            subprocess.run(command, env=environment, capture_output=True, check=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    assert run(tmp_path / "whole", None)
    kills, ended = 0, False
    while not ended:
        ended = run(tmp_path / "killed", 0.15 * 1.15**kills)
        kills += not ended
    assert kills > 3
    for name in ("data.txt", "heldout.txt", "data.txt.report.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {"data.txt", "data.txt.manifest.json", "heldout.txt", "data.txt.report.html"}

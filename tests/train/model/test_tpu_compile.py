"""The training step compiles for TPUs, on a machine that has none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def compiled(*options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "benchmarks/tpu_compile.py", "--small", "--batch", "64", *options],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "batch" in line]


def sent(line: str) -> float:
    """Return the bytes that a chip sends by the program, relative to those by arithmetic."""
    program, formula = re.findall(r"sends ([\d.,]+) MB per step \(([\d.,]+)", line)[0]
    return float(program.replace(",", "")) / float(formula.replace(",", ""))


@pytest.mark.slow
def test_a_small_training_step_compiles_for_tpus() -> None:
    """The real compiler of libtpu; that it counts the operations that the estimates are made of."""
    lines = compiled()
    assert [line.split(",")[0] for line in lines] == ["v5e:2x4", "v6e:2x4"]
    for line in lines:
        (counted,) = re.findall(r"([\d.e+]+) FLOPs \(([\d.e+]+) by arithmetic\)", line)
        flops, arithmetic = map(float, counted)
        # Beside the matrix products, in so small a model, normalization, dropout and the optimizer show.
        assert 1 < flops / arithmetic < 1.3
        # Beside the gradients, the program exchanges some random numbers.
        assert sent(line) == pytest.approx(1.0, abs=0.1)
        assert ", fits;" in line


@pytest.mark.slow
def test_the_step_of_packed_rows_compiles_with_a_divided_optimizer() -> None:
    copied, divided = compiled("--modern", "--topology", "v5e:2x4")
    assert "divided optimizer" in divided
    states = [
        float(re.findall(r"([\d.,]+) MB of it the optimizer", line)[0].replace(",", ""))
        for line in (copied, divided)
    ]
    assert states[1] < 0.2 * states[0]

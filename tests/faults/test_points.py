"""A dataset whose process is killed, or has no disk left, at a file operation: the next run makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
MOST = 16  # operations of about 180
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("how", ["killed", "full"])
def test_the_next_run_makes_the_same(
    tmp_path: Path, how: str, record_property: Callable[[str, object], None]
) -> None:
    # The seeds first: they break what the other one imports.
    code = "from tests.support.faults import seeds, points; points.main()"
    command = [sys.executable, "-c", code, str(tmp_path / "points"), how, str(MOST)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            first = json.loads(process.stdout.readline())
            assert first["operations"] > 150
            tried = 0
            for line in process.stdout:
                require(json.loads(line), how, first["made"], f"{tmp_path}/points/work")
                tried += 1
            assert process.wait() == 0
        finally:
            process.kill()
    assert tried >= MOST
    record_property("tried", tried)


def require(point: dict[str, Any], how: str, made: dict[str, Any], work: str) -> None:
    """Require that the process ended as it was to, and that the next one made the same."""
    assert point["again"] == "", point
    assert point["made"] == made, point
    if how == "killed":
        assert point["status"] == -9
    else:
        assert point["status"] == 0
        assert work in point["said"]
        assert "No space left on device. Free disk space on the disk of" in point["said"]
        assert "\n" not in point["said"]

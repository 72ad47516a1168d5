"""A dataset whose process is killed, or has no disk left, at a file operation: the next run makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    first, *points = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(points) >= MOST
    assert first["operations"] > 150
    for point in points:
        assert point["again"] == "", point
        assert point["made"] == first["made"], point
        if how == "killed":
            assert point["status"] == -9
        else:
            assert point["status"] == 0
            assert f"{tmp_path}/points/work" in point["said"]
            assert "No space left on device. Free disk space on the disk of" in point["said"]
            assert "\n" not in point["said"]
    record_property("tried", len(points))

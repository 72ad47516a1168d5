"""The wheel that the machines install."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from qarib_tasks.tpu.machine.wheel import build_wheel


def test_the_wheel_holds_this_package_and_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = build_wheel(tmp_path / "a").read_bytes(), build_wheel(tmp_path / "b").read_bytes()
    assert one == other
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        names = set(archive.namelist())
        assert {
            "qarib_tasks/cli/main.py",
            "qarib_tasks/vocabulary/unicode_tables.txt",
            "qarib_tasks/train/loop.py",
        } <= names
        assert not any("__pycache__" in name for name in names)

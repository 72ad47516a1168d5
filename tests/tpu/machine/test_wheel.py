"""The wheel that the machines install."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from qarib_tasks.storage.records.made_by import VARIABLE
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


def test_the_machine_knows_the_version_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has neither the checkout nor the variable of the worker that made the wheel."""
    monkeypatch.setenv(VARIABLE, "release 7")
    with zipfile.ZipFile(build_wheel(tmp_path)) as archive:
        archive.extractall(tmp_path / "machine")
    monkeypatch.delenv(VARIABLE)
    code = "from qarib_tasks.storage.records.made_by import made_by; print(made_by())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "machine", capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "machine")},
    )  # fmt: skip
    assert done.stdout == "qarib 0.1.0, code release 7\n"

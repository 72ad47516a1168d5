"""A made-up run and its bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.made_up_run import FolderBucket, MadeUpRun, make_run


@pytest.fixture
def run(tmp_path: Path) -> MadeUpRun:
    made = make_run(tmp_path / "workspace", 12)
    made.upload(tmp_path / "bucket")
    return made


@pytest.fixture
def bucket(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "bucket")

"""A run, read again from its dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.errors import InputError
from qarib_tasks.runs.run import run_of_dataset
from tests.support.datasets import request


def test_a_dataset_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    run = request(tmp_path)
    with pytest.raises(InputError, match=f"Choose one of: {run.dataset_id}"):
        run_of_dataset(Path(run.config.workspace), "demo-0123456789")
    again = run_of_dataset(Path(run.config.workspace), run.dataset_id)
    assert (again.config, again.dataset_id) == (run.config, run.dataset_id)

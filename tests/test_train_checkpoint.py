"""Checkpoints are whole or are passed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.errors import ConfigError
from qarib_tasks.manifest import FileRecord
from qarib_tasks.train.checkpoint import Checkpoints, model_settings, require_same_model
from qarib_tasks.train.output import Output
from tests.training_examples import make_job

POSITION = {"epoch": 1, "window": 0, "shard": 0, "record": 0, "offset": 0, "used": 3}


def state(step: int) -> dict[str, np.ndarray]:
    return {
        "a/kernel": np.full((2, 3), step, np.float32),
        "a/kernel/adam_m": np.zeros((2, 3), np.float32),
        "a/kernel/adam_v": np.ones((2, 3), np.float32),
        "global_step": np.asarray(step, np.int64),
    }


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    result = Checkpoints(Output(make_job(tmp_path)), keep=2)
    for step in (4, 8, 12):
        result.save(step, state(step), POSITION, {})
    return result


def test_the_newest_is_found_with_all_that_it_holds(checkpoints: Checkpoints) -> None:
    index = checkpoints.newest()
    assert index is not None
    assert (index.step, index.position) == (12, POSITION)
    loaded = checkpoints.load(index)
    assert set(loaded) == set(state(12))
    for name, value in state(12).items():
        np.testing.assert_array_equal(loaded[name], value)
    assert set(checkpoints.weights(index)) == {"a/kernel"}


def test_only_as_many_as_asked_for_are_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.steps() == [12, 8]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "checkpoint-12.json",
        "checkpoint-12.safetensors",
        "checkpoint-8.json",
        "checkpoint-8.safetensors",
    ]


@pytest.mark.parametrize("fault", ["no index", "half an index", "no state", "half a state", "flipped state"])
def test_one_that_is_not_whole_is_passed_over(checkpoints: Checkpoints, fault: str) -> None:
    index, tensors = checkpoints.index_path(12), checkpoints.state_path(12)
    path = index if "index" in fault else tensors
    data = path.read_bytes()
    if fault.startswith("no"):
        path.unlink()
    elif fault.startswith("half"):
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 8


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert Checkpoints(Output(make_job(tmp_path)), keep=2).newest() is None


def test_writing_is_repeatable(checkpoints: Checkpoints) -> None:
    before = checkpoints.state_path(12).read_bytes(), checkpoints.index_path(12).read_bytes()
    checkpoints.save(12, state(12), POSITION, {})
    assert before == (checkpoints.state_path(12).read_bytes(), checkpoints.index_path(12).read_bytes())


def test_another_model_is_refused_by_name(checkpoints: Checkpoints, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    vocab = FileRecord.of(Path(job.vocab_file))
    checkpoints.save(16, state(16), POSITION, model_settings(job, vocab))
    index = checkpoints.newest()
    assert index is not None
    require_same_model(index, job, vocab)
    other = replace(job, model=replace(job.model, intermediate_size=64))
    with pytest.raises(ConfigError, match="intermediate_size differ"):
        require_same_model(index, other, vocab)
    with pytest.raises(ConfigError, match="vocabulary differ"):
        require_same_model(index, job, replace(vocab, sha256="0" * 64))

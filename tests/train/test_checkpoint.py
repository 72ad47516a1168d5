"""Checkpoints are whole or are passed over."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.errors import ConfigError, StorageError
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.train.checkpoint import Checkpoints, Index, model_settings, require_same_model
from qarib_tasks.train.output import Output
from tests.support.training_examples import make_job

POSITION = {"epoch": 1, "window": 0, "shard": 0, "record": 0, "offset": 0, "used": 3, "corrupt": 0}
NEWEST = "checkpoint-12"


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
        result.save(index(step), state(step))
    return result


def index(step: int, *, recovery: bool = False) -> Index:
    return Index(step=step, position=POSITION, model={}, recovery=recovery)


def test_the_newest_is_found_with_all_that_it_holds(checkpoints: Checkpoints) -> None:
    newest = checkpoints.newest()
    assert newest is not None
    assert (newest.step, newest.position) == (12, POSITION)
    loaded = checkpoints.load(newest)
    assert set(loaded) == set(state(12))
    for name, value in state(12).items():
        np.testing.assert_array_equal(loaded[name], value)
    assert set(checkpoints.weights(newest)) == {"a/kernel"}


def test_only_as_many_as_asked_for_are_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.names() == ["checkpoint-12", "checkpoint-8"]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "checkpoint-12.json",
        "checkpoint-12.safetensors",
        "checkpoint-8.json",
        "checkpoint-8.safetensors",
    ]


def test_the_stable_checkpoint_is_kept_in_addition_and_marked(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Output(make_job(tmp_path)), keep=2, stable=8)
    for step in (4, 8, 12, 16, 20):
        checkpoints.save(replace(index(step), stable=step == 8), state(step))
        if step == 12:
            assert checkpoints.names() == ["checkpoint-12", "checkpoint-8", "checkpoint-4"]
    assert checkpoints.names() == ["checkpoint-20", "checkpoint-16", "checkpoint-8"]
    assert '"stable": true' in checkpoints.index_path("checkpoint-8").read_text()
    assert '"stable": false' in checkpoints.index_path("checkpoint-20").read_text()


@pytest.mark.parametrize("fault", ["no index", "half an index", "no state", "half a state", "flipped state"])
def test_one_that_is_not_whole_is_passed_over(checkpoints: Checkpoints, fault: str) -> None:
    index_file, tensors = checkpoints.index_path(NEWEST), checkpoints.state_path(NEWEST)
    path = index_file if "index" in fault else tensors
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


def test_one_recovery_checkpoint_is_kept_beside_the_others(checkpoints: Checkpoints) -> None:
    for step in (13, 14):
        checkpoints.save(index(step, recovery=True), state(step))
    assert checkpoints.names() == ["recovery-14", "checkpoint-12", "checkpoint-8"]
    newest = checkpoints.newest()
    assert newest is not None
    assert (newest.step, newest.recovery) == (14, True)
    checkpoints.state_path("recovery-14").write_bytes(b"")
    older = checkpoints.newest()
    assert older is not None
    assert older.name == "checkpoint-12"
    checkpoints.save(index(16), state(16))
    assert checkpoints.names() == ["checkpoint-16", "checkpoint-12"]
    assert not list(checkpoints.folder.glob("recovery*"))


def test_a_recovery_checkpoint_is_due_by_time_alone(tmp_path: Path) -> None:
    output = Output(make_job(tmp_path))
    assert not Checkpoints(output, keep=1, recovery_minutes=0).recovery_is_due()
    assert not Checkpoints(output, keep=1, recovery_minutes=60).recovery_is_due()
    assert Checkpoints(output, keep=1, recovery_minutes=1e-12).recovery_is_due()


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert Checkpoints(Output(make_job(tmp_path)), keep=2).newest() is None


def test_writing_is_repeatable(checkpoints: Checkpoints) -> None:
    paths = checkpoints.state_path(NEWEST), checkpoints.index_path(NEWEST)
    before = [path.read_bytes() for path in paths]
    checkpoints.save(index(12), state(12))
    assert before == [path.read_bytes() for path in paths]


def test_another_model_is_refused_by_name(checkpoints: Checkpoints, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    vocab = FileRecord.of(Path(job.vocab_file))
    checkpoints.save(replace(index(16), model=model_settings(job, vocab)), state(16))
    newest = checkpoints.newest()
    assert newest is not None
    require_same_model(newest, job, vocab)
    other = replace(job, model=replace(job.model, intermediate_size=64))
    with pytest.raises(ConfigError, match="intermediate_size differ"):
        require_same_model(newest, other, vocab)
    with pytest.raises(ConfigError, match="vocabulary differ"):
        require_same_model(newest, job, replace(vocab, sha256="0" * 64))


def test_a_bucket_has_the_recovery_checkpoint_that_this_machine_has(bucket_name: str, tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), publish_to=f"gs://{bucket_name}/models/small/")
    checkpoints = Checkpoints(Output(job), keep=1)
    for step, recovery in ((4, False), (5, True), (6, True)):
        checkpoints.save(index(step, recovery=recovery), state(step))
    files = [f"{name}.{kind}" for name in ("checkpoint-4", "recovery-6") for kind in ("json", "safetensors")]
    folder = "bert_model/"
    assert list(Bucket(str(job.publish_to)).list(folder)) == [folder + name for name in files]
    # On another machine there is nothing but the bucket.
    other = Checkpoints(Output(replace(job, output=str(tmp_path / "other" / "small"))), keep=1)
    newest = other.newest()
    assert newest is not None
    assert newest.name == "recovery-6"
    other.save(index(8), state(8))
    files = ["checkpoint-8.json", "checkpoint-8.safetensors"]
    assert list(Bucket(str(job.publish_to)).list(folder)) == [folder + name for name in files]


def test_a_recovery_checkpoint_that_cannot_be_published_is_a_warning(
    bucket_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = Output(make_job(tmp_path))
    Checkpoints(output, keep=1).save(index(4, recovery=True), state(4))
    nowhere = replace(make_job(tmp_path), publish_to=f"gs://{bucket_name}-that-is-not-there/")
    checkpoints = Checkpoints(Output(nowhere), keep=1)
    checkpoints.save(index(5, recovery=True), state(5))
    assert "recovery-5: not published, trying again with the next" in caplog.text
    assert sorted(path.name for path in checkpoints.folder.glob("*.json")) == [
        "recovery-4.json",
        "recovery-5.json",
    ]
    with pytest.raises(StorageError, match="no such bucket"):
        checkpoints.save(index(6), state(6))


def test_what_a_checkpoint_speaks_of_cannot_be_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The history is published before. The checkpoint is on this machine's disk whatever the bucket does."""

    def out_of_reach() -> None:
        raise ConnectionError("no route")

    checkpoints = Checkpoints(Output(make_job(tmp_path)), keep=2)
    checkpoints.save(index(5, recovery=True), state(5), out_of_reach)
    assert "recovery-5: not published, trying again with the next: no route" in caplog.text
    with pytest.raises(ConnectionError):
        checkpoints.save(index(6), state(6), out_of_reach)
    assert checkpoints.names() == ["checkpoint-6", "recovery-5"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_checkpoint_has_the_mode_of_other_files(checkpoints: Checkpoints, umask: int) -> None:
    before = os.umask(umask)
    try:
        checkpoints.save(index(16), state(16))
    finally:
        os.umask(before)
    for path in (checkpoints.state_path("checkpoint-16"), checkpoints.index_path("checkpoint-16")):
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path

"""The parts of a training: what it starts from, and where it resumes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError
from qarib_tasks.train.assemble import position_of
from qarib_tasks.train.checkpoint import Index
from qarib_tasks.train.data.batches import Position
from qarib_tasks.train.hosts.workers import Place, Workers
from qarib_tasks.train.loop import train
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.export import export
from tests.support.training_examples import make_job


def history(job: TrainingJob) -> list[dict[str, float]]:
    return [json.loads(line) for line in Output(job).history.read_text().splitlines()]


def test_each_worker_goes_on_where_it_was_and_as_many_others_begin_the_next_epoch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    positions = [{"epoch": 3, "shard": 1, "corrupt": 2}, {"epoch": 4, "shard": 0}]
    index = Index(step=0, position={}, model={}).at(8, positions, (), recovery=False)
    index = Index.from_dict(json.loads(json.dumps(asdict(index))))
    two = [Workers(Place(number, 2, "host:1")) for number in range(2)]
    assert [position_of(index, worker) for worker in two] == [Position(**p) for p in positions]
    assert not caplog.text
    alone = position_of(index, Workers())
    assert (alone.epoch, alone.shard, alone.used) == (5, 0, 0)
    assert "world size 2, this training has 1:" in caplog.text
    assert position_of(Index(step=0, position={}, model={}), two[1]) == Position()


def test_a_stable_checkpoint_is_continued_as_if_the_training_had_not_ended(tmp_path: Path) -> None:
    """With one batch as the data and no dropout, the two trainings differ in nothing but rounding."""
    same: dict[str, Any] = {
        "train_batch_size": 16, "schedule": "wsd", "learning_rate": 0.01, "save_checkpoints_steps": 50,
        "bias_correction": True, "keep_checkpoint_max": 1, "num_warmup_steps": 0,
    }  # fmt: skip
    job = make_job(tmp_path, examples=(16,), train_steps=20, decay_share=0.4, **same)
    model = replace(job.model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    job = replace(job, model=model)
    train(job)
    stable, end = (Output(job).checkpoints / f"checkpoint-{step}.json" for step in (12, 20))
    assert (json.loads(stable.read_text())["stable"], json.loads(end.read_text())["stable"]) == (True, False)
    start = {"start_from": str(stable.with_suffix("")), "start_from_optimizer": True}
    # The rate falls in all of its steps, as in the last 8 of the other.
    after = replace(
        job,
        output=str(tmp_path / "after" / "small"),
        train=replace(job.train, train_steps=8, decay_share=1.0, **start),
    )
    train(after)
    index = json.loads((Output(after).checkpoints / "checkpoint-8.json").read_text())
    assert index["updates_before"] == 12
    expected = [line["loss"] for line in history(job)[12:]]
    np.testing.assert_allclose([line["loss"] for line in history(after)], expected, rtol=1e-5)
    without = replace(
        after, output=str(tmp_path / "without"), train=replace(after.train, start_from_optimizer=False)
    )
    train(without)
    assert abs(history(without)[-1]["loss"] - expected[-1]) > 1e-4


def test_only_a_checkpoint_of_ours_has_the_state_of_an_optimizer(tmp_path: Path) -> None:
    job = make_job(tmp_path, train_steps=3)
    train(job)
    export(job)
    address = str(Output(job).root / "export")
    settings = replace(job.train, start_from=address, start_from_optimizer=True)
    with pytest.raises(ConfigError, match="has no state of an optimizer") as error:
        train(replace(job, output=str(tmp_path / "other"), train=settings))
    assert address in str(error.value)
    with pytest.raises(ValueError, match="start_from_optimizer needs start_from"):
        replace(job.train, start_from_optimizer=True)

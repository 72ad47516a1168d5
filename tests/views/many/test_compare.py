"""Runs side by side: curves on every axis, and in what the runs differ."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.views.curves.history import parse
from qarib_tasks.views.many.compare import BUCKETS, MOST_EVALUATIONS, compared, differences, hours
from tests.support.browser.many_runs import many_runs, write_evaluations, write_history
from tests.support.made_up_run import FolderBucket, MadeUpRun, arabic_task, files, write_probes, write_tuning


def folder_of(run: MadeUpRun) -> Path:
    assert run.record.model is not None
    return run.workspace / run.record.model.name


@pytest.fixture
def two(run: MadeUpRun) -> list[MadeUpRun]:
    """Two runs that differ in the learning rate, with histories, evaluations, and a task."""
    made = many_runs(run, 2)
    for number, one in enumerate(made):
        write_history(folder_of(one), 800, rate=100.0 * (number + 1), peak=333)
        write_probes(folder_of(one), 800, arabic_task("sentiment"), every=3 + number)
        write_evaluations(folder_of(one), 0, 400, 800, less=number / 10)
    write_tuning(folder_of(made[1]), arabic_task("sentiment"), every=9)
    return made


def test_the_curves_of_a_run(two: list[MadeUpRun]) -> None:
    found = compared(two[0].record, files(two[0], None), 0.0)
    loss = found["curves"]["masked_lm_loss"]
    assert (loss["step"][0], loss["step"][-1], len(loss["step"]) <= 2 * BUCKETS + 2) == (1, 800, True)
    assert loss["value"][loss["step"].index(333)] == 50.0
    assert "loss" not in found["curves"]  # That of the next sentence is part of it.
    assert found["evaluations"]["masked_lm_loss"] == {"step": [0, 400, 800], "value": [9.0, 7.0, 5.0]}
    assert found["probes"]["sentiment"]["step"] == [800]
    assert found["unigram"] == 6.5
    # 800 steps of 32 examples at 100 examples per second.
    assert found["hours"]["step"][-1] == 800
    assert found["hours"]["value"][-1] == pytest.approx(800 * 32 / 100 / 3600, rel=1e-5)
    assert (found["batch"], found["price"]) == (32, None)


def test_a_smoothed_curve_has_no_peak(two: list[MadeUpRun]) -> None:
    curve = compared(two[0].record, files(two[0], None), 0.0, smoothing=0.1)["curves"]["masked_lm_loss"]
    assert max(curve["value"]) < 10
    # The most that one may ask for.
    own, most = (compared(two[0].record, files(two[0], None), 0.0, smoothing=share) for share in (0.9, 0.2))
    assert own["curves"] == most["curves"]


def test_hours_without_a_known_speed() -> None:
    lines = b'{"step": 1, "loss": 2}\n{"step": 2, "loss": 2, "examples_per_second": 0}\n'
    assert hours(parse(lines), 32) is None
    known = parse(lines + b'{"step": 3, "loss": 2, "examples_per_second": 32}\n')
    assert hours(known, 32) == {
        "step": [1, 2, 3],
        "value": pytest.approx([1 / 3600, 2 / 3600, 3 / 3600], rel=1e-5),
    }
    for batch in (None, 0, "x"):
        assert hours(known, batch) is None


def test_in_what_runs_differ(two: list[MadeUpRun]) -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    found = []
    for number, one in enumerate(two):
        record = replace(one.record, started=started, ended=started + timedelta(hours=number + 1))
        found.append(compared(record, files(one, None), 0.0)["facts"])
    rows = {(row["group"], row["name"]): row for row in differences(found)}
    rate = rows["Settings", "train.learning_rate"]
    assert (rate["title"], rate["values"], rate["same"]) == ("Learning rate", ["0.0005", "0.0001"], False)
    assert rows["Settings", "train.train_steps"]["same"]
    assert rows["Settings", "preset"]["values"] == ["demo", "demo"]
    assert rows["Data", "lines"]["values"] == [500, 500]
    assert rows["Data", "dataset_shards"]["format"] == "count"
    assert rows["Vocabulary", "vocab_size"]["values"] == [3000, 3000]
    assert rows["Results", "held-out masked_lm_loss"]["values"] == [5.0, pytest.approx(4.9)]
    assert rows["Results", "training step"]["values"] == [800, 800]
    assert rows["Results", "seconds"]["values"] == [3600, 7200]
    # What only one run has is a difference.
    tuned = rows["Results", "tuned sentiment"]
    assert (tuned["values"][0], tuned["values"][1] > 0.5, tuned["same"]) == (None, True, False)
    assert ("Results", "cost") not in rows
    groups = [row["group"] for row in differences(found)]
    assert list(dict.fromkeys(groups)) == ["Settings", "Data", "Vocabulary", "Results"]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)


def test_the_cost_of_a_tpu(two: list[MadeUpRun], bucket: FolderBucket) -> None:
    record = two[0].record
    tpu = {"machine": "cloud_tpu", "accelerator_type": "v5litepod-8", "chip_hour_price": 0.5}
    record = replace(record, values={**record.values, "config": {**record.config, "tpu": tpu}})
    assert record.model is not None
    folder = bucket.folder / record.model.tpu_job(record.run_id)
    folder.mkdir(parents=True)
    memory = {"phase": "succeeded", "spent": 7200.0}
    for emulated, price, costs in ((False, 4.0, [8.0]), (True, None, [])):
        (folder / "memory.json").write_text(json.dumps(memory | {"emulated": emulated}))
        found = compared(record, files(two[0], bucket), 0.0)
        assert found["price"] == price
        assert [one["value"] for one in found["facts"] if one["name"] == "cost"] == costs


def test_a_bounded_number_of_reads_from_the_bucket(two: list[MadeUpRun], bucket: FolderBucket) -> None:
    own = two[0]
    write_evaluations(folder_of(own), *range(100))
    own.upload(bucket.folder)
    assert own.record.model is not None
    (bucket.folder / own.record.model.name).parent.mkdir(exist_ok=True)
    (own.workspace / own.record.model.name).rename(bucket.folder / own.record.model.name)
    shown = compared(own.record, files(own, bucket, local=False), 0.0)
    assert shown["curves"]["masked_lm_loss"]["step"][-1] == 800
    assert len(bucket.asked) <= MOST_EVALUATIONS + 15


@pytest.mark.parametrize("values", [{}, {"model_id": "demo-0000000001"}, {"config": {"preset": 7}}])
def test_a_run_of_which_little_is_known(run: MadeUpRun, values: dict[str, Any]) -> None:
    found = compared(replace(run.record, values=values), files(run, None, local=False), 0.0)
    assert (found["curves"], found["hours"], found["unigram"]) == ({}, None, None)
    assert differences([found["facts"], []])

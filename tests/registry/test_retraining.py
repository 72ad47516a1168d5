"""What a re-training comes to: which files, settings and weights; and when there is nothing to do.

Covers plugins/qarib_airflow/preflight/retrain.py, plugins/qarib_airflow/preflight/asked.py,
plugins/qarib_airflow/publishing/assets.py.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qarib_tasks import pipeline
from qarib_tasks.cli.main import cli
from qarib_tasks.config.loading import dump_yaml, from_dict, to_dict
from qarib_tasks.config.presets import merged, resolve
from qarib_tasks.errors import ConfigError, CorruptError, InputError, NothingNewError
from qarib_tasks.registry.promotion import promote, promoted_model, record_of
from qarib_tasks.registry.retraining import RetrainConfig, prepare_retraining, with_date
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run, save_settings
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import complete, request_month, write_documents

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture
def first(tmp_path: Path) -> Run:
    """A promoted model on a dataset of one month."""
    (tmp_path / "work" / "text").mkdir(parents=True)
    write_documents(tmp_path / "work" / "text" / "2026-09.txt", 0, 300)
    return made(tmp_path)


def made(folder: Path, **overrides: Any) -> Run:
    source = {"name": "text", "path": str(folder / "work" / "text" / "2026-09.txt")}
    run = request_month(folder, collect={"sources": [source]}, **overrides)
    complete(run)
    trained(run, 5.0)
    assert promote(run).state == "promoted"
    return run


def trained(run: Run, loss: float) -> None:
    """As if the run's model had been trained, evaluated and exported."""
    job = training_job(run)
    run.model.bert_model.mkdir(parents=True)
    for end in ("json", "safetensors"):
        name = f"checkpoint-{job.train.train_steps}.{end}"
        (run.model.bert_model / name).write_text(f"{run.model_id} {end}")
    run.model.config.write_text(dump_yaml(job))
    if run.address:
        bucket = Bucket(run.address + run.model.name)
        for path in (*run.model.bert_model.iterdir(), run.model.config):
            bucket.upload(path, path.relative_to(run.model.root).as_posix())
    Manifest(
        kind="model",
        id=run.model_id,
        config=to_dict(job),
        statistics={
            "evaluation": {"masked_lm_loss": loss},
            "total_steps": job.steps_before + job.train.train_steps,
        },
    ).write(run.model.manifest)


def deployment(run: Run) -> dict[str, Any]:
    return {"workspace": run.config.workspace, "upload": {"bucket": None}, "tpu": {}}


def settings(folder: Path, **values: Any) -> RetrainConfig:
    path = str(folder / "work" / "text" / "{month}.txt")
    values = {"preset": "demo", "sources": [{"name": "text", "path": path}], "retrain_steps": 50, **values}
    return from_dict(RetrainConfig, values)


def test_a_month_s_files_are_trained_on_from_the_promoted_model(first: Run, tmp_path: Path) -> None:
    write_documents(tmp_path / "work" / "text" / "2026-10.txt", 300, 500)
    write_documents(tmp_path / "work" / "text" / "2026-11.txt", 500, 600)
    asked = settings(tmp_path, learning_rate=1e-3, machine="cloud_tpu")
    run = prepare_retraining(asked, deployment(first), OCTOBER)
    assert (first.config.tpu.machine, run.config.tpu.machine) == ("local", "cloud_tpu")
    plan = json.loads(run.dataset.sources.read_text())["files"]
    assert [Path(entry["address"]).name for entry in plan] == ["2026-10.txt"]
    config = run.config
    assert (config.extends, config.preset) == (first.dataset_id, "demo")
    assert config.train.start_from == str(first.model.root)
    assert (config.train.train_steps, config.train.num_warmup_steps) == (50, 5)
    assert config.train.learning_rate == 1e-3
    assert config.train.train_batch_size == first.config.train.train_batch_size
    assert (config.model, config.evaluate) == (first.config.model, first.config.evaluate)
    assert (config.split, config.convert) == (first.config.split, first.config.convert)
    save_settings(run)
    complete(run)
    job = training_job(run)
    assert job.steps_before == 800
    assert job.heldout_data == str(first.dataset.heldout_training_data)
    # The next month goes on from there, once that model is promoted.
    trained(run, 4.9)
    assert promote(run).total_steps == 850
    third = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER.replace(month=11))
    assert third.config.extends == run.dataset_id
    assert third.steps_before == 850
    complete(third)
    assert len(training_job(third).earlier_data) == 2


def test_a_warm_up_by_share_stays_one_unless_a_number_is_asked_for(tmp_path: Path) -> None:
    text = tmp_path / "work" / "text"
    text.mkdir(parents=True)
    write_documents(text / "2026-09.txt", 0, 300)
    write_documents(text / "2026-10.txt", 300, 500)
    first = made(tmp_path, train={"warmup_share": 0.06, "schedule": "cosine"})
    train = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER).config.train
    assert (train.warmup_share, train.warmup_steps, train.schedule) == (0.06, 3, "cosine")
    asked = settings(tmp_path, num_warmup_steps=7)
    train = prepare_retraining(asked, deployment(first), OCTOBER).config.train
    assert (train.warmup_share, train.warmup_steps) == (0, 7)


def test_with_wsd_the_stable_checkpoint_and_the_optimizer_s_state_are_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "work" / "text"
    text.mkdir(parents=True)
    write_documents(text / "2026-09.txt", 0, 300)
    write_documents(text / "2026-10.txt", 300, 500)
    write_documents(text / "2026-11.txt", 500, 700)
    first = made(tmp_path, train={"warmup_share": 0.06, "schedule": "wsd"})
    # It was made before stable checkpoints were kept.
    before = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER)
    assert (before.config.train.start_from, before.steps_before) == (str(first.model.root), 800)
    assert (before.config.train.start_from_optimizer, before.config.train.warmup_steps) == (False, 3)
    assert "checkpoint-640" in caplog.text
    for end in ("json", "safetensors"):
        (first.model.bert_model / f"checkpoint-640.{end}").write_text(f"stable {end}")
    run = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER)
    train = run.config.train
    assert train.start_from == str(first.model.bert_model / "checkpoint-640")
    assert (train.start_from_optimizer, train.warmup_steps, train.decay_steps) == (True, 0, 10)
    assert run.steps_before == 640
    asked = prepare_retraining(settings(tmp_path, num_warmup_steps=7), deployment(first), OCTOBER)
    assert asked.config.train.warmup_steps == 7
    # It continues the promoted model, although it starts from a checkpoint of it.
    save_settings(run)
    complete(run)
    trained(run, 4.9)
    promoted = promote(run)
    assert (promoted.state, promoted.trained_from) == ("promoted", str(first.model.root))
    # The next one has neither a stable checkpoint nor the setting of this one.
    third = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER.replace(month=11))
    assert (third.config.train.start_from, third.config.train.start_from_optimizer) == (
        str(run.model.root),
        False,
    )
    assert third.config.train.warmup_steps == 5


def test_an_empty_margin_is_that_of_the_run_that_is_extended(first: Run, tmp_path: Path) -> None:
    write_documents(tmp_path / "work" / "text" / "2026-10.txt", 300, 500)
    wide = replace(first.config.promotion, promotion_margin=0.5, promote_by="both")
    save_settings(replace(first, config=replace(first.config, promotion=wide)))
    run = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER)
    assert run.config.promotion == wide
    own = {"promotion_margin": 0.1, "promote_by": "task", "promote_task": "mood", "below_baseline": "promote"}
    run = prepare_retraining(settings(tmp_path, **own), deployment(first), OCTOBER)
    assert run.config.promotion == replace(wide, **own)


def test_a_candidate_s_text_is_new_to_the_next(first: Run, tmp_path: Path) -> None:
    write_documents(tmp_path / "work" / "text" / "2026-10.txt", 300, 500)
    run = prepare_retraining(settings(tmp_path), deployment(first), OCTOBER)
    complete(run)
    trained(run, 9.0)
    assert promote(run).state == "candidate"
    again = prepare_retraining(settings(tmp_path, retrain_steps=70), deployment(first), OCTOBER)
    assert again.dataset_id == run.dataset_id
    assert again.model_id != run.model_id
    assert pipeline.split(again)


def test_nothing_new(first: Run, tmp_path: Path) -> None:
    with pytest.raises(NothingNewError, match=r"2026-10\.txt: no such file"):
        prepare_retraining(settings(tmp_path), deployment(first), OCTOBER)
    with pytest.raises(NothingNewError, match="all 1 source files"):
        prepare_retraining(settings(tmp_path), deployment(first), OCTOBER.replace(month=9))
    # Without sources of its own it looks where the first dataset's text came from.
    with pytest.raises(NothingNewError, match="all 1 source files"):
        prepare_retraining(settings(tmp_path, sources=[]), deployment(first), None)
    # A misspelt address without a date is a mistake, not a month without files.
    wrong = [{"name": "text", "path": str(tmp_path / "txet" / "*")}]
    with pytest.raises(InputError, match="no such file") as error:
        prepare_retraining(settings(tmp_path, sources=wrong), deployment(first), OCTOBER)
    assert not isinstance(error.value, NothingNewError)


def test_without_a_promoted_model_nothing_is_retrained(first: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model of the preset qarib is promoted"):
        prepare_retraining(settings(tmp_path, preset="qarib"), deployment(first), OCTOBER)


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", 7), ("model", {"hidden_size": "x"}), ("train", {"train_steps": -1}), ("train", None)],
)
def test_a_damaged_manifest_of_the_promoted_model_is_named(
    first: Run, tmp_path: Path, name: str, value: Any
) -> None:
    path = first.model.manifest
    values = json.loads(path.read_bytes())
    values["config"][name] = value
    path.write_text(json.dumps(values))
    with pytest.raises(CorruptError, match=rf"manifest\.json: not a manifest: config\.{name}: .*again"):
        prepare_retraining(settings(tmp_path), deployment(first), OCTOBER)


def test_by_hand(first: Run, tmp_path: Path) -> None:
    """`qarib promote`, as it is for a model on another held-out part."""
    longer = {"train": {"train_steps": 900}, "evaluate": {"max_eval_steps": 7}}
    other = prepare_training(resolve(merged(to_dict(first.config), longer)), first.dataset_id)
    trained(other, 4.0)
    command = ["promote", other.model_id, "--workspace", first.config.workspace]
    answer = CliRunner().invoke(cli, command)
    assert "candidate, it cannot be compared" in answer.output
    assert "--anyway" in answer.output
    by_task = ["--promote-by", "task", "--promote-task", "mood", "--below-baseline", "promote"]
    answer = CliRunner().invoke(cli, [*command, *by_task])
    assert "candidate, it was not measured on the task mood" in answer.output
    answer = CliRunner().invoke(cli, [*command, "--task-margin", "3"])
    assert "task_margin" in str(answer.exception)
    answer = CliRunner().invoke(cli, [*command, "--anyway"])
    assert "promoted, promoted by hand" in answer.output
    found = promoted_model(record_of(Path(first.config.workspace), None), "demo")
    assert found == promote(other)
    assert found.dataset_id == first.dataset_id
    answer = CliRunner().invoke(cli, ["promote", "demo-0123456789", "--workspace", first.config.workspace])
    assert other.model_id in str(answer.exception)


def test_dates_in_addresses() -> None:
    assert with_date("gs://b/{year}/{month}/{day}/*.gz", OCTOBER) == "gs://b/2026/2026-10/2026-10-01/*.gz"
    assert with_date("gs://b/{other}", None) == "gs://b/{other}"
    with pytest.raises(ConfigError, match="the run has no date"):
        with_date("gs://b/{month}", None)


# The DAG


@pytest.fixture
def retrain(tmp_path: Path, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The DAG as a deployment has it that runs it each month."""
    monkeypatch.setenv("QARIB_RETRAIN_SCHEDULE", "0 0 1 * *")
    monkeypatch.setenv("QARIB_TIMEZONE", "Asia/Qatar")
    monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path / "work"))
    monkeypatch.setenv("QARIB_BUCKET", bucket_name)
    path = str(tmp_path / "work" / "text" / "{month}.txt")
    values = {"preset": "demo", "sources": [{"name": "text", "path": path}], "retrain_steps": 50}
    monkeypatch.setenv("QARIB_RETRAIN", json.dumps(values))
    import qarib_retrain

    return importlib.reload(qarib_retrain).DAG


def test_when_it_runs(retrain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (retrain.timetable.expression, retrain.timetable.timezone.name) == ("0 0 1 * *", "Asia/Qatar")
    assert (retrain.catchup, retrain.max_active_runs) == (False, 1)
    assert type(retrain.timetable).__name__ == "CronDataIntervalTimetable"
    from qarib_airflow.preflight.schedule import schedule
    from qarib_airflow.publishing.assets import CORPUS

    monkeypatch.setenv("QARIB_RETRAIN_SCHEDULE", "asset")
    assert schedule() == [CORPUS]
    import qarib_retrain

    assert "qarib_corpus" in str(importlib.reload(qarib_retrain).DAG.timetable.asset_condition)
    monkeypatch.delenv("QARIB_RETRAIN_SCHEDULE")
    assert schedule() is None
    for task in retrain.tasks:
        assert task.task_id.rpartition(".")[2] in retrain.doc_md, f"doc_md does not mention {task.task_id}"


def test_with_nothing_new_the_run_ends_well_and_everything_is_skipped(
    retrain: Any,
    tmp_path: Path,
    bucket_name: str,
    airflow_database: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "work" / "text").mkdir(parents=True)
    write_documents(tmp_path / "work" / "text" / "2026-09.txt", 0, 300)
    run = made(tmp_path, upload={"bucket": bucket_name})
    assert promoted_model(record_of(tmp_path, run.address), "demo") is not None
    # The interval is September in Qatar, where it began on August 31 in UTC.
    done = retrain.test(logical_date=datetime(2026, 10, 1, 0, 0, tzinfo=UTC))
    states = {instance.task_id: instance.state for instance in done.get_task_instances()}
    assert done.state == "success"
    assert states.pop("preflight") == "success"
    assert set(states.values()) == {"skipped"}
    assert "delete_tpu" in states
    assert "all 1 source files are in the dataset already" in caplog.text

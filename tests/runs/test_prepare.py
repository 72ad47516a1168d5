"""What a run is named by, and what is refused before anything is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket, default_client
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import convert_all, request


def test_the_same_request_has_the_same_name_wherever_it_runs(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "another name.txt"
    elsewhere.parent.mkdir()
    shutil.copy(SAMPLE / "muwatta.txt", elsewhere)
    here, there = request(tmp_path / "a"), request(tmp_path / "b", elsewhere)
    assert (here.dataset_id, here.model_id) == (there.dataset_id, there.model_id)
    assert Run.from_dict(json.loads(json.dumps(here.to_dict()))) == here


@pytest.mark.parametrize(
    ("overrides", "dataset_changes", "model_changes"),
    [
        ({"vocab": {"vocab_size": 801}}, True, True),
        ({"split": {"shard_lines": 1000}}, True, True),
        ({"convert": {"dupe_factor": 2}}, True, True),
        ({"train": {"train_steps": 777}}, False, True),
        ({"model": {"num_hidden_layers": 1}}, False, True),
        ({"evaluate": {"max_eval_steps": 3}}, False, False),
        ({"upload": {"bucket": "another"}}, False, False),
    ],
)
def test_what_changes_the_data_changes_the_name(
    tmp_path: Path, overrides: dict[str, Any], dataset_changes: bool, model_changes: bool
) -> None:
    plain, changed = request(tmp_path), request(tmp_path, **overrides)
    assert (plain.dataset_id != changed.dataset_id) == dataset_changes
    assert (plain.model_id != changed.model_id) == model_changes


def test_other_text_is_another_dataset(tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text("one\n")
    one = request(tmp_path, source)
    source.write_text("two\n")
    assert request(tmp_path, source).dataset_id != one.dataset_id


def test_a_run_without_sources_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no source of text is set"):
        prepare(resolve({"preset": "qarib", "workspace": str(tmp_path / "work")}))
    with pytest.raises(InputError, match="no such file"):
        request(tmp_path, tmp_path / "nowhere.txt")
    assert not (tmp_path / "work").exists()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    run = request(tmp_path_factory.mktemp("converted"))
    return run, convert_all(run)


def test_training_on_a_dataset_that_is_there(converted: tuple[Run, list[str]]) -> None:
    made, _ = converted
    finish_dataset(made)
    config = resolve({"preset": "demo", "workspace": made.config.workspace, "train": {"train_steps": 900}})
    run = prepare_training(config, made.dataset_id)
    assert (run.config.collect, run.config.convert) == (made.config.collect, made.config.convert)
    assert run.dataset_id == made.dataset_id
    longer = request(Path(made.config.workspace).parent, train={"train_steps": 900})
    assert run.model_id == longer.model_id != made.model_id
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert (pipeline.sources(run), pipeline.split(run)) == ([], [])
    pipeline.collect(run)
    pipeline.build_vocab(run)
    manifest = Manifest.read(run.dataset.manifest)
    assert finish_dataset(run) == manifest
    (origin,) = training_job(run).trained_on
    assert (origin.dataset_id, origin.examples) == (made.dataset_id, manifest.statistics["examples"])
    assert origin.sources == tuple(source.name for source in made.config.collect.sources)
    with pytest.raises(InputError, match=r"bucket has no .*shard_0001\.tfrecord; .*qarib_backfill_shards"):
        finish_dataset(run, {})


def test_an_unfinished_dataset_is_not_trained_on(tmp_path: Path) -> None:
    run = request(tmp_path)
    with pytest.raises(InputError, match="not complete"):
        prepare_training(run.config, run.dataset_id)
    with pytest.raises(InputError, match=f"Choose one of: {run.dataset_id}"):
        prepare_training(run.config, "demo-0123456789")


OTHERS = '{"name": "of somebody else"}'


@pytest.mark.parametrize(
    "name",
    [
        "sources.json",
        "models/promoted.json",
        "models/{model}/config.yaml",
        "models/{model}/progress.json",
        "models/{model}/bert_model/history.jsonl",
        "models/{model}/train.log",
        "models/{model}/evaluate.lock",
        "models/{model}/export/tokenizer.json",
        "datasets/{dataset}/manifest.json",
        "datasets/{dataset}/config.yaml",
        "datasets/{dataset}/sources.json",
        "datasets/{dataset}/data.txt",
        "cache",
        "models",
    ],
)
def test_a_workspace_with_files_of_another_origin_is_refused(tmp_path: Path, name: str) -> None:
    """Before the hours that it takes until a step would replace them."""
    run = request(tmp_path)
    workspace = Path(run.config.workspace)
    shutil.rmtree(workspace / "datasets")
    path = workspace / name.format(model=run.model_id, dataset=run.dataset_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OTHERS, encoding="utf-8")
    before = {file: file.read_bytes() for file in workspace.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match=r"did not make|not made by qarib|not a folder"):
        request(tmp_path)
    assert {file: file.read_bytes() for file in workspace.rglob("*") if file.is_file()} == before


def test_objects_of_another_origin_are_refused(tmp_path: Path, bucket_name: str) -> None:
    upload = {"bucket": bucket_name, "prefix": "shared/"}
    run = request(tmp_path, upload=upload)
    client = default_client()
    bucket = Bucket(f"gs://{bucket_name}/shared/", client)
    for name in (f"{run.model.name}manifest.json", f"{run.dataset.name}config.yaml"):
        prepare(run.config, client=client)
        bucket.write_text(name, OTHERS)
        with pytest.raises(InputError, match="not made by qarib") as error:
            prepare(run.config, client=client)
        assert name in str(error.value)
        bucket.delete(name)

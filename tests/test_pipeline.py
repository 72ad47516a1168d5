"""What a run is named by, and what its steps make of each other's files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.runs.completion import dataset_files, finish_dataset
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of


def request(tmp_path: Path, source: Path = SAMPLE / "muwatta.txt", **overrides: Any) -> Run:
    values = {
        "preset": "demo",
        "workspace": str(tmp_path / "work"),
        "collect": {"sources": [{"name": "text", "path": str(source)}]},
        "vocab": {"vocab_size": 800},
        "split": {"shard_lines": 2000},
        "convert": {"dupe_factor": 1},
    }
    return prepare(resolve({**values, **overrides}))


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
        ({"evaluate": {"max_eval_steps": 3}}, False, True),
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
    with pytest.raises(ConfigError, match="no source of text is given"):
        prepare(resolve({"preset": "qarib", "workspace": str(tmp_path / "work")}))
    with pytest.raises(InputError, match="no such file"):
        request(tmp_path, tmp_path / "nowhere.txt")
    assert not (tmp_path / "work").exists()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    run = request(tmp_path_factory.mktemp("converted"))
    pipeline.collect(run)
    pipeline.build_vocab(run)
    names = pipeline.split(run)
    for name in names:
        pipeline.convert(run, name)
    return run, names


def test_the_held_out_part_is_split_and_converted_like_the_rest(converted: tuple[Run, list[str]]) -> None:
    run, names = converted
    assert names == [
        "shards/shard_0000",
        "shards/shard_0001",
        "shards/shard_0002",
        "heldout/shards/shard_0000",
    ]
    for name in names:
        assert all(path.is_file() for path in pipeline.shard_files(run, name))
    assert run.dataset.tfrecord(names[-1]).parent == run.dataset.heldout_training_data
    assert json.loads(run.dataset.bert_config.read_text())["vocab_size"] == 800


def test_the_dataset_is_finished_only_when_every_shard_is(converted: tuple[Run, list[str]]) -> None:
    run, names = converted
    manifests = [manifest_of(run.dataset.tfrecord(name)) for name in names]
    kept = [path.read_bytes() for path in manifests]
    manifests[0].unlink()
    Manifest(kind="shard", id="shard_0001", state="failed", reason="cannot be read").write(manifests[1])
    with pytest.raises(InputError) as error:
        finish_dataset(run)
    assert "shards/shard_0000" in str(error.value)
    assert "shards/shard_0001: cannot be read" in str(error.value)
    assert not run.dataset.manifest.exists()
    for path, content in zip(manifests, kept, strict=True):
        path.write_bytes(content)
    manifest = finish_dataset(run)
    training = [Manifest.read(path).statistics["examples"] for path in manifests[:-1]]
    assert manifest.statistics["examples"] == sum(training)
    assert manifest.faults(run.dataset.root) == []
    assert finish_dataset(run).made_at == manifest.made_at


def test_every_step_done_again_leaves_every_file_as_it_is(converted: tuple[Run, list[str]]) -> None:
    run, names = converted
    finish_dataset(run)

    def state() -> dict[str, tuple[int, int]]:
        files = (
            path for path in run.dataset.root.rglob("*") if path.is_file() and path != run.dataset.bert_config
        )
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = state()
    pipeline.collect(run)
    pipeline.build_vocab(run)
    assert pipeline.split(run) == names
    for name in names:
        pipeline.convert(run, name)
    finish_dataset(run)
    assert state() == before


def test_the_trainer_reads_the_bucket_where_there_is_one(tmp_path: Path) -> None:
    local = training_job(request(tmp_path))
    assert local.training_data == str(request(tmp_path).dataset.training_data)
    assert local.publish_to is None
    run = request(tmp_path, upload={"bucket": "some-bucket", "prefix": "a/b/"})
    job = training_job(run)
    base = f"gs://some-bucket/a/b/datasets/{run.dataset_id}"
    assert job.training_data == f"{base}/pretraining_data"
    assert job.heldout_data == f"{base}/heldout/pretraining_data"
    assert job.vocab_file == f"{base}/vocab.txt"
    assert job.publish_to == f"gs://some-bucket/a/b/models/{run.model_id}/"


def test_a_vocabulary_in_a_bucket_is_kept_as_it_is(
    converted: tuple[Run, list[str]], bucket_name: str, tmp_path: Path
) -> None:
    first, _ = converted
    address = f"gs://{bucket_name}/vocabularies/vocab.txt"
    Bucket(f"gs://{bucket_name}/vocabularies/").upload(first.dataset.vocab, "vocab.txt")
    again = request(tmp_path, vocab={"vocab_size": 800, "vocab_file": address})
    here = request(tmp_path, vocab={"vocab_size": 800, "vocab_file": str(first.dataset.vocab)})
    assert again.dataset_id == here.dataset_id != first.dataset_id
    pipeline.collect(again)
    pipeline.build_vocab(again)
    assert again.dataset.vocab.read_bytes() == first.dataset.vocab.read_bytes()
    with pytest.raises(InputError, match="no such object"):
        request(tmp_path, vocab={"vocab_size": 800, "vocab_file": address + "x"})


def test_the_report_is_published_before_the_manifest(converted: tuple[Run, list[str]]) -> None:
    run, _ = converted
    finish_dataset(run)
    files = dataset_files(run)
    assert all(path.is_file() for path in files)
    assert files[-1] == run.dataset.manifest
    assert run.dataset.report in files


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
    with pytest.raises(InputError, match=r"shard_0001\.tfrecord is missing; .*qarib_backfill_shards"):
        finish_dataset(run, {})


def test_an_unfinished_dataset_is_not_trained_on(tmp_path: Path) -> None:
    run = request(tmp_path)
    with pytest.raises(InputError, match="not complete"):
        prepare_training(run.config, run.dataset_id)
    with pytest.raises(InputError, match=f"Choose one of: {run.dataset_id}"):
        prepare_training(run.config, "demo-0123456789")

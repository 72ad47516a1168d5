"""When a dataset is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qarib_tasks import pipeline
from qarib_tasks.errors import InputError
from qarib_tasks.runs.completion import dataset_files, finish_dataset
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.storage.side_files import report_of
from tests.support.datasets import convert_all, fail, objects, request


@pytest.fixture(scope="module")
def finishable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    run = request(tmp_path_factory.mktemp("converted"))
    return run, convert_all(run)


def test_the_dataset_is_finished_only_when_every_shard_is(finishable: tuple[Run, list[str]]) -> None:
    run, names = finishable
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


def test_warnings_about_the_corpus_reach_the_model_card(finishable: tuple[Run, list[str]]) -> None:
    run, _ = finishable
    path = manifest_of(run.dataset.data)
    kept, corpus = path.read_bytes(), Manifest.read(path)
    replace(corpus, statistics={**corpus.statistics, "warnings": ["much is lost"]}).write(path)
    assert finish_dataset(run).statistics["corpus_warnings"] == ["much is lost"]
    assert training_job(run).trained_on[0].warnings == ("much is lost",)
    path.write_bytes(kept)
    assert "corpus_warnings" not in finish_dataset(run).statistics


def test_the_report_is_published_before_the_manifest(finishable: tuple[Run, list[str]]) -> None:
    run, _ = finishable
    finish_dataset(run)
    files = dataset_files(run)
    assert all(path.is_file() for path in files)
    assert files[-1] == run.dataset.manifest
    assert report_of(run.dataset.data) in files


@pytest.fixture
def run(published_run: Run) -> Run:
    return published_run


def test_a_training_may_do_without_some_shards(run: Run) -> None:
    """The manifest names them, the trainer leaves them out, and the held-out part is always whole."""
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    bucket.write_text("pretraining_data/shard_0003.tfrecord", "other")
    fail(run, "shards/shard_0001", "cannot be read")
    few, enough = (tolerating(run, share) for share in (0.1, 0.2))
    with pytest.raises(InputError, match="2 of 10 shards are incomplete or damaged"):
        finish_dataset(few, objects(run))
    manifest = finish_dataset(enough, objects(run))
    assert manifest.statistics["missing_shards"] == ["shards/shard_0001", "shards/shard_0003"]
    assert manifest.statistics["shards"] == 7
    assert not {"pretraining_data/shard_0001.tfrecord", "pretraining_data/shard_0003.tfrecord"} & {
        record.name for record in manifest.outputs
    }
    assert training_job(enough).left_out == ("shard_0001.tfrecord", "shard_0003.tfrecord")

    bucket.delete("heldout/pretraining_data/shard_0000.tfrecord")
    with pytest.raises(InputError, match="3 of 10 shards are incomplete or damaged"):
        finish_dataset(tolerating(run, 0.9), objects(run))

    assert pipeline.convert(run, "shards/shard_0001").state == "complete"
    for name in (
        *pipeline.shard_files(run, "shards/shard_0001"),
        *pipeline.shard_files(run, "shards/shard_0003"),
    ):
        bucket.upload(name, name.relative_to(run.dataset.root).as_posix())
    held_out = run.dataset.tfrecord("heldout/shards/shard_0000")
    bucket.upload(held_out, "heldout/pretraining_data/shard_0000.tfrecord")
    assert finish_dataset(run, objects(run)).statistics["missing_shards"] == []
    assert training_job(run).left_out == ()


def tolerating(run: Run, share: float) -> Run:
    upload = replace(run.config.upload, tolerated_missing_share=share)
    return replace(run, config=replace(run.config, upload=upload))

"""Training from a bucket and into it: a machine that is lost takes nothing with it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.errors import InputError
from qarib_tasks.storage.bucket import Bucket, same
from qarib_tasks.storage.files import checksums
from qarib_tasks.train.data.shards import Shards, open_address
from qarib_tasks.train.loop import train
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.export import export
from tests.support.training_examples import make_job


def test_a_new_machine_goes_on_from_the_bucket(bucket_name: str, tmp_path: Path) -> None:
    local = make_job(tmp_path)
    bucket = Bucket(f"gs://{bucket_name}/data/")
    for folder in (local.training_data, local.heldout_data, local.vocab_file):
        path = Path(folder)
        for file in sorted(path.glob("*.tfrecord")) if path.is_dir() else [path]:
            bucket.upload(file, file.relative_to(tmp_path).as_posix())
    job = replace(
        local,
        training_data=f"gs://{bucket_name}/data/pretraining_data",
        heldout_data=f"gs://{bucket_name}/data/heldout/",
        vocab_file=f"gs://{bucket_name}/data/vocab.txt",
        publish_to=f"gs://{bucket_name}/models/small/",
        cache=str(tmp_path / "cache"),
    )
    train(job)
    export(job)
    published = Bucket(str(job.publish_to)).list()
    files = [path for path in Path(job.output).rglob("*") if path.is_file() and path.name != ".lock"]
    assert sorted(published) == sorted(path.relative_to(job.output).as_posix() for path in files)
    for path in files:
        assert same(published[path.relative_to(job.output).as_posix()], checksums(path)), path
    weights = checksums(Output(job).checkpoints / "checkpoint-12.safetensors")
    history = Output(job).history.read_text().splitlines()

    # The machine is lost, and with it everything; the last checkpoint never reached the bucket.
    shutil.rmtree(job.output)
    shutil.rmtree(str(job.cache))
    for name in published:
        if "-12" in name or name in ("manifest.json", "progress.json") or name.startswith("export/"):
            Bucket(str(job.publish_to)).delete(name)
    train(job)
    assert checksums(Output(job).checkpoints / "checkpoint-12.safetensors") == weights
    assert Output(job).history.read_text().splitlines()[:8] == history[:8]
    assert len(Output(job).history.read_text().splitlines()) == 12
    assert sorted(Bucket(str(job.publish_to)).list("bert_model/checkpoint")) == [
        f"bert_model/checkpoint-{step}.{kind}" for step in (12, 4, 8) for kind in ("json", "safetensors")
    ]


def test_shards_are_staged_once_and_again_when_they_change(bucket_name: str, tmp_path: Path) -> None:
    bucket = Bucket(f"gs://{bucket_name}/data/")
    file = tmp_path / "shard"
    file.write_bytes(b"one")
    bucket.upload(file, "shard_0000.tfrecord")
    bucket.upload(file, "shard_0000.json")
    bucket.upload(file, "below/shard_0001.tfrecord")
    shards = Shards(f"gs://{bucket_name}/data", tmp_path / "cache")
    assert shards.names == ["shard_0000.tfrecord"]
    path = shards.path("shard_0000.tfrecord")
    first = path.stat().st_mtime_ns
    assert shards.path("shard_0000.tfrecord").stat().st_mtime_ns == first
    file.write_bytes(b"two")
    bucket.upload(file, "shard_0000.tfrecord")
    again = Shards(f"gs://{bucket_name}/data", tmp_path / "cache").path("shard_0000.tfrecord")
    assert again.read_bytes() == b"two"
    again.write_bytes(b"a file of another program")
    with pytest.raises(InputError, match="not made by qarib"):
        Shards(f"gs://{bucket_name}/data", tmp_path / "cache").path("shard_0000.tfrecord")
    assert again.read_bytes() == b"a file of another program"


def test_what_is_not_there_is_named(bucket_name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gs://.*/nowhere.txt: no such object"):
        open_address(f"gs://{bucket_name}/nowhere.txt", tmp_path)
    with pytest.raises(InputError, match="Convert the shards first"):
        Shards(f"gs://{bucket_name}/nowhere", tmp_path)

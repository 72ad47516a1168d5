"""Where the files of a run are: people and other programs have these paths written down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.layout import MAX_NAME, DatasetLayout, ModelLayout, label_value

WORKSPACE = Path("/w")


def test_the_files_of_a_dataset() -> None:
    dataset = DatasetLayout(WORKSPACE, "demo-0", UploadConfig())
    files = [dataset.manifest, dataset.data, dataset.heldout_data, dataset.vocab, dataset.config]
    assert [path.relative_to(WORKSPACE / dataset.name).as_posix() for path in files] == [
        "manifest.json", "data.txt", "heldout/data.txt", "vocab.txt", "config.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["shards/shard_0000", "heldout/shards/shard_0007"])
def test_a_shard_and_its_examples_are_in_the_same_part(name: str) -> None:
    dataset = DatasetLayout(WORKSPACE, "demo-0", UploadConfig())
    held_out = name.startswith("heldout/")
    assert dataset.shard(name).parent == dataset.shards(dataset.heldout_data if held_out else dataset.data)
    folder = dataset.heldout_training_data if held_out else dataset.training_data
    assert dataset.tfrecord(name) == folder / f"{name[-10:]}.tfrecord"
    assert dataset.root / dataset.tfrecord_name(name) == dataset.tfrecord(name)


def test_the_files_of_a_model() -> None:
    model = ModelLayout.of(WORKSPACE, "demo-1", UploadConfig())
    files = [model.manifest, model.config, model.progress, model.export]
    assert [path.relative_to(WORKSPACE / model.name).as_posix() for path in files] == [
        "manifest.json", "config.yaml", "progress.json", "export",
    ]  # fmt: skip


def test_labels_hold_any_text_and_two_texts_have_two_labels() -> None:
    assert label_value("manual__1") == "manual__1"
    texts = ["a" * 200, "a" * 201, "Run 1", "run 1", "run-1", "نص", "scheduled__2026-01-01T00:00:00+00:00"]
    labels = [label_value(text) for text in texts]
    assert len(set(labels)) == len(texts)
    assert all(re.fullmatch(rf"[a-z0-9_-]{{1,{MAX_NAME}}}", label) for label in labels)

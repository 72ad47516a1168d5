"""A damaged JSON record of a dataset: its step is done again, or the error names the file and what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.errors import QaribError
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import request
from tests.support.records.damage import damaged_json
from tests.support.strangers import text

# What no step can make again.
KEPT = {"ledger"}
RECORDS = {
    "ledger": "sources.json",
    "plan": "{dataset}/sources.json",
    "dataset": "{dataset}/manifest.json",
    "corpus": "{dataset}/data.txt.manifest.json",
    "vocabulary": "{dataset}/vocab.txt.manifest.json",
    "shards": "{dataset}/shards.manifest.json",
    "held-out shards": "{dataset}/heldout/shards.manifest.json",
    "shard": "{dataset}/pretraining_data/shard_0000.tfrecord.manifest.json",
    "model": "{dataset}/bert_config.json",
}
DAMAGES = {
    "all": ("beginning", "half", "not UTF-8"),
    "ledger": ("files: number", "files: other entries", "files.0.bytes: text", "format: text"),
    "plan": ("files: number", "files: other entries", "files.0.bytes: text", "files.0.source: removed"),
    "dataset": (
        *("statistics: list", "statistics.examples: text", "statistics.examples: removed"),
        *("config.collect: removed", "outputs: other entries", "statistics.missing_shards: number"),
    ),
    "corpus": ("statistics.changed: list", "statistics: empty", "outputs: empty", "inputs: removed"),
    "vocabulary": ("outputs: empty", "config: number", "kind: other text"),
    "shards": ("outputs: removed", "outputs: empty", "statistics: number"),
    "held-out shards": ("outputs: removed", "outputs: empty"),
    "shard": (
        *("statistics.examples: huge", "statistics.next_sentence_shares: number", "outputs: empty"),
        *("statistics.next_sentence_shares.random: text", "statistics.next_sentence_shares: removed"),
    ),
    "model": ("max_position_embeddings: text", "vocab_size: huge"),
}
CASES = [
    (record, damage)
    for record in RECORDS
    for damage in (*(DAMAGES["all"] if record != "model" else ()), *DAMAGES.get(record, ()))
]


def run_in(folder: Path) -> Run:
    source = folder / "a.txt"
    collect = {"heldout_share": 0.3, "sources": [{"name": "a", "path": str(source)}]}
    vocab = {"vocab_size": 400, "placeholders": 8}
    return request(folder, source, collect=collect, vocab=vocab, split={"shard_lines": 60})


def all_steps(folder: Path) -> Manifest:
    """As `qarib run`, as far as the dataset."""
    run = run_in(folder)
    pipeline.warn_of_settings(run)
    pipeline.make_dataset(run)
    manifest = finish_dataset(run)
    pipeline.record_sources(run)
    pipeline.losses_of(run)
    return manifest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("made")
    lines = text().splitlines(keepends=True)
    documents = ("".join(lines[start : start + 6]) for start in range(0, len(lines), 6))
    (folder / "a.txt").write_text("\n".join(documents), encoding="utf-8")
    manifest = all_steps(folder)
    shutil.copytree(folder / "work", folder / "good")
    return folder, manifest


@pytest.fixture
def folder(made: tuple[Path, Manifest]) -> Path:
    """The folder of the complete dataset, as it was when it was made."""
    whole, _ = made
    shutil.rmtree(whole / "work")
    shutil.copytree(whole / "good", whole / "work")
    return whole


def path_of(folder: Path, record: str) -> Path:
    (dataset,) = (folder / "work" / "datasets").iterdir()
    return folder / "work" / RECORDS[record].format(dataset=f"datasets/{dataset.name}")


def result(manifest: Manifest) -> Any:
    return manifest.config, manifest.inputs, manifest.outputs, manifest.statistics


@pytest.mark.parametrize(("record", "damage"), CASES)
def test_the_dataset_is_as_before_or_the_error_names_the_file(
    made: tuple[Path, Manifest], folder: Path, record: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = path_of(folder, record)
    damaged = damaged_json(path.read_bytes())[damage]
    path.write_bytes(damaged)
    if record in KEPT:
        with pytest.raises(QaribError) as error:
            all_steps(folder)
        assert str(path) in str(error.value)
        assert error.value.do
        assert path.read_bytes() == damaged
        return
    manifest = all_steps(folder)
    assert result(manifest) == result(made[1])
    kept = [each for each in path.parent.glob(f"{path.name}.*-1") if each.read_bytes() == damaged]
    said = [line for line in caplog.messages if line.startswith(f"{path}: ")]
    assert len(kept) == len(said) <= 1
    # What is still a record that can be read, with other values, is written again without a word.
    if damage in DAMAGES["all"] or "number" in damage:
        assert kept
        assert kept[0].name in said[0]


@pytest.mark.parametrize("record", [record for record in RECORDS if record != "model"])
def test_a_folder_in_its_place_is_an_error_that_names_it(folder: Path, record: str) -> None:
    path = path_of(folder, record)
    path.unlink()
    (path / "notes").mkdir(parents=True)
    with pytest.raises(QaribError) as error:
        all_steps(folder)
    assert str(path) in str(error.value)
    assert error.value.do
    assert (path / "notes").is_dir()


def test_a_damaged_record_is_kept_once(folder: Path) -> None:
    path = path_of(folder, "dataset")
    for _ in range(2):
        path.write_bytes(b'{\n "config":')
        all_steps(folder)
    names = [name for name in os.listdir(path.parent) if name.startswith(f"{path.name}.")]
    assert names == [f"{path.name}.damaged-1"]

"""What the steps make of each other's files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.identity import recorded_settings
from qarib_tasks.errors import InputError
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.datasets import convert_all, request


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    run = request(tmp_path_factory.mktemp("converted"))
    return run, convert_all(run)


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


def test_a_packed_dataset_is_evaluated_on_pairs(tmp_path: Path) -> None:
    convert = {"dupe_factor": 1, "format": "packed"}
    run = request(tmp_path, convert=convert, train={"next_sentence": False, "masking": "dynamic"})
    assert run.dataset_id != request(tmp_path).dataset_id
    names = convert_all(run)
    manifest = finish_dataset(run)
    made = [Manifest.read(manifest_of(run.dataset.tfrecord(name))) for name in names]
    assert [one.config.get("format") for one in made] == ["packed"] * (len(names) - 1) + [None]
    assert made[-1].config == recorded_settings(ConvertConfig(random_seed_per_shard=True))
    assert manifest.config["convert"]["format"] == "packed"
    assert training_job(run).data_format == "packed"
    assert "random_next_share" not in manifest.statistics
    rows = sum(one.statistics["examples"] for one in made[:-1])
    full = sum(one.statistics["examples"] * one.statistics["packing_efficiency"] for one in made[:-1])
    assert manifest.statistics["packing_efficiency"] == pytest.approx(full / rows, abs=1e-4)


def test_what_the_corpus_lost_is_in_the_log_of_collect_also_when_it_is_complete(
    converted: tuple[Run, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = converted
    lines = pipeline.losses_of(run)
    assert lines
    with caplog.at_level("INFO", logger="qarib_tasks.pipeline"):
        pipeline.collect(run)
    assert [
        record.getMessage() for record in caplog.records if record.name == "qarib_tasks.pipeline"
    ] == lines


def test_settings_far_outside_what_worked_elsewhere_are_warned_of(
    converted: tuple[Run, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = converted
    pipeline.warn_of_settings(run)
    assert not caplog.text
    finish_dataset(run)
    manifest = run.dataset.manifest
    text = manifest.read_text(encoding="utf-8")
    try:
        values = json.loads(text)
        values["statistics"]["random_next_share"] = 0.99
        manifest.write_text(json.dumps(values), encoding="utf-8")
        train = replace(run.config.train, learning_rate=1e-9)
        pipeline.warn_of_settings(replace(run, config=replace(run.config, train=train)))
    finally:
        manifest.write_text(text, encoding="utf-8")
    assert "train.learning_rate 1e-09 is far below" in caplog.text
    assert "99.0% of the training examples have a random second part" in caplog.text


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

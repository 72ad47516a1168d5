"""A model of a vocabulary with empty and repeated lines: a row per line, and the reference's ids."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.loop import train
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.fill_mask import FillMask
from qarib_tasks.vocabulary.file import ids_of
from tests.support.training_examples import TOKENS, make_job

# w1 and [MASK] have the ids of their last lines.
LINES = [*TOKENS[:20], "", *TOKENS[20:], "w1", "[MASK]", ""]
TEXT = "".join(line + "\n" for line in LINES)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(tmp_path_factory.mktemp("vocabulary"), train_steps=4)
    Path(job.vocab_file).write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    train(job)
    export(job)
    return job


def test_ids_are_line_numbers_and_the_last_line_counts(job: TrainingJob) -> None:
    vocabulary = Vocabulary.read(job, Output(job))
    assert len(vocabulary) == len(LINES) == 68
    assert [vocabulary.id(token) for token in ("[PAD]", "[SEP]", "w1", "[MASK]", "")] == [0, 3, 65, 66, 67]


def test_the_export_has_a_row_per_line_and_the_same_lines(job: TrainingJob) -> None:
    folder = Output(job).export
    assert (folder / "vocab.txt").read_text() == TEXT
    for name in ("config.json", "bert_config.json"):
        assert json.loads((folder / name).read_text())["vocab_size"] == len(LINES)
    weights = load_file(folder / "model.safetensors")
    assert weights["bert.embeddings.word_embeddings.weight"].shape[0] == len(LINES)
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"] == ids_of(LINES)


def test_each_word_is_predicted_once_and_no_empty_one(job: TrainingJob) -> None:
    fill = FillMask(Output(job).export)
    assert fill.sentences.encode("w1 [MASK] w2") == ([2, 65, 66, 7, 3], [2])
    words = [guess.word for guess in fill(["w1 [MASK] w2"], count=1000)[0][0]]
    assert sorted(words) == sorted(TOKENS[5:])


def test_another_training_continues_it_and_compares_every_line(job: TrainingJob, tmp_path: Path) -> None:
    further = replace(
        job,
        output=str(tmp_path / "further"),
        train=replace(job.train, start_from=str(Output(job).export), train_steps=1, num_warmup_steps=0),
    )
    train(further)
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("".join(line + "\n" for line in LINES if line))
    other = replace(further, vocab_file=str(vocab), output=str(tmp_path / "other"))
    with pytest.raises(ConfigError, match="different vocabulary: line 21 is '', yours has 'w15'"):
        train(other)


@pytest.mark.parametrize("part", ["training_data", "heldout_data"])
def test_examples_of_another_vocabulary_end_the_training(job: TrainingJob, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(getattr(job, part), folder)
    shard = min(folder.glob("*.tfrecord"))
    other = tmp_path / "other.txt"
    other.write_text(TEXT)
    inputs = [FileRecord.of(shard, "shard_0000"), FileRecord.of(other)]
    Manifest(kind="shard", id="shard_0000", inputs=inputs).write(manifest_of(shard))
    values = {part: str(folder), "output": str(tmp_path / "further")}
    with pytest.raises(ConfigError, match=rf"{shard.name}: was converted with a different vocabulary"):
        train(replace(job, **values))
    if part == "heldout_data":  # With earlier data, it is that of the first dataset.
        train(replace(job, **values, earlier_data=(_earlier(tmp_path, shard),)))


def _earlier(folder: Path, shard: Path) -> str:
    (folder / "earlier").mkdir()
    shutil.copy(shard, folder / "earlier" / "shard_0009.tfrecord")
    return str(folder / "earlier")

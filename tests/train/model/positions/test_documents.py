"""The documents of a packed row are computed as if each had a row of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.errors import ConfigError
from qarib_tasks.train.loop import train
from qarib_tasks.train.model.positions.documents import kept_apart
from tests.support.training_examples import make_job
from tests.support.training_steps import check_packed, packed_and_alone, packed_figures, packed_job


@pytest.mark.parametrize("xla", [False, True])
def test_the_loss_is_that_of_one_document_per_row(tmp_path: Path, xla: bool) -> None:
    """`test_steps.py` does the same on JAX."""
    job = packed_job(tmp_path)
    check_packed(packed_figures(replace(job, train=replace(job.train, xla=xla))))


def test_the_rows_are_made_as_described() -> None:
    packed, alone = packed_and_alone()
    assert packed["documents"].max() == 4
    assert packed["documents"].min() == 0
    assert len(alone["input_ids"]) == (np.diff(packed["documents"], prepend=0) > 0).sum()
    assert (
        np.sort(packed["input_ids"].ravel())[-100:].tolist()
        == np.sort(alone["input_ids"].ravel())[-100:].tolist()
    )


def test_positions_begin_again_with_each_document() -> None:
    allowed, positions = map(np.asarray, kept_apart(np.array([[1, 1, 1, 2, 3, 3, 0, 0]], np.int32)))
    assert positions.tolist() == [[0, 1, 2, 0, 0, 1, 0, 1]]
    assert allowed[0].astype(int).tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
    ]


def test_a_training_on_packed_data(tmp_path: Path) -> None:
    """From text to a model: the documents are packed, and masks are drawn in each step."""
    job = make_job(tmp_path, next_sentence=False, masking="dynamic", masked_lm_prob=0.3)
    shard, folder = tmp_path / "shard", tmp_path / "packed"
    texts = [" ".join(f"w{(n + i) % 59}" for i in range(3 + n % 5)) for n in range(200)]
    shard.write_text("\n\n".join(texts), encoding="utf-8")
    folder.mkdir()
    config = ConvertConfig(format="packed", max_seq_length=16, max_predictions_per_seq=6)
    convert_shard(shard, Path(job.vocab_file), folder / "shard.tfrecord", config)
    job = replace(job, data_format="packed", training_data=str(folder))
    train(job)
    progress = json.loads((Path(job.output) / "progress.json").read_text())
    assert progress["step"] == 12
    assert 0 < progress["masked_lm_loss"] < 2 * np.log(64)
    other = replace(job, output=str(tmp_path / "other"))
    for wrong in ({"data_format": "pairs"}, {"heldout_data": job.training_data}):
        with pytest.raises(ConfigError, match="was converted in the format packed, but pairs is read here"):
            train(replace(other, **wrong))


def test_packed_data_have_neither_masks_nor_next_sentences(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"next_sentence must be false for packed data.*no masks\. Set train"
    ):
        train(replace(make_job(tmp_path), data_format="packed"))

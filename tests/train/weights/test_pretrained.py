"""Weights that cannot be used: values that are not finite, and other architectures."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.train.weights.pretrained import pretrained_weights
from tests.support.training_examples import make_job

KEYS = (
    "bert.embeddings.word_embeddings.weight",
    "bert.encoder.layer.0.output.dense.weight",
    "cls.predictions.bias",
)
SHAPES = {
    "bert/embeddings/word_embeddings": (2, 2),
    "bert/encoder/layer_0/output/dense/kernel": (2, 2),
    "cls/predictions/output_bias": (2, 2),
}
GOOD = {key: np.full((2, 2), number, np.float32) for number, key in enumerate(KEYS)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    job = make_job(tmp_path / "job", examples=(1,))
    (tmp_path / "model").mkdir()
    shutil.copy(job.vocab_file, tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path, start_from: str = "") -> dict[str, np.ndarray]:
    places = {name: str(folder.parent / "job") for name in ("training_data", "heldout_data", "output")}
    job = TrainingJob(**places, vocab_file=str(folder / "vocab.txt"))
    job = replace(job, train=replace(job.train, start_from=start_from or str(folder)))
    return pretrained_weights(job, Output(job), Vocabulary.read(job, Output(job)), SHAPES)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_values_that_are_not_finite(folder: Path, value: float, kind: type) -> None:
    """They gave a model whose first step ended with `Lower the learning rate`."""
    weights = {key: array.astype(kind) for key, array in GOOD.items()}
    save_file(weights, folder / "model.safetensors")
    assert load(folder).keys() == SHAPES.keys()
    for key in KEYS[1:]:
        weights[key][1, 0] = value
    save_file(weights, folder / "model.safetensors")
    name = "bert/encoder/layer_0/output/dense/kernel"
    with pytest.raises(
        CorruptError, match=rf"model/model\.safetensors: {name} has values that are not finite"
    ):
        load(folder)


def test_the_shard_with_such_values_is_named(folder: Path) -> None:
    names = {key: f"model-0000{1 + (key == KEYS[1])}-of-00002.safetensors" for key in KEYS}
    for name in set(names.values()):
        save_file(
            {key: GOOD[key] * np.nan if key == KEYS[1] else GOOD[key] for key in KEYS if names[key] == name},
            folder / name,
        )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(CorruptError, match=r"model/model-00002-of-00002\.safetensors: bert/encoder/layer_0"):
        load(folder)


def test_tensors_that_the_model_has_not_can_hold_anything(folder: Path) -> None:
    save_file({**GOOD, "classifier.weight": np.full(3, np.nan, np.float32)}, folder / "model.safetensors")
    assert load(folder).keys() == SHAPES.keys()


@pytest.mark.parametrize("prefix", ["roberta", "distilbert", "electra", "albert", "transformer", "model"])
@pytest.mark.parametrize("config", [None, "bert", "other"])
def test_another_architecture(folder: Path, prefix: str, config: str | None) -> None:
    """There was a list of variables that are missing, and the advice to set the settings of `model`."""
    save_file(
        {key.replace("bert.", f"{prefix}."): value for key, value in GOOD.items()},
        folder / "model.safetensors",
    )
    if config:
        (folder / "config.json").write_text(json.dumps({"model_type": config}))
    sign = (
        "config.json has the model_type 'other'"
        if config == "other"
        else f"begin with {prefix}, not with bert"
    )
    with pytest.raises(ConfigError, match=f"model: is not a BERT: .*{sign}. Give the weights of a BERT"):
        load(folder)


def test_another_architecture_whose_names_have_no_prefix(folder: Path) -> None:
    bare = {key.removeprefix("bert."): value for key, value in GOOD.items()}
    save_file(
        {**bare, "embeddings.word_embeddings.weight": np.zeros((3, 2), np.float32)},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(ConfigError, match="is not a BERT"):
        load(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"has the shape \[3, 2\]"):
        load(folder)
    save_file(bare, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "electra"}')  # with these names and shapes, it fits
    assert load(folder).keys() == SHAPES.keys()

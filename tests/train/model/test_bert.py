"""The model: its variables' names, its initial weights, its losses.

Covers qarib_tasks/train/model/batch.py, qarib_tasks/train/model/dropout.py,
qarib_tasks/train/model/losses.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.train.data.batches import Parser, heldout_examples
from qarib_tasks.train.data.shards import Shards
from qarib_tasks.train.model.batch import Batch, padded
from qarib_tasks.train.model.bert import (
    PretrainingBert,
    build_model,
    initial_values,
    truncated_normal,
)
from qarib_tasks.train.model.dropout import Dropout, random_bits
from qarib_tasks.train.model.losses import counts, losses
from tests.support.training_examples import make_job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def model(folder: Path) -> PretrainingBert:
    return build_model(make_job(folder), 64)


@pytest.fixture(scope="module")
def batch(folder: Path) -> Batch:
    job = make_job(folder)
    return Parser(job, 64)(heldout_examples(Shards(job.heldout_data, folder), 6))


def test_variables_have_the_names_and_shapes_of_the_reference(model: PretrainingBert) -> None:
    shapes = {name: tuple(variable.shape) for name, variable in model.named_variables().items()}
    layer = "bert/encoder/layer_0"
    expected = {
        "bert/embeddings/word_embeddings": (64, 16),
        "bert/embeddings/token_type_embeddings": (2, 16),
        "bert/embeddings/position_embeddings": (32, 16),
        "bert/embeddings/LayerNorm/beta": (16,),
        f"{layer}/attention/self/query/kernel": (16, 16),
        f"{layer}/attention/output/LayerNorm/gamma": (16,),
        f"{layer}/intermediate/dense/kernel": (16, 32),
        f"{layer}/output/dense/kernel": (32, 16),
        "bert/pooler/dense/bias": (16,),
        "cls/predictions/transform/dense/kernel": (16, 16),
        "cls/predictions/transform/LayerNorm/beta": (16,),
        "cls/predictions/output_bias": (64,),
        "cls/seq_relationship/output_weights": (2, 16),
        "cls/seq_relationship/output_bias": (2,),
    }
    assert expected.items() <= shapes.items()
    assert len(shapes) == 5 + 16 + 2 + 5 + 2


def test_every_weight_of_the_model_is_named(model: PretrainingBert) -> None:
    named = {id(variable) for variable in model.named_variables().values()}
    assert {id(variable) for variable in model.trainable_variables} == named


def test_initial_weights_are_bert_s_and_come_from_the_seed() -> None:
    shapes = {"a/kernel": (300, 200), "a/bias": (5,), "a/LayerNorm/gamma": (5,), "a/LayerNorm/beta": (5,)}
    config = ModelConfig()
    values = initial_values(shapes, config, 1)
    kernel = values["a/kernel"]
    assert kernel.dtype == np.float32
    assert np.abs(kernel).max() <= 0.04
    # Of a normal distribution cut at two standard deviations.
    assert kernel.std() == pytest.approx(0.02 * 0.8796, rel=0.01)
    assert values["a/LayerNorm/gamma"].tolist() == [1] * 5
    assert values["a/bias"].tolist() == values["a/LayerNorm/beta"].tolist() == [0] * 5
    np.testing.assert_array_equal(kernel, initial_values(shapes, config, 1)["a/kernel"])
    assert (kernel != initial_values(shapes, config, 2)["a/kernel"]).any()
    assert np.abs(truncated_normal(np.random.default_rng(0), (1000,))).max() <= 2


def test_loss_without_knowledge_is_that_of_chance(model: PretrainingBert, batch: Batch) -> None:
    result = losses(model(batch), batch)
    assert float(result["masked_lm_loss"]) == pytest.approx(np.log(64), rel=0.02)
    assert float(result["next_sentence_loss"]) == pytest.approx(np.log(2), rel=0.05)
    assert float(result["loss"]) == pytest.approx(
        float(result["masked_lm_loss"]) + float(result["next_sentence_loss"])
    )


def test_places_without_a_prediction_change_no_loss(model: PretrainingBert, batch: Batch) -> None:
    more = dict(batch)
    for name in ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"):
        more[name] = np.pad(batch[name], ((0, 0), (0, 4)))
    assert float(losses(model(more), more)["loss"]) == pytest.approx(
        float(losses(model(batch), batch)["loss"]), rel=1e-6
    )


def test_what_stands_behind_the_sequence_changes_nothing(model: PretrainingBert, batch: Batch) -> None:
    noise = batch | {"input_ids": np.where(batch["input_mask"] > 0, batch["input_ids"], 50).astype(np.int32)}
    assert (noise["input_ids"] != batch["input_ids"]).any()
    for name, value in model(batch).items():
        np.testing.assert_allclose(np.asarray(model(noise)[name]), np.asarray(value), atol=1e-5)


def test_padding_examples_are_not_counted(model: PretrainingBert, batch: Batch) -> None:
    full = padded(batch, 9)
    for name, value in counts(model(batch), batch).items():
        assert float(counts(model(full), full)[name]) == pytest.approx(float(value), rel=1e-5), name


def test_dropout_acts_in_training_only_and_follows_the_generator(
    model: PretrainingBert, batch: Batch
) -> None:
    def logits(training: bool, state: tuple[int, int]) -> np.ndarray:
        model.generator.state.assign(np.array(state))
        return np.asarray(model(batch, training=training)["masked_lm"])

    np.testing.assert_array_equal(logits(True, (1, 0)), logits(True, (1, 0)))
    assert (logits(True, (1, 0)) != logits(True, (1, 256))).any()
    np.testing.assert_array_equal(logits(False, (1, 0)), logits(False, (1, 256)))


def test_random_bits_are_uniform_and_differ_by_place_seed_and_draw() -> None:
    def bits(seed: int, draw: int, shape: tuple[int, ...] = (64, 4, 32, 32)) -> np.ndarray:
        return np.asarray(random_bits(shape, np.array([seed, draw])))

    one = bits(34, 0)
    assert one.dtype == np.uint32
    assert len(np.unique(one)) == one.size  # a permutation of the places
    for bit in range(32):
        assert (one >> bit & 1).mean() == pytest.approx(0.5, abs=0.005)
    np.testing.assert_array_equal(one, bits(34, 0))
    dropped = (one < 0.1 * 2**32).astype(float).ravel()
    assert dropped.mean() == pytest.approx(0.1, abs=0.003)
    for other in (bits(34, 1), bits(35, 0), bits(34, 256), bits(1, 34)):
        also = (other < 0.1 * 2**32).astype(float).ravel()
        assert abs(np.corrcoef(dropped, also)[0, 1]) < 0.01
    for lag in (1, 2, 32, 1024, 4096):
        assert abs(np.corrcoef(dropped[:-lag], dropped[lag:])[0, 1]) < 0.01


def test_dropout_keeps_the_mean(model: PretrainingBert) -> None:
    model.generator.state.assign(np.array([1, 0]))
    dropout = Dropout(0.25, model.generator, "float32")
    out = np.asarray(dropout(np.ones((100, 1000), np.float32), training=True))
    assert out.mean() == pytest.approx(1, abs=0.01)
    assert set(np.unique(out)) == {0, np.float32(1 / 0.75)}


def test_next_sentence_prediction_can_be_left_out(folder: Path, batch: Batch) -> None:
    model = build_model(make_job(folder, next_sentence=False), 64)
    assert not any("pooler" in name or "seq_relationship" in name for name in model.named_variables())
    result = losses(model(batch), batch)
    assert set(result) == {"loss", "masked_lm_loss"}

"""The classifier: its layers, its initial values, and its loss.

Covers qarib_tasks/train/model/trained.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.model.bert import build_model
from qarib_tasks.train.model.classifier import Classifier, build_classifier
from tests.support.training_examples import TOKENS, make_job

SIZE = len(TOKENS)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(tmp_path_factory.mktemp("classifier"), examples=(1,))
    return replace(job, model=replace(job.model, hidden_dropout_prob=0.5))


@pytest.fixture(scope="module")
def weights(job: TrainingJob) -> dict[str, np.ndarray]:
    """Of a pre-trained model, with heads."""
    return {name: np.asarray(v) + 0.01 for name, v in build_model(job, SIZE).named_variables().items()}


def batch(count: int = 3) -> dict[str, Any]:
    ids = np.random.default_rng(1).integers(5, SIZE, (count, 8)).astype(np.int32)
    ids[:, 0] = 2
    labels = np.arange(count, dtype=np.int32) % 3
    return {
        "input_ids": ids,
        "input_mask": np.ones_like(ids),
        "segment_ids": 0 * ids,
        "labels": labels,
        "real": np.ones(count, np.int32),
    }


def classifier(job: TrainingJob, weights: dict[str, np.ndarray], seed: int = 1) -> Classifier:
    model = build_classifier(job.model, SIZE, 3)
    variables = model.named_variables()
    start = model.starting_weights(job.model, weights, seed)
    assert start.keys() == variables.keys()
    for name, value in start.items():
        variables[name].assign(value)
    return model


def test_logits_are_a_linear_layer_on_the_pooled_first_wordpiece(
    job: TrainingJob, weights: dict[str, np.ndarray]
) -> None:
    model, given = classifier(job, weights), batch()
    hidden = np.asarray(model.bert.encode(given))[:, 0]
    pooled = np.tanh(hidden @ weights["bert/pooler/dense/kernel"] + weights["bert/pooler/dense/bias"])
    expected = pooled @ np.asarray(model.output_weights).T + np.asarray(model.output_bias)
    np.testing.assert_allclose(np.asarray(model.vectors(given)), expected, atol=1e-5)
    assert np.abs(np.asarray(model(given, training=True)) - expected).max() > 1e-3


def test_only_the_encoder_and_the_pooler_are_the_pre_trained_ones(
    job: TrainingJob, weights: dict[str, np.ndarray]
) -> None:
    values = {name: np.asarray(v) for name, v in classifier(job, weights).named_variables().items()}
    assert [name for name in values if not name.startswith("bert/")] == ["output_weights", "output_bias"]
    assert {name for name in values if name.startswith("bert/")} == {
        name for name in weights if name.startswith("bert/")
    }
    for name in values:
        if name.startswith("bert/"):
            np.testing.assert_array_equal(values[name], weights[name])
    assert not values["output_bias"].any()
    assert 0 < np.abs(values["output_weights"]).max() <= 2 * job.model.initializer_range
    other = classifier(job, weights, seed=2).named_variables()
    assert not np.array_equal(np.asarray(other["output_weights"]), values["output_weights"])


def test_a_pooler_that_is_missing_is_drawn_by_the_seed(
    job: TrainingJob, weights: dict[str, np.ndarray]
) -> None:
    bare = {name: value for name, value in weights.items() if "pooler" not in name}
    name = "bert/pooler/dense/kernel"
    kernels = [np.asarray(classifier(job, bare, seed).named_variables()[name]) for seed in (1, 2, 1)]
    assert not np.array_equal(kernels[0], kernels[1])
    np.testing.assert_array_equal(kernels[0], kernels[2])
    assert 0 < np.abs(kernels[0]).max() <= 2 * job.model.initializer_range


def test_the_loss_is_the_mean_over_real_texts(job: TrainingJob, weights: dict[str, np.ndarray]) -> None:
    model, given = classifier(job, weights), batch()
    logits = np.asarray(model(given), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = -np.log(shares[np.arange(3), given["labels"]])
    assert float(model.losses_of(model(given), given)["loss"]) == pytest.approx(each.mean(), rel=1e-5)
    given["real"][2] = 0
    assert float(model.losses_of(model(given), given)["loss"]) == pytest.approx(each[:2].mean(), rel=1e-5)
    counts = {name: float(value) for name, value in model.counts_of(model(given), given).items()}
    right = logits[:2].argmax(axis=1) == given["labels"][:2]
    assert counts == pytest.approx(
        {"examples": 2, "right_examples": right.sum(), "loss_sum": each[:2].sum()}, rel=1e-5
    )
    given["real"][:] = 0
    assert float(model.losses_of(model(given), given)["loss"]) == 0

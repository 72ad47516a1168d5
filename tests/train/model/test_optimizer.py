"""BERT's optimizer and schedule, against the formulas written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.train.model import optimizer


@pytest.mark.parametrize(
    ("step", "rate"),
    # The falling line begins at step 0: at the end of the warm-up it is below the peak already.
    [(0, 0.0), (1, 0.1), (9, 0.9), (10, 0.9), (50, 0.5), (99, 0.01), (100, 0.0), (101, 0.0)],
)
def test_rate_rises_from_0_then_falls_to_0(step: int, rate: float) -> None:
    value = optimizer.learning_rate_at(step, TrainConfig(train_steps=100, num_warmup_steps=10), peak=1.0)
    assert float(value) == pytest.approx(rate, abs=1e-6)


def test_rate_without_warm_up_starts_at_the_peak() -> None:
    config = TrainConfig(train_steps=10, num_warmup_steps=0)
    assert float(optimizer.learning_rate_at(0, config, peak=0.5)) == 0.5


@pytest.mark.parametrize(
    ("share", "settings", "rates"),
    [
        (0.1, {}, {5: 0.25, 10: 0.45, 100: 0.0}),
        (0.2, {"schedule": "cosine"}, {10: 0.25, 20: 0.5, 40: 0.4267767, 60: 0.25, 100: 0.0, 101: 0.0}),
        (0.2, {"schedule": "cosine", "decay_floor": 0.1}, {20: 0.5, 60: 0.275, 100: 0.05}),
        (0.1, {"schedule": "wsd"}, {5: 0.25, 10: 0.5, 80: 0.5, 90: 0.25, 100: 0.0, 101: 0.0}),
        (0.0, {"schedule": "wsd", "num_warmup_steps": 0, "decay_share": 1}, {0: 0.5, 50: 0.25, 100: 0.0}),
        (0.1, {"schedule": "wsd", "decay_share": 0.5, "decay_floor": 0.2}, {50: 0.5, 75: 0.3, 100: 0.1}),
    ],
)
def test_schedules_at_named_steps(share: float, settings: dict[str, Any], rates: dict[int, float]) -> None:
    config = TrainConfig(train_steps=100, warmup_share=share, **settings)
    found = {step: float(optimizer.learning_rate_at(step, config, peak=0.5)) for step in rates}
    assert found == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "decayed"),
    [
        ("bert/embeddings/word_embeddings", True),
        ("bert/encoder/layer_0/attention/self/query/kernel", True),
        ("bert/encoder/layer_0/attention/self/query/bias", False),
        ("bert/encoder/layer_0/output/LayerNorm/gamma", False),
        ("bert/encoder/layer_0/output/LayerNorm/beta", False),
        ("cls/predictions/output_bias", False),
        ("cls/seq_relationship/output_weights", True),
    ],
)
def test_decay_spares_biases_and_normalization(name: str, decayed: bool) -> None:
    assert optimizer.is_decayed(name) is decayed


def updates(config: TrainConfig, decayed: bool, **constants: float) -> tuple[list[np.ndarray], np.ndarray]:
    """The results of a few of our updates, and the variable and square average by the formulas."""
    beta_1, beta_2 = constants.get("beta_1", 0.9), constants.get("beta_2", 0.999)
    random = np.random.default_rng(0)
    variable, m, v = random.normal(size=5), np.zeros(5), np.zeros(5)
    ours = [variable.astype(np.float32), m.astype(np.float32), v.astype(np.float32)]
    for step, rate in enumerate((0.1, 0.01, 0.02)):
        gradient = random.normal(size=5).astype(np.float32)
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        # BERT has no bias correction: its first updates are larger than Adam's.
        mean = m / (1 - beta_1 ** (step + 1)) if config.bias_correction else m
        square = v / (1 - beta_2 ** (step + 1)) if config.bias_correction else v
        update = mean / (np.sqrt(square) + constants.get("epsilon", 1e-6))
        decay = constants.get("weight_decay", 0.01) if decayed else 0
        variable = variable - rate * (update + decay * variable)
        given = (ours[0], gradient, *ours[1:], rate, step, config)
        ours = [np.asarray(x) for x in optimizer.adamw(*given, decayed=decayed)]
    return ours, np.stack([variable, m, v])


@pytest.mark.parametrize("decayed", [True, False])
def test_updates_are_those_of_the_formulas(decayed: bool) -> None:
    ours, expected = updates(TrainConfig(), decayed)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "constants",
    [{}, {"beta_1": 0.8}, {"beta_2": 0.98}, {"epsilon": 0.1}, {"weight_decay": 0.5}],
    ids=lambda constants: next(iter(constants), "as BERT"),
)
def test_each_constant_is_a_setting_also_with_bias_correction(constants: dict[str, Any]) -> None:
    config = TrainConfig(bias_correction=True, **constants)
    ours, expected = updates(config, True, **constants)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert not np.allclose(ours[0], updates(TrainConfig(), True)[0][0], rtol=1e-3)


def test_large_gradients_are_scaled_together_small_ones_are_left() -> None:
    gradients = [np.array([3.0, 0.0], np.float32), np.array([[4.0]], np.float32)]
    norm = optimizer.global_norm(gradients)
    assert float(norm) == pytest.approx(5.0)
    clipped = [np.asarray(g) for g in optimizer.clip_by_global_norm(gradients, norm, 1.0)]
    np.testing.assert_allclose(clipped[0], [0.6, 0.0])
    np.testing.assert_allclose(clipped[1], [[0.8]])
    small = [gradient / 10 for gradient in gradients]
    clipped = optimizer.clip_by_global_norm(small, optimizer.global_norm(small), 1.0)
    np.testing.assert_allclose(np.asarray(clipped[0]), small[0])
    np.testing.assert_allclose(np.asarray(optimizer.clip_by_global_norm(gradients, norm, 2.5)[1]), [[2.0]])
    assert optimizer.clip_by_global_norm(gradients, norm, 0) == gradients

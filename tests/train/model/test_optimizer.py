"""BERT's optimizer and schedule, against the formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.train.model import optimizer


@pytest.mark.parametrize(
    ("step", "rate"),
    # The falling line begins at step 0: at the end of the warm-up it is below the peak already.
    [(0, 0.0), (1, 0.1), (9, 0.9), (10, 0.9), (50, 0.5), (99, 0.01), (100, 0.0), (101, 0.0)],
)
def test_rate_rises_from_0_then_falls_to_0(step: int, rate: float) -> None:
    value = optimizer.learning_rate_at(step, peak=1.0, train_steps=100, num_warmup_steps=10)
    assert float(value) == pytest.approx(rate, abs=1e-6)


def test_rate_without_warm_up_starts_at_the_peak() -> None:
    assert float(optimizer.learning_rate_at(0, peak=0.5, train_steps=10, num_warmup_steps=0)) == 0.5


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


@pytest.mark.parametrize("decayed", [True, False])
def test_updates_are_those_of_the_formulas(decayed: bool) -> None:
    random = np.random.default_rng(0)
    variable, m, v = random.normal(size=5), np.zeros(5), np.zeros(5)
    ours = [variable.astype(np.float32), m.astype(np.float32), v.astype(np.float32)]
    for rate in (0.0, 0.01, 0.02):
        gradient = random.normal(size=5).astype(np.float32)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        # No bias correction: the first updates are larger than Adam's.
        variable = variable - rate * (m / (np.sqrt(v) + 1e-6) + (0.01 * variable if decayed else 0))
        ours = [np.asarray(x) for x in optimizer.adamw(*ours[:1], gradient, *ours[1:], rate, decayed=decayed)]
    np.testing.assert_allclose(ours[0], variable, rtol=1e-5)
    np.testing.assert_allclose(ours[2], v, rtol=1e-5)


def test_large_gradients_are_scaled_together_small_ones_are_left() -> None:
    gradients = [np.array([3.0, 0.0], np.float32), np.array([[4.0]], np.float32)]
    norm = optimizer.global_norm(gradients)
    assert float(norm) == pytest.approx(5.0)
    clipped = [np.asarray(g) for g in optimizer.clip_by_global_norm(gradients, norm)]
    np.testing.assert_allclose(clipped[0], [0.6, 0.0])
    np.testing.assert_allclose(clipped[1], [[0.8]])
    small = [gradient / 10 for gradient in gradients]
    clipped = optimizer.clip_by_global_norm(small, optimizer.global_norm(small))
    np.testing.assert_allclose(np.asarray(clipped[0]), small[0])

"""The training step: the same losses on both backends, on one device and on eight, in both precisions.

Covers qarib_tasks/train/model/accumulation.py, qarib_tasks/train/model/steps_jax.py,
qarib_tasks/train/model/steps_tensorflow.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.model.bert import build_model
from tests.support.training_steps import (
    batches,
    changed,
    check_packed,
    figures,
    figures_of,
    in_calls,
    job_of,
    masks,
    restarted,
    steps_of,
    texts,
    with_dropping,
    with_other_optimizer,
)

Figures = list[dict[str, float]]
FLAGS = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(scope="module")
def job(folder: Path) -> TrainingJob:
    return job_of(folder)


@pytest.fixture(scope="module")
def steps(job: TrainingJob) -> Any:
    """Of TensorFlow, compiled once for the tests, which restore a state first."""
    return steps_of(job)


@pytest.fixture(scope="module")
def start(steps: Any) -> dict[str, np.ndarray]:
    return dict(steps.state())


@pytest.fixture(scope="module")
def tensorflow(job: TrainingJob, steps: Any, start: dict[str, np.ndarray]) -> Figures:
    steps.restore(start)
    return figures_of(steps, job)


@pytest.fixture(scope="module")
def continued(job: TrainingJob, folder: Path, steps: Any, start: dict[str, np.ndarray]) -> list[float]:
    """Keeps TensorFlow's state after three steps; gives the losses of the next three."""
    steps.restore(start)
    given = [batch for batch, _ in zip(batches(job), range(6), strict=False)]
    for batch in given[:3]:
        steps.train(batch)
    np.savez(folder / "state.npz", **steps.state())
    return [float(steps.train(batch)["loss"]) for batch in given[3:]]


@pytest.fixture(scope="module")
def dropped(folder: Path) -> tuple[TrainingJob, Figures]:
    """A job with dropout, and TensorFlow's figures of it."""
    job = job_of(folder, dropout=0.1, steps=10)
    return job, figures(job)


@pytest.fixture(scope="module")
def jax(folder: Path, continued: list[float]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.training_steps", str(folder)],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def largest_difference(one: Figures, other: Figures, *names: str) -> float:
    """Relative, over all steps and the figures named."""
    assert len(one) == len(other) >= 10
    pairs = [(a[n], b[n]) for a, b in zip(one, other, strict=True) for n in names if n in a]
    return max(abs(a - b) / abs(b) for a, b in pairs)


LOSSES = ("loss", "masked_lm_loss", "next_sentence_loss", "gradient_norm", "weights")


def test_training_learns(tensorflow: Figures) -> None:
    assert tensorflow[49]["masked_lm_loss"] < tensorflow[0]["masked_lm_loss"] - 0.1


def test_fifty_steps_on_jax_are_those_on_tensorflow(tensorflow: Figures, jax: dict[str, Any]) -> None:
    assert largest_difference(jax["one"], tensorflow, *LOSSES) < 1e-3


def test_eight_devices_compute_what_one_does(jax: dict[str, Any]) -> None:
    assert largest_difference(jax["eight"], jax["one"], *LOSSES) < 1e-4


def test_dropout_is_the_same_on_both_backends(
    dropped: tuple[TrainingJob, Figures], jax: dict[str, Any]
) -> None:
    assert largest_difference(jax["one, dropout"], dropped[1], *LOSSES) < 1e-4


def test_dropout_does_not_depend_on_the_number_of_devices(jax: dict[str, Any]) -> None:
    assert largest_difference(jax["eight, dropout"], jax["one, dropout"], *LOSSES) < 1e-4
    assert jax["one, dropout"][0]["loss"] != jax["one"][0]["loss"]


@pytest.fixture(scope="module")
def whole(folder: Path) -> Figures:
    return figures(with_other_optimizer(folder, 1))


@pytest.mark.parametrize("xla", [True, False])
def test_a_batch_in_parts_is_the_whole_batch(folder: Path, whole: Figures, xla: bool) -> None:
    job = with_other_optimizer(folder, 4)
    parts = figures(replace(job, train=replace(job.train, xla=xla)))
    assert largest_difference(parts, whole, *LOSSES, "predictions", "masked_lm_loss_sum") < 1e-4


def test_a_batch_in_parts_is_the_whole_batch_on_jax(jax: dict[str, Any], whole: Figures) -> None:
    for found in (jax["one, four parts"], jax["eight, two parts"]):
        assert largest_difference(found, whole, *LOSSES, "predictions", "masked_lm_loss_sum") < 1e-4


def test_the_schedule_is_the_same_in_the_compiled_step(jax: dict[str, Any], whole: Figures) -> None:
    rates = [0, 1 / 3, 2 / 3, 1, 1, 1, 1, 0.775, 0.55, 0.325]  # of 10 steps, 3 of warm-up, 4 of decay
    for found in (whole, jax["one, four parts"]):
        assert [each["learning_rate"] for each in found[:-1]] == pytest.approx(
            [1e-3 * rate for rate in rates]
        )


def test_several_steps_in_a_call_are_those_steps(
    dropped: tuple[TrainingJob, Figures], jax: dict[str, Any]
) -> None:
    """Dropout too: its numbers follow from the step."""
    assert largest_difference(jax["several a call"], jax["one, dropout"][:-1], *LOSSES) < 1e-4
    job, expected = dropped
    steps = steps_of(job)
    assert largest_difference(in_calls(steps, job), expected[:-1], *LOSSES) < 1e-4
    assert int(steps.state()["global_step"]) == 10


def test_packed_documents_are_kept_apart_on_jax(jax: dict[str, Any]) -> None:
    """`test_documents.py` does the same on TensorFlow."""
    check_packed(jax["packed"])


def test_a_restarted_step_trains_as_a_new_one(
    dropped: tuple[TrainingJob, Figures], jax: dict[str, Any]
) -> None:
    """With its own seed, rate, weights, and averages."""
    job, first = dropped
    expected = [first[:-1], figures(changed(job))[:-1]]
    assert expected[0] != expected[1]
    for found in (restarted(job, changed(job)), jax["restarted"]):
        for one, other in zip(found, expected, strict=True):
            assert largest_difference(one, other, *LOSSES) < 1e-4
            assert [each["learning_rate"] for each in one] == pytest.approx(
                [each["learning_rate"] for each in other]
            )


def test_masks_that_are_drawn_are_the_same_everywhere(
    folder: Path, tensorflow: Figures, jax: dict[str, Any]
) -> None:
    job = job_of(folder, dropout=0.1, steps=10, masking="dynamic", masked_lm_prob=0.3)
    assert jax["masks"] == masks(job)
    found = figures(job)
    assert largest_difference(jax["one, own masks"], found, *LOSSES) < 1e-4
    assert largest_difference(jax["eight, own masks"], jax["one, own masks"], *LOSSES) < 1e-4
    predictions = [each["predictions"] for each in found[:-1]]
    assert min(predictions) > 1.5 * max(each["predictions"] for each in tensorflow[:10])


def test_token_dropping_is_the_same_everywhere(folder: Path, jax: dict[str, Any]) -> None:
    """On one device and, in parts, on eight."""
    found = figures(with_dropping(folder))
    names = (*LOSSES, "masked_lm_loss_sum", "token_losses")
    assert found[-1]["token_losses"] != 64 * 10
    assert largest_difference(jax["one, dropping"], found, *names) < 1e-4
    assert largest_difference(jax["eight, dropping"], jax["one, dropping"], *names) < 1e-4
    parts = figures(with_dropping(folder, 2, xla=True))
    assert largest_difference(parts, found, *names) < 1e-4
    others = figures(with_dropping(folder, token_dropping=0.0))
    assert largest_difference(others, found, "loss") > 1e-3


def test_an_optimizer_divided_over_devices_computes_the_same(jax: dict[str, Any]) -> None:
    assert largest_difference(jax["eight, sharded"], jax["eight"], *LOSSES) < 1e-4
    assert jax["sharded state"]["same"]
    first, second, weights = jax["sharded state"]["shares"]
    assert max(first, second) < 0.15 < weights == 1


def test_bfloat16_trains_like_float32(job: TrainingJob, tensorflow: Figures, jax: dict[str, Any]) -> None:
    """And keeps weights and optimizer in float32."""
    job = replace(job, train=replace(job.train, precision="bfloat16"))
    steps = steps_of(job)
    for result in (figures_of(steps, job), jax["one, bfloat16"]):
        # Near, and yet not the same: it did compute otherwise.
        assert 1e-7 < largest_difference(result, tensorflow, "loss") < 0.02
    kinds = {name.rpartition("/")[2]: value.dtype for name, value in steps.state().items()}
    assert kinds.pop("global_step") == np.int64
    assert set(kinds.values()) == {np.dtype(np.float32)}


def test_the_precision_auto_is_float32_without_a_tpu(job: TrainingJob) -> None:
    model = build_model(replace(job, train=replace(job.train, precision="auto")), 64)
    assert {layer.compute_dtype for layer in model.encoder} == {"float32"}


def test_a_state_moves_between_backends(jax: dict[str, Any], continued: list[float]) -> None:
    assert jax["same state"]
    np.testing.assert_allclose(jax["from the state"], continued, rtol=1e-5)


def test_a_whole_training_on_eight_devices(jax: dict[str, Any]) -> None:
    progress = jax["progress"]
    assert (progress["state"], progress["step"], progress["evaluation"]["step"]) == ("finished", 6, 6)
    assert (progress["backend"], progress["device_kind"], progress["devices"]) == ("jax", "cpu", 8)
    assert [len(filled["words"]) for filled in progress["evaluation"]["fill_mask"]] == [5] * 5


def test_predictions_are_made_with_the_trained_weights(jax: dict[str, Any]) -> None:
    assert jax["prediction"] < 1e-4


def test_an_evaluation_of_any_size_is_divided(jax: dict[str, Any]) -> None:
    eight, one = jax["evaluation"]
    assert one["sentences"] == 13
    assert eight == pytest.approx(one, rel=1e-5)


def test_embeddings_are_the_mean_over_the_chosen_positions_on_both_backends(
    job: TrainingJob, folder: Path, steps: Any, jax: dict[str, Any]
) -> None:
    steps.restore(dict(np.load(folder / "state.npz")))
    for batch in [batch for batch, _ in zip(batches(job), range(6), strict=False)][3:]:
        steps.train(batch)
    found = steps.embed(texts())
    assert (found.shape, found.dtype) == ((13, 16), np.float32)
    hidden = np.asarray(steps.model.encode(texts()))
    expected = [each[1 : length - 1].mean(axis=0) for each, length in zip(hidden, range(3, 15), strict=False)]
    np.testing.assert_allclose(found[:-1], expected, atol=1e-6)
    assert not found[-1].any()
    for vectors in jax["embeddings"]:
        np.testing.assert_allclose(vectors, found, atol=1e-4)


def test_a_batch_that_cannot_be_divided_is_refused(jax: dict[str, Any]) -> None:
    assert jax["batch of 12"].startswith(
        "train.train_batch_size: a batch of 12 cannot be divided over 8 devices"
    )
    assert jax["four parts on eight"] == (
        "train.train_batch_size: a batch of 16 in 4 parts (accumulation_steps) cannot be divided over 8 "
        "devices. Set train_batch_size to a multiple of 32"
    )

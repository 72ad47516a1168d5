"""A model that has learned word frequencies and nothing else."""

from __future__ import annotations

import pytest

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.train.reporting.plateau import plateau

TRAIN = TrainConfig(num_warmup_steps=50, train_steps=1000)


def at(step: int, loss: float) -> dict[str, float]:
    return {"step": step, "masked_lm_loss": loss, "unigram_entropy": 6.45}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, at(200, 6.5)),
        (at(0, 8.0), at(200, 6.5)),  # the first evaluation after the weights' initial values
        (at(50, 6.5), at(200, 6.5)),  # in the warm-up
        (at(200, 6.5), at(400, 6.3)),
        (at(200, 6.3), at(400, 6.5)),
        (at(400, 6.5), at(400, 6.5)),  # the same step again
    ],
)
def test_a_model_that_learns_is_not_warned_of(before: dict[str, float] | None, now: dict[str, float]) -> None:
    assert plateau(before, now, TRAIN) == ""


@pytest.mark.parametrize("loss", [6.42, 6.45, 7.0])
def test_two_evaluations_on_the_plateau_are(loss: float) -> None:
    warning = plateau(at(200, 6.44), at(400, loss), TRAIN)
    assert warning.startswith(f"since step 200, the masked-LM loss ({loss:.4f}) is no better than what word ")
    assert "frequencies alone give (6.4500)" in warning

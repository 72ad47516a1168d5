"""The curves in the background of a run's own."""

from __future__ import annotations

import itertools

import pytest

from qarib_tasks.views.reference_curves import curves, for_run

MADE = [{"step": 0, "unigram_entropy": 6.0}, {"step": 100, "unigram_entropy": 5.0}]


def test_the_curves_are_those_of_trainings_that_learn() -> None:
    assert [curve["name"] for curve in curves()] == ["demo", "demo_modern", "small", "parity"]
    for curve in curves():
        examples, losses = curve["examples"], curve["masked_lm_loss"]
        assert len(examples) == len(losses) == 21
        assert examples[0] == 0
        assert all(a < b for a, b in itertools.pairwise(examples))
        # It begins at about the logarithm of the size of the vocabulary.
        assert losses[0] > curve["unigram_entropy"] > 0
        assert losses[-1] < losses[0]
    # The last training is too short to learn more than word frequencies.
    assert [curve["masked_lm_loss"][-1] < curve["unigram_entropy"] for curve in curves()] == [
        True,
        True,
        True,
        False,
    ]


def test_a_curve_is_on_the_scale_of_the_run() -> None:
    demo, found = curves()[0], for_run(MADE, 16, 10**6)
    assert [one["name"] for one in found] == ["demo", "demo_modern", "small", "parity"]
    assert found[0]["steps"] == [examples // 16 for examples in demo["examples"]]
    scale = 5.0 / demo["unigram_entropy"]
    assert found[0]["values"] == pytest.approx([loss * scale for loss in demo["masked_lm_loss"]])
    # A shorter run has the beginning.
    (half, *_) = for_run(MADE, 16, demo["examples"][10] // 16)
    assert (len(half["steps"]), half["values"]) == (11, found[0]["values"][:11])


@pytest.mark.parametrize(
    ("made", "batch", "steps"), [([], 16, 10**6), (MADE, None, 10**6), (MADE, 16, 0), (MADE, 1, 1)]
)
def test_without_a_scale_there_is_none(made: list[dict[str, float]], batch: int | None, steps: int) -> None:
    assert for_run(made, batch, steps) == []

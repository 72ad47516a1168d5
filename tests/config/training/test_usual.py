"""Warnings of settings that are far outside what worked elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.training.usual import SEE, unusual_settings, void_next_sentence

# Batch size, peak rate, warm-up steps, steps: the recipes in docs/training.md.
ELSEWHERE = {
    "BERT": (256, 1e-4, 10_000, 2_000_000),
    "24hBERT": (4096, 1e-3, 1_400, 23_000),
    "DinkyTrain": (4096, 2e-3, 1_400, 23_000),
    "MosaicBERT": (4096, 5e-4, 4_200, 70_000),
    "Cramming": (8192, 1e-3, 1_000, 20_000),
    "ModernBERT": (4608, 8e-4, 1_000, 400_000),
}


def settings(batch: int, rate: float, warmup: int, steps: int, **others: Any) -> TrainConfig:
    return TrainConfig(
        train_batch_size=batch, learning_rate=rate, num_warmup_steps=warmup, train_steps=steps, **others
    )


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_worked_elsewhere_is_not_warned_of(name: str) -> None:
    assert unusual_settings(settings(*ELSEWHERE[name]), ModelConfig(), ConvertConfig()) == []


def test_the_published_recipe_is_and_the_others_are_not() -> None:
    """A peak rate of 8e-6 after 10 steps: a known regime in which the accuracy does not rise."""
    published = resolve({"preset": "qarib", "workspace": "-"})
    rate, warmup = unusual_settings(published.train, published.model, published.convert)
    assert rate.startswith(
        "train.learning_rate 8e-06 is far below what worked elsewhere at a batch of 64: 5e-05 to 0.00025;"
    )
    assert warmup.startswith("train.num_warmup_steps 10 is 0.0005% of the steps; elsewhere it is 0.2% to 6%")
    assert rate.endswith(SEE)
    for name in ("demo", "demo_modern", "qarib_modern"):
        usual = resolve({"preset": name, "workspace": "-"})
        assert unusual_settings(usual.train, usual.model, usual.convert) == []


def test_a_narrow_model_takes_a_higher_rate() -> None:
    wide, narrow = ModelConfig(), ModelConfig(hidden_size=128, num_attention_heads=2)
    train = settings(64, 6e-3, 1_000, 100_000)
    assert unusual_settings(train, narrow, ConvertConfig()) == []
    (found,) = unusual_settings(train, wide, ConvertConfig())
    assert "0.006 is far above" in found
    (found,) = unusual_settings(replace(train, learning_rate=6.1e-3), narrow, ConvertConfig())
    assert "0.0061 is far above what worked elsewhere at a batch of 64: 5e-05 to 0.0015" in found


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (settings(64, 1e-3, 1_000, 100_000), []),
        (settings(64, 1.1e-3, 1_000, 100_000), ["0.0011 is far above"]),
        (settings(64, 1.3e-5, 1_000, 100_000), []),
        (settings(64, 1.2e-5, 1_000, 100_000), ["1.2e-05 is far below"]),
        (settings(4096, 1e-4, 1_000, 100_000), []),
        (settings(64, 1e-4, 99, 100_000), ["99 is 0.099% of the steps"]),
        (settings(64, 1e-4, 0, 100_000), ["0 is 0% of the steps"]),
        (settings(64, 1e-4, 26_000, 100_000), ["26,000 is 26% of the steps"]),
        (settings(64, 1e-4, 10, 100_000, warmup_share=0.06), []),
        (settings(64, 1e-4, 10, 100_000, warmup_share=0.3), ["train.warmup_share 0.3 is 30% of the steps"]),
        # Trained weights need neither a high rate nor a warm-up.
        (settings(64, 1e-6, 0, 100_000, start_from="models/a"), []),
        (settings(64, 2e-3, 0, 100_000, start_from="models/a"), ["0.002 is far above"]),
    ],
)
def test_a_rate_or_a_warm_up_far_outside_is_named(train: TrainConfig, said: list[str]) -> None:
    found = unusual_settings(train, ModelConfig(), ConvertConfig())
    assert len(found) == len(said)
    assert all(text in line for text, line in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("share", "most", "said"),
    [
        (0.15, 20, ""),
        (0.4, 26, ""),
        (0.05, 20, "3 of 64 wordpieces are masked, 4.7% (by convert.masked_lm_prob"),
        (0.15, 4, "4 of 64 wordpieces are masked, 6.2%"),
        (0.6, 64, "38 of 64 wordpieces are masked, 59%"),
    ],
)
def test_the_share_that_is_really_masked_counts(share: float, most: int, said: str) -> None:
    convert = replace(ConvertConfig(), masked_lm_prob=share, max_predictions_per_seq=most)
    found = unusual_settings(settings(64, 1e-4, 1_000, 100_000), ModelConfig(), convert)
    assert [line.startswith(said) for line in found] == ([True] if said else [])


@pytest.mark.parametrize(("share", "warned"), [(None, 0), (0.5, 0), (0.1, 0), (1.0, 1), (0.02, 1)])
def test_a_next_sentence_task_with_one_label(share: float | None, warned: int) -> None:
    found = void_next_sentence(TrainConfig(), share)
    assert len(found) == warned
    assert all(f"{100 * (share or 0):.1f}% of the training examples" in line for line in found)
    assert void_next_sentence(TrainConfig(next_sentence=False), share) == []

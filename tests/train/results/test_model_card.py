"""The model card says how the model was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qarib_tasks.train.results.model_card import model_card
from tests.support.training_examples import make_job

EVALUATION = {
    **{"masked_lm_loss": 5.0, "masked_lm_accuracy": 0.2, "perplexity": 148.4, "unigram_entropy": 6.0},
    **{"unigram_accuracy": 0.1, "examples": 10, "predictions": 100, "step": 4},
}
STATISTICS: dict[str, Any] = {
    **{"evaluation": EVALUATION, "evaluations": [EVALUATION]},
    **{"first_masked_lm_loss": 8.0, "last_masked_lm_loss": 5.0},
}


def card(folder: Path, **train: Any) -> str:
    return model_card(make_job(folder, examples=(1,), **train), 64, STATISTICS)


def test_the_optimizer_and_the_masks_are_those_of_the_settings(tmp_path: Path) -> None:
    published = card(tmp_path)
    assert "BERT's AdamW (weight decay 0.01, gradients clipped to norm 1.0)." in published
    assert "Schedule" not in published
    assert "Wordpieces to predict" not in published
    modern = {"bias_correction": True, "beta_2": 0.98, "clip_norm": 0.0, "weight_decay": 0.1}
    changed = card(tmp_path, **modern, schedule="cosine", masking="dynamic", masked_lm_prob=0.3)
    assert "BERT's AdamW" not in changed
    assert (
        "AdamW with bias correction (betas 0.9 and 0.98, epsilon 1e-06, weight decay 0.1, no clipping)."
        in changed
    )
    assert "| Schedule | cosine |" in changed
    assert "| Wordpieces to predict | 30%, chosen in each step |" in changed

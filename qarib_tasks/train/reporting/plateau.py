"""Whether a model has learned no more than how frequent the wordpieces are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.training.usual import SEE

MARGIN = 0.05  # nats


def plateau(before: Mapping[str, Any] | None, now: Mapping[str, Any], train: TrainConfig) -> str:
    """Return a warning if two evaluations after the warm-up are no better than word frequencies; else empty.

    Every training is there for a while; two evaluations are a long time.

    Args:
        before, now: evaluations, see `Evaluator.run`.
    """
    if not before or not train.warmup_steps < before["step"] < now["step"]:
        return ""
    if any(e["masked_lm_loss"] < e["unigram_entropy"] - MARGIN for e in (before, now)):
        return ""
    return (
        f"since step {before['step']:,}, the masked-LM loss ({now['masked_lm_loss']:.4f}) is no better than "
        f"what word frequencies alone give ({now['unigram_entropy']:.4f}): the model has learned nothing "
        f"else. Check train.learning_rate and the warm-up; {SEE}"
    )

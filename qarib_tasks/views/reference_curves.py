"""Curves of trainings of this code on the sample corpus, drawn in the background of a run's own.

`reference_curves.json` has them; `scripts/reference_curves.py` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

CURVES = Path(__file__).with_suffix(".json")


@cache
def curves() -> list[dict[str, Any]]:
    """Return the curves as the file has them.

    Each has name; settings: those that the curve depends on; unigram_entropy: the best masked-LM loss from
    word frequencies alone, in nats; examples: the number that was read before each evaluation;
    masked_lm_loss: of each evaluation.
    """
    values: list[dict[str, Any]] = json.loads(CURVES.read_text(encoding="utf-8"))
    return values


def for_run(made: Sequence[dict[str, Any]], batch: int | None, steps: int) -> list[dict[str, Any]]:
    """Return the curves on the scale of a run: name, steps, and values of each; none if the scale is unknown.

    A loss depends on the vocabulary. Relative to what word frequencies alone give, losses of different
    vocabularies can be compared. The steps are those after which the run has read as many examples.

    Args:
        made: the run's evaluations.
        batch: its batch size.
        steps: those that it has trained; later points are left out.
    """
    entropies = [one["unigram_entropy"] for one in made if one.get("unigram_entropy")]
    if not entropies or not batch or not steps:
        return []
    found = []
    for curve in curves():
        scale = entropies[-1] / curve["unigram_entropy"]
        points = [
            (round(examples / batch), loss * scale)
            for examples, loss in zip(curve["examples"], curve["masked_lm_loss"], strict=True)
            if examples <= steps * batch
        ]
        if len(points) > 1:
            x, y = zip(*points, strict=True)
            found.append({"name": curve["name"], "steps": list(x), "values": list(y)})
    return found

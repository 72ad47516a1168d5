"""A run's row in the table of all runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.views.files import Files
from qarib_tasks.views.many.settings import changed
from qarib_tasks.views.runs import RunRecord, progress_of, summary
from qarib_tasks.views.tasks.results import probed, tuned


def row_of(record: RunRecord, files: Files, now: float) -> dict[str, Any]:
    """The run's summary, and the figures that runs are compared by.

    Returns:
        as `summary`, and: heldout_loss, of the newest evaluation, and unigram_entropy, which word frequencies
        alone reach; score: the best of its labelled tasks (task, metric, value, tuned: whether by a
        fine-tuning), or None; goodput: the productive share of a TPU's paid time; cost in US dollars, None
        without a TPU; settings: see `changed`.
    """
    row = summary(record, files, now)
    progress = progress_of(files, record.model) if record.model is not None else {}
    evaluation: Mapping[str, Any] = progress.get("evaluation") or {}
    tpu = row["tpu"] or {}
    return row | {
        "heldout_loss": evaluation.get("masked_lm_loss"),
        "unigram_entropy": evaluation.get("unigram_entropy"),
        "score": score(record, files, evaluation),
        "goodput": (tpu.get("goodput") or {}).get("productive"),
        "cost": tpu.get("cost"),
        "settings": changed(record.config),
    }


def score(record: RunRecord, files: Files, evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best score of a run's labelled tasks: of the fine-tunings, or else of the probes."""
    if record.model is None:
        return None
    rows = [(True, row, row.get("mean")) for row in tuned(files, record.model)[0].values()]
    if not any(value is not None for _, _, value in rows):
        rows = [(False, row, row.get("value")) for row in probed(evaluation.get("tasks"))[0].values()]
    found = [(value, row, is_tuned) for is_tuned, row, value in rows if value is not None]
    if not found:
        return None
    value, row, is_tuned = max(found, key=lambda one: float(one[0]))
    metric = str(row.get("metric", ""))
    return {"task": row["name"], "metric": METRICS.get(metric, metric), "value": value, "tuned": is_tuned}

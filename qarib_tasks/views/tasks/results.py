"""What was measured on labelled tasks, read from files that can be damaged or not ours.

What is not the value that its name says is left out. A file that cannot be read is a fault for the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qarib_tasks.errors import CorruptError, QaribError
from qarib_tasks.labelled.scores import MOST_LABELS
from qarib_tasks.layout import ModelLayout, evaluation_step
from qarib_tasks.views.files import Files
from qarib_tasks.views.shapes import EVALUATION, parsed
from qarib_tasks.views.training import listed

FIGURES = (
    *("value", "low", "high", "mean", "sd", "rate"),
    *("most_frequent", "tfidf", "tfidf_low", "tfidf_high"),
)
COUNTS = (
    *("train_texts", "test_texts", "all_train_texts", "all_test_texts", "seed"),
    *("left_out_documents", "contaminated_documents"),
)
NAME = re.compile(r"[\w-][\w.@-]*")  # of a task: no path
MOST_TASKS = 100
MOST_SEEDS = 100
MOST_CHARACTERS = 100  # of a task's name
AGAIN = "Delete this file, then clear the task that writes it"


@dataclass
class Results:
    """What a model reached, by the task's name.

    Attributes:
        probe: of the newest evaluation.
        predicted: the labels that the probe of the newest evaluation predicted.
        tuned: of the fine-tuning.
    """

    model: ModelLayout
    probe: dict[str, dict[str, Any]] = field(default_factory=dict)
    predicted: dict[str, dict[str, Any]] = field(default_factory=dict)
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[QaribError] = field(default_factory=list)


def results_of(files: Files, model: ModelLayout, newest: dict[str, Any] | None = None) -> Results:
    """A model's results.

    Args:
        newest: its newest evaluation; read if it is not given.
    """
    results = Results(model)
    if newest is None:
        steps = [step for name in listed(files, model) if (step := evaluation_step(name)) is not None]
        newest = files.json(model.name_of(model.evaluation(max(steps))), EVALUATION, 60.0) if steps else {}
    results.probe, _ = probed(newest.get("tasks"))
    if results.probe:
        _read_predicted(files, results)
    results.tuned, faults = tuned(files, model)
    results.faults += faults
    return results


def _read_predicted(files: Files, results: Results) -> None:
    found = parsed(files.read(results.model.name_of(results.model.probe_predictions)))
    rows = found.get("tasks") if isinstance(found, dict) else None
    for row in rows[:MOST_TASKS] if isinstance(rows, list) else ():
        if (task := _task(row)) and (labels := predictions(row.get("predicted"))):
            results.predicted[task["name"]] = task | {"predicted": labels}


def tuned(files: Files, model: ModelLayout) -> tuple[dict[str, dict[str, Any]], list[QaribError]]:
    """A model's results of fine-tuning, by the task's name, and the faults of their file."""
    name = model.name_of(model.finetuning_table)
    results: dict[str, dict[str, Any]] = {}
    faults: list[QaribError] = []
    if (data := files.read(name)) is None:
        return results, faults
    found = parsed(data)
    rows = found.get("tasks") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return results, [CorruptError("no results of fine-tuning", where=files.where(name), do=AGAIN)]
    for row in rows[:MOST_TASKS]:
        if (task := _task(row)) is None:
            what = "the results of a task are damaged"
            faults.append(CorruptError(what, where=files.where(name), do=AGAIN))
            continue
        seeds = row.get("seeds") if isinstance(row.get("seeds"), list) else []
        missing = row.get("missing") if isinstance(row.get("missing"), list) else []
        scored = [one for one in map(_figures, seeds[:MOST_SEEDS]) if one.keys() >= {"seed", "value"}]
        task["seeds"] = sorted(scored, key=lambda one: int(one["seed"]))
        task["missing"] = [seed for seed in missing[:MOST_SEEDS] if _is_count(seed)]
        if "mean" in task or task["missing"]:
            results[task["name"]] = task
    return results, faults


def probed(rows: object) -> tuple[dict[str, dict[str, Any]], bool]:
    """The results in an evaluation's `tasks`, by name, and whether there is more, which cannot be read."""
    if rows is None:
        return {}, False
    if not isinstance(rows, list):
        return {}, True
    found = [task for row in rows[:MOST_TASKS] if (task := _task(row)) and "value" in task]
    return {task["name"]: task for task in found}, len(found) < len(rows)


def predictions(values: object) -> list[int] | None:
    """Predicted labels, each an index into the labels of the task."""
    if isinstance(values, list) and values and all(map(_is_count, values)):
        return values
    return None


def columns(rows: Sequence[dict[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    """Each of these figures that any row has, as lists of equal length."""
    return {name: [row.get(name) for row in rows] for name in names if any(name in row for row in rows)}


def _task(row: Any) -> dict[str, Any] | None:
    if not isinstance(row, dict):
        return None
    name, labels = row.get("name"), row.get("labels")
    if not isinstance(name, str) or len(name) > MOST_CHARACTERS or not NAME.fullmatch(name):
        return None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        labels = []
    texts = {key: value for key in ("name", "metric", "sha256") if isinstance(value := row.get(key), str)}
    return {
        **texts,
        **_figures(row),
        "labels": labels,
        "confusion": _matrix(row.get("confusion"), len(labels)),
    }


def _figures(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        return {}
    figures = {name: float(row[name]) for name in FIGURES if _is_figure(row.get(name))}
    return figures | {name: row[name] for name in COUNTS if _is_count(row.get(name))}


def _matrix(rows: Any, size: int) -> list[list[int]] | None:
    """A square matrix of counts, one row per label; None for anything else, and for many labels."""
    if not isinstance(rows, list) or not len(rows) == size <= MOST_LABELS:
        return None
    right = all(isinstance(row, list) and len(row) == size and all(map(_is_count, row)) for row in rows)
    return rows if right and size else None


def _is_figure(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53

"""Labelled tasks: a model's probe over the steps and its fine-tuning, beside the previous model's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from qarib_tasks.config.evaluation import EMOJI, SOURCE
from qarib_tasks.errors import CorruptError
from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.layout import ID, MODELS, ModelLayout, evaluation_step
from qarib_tasks.views.files import Files
from qarib_tasks.views.model import judgements, promoted_before
from qarib_tasks.views.runs import RunRecord, trouble
from qarib_tasks.views.tasks.changed_texts import changed_texts
from qarib_tasks.views.tasks.results import COUNTS, FIGURES, Results, columns, probed, results_of
from qarib_tasks.views.training import evaluations, listed

DOCUMENTATION = "https://github.com/qcri/QARIB/blob/main/docs/training.md#labelled-tasks"
ABOUT = {SOURCE: "Which source is a line from?", EMOJI: "Which emoji was removed from a line?"}
COMPARED = ("value", "low", "high", "train_texts", "test_texts", "mean", "sd")


def tasks_view(record: RunRecord, files: Files, earlier: Sequence[RunRecord]) -> dict[str, Any]:
    """The labelled tasks of a run for the page.

    Args:
        earlier: runs before this one, the newest first, any of which may have made the previous model.
    """
    view: dict[str, Any] = {
        "model_id": None,
        "expected": _expected(record),
        "evaluated": False,
        "train_steps": (record.config.get("train") or {}).get("train_steps"),
        "former": None,
        "tasks": [],
        "faults": [],
        "documentation": DOCUMENTATION,
    }
    if (model := record.model) is None:
        return view | {"trouble": None}
    made = evaluations(files, model)
    curves, faults = _curves(files, model, made)
    own = results_of(files, model, made[-1] if made else {})
    names = [*own.probe, *(name for name in (*curves, *own.tuned) if name not in own.probe)]
    former = _former(record, files, earlier) if names else None
    return view | {
        "model_id": model.model_id,
        "evaluated": bool(made),
        "former": former.model.model_id if former else None,
        "tasks": [_task(files, name, curves.get(name, []), own, former) for name in dict.fromkeys(names)],
        "faults": [trouble(fault) for fault in (*faults, *own.faults)],
        "trouble": trouble(files.trouble or files.fault),
    }


def _expected(record: RunRecord) -> bool:
    """Whether the run's settings give its model tasks."""
    settings = record.config.get("evaluate") or {}
    return bool(settings.get("tasks") or settings.get("free_tasks"))


def _curves(
    files: Files, model: ModelLayout, made: Sequence[dict[str, Any]]
) -> tuple[dict[str, list[dict[str, Any]]], list[CorruptError]]:
    """Each task's results by step."""
    curves: dict[str, list[dict[str, Any]]] = {}
    damaged = []
    for evaluation in made:
        found, more = probed(evaluation.get("tasks"))
        for name, result in found.items():
            curves.setdefault(name, []).append(result | {"step": evaluation["step"]})
        if more:
            damaged.append(model.name_of(model.evaluation(evaluation["step"])))
    what, do = "the results of tasks cannot be read", "Delete this file and run the evaluation again"
    return curves, [CorruptError(what, where=files.where(name), do=do) for name in damaged[:3]]


def _task(
    files: Files, name: str, curve: Sequence[dict[str, Any]], own: Results, former: Results | None
) -> dict[str, Any]:
    """A task of the view. Its curve has only evaluations on the texts of the newest one."""
    newest = curve[-1] if curve else None
    tuned = own.tuned.get(name)
    shown = [one for one in curve if one.get("sha256") == curve[-1].get("sha256")]
    of = tuned or newest or {}
    metric = str(of.get("metric", ""))
    matrix = next((one for one in (tuned, newest) if one and one["confusion"]), None)
    return {
        "name": name,
        "about": ABOUT.get(name),
        "metric": METRICS.get(metric, metric),
        "probe": columns(shown, ("step", *FIGURES, *COUNTS)) or None,
        "on_other_texts": len(curve) - len(shown),
        "tuned": _without(tuned, "confusion", "labels"),
        "former_probe": _former_result(newest, former.probe.get(name) if former else None),
        "former_tuned": _former_result(tuned, former.tuned.get(name) if former else None),
        "label_count": len(of.get("labels", ())),
        "labels": [] if matrix is None else matrix["labels"],
        "confusion": None if matrix is None else matrix["confusion"],
        "confusion_of": None if matrix is None else matrix.get("step"),
        "changed": changed_texts(files, name, own, former),
    }


def _without(result: dict[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return None if result is None else {key: value for key, value in result.items() if key not in names}


def _former_result(own: dict[str, Any] | None, former: dict[str, Any] | None) -> dict[str, Any] | None:
    """The previous model's result, and whether it is of the same texts; None without one."""
    if own is None or former is None:
        return None
    same = bool(own.get("sha256")) and own["sha256"] == former.get("sha256")
    return {"same_texts": same} | {key: former[key] for key in COMPARED if key in former}


def _former(record: RunRecord, files: Files, earlier: Sequence[RunRecord]) -> Results | None:
    """The results of the model promoted before this one; else of the model that the training started from;
    else of the newest other model with an evaluation from the earlier runs.
    """
    assert record.model is not None
    own_id = record.model.model_id
    known = {
        other.model.model_id: other.model
        for other in reversed(earlier)
        if other.model is not None and other.address == record.address
    }
    judged, _ = judgements(files, record)
    for model_id in (promoted_before(own_id, judged, record.ended), _started_from(record)):
        if model_id and model_id != own_id and re.fullmatch(ID, model_id):
            model = known.get(model_id) or ModelLayout(record.model.root.parent / model_id, record.upload)
            return results_of(files, model)
    for other in earlier:
        if other.model is None or other.address != record.address or other.model.model_id == own_id:
            continue
        if any(evaluation_step(name) is not None for name in listed(files, other.model)):
            return results_of(files, other.model)
    return None


def _started_from(record: RunRecord) -> str | None:
    """The name of the model of this workspace or bucket whose weights the training started from."""
    address = str((record.config.get("train") or {}).get("start_from") or "")
    places = [record.address, f"{record.workspace}/" if record.workspace else None]
    for place in filter(None, places):
        if found := re.match(f"{re.escape(place)}{MODELS}/({ID})(/|$)", address):
            return found[1]
    return None

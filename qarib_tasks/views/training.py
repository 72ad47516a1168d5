"""The progress of a training: its history over the steps, evaluations, checkpoints, and preemptions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.errors import QaribError
from qarib_tasks.layout import ModelLayout, checkpoint_of_index, evaluation_step
from qarib_tasks.views import reference_curves
from qarib_tasks.views.curves.history import History, history_of, with_newest
from qarib_tasks.views.files import Files, names_in
from qarib_tasks.views.runs import RunRecord, data_sizes, progress_of, tpu_facts, training_state, trouble
from qarib_tasks.views.shapes import EVALUATION

T = TypeVar("T")
# Parts of an evaluation that are large and shown elsewhere.
ELSEWHERE = ("tasks", "fill_mask")
# Each gives two points. More points than a screen has columns only make the page slower.
BUCKETS = 400
MAX_EVALUATIONS = 40
# After these, what a training measures replaces the estimate.
FIRST_STEPS = 200
MOST_LISTED = 100_000  # names in a folder of a model


def training_view(record: RunRecord, files: Files, now: float) -> dict[str, Any]:
    """The run's training for the page. `now` is in seconds since 1970."""
    model = record.model
    if model is None:
        return {"progress": None, "trouble": None}
    progress = _without_large(progress_of(files, model))
    if progress:
        progress["state"] = training_state(record, progress.get("state"))
    past = history_of(files, model, progress)
    names = listed(files, model)
    checkpoints = [one for one in map(checkpoint_of_index, names) if one]
    tpu = tpu_facts(record, files, now)
    # An emulated TPU is as fast as this machine.
    estimated = None if tpu and tpu["emulated"] else expected(record, past, progress.get("step") or 0)
    made = evaluations(files, model, names)
    batch = (record.config.get("train") or {}).get("train_batch_size")
    return {
        "model_id": model.model_id,
        "train_batch_size": batch,
        "reads": reads(record, files),
        "expected": estimated,
        "progress": progress or None,
        "history": with_newest(past.curves(BUCKETS), progress, past.last_step),
        "evaluations": list(map(_without_large, made)),
        "references": reference_curves.for_run(
            made, batch, int(max(past.last_step, progress.get("step") or 0))
        ),
        "checkpoints": sorted(one.step for one in checkpoints if not one.recovery),
        "recovery": sorted(one.step for one in checkpoints if one.recovery),
        "resumed": list(progress.get("resumed") or ()),
        "fill_mask": fill_mask(made),
        "tpu": tpu,
        "trouble": trouble(files.trouble or files.fault),
    }


def reads(record: RunRecord, files: Files) -> dict[str, Any] | None:
    """How much of its dataset the complete training reads; None while that is not known.

    Returns:
        examples: those of all its steps. dataset_examples, epochs. dupe_factor: how many examples have the
        same text, with other masks; with masks drawn while training, all copies are the same. words: of the
        corpus, those that are read at least once; None if not known.
    """
    train, convert = record.config.get("train") or {}, record.config.get("convert") or {}
    sizes = data_sizes(record, files)
    total, batch, steps = (
        sizes.get("dataset_examples"),
        train.get("train_batch_size"),
        train.get("train_steps"),
    )
    # A dataset that extends others is only a part of what is read.
    if not (total and batch and steps) or record.config.get("extends"):
        return None
    epochs, words = steps * batch / total, sizes.get("words")
    return {
        "examples": steps * batch,
        "dataset_examples": total,
        "epochs": epochs,
        "dupe_factor": convert.get("dupe_factor"),
        "words": int(words * min(epochs, 1)) if words else None,
    }


def expected(record: RunRecord, past: History, step: int) -> dict[str, Any] | None:
    """The estimate of the training's speed, hours, and cost on its TPU, beside what its first steps measure.

    Args:
        step: that the training has reached.

    Returns:
        accelerator_type; examples_per_second, hours, and cost in US dollars: each the two ends of the
        estimate; measured: examples per second of the first steps, or None; measured_hours: the same as
        hours, at the measured speed; cost_ahead: of the steps that are left, at the measured speed if it
        is known. None for a training without a TPU.
    """
    from qarib_tasks.machines.chips import training_shape
    from qarib_tasks.machines.planning.estimate import estimate

    try:
        config = from_dict(RunConfig, record.config)
        if config.tpu.machine == "local":
            return None
        shape = training_shape(config.model, config.vocab.vocab_size, config.train, config.convert)
        found = estimate(shape, config.train, config.evaluate, config.tpu)
        measured = first_rate(past, config.train.train_steps)
        at_speed = found.at(measured, config.train.train_steps) if measured else None
    # Settings of another version, a type that is not known, or settings that no run can have.
    except (QaribError, ArithmeticError, ValueError):
        return None
    left = max(0.0, 1 - step / config.train.train_steps)
    return {
        "accelerator_type": config.tpu.accelerator_type,
        "examples_per_second": found.examples_per_second.ends,
        "hours": found.hours.ends,
        "cost": found.cost.ends,
        "measured": measured,
        "measured_hours": at_speed.hours.ends if at_speed else None,
        "cost_ahead": [cost * left for cost in (at_speed or found).cost.ends],
    }


def first_rate(past: History, train_steps: int) -> float | None:
    """The examples per second of the first steps, without the first line, in which the step is compiled.

    None before there are `FIRST_STEPS`, or all steps.
    """
    rates = past.figures.get("examples_per_second")
    if rates is None:
        return None
    known = (rates > 0) & (rates < math.inf)
    steps, rates = past.steps[known], rates[known]
    if not len(steps) or steps[-1] < min(FIRST_STEPS, train_steps):
        return None
    first = int((steps[:-1] < FIRST_STEPS).sum())
    made = steps[1 : first + 1] - steps[:first]
    with np.errstate(over="ignore"):
        weighted = float((made / rates[1 : first + 1]).sum())
    return float(made.sum()) / weighted if weighted else None


def _without_large(values: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in ELSEWHERE}
    if isinstance(evaluation := kept.get("evaluation"), dict):
        kept["evaluation"] = _without_large(evaluation)
    return kept


def thinned(lines: Sequence[T], most: int) -> list[T]:
    """At most about `most` of the items, evenly spread, including the first and the last."""
    if len(lines) <= most:
        return list(lines)
    every = -(-len(lines) // most)
    kept = list(lines[::every])
    return kept if kept[-1] is lines[-1] else [*kept, lines[-1]]


def listed(files: Files, model: ModelLayout) -> set[str]:
    """The names of the files in the checkpoint and evaluation folders, in the workspace and the bucket."""
    names: set[str] = set()
    for folder in (model.bert_model, model.bert_evals):
        names |= set(files.objects(f"{model.name_of(folder)}/") or ())
        if files.workspace is not None:
            names |= set(names_in(files.workspace / model.name_of(folder), MOST_LISTED))
    return names


def evaluations(
    files: Files, model: ModelLayout, names: set[str] | None = None, most: int = MAX_EVALUATIONS
) -> list[dict[str, Any]]:
    """The evaluations by step; of very many, an evenly spread selection with the first and the last."""
    names = listed(files, model) if names is None else names
    steps = sorted(step for name in names if (step := evaluation_step(name)) is not None)
    shown = [model.name_of(model.evaluation(step)) for step in thinned(steps, most)]
    read = files.many(shown, EVALUATION, 60.0)
    return sorted((one for one in read if isinstance(one.get("step"), int)), key=lambda one: int(one["step"]))


def fill_mask(made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The examples of the newest evaluation that has any, each with the first evaluation's prediction."""
    with_examples = [one for one in made if one.get("fill_mask")]
    if not with_examples:
        return []
    first, last = with_examples[0], with_examples[-1]
    before = {example.get("text"): example.get("words") for example in first["fill_mask"]}
    return [
        {
            "text": str(example.get("text", "")),
            "words": example.get("words") or [],
            "step": last["step"],
            "first": before.get(example.get("text")) if first is not last else None,
            "first_step": first["step"],
        }
        for example in last["fill_mask"]
    ]

"""The results of a training in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qarib_tasks.corpus.characters import isolated
from qarib_tasks.errors import CorruptError
from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.layout import evaluation_step
from qarib_tasks.storage.records.read import read_record
from qarib_tasks.storage.records.schemas import Evaluation


def result_rows(statistics: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the lines by title.

    Args:
        statistics: of the model's manifest.
        evaluations: ordered by step; not empty.
    """
    first, last = evaluations[0], evaluations[-1]
    of_training = [
        {name: statistics[f"{when}_{name}"] for name in ("masked_lm_loss", "masked_lm_accuracy")}
        for when in ("first", "last")
    ]
    return {
        "Training steps": f"{statistics['train_steps']:,}",
        "Masked-LM, first step": figures_text(of_training[0]),
        "Masked-LM, last steps": figures_text(of_training[1]),
        "Held-out part, first": evaluation_text(first),
        "Held-out part, last": evaluation_text(last),
        "Word frequencies alone": f"loss at least {last['unigram_entropy']:.3f} (held-out unigram entropy)",
        **task_rows(evaluations),
        **{f"[MASK] {number}": text for number, text in enumerate(sentences(last), start=1)},
    }


def evaluations_in(folder: Path) -> list[dict[str, Any]]:
    """Return the evaluations in a folder, by step, without damaged ones. The folder can have other files."""
    found = []
    for path in folder.glob("*.json"):
        if evaluation_step(path.name) is not None:
            with suppress(CorruptError):
                found.append(read_record(path, Evaluation))
    return sorted((one for one in found if one), key=lambda evaluation: int(evaluation["step"]))


def figures_text(figures: Mapping[str, Any]) -> str:
    return f"loss {figures['masked_lm_loss']:.3f}, accuracy {figures['masked_lm_accuracy']:.3f}"


def evaluation_text(evaluation: Mapping[str, Any]) -> str:
    return f"{figures_text(evaluation)} after {evaluation['step']:,} steps"


def task_rows(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a line for each task: its first and its last result, and the baselines.

    Args:
        evaluations: ordered by step.
    """
    rows = {}
    for task in evaluations[-1].get("tasks", ()):
        values = {
            evaluation["step"]: result["value"]
            for evaluation in evaluations
            for result in evaluation.get("tasks", ())
            if (result["name"], result["sha256"]) == (task["name"], task["sha256"])
        }
        ends = dict.fromkeys((min(values), max(values)))
        probes = ", ".join(f"{values[step]:.3f} after {step:,} steps" for step in ends)
        rows[f"Task {task['name']}"] = (
            f"{METRICS[task['metric']]} of the probe {probes}; TF-IDF {task['tfidf']:.3f}, "
            f"most frequent label {task['most_frequent']:.3f}"
        )
    return rows or {"Tasks": "none: the log says why, where the text is collected"}


def sentences(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the sentences of an evaluation, each with the first words that the model predicts."""
    return [
        f"{isolated(entry['text'])}   " + " | ".join(isolated(guess["word"]) for guess in entry["words"])
        for entry in evaluation.get("fill_mask", ())
    ]

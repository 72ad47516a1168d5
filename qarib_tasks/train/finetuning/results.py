"""The results of fine-tunings: a file for each task and seed, and a table of all.

bert_evals/finetuning/<task>/<seed>.json
bert_evals/tasks.json
"""

from __future__ import annotations

import fcntl
import json
import logging
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qarib_tasks.errors import TrainingError
from qarib_tasks.labelled.baselines import baselines
from qarib_tasks.labelled.scores import METRICS, MOST_LABELS, scores
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.layout import ModelLayout
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import (
    is_finetuning_result,
    is_finetuning_table,
    is_ours,
    require_folders,
    require_ours,
)
from qarib_tasks.storage.records.read import take_record
from qarib_tasks.storage.records.schemas import FinetuningResult
from qarib_tasks.storage.working_folder import HIDDEN, remove_folder, working_folder
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.results.finetuned import read_table

if TYPE_CHECKING:
    from qarib_tasks.train.finetuning.tune import Tuner

log = logging.getLogger(__name__)
BASELINES = ("most_frequent", "tfidf", "tfidf_low", "tfidf_high")


@dataclass(frozen=True)
class Subject:
    """What is fine-tuned on what, and where the results are.

    Attributes:
        sha256: of the task's file.
        model: digest of the model's contents.
    """

    layout: ModelLayout
    task: LabelledTask
    sha256: str
    model: str
    recipe: Recipe

    def facts(self) -> dict[str, Any]:
        """Return what a result names, to show what it is of."""
        return {"sha256": self.sha256, "model": self.model, "recipe": self.recipe.recorded()}

    def result(self, seed: int) -> dict[str, Any] | None:
        """Return the result of a seed; None if there is none of this task, model, and recipe."""
        path = self.layout.finetuning_result(self.task.name, seed)
        if not is_ours(path, is_finetuning_result):
            return None
        values = take_record(path, FinetuningResult, "this seed is fine-tuned again")
        if values is None or any(values.get(name) != value for name, value in self.facts().items()):
            return None
        rates = [one["rate"] for one in values["rates"]]
        return values if rates == list(self.recipe.rates) else None

    def results(self, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Return the results of the seeds that have one, and of other seeds, by seed."""
        folder = self.layout.finetuning(self.task.name)
        found = {int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()}
        some = (self.result(seed) for seed in sorted({*seeds, *found}))
        return [result for result in some if result]


def fine_tune(subject: Subject, tuner: Callable[[], Tuner], seed: int) -> dict[str, Any]:
    """Fine-tune a model on a task, unless there is a result, and write the result.

    Args:
        tuner: reads the model, and makes what fine-tunes it on the task.

    Returns:
        task, sha256, seed, metric; rate, the one chosen; rates: development score and last loss of each;
        value, low, high: the metric and its 95% interval; predicted: the index of the label of each test
        text; labels; unless there are more than 50 labels, confusion; train_texts, development_texts,
        test_texts; model; recipe.

    Raises:
        InputError: a file that is not ours has a name of a result; nothing is written.
        TrainingError: another process fine-tunes with this task and seed.
    """
    task, path = subject.task, subject.layout.finetuning_result(subject.task.name, seed)
    require_folders([subject.layout.bert_evals, path.parent.parent, path.parent])
    require_ours(path, is_finetuning_result)
    if known := subject.result(seed):
        log.info("already fine-tuned: %s", line(known))
        return known
    folder = path.with_suffix(".work")
    path.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(folder), _locked(folder):
        if known := subject.result(seed):  # Another process has finished it meanwhile.
            remove_folder(folder)
            return known
        tuned = tuner().tune(seed, folder, json.dumps(subject.facts(), sort_keys=True))
        best = tuned.best
        found = scores(task, task.test.labels, best.predicted)
        result = {
            "task": task.name,
            "sha256": subject.sha256,
            "seed": seed,
            "metric": task.metric,
            "rate": best.rate,
            "rates": [
                {"rate": one.rate, "development": one.development, "loss": one.loss} for one in tuned.outcomes
            ],
            "value": found.score,
            "low": found.low,
            "high": found.high,
            "predicted": best.predicted,
            "labels": list(task.labels),
            **({"confusion": list(map(list, found.confusion))} if len(task.labels) <= MOST_LABELS else {}),
            "train_texts": tuned.train_texts,
            "development_texts": tuned.development_texts,
            "test_texts": len(task.test),
            **{name: value for name, value in subject.facts().items() if name != "sha256"},
        }
        write_text(path, json.dumps(result, ensure_ascii=False) + "\n")
        remove_folder(folder)
    log.info("fine-tuned: %s", line(result))
    return result


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / f"{HIDDEN}lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                "another process fine-tunes in this folder", where=folder, do="Wait for it or stop it"
            ) from None
        yield


def write_table(
    layout: ModelLayout, subjects: Sequence[Subject], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Write the table of all results, and return the entries of the given tasks.

    Entries of other tasks that the table has stay. The same results give the same bytes.

    Args:
        seeds: those that each task should have.

    Raises:
        InputError: a file that is not ours has the table's name.
    """
    path = layout.finetuning_table
    require_ours(path, is_finetuning_table)
    before = {entry["name"]: entry for entry in read_table(layout)}
    new = [_entry(subject, seeds, before.get(subject.task.name)) for subject in subjects]
    entries = before | {entry["name"]: entry for entry in new}
    table = {"tasks": [entries[name] for name in sorted(entries)]}
    write_text(path, json.dumps(table, ensure_ascii=False, indent=1) + "\n")
    return new


def _entry(subject: Subject, seeds: Sequence[int], before: Mapping[str, Any] | None) -> dict[str, Any]:
    import numpy as np

    task, results = subject.task, subject.results(seeds)
    values = [result["value"] for result in results]
    found = {result["seed"] for result in results}
    matrices = [result["confusion"] for result in results if "confusion" in result]
    return {
        "name": task.name,
        "metric": task.metric,
        "sha256": subject.sha256,
        "labels": list(task.labels),
        "mean": statistics.fmean(values) if values else None,
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "seeds": [{name: one[name] for name in ("seed", "rate", "value", "low", "high")} for one in results],
        "missing": sorted(set(seeds) - found),
        **_baselines(subject, before),
        **({"confusion": np.sum(matrices, axis=0).tolist()} if matrices else {}),
        "test_texts": len(task.test),
    }


def _baselines(subject: Subject, before: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the baselines' scores: those of the table before, if they are of the same task."""
    if before and before["sha256"] == subject.sha256:
        return {name: before[name] for name in BASELINES}
    found = baselines(subject.task)
    values = (found.most_frequent.score, found.tfidf.score, found.tfidf.low, found.tfidf.high)
    return dict(zip(BASELINES, values, strict=True))


def line(result: Mapping[str, Any]) -> str:
    """Return a result as a line of the log."""
    return (
        f"task {result['task']}, seed {result['seed']}: {METRICS[result['metric']]} {result['value']:.4f} "
        f"(95% interval {result['low']:.4f} to {result['high']:.4f}) at the rate {result['rate']:g}"
    )

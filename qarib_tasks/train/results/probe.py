"""The probe: how well a linear classifier tells the labels of a task from the frozen model's vectors.

A logistic regression is fitted to the vectors of the training texts and scored on the test texts, beside two
baselines that need no model.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qarib_tasks.config.evaluation import StagedTask
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.labelled.baselines import Baselines, baselines
from qarib_tasks.labelled.regression import FOLDS, fit_and_predict
from qarib_tasks.labelled.scores import METRICS, MOST_LABELS, scores
from qarib_tasks.labelled.staged import read_staged
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.layout import ModelLayout
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.embedding import EncodedTexts

if TYPE_CHECKING:
    from qarib_tasks.train.model.steps import Steps

log = logging.getLogger(__name__)
FIT_SECONDS = 2e-7  # per training text, hidden unit, and label: an estimate, as the devices' is


class Probe:
    """The texts of the job's tasks, encoded once, on which a model is scored.

    The number of texts follows from the time limit by an estimate. With a measured speed, an evaluation would
    differ from the one before in its texts, and a second run from the first.

    Raises:
        InputError, CorruptError: a task's file is missing or damaged.
    """

    def __init__(self, job: TrainingJob, output: Output, vocabulary: Vocabulary, steps: Steps) -> None:
        self.job = job
        self.steps = steps
        self.complete = _read(job, output)
        texts = (text for task in self.complete for text in (*task.train.texts, *task.test.texts))
        self.encoded = EncodedTexts(job, vocabulary, texts)
        self.tasks = self._within_time()

    def _within_time(self) -> list[LabelledTask]:
        """Return the tasks with as many texts as fit into equal shares of the time limit.

        What a task does not need of its share is the others'.
        """
        needs = [self._seconds(task) for task in self.complete]
        remaining = self.job.evaluate.probe_seconds
        samples = list(self.complete)
        for place, number in enumerate(sorted(range(len(needs)), key=needs.__getitem__)):
            task, share = self.complete[number], remaining / (len(needs) - place)
            if needs[number] > share:
                texts = len(task.train) + len(task.test)
                samples[number] = sampled(task, int(texts * share / needs[number]))
                log.warning(
                    "task %s: every evaluation uses %d of %d training texts and %d of %d test texts, to stay "
                    "below evaluate.probe_seconds",
                    task.name, len(samples[number].train), len(task.train), len(samples[number].test),
                    len(task.test),
                )  # fmt: skip
            remaining -= min(needs[number], share)
        return samples

    def _seconds(self, task: LabelledTask) -> float:
        fit = FIT_SECONDS * len(task.train) * self.job.model.hidden_size * len(task.labels)
        texts = (*task.train.texts, *task.test.texts)
        return fit + self.encoded.seconds(texts, self.steps.hardware)

    @cached_property
    def baselines(self) -> list[Baselines]:
        return [baselines(task) for task in self.tasks]

    def run(self) -> list[dict[str, Any]]:
        """Score the model on every task.

        Returns:
            for each task: name; metric; value, low, high: the metric and its 95% interval; most_frequent,
            tfidf, tfidf_low, tfidf_high: the same of the baselines; train_texts, test_texts: the numbers of
            texts that were used; all_train_texts, all_test_texts: those of the task; labels; unless there are
            more than 50 labels, confusion: the number of test texts by label and predicted label; sha256 of
            the task's file; predicted: a label of each test text that was used, as an index into labels; and,
            if they are known, left_out_documents and contaminated_documents: the numbers of documents with
            test texts that were left out of the training text, and that are in it.
        """
        texts = list(dict.fromkeys(t for task in self.tasks for t in (*task.train.texts, *task.test.texts)))
        vectors = self.encoded.vectors(self.steps, texts)
        rows = {text: row for row, text in enumerate(texts)}
        results = []
        for number, task in enumerate(self.tasks):
            train, test = (vectors[[rows[text] for text in part.texts]] for part in (task.train, task.test))
            predicted = fit_and_predict(train, task.train.labels, test, task.metric)
            found, others = scores(task, task.test.labels, predicted.labels.tolist()), self.baselines[number]
            complete = self.complete[number]
            results.append(
                {
                    "name": task.name,
                    "metric": task.metric,
                    "value": found.score,
                    "low": found.low,
                    "high": found.high,
                    "most_frequent": others.most_frequent.score,
                    "tfidf": others.tfidf.score,
                    "tfidf_low": others.tfidf.low,
                    "tfidf_high": others.tfidf.high,
                    "train_texts": len(task.train),
                    "test_texts": len(task.test),
                    "all_train_texts": len(complete.train),
                    "all_test_texts": len(complete.test),
                    "labels": list(task.labels),
                    **(
                        {"confusion": list(map(list, found.confusion))}
                        if len(task.labels) <= MOST_LABELS
                        else {}
                    ),
                    "sha256": self.job.tasks[number].sha256,
                    **_contamination(self.job.tasks[number]),
                    "predicted": predicted.labels.tolist(),
                }
            )
        return results


def _contamination(task: StagedTask) -> dict[str, int]:
    if task.contaminated is None:
        return {}
    return {"left_out_documents": task.left_out, "contaminated_documents": task.contaminated}


def was_probed(job: TrainingJob, evaluation: Mapping[str, Any]) -> bool:
    """Return whether an evaluation has the results of all tasks of the job, made with its settings."""
    made = {(task["name"], task["sha256"]) for task in evaluation.get("tasks", ())}
    same_time = evaluation.get("probe_seconds") == job.evaluate.probe_seconds
    return not job.tasks or (same_time and made >= {(task.name, task.sha256) for task in job.tasks})


def task_line(result: Mapping[str, Any]) -> str:
    """Return the result of a task as a line of the log."""
    return (
        f"task {result['name']}: {METRICS[result['metric']]} {result['value']:.4f} "
        f"(95% interval {result['low']:.4f} to {result['high']:.4f}), TF-IDF {result['tfidf']:.4f}, "
        f"most frequent label {result['most_frequent']:.4f}; {used_texts(result, 'train')} training texts, "
        f"{used_texts(result, 'test')} test texts{contaminated(result)}"
    )


def contaminated(result: Mapping[str, Any]) -> str:
    """Return what must be said of a score if the model was trained on test texts; else nothing."""
    documents = result.get("contaminated_documents")
    return f"; {documents:,} documents of the training text contain test texts" if documents else ""


def used_texts(result: Mapping[str, Any], part: str) -> str:
    """Return how many texts of a part were used, and of how many if not all were."""
    used, complete = result[f"{part}_texts"], result[f"all_{part}_texts"]
    return f"{used:,}" if used == complete else f"{used:,} of {complete:,}"


def sampled(task: LabelledTask, texts: int) -> LabelledTask:
    """Return a task with about so many texts, the first ones: at least half of them training texts.

    A label keeps the training texts that the cross-validation needs, also if that makes a few more.
    """
    test = max(1, min(len(task.test), max(texts // 2, texts - len(task.train))))
    return replace(task, train=_first(task.train, texts - test), test=task.test.first(test))


def _first(part: LabelledPart, count: int) -> LabelledPart:
    seen: Counter[int] = Counter()
    kept = []
    for row, label in enumerate(part.labels):
        seen[label] += 1
        if row < count or seen[label] <= FOLDS:
            kept.append(row)
    return LabelledPart(tuple(part.texts[row] for row in kept), tuple(part.labels[row] for row in kept))


def _read(job: TrainingJob, output: Output) -> list[LabelledTask]:
    # Every machine of a slice has the files here, also those whose ranks write elsewhere.
    layout = ModelLayout(Path(job.output), job)
    tasks = []
    for staged in job.tasks:
        path = layout.task(staged.name)
        output.fetch(path)
        tasks.append(read_staged(staged, path))
    return tasks

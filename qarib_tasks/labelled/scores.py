"""The scores of predicted labels: F1, accuracy, confusion matrix, and a 95% interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qarib_tasks.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from qarib_tasks.labelled.task import LabelledTask

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

METRICS = {"macro_f1": "macro-F1", "accuracy": "accuracy", "f1_pn": "F1 of positive and negative"}
MOST_LABELS = 50  # of a task whose confusion matrix is kept and shown
RESAMPLES = 2000
SEED = 34
INTERVAL = 0.95


@dataclass(frozen=True)
class Scores:
    """Attributes:
    score: the task's metric, from 0 to 1.
    low, high: the ends of its 95% interval, by bootstrap over the texts.
    f1: of each label that a text has or that was predicted.
    confusion: the number of texts by label and predicted label, in the order of the task's labels.
    texts: the number of texts.
    """

    score: float
    low: float
    high: float
    macro_f1: float
    accuracy: float
    f1: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    texts: int


def scores(task: LabelledTask, truth: Sequence[int], predicted: Sequence[int]) -> Scores:
    """Compare predicted labels with the true ones.

    Args:
        truth, predicted: a label of each text, as an index into the task's labels.

    Raises:
        InputError: there are no texts.
    """
    import numpy as np

    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} labels, {len(predicted)} predictions")
    if not len(truth):
        raise InputError("no texts to score", where=task.name)
    size = len(task.labels)
    cells = np.asarray(truth, dtype=np.int64) * size + np.asarray(predicted, dtype=np.int64)
    counts = np.bincount(cells, minlength=size * size)
    # To draw texts with replacement is to draw the counts of the cells.
    drawn = np.random.default_rng(SEED).multinomial(len(truth), counts / len(truth), size=RESAMPLES)
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(_metric(task, drawn.reshape(-1, size, size)), (tail, 1 - tail))
    matrix = counts.reshape(1, size, size)
    f1 = _f1(matrix)[0]
    return Scores(
        score=float(_metric(task, matrix)[0]),
        low=float(low),
        high=float(high),
        macro_f1=float(_macro(matrix)[0]),
        accuracy=float(_accuracy(matrix)[0]),
        f1={label: float(value) for label, value in zip(task.labels, f1, strict=True) if value == value},
        confusion=tuple(tuple(row) for row in matrix[0].tolist()),
        texts=len(truth),
    )


def _metric(task: LabelledTask, matrices: Integers) -> Floats:
    """Return float [n]: the task's metric of each of int [n, labels, labels]."""
    import numpy as np

    if task.metric == "accuracy":
        return _accuracy(matrices)
    if task.metric == "macro_f1":
        return _macro(matrices)
    if task.metric != "f1_pn":
        raise ValueError(f"no such metric: {task.metric}")
    both = [task.labels.index(task.positive), task.labels.index(task.negative)]
    means: Floats = np.nan_to_num(_f1(matrices)[:, both]).mean(axis=1)
    return means


def _f1(matrices: Integers) -> Floats:
    """Return float [n, labels]; NaN for a label that no text has and that was not predicted."""
    import numpy as np

    right = np.diagonal(matrices, axis1=1, axis2=2)
    both = matrices.sum(axis=1) + matrices.sum(axis=2)
    shares: Floats = np.divide(2.0 * right, both, out=np.full(both.shape, np.nan), where=both > 0)
    return shares


def _macro(matrices: Integers) -> Floats:
    import numpy as np

    means: Floats = np.nanmean(_f1(matrices), axis=1)
    return means


def _accuracy(matrices: Integers) -> Floats:
    right: Floats = matrices.trace(axis1=1, axis2=2) / matrices.sum(axis=(1, 2))
    return right

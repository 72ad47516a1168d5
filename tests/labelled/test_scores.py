"""Scores of predicted labels, against scikit-learn's and against drawing texts one by one.

Covers qarib_tasks/labelled/task.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from qarib_tasks.errors import InputError
from qarib_tasks.labelled.scores import scores
from qarib_tasks.labelled.task import LabelledPart, LabelledTask

LABELS = ("NEG", "NEU", "POS")


def task(labels: tuple[str, ...] = LABELS, **settings: Any) -> LabelledTask:
    part = LabelledPart(("نص",) * len(labels), tuple(range(len(labels))))
    return LabelledTask("t", settings.pop("metric", "macro_f1"), labels, part, part, **settings)


@pytest.fixture
def guesses() -> tuple[list[int], list[int]]:
    """Labels of 300 texts, one in three predicted at random."""
    draw = np.random.default_rng(1)
    truth = draw.choice(3, 300, p=[0.6, 0.3, 0.1])
    predicted = np.where(draw.random(300) < 0.3, draw.integers(0, 3, 300), truth)
    return truth.tolist(), predicted.tolist()


def test_the_figures_are_those_of_scikit_learn(guesses: tuple[list[int], list[int]]) -> None:
    truth, predicted = guesses
    found = scores(task(), truth, predicted)
    assert found.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert list(found.f1.values()) == pytest.approx(f1_score(truth, predicted, average=None).tolist())
    assert found.confusion == tuple(map(tuple, confusion_matrix(truth, predicted).tolist()))
    assert (found.texts, found.score) == (300, found.macro_f1)


def test_the_metric_decides_the_score(guesses: tuple[list[int], list[int]]) -> None:
    assert scores(task(metric="accuracy"), *guesses).score == scores(task(), *guesses).accuracy
    found = scores(task(metric="f1_pn", positive="POS", negative="NEG"), *guesses)
    assert found.score == pytest.approx((found.f1["POS"] + found.f1["NEG"]) / 2)
    assert found.low < found.score < found.high


def test_the_interval_is_that_of_drawing_texts(guesses: tuple[list[int], list[int]]) -> None:
    truth, predicted = map(np.asarray, guesses)
    draw, drawn = np.random.default_rng(2), []
    for _ in range(1000):
        some = draw.integers(0, len(truth), len(truth))
        drawn.append(f1_score(truth[some], predicted[some], average="macro"))
    found = scores(task(), *guesses)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.01)
    assert scores(task(), *guesses) == found


def test_a_label_that_does_not_occur_counts_only_if_it_is_predicted() -> None:
    found = scores(task(), [0, 0, 1, 1], [0, 0, 1, 1])
    assert (found.score, found.low, found.high) == (1, 1, 1)
    assert found.f1 == {"NEG": 1, "NEU": 1}
    found = scores(task(), [0, 0, 1, 1], [0, 0, 1, 2])
    assert found.macro_f1 == pytest.approx(f1_score([0, 0, 1, 1], [0, 0, 1, 2], average="macro"))
    assert found.f1["POS"] == 0
    only = scores(task(metric="f1_pn", positive="POS", negative="NEG"), [0, 0], [0, 0])
    assert only.score == 0.5


def test_without_texts_there_is_no_score() -> None:
    with pytest.raises(InputError, match="t: no texts to score"):
        scores(task(), [], [])
    with pytest.raises(ValueError, match="2 labels, 1 predictions"):
        scores(task(), [0, 1], [0])


def test_the_first_texts_are_a_part() -> None:
    part = task().train.first(2)
    assert (len(part), part.labels) == (2, (0, 1))
    assert task().counts(part) == {"NEG": 1, "NEU": 1, "POS": 0}

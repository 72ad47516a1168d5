"""The regression and the baselines. Data are drawn here.

Covers qarib_tasks/labelled/baselines.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from qarib_tasks.labelled import baselines, regression
from qarib_tasks.labelled.regression import fit_and_predict
from qarib_tasks.labelled.task import LabelledPart, LabelledTask

SIZE = 400


def drawn(share: float = 0.5, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two labels whose means differ in the first of 30 features, on a scale of a thousand."""
    draw = np.random.default_rng(3)
    labels = (draw.random(SIZE) < share).astype(int)
    features = draw.normal(size=(SIZE, 30)) * noise
    features[:, 0] += 2 * labels
    return features * 1000, labels


def test_it_predicts_and_gives_the_same_twice() -> None:
    features, labels = drawn()
    found = fit_and_predict(features[:300], labels[:300], features[300:], "macro_f1")
    assert (found.labels == labels[300:]).mean() > 0.7
    again = fit_and_predict(features[:300], labels[:300], features[300:], "macro_f1")
    assert (again.labels == found.labels).all()
    assert again.strength == found.strength


def test_it_is_close_to_the_optimum_for_features_that_differ_in_their_last_bits() -> None:
    features, labels = drawn(noise=2)
    one = fit_and_predict(features[:300], labels[:300], features[300:], "macro_f1")
    other = fit_and_predict(
        (features[:300] * (1 + 1e-6)).astype("f4"), labels[:300], features[300:].astype("f4"), "macro_f1"
    )
    assert (one.labels == other.labels).all()


def test_noise_is_regularized() -> None:
    features, labels = drawn(noise=20)
    noisy = fit_and_predict(features[:300], labels[:300], features[300:], "macro_f1")
    clear, labels = drawn(noise=0.3)
    assert noisy.strength < fit_and_predict(clear[:300], labels[:300], clear[300:], "macro_f1").strength


def test_rare_labels_count_as_much_as_frequent_ones_unless_the_metric_is_accuracy() -> None:
    features, labels = drawn(share=0.1)
    count = {
        metric: fit_and_predict(features[:300], labels[:300], features[300:], metric).labels.sum()
        for metric in ("macro_f1", "f1_pn", "accuracy")
    }
    assert count["macro_f1"] == count["f1_pn"] > count["accuracy"]


def test_sparse_features_give_what_dense_ones_give() -> None:
    features, labels = drawn()
    features = (features > 0).astype(float)
    dense = regression._model(0.1, "lbfgs").fit(features, labels)
    other = sparse.csr_matrix(features)
    assert regression._model(0.1, "sag").fit(other, labels).coef_ == pytest.approx(dense.coef_, abs=0.05)
    assert len(fit_and_predict(other, labels, other, "macro_f1").labels) == SIZE


@pytest.mark.parametrize("seed", range(4))
def test_with_few_texts_tfidf_is_better_than_one_label_for_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    words, others = (
        (("رائع", "جميل"), ("سيئ", "قبيح"), ("خبر", "بيان")),
        ["في", "من", "على", "إلى", "هذا", "كان", "قال", "بعد", "يوم", "بين"],
    )

    def part(count: int) -> LabelledPart:
        labels = draw.choice(3, count, p=[0.6, 0.3, 0.1])
        own = [[draw.choice(words[label])] if draw.random() < 0.4 else [] for label in labels]
        return LabelledPart(
            tuple(" ".join([*draw.choice(others, 8), *some]) for some in own), tuple(map(int, labels))
        )

    task = LabelledTask("t", "macro_f1", ("a", "b", "c"), part(40), part(400))
    found = baselines.baselines(task)
    assert found.tfidf.score > found.most_frequent.score + 0.1


@pytest.mark.parametrize("rare", [1, 2])
def test_a_label_with_few_texts_is_no_error(rare: int) -> None:
    features, labels = drawn()
    labels[:rare] = 2
    assert len(fit_and_predict(features, labels, features, "macro_f1").labels) == SIZE


WORDS = (("رائع", "جميل", "ممتاز"), ("سيئ", "قبيح", "رديء"))


def made_task(texts: int) -> LabelledTask:
    draw = np.random.default_rng(4)

    def part(count: int) -> LabelledPart:
        labels = draw.choice(2, count, p=[0.7, 0.3]).tolist()
        return LabelledPart(tuple(f"هذا {draw.choice(WORDS[one])} جدا" for one in labels), tuple(labels))

    return LabelledTask("opinion", "macro_f1", ("good", "bad"), part(texts), part(texts))


@pytest.mark.parametrize("texts", [10, 200])
def test_the_baselines(texts: int) -> None:
    task = made_task(texts)
    found = baselines.baselines(task)
    share = task.test.labels.count(0) / len(task.test)
    assert found.most_frequent.accuracy == pytest.approx(share)
    assert found.most_frequent.macro_f1 == pytest.approx(share / (1 + share))
    assert found.tfidf.score > found.most_frequent.score
    if texts == 200:
        assert found.tfidf.score == 1
    assert baselines.baselines(task) == found

"""What a model must beat: the most frequent label, and character n-grams."""

from __future__ import annotations

from dataclasses import dataclass

from qarib_tasks.labelled.regression import fit_and_predict
from qarib_tasks.labelled.scores import Scores, scores
from qarib_tasks.labelled.task import LabelledTask

NGRAMS = (2, 5)  # characters, within words
MOST_NGRAMS = 50_000  # the most frequent ones, of those in at least two texts


@dataclass(frozen=True)
class Baselines:
    """Attributes:
    most_frequent: the label that most training texts have, for each text.
    tfidf: TF-IDF of character n-grams, with the same regression as a model's vectors.
    """

    most_frequent: Scores
    tfidf: Scores


def baselines(task: LabelledTask) -> Baselines:
    """Score both baselines on the task's test texts."""
    return Baselines(most_frequent(task), tfidf(task))


def most_frequent(task: LabelledTask) -> Scores:
    """Score the label that most training texts have; of equally frequent ones the first."""
    counts = list(task.counts(task.train).values())
    label = counts.index(max(counts))
    return scores(task, task.test.labels, [label] * len(task.test))


def tfidf(task: LabelledTask) -> Scores:
    """Score TF-IDF of character n-grams with a logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    # An n-gram that only one text has tells nothing of others; with few texts there may be no other.
    options = {
        "analyzer": "char_wb",
        "ngram_range": NGRAMS,
        "sublinear_tf": True,
        "max_features": MOST_NGRAMS,
    }
    vectorizer = TfidfVectorizer(**options, min_df=2 if len(task.train) > 50 else 1)
    train = vectorizer.fit_transform(task.train.texts)
    test = vectorizer.transform(task.test.texts)
    predicted = fit_and_predict(train, task.train.labels, test, task.metric)
    return scores(task, task.test.labels, predicted.labels.tolist())

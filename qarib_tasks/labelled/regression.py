"""Logistic regression on fixed features, with its strength chosen on the training texts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qarib_tasks.config.evaluation import Metric

if TYPE_CHECKING:
    import numpy as np

    Integers = np.ndarray[Any, np.dtype[np.int64]]

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # of which cross-validation chooses: scikit-learn's C
FOLDS = 3
MOST_FOLDED = 4000  # texts for the cross-validation
SEED = 34
ITERATIONS = 1000
TOLERANCE = 1e-4
# Below, SAG ends before it has moved the intercepts, and one label is predicted for all texts.
FEWEST_FOR_SAG = 500


@dataclass(frozen=True)
class Predictions:
    """Attributes:
    labels: int [texts]: the predicted labels.
    strength: the C that was chosen.
    """

    labels: Integers
    strength: float


def fit_and_predict(train: Any, labels: Any, test: Any, metric: Metric) -> Predictions:
    """Fit a logistic regression to the training texts, and predict the labels of the test texts.

    C is the one of `STRENGTHS` with the least log-loss in stratified cross-validation on the first texts. The
    loss changes smoothly with the features; counts of right texts do not. Unless the metric is accuracy, each
    label has the same weight in all, however many texts it has.

    Args:
        train, test: float [texts, features], dense or a sparse matrix, the texts in random order. Dense
            features are standardized.
        labels: int [texts] of the training texts; at least two of them differ.
    """
    import numpy as np
    from scipy import sparse
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    labels = np.asarray(labels)
    # With more threads, sums have another order, which depends on the machine.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=_convergence_warning())
        if not sparse.issparse(train):
            scaler = StandardScaler().fit(np.asarray(train, dtype=np.float64))
            train = scaler.transform(np.asarray(train, dtype=np.float64))
            test = scaler.transform(np.asarray(test, dtype=np.float64))
        weights = _weights(labels, metric)
        # On sparse features of similar size, SAG is fifty times as fast as L-BFGS.
        solver = "sag" if sparse.issparse(train) and len(labels) >= FEWEST_FOR_SAG else "lbfgs"
        strength = _strength(train, labels, weights, solver)
        model = _model(strength, solver).fit(train, labels, sample_weight=weights)
        return Predictions(np.asarray(model.predict(test), dtype=np.int64), strength)


def _strength(train: Any, labels: Any, weights: Any, solver: str) -> float:
    """Return the first of the rising strengths after which the loss on texts that were not fitted rises."""
    import numpy as np
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    train, labels, weights = train[:MOST_FOLDED], labels[:MOST_FOLDED], weights[:MOST_FOLDED]
    counts = np.bincount(labels)
    if counts[counts > 0].min() < FOLDS:
        # Labels with fewer texts than folds cannot be in each. They do not help to choose.
        enough = counts[labels] >= FOLDS
        train, labels, weights = train[enough], labels[enough], weights[enough]
    if len(np.unique(labels)) < 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(labels[:, None], labels))
    models = [_model(STRENGTHS[0], solver) for _ in folds]
    losses: list[float] = []
    for strength in STRENGTHS:
        losses.append(0.0)
        for model, (inside, outside) in zip(models, folds, strict=True):
            # It starts from the coefficients of the strength before.
            model.set_params(C=strength).fit(train[inside], labels[inside], sample_weight=weights[inside])
            shares = model.predict_proba(train[outside])
            losses[-1] += log_loss(
                labels[outside], shares, labels=model.classes_, sample_weight=weights[outside]
            )
        if losses[-1] > min(losses):
            break
    return STRENGTHS[int(np.argmin(losses))]


def _model(strength: float, solver: str) -> Any:
    from sklearn.linear_model import LogisticRegression

    options = {"max_iter": ITERATIONS, "tol": TOLERANCE, "warm_start": True, "random_state": SEED}
    return LogisticRegression(C=strength, solver=solver, **options)


def _weights(labels: Any, metric: Metric) -> Any:
    """Return float [texts]: weights with mean 1."""
    import numpy as np

    if metric == "accuracy":
        return np.ones(len(labels))
    counts = np.bincount(labels)
    return len(labels) / np.count_nonzero(counts) / counts[labels]


def _convergence_warning() -> type[Warning]:
    from sklearn.exceptions import ConvergenceWarning

    return ConvergenceWarning  # type: ignore[no-any-return]

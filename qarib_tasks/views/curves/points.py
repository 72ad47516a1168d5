"""As many points of a curve as a screen shows, so that no peak is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def extremes(values: Numbers, buckets: int) -> npt.NDArray[np.int64]:
    """The indices of the smallest and the largest value of each bucket, and of the ends; in order.

    Half of the buckets divide the values evenly, the others by the logarithm of their index: on a logarithmic
    axis the beginning has as much room as the rest.

    Args:
        values: finite.
        buckets: of values of about the same index; with no more than two values for each, all are kept.
    """
    count = len(values)
    if count <= 2 * buckets:
        return np.arange(count)
    even = np.linspace(0, count, buckets // 2 + 1)
    logarithmic = np.geomspace(1, count, buckets - buckets // 2 + 1)
    edges = np.unique(np.concatenate([even, logarithmic]).astype(np.int64))
    kept = {0, count - 1}
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[start:end]
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    return np.array(sorted(kept), np.int64)


def smoothed(values: Numbers, share: float) -> Numbers:
    """Each value as the mean of those around it: of a share of all, as many before it as after it."""
    half = round(len(values) * share / 2)
    if half < 1:
        return values
    index = np.arange(len(values))
    # At the ends, too, as many before as after: a mean of one side only would be late.
    reach = np.minimum(half, np.minimum(index, index[::-1]))
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: Any = (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)
    return np.asarray(means, np.float64)


def cumulative_hours(steps: Numbers, rates: Numbers, batch: float) -> Numbers | None:
    """The hours that a training has spent on its steps, after each of them.

    Args:
        steps: (n,), in order. rates: examples per second since the step before, (n,); a rate that is not
            known is that of the next known step.
        batch: examples of a step.

    Returns:
        (n,), without interruptions and what else takes time; None if no rate is known.
    """
    known = np.isfinite(rates) & (rates > 0)
    if not known.any():
        return None
    places = np.flatnonzero(known)
    following = places[np.minimum(np.searchsorted(places, np.arange(len(rates))), len(places) - 1)]
    made = np.diff(steps, prepend=0.0)
    with np.errstate(over="ignore"):
        hours: Any = np.cumsum(np.maximum(made, 0) * batch / rates[following]) / 3600
    return np.asarray(hours, np.float64)

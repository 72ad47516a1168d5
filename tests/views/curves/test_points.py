"""Points of a curve: as many as a screen shows, with its peaks."""

from __future__ import annotations

import numpy as np
import pytest

from qarib_tasks.views.curves.points import cumulative_hours, extremes, smoothed


def test_no_peak_is_lost() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=200_000)
    peaks = random.choice(200_000, 20, replace=False)
    values[peaks[:10]], values[peaks[10:]] = 50.0 + np.arange(10), -50.0 - np.arange(10)
    shown = extremes(values, 300)
    # Peaks in one bucket are one peak on the screen.
    assert {59.0, -59.0} <= set(values[shown])
    buckets = np.unique(peaks // (200_000 // 150))
    assert np.isin(peaks, shown).sum() >= len(buckets) - 2
    assert (shown[0], shown[-1], len(shown) <= 602) == (0, 199_999, True)
    assert (np.diff(shown) > 0).all()


def test_the_beginning_has_points_for_a_logarithmic_axis() -> None:
    shown = extremes(np.sin(np.arange(200_000.0)), 300)
    for start in (1, 10, 100, 1_000, 10_000):
        assert ((shown >= start) & (shown < 10 * start)).sum() >= min(5, start * 9), start


@pytest.mark.parametrize("count", [0, 1, 2, 600])
def test_few_points_are_all_shown(count: int) -> None:
    assert extremes(np.zeros(count), 300).tolist() == list(range(count))


def test_a_smoothed_curve_is_the_mean_around_each_point() -> None:
    values = np.arange(100.0)
    # As many before as after, also at the ends: a straight line stays where it is.
    np.testing.assert_allclose(smoothed(values, 0.1), values)
    values[50] = 150.0
    made = smoothed(values, 0.1)
    assert made[50] == pytest.approx((values[45:56]).mean())
    assert (made[44], made[56]) == (pytest.approx(44), pytest.approx(56))
    assert smoothed(values, 0.0) is values
    assert smoothed(np.zeros(0), 0.5).tolist() == []


def test_hours_of_the_steps() -> None:
    steps = np.array([1.0, 10.0, 20.0, 30.0])
    hours = cumulative_hours(steps, np.array([np.nan, 10.0, 0.0, 20.0]), batch=3600)
    assert hours is not None
    # A rate that is not known is the next known one.
    assert hours.tolist() == pytest.approx([1 / 10, 1.0, 1.0 + 10 / 20, 2.0])
    assert cumulative_hours(steps, np.full(4, np.nan), 1) is None
    assert cumulative_hours(np.zeros(0), np.zeros(0), 1) is None

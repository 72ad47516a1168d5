"""Samples that are the same at each run."""

from __future__ import annotations

import pytest

from qarib_tasks.corpus.sampling import sample


@pytest.mark.parametrize("total", [1, 999, 3000])
def test_the_sample_has_exactly_its_size_spread_over_the_corpus(
    total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qarib_tasks.corpus.sampling.BLOCK", 700)
    chosen = list(sample(total, 600, 34))
    assert len(chosen) == total
    assert sum(chosen) == min(total, 600)
    if total == 3000:
        assert all(80 <= sum(chosen[at : at + 600]) <= 160 for at in range(0, 3000, 600))
        assert list(sample(3000, 600, 35)) != chosen


def test_the_sample_is_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(sample(5000, 100, 34))
    monkeypatch.setattr("qarib_tasks.corpus.sampling.BLOCK", 33)
    assert list(sample(5000, 100, 34)) == whole
    assert [i for i, chosen in enumerate(whole) if chosen][:3] == [20, 170, 221]

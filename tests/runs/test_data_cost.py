"""What the data of a run take besides its training."""

from __future__ import annotations

import pytest

from qarib_tasks.config.presets import resolve
from qarib_tasks.runs.data_cost import apart, data_cost

SENTENCES = 60e9  # bytes of 600 million


def test_the_published_corpus() -> None:
    """The figures of docs/scaling.md for one worker, without its vocabulary and its overhead per shard."""
    config = resolve({"preset": "qarib", "workspace": "-", "tpu": {"machine": "cloud_tpu"}})
    found = data_cost(config, SENTENCES)
    assert found.stored / 1e9 == pytest.approx(1_172 * 0.65, rel=0.1)
    assert found.monthly.low == pytest.approx(16.44, rel=0.1)
    assert found.worker_hours == pytest.approx(1.4 + 0.1 + 1_172 * 7.2 / 3600, rel=0.05)
    assert found.where is None
    assert "GB in the bucket" in str(found)
    assert "Google charges" not in str(found)


def test_a_bucket_in_another_region_is_told() -> None:
    config = resolve({"preset": "qarib", "workspace": "-", "tpu": {"zones": ["europe-west4-a"]}})
    found = data_cost(config, SENTENCES, "US-CENTRAL1")
    assert found.where == ("US-CENTRAL1", "europe-west4")
    assert found.crossing == found.stored > 0
    assert "from a bucket in US-CENTRAL1; the TPU is in europe-west4" in str(found)
    assert data_cost(config, SENTENCES, "EUROPE-WEST4").where is None
    local = resolve({"preset": "demo", "workspace": "-"})
    assert data_cost(local, SENTENCES, "US-CENTRAL1").where is None


@pytest.mark.parametrize(
    ("location", "zones", "found"),
    [
        ("US-CENTRAL1", ("us-central1-a", "europe-west4-a"), None),
        ("US", ("us-central1-a",), ("US", "us-central1")),
        (None, ("us-central1-a",), None),
        ("US", (), None),
    ],
)
def test_apart(location: str | None, zones: tuple[str, ...], found: tuple[str, str] | None) -> None:
    assert apart(location, zones) == found

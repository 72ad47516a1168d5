"""What the data of a run take besides its training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qarib_tasks.config.presets import resolve
from qarib_tasks.runs.data_cost import CACHE_BYTES, apart, data_cost
from qarib_tasks.train.data import shards

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
    assert found.where == ("US-CENTRAL1", ("europe-west4",))
    # 111 of 1,172 shards.
    assert found.crossing == pytest.approx(0.0944 * found.stored, rel=0.01)
    assert "from a bucket in US-CENTRAL1; the TPU is in europe-west4" in str(found)
    assert data_cost(config, SENTENCES, "EUROPE-WEST4").where is None
    # Six epochs: of shards that fit on the TPU's disk, each is read from the bucket once.
    again = replace(config, train=replace(config.train, train_batch_size=4_096))
    assert data_cost(again, SENTENCES, "US-CENTRAL1").crossing == pytest.approx(6.04 * found.stored, rel=0.01)
    assert CACHE_BYTES == shards.CACHE_BYTES
    small = data_cost(again, SENTENCES / 100, "US-CENTRAL1")
    assert small.crossing == small.stored > 0
    local = resolve({"preset": "demo", "workspace": "-"})
    assert data_cost(local, SENTENCES, "US-CENTRAL1").where is None


@pytest.mark.parametrize(
    ("location", "zones", "found"),
    [
        ("US-CENTRAL1", ("us-central1-a", "us-central1-b"), None),
        ("US-CENTRAL1", ("us-central1-a", "europe-west4-a"), ("US-CENTRAL1", ("europe-west4",))),
        ("US", ("us-central1-a", "us-central1-b"), ("US", ("us-central1",))),
        (None, ("us-central1-a",), None),
        ("US", (), None),
    ],
)
def test_apart(
    location: str | None, zones: tuple[str, ...], found: tuple[str, tuple[str, ...]] | None
) -> None:
    assert apart(location, zones) == found


def test_a_tpu_that_can_be_in_another_region() -> None:
    config = resolve({"preset": "qarib", "workspace": "-"})
    text = str(data_cost(config, SENTENCES, "US-CENTRAL1"))
    assert "from a bucket in US-CENTRAL1; the TPU can be in us-west4 or europe-west4. Google charges" in text
    assert text.endswith("Use zones of the bucket's region")


def test_a_small_corpus_is_not_free() -> None:
    config = resolve({"preset": "qarib", "workspace": "-"})
    assert "less than 0.01 US dollars per month; 0.1 minutes of one core" in str(data_cost(config, 20e6))
    assert data_cost(config, 0, "US").crossing == 0

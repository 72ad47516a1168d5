"""The model and the one before it, as the page shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qarib_tasks.views.model import links, model_view
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, write_training


def test_the_former_model(run: MadeUpRun, bucket: FolderBucket) -> None:
    other = replace(run.record, run_id="before", values={**run.record.values, "model_id": "demo-00000000cc"})
    assert run.record.model is not None
    assert other.model is not None
    write_training(bucket.folder / run.record.model.name, steps=20, at="")
    write_training(bucket.folder / other.model.name, steps=10, at="")
    view = model_view(run.record, files(run, bucket), [run.record, other])
    assert (view["evaluation"]["masked_lm_loss"], view["former"]["evaluation"]["masked_lm_loss"]) == (
        6.0,
        7.0,
    )
    assert view["former"]["same_heldout"] is True
    # The record of promoted models goes before.
    judged = [
        {"model_id": "demo-1", "state": "promoted", "heldout": "h", "evaluation": {"masked_lm_loss": 6.5}},
        {"model_id": "demo-00000000bb", "state": "promoted", "heldout": "h", "reason": "not worse"},
    ]
    for promoted in ("demo-1", "demo-00000000bb"):
        record = {"presets": {"demo": {"promoted": promoted, "judged": judged}}}
        (bucket.folder / "models/promoted.json").write_text(json.dumps(record))
        view = model_view(run.record, files(run, bucket), [other])
        assert view["former"]["model_id"] == "demo-1"
        assert view["is_promoted"] is (promoted == "demo-00000000bb")
    assert view["judgement"] == "not worse"
    # One that came after it was not before it.
    judged.append({"model_id": "demo-2", "state": "promoted", "heldout": "h"})
    record = {"presets": {"demo": {"promoted": "demo-2", "judged": judged}}}
    (bucket.folder / "models/promoted.json").write_text(json.dumps(record))
    assert model_view(run.record, files(run, bucket), [])["former"]["model_id"] == "demo-1"


def test_a_successor_is_no_former_model(run: MadeUpRun, bucket: FolderBucket) -> None:
    """A model that was never judged has none of the models before it that were promoted later."""
    ended = datetime(2026, 11, 10, tzinfo=UTC)
    record = replace(run.record, ended=ended)
    assert record.model is not None
    write_training(bucket.folder / record.model.name, steps=20, at="")

    def former(*judged: tuple[str, str]) -> object:
        entries = [
            {"model_id": name, "state": "promoted", "evaluation": {"masked_lm_loss": 6.5}, "judged_at": at}
            for name, at in judged
        ]
        values = {"presets": {"demo": {"promoted": judged[-1][0], "judged": entries}}}
        (bucket.folder / "models/promoted.json").write_text(json.dumps(values))
        found = model_view(record, files(run, bucket), [])["former"]
        return found and found["model_id"]

    assert (
        former(("demo-1", "2026-11-09T00:00:00+00:00"), ("demo-2", "2026-11-11T00:00:00+00:00")) == "demo-1"
    )
    assert former(("demo-2", "2026-11-11T00:00:00+00:00")) is None
    assert former(("demo-2", "no time")) is None


def test_a_bucket_of_an_emulator_has_no_link(run: MadeUpRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    place = "qarib/models/demo-00000000bb"
    own = {one["title"]: (one["address"], one["href"]) for one in links(run.record)}
    assert own["Model"] == (f"gs://{place}/", f"https://console.cloud.google.com/storage/browser/{place}")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert [one["href"] for one in links(run.record)] == [None] * 3

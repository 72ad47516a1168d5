"""The model and the one before it, as the page shows them."""

from __future__ import annotations

import json
from dataclasses import replace

from qarib_tasks.views.model import model_view
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

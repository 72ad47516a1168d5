"""The list of runs, before there is anything to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.files import Cache, Files
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord, summary
from qarib_tasks.views.shards import shards_view
from qarib_tasks.views.training import training_view


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    record = RunRecord(dag_id="qarib_pretrain", run_id="new", state="running")
    own = Files(None, None, Cache())
    assert summary(record, own, 0.0)["training"] is None
    assert shards_view(record, own, [])["shards"] == []
    assert corpus_view(record, own)["corpus"] is None
    assert training_view(record, own, 0.0)["progress"] is None
    assert model_view(record, own, [])["model_id"] is None
    named = replace(
        record,
        values={
            "dataset_id": "demo-0000000001",
            "model_id": "demo-0000000002",
            "config": {"workspace": str(tmp_path)},
        },
    )
    own = Files(tmp_path, None, Cache())
    assert shards_view(named, own, [])["shards"] == []
    assert training_view(named, own, 0.0)["history"] == {}
    assert model_view(named, own, [])["evaluation"] is None

"""Two months of text through the DAGs: the model of the first is trained further on the second."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.dataset.ledger import files_of
from qarib_tasks.layout import ModelLayout
from qarib_tasks.registry.comparison import JudgedModel
from qarib_tasks.registry.promotion import promoted_model, record_of
from qarib_tasks.runs.run import Run, ledger_of, run_of_dataset
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest
from tests.support.airflow_runs import MONTH, SKIPPED
from tests.support.datasets import write_documents

MODEL_EVENT = """
select asset.name, asset_event.extra from asset_event join asset on asset.id = asset_event.asset_id
order by asset_event.id
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "text"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def deployment(text: Path, bucket_name: str, airflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An Airflow that re-trains each month on that month's files. Returns the workspace."""
    workspace = text.parent
    monkeypatch.setenv("QARIB_WORKSPACE", str(workspace))
    monkeypatch.setenv("QARIB_BUCKET", bucket_name)
    monkeypatch.setenv("QARIB_RETRAIN_SCHEDULE", "0 0 1 * *")
    values = {
        "preset": "demo",
        "sources": [{"name": "text", "path": str(text / "{month}.txt")}],
        "retrain_steps": 30,
    }
    monkeypatch.setenv("QARIB_RETRAIN", json.dumps(values))
    return workspace


def pretrain(conf: Mapping[str, Any]) -> Any:
    import qarib_pretrain

    return qarib_pretrain.DAG.test(run_conf=dict(conf))


def retrain(month: int, **conf: Any) -> Any:
    """The run of a month's data interval, as the schedule and a backfill make it."""
    import qarib_retrain

    dag = importlib.reload(qarib_retrain).DAG
    return dag.test(logical_date=datetime(2026, month + 1, 1, tzinfo=UTC), run_conf=conf)


def states(run: Any) -> dict[str, str]:
    """Without those of the fine-tunings, which a run without tasks skips."""
    found = {instance.task_id: instance.state for instance in run.get_task_instances()}
    assert {found.pop(task) for task in SKIPPED} <= {"skipped"}
    return found


def require_success(run: Any) -> None:
    assert set(states(run).values()) == {"success"}, states(run)


def events() -> list[tuple[str, dict[str, Any]]]:
    """The assets' events so far, each with what it tells."""
    from airflow.utils.session import create_session
    from sqlalchemy import text as sql

    with create_session() as session:
        return [(name, json.loads(extra)) for name, extra in session.execute(sql(MODEL_EVENT))]


def promoted(workspace: Path, bucket: str) -> JudgedModel:
    found = promoted_model(record_of(workspace, f"gs://{bucket}/"), "demo")
    assert found
    return found


def run_of(workspace: Path, dataset_id: str) -> Run:
    return run_of_dataset(workspace, dataset_id)


@pytest.mark.slow
def test_a_second_month_of_text(
    deployment: Path, text: Path, bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket(f"gs://{bucket_name}/")
    before_all = len(events())
    write_documents(text / "2026-01.txt", 0, 400)
    source = {"name": "text", "path": str(text / "2026-01.txt")}
    require_success(pretrain({**MONTH, "sources": [source]}))
    first = promoted(deployment, bucket_name)
    assert first.total_steps == 20
    names = [name for name, _ in events()[before_all:]]
    assert sorted(names) == ["qarib_dataset", "qarib_model", "qarib_vocabulary"]
    old = {name: blob.generation for name, blob in bucket.list(f"datasets/{first.dataset_id}/").items()}
    assert any(name.endswith(".tfrecord") for name in old)

    # Trained at an absurd rate: a candidate, of which nobody is told.
    write_documents(text / "2026-02.txt", 380, 700)
    worse = retrain(2, learning_rate=0.5)
    assert {task for task, state in states(worse).items() if state != "success"} == {"promote"}
    assert (worse.state, states(worse)["promote"]) == ("success", "skipped")
    assert "stays a candidate: worse: masked-LM loss" in caplog.text
    assert promoted(deployment, bucket_name) == first
    assert "qarib_model" not in [name for name, _ in events()[before_all + 3 :]]

    # Trained well: promoted, on the same dataset, which is not made again.
    second_dataset = {n: b.generation for n, b in bucket.list("datasets/").items() if n not in old}
    require_success(retrain(2))
    second = promoted(deployment, bucket_name)
    assert second.loss < first.loss
    assert second.total_steps == 50
    assert second.trained_from == first.address == f"gs://{bucket_name}/models/{first.model_id}"
    now = {name: blob.generation for name, blob in bucket.list("datasets/").items()}
    assert {name: now[name] for name in old} == old
    data = [name for name in second_dataset if not name.endswith("config.yaml")]
    assert {name: now[name] for name in data} == {name: second_dataset[name] for name in data}
    name, extra = events()[-1]
    assert (name, extra["model_id"], extra["total_steps"]) == ("qarib_model", second.model_id, 50)

    runs = [run_of(deployment, model.dataset_id) for model in (first, second)]
    assert runs[1].config.extends == first.dataset_id
    vocabularies = [bucket.get(f"{run.dataset.name}vocab.txt").crc32c for run in runs]
    assert vocabularies[0] == vocabularies[1]
    tfrecords = [
        {record.name for record in Manifest.read(run.dataset.manifest).outputs if "tfrecord" in record.name}
        for run in runs
    ]
    assert not tfrecords[0] & tfrecords[1]
    manifest = Manifest.read(ModelLayout.of(deployment, second.model_id, runs[1].config.upload).manifest)
    assert (manifest.statistics["total_steps"], manifest.config["steps_before"]) == (50, 20)
    assert json.loads(bucket.read_text("models/promoted.json") or "") == json.loads(
        (deployment / "models" / "promoted.json").read_text()
    )
    taken = {(Path(f.address).name, f.dataset) for f in files_of(ledger_of(runs[0]).read())}
    taken &= {
        (Path(f.address).name, f.dataset)
        for f in files_of(json.loads(bucket.read_text("sources.json") or ""))
    }
    assert taken == {("2026-01.txt", first.dataset_id), ("2026-02.txt", second.dataset_id)}

    # The same month once more: nothing is left to do.
    again = retrain(2)
    assert again.state == "success"
    assert {state for task, state in states(again).items() if task != "preflight"} == {"skipped"}
    assert promoted(deployment, bucket_name) == second

    # A new file of nothing but old text.
    (text / "2026-03.txt").write_bytes((text / "2026-02.txt").read_bytes() + b"\n")
    repeated = retrain(3)
    assert repeated.state == "success"
    done = {task for task, state in states(repeated).items() if state != "skipped"}
    assert done == {"preflight", "sources", "collect_source", "collect"}
    assert "documents are already in the datasets that it extends" in caplog.text
    assert promoted(deployment, bucket_name) == second

"""The DAG qarib_backfill_shards.

Covers plugins/qarib_airflow/preflight/backfill.py.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from qarib_airflow.preflight.backfill import find_run, plan

from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import CONNECTION, fail, objects, states


@pytest.fixture
def run(published_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("QARIB_WORKSPACE", published_run.config.workspace)
    monkeypatch.setenv("QARIB_BUCKET", published_run.config.upload.bucket)
    return published_run


def backfill(run: Run, **conf: Any) -> Any:
    import qarib_backfill_shards

    dag = qarib_backfill_shards.qarib_backfill_shards()
    conf = {"dataset": run.dataset_id, "workspace": run.config.workspace, **conf}
    return dag.test(run_conf=conf)


def test_a_backfill_repairs_what_can_be_repaired_and_touches_nothing_else(
    run: Run, airflow_database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    raw = run.dataset.shard("shards/shard_0000")
    text = raw.read_bytes()
    raw.unlink()
    fail(run, "shards/shard_0000", "cannot be read")
    fail(run, "shards/shard_0001", "was killed")
    bucket.delete("pretraining_data/shard_0002.tfrecord")
    bucket.write_text("pretraining_data/shard_0003.tfrecord", "other")
    damaged = {f"pretraining_data/shard_000{number}" for number in range(4)}
    before = {n: b.generation for n, b in objects(run).items() if n.partition(".")[0] not in damaged}
    assert len(before) > 2

    first = backfill(run)
    assert first.state == "failed"
    assert {name for name in states(run)} == {"shards/shard_0000"}
    assert "4 incomplete or damaged" in caplog.text
    now = {name: blob.generation for name, blob in objects(run).items()}
    assert {name: now[name] for name in before} == before

    raw.write_bytes(text)
    second = backfill(run, choice=["failed"])
    assert second.state == "success"
    assert states(run) == {}
    now = {name: blob.generation for name, blob in objects(run).items()}
    assert {name: now[name] for name in before} == before
    assert now["manifest.json"]
    assert Manifest.read(run.dataset.manifest).statistics["examples"] > 0


def test_a_shard_whose_file_was_dropped_is_not_converted_again(run: Run, airflow_database: Path) -> None:
    """As with keep_local off: the bucket has it, and only another fault of it makes it be made again."""
    dropped, damaged = (run.dataset.tfrecord(f"shards/shard_000{number}") for number in (0, 1))
    dropped.unlink()
    damaged.unlink()
    Bucket(f"{run.address}{run.dataset.name}").delete("pretraining_data/shard_0001.tfrecord")
    before = objects(run)["pretraining_data/shard_0000.tfrecord"].generation
    assert backfill(run, shards=["shards/shard_0000", "shards/shard_0001"]).state == "success"
    assert (dropped.exists(), damaged.exists()) == (False, True)
    assert objects(run)["pretraining_data/shard_0000.tfrecord"].generation == before
    assert states(run) == {}


def test_a_flipped_byte_in_the_workspace_is_planned(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    params = {"choice": ["failed", "missing", "corrupt"], "shards": []}
    assert plan(run, params, CONNECTION) == []
    file = run.dataset.tfrecord("shards/shard_0001")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert plan(run, params, CONNECTION) == ["shards/shard_0001"]
    where = "pretraining_data/shard_0001.tfrecord"
    assert f"shards/shard_0001: the workspace's {where} does not match its manifest" in caplog.text
    assert plan(run, params | {"choice": ["missing"]}, CONNECTION) == []


def test_without_a_vocabulary_no_repair_begins(run: Run) -> None:
    params = {"choice": ["failed", "missing", "corrupt"], "shards": []}
    run.dataset.vocab.unlink()
    assert plan(run, params, CONNECTION) == []
    fail(run, "shards/shard_0000", "cannot be read")
    with pytest.raises(InputError, match="has no vocabulary, so no shard can be converted"):
        plan(run, params, CONNECTION)


def test_only_the_deployment_s_workspaces_and_buckets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for workspace in ("/etc", f"{run.config.workspace}-other", f"{run.config.workspace}/datasets"):
        with pytest.raises(ConfigError, match="no workspace of this deployment"):
            find_run({"workspace": workspace, "dataset": run.dataset_id})
    for workspace in (None, run.config.workspace, f"{run.config.workspace}/"):
        assert find_run({"workspace": workspace, "dataset": run.dataset_id}).config == run.config
    monkeypatch.setenv("QARIB_BUCKET", "another-bucket")
    with pytest.raises(ConfigError, match="not publish there"):
        find_run({"workspace": None, "dataset": run.dataset_id})

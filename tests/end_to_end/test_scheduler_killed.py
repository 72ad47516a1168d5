"""The scheduler killed in the middle of the fan-out, with all that it has started, and started again."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from local_stack import REPOSITORY, LocalStack

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of

pytestmark = pytest.mark.slow
DAG = "qarib_backfill_shards"
# A scheduler that comes back finds out sooner than by default that the tasks it had are gone.
SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "QARIB_RETRY_SECONDS": "1",
}
# Python loads it in every process of the stack: the conversion of one shard does not end while there is a
# folder, however many shards the machine converts at once.
HOLD = """
import os, sys, time

def hold(event, arguments):
    if event == "open" and "/.shard_0010.tfrecord.qarib-" in str(arguments[0]):
        while os.path.exists(os.environ["HELD"]):
            time.sleep(0.05)

sys.addaudithook(hold)
"""


def split(workspace: Path, bucket: str) -> tuple[Run, list[str]]:
    values = {
        "preset": "demo",
        "workspace": str(workspace),
        "collect": {"sources": [{"name": "text", "path": str(SAMPLE / "muwatta.txt")}]},
        "vocab": {"vocab_size": 800},
        "split": {"shard_lines": 150},
        "upload": {"bucket": bucket},
    }
    run = prepare(resolve(values))
    pipeline.collect(run)
    pipeline.build_vocab(run)
    return run, pipeline.split(run)


def objects(run: Run) -> dict[str, Any]:
    found = Bucket(f"{run.address}{run.dataset.name}").list()
    return {name: blob for name, blob in found.items() if name.endswith(".tfrecord")}


def converted(run: Run, names: list[str]) -> dict[str, str]:
    """The shards whose conversion is complete, and the checksums of what it made."""
    found = {}
    for name in names:
        path = manifest_of(run.dataset.tfrecord(name))
        if path.is_file() and (manifest := Manifest.read(path)).state == "complete":
            found[run.dataset.tfrecord_name(name)] = manifest.outputs[0].crc32c
    return found


def test_the_run_ends_well(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    airflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, python, held = (tmp_path_factory.mktemp(name) for name in ("stack", "python", "held"))
    (python / "sitecustomize.py").write_text(HOLD, encoding="utf-8")
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (python, REPOSITORY))), "HELD": str(held)}
    with LocalStack(home, environment=SOON | environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        run, names = split(stack.workspace, stack.bucket)
        assert "shards/shard_0010" in names
        run_id = stack.trigger(DAG, {"dataset": run.dataset_id})
        while len(converted(run, names)) < 3:
            assert stack.run(DAG, run_id)["state"] in ("queued", "running")
            time.sleep(0.1)
        stack.kill("scheduler")
        done, sent = converted(run, names), objects(run)
        assert len(done) < len(names), "it was killed after the fan-out"
        held.rmdir()
        while stack.run(DAG, run_id)["state"] not in ("success", "failed"):
            time.sleep(0.5)
        tasks = stack.task_instances(DAG, run_id)
        assert {t["state"] for t in tasks} == {"success"}
        end = objects(run)
        assert len(end) == len(names)
        assert {name: end[name].generation for name in sent} == {n: b.generation for n, b in sent.items()}
        assert {name: end[name].crc32c for name in done} == done

    # Undisturbed, elsewhere: the same bytes.
    other, _ = split(tmp_path, stack.bucket)
    other = replace(other, config=replace(run.config, workspace=str(tmp_path)))
    for name in names:
        record = pipeline.convert(other, name).outputs[0]
        assert end[run.dataset.tfrecord_name(name)].crc32c == record.crc32c

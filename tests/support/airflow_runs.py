"""Runs in a real Airflow, and what must hold of what they made."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import demo
from local_stack import TINY_MODEL, LocalStack

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.conversion.example_decoder import decode_example
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket, same
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.storage.tfrecord import read_records

TINY = {
    "preset": "demo",
    "sources": [{"name": "muwatta", "path": str(SAMPLE / "muwatta.txt")}],
    "vocab_size": 800,
    "shard_lines": 2000,
    "dupe_factor": 1,
    **TINY_MODEL,
    "train_batch_size": 16,
    "train_steps": 30,
    "num_warmup_steps": 3,
    "save_checkpoints_steps": 10,
    "eval_batch_size": 16,
    "max_eval_steps": 4,
}
# Trained by the worker itself, not on an emulated TPU.
LOCAL = TINY | {"machine": "local"}
# Trained on a month's files.
MONTH = {
    "preset": "demo",
    "vocab_size": 400,
    "shard_lines": 400,
    "dupe_factor": 1,
    **TINY_MODEL,
    "train_batch_size": 16,
    "learning_rate": 5e-3,
    "train_steps": 20,
    "num_warmup_steps": 2,
    "eval_batch_size": 16,
    "max_eval_steps": 4,
    "machine": "local",
}


def finish(stack: LocalStack, conf: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Trigger the DAG and wait for its end: the run_id and the task instances.

    Meanwhile a user clicks, which Airflow writes down: on SQLite it must not wait for what waits for it.
    """
    run_id = stack.trigger(demo.DAG, conf)
    while stack.run(demo.DAG, run_id)["state"] not in ("success", "failed"):
        stack.api("PATCH", f"dags/{demo.DAG}", json={"is_paused": False})
        time.sleep(1)
    return run_id, stack.task_instances(demo.DAG, run_id)


def create_backfill(stack: LocalStack, dag: str, *options: str) -> None:
    """Run the command of docs/retraining.md, and again while another process writes to SQLite.

    The DAG is paused meanwhile: a command that finds the database locked deletes the runs that it has made,
    and Airflow's scheduler ends if it has begun with one of them.
    """
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", dag, *options]
    stack.api("PATCH", f"dags/{dag}", json={"is_paused": True})
    for _ in range(100):
        created = subprocess.run(command, env=stack.environment, capture_output=True, text=True)
        if "database is locked" not in created.stderr:
            break
    assert created.returncode == 0, created.stderr
    stack.api("PATCH", f"dags/{dag}", json={"is_paused": False})


SKIPPED = ("finetune", "finetuning_table")  # in a run without labelled tasks


def require_success(stack: LocalStack, tasks: list[dict[str, Any]]) -> None:
    """All tasks succeeded, but for those that have nothing to do."""
    others = [
        (t["task_id"], t["map_index"], t["state"])
        for t in tasks
        if t["state"] != ("skipped" if t["task_id"] in SKIPPED else "success")
    ]
    assert not others, demo.failure(stack, tasks)


def objects(run: Run) -> dict[str, Any]:
    assert run.address
    return Bucket(run.address).list()


def checksums_of(run: Run, below: str, *ends: str) -> dict[str, str]:
    """The objects' checksums by name; manifests are left out by `ends`: they tell when they were made."""
    return {n: o.crc32c for n, o in objects(run).items() if n.startswith(below) and n.endswith(ends)}


def examples(path: Path) -> list[Any]:
    return [decode_example(record) for _, _, record in read_records(path)]


def require_objects_as_in_manifests(run: Run) -> None:
    """Every output of the dataset and the model is in the bucket with the bytes its manifest tells."""
    held = objects(run)
    records: list[tuple[str, FileRecord]] = []
    for name, path in ((run.dataset.name, run.dataset.manifest), (run.model.name, run.model.manifest)):
        assert name + "manifest.json" in held
        records += [(name, record) for record in Manifest.read(path).outputs]
    wrong = [name + r.name for name, r in records if not same(held.get(name + r.name), r.checksums)]
    assert not wrong
    names = {name + record.name for name, record in records}
    assert {f"{run.dataset.name}{n}" for n in ("vocab.txt", "bert_config.json")} <= names
    assert f"{run.dataset.name}pretraining_data/shard_0001.tfrecord" in names

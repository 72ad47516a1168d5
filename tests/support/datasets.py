"""Small runs of the demo preset, their datasets, and damage done to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.dataset.audit import audit, broken
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of

CONNECTION = "google_cloud_default"
MUWATTA = SAMPLE / "muwatta.txt"
DOCUMENTS = MUWATTA.read_text(encoding="utf-8").split("\n\n")


def request(folder: Path, source: Path = MUWATTA, **overrides: Any) -> Run:
    """A run in `folder`/work that takes seconds."""
    values = {
        "preset": "demo",
        "workspace": str(folder / "work"),
        "collect": {"sources": [{"name": "text", "path": str(source)}]},
        "vocab": {"vocab_size": 800},
        "split": {"shard_lines": 2000},
        "convert": {"dupe_factor": 1},
    }
    return prepare(resolve({**values, **overrides}))


def convert_all(run: Run) -> list[str]:
    """The run's shards, collected and converted. Returns their names."""
    pipeline.collect(run)
    pipeline.build_vocab(run)
    names = pipeline.split(run)
    for name in names:
        pipeline.convert(run, name)
    return names


def complete(run: Run) -> list[str]:
    """The run's dataset, whole and recorded. Returns its shards."""
    names = convert_all(run)
    finish_dataset(run)
    pipeline.record_sources(run)
    return names


def write_documents(path: Path, first: int, last: int) -> None:
    path.write_text("\n\n".join(DOCUMENTS[first:last]) + "\n", encoding="utf-8")


def request_month(folder: Path, extends: str = "", **overrides: Any) -> Run:
    """A run over the files of `folder`/text."""
    small = {"vocab": {"vocab_size": 400}, "split": {"shard_lines": 300}, "extends": extends}
    return request(folder, folder / "text" / "*.txt", **{**small, **overrides})


def make_months(folder: Path, count: int) -> tuple[list[Run], list[list[str]]]:
    """Datasets and their shards, each extending the one before.

    Each month's file repeats some of the month before.
    """
    (folder / "text").mkdir()
    runs: list[Run] = []
    shards = []
    for month in range(count):
        write_documents(
            folder / "text" / f"2026-0{month + 1}.txt", max(0, 200 * month - 50), 200 * month + 203
        )
        runs.append(request_month(folder, runs[-1].dataset_id if runs else ""))
        shards.append(complete(runs[-1]))
    return runs, shards


def request_published(folder: Path, bucket: str = "") -> Run:
    return request(folder, split={"shard_lines": 500}, upload={"bucket": bucket})


def publish(run: Run) -> None:
    """Uploads the run's shards."""
    bucket = Bucket(run.address or "")
    for name in pipeline.split(run):
        for path in pipeline.shard_files(run, name):
            bucket.upload(path, path.relative_to(run.config.workspace).as_posix())


def objects(run: Run) -> dict[str, Any]:
    return Bucket(f"{run.address}{run.dataset.name}").list()


def states(run: Run) -> dict[str, tuple[str, str]]:
    """The shards that need something, and why."""
    return {s.name: (s.state, s.reason) for s in broken(audit(run.dataset, objects(run)))}


def fail(run: Run, name: str, reason: str) -> None:
    """As if the conversion of a shard had failed."""
    tfrecord = run.dataset.tfrecord(name)
    tfrecord.unlink()
    Manifest(kind="shard", id=tfrecord.stem, state="failed", reason=reason).write(manifest_of(tfrecord))


def tpu_run(tmp_path: Path, bucket: str, **tpu: Any) -> Run:
    """A run that trains on a TPU."""
    upload = {"bucket": bucket, "prefix": "team/"}
    values = {"preset": "demo", "workspace": str(tmp_path / "w"), "upload": upload}
    return Run(resolve(values | {"tpu": {"machine": "cloud_tpu"} | tpu}), "demo-0", "demo-1")

"""The project's own gauges, sent with Airflow's metrics to the receiver configured in `[metrics]`.

Each gauge is read from the run's manifests and reports, so it always agrees with them. docs/metrics.md lists
the gauges. If a gauge cannot be sent, the log has a warning and no task fails.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from qarib_tasks.errors import QaribError
from qarib_tasks.layout import TFRECORD, is_shard_file
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.storage.records.read import read_record
from qarib_tasks.storage.records.schemas import Progress

log = logging.getLogger(__name__)

# The gauges of a training, and their names in its progress.json.
TRAINING = {
    "training_step": "step",
    "loss": "loss",
    "masked_lm_loss": "masked_lm_loss",
    "examples_per_second": "examples_per_second",
}


def report_shards(run: Run) -> None:
    """Send `qarib.shards` and `qarib.shards_done`: the training shards, and those with a complete manifest.

    If metrics are off, the manifests, which can be a thousand, are not read.
    """
    if not any(conf.getboolean("metrics", name) for name in ("statsd_on", "otel_on")):
        return
    dataset = run.dataset
    tags = {"dataset": run.dataset_id}
    shards = [path.name for path in dataset.shards(dataset.data).glob("*") if is_shard_file(path.name)]
    _gauge("shards", len(shards), tags)
    tfrecords = [dataset.training_data / f"{name}{TFRECORD}" for name in shards]
    _gauge("shards_done", sum(_is_complete(manifest_of(path)) for path in tfrecords), tags)


def _is_complete(manifest: Path) -> bool:
    try:
        return Manifest.read(manifest).state == "complete"
    except QaribError:  # A damaged manifest is reported elsewhere.
        return False


def report_training(run: Run, preemptions: int = 0) -> None:
    """Send the gauges of a training, once progress.json exists in the workspace."""
    try:
        progress = read_record(run.model.progress, Progress)
    except QaribError as error:
        log.warning("%s: no metrics are sent", error)
        return
    if progress:
        report_progress(run.model_id, progress, preemptions)


def report_progress(model_id: str, progress: Mapping[str, Any], preemptions: int) -> None:
    """Send the gauges of a training from its progress.json, and `qarib.preemptions`: the lost TPUs."""
    tags = {"model": model_id}
    for gauge, name in TRAINING.items():
        if isinstance(progress.get(name), int | float):
            _gauge(gauge, progress[name], tags)
    _gauge("preemptions", preemptions, tags)


def _gauge(name: str, value: float, tags: Mapping[str, str]) -> None:
    try:
        _initialize()
        stats.gauge(f"qarib.{name}", value, tags=dict(tags))
    except Exception:
        log.warning("Could not send the metric qarib.%s", name, exc_info=True)


@cache
def _initialize() -> None:
    """Initialize Airflow's metrics: Airflow does so in a task's process, but not in the triggerer's."""
    stats.initialize(
        factory=stats_utils.get_stats_factory(),
        export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
    )

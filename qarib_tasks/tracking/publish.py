"""Publishes a training to the trackers of the deployment: what they lack, however often it is called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qarib_tasks.config.deployment.tracking import Tracking
from qarib_tasks.config.loading import from_dict, load_yaml
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import InputError
from qarib_tasks.layout import SETTINGS
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tracking.mlflow import MLflow
from qarib_tasks.tracking.model import Folder, Objects, Place, TrackedModel
from qarib_tasks.tracking.tracker import Credentials, Point, State, Tracker
from qarib_tasks.tracking.wandb_offline import WandbOffline


def trackers(tracking: Tracking, credentials: Credentials, *, live: bool = False) -> list[Tracker]:
    """The trackers that the settings name.

    Args:
        live: only those that can follow a training while it trains.
    """
    found: list[Tracker] = []
    if tracking.mlflow:
        found.append(MLflow(tracking, credentials))
    if tracking.wandb and not live:
        found.append(WandbOffline(tracking))
    return found


def environment_credentials(environment: Mapping[str, str] = os.environ) -> Credentials:
    """The credentials in the variables that MLflow's own client reads."""
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return Credentials(secret=token)
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    return Credentials(*(environment.get(name, "") for name in names))


def publish(model: TrackedModel, tracker: Tracker, state: State) -> int:
    """Publish what a tracker does not have yet.

    Returns:
        how many values of metrics were new.

    Raises:
        TrackerError: the tracker does not answer, or refuses. Publish again: nothing is doubled.
    """
    last = tracker.start(model.model_id, model.parameters, model.began)
    new = list(_above(model.points, last))
    tracker.metrics(new)
    tracker.artefacts(model.artefacts)
    tracker.state(state, model.updated)
    return sum(len(point.values) for point in new)


def _above(points: Sequence[Point], last: Mapping[str, int]) -> Iterator[Point]:
    """The points without values of steps up to the last one that was published of their metric."""
    for point in points:
        values = {key: value for key, value in point.values.items() if point.step > last.get(key, -1)}
        if values:
            yield Point(point.step, point.seconds, values)


def places_of(job: TrainingJob, folder: Path | None, client: Any = None) -> list[Place]:
    """Where a training's files are: its folder in the workspace, and its bucket.

    Args:
        folder: None if it is not on this machine.
        client: a `google.cloud.storage.Client`.
    """
    places: list[Place] = [] if folder is None else [Folder(folder)]
    if job.publish_to:
        places.append(Objects(Bucket(f"{job.publish_to.rstrip('/')}/", client)))
    return places


def job_in(folder: Path) -> TrainingJob:
    """Read the settings of a training from its folder.

    Raises:
        InputError: the folder has none.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise InputError("no settings of a training", where=path, do="Give the folder of a model")
    return from_dict(TrainingJob, load_yaml(path), path)

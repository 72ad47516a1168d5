"""Publishes trainings to the deployment's trackers. A tracker that is down fails and delays no training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qarib_tasks.config.deployment.tracking import deployment_tracking
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.yaml_text import read_mapping
from qarib_tasks.layout import SETTINGS
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket, split_address
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tracking.model import Folder, Objects, TrackedModel, read_model
from qarib_tasks.tracking.publish import environment_credentials, places_of, publish, trackers
from qarib_tasks.tracking.tracker import Credentials, State, Tracker

log = logging.getLogger(__name__)
# With the login and the password, or only a token as the password, of the MLflow server.
CONNECTION = "qarib_mlflow"
LIVE_SECONDS = 20.0


def credentials() -> Credentials:
    """The credentials in the Airflow connection `qarib_mlflow`, or else in the environment."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(CONNECTION)
    except AirflowNotFoundException:
        return environment_credentials()
    return Credentials(found.login or "", found.password or "")


def publish_run(run: Run, state: State, client: Any = None) -> list[str]:
    """Publish a run's training to all trackers, and return what could not be done: an error's text each.

    Args:
        client: a `google.cloud.storage.Client`.
    """
    tracking = deployment_tracking()
    job = training_job(run)
    model = read_model(job, places_of(job, run.model.root, client), run.model_id)
    if state == "failed" and model.reported == "stopped":
        state = "killed"
    faults = []
    for tracker in trackers(tracking, credentials()):
        try:
            new = publish(model, tracker, state)
        except Exception as error:
            faults.append(str(error))
        else:
            log.info("%s has %s as %s; %d new values", tracker.name, model.model_id, state, new)
    return faults


class Live:
    """Publishes a training while it trains, in a thread of its own. Faults are warnings.

    Args:
        read: reads the training.
        login: the credentials, which are asked for at once: Airflow answers only the thread of the task.
    """

    def __init__(
        self, read: Callable[[], TrackedModel], login: Callable[[], Credentials] = credentials
    ) -> None:
        self._read = read
        self._trackers: list[Tracker] = []
        self._thread: threading.Thread | None = None
        self._next, self._warned = 0.0, ""
        try:
            tracking = deployment_tracking()
            if tracking.mlflow:
                self._trackers = trackers(tracking, login(), live=True)
        except Exception as error:
            log.warning("The training is not published while it trains: %s", error)

    def poke(self) -> None:
        """Publish what is new, unless the last time was a moment ago or has not ended."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if not self._trackers or is_busy or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LIVE_SECONDS
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        try:
            model = self._read()
            for tracker in self._trackers:
                publish(model, tracker, "running")
            self._warned = ""
        except Exception as error:
            if (text := str(error)) != self._warned:
                log.warning("Not published, trying again later: %s", text)
            self._warned = text


def live_of_run(run: Run) -> Live:
    """For a training on this machine."""
    return Live(lambda: read_model(training_job(run), [Folder(run.model.root)], run.model_id))


def live_of_tpu(job: TpuJob, client: Any) -> Live:
    """For a training on a TPU, whose history is in the bucket with each checkpoint."""
    folder = Bucket(f"{job.progress.rpartition('/')[0]}/", client)

    def read() -> TrackedModel:
        (settings,) = (file for file in job.files if Path(file.local).name == SETTINGS)
        text = Bucket(f"gs://{split_address(job.address)[0]}/", client).read_text(settings.name)
        config = from_dict(TrainingJob, read_mapping(text or "", settings.name), settings.name)
        return read_model(config, [Objects(folder)], Path(folder.prefix).name)

    return Live(read)

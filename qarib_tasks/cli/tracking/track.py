"""`qarib track`: trainings that already exist, for the trackers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, get_args

import click

from qarib_tasks.cli.options import FILE, setting_options
from qarib_tasks.config.deployment.tracking import TRACKING_VARIABLE, Tracking, deployment_tracking
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.counting import counted
from qarib_tasks.errors import ConfigError
from qarib_tasks.tracking.tracker import State


@click.command(
    "track", epilog="Example: qarib track work/models/demo-0123456789 --mlflow http://localhost:5000"
)
@click.argument("model", nargs=-1, required=True, type=FILE)
@setting_options(Tracking, default=None, show_default=f"as in {TRACKING_VARIABLE}")
@click.option(
    "--state",
    type=click.Choice(get_args(State)),
    help="What became of the trainings. Without it, as their files say.",
)
def track_command(model: tuple[Path, ...], state: State | None, **values: Any) -> None:
    """Publish trainings to MLflow, or to files for Weights & Biases: what is not there yet.

    MODEL is a model's folder in a workspace. A training that does not say that it ended, and has not reported
    for an hour, has failed. For a server that needs it, set MLFLOW_TRACKING_TOKEN, or
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    """
    from qarib_tasks.tracking.model import Folder, read_model
    from qarib_tasks.tracking.publish import environment_credentials, job_in, places_of, publish, trackers

    given = {name: value for name, value in values.items() if value is not None}
    tracking = from_dict(Tracking, to_dict(deployment_tracking()) | given)
    if not tracking.is_on:
        raise ConfigError(
            "no tracker is set", where="mlflow", do=f"Give --mlflow or --wandb, or set {TRACKING_VARIABLE}"
        )
    found = trackers(tracking, environment_credentials())
    for folder in model:
        folder = folder.absolute()
        job = job_in(folder)
        read = read_model(job, [Folder(folder)], folder.name)
        if read.reported != "finished" or not read.points:  # The bucket can have more.
            read = read_model(job, places_of(job, folder), folder.name)
        for tracker in found:
            became = state or read.state(time.time())
            new = publish(read, tracker, became)
            click.echo(f"{read.model_id}: {became}; {counted(new, 'new value')} for {tracker.name}")

"""The experiment trackers of a deployment. No run's form and no name depends on them."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.loading import STRICT, Settings, from_dict
from qarib_tasks.config.yaml_text import read_mapping

TRACKING_VARIABLE = "QARIB_TRACKING"


def _server(address: str) -> str:
    """Return the address of a server, without a slash at its end.

    Raises:
        ValueError: it is none, or has a password, which would be in logs.
    """
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("must be an http:// or https:// address")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must have no user, password, or query; they belong in a connection")
    return address.rstrip("/")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tracking(Settings):
    """Where trainings are published besides TensorBoard's files."""

    mlflow: Annotated[
        str,
        Field(title="MLflow", description="Address of an MLflow server. Empty: do not publish to MLflow."),
        AfterValidator(_server),
    ] = ""
    experiment: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            title="Experiment",
            description="MLflow's experiment, or the project of Weights & Biases.",
        ),
    ] = "qarib"
    wandb: Annotated[
        str,
        Field(
            title="Weights & Biases",
            description="Folder for runs that `wandb sync` uploads. Empty: do not write them.",
        ),
    ] = ""

    @property
    def is_on(self) -> bool:
        """Whether there is a tracker."""
        return bool(self.mlflow or self.wandb)


def deployment_tracking() -> Tracking:
    """Return the settings in the environment variable QARIB_TRACKING, a mapping in YAML or JSON.

    Raises:
        ConfigError: it is not valid.
    """
    text = os.environ.get(TRACKING_VARIABLE, "")
    return from_dict(Tracking, read_mapping(text, TRACKING_VARIABLE), where=TRACKING_VARIABLE)

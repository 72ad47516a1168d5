"""The deployment's settings for every run: defaults, and what a form can name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.sdk import Variable

from qarib_tasks.config.loading import is_address
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.config.yaml_text import read_mapping
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.errors import ConfigError
from qarib_tasks.runs.places import Places


def deployment_defaults() -> dict[str, Any]:
    """The settings of this Airflow for every run; an Airflow Variable overrides the environment.

    Raises:
        ConfigError: the workspace is an address.
    """
    values = {
        name: Variable.get(f"qarib_{name}", default=None) or os.environ.get(f"QARIB_{name.upper()}")
        for name in ("bucket", "workspace")
    }
    if values["workspace"]:
        if is_address(values["workspace"]):
            raise ConfigError(
                "the workspace must be a folder",
                where=values["workspace"],
                do="Correct the Airflow Variable qarib_workspace, or QARIB_WORKSPACE in the environment; "
                "name a bucket in qarib_bucket, or QARIB_BUCKET",
            )
        values["workspace"] = str(Path(values["workspace"]).absolute())
    return {
        "workspace": values["workspace"],
        "upload": {"bucket": values["bucket"]},
        "tpu": yaml_mapping("qarib_tpu"),
    }


def yaml_mapping(variable: str) -> dict[str, Any]:
    """The settings in an Airflow Variable, or in the environment variable of that name, as YAML or JSON.

    Raises:
        ConfigError: the value is not a mapping.
    """
    text = Variable.get(variable, default=None) or os.environ.get(variable.upper(), "")
    return read_mapping(text, variable)


def approvers() -> list[str]:
    """The ids of the users who may approve: the Airflow Variable `qarib_approvers`, or the environment.

    None: all who may answer Airflow's questions. It is no setting of a run: who starts one cannot choose.

    Raises:
        ConfigError: it is set, and has no id.
    """
    text = Variable.get("qarib_approvers", default=None) or os.environ.get("QARIB_APPROVERS", "")
    names = list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if text and not names:
        raise ConfigError(
            f"names no user: {text!r}",
            where="qarib_approvers",
            do="Write ids with commas between, or remove it",
        )
    return names


def require_bucket(upload: UploadConfig) -> None:
    """Check that the run has a bucket to publish to.

    Raises:
        ConfigError: it has none.
    """
    if not upload.bucket:
        raise ConfigError(
            "no bucket to publish to",
            where="bucket",
            do="Fill in Bucket, or set the Airflow Variable qarib_bucket or QARIB_BUCKET in the environment",
        )


def allowed_places() -> Places:
    """Where a run can keep and publish its files: the form must not give access to other folders and buckets.

    Raises:
        ConfigError: a list in the environment is invalid.
    """
    defaults = deployment_defaults()
    return Places.of_deployment(defaults["workspace"] or "", defaults["upload"]["bucket"] or "")


def allowed_sources() -> AllowedSources:
    """The sources that a run can use: the form must not give access to every file that Airflow can read.

    Based on the deployment's workspaces and buckets, never on those in the form.
    """
    places = allowed_places()
    return AllowedSources.of_deployment([*(places.workspaces or ()), *(places.prefixes or ()), str(SAMPLE)])

"""What the deployment sets for every run: default settings and allowed sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import Variable

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.errors import ConfigError


def deployment_defaults() -> dict[str, Any]:
    """What this Airflow sets for every run: an Airflow Variable wins over the environment."""
    values = {
        name: Variable.get(f"qarib_{name}", default=None) or os.environ.get(f"QARIB_{name.upper()}")
        for name in ("bucket", "workspace")
    }
    if values["workspace"]:
        values["workspace"] = str(Path(values["workspace"]).absolute())
    return {
        "workspace": values["workspace"],
        "upload": {"bucket": values["bucket"]},
        "tpu": yaml_mapping("qarib_tpu"),
    }


def yaml_mapping(variable: str) -> dict[str, Any]:
    """The settings in an Airflow Variable, or in the environment's variable of that name, as YAML or JSON.

    Raises:
        ConfigError: it holds anything but a mapping.
    """
    text = Variable.get(variable, default=None) or os.environ.get(variable.upper(), "")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=variable) from None
    if not isinstance(values, dict):
        raise ConfigError("must hold settings as `name: value`", where=variable)
    return values


def allowed_sources() -> AllowedSources:
    """What a run's sources may name: a person at the form must not read every file that Airflow can.

    The deployment's workspace and bucket count, never those that the form names.
    """
    defaults = deployment_defaults()
    return AllowedSources.of_deployment(
        defaults["workspace"] or "", defaults["upload"]["bucket"] or "", SAMPLE
    )

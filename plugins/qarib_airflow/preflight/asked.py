"""What a run of qarib_retrain is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qarib_airflow.forms.retrain import read_retrain_params
from qarib_airflow.preflight.deployment import allowed_places, deployment_defaults, yaml_mapping
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import merged
from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.retraining import RetrainConfig

VARIABLE = "qarib_retrain"


def asked(params: Mapping[str, Any]) -> tuple[RetrainConfig, dict[str, Any]]:
    """The settings of the form and of the Airflow Variable, and those of the deployment.

    Raises:
        ConfigError: a setting is invalid or missing, or the prefix is not allowed.
    """
    defaults = deployment_defaults()
    for name, value in (("workspace", defaults["workspace"]), ("bucket", defaults["upload"]["bucket"])):
        if not value:
            raise ConfigError(
                f"no {name} is set",
                where=name,
                do=f"Set the Airflow Variable qarib_{name} or the environment variable QARIB_{name.upper()}",
            )
    values = merged(yaml_mapping(VARIABLE), read_retrain_params(params))
    config = from_dict(RetrainConfig, values, where=f"the form and the Airflow Variable {VARIABLE}")
    allowed_places().check_prefix(defaults["upload"]["bucket"], config.prefix)
    return config, defaults

"""Which shards a backfill does again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_airflow.preflight.checks import check_map_length
from qarib_airflow.preflight.deployment import deployment_defaults
from qarib_airflow.publishing.published import published_objects
from qarib_tasks.dataset.audit import audit, broken, chosen, listed
from qarib_tasks.errors import ConfigError
from qarib_tasks.runs.run import Run, run_of_dataset

log = logging.getLogger(__name__)


def find_run(params: Mapping[str, Any]) -> Run:
    """The run that the form's dataset was made by.

    Raises:
        ConfigError: there is no workspace. InputError: the workspace has no such dataset.
    """
    workspace = params["workspace"] or deployment_defaults()["workspace"]
    if not workspace:
        raise ConfigError(
            "no workspace", where="workspace", do="Fill it in, or set the Airflow Variable qarib_workspace"
        )
    return run_of_dataset(Path(workspace).absolute(), params["dataset"])


def plan(run: Run, params: Mapping[str, Any], gcp_conn_id: str) -> list[str]:
    """Audit the dataset, log what was found and what will be done, and name the shards to do again.

    Raises:
        InputError: the corpus has not been split, or a shard that the form names is none of the dataset's.
    """
    states = audit(run.dataset, published_objects(run, gcp_conn_id))
    faults = broken(states)
    names = chosen(states, params["choice"], params["shards"])
    log.info("%s: %d shards, %d of them not whole", run.dataset_id, len(states), len(faults))
    if faults:
        log.info("Not whole:\n%s", listed(faults))
    log.info("Will convert and upload %d shards: %s", len(names), ", ".join(names) or "none")
    check_map_length(len(names))
    return names

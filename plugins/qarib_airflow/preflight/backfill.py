"""Which shards a backfill does again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Param

from qarib_airflow.preflight.pretrain import check_map_length, deployment_defaults
from qarib_airflow.publishing.published import published_objects
from qarib_tasks import pipeline
from qarib_tasks.dataset.audit import BROKEN, audit, broken, chosen, listed
from qarib_tasks.errors import ConfigError
from qarib_tasks.pipeline import Run

log = logging.getLogger(__name__)


def backfill_params() -> dict[str, Param]:
    """The form."""
    return {
        "dataset": Param(
            type="string",
            pattern=r"^[a-z0-9_]+-[0-9a-f]{10}$",
            title="Dataset",
            description="Its name, as the log of preflight and of the failed task gives it: "
            "dataset_id, for example qarib-0123456789.",
        ),
        "choice": Param(
            list(BROKEN),
            type="array",
            items={"type": "string", "enum": list(BROKEN)},
            examples=list(BROKEN),
            title="Which shards",
            description="failed: the conversion said why. missing: not converted, or without its object "
            "in the bucket. corrupt: other bytes than the manifest tells, here or in the bucket.",
        ),
        "shards": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Or these shards",
            description="One a line, for example shards/shard_0007 or heldout/shards/shard_0000. "
            "Empty: those chosen above. A shard that turns out to be whole is left alone.",
        ),
        "workspace": Param(
            None,
            type=["null", "string"],
            minLength=1,
            title="Workspace",
            description="Folder that the run worked in. Empty: the Airflow Variable qarib_workspace, or the "
            "environment's QARIB_WORKSPACE.",
        ),
    }


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
    return pipeline.run_of_dataset(Path(workspace).absolute(), params["dataset"])


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

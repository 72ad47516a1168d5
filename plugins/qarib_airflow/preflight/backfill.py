"""Selects the shards that a backfill converts again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_airflow.preflight.checks import check_map_length
from qarib_airflow.preflight.deployment import allowed_places, deployment_defaults
from qarib_airflow.publishing.published import published_objects
from qarib_tasks.dataset.audit import audit, broken, chosen, listed
from qarib_tasks.dataset.known_checksums import KnownChecksums
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.runs.run import Run, run_of_dataset

log = logging.getLogger(__name__)


def find_run(params: Mapping[str, Any]) -> Run:
    """The run that made the form's dataset.

    Raises:
        ConfigError: no workspace is set, or the deployment does not allow it or the dataset's bucket.
        InputError: the workspace has no such dataset.
    """
    places = allowed_places()
    workspace = params["workspace"] or deployment_defaults()["workspace"]
    if not workspace:
        raise ConfigError(
            "no workspace is set",
            where="workspace",
            do="Fill in Workspace, or set the Airflow Variable qarib_workspace",
        )
    run = run_of_dataset(Path(places.workspace(workspace)).absolute(), params["dataset"])
    places.check_prefix(run.config.upload.bucket, run.config.upload.prefix)
    return run


def plan(run: Run, params: Mapping[str, Any], gcp_conn_id: str) -> list[str]:
    """Audit the dataset, log the result, and return the names of the shards to convert again.

    Files in the workspace are read to compare them with their manifests, but for those that were compared
    before and have not changed since.

    Raises:
        InputError: the corpus has not been split, the dataset has no shard that the form names, or it has no
            vocabulary to convert shards with.
    """
    known = KnownChecksums.of(run.dataset)
    states = audit(run.dataset, published_objects(run, gcp_conn_id), known)
    faults = broken(states)
    names = chosen(states, params["choice"], params["shards"])
    log.info("%s: %d shards, %d incomplete or damaged", run.dataset_id, len(states), len(faults))
    log.info("%.3f GB in the workspace were read to compare them with the manifests", known.read_bytes / 1e9)
    if faults:
        log.info("Incomplete or damaged:\n%s", listed(faults))
    log.info("Converting and uploading %d shards: %s", len(names), ", ".join(names) or "none")
    check_map_length(len(names))
    if names:
        require_vocabulary(run)
    return names


def require_vocabulary(run: Run) -> None:
    """Require the vocabulary, without which no shard can be converted.

    Raises:
        InputError: the dataset has none.
    """
    if not run.dataset.vocab.is_file():
        raise InputError(
            "the dataset has no vocabulary, so no shard can be converted",
            where=run.dataset.vocab,
            do="In the run that makes the dataset, clear the task vocab and its downstream tasks",
        )

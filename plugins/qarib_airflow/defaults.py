"""How long a task and a run may take, and who is told of a failure: what every task of our DAGs has."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import WeightRule
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from qarib_airflow.reporting.notifier import QaribNotifier

CONNECTION = "google_cloud_default"
# The task of this name returns the run, as a dictionary.
RUN_TASK = "preflight"

# For what may go by: the network, a service that answers with 500, a worker that was lost. After about 10, 30
# and 90 seconds, up to twice that, so that not all shards come back at once.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=float(os.environ.get("QARIB_RETRY_SECONDS", "10"))),
    "retry_exponential_backoff": 3.0,
    "max_retry_delay": timedelta(minutes=10),
}

FACTOR = float(os.environ.get("QARIB_TIMEOUT_FACTOR", "1"))
# A step that hangs (a dead network volume, a server that never answers) ends, and is tried again.
TIMEOUT = FACTOR * timedelta(hours=6)
# The steps that read the whole corpus.
CORPUS_TIMEOUT = FACTOR * timedelta(hours=48)
RUN_DEADLINE = os.environ.get("QARIB_RUN_DEADLINE_HOURS")
# A pool for conversions, to bound those of all runs together. It must be there: `airflow pools set`.
CONVERT_POOL = os.environ.get("QARIB_CONVERT_POOL", "default_pool")
# How many shards of a run are converted at once, to bound the memory and the disk of the workers, as the
# published guide's `xargs -P` does. Without it Airflow's own limits hold.
SHARDS_AT_ONCE = os.environ.get("QARIB_SHARDS_AT_ONCE")
AT_ONCE: dict[str, Any] = {"max_active_tis_per_dagrun": int(SHARDS_AT_ONCE)} if SHARDS_AT_ONCE else {}

# A converted shard is uploaded before the next one is converted: little waits on the workers' disks. With
# QARIB_CONVERT_FIRST=1 all are converted before, which is less work for a scheduler on SQLite (ADR 0005).
CONVERT_FIRST = os.environ.get("QARIB_CONVERT_FIRST") == "1"
WEIGHT_RULE = WeightRule.DOWNSTREAM if CONVERT_FIRST else WeightRule.UPSTREAM

DEFAULT_ARGS: dict[str, Any] = RETRIES | {
    "execution_timeout": TIMEOUT,
    "weight_rule": WEIGHT_RULE,
    "on_failure_callback": QaribNotifier(),
}


def deadline() -> DeadlineAlert | None:
    """Tells when a run is still not over after the environment's `QARIB_RUN_DEADLINE_HOURS`; it goes on.

    None without that: `dag.test()` of Airflow 3.3.2 cannot read a DAG with a deadline back.
    """
    if not RUN_DEADLINE:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=float(RUN_DEADLINE)),
        callback=AsyncCallback(QaribNotifier),
    )

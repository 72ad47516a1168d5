"""The defaults of every task of our DAGs: retries, time limits and notifications."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import WeightRule
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from qarib_airflow.errors import RetryByCause
from qarib_airflow.reporting.notifier import QaribNotifier, keep_reason
from qarib_tasks.errors import ConfigError


def number(variable: str) -> int | None:
    """A number above 0 in the environment; None if it is not set.

    Raises:
        ConfigError: it is no such number. Airflow would start no run with a limit of 0.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"must be a whole number above 0, not {text!r}", where=variable, do="Correct it")
    return int(text)


CONNECTION = "google_cloud_default"
# The task of this name returns the run, as a dictionary.
RUN_TASK = "preflight"

# For passing faults: the network, a service that answers with 500, a lost worker. Retries start after about
# 10, 30 and 90 seconds, up to twice that, so that not all shards retry at once.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=float(os.environ.get("QARIB_RETRY_SECONDS", "10"))),
    "retry_exponential_backoff": 3.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RetryByCause(),
}

FACTOR = float(os.environ.get("QARIB_TIMEOUT_FACTOR", "1"))
# A step that hangs (a dead network volume, a server that never answers) is ended and retried.
TIMEOUT = FACTOR * timedelta(hours=6)
# For the steps that read all of the corpus.
CORPUS_TIMEOUT = FACTOR * timedelta(hours=48)
RUN_DEADLINE = os.environ.get("QARIB_RUN_DEADLINE_HOURS")
# A pool that bounds the conversions of all runs together. It must exist: `airflow pools set`.
CONVERT_POOL = os.environ.get("QARIB_CONVERT_POOL", "default_pool")
# How many shards of a run are converted at once, to bound the memory and the disk of the workers, as
# `xargs -P` does in the published guide. Without it, only Airflow's own limits apply.
SHARDS_AT_ONCE = number("QARIB_SHARDS_AT_ONCE")
AT_ONCE: dict[str, Any] = {"max_active_tis_per_dagrun": SHARDS_AT_ONCE} if SHARDS_AT_ONCE else {}

# How many runs of qarib_pretrain are active at once. Each has what it needs for itself, see `tasks.turns`.
RUNS_AT_ONCE = number("QARIB_RUNS_AT_ONCE") or 4
NO_POOL = "default_pool"
# A pool of trainings with a slot for each TPU that may exist at a time. It must exist, and count deferred
# tasks: `qarib airflow-init` makes it.
TPU_POOL = os.environ.get("QARIB_TPU_POOL") or NO_POOL

# How many fine-tunings of a run are at work at once. One uses all cores of its machine, or its GPU.
FINETUNE_AT_ONCE = number("QARIB_FINETUNE_AT_ONCE") or 1

# A converted shard is uploaded before the next one is converted, so few files wait on the workers' disks.
# With QARIB_CONVERT_FIRST=1 all shards are converted first, which is less work for a scheduler on SQLite
# (ADR 0005).
CONVERT_FIRST = os.environ.get("QARIB_CONVERT_FIRST") == "1"
WEIGHT_RULE = WeightRule.DOWNSTREAM if CONVERT_FIRST else WeightRule.UPSTREAM

DEFAULT_ARGS: dict[str, Any] = RETRIES | {
    "execution_timeout": TIMEOUT,
    "weight_rule": WEIGHT_RULE,
    "on_failure_callback": QaribNotifier(),
    "on_retry_callback": keep_reason,
}


def deadline() -> DeadlineAlert | None:
    """An alert when a run takes longer than `QARIB_RUN_DEADLINE_HOURS` of the environment; the run continues.

    None if that is not set: `dag.test()` of Airflow 3.3.2 cannot read back a DAG with a deadline.
    """
    if not RUN_DEADLINE:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=float(RUN_DEADLINE)),
        callback=AsyncCallback(QaribNotifier),
    )

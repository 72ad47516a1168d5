"""The month of a run of qarib_retrain: whether it is its turn, and what is recorded of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qarib_airflow.preflight.asked import asked
from qarib_airflow.preflight.deployment import allowed_sources
from qarib_airflow.preflight.schedule import first_month, timezone
from qarib_tasks.registry.month import Month
from qarib_tasks.registry.months import Months, Turn
from qarib_tasks.registry.promotion import record_of
from qarib_tasks.registry.retraining import missing_files, months_of
from qarib_tasks.runs.run import Run

if TYPE_CHECKING:
    from airflow.sdk import Context

# States of a run that works on its month, or will.
ACTIVE = ["queued", "running"]


def month_of(context: Context) -> Month | None:
    """The run's month; None if months are no partitions, or if the run was triggered without one.

    Raises:
        ConfigError: the run's partition key is not a month.
    """
    key = context["dag_run"].partition_key
    return Month.parse(key, f"the partition key of the run {context['run_id']}") if key else None


def take_month(context: Context, month: Month, client: Any) -> Turn:
    """Give the run its month, if it is its turn and the files are there; see `registry.months`.

    Raises:
        ConfigError: a setting is invalid or missing, a source is not allowed, or the month is too early.
        StorageError: a bucket or web server does not answer.
    """
    config, defaults = asked(context["params"])
    ti: Any = context["ti"]

    def is_active(run_id: str) -> bool:
        return bool(ti.get_dr_count(ti.dag_id, run_ids=[run_id], states=ACTIVE))

    return months_of(config, defaults, first_month() or month, timezone(), client).take(
        month,
        context["run_id"],
        now=datetime.now(UTC),
        is_active=is_active,
        missing=lambda: missing_files(config, month, allowed_sources()),
    )


def settle_month(run: Run, why: str, client: Any) -> None:
    """Record that the files of a run's month, if it has one, hold nothing new."""
    if run.config.partition:
        record = record_of(Path(run.config.workspace), run.address, client)
        month = Month.parse(run.config.partition, "partition")
        Months(record, run.config.preset, month).settle(month, "nothing new", why)

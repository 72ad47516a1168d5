"""When the DAG qarib_retrain runs: by cron, on an asset's events, or for each month as a partition."""

from __future__ import annotations

import os
from typing import Any

import pendulum
from airflow.sdk import Asset, CronDataIntervalTimetable, CronPartitionTimetable

from qarib_airflow.publishing.assets import CORPUS
from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.month import KEY_FORMAT, Month

SCHEDULE = "QARIB_RETRAIN_SCHEDULE"
FIRST_MONTH = "QARIB_RETRAIN_FIRST_MONTH"
ON_ASSET = "asset"
# Not at midnight: where clocks skip it on the first of a month, Airflow 3.3.2 leaves out the month before.
MONTHLY = "0 4 1 * *"
# Months that wait are active runs. They must not keep an earlier one that failed from running again.
MOST_MONTHS = 1000


def timezone() -> Any:
    """The time zone of the schedule: `QARIB_TIMEZONE` in the environment, UTC by default."""
    return pendulum.timezone(os.environ.get("QARIB_TIMEZONE", "UTC"))


def first_month() -> Month | None:
    """The first month as a partition, from the environment. None: months are no partitions.

    Raises:
        ConfigError: it is not a month.
    """
    key = os.environ.get(FIRST_MONTH, "")
    return Month.parse(key, FIRST_MONTH) if key else None


def schedule() -> CronPartitionTimetable | CronDataIntervalTimetable | list[Asset] | None:
    """The schedule, from the environment of the DAG processor.

    With `QARIB_RETRAIN_FIRST_MONTH`, a run for each month that has ended; the month is the run's partition.
    Otherwise `QARIB_RETRAIN_SCHEDULE`: a cron expression; `asset` for events of the asset qarib_corpus; empty
    to run only when triggered. A plain cron string would give each run a data interval of zero length, but a
    month's files need a month.

    Raises:
        ConfigError: both are set.
    """
    text = os.environ.get(SCHEDULE, "")
    if first_month():
        if text:
            raise ConfigError(f"{FIRST_MONTH} and {SCHEDULE} are both set", where=SCHEDULE, do="Remove one")
        return CronPartitionTimetable(MONTHLY, timezone=timezone(), run_offset=-1, key_format=KEY_FORMAT)
    if not text:
        return None
    return [CORPUS] if text == ON_ASSET else CronDataIntervalTimetable(text, timezone=timezone())


def scheduling() -> dict[str, Any]:
    """The arguments of the DAG that say when it runs, and how many runs are active at once."""
    if first := first_month():
        # The first month's run begins when that month has ended.
        start, limits = first.next, {"catchup": True, "max_active_runs": MOST_MONTHS}
    else:
        start, limits = Month(2015, 1), {"catchup": False, "max_active_runs": 1}
    start_date = pendulum.datetime(start.year, start.number, 1, tz=timezone())
    return {"schedule": schedule(), "start_date": start_date, **limits}

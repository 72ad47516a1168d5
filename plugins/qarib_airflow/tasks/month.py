"""The task of qarib_retrain that waits for a month: for its end, its files, and the months before it."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowRescheduleException

from qarib_airflow.defaults import CONNECTION
from qarib_airflow.errors import is_for_good
from qarib_airflow.preflight.months import month_of, take_month
from qarib_airflow.reporting import waits
from qarib_tasks.errors import StorageError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
# How often a month that is next looks for its files. A month that waits for n others asks n times as seldom.
WAIT_SECONDS = float(os.environ.get("QARIB_RETRAIN_WAIT_SECONDS", "300"))
LONGEST_WAIT = timedelta(hours=6)
# A month waits as long as it takes; a person can skip it.
FOR_EVER = timedelta(days=36_500)


class MonthSensor(BaseSensorOperator):
    """
    Wait until it is the turn of the run's month, and its files are there.

    It holds no worker while it waits. A run without a partition key does not wait.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=WAIT_SECONDS, timeout=FOR_EVER, **kwargs)

    def poke(self, context: Context) -> bool:
        """Take the month, or say in the log what the run waits for."""
        if (month := month_of(context)) is None:
            log.info("The run has no month: it does not wait")
            return True
        try:
            turn = take_month(context, month, GCSHook(gcp_conn_id=CONNECTION).get_conn())
        except StorageError as error:
            if is_for_good(error):
                raise
            log.warning("Looks again later: %s", error)
            waits.keep(context["ti"], "month", f"looks again for the files of {month}: {error}")
            return False
        log.info("%s: %s", turn.state, turn.reason)
        if turn.state == "waiting":
            waits.keep(context["ti"], "month", f"waits for its month: {turn.reason}")
        if turn.ahead > 1:
            wait = min(turn.ahead * timedelta(seconds=WAIT_SECONDS), LONGEST_WAIT)
            raise AirflowRescheduleException(datetime.now(UTC) + wait)  # type: ignore[no-untyped-call]
        return turn.state != "waiting"

"""The task that publishes a training to the deployment's trackers when it has ended, however it ended."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from qarib_airflow.defaults import CONNECTION
from qarib_airflow.reporting import reasons
from qarib_airflow.reporting.tracking import publish_run
from qarib_airflow.tasks.current_run import current_run
from qarib_tasks.tracking.tracker import State

log = logging.getLogger(__name__)
TASKS = ("train", "evaluate", "export")


# It is skipped if a tracker is down: that must not fail the run.
@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def track() -> None:
    ti: Any = get_current_context()["ti"]
    state = state_of(
        ti.get_task_states(dag_id=ti.dag_id, task_ids=list(TASKS), run_ids=[ti.run_id])[ti.run_id]
    )
    if state is None:
        raise AirflowSkipException("The run has no training")
    try:
        run = current_run()
        client = GCSHook(gcp_conn_id=CONNECTION).get_conn() if run.address else None
        faults = publish_run(run, state, client)
    except Exception as error:
        faults = [str(error)]
    if faults:
        reason = f"Not published: {'; '.join(faults)}. Clear this task to publish it"
        log.warning("%s", reason)
        reasons.keep(ti, reason)
        raise AirflowSkipException(reason)


def state_of(states: dict[str, str | None]) -> State | None:
    """What became of a training, by the states of its tasks; None if it did not start."""
    if states.get("train") not in ("success", "failed"):
        return None
    return "failed" if "failed" in states.values() else "finished"

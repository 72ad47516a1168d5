"""Checks the deployment, as `qarib doctor` does, with the credentials of the connection.

The log of `check` has a line for each check: ok, a warning, or a fault with the command that fixes it. The
task fails if there is a fault. Nothing is made or changed in your project.

It checks credentials, project, APIs, roles, the bucket and its region, the network, quota, the wheelhouse,
the clock, the disk, versions, and Airflow's pools, where the Airflow workers run, and with the settings of
the Airflow Variables `qarib_bucket`, `qarib_workspace`, and `qarib_tpu`. Emulators are checked for what they
have; the log names what they cannot show. `conversions` and `trainings` do nothing: they have the pools that
are checked.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, CONVERT_POOL, DEFAULT_ARGS, TPU_POOL
from qarib_airflow.preflight.doctor import check_deployment


@task
def check() -> dict[str, int]:
    results = check_deployment(CONNECTION, get_current_context()["ti"])
    states = [result.state for result in results]
    return {state: states.count(state) for state in ("ok", "warning")}


@dag(
    dag_display_name="QARiB: check the deployment",
    description="Says what the deployment lacks, with the command that fixes it",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    # It can be triggered from the QARiB page before anything else is switched on.
    is_paused_upon_creation=False,
    tags=["qarib"],
    default_args=DEFAULT_ARGS,
)
def qarib_check() -> None:
    # They do nothing: the scheduler looks up the pools of a run's tasks when the run starts.
    EmptyOperator(task_id="conversions", pool=CONVERT_POOL)
    EmptyOperator(task_id="trainings", pool=TPU_POOL)
    check()


qarib_check()

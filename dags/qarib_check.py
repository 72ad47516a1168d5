"""Checks the deployment, as `qarib doctor` does, with the credentials of the connection.

The log of `check` has a line for each check: ok, a warning, or a fault with the command that fixes it. The
task fails if there is a fault. Nothing is made or changed in your project.

It checks credentials, project, APIs, roles, the bucket and its region, the network, quota, the wheelhouse,
the clock, the disk, and versions, where the Airflow workers run, and with the settings of the Airflow
Variables `qarib_bucket`, `qarib_workspace`, and `qarib_tpu`. Emulators are checked for what they have; the
log names what they cannot show.
"""

from __future__ import annotations

from airflow.sdk import dag, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS
from qarib_airflow.preflight.doctor import check_deployment


@task
def check() -> dict[str, int]:
    states = [result.state for result in check_deployment(CONNECTION)]
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
    check()


qarib_check()

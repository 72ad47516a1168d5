"""What Airflow's scheduler makes of a run, given how its tasks end. No task runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any


def play(
    dag_id: str, ends: Mapping[str, str], lengths: Mapping[str, int], conf: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    """Schedule a run of a DAG to its end. It needs Airflow's tables.

    Args:
        ends: how tasks end that are started, as `task` or, for a mapped one, `task[index]`. The others
            succeed.
        lengths: of the lists that tasks return, over which others are mapped.

    Returns:
        the run's state, and those of the task instances by such a name.
    """
    from airflow.models.taskmap import TaskMap

    with new_run(dag_id, conf) as (session, run):
        while run.state == "running":
            for instance in run.update_state(session=session)[0]:
                instance.set_state(ends.get(label(instance), "success"), session=session)
                if instance.task_id in lengths and instance.state == "success":
                    length = lengths[instance.task_id]
                    session.add(TaskMap(dag_id, instance.task_id, run.run_id, -1, length, None))
            session.flush()
        return str(run.state), {label(i): str(i.state) for i in run.get_task_instances(session=session)}


def label(instance: Any) -> str:
    return instance.task_id + (f"[{instance.map_index}]" if instance.map_index >= 0 else "")


@contextmanager
def new_run(dag_id: str, conf: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield a session of the database and a new run of a DAG."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    store(dag_id)
    now = datetime.now(UTC)
    with create_session() as session:
        model = SerializedDagModel.get(dag_id, session=session)
        assert model
        run = model.dag.create_dagrun(
            run_id=f"test-{now.isoformat()}",
            logical_date=now,
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state="running",
            conf=conf,
            session=session,
        )
        yield session, run


@functools.cache
def store(dag_id: str) -> None:
    """Read a DAG from its file and store it in the database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.utils.session import create_session

    manager = DagBundlesManager()
    with create_session() as session:
        manager.sync_bundles_to_db(session=session)
    (bundle,) = manager.get_all_dag_bundles()
    bundle.initialize()
    file = bundle.path / f"{dag_id}.py"
    bag = BundleDagBag(dag_folder=file, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, None)

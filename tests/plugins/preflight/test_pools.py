"""The pools of a run's tasks: what the scheduler keeps, and what the checks say of it.

Covers plugins/qarib_pools.py.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import qarib_pools
from airflow.utils.session import create_session
from qarib_airflow.preflight import pools
from qarib_airflow.preflight.doctor import POOLS_TASK
from qarib_airflow.reporting import reasons
from sqlalchemy import select

from qarib_tasks.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.support.airflow.tables import DAG, filled


class Instance(SimpleNamespace):
    """Of a task that checks; its run has these pools."""

    def __init__(self, **found: Any) -> None:
        super().__init__(found=found, pushed={})

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.found if (task_ids, key) == ("shards_ended", qarib_pools.KEY) else None

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TPU_POOL", "chips")
    monkeypatch.setattr(pools, "CONVERT_POOL", "disks")


def of_pool(slots: int | None, include_deferred: bool | None = True) -> dict[str, Any]:
    return {"slots": slots, "include_deferred": include_deferred}


def test_pools_as_they_should_be() -> None:
    instance = Instance(chips=of_pool(1), disks=of_pool(-1, False))
    pools.check_pools(instance)
    assert instance.pushed == {}
    assert {one.state for one in pools.pool_results(instance, "shards_ended")} == {"ok"}


def test_pools_that_were_deleted_are_one_error() -> None:
    with pytest.raises(ConfigError) as error:
        pools.check_pools(Instance(chips=of_pool(None, None), disks=of_pool(None, None)))
    assert [one.where for one in error.value.parts] == ["the pool disks", "the pool chips"]
    assert "does not exist" in str(error.value)
    assert "qarib airflow-init" in str(error.value)


@pytest.mark.parametrize(
    ("pool", "text"),
    [
        (of_pool(0), "the pool chips: has 0 slots, so none of its tasks start. Give it slots in Airflow"),
        (of_pool(2, False), "the pool chips: does not count deferred tasks, so it does not limit trainings"),
    ],
)
def test_what_a_person_can_have_meant_is_a_remark(pool: dict[str, Any], text: str) -> None:
    instance = Instance(chips=pool)
    pools.check_pools(instance)
    assert instance.pushed[reasons.REMARK].startswith(text)


@pytest.mark.parametrize("kept", [None, 7, {"chips": 7}, {"another": of_pool(None)}])
def test_nothing_is_said_of_pools_that_are_not_known(kept: Any) -> None:
    instance = Instance()
    instance.found = kept
    pools.check_pools(instance)
    assert instance.pushed == {}


def test_what_the_scheduler_keeps(airflow_database: Path) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel

    with filled(airflow_database) as tables:
        tables.pool("chips", 2)
        for run_id in ("new", "old"):
            tables.run(run_id, 1)
            tables.task(run_id, "preflight", "scheduled")
            tables.task(run_id, "train", "none", "chips")
            tables.task(run_id, "shard.convert", "none", "gone")
        tables.task("new", "shards_ended", "none")
        with create_session() as session:
            for dag_run in session.scalars(select(DagRun).where(DagRun.dag_id == DAG)):
                qarib_pools.on_dag_run_running(dag_run, "started")
                qarib_pools.on_dag_run_running(dag_run, "started")  # As when it is cleared.
        with create_session() as session:
            of = (XComModel.run_id, XComModel.task_id, XComModel.value)
            rows = session.execute(select(*of).where(XComModel.key == qarib_pools.KEY)).all()
            kept = {(row.run_id, row.task_id): row.value for row in rows}  # As a task's pull finds it.
    assert kept == {("new", "shards_ended"): {"chips": of_pool(2), "gone": of_pool(None, None)}}


def test_each_dag_has_the_task_that_keeps_the_pools() -> None:
    from airflow.dag_processing.dagbag import DagBag

    assert qarib_pools.KEEPERS["qarib_check"] == POOLS_TASK
    dags = DagBag(str(REPOSITORY / "dags")).dags
    for dag_id, task_id in qarib_pools.KEEPERS.items():
        task = dags[dag_id].get_task(task_id)
        # The scheduler marks it as done itself: a start would remove what it keeps.
        assert task.inherits_from_empty_operator, (dag_id, task_id)

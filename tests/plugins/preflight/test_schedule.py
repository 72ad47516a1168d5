"""The schedule of qarib_retrain: which months it makes runs for, by Airflow's own timetable and backfill."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.exceptions import InvalidPartitionKeyError
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from qarib_airflow.preflight.schedule import first_month, schedule, scheduling

from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.month import Month
from tests.support.airflow.interpreter import printed

CODE = """
import json, qarib_retrain
dag = qarib_retrain.DAG
wait = dag.task_dict.get("wait_for_month")
print(json.dumps([
    [type(dag.timetable).__name__, dag.timetable.expression],
    [dag.catchup, dag.max_active_runs, dag.start_date.isoformat()],
    sorted(dag.get_task("preflight").upstream_task_ids),
    [task.task_id for task in dag.tasks if task.task_id.rpartition(".")[2] not in dag.doc_md],
    wait and [wait.mode, wait.poke_interval, wait.timeout > 1e9, wait.retries],
]))
"""


def timetable(monkeypatch: pytest.MonkeyPatch, first: str, zone: str) -> Any:
    """Airflow's timetable of the DAG, as the scheduler reads it."""
    import qarib_retrain

    monkeypatch.setenv("QARIB_RETRAIN_FIRST_MONTH", first)
    monkeypatch.setenv("QARIB_TIMEZONE", zone)
    dag = importlib.reload(qarib_retrain).DAG
    read: SerializedDAG = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    return read


def scheduled(dag: Any, count: int) -> list[tuple[str, str]]:
    """The first runs that the scheduler makes: the partition's key, and when."""
    found, last = [], None
    limits = TimeRestriction(dag.start_date, None, dag.catchup)
    for _ in range(count):
        last = dag.timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=limits)
        assert last.data_interval is None
        found.append((last.partition_key, last.run_after.isoformat()))
    return found


@pytest.mark.parametrize(
    ("zone", "runs"),
    [
        ("UTC", [("2016-11", "2016-12-01T04"), ("2016-12", "2017-01-01T04"), ("2017-01", "2017-02-01T04")]),
        (
            "Asia/Qatar",
            [("2016-11", "2016-12-01T01"), ("2016-12", "2017-01-01T01"), ("2017-01", "2017-02-01T01")],
        ),
        # Its clocks change on November 6.
        ("America/New_York", [("2016-11", "2016-12-01T09"), ("2016-12", "2017-01-01T09")]),
    ],
)
def test_each_month_from_the_first_has_a_run_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, zone: str, runs: list[tuple[str, str]]
) -> None:
    dag = timetable(monkeypatch, "2016-11", zone)
    assert [(key, at[:13]) for key, at in scheduled(dag, len(runs))] == runs


@pytest.mark.parametrize("zone", ["America/Asuncion", "America/New_York", "Asia/Beirut", "Pacific/Apia"])
def test_no_month_is_left_out_or_made_twice_where_clocks_change(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """On October 1, 2017, Paraguay's clocks skipped the hour from midnight."""
    dag = timetable(monkeypatch, "2016-01", zone)
    expected = [str(month) for month in Month(2016, 1).through(Month(2019, 12))]
    assert [key for key, _ in scheduled(dag, 48)] == expected
    asked = dag.iter_dagrun_infos_between(
        datetime(2016, 1, 1, tzinfo=UTC), datetime(2019, 12, 31, tzinfo=UTC)
    )
    assert [info.partition_key for info in asked] == expected


def test_a_backfill_names_the_same_partitions_as_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    dag = timetable(monkeypatch, "2026-11", "Asia/Qatar")
    assert dag.timetable.periodic, "else Airflow refuses a backfill"
    asked = list(
        dag.iter_dagrun_infos_between(datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 1, 31, tzinfo=UTC))
    )
    assert [info.partition_key for info in asked] == ["2026-11", "2026-12", "2027-01"]
    made = dag.timetable.next_dagrun_info_v2(
        last_dagrun_info=None, restriction=TimeRestriction(dag.start_date, None, True)
    )
    assert made.partition_date == asked[0].partition_date


def test_airflow_refuses_a_key_that_is_no_month(monkeypatch: pytest.MonkeyPatch) -> None:
    dag = timetable(monkeypatch, "2026-11", "Asia/Qatar")
    assert dag.timetable.resolve_partition_date("2026-11") == datetime(2026, 10, 31, 21, tzinfo=UTC)
    for key in ("2026-13", "2026", "2026-11-01", "x"):
        with pytest.raises(InvalidPartitionKeyError):
            dag.timetable.resolve_partition_date(key)


def test_the_dag_waits_for_its_month_only_where_months_are_partitions() -> None:
    environment = {"QARIB_RETRAIN_FIRST_MONTH": "2026-11", "QARIB_TIMEZONE": "Asia/Qatar"}
    assert json.loads(printed(CODE, **environment, QARIB_RETRAIN_WAIT_SECONDS="7")) == [
        ["CronPartitionTimetable", "0 4 1 * *"],
        [True, 1000, "2026-11-30T21:00:00+00:00"],
        ["wait_for_month"],
        [],
        ["reschedule", 7, True, 3],
    ]
    assert json.loads(printed(CODE, QARIB_RETRAIN_SCHEDULE="0 3 1 * *")) == [
        ["CronDataIntervalTimetable", "0 3 1 * *"],
        [False, 1, "2015-01-01T00:00:00+00:00"],
        [],
        [],
        None,
    ]


def test_settings_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QARIB_RETRAIN_FIRST_MONTH", raising=False)
    assert first_month() is None
    assert scheduling()["max_active_runs"] == 1
    monkeypatch.setenv("QARIB_RETRAIN_FIRST_MONTH", "2026-13")
    with pytest.raises(ConfigError, match="'2026-13' is not a month"):
        schedule()
    monkeypatch.setenv("QARIB_RETRAIN_FIRST_MONTH", "2026-12")
    assert first_month() == Month(2026, 12)
    monkeypatch.setenv("QARIB_RETRAIN_SCHEDULE", "asset")
    with pytest.raises(ConfigError, match="are both set"):
        schedule()

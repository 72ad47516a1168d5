"""Airflow's own tables, with runs, tasks, and pools that a test puts there."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from qarib_airflow.reporting import waits

DAG = "qarib_pretrain"


class Tables:
    """Airflow's database, into which runs and tasks are put."""

    def __init__(self, file: Path) -> None:
        self.file, self.number = file, 9_000

    def insert(self, table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        with closing(sqlite3.connect(self.file, timeout=60)) as connection, connection:
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))

    def read(self, query: str, *values: Any) -> Any:
        with closing(sqlite3.connect(self.file, timeout=60)) as connection:
            return connection.execute(query, values).fetchone()

    def run(self, run_id: str, hour: int, state: str = "running", logical: str | None = None) -> None:
        self.number += 1
        time = f"2026-12-01 {hour:02}:00:00.000000"
        of = {"dag_id": DAG, "run_id": run_id}
        self.insert(
            "dag_run", id=self.number, **of, run_type="manual", run_after=time, start_date=time,
            state=state, conf="{}", logical_date=logical,
        )  # fmt: skip

    def pool(self, name: str, slots: int, include_deferred: bool = True) -> None:
        of = {"pool": name, "slots": slots, "description": "of a test"}
        self.insert("slot_pool", **of, include_deferred=include_deferred)

    def task(
        self,
        run_id: str,
        task: str,
        state: str,
        pool: str = "default_pool",
        kept: Any = None,
        weight: int = 1,
    ) -> None:
        of = {"dag_id": DAG, "run_id": run_id, "task_id": task, "map_index": -1}
        self.insert(
            "task_instance", id=uuid.uuid4().hex, **of, state=state, pool=pool, pool_slots=1, try_number=1,
            max_tries=2, queue="default", priority_weight=weight,
        )  # fmt: skip
        if kept is not None:
            (number,) = self.read("SELECT id FROM dag_run WHERE dag_id = ? AND run_id = ?", DAG, run_id)
            self.insert(
                "xcom", dag_run_id=number, **of, key=waits.KEY, value=json.dumps(kept),
                timestamp="2026-12-01 00:00:00.000000",
            )  # fmt: skip


@contextmanager
def filled(database: Path) -> Iterator[Tables]:
    """The tables, which are emptied at the end."""
    tables = Tables(database.with_name("airflow.db"))
    yield tables
    with closing(sqlite3.connect(tables.file, timeout=60)) as connection, connection:
        for table in ("xcom", "task_instance", "dag_run"):
            connection.execute(f"DELETE FROM {table} WHERE dag_id = ?", [DAG])
        connection.execute("DELETE FROM slot_pool WHERE description = 'of a test'")

"""What others put into Airflow's database: whatever it is, the runs can be listed."""

from __future__ import annotations

import types
from typing import Any

import pytest
from qarib_airflow.page import database

from qarib_tasks.views.runs import RunRecord


@pytest.mark.parametrize(
    "value",
    [7, None, "text", "[" * 100_000, '{"__classname__": "os.system", "__data__": 1, "__version__": 0}'],
)
def test_an_xcom_of_any_content(value: Any) -> None:
    values = database._value(row_of("r", value))
    record = RunRecord(dag_id="qarib_pretrain", run_id="r", state="success", values=values)
    assert record.values == {}
    assert "wrong type" in str(record.fault)


def test_rows_of_which_one_cannot_be_read() -> None:
    class Session:
        """Raises as SQLAlchemy does for a column of JSON that is too deep."""

        def execute(self, query: Any) -> list[Any]:
            asked = query.compile().params["run_id_1"]
            if "deep" in asked:
                raise RecursionError
            return [row_of(name, {"dataset_id": name}) for name in asked]

    dag = "qarib_pretrain"
    found = database._values(Session(), [dag], ["a", "deep", "b"])
    assert found == {(dag, "a"): {"dataset_id": "a"}, (dag, "deep"): None, (dag, "b"): {"dataset_id": "b"}}


def row_of(run_id: str, value: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(dag_id="qarib_pretrain", run_id=run_id, value=value)

"""The form of qarib_backfill_shards."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError
from qarib_airflow.forms.backfill import backfill_params

from qarib_tasks.dataset.shard_state import BROKEN


def test_without_a_choice_every_broken_shard_is_chosen() -> None:
    params = backfill_params()
    assert params["choice"].resolve() == list(BROKEN)
    assert params["shards"].resolve() == []
    assert params["dataset"].resolve("qarib-0123456789") == "qarib-0123456789"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", None),
        ("dataset", "../qarib-0123456789"),
        ("dataset", "qarib-012345678"),
        ("choice", ["complete"]),
        ("shards", "shards/shard_0000"),
        ("workspace", ""),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        backfill_params()[name].resolve(value)

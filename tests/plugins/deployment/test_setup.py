"""`qarib airflow-init`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qarib_airflow.deployment import setup

from qarib_tasks.errors import ConfigError


@pytest.fixture
def database(airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Airflow's, without what the command makes."""
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "10000")
    remove()
    yield
    remove()


def remove() -> None:
    from airflow.models.connection import Connection
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(Pool).where(Pool.pool == setup.POOL))
        session.execute(delete(Variable).where(Variable.key.in_(setup.VARIABLES)))
        session.execute(delete(Connection).where(Connection.conn_id == setup.CONNECTION))


def test_makes_what_is_missing_and_leaves_the_rest_alone(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models.variable import Variable

    monkeypatch.setenv("QARIB_BUCKET", "some-bucket")
    monkeypatch.setenv("QARIB_SHARDS_AT_ONCE", "3")
    assert setup.set_up() == [
        "pool qarib_convert: created, 3 slots",
        "variables: qarib_bucket",
        "connection google_cloud_default: created, uses the machine's own Google credentials",
        "max_map_length: 10,000",
    ]
    assert Variable.get("qarib_bucket") == "some-bucket"

    # Again, without a word of the environment: nothing is changed.
    for name in ("QARIB_BUCKET", "QARIB_SHARDS_AT_ONCE"):
        monkeypatch.delenv(name)
    assert setup.set_up() == [
        "pool qarib_convert: exists, 3 slots",
        "variables: none, as the environment sets none",
        "connection google_cloud_default: exists",
        "max_map_length: 10,000",
    ]
    assert Variable.get("qarib_bucket") == "some-bucket"

    monkeypatch.setenv("QARIB_SHARDS_AT_ONCE", "5")
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "{}")
    assert setup.set_up()[::2] == [
        "pool qarib_convert: created, 5 slots",
        "connection google_cloud_default: set by the environment",
    ]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        (
            "AIRFLOW__CORE__MAX_MAP_LENGTH",
            "1024",
            r"max_map_length: the limit is 1,024, but the full recipe has 1,172",
        ),
        ("QARIB_SHARDS_AT_ONCE", "none", r"QARIB_SHARDS_AT_ONCE: must be a whole number above 0"),
        ("QARIB_SHARDS_AT_ONCE", "0", r"QARIB_SHARDS_AT_ONCE: must be a whole number above 0"),
    ],
)
def test_settings_that_cannot_be_used(
    database: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=error):
        setup.set_up()

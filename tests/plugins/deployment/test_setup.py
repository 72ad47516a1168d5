"""`qarib airflow-init`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from qarib_airflow import defaults
from qarib_airflow.deployment import setup

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.errors import ConfigError

CHIPS = "some_chips"


@pytest.fixture
def database(airflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
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
        session.execute(delete(Pool).where(Pool.pool.in_([setup.POOL, CHIPS])))
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
        ("QARIB_TPUS_AT_ONCE", "-1", r"QARIB_TPUS_AT_ONCE: must be a whole number above 0"),
        ("QARIB_SHARDS_AT_ONCE", "0", r"QARIB_SHARDS_AT_ONCE: must be a whole number above 0"),
    ],
)
def test_settings_that_cannot_be_used(
    database: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=error):
        setup.set_up()


def test_the_command_changes_no_file(database: None, tmp_path: Path) -> None:
    """The names are those of Airflow's files and of this project's."""
    names = (
        "airflow.cfg",
        "airflow.db",
        "logs/x",
        "webserver_config.py",
        "qarib_workspace",
        "work/sources.json",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a stranger's\n")
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pool qarib_convert: " in done.stdout
    left = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted(left) == sorted(names)
    assert {path.read_text() for path in left.values()} == {"a stranger's\n"}


def test_a_database_that_airflow_has_not_made_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:////{tmp_path}/empty.db")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("qarib: ")]
    assert line.startswith("qarib: error: Airflow's database: cannot be used: ")
    assert line.endswith("run `airflow db migrate` first")
    assert "Traceback" not in done.stderr


def test_a_limit_of_the_dags_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, QARIB_RUNS_AT_ONCE="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "qarib: error: QARIB_RUNS_AT_ONCE: must be a whole number above 0, not '0'. Correct it"
    ]


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qarib_tasks.cli", "airflow-init"]
    values = {**os.environ, "PYTHONPATH": str(SAMPLE.parent), **environment}
    return subprocess.run(command, cwd=folder, env=values, capture_output=True, text=True)


def test_the_pool_of_chips(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    monkeypatch.setattr(defaults, "TPU_POOL", CHIPS)
    assert f"pool {CHIPS}: created, 1 slot" in setup.set_up()
    with create_session() as session:
        pool = Pool.get_pool(CHIPS, session=session)
        assert pool is not None
        assert pool.include_deferred
    monkeypatch.setenv("QARIB_TPUS_AT_ONCE", "3")
    assert f"pool {CHIPS}: changed, 3 slots" in setup.set_up()
    monkeypatch.delenv("QARIB_TPUS_AT_ONCE")
    assert f"pool {CHIPS}: exists, 3 slots" in setup.set_up()
    with create_session() as session:
        Pool.create_or_update_pool(CHIPS, 0, "", True, session=session)
    assert f"pool {CHIPS}: exists, 0 slots: none of its tasks start until it has more" in setup.set_up()
    with create_session() as session:
        Pool.create_or_update_pool(CHIPS, 3, "", False, session=session)
    with pytest.raises(ConfigError, match=r"does not count deferred tasks.*--include-deferred some_chips 3"):
        setup.set_up()


def test_a_pool_of_conversions_with_another_name(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "CONVERT_POOL", CHIPS)
    assert setup.set_up()[:2] == [
        "pool qarib_convert: created, 32 slots",
        f"pool {CHIPS}: created, 32 slots",
    ]

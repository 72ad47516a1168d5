"""`qarib airflow-init`: sets up the pools, variables and connection that the DAGs need.

It writes to Airflow's database, so run it where Airflow's own processes run, after the database is migrated.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from airflow.sdk.configuration import conf
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from qarib_tasks.counting import counted
from qarib_tasks.errors import ConfigError, QaribError

POOL = "qarib_convert"
CHIPS = "Trainings with a Cloud TPU at once"
SLOTS = 32  # The same as Airflow's own `[core] parallelism`.
VARIABLES = ("qarib_workspace", "qarib_bucket", "qarib_tpu")
CONNECTION = "google_cloud_default"
# Shards of the full recipe: 600 million sentences in shards of 512,000 lines.
SHARDS = 1172


def set_up() -> list[str]:
    """Create the pools, the variables that the environment sets and the connection; check max_map_length.

    Existing ones are kept; only values that the environment sets are updated.

    Returns:
        one line for each.

    Raises:
        ConfigError: a setting is invalid; everything else has been created.
    """
    # These take seconds to import, and only this command needs them.
    from airflow.models.connection import Connection
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    # Not imported with this module: what is wrong in the environment is then an error that `main` prints.
    from qarib_airflow.defaults import CONVERT_POOL, NO_POOL, TPU_POOL
    from qarib_airflow.defaults import number as limit_of

    slots, chips = limit_of("QARIB_SHARDS_AT_ONCE"), limit_of("QARIB_TPUS_AT_ONCE")
    lines = []
    with create_session() as session:
        for name in dict.fromkeys((POOL, CONVERT_POOL)):
            if name in (NO_POOL, TPU_POOL):
                continue
            pool = session.scalar(select(Pool).where(Pool.pool == name))
            if pool is None or (slots is not None and pool.slots != slots):
                number = slots or SLOTS
                Pool.create_or_update_pool(name, number, "Shards converted at once", False, session=session)
                lines.append(f"pool {name}: created, {number} slots")
            else:
                lines.append(f"pool {name}: exists, {_slots(pool.slots)}")
        lines += _pool_of_chips(session, chips)
        values = {name: os.environ[name.upper()] for name in VARIABLES if os.environ.get(name.upper())}
        for name, value in values.items():
            Variable.set(name, value, session=session)
        lines.append(f"variables: {', '.join(values) or 'none, as the environment sets none'}")
        if os.environ.get(f"AIRFLOW_CONN_{CONNECTION.upper()}"):
            lines.append(f"connection {CONNECTION}: set by the environment")
        elif session.scalar(select(Connection).where(Connection.conn_id == CONNECTION)):
            lines.append(f"connection {CONNECTION}: exists")
        else:
            session.add(Connection(conn_id=CONNECTION, conn_type="google_cloud_platform"))
            lines.append(f"connection {CONNECTION}: created, uses the machine's own Google credentials")
    limit = conf.getint("core", "max_map_length")
    if limit < SHARDS:
        raise ConfigError(
            f"the limit is {limit:,}, but the full recipe has {SHARDS:,} shards",
            where="[core] max_map_length",
            do="Set AIRFLOW__CORE__MAX_MAP_LENGTH=10000 for every Airflow process",
        )
    return [*lines, f"max_map_length: {limit:,}"]


def _pool_of_chips(session: Any, slots: int | None) -> list[str]:
    """Create the pool of trainings that the deployment names, if it names one.

    A training is deferred while it has its TPU, so a pool that does not count deferred tasks limits nothing.
    """
    from airflow.models.pool import Pool

    from qarib_airflow.defaults import NO_POOL, TPU_POOL

    if TPU_POOL == NO_POOL:
        return []
    pool = session.scalar(select(Pool).where(Pool.pool == TPU_POOL))
    if pool is None:
        Pool.create_or_update_pool(TPU_POOL, slots or 1, CHIPS, True, session=session)
        return [f"pool {TPU_POOL}: created, {counted(slots or 1, 'slot')}"]
    if not pool.include_deferred:
        where = f"the pool {TPU_POOL}"
        do = f'Run `airflow pools set --include-deferred {TPU_POOL} {pool.slots} "{CHIPS}"`'
        raise ConfigError("does not count deferred tasks, which trainings are", where=where, do=do)
    if slots is not None and pool.slots != slots:
        pool.slots = slots
        return [f"pool {TPU_POOL}: changed, {counted(slots, 'slot')}"]
    return [f"pool {TPU_POOL}: exists, {_slots(pool.slots)}"]


def _slots(number: int) -> str:
    if number < 0:
        return "no limit"
    return counted(number, "slot") + ("" if number else ": none of its tasks start until it has more")


def main() -> None:
    """Run the command. An error that the user can correct prints one line, not a traceback."""
    try:
        print("\n".join(set_up()))
    except (QaribError, SQLAlchemyError) as error:
        print(f"qarib: error: {_line(error)}", file=sys.stderr)
        sys.exit(1)


def _line(error: QaribError | SQLAlchemyError) -> str:
    if isinstance(error, QaribError):
        return str(error)
    cause = " ".join(str(getattr(error, "orig", None) or error).split())
    do = "Check AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, and run `airflow db migrate` first"
    return str(ConfigError(f"cannot be used: {cause}", where="Airflow's database", do=do))


if __name__ == "__main__":
    main()

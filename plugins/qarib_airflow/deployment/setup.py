"""`qarib airflow-init`: sets up the pool, variables and connection that the DAGs need.

It writes to Airflow's database, so run it where Airflow's own processes run, after the database is migrated.
"""

from __future__ import annotations

import os
import sys

from airflow.sdk.configuration import conf
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from qarib_tasks.errors import ConfigError, QaribError

POOL = "qarib_convert"
SLOTS = 32  # The same as Airflow's own `[core] parallelism`.
VARIABLES = ("qarib_workspace", "qarib_bucket", "qarib_tpu")
CONNECTION = "google_cloud_default"
# Shards of the full recipe: 600 million sentences in shards of 512,000 lines.
SHARDS = 1172


def set_up() -> list[str]:
    """Create the pool, the variables that the environment sets and the connection; check max_map_length.

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

    slots = _slots(os.environ.get("QARIB_SHARDS_AT_ONCE"))
    lines = []
    with create_session() as session:
        pool = session.scalar(select(Pool).where(Pool.pool == POOL))
        if pool is None or (slots is not None and pool.slots != slots):
            slots = slots or SLOTS
            Pool.create_or_update_pool(POOL, slots, "Shards converted at once", False, session=session)
            lines.append(f"pool {POOL}: created, {slots} slots")
        else:
            lines.append(f"pool {POOL}: exists, {pool.slots} slots")
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


def _slots(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"must be a whole number above 0, not {text!r}", where="QARIB_SHARDS_AT_ONCE")
    return int(text)


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

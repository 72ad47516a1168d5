"""`qarib airflow-init`: what the DAGs need of an Airflow beside its database.

It writes to Airflow's database, so it runs where Airflow's own parts run, once the database is migrated.
"""

from __future__ import annotations

import os
import sys

from airflow.sdk.configuration import conf
from sqlalchemy import select

from qarib_tasks.errors import ConfigError, QaribError

POOL = "qarib_convert"
SLOTS = 32  # As many as Airflow's own `[core] parallelism`.
VARIABLES = ("qarib_workspace", "qarib_bucket", "qarib_tpu")
CONNECTION = "google_cloud_default"
# Shards of the full recipe: 600 million sentences in shards of 512,000 lines.
SHARDS = 1172


def set_up() -> list[str]:
    """Make the pool, the variables that the environment gives and the connection; check max_map_length.

    What is there is left alone, but for a value that the environment gives.

    Returns:
        a line on each.

    Raises:
        ConfigError: a setting cannot be used; all that could be made is made.
    """
    # Seconds to import, and for this command only.
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
            lines.append(f"pool {POOL}: made, {slots} slots")
        else:
            lines.append(f"pool {POOL}: is there, {pool.slots} slots")
        values = {name: os.environ[name.upper()] for name in VARIABLES if os.environ.get(name.upper())}
        for name, value in values.items():
            Variable.set(name, value, session=session)
        lines.append(f"variables: {', '.join(values) or 'none, the environment gives none'}")
        if os.environ.get(f"AIRFLOW_CONN_{CONNECTION.upper()}"):
            lines.append(f"connection {CONNECTION}: the environment's")
        elif session.scalar(select(Connection).where(Connection.conn_id == CONNECTION)):
            lines.append(f"connection {CONNECTION}: is there")
        else:
            session.add(Connection(conn_id=CONNECTION, conn_type="google_cloud_platform"))
            lines.append(f"connection {CONNECTION}: made, uses the machine's own Google credentials")
    limit = conf.getint("core", "max_map_length")
    if limit < SHARDS:
        raise ConfigError(
            f"it is {limit:,}, and the full recipe has {SHARDS:,} shards",
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
    """The command: an error that is the user's to mend is one line, not a traceback."""
    try:
        print("\n".join(set_up()))
    except QaribError as error:
        print(f"qarib: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

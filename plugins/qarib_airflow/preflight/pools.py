"""The pools that a run's tasks use: whether they exist, and have slots.

A task cannot read pools. `qarib_pools` keeps them when the run starts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from qarib_airflow.defaults import CONVERT_POOL, NO_POOL, TPU_POOL
from qarib_airflow.reporting import reasons
from qarib_airflow.reporting.waits import ADD_SLOTS, MAKE_POOL, NO_SLOTS, NOT_THERE
from qarib_tasks.doctor.result import Result, fault, ok, warning
from qarib_tasks.errors import ConfigError, Faults

log = logging.getLogger(__name__)
KEY = "qarib_pools"


def check_pools(ti: Any, keeper: str = "shards_ended") -> None:
    """Check the pools of the run of the task that calls this.

    A pool without slots is a warning, and a remark in the run's note: a person can have paused it.

    Args:
        ti: the task's instance.
        keeper: the task that has the pools, see `qarib_pools`.

    Raises:
        ConfigError: a pool does not exist: the tasks of it would never start.
    """
    faults = Faults()
    for result in pool_results(ti, keeper):
        if result.state == "fault":
            with faults.kept():
                raise ConfigError(result.what, where=result.where, do=result.do)
        elif result.state == "warning":
            text = f"{result.where}: {result.what}. {result.do}"
            log.warning("%s", text)
            reasons.remark(ti, text)
    faults.raise_all()


def pool_results(ti: Any, keeper: str) -> list[Result]:
    """A line for each pool that the deployment names; none for a pool of which nothing is known."""
    kept = ti.xcom_pull(task_ids=keeper, key=KEY)
    pools: Mapping[str, Any] = kept if isinstance(kept, Mapping) else {}
    names = [name for name in dict.fromkeys((CONVERT_POOL, TPU_POOL)) if name != NO_POOL]
    return [_result(name, pools[name]) for name in names if isinstance(pools.get(name), Mapping)]


def _result(name: str, pool: Mapping[str, Any]) -> Result:
    where, slots = f"the pool {name}", pool.get("slots")
    if slots is None:
        return fault("pool", NOT_THERE, where, MAKE_POOL)
    if slots == 0:
        return warning("pool", NO_SLOTS, where, ADD_SLOTS)
    if name == TPU_POOL and not pool.get("include_deferred"):
        do = "Turn on Include Deferred in Airflow: Admin, Pools"
        return warning("pool", "does not count deferred tasks, so it does not limit trainings", where, do)
    return ok("pool", "no limit" if slots < 0 else f"{slots} slots", where)

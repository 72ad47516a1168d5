"""For benchmarks/fan_out.py: two empty tasks per shard, and one task after all of them."""

from __future__ import annotations

from airflow.sdk import Param, dag, get_current_context, task, task_group  # noqa: TID251


@task
def split() -> list[str]:
    shards: int = get_current_context()["params"]["shards"]
    return [f"shards/shard_{number:04d}" for number in range(shards)]


@task
def convert(name: str) -> None:
    pass


@task
def upload(name: str) -> None:
    pass


@task_group
def shard(name: str) -> None:
    convert(name) >> upload(name)


@task
def dataset() -> None:
    pass


@dag(schedule=None, params={"shards": Param(100, type="integer")})
def bare_fan_out() -> None:
    shard.expand(name=split()) >> dataset()


bare_fan_out()

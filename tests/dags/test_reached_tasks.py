"""Which tasks are reached after a failure: `dataset` judges shards, and only if there can be some.

Covers plugins/qarib_airflow/tasks/shards.py.
"""

from __future__ import annotations

import pytest

from tests.support.airflow.scheduling import play

pytestmark = pytest.mark.usefixtures("airflow_database")
LENGTHS = {"sources": 1, "split": 3, "plan": 3, "finetunings": 1}
DATASET = {"qarib_pretrain": None, "qarib_backfill_shards": "demo-0123456789"}
UNREACHED = "upstream_failed"


def ended(dag_id: str = "qarib_pretrain", shards: int = 3, **ends: str) -> tuple[str, dict[str, str]]:
    """The end of a run, given how tasks end: `shard_convert_1` is the second shard's."""
    named = {}
    for name, state in ends.items():
        task, _, index = name.removeprefix("shard_").partition("_")
        named[f"shard.{task}[{index}]" if name.startswith("shard_") else name] = state
    return play(dag_id, named, LENGTHS | {"split": shards}, {"dataset": DATASET[dag_id]})


@pytest.mark.parametrize("task", ["preflight", "collect", "vocab", "split"])
def test_what_failed_before_there_are_shards_is_the_only_failure(task: str) -> None:
    run, states = ended(**{task: "failed"})
    assert run == "failed"
    assert [name for name, state in states.items() if state == "failed"] == [task]
    assert {states[name] for name in ("dataset", "publish", "train", "export", "finetunings")} == {UNREACHED}


@pytest.mark.parametrize("failed", [1, 3])
def test_failed_shards_are_judged(failed: int) -> None:
    ends = {f"shard_convert_{index}": "failed" for index in range(failed)} | {"dataset": "failed"}
    run, states = ended(**ends)
    assert run == "failed"
    assert states["dataset"] == "failed", "it did not run"
    assert list(states.values()).count("failed") == failed + 1
    assert states["train"] == UNREACHED
    # As many can be missing as upload.tolerated_missing_share allows.
    run, states = ended(**ends | {"dataset": "success"})
    assert states["finetuning_table"] == "success"


def test_a_dataset_that_is_complete_is_judged_again() -> None:
    run, states = ended(shards=0)
    assert (run, states["shard.upload"], states["dataset"]) == ("success", "skipped", "success")


@pytest.mark.parametrize("task", ["preflight", "plan"])
def test_a_repair_without_a_plan_judges_nothing(task: str) -> None:
    run, states = ended("qarib_backfill_shards", **{task: "failed"})
    assert run == "failed"
    assert [name for name, state in states.items() if state == "failed"] == [task]
    run, states = ended("qarib_backfill_shards", shard_convert_1="failed", dataset="failed")
    assert states["dataset"] == "failed", "it did not run"

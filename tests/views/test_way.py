"""What the page says became of each part of a run."""

from __future__ import annotations

from typing import Any

from qarib_tasks.views.way import SEE_LOG, Reason, way

ALL = {
    "preflight": 1, "sources": 1, "collect_source": 2, "collect": 1, "vocab": 1, "split": 1,
    "shard.convert": 8, "shard.upload": 8, "dataset": 1, "publish": 1, "prepare_tpu": 1, "train": 1,
    "delete_tpu": 1, "evaluate": 1, "export": 1, "promote": 1, "finetunings": 1, "finetune": 1,
    "finetuning_table": 1,
}  # fmt: skip


def steps(default: str, **others: dict[str, int]) -> dict[str, dict[str, int]]:
    """All tasks in one state, except those that are named, with `_` in place of a dot."""
    return {task: others.get(task.replace(".", "_"), {default: number}) for task, number in ALL.items()}


def states(found: list[dict[str, Any]]) -> list[str]:
    return [part["state"] for part in found]


def test_a_preflight_that_failed_stops_all_others() -> None:
    reason = Reason("preflight", -1, "failed", "failed", "no such file", "/data/x", "Check the path")
    found = way(steps("upstream_failed", preflight={"failed": 1}), [reason], "failed")
    assert states(found) == ["failed", *["not reached"] * 5]
    assert found[0]["reason"] == {
        "task": "preflight", "map_index": -1, "what": "no such file", "where": "/data/x",
        "do": "Check the path",
    }  # fmt: skip
    assert {part["because"] for part in found[1:]} == {"preflight"}
    assert all(part["reason"] is None for part in found[1:])


def test_a_retraining_without_new_text_is_skipped_and_not_done() -> None:
    reason = Reason("preflight", -1, "success", "skipped", "Nothing new: all is known")
    found = way(steps("skipped", preflight={"success": 1}), [reason], "success")
    assert states(found) == ["done", *["skipped"] * 5]
    assert found[0]["reason"] is None
    assert {part["reason"]["what"] for part in found[1:]} == {"Nothing new: all is known"}


def test_a_run_on_an_existing_dataset_skips_what_makes_one() -> None:
    skipped = {task: {"skipped": 1} for task in ("sources", "collect_source", "collect", "vocab", "split")}
    skipped |= {task: {"skipped": 1} for task in ("shard_convert", "shard_upload", "dataset", "publish")}
    found = way(steps("success", **skipped), [], "success")
    assert states(found) == ["done", "skipped", "skipped", "skipped", "done", "done"]


def test_one_failed_shard_of_many() -> None:
    shard = {
        "shard_convert": {"success": 7, "failed": 1},
        "shard_upload": {"success": 7, "upstream_failed": 1},
    }
    later = {
        task: {"upstream_failed": 1} for task in ("publish", "prepare_tpu", "train", "evaluate", "export")
    }
    found = way(
        steps("success", **shard, dataset={"failed": 1}, **later, promote={"upstream_failed": 1}),
        [Reason("shard.convert", 3, "failed", "failed", "bad bytes")],
        "failed",
    )
    assert states(found) == ["done", "done", "done", "failed", "not reached", "not reached"]
    assert (found[3]["reason"]["task"], found[3]["reason"]["map_index"]) == ("shard.convert", 3)


def test_a_task_that_was_killed_has_no_reason_of_its_own() -> None:
    rest = {task: {"upstream_failed": 1} for task in ("evaluate", "export", "promote", "finetune")}
    found = way(steps("success", train={"failed": 1}, **rest), [], "failed")
    assert states(found)[-2:] == ["failed", "not reached"]
    assert (found[4]["reason"]["task"], found[4]["reason"]["what"]) == ("train", SEE_LOG)


def test_a_run_that_waits_for_a_month_a_turn_or_a_person_runs_nothing() -> None:
    """A training whose TPU is followed is deferred, too, and runs."""
    month = way({**steps("none"), "wait_for_month": {"up_for_reschedule": 1}}, [], "running")
    assert states(month) == ["waiting"] * 6
    turn = way(steps("none", preflight={"success": 1}, sources={"deferred": 1}), [], "running")
    assert states(turn)[:2] == ["done", "waiting"]
    asked = way(steps("none", train={"none": 1}, prepare_tpu={"awaiting_input": 1}), [], "running")
    assert states(asked)[4] == "waiting"
    machine = {"prepare_tpu": {"success": 1}, "train": {"up_for_reschedule": 1}}
    assert states(way(steps("none", **machine), [], "running"))[4] == "waiting"
    pool = {"prepare_tpu": {"success": 1}, "train": {"scheduled": 1}}
    assert states(way(steps("none", **pool), [], "running"))[4] == "waiting"
    trains = {"prepare_tpu": {"success": 1}, "train": {"deferred": 1}}
    assert states(way(steps("none", **trains), [], "running"))[4] == "running"


def test_a_task_that_waits_for_its_next_try_says_why() -> None:
    waits = Reason("train", -1, "up_for_retry", "failed", "no TPU in any of the zones tried", "zones", "Wait")
    found = way(steps("success", train={"up_for_retry": 1}), [waits], "running")
    assert found[4]["state"] == "running"
    assert found[4]["reason"]["what"] == "train failed and is tried again: no TPU in any of the zones tried"


def test_a_reason_of_an_earlier_failure_is_not_that_of_a_repaired_task() -> None:
    skipped = {task: {"skipped": 1} for task in ("shard_convert", "shard_upload")}
    found = way(
        steps("success", **skipped),
        [Reason("collect", -1, "success", "failed", "was broken", "x", "y")],
        "success",
    )
    assert states(found) == ["done"] * 6
    assert not any(part["reason"] for part in found)


def test_a_candidate_has_its_reason_and_the_part_is_done() -> None:
    reason = Reason("promote", -1, "skipped", "skipped", "m stays a candidate: worse")
    found = way(steps("success", promote={"skipped": 1}), [reason], "success")
    assert (found[5]["state"], found[5]["reason"]["what"]) == ("done", "m stays a candidate: worse")


def test_what_runs_and_what_waits() -> None:
    running = steps("none", preflight={"success": 1}, collect_source={"running": 1, "none": 1})
    assert states(way(running, [], "running")) == ["done", "running", *["waiting"] * 4]
    assert states(way({}, [], "queued")) == ["waiting"] * 6
    # Between two tasks of a part, none is at work.
    between = steps("none", preflight={"success": 1}, sources={"success": 1})
    assert states(way(between, [], "running"))[1] == "running"


def test_instances_that_a_mapped_task_no_longer_has_do_not_count() -> None:
    """Airflow keeps them as removed, if a task is mapped over fewer after it was cleared."""
    fewer = {"success": 6, "removed": 2}
    at_work = steps("none", preflight={"success": 1}, split={"success": 1}, publish={"success": 1})
    at_work |= {"shard.convert": fewer, "shard.upload": fewer, "dataset": {"success": 1}}
    assert states(way(at_work, [], "running"))[3] == "done"
    assert states(way(steps("removed", preflight={"success": 1}), [], "running"))[1] == "waiting"

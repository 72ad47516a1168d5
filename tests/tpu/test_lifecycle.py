"""A run's machines from asking to gone, through every loss: an emulated Cloud TPU, and a stand-in for GKE.

Covers qarib_tasks/tpu/api/service.py, qarib_tasks/tpu/observation.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.tpu.api.errors import TpuUnavailableError
from qarib_tasks.tpu.lifecycle import Memory, all_deleted, decide, ended, resumed
from qarib_tasks.tpu.observation import Heartbeat, Observation
from qarib_tasks.views.goodput import UNPAID
from tests.support.lifecycles.benches import BENCHES, LIMITS, MEMORY, POLL, ZONES, Bench

# What only the emulator of Cloud TPU shows.
cloud_tpu = pytest.mark.parametrize("bench", ["cloud_tpu"], indirect=True)


def where_it_exists(name: str, values: Iterable[Any], only_cloud_tpu: Container[Any]) -> pytest.MarkDecorator:
    """Each value with each service that has it."""
    pairs = [
        pytest.param(service, value, id=f"{service}-{value['kind'] if isinstance(value, dict) else value}")
        for value in values
        for service in BENCHES
        if service == "cloud_tpu" or value not in only_cloud_tpu
    ]
    return pytest.mark.parametrize(("bench", name), pairs, indirect=["bench"])


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with BENCHES[request.param](tmp_path) as bench:
        yield bench


NEW = Memory(run_id="manual__2026-11-22T10:00:00+00:00")


def finish(bench: Bench, memory: Memory) -> Memory:
    bench.beat(memory, state="succeeded")
    memory = bench.until(memory, "succeeded")
    assert bench.nothing_is_left
    paid = [seconds for phase, seconds in memory.seconds.items() if phase not in UNPAID]
    assert sum(paid) == pytest.approx(memory.spent, abs=0.01)
    assert memory.emulated
    assert memory.deleted == bench.clock()
    return memory


def test_the_way_without_a_loss(bench: Bench) -> None:
    memory = bench.until(NEW, "queueing")
    assert (memory.answer, memory.deleted) == ("", None)
    memory = bench.until(memory, "running")
    assert memory.answer == "READY"
    assert bench.clock() - memory.answered < 60
    memory = finish(bench, memory)
    assert (memory.attempt, memory.preemptions) == (1, 0)
    assert len(bench.billed) == 1
    # The estimate is on the high side, by no more than provisioning and deleting take.
    billed = sum(bench.billed)
    assert billed <= memory.spent <= billed + 200


LOSSES: dict[str, Callable[[Bench, Memory], None]] = {
    "preempted": lambda bench, memory: bench.strike(memory, "preempt"),
    "vanished": lambda bench, memory: bench.strike(memory, "vanish"),
    "terminated": lambda bench, memory: bench.strike(memory, "node_state"),
    "repairing": lambda bench, memory: bench.strike(memory, "maintenance"),
    "told": lambda bench, memory: bench.beat(memory, state="preempted"),
    "one of several": lambda bench, memory: bench.beat(memory, state="lost"),
    "stopped": lambda bench, memory: bench.strike(memory, "node_state", state="STOPPED"),
    "silent": lambda bench, memory: bench.advance(bench.limits.heartbeat),
    "suspended": lambda bench, memory: (
        bench.strike(memory, "preempt"),
        bench.advance(60),
    ),
    "deleted by hand": lambda bench, memory: bench.client.delete_step("us-west4-a", memory.name),
    "gone": lambda bench, memory: (
        bench.client.delete_step("us-west4-a", memory.name),
        bench.advance(100),
    ),
}


REASONS = {
    "preempted": "node is PREEMPTED",
    "vanished": "not found",
    "terminated": "node is TERMINATED",
    "repairing": "node is REPAIRING",
    "told": "received a preemption notice",
    "one of several": "a machine of the slice is lost",
    "stopped": "node is STOPPED",
    "silent": "no heartbeat for 120 s",
    "suspended": "resource is SUSPENDED",
    "deleted by hand": "node is DELETING",
    "gone": "not found",
}


@where_it_exists("loss", LOSSES, only_cloud_tpu={"terminated", "repairing", "stopped"})
def test_a_lost_tpu_is_replaced(bench: Bench, loss: str) -> None:
    first = bench.until(NEW, "running")
    LOSSES[loss](bench, first)
    second = bench.until(first, "booting")
    assert (second.attempt, second.preemptions, second.zone) == (2, 1, 0)
    assert second.name != first.name
    assert bench.reason(loss, REASONS) in second.history[-1]
    assert bench.ids == [bench.id_of(second)]
    # What the first one says now is nobody's.
    bench.beat(first, state="succeeded")
    finish(bench, bench.until(second, "running"))
    assert len(bench.billed) == 2


@cloud_tpu
def test_three_losses_and_the_end_of_the_budget(bench: Bench) -> None:
    bench.limits = replace(bench.limits, max_preemptions=2)
    bench.add_fault(kind="preempt", after=60)
    memory = bench.until(NEW, "failed", beating=True)
    assert (memory.attempt, memory.preemptions) == (3, 3)
    assert bench.nothing_is_left
    assert "3 TPUs lost, 2 are replaced" in memory.reason
    assert [entry.split(" ")[1] for entry in memory.history] == ["1", "2", "3"]
    assert set(bench.billed) == {60.0}


# A cluster has no such steps.
CREATION_FAILS: list[dict[str, Any]] = [
    {"kind": "provisioning_fails"},
    {"kind": "create_operation_fails", "code": 3},
]
NO_TPU: list[dict[str, Any]] = [
    {"kind": "stock_out"},
    {"kind": "queue_for_ever"},
    *CREATION_FAILS,
    {"kind": "create_refused", "code": 7, "message": "Permission denied on 'locations/us-west4-a'"},
    {"kind": "quota", "chips": 0},
]


@where_it_exists("fault", NO_TPU, only_cloud_tpu=CREATION_FAILS)
def test_the_next_zone_where_the_first_has_none(bench: Bench, fault: dict[str, Any]) -> None:
    bench.add_fault(zone=ZONES[0], **fault)
    memory = bench.until(NEW, "running")
    assert (memory.zone, memory.preemptions) == (1, 0)
    assert len(bench.ids) == 1
    bench.strike(memory, "preempt")
    # The zone that worked is asked first again.
    again = bench.until(memory, "booting")
    assert (again.zone, again.preemptions) == (1, 1)
    finish(bench, bench.until(again, "running"))


@cloud_tpu
def test_no_zone_has_one(bench: Bench) -> None:
    bench.add_fault(kind="stock_out", zone=ZONES[0])
    bench.add_fault(kind="queue_for_ever", zone=ZONES[1])
    memory = bench.until(NEW, "failed")
    assert "any of the zones tried (us-west4-a, us-central1-a): not granted within 600 s" in memory.reason
    assert bench.nothing_is_left
    assert "no more capacity" in memory.history[0]
    assert memory.stock_out, "another time may help"
    assert not resumed(memory, bench.clock()).stock_out


def test_a_training_that_fails_in_the_second_zone_is_no_stock_out(bench: Bench) -> None:
    bench.add_fault(kind="stock_out", zone=ZONES[0])
    memory = bench.until(NEW, "running")
    bench.beat(memory, state="failed", message="loss is not a number")
    memory = bench.until(memory, "failed")
    assert (memory.zone, memory.stock_out) == (1, False)


@cloud_tpu
def test_a_grant_after_the_limit_of_queueing_is_not_paid_for(bench: Bench) -> None:
    bench.zones = ZONES[:1]
    bench.add_fault(kind="late_grant", after=4200)
    bench.until(NEW, "failed")
    bench.advance(10_000)
    assert bench.nothing_is_left
    assert bench.billed == []


@cloud_tpu
def test_a_request_that_the_service_cannot_meet(bench: Bench) -> None:
    run = replace(
        bench.run(),
        request=lambda name, zone: replace(bench.run().request(name, zone), accelerator_type="v9"),
    )
    memory = NEW
    while memory.phase != "failed":
        memory = run.step(memory, bench.clock())
    assert '"v9", could not be found' in memory.reason
    assert "us-central1-a" in memory.reason
    assert not memory.stock_out, "waiting does not help"


def test_a_training_that_fails_is_not_repeated(bench: Bench) -> None:
    memory = bench.until(NEW, "running")
    bench.beat(memory, state="failed", message="loss is not a number")
    memory = bench.until(memory, "failed")
    assert "loss is not a number" in memory.reason
    assert (memory.attempt, bench.nothing_is_left) == (1, True)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("limit", [{"max_cost": 5.0, "price": 100.0}, {"running": 180.0}])
def test_stopped_by_a_limit_with_a_checkpoint_if_it_can(
    bench: Bench, limit: dict[str, float], answers: bool
) -> None:
    memory = bench.until(NEW, "running")
    bench.limits = replace(bench.limits, **limit)
    memory = bench.until(memory, "stopping", beating=True)
    assert (bench.folder / f"{memory.name}.stop").exists()
    if answers:
        bench.beat(memory, state="stopped")
        memory = bench.run().step(memory, bench.clock())
        assert memory.phase == "deleting"
    memory = bench.until(memory, "failed", beating=not answers)
    assert ("max_cost is 5.00" if "max_cost" in limit else "within 180 s") in memory.reason
    assert (memory.attempt, bench.nothing_is_left) == (1, True)


def test_machines_that_never_speak(bench: Bench) -> None:
    bench.limits = replace(bench.limits, max_preemptions=0)
    memory = NEW
    while memory.phase != "failed":
        memory = bench.run().step(memory, bench.clock())
        bench.advance(POLL)
    assert "no heartbeat within 300 s" in memory.reason
    assert bench.nothing_is_left


def test_a_run_that_a_user_ended_and_started_again_counts_from_the_grant(bench: Bench) -> None:
    memory = bench.until(NEW, "running")
    bench.advance(100)
    memory = resumed(ended(memory, bench.clock(), "cleared"), bench.clock())
    assert memory.phase == "deleting"
    finish(bench, bench.until(memory, "running"))


def test_killed_between_asking_and_knowing(bench: Bench) -> None:
    run = bench.run()
    run.step(NEW, bench.clock())
    # The answer is lost with the process: the next one has what was saved before it asked.
    memory = MEMORY.validate_json(bench.saved[0])
    assert memory.phase == "asking"
    memory = bench.until(memory, "running")
    assert (memory.attempt, len(bench.billed)) == (1, 1)


def test_the_name_is_somebody_else_s(bench: Bench) -> None:
    bench.client.create_queued_resource(replace(bench.request(NEW, ZONES[0]), labels={}))
    memory = bench.until(NEW, "running")
    assert memory.attempt == 2
    assert set(bench.ids) == {bench.id_of(NEW), bench.id_of(memory)}


@cloud_tpu
@pytest.mark.parametrize("response", ["empty", "queued_resource"])
def test_with_everything_wrong_at_once(bench: Bench, response: str) -> None:
    switches: dict[str, Any] = {"delete_response": response, "expiry": "waiting"}
    delays: dict[str, Any] = {"id_taken_after_delete": 3600}
    bench.emulator.state.faults.behaviour = Behaviour(delays=delays, **switches)
    bench.add_fault(kind="api_error", rate=0.3, seed=5)
    bench.add_fault(kind="create_conflict")
    bench.add_fault(kind="delete_again", times=3)
    bench.add_fault(kind="operation_slow", after=3600)
    bench.add_fault(kind="endpoints_late", after=30)
    bench.add_fault(kind="preempt", after=100, times=2)
    memory = bench.until(NEW, "running")
    for _ in range(2):
        memory = bench.until(bench.until(memory, "booting", beating=True), "running")
    assert (memory.attempt, memory.preemptions) == (3, 2)
    finish(bench, memory)


def test_an_api_that_is_down_changes_nothing(bench: Bench) -> None:
    memory = bench.until(NEW, "running")
    bench.client._retry = bench.client._retry.with_timeout(0.01)
    bench.add_fault(kind="api_error", codes=[14])
    with pytest.raises(TpuUnavailableError):
        bench.run().step(memory, bench.clock())
    bench.emulator.clear_faults()
    finish(bench, memory)


def test_a_delete_without_end_says_so(bench: Bench) -> None:
    memory = bench.until(NEW, "running")
    bench.add_fault(kind="delete_again")
    bench.beat(memory, state="succeeded")
    memory = bench.until(memory, "failed")
    assert "still exists after 600 s of deleting and may cost money" in memory.reason


def test_a_run_that_a_user_ended_is_over_when_no_tpu_exists() -> None:
    running = replace(NEW, phase="running", since=100.0, granted=90.0, spent=50.0, answer="READY")
    memory = ended(running, 110.0, "a user ended it")
    assert ended(memory, 115.0, "the run is over") == memory
    memory = all_deleted(memory, 120.0)
    assert (memory.phase, memory.deleted, memory.answer) == ("failed", 120.0, "")
    assert (memory.spent, memory.granted, memory.seconds["deleting"]) == (80.0, None, 10.0)
    assert all_deleted(memory, 130.0) == memory
    assert memory.history == (f"attempt 1 ({NEW.name}): a user ended it",)
    # One that would not go is gone in the end; where there never was one, none was deleted.
    stuck = replace(running, phase="failed", answer="DELETING")
    assert all_deleted(stuck, 120.0).deleted == 120.0
    never = replace(NEW, phase="failed")
    assert all_deleted(never, 120.0) == never
    # The next try has the next name.
    assert resumed(memory, 140.0).attempt == 2


def test_the_same_answer_is_saved_once_a_minute() -> None:
    memory = replace(NEW, phase="queueing", since=100.0, answer="ACCEPTED", answered=100.0)

    def looked(at: float, answer: str) -> Memory:
        seen = Observation(time=at, queued=answer, answer=answer)
        return decide(memory, seen, LIMITS, ZONES)[0]

    assert looked(159.0, "ACCEPTED").answered == 100.0
    assert looked(160.0, "ACCEPTED").answered == 160.0
    assert looked(101.0, "WAITING_FOR_RESOURCES").answered == 101.0


def test_another_tpu_s_heartbeat_does_not_count() -> None:
    memory = replace(NEW, phase="running", heartbeat_at=100.0)
    beat = Heartbeat(name=replace(NEW, attempt=2).name, mark="1", state="succeeded")
    seen = Observation(time=150.0, queued="ACTIVE", nodes=["READY"], heartbeat=beat)
    after, action = decide(memory, seen, LIMITS, ZONES)
    assert (after.phase, after.heartbeat_at, action) == ("running", 100.0, "wait")

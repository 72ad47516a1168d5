"""The operator and its trigger: through lost TPUs, errors of the API, a person's word and their own death.

Covers plugins/qarib_airflow/tpu/links.py, plugins/qarib_airflow/tpu/trigger.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.xcom import XCom
from qarib_airflow.errors import RetryByCause
from qarib_airflow.tpu.hook import CloudTPUHook
from qarib_airflow.tpu.operators import CloudTPUDeleteRunOperator
from qarib_airflow.tpu.trigger import CloudTPUTrainTrigger, progress_line

from qarib_tasks.errors import ChangedError
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.errors import TpuStockOutError
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory
from qarib_tasks.tpu.memory import JobMemory
from tests.support.tpu_jobs import SECONDS, Bench, again, context, deferred, finish, operator, stopped, until


@pytest.fixture
def bench(
    bucket_name: str, emulator_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    bench = Bench(bucket_name, emulator_address, tmp_path, monkeypatch)
    with bench.emulator:
        yield bench


def test_a_preemption_between_checkpoints(bench: Bench) -> None:
    bench.emulator.add_fault(kind="preempt", at_step=25, times=1)
    event = finish(bench.job(25))
    assert event["status"] == "success"
    assert len(event["history"]) == bench.made == 2
    assert bench.nothing_is_left
    assert "going on from step 20\nstep 21 of 100" in bench.log(bench.memory().name)


@pytest.mark.slow
def test_three_preemptions_and_an_api_that_answers_errors(bench: Bench) -> None:
    for step in (25, 55, 85):
        bench.emulator.add_fault(kind="preempt", at_step=step, times=1)
    bench.emulator.add_fault(kind="api_error", rate=0.3, codes=[8, 13, 14], seed=7)
    bench.emulator.add_fault(kind="create_conflict", times=2)
    bench.emulator.add_fault(kind="delete_again", times=2)
    event = finish(bench.job(25, 55, 85))
    assert event["status"] == "success"
    assert len(event["history"]) == bench.made == 4
    assert bench.nothing_is_left
    memory = bench.memory()
    assert (memory.phase, memory.attempt, memory.preemptions) == ("succeeded", 4, 3)
    assert "going on from step 80\nstep 81 of 100" in bench.log(memory.name)
    # Cleared once more, it finds that nothing is left to do.
    operator(bench.job(25, 55, 85)).execute(context())
    assert bench.made == 4


def test_the_second_zone_and_labels(bench: Bench) -> None:
    bench.emulator.add_fault(kind="stock_out", zone="us-central1-a")
    job = bench.job(50, zones=("us-central1-a", "us-west4-a"))

    async def follow() -> None:
        running = await until(deferred(operator(job)), bench.checkpoint.with_suffix(".50").exists)
        await stopped(running)

    asyncio.run(follow())
    (node,) = CloudTPUHook().get_conn("emulator").nodes()
    assert "/us-west4-a/" in node.name
    labels = dict(node.labels)
    assert (labels["made-by"], labels["owner"], labels["attempt"]) == ("qarib", "somebody", "2")
    assert TpuJob.from_dict(job).labels.items() <= labels.items()


@pytest.mark.parametrize(
    ("fault", "settings", "message"),
    [
        ({"kind": "preempt", "at_step": 5}, {"max_preemptions": 1}, "2 TPUs lost, 1 are replaced"),
        ({"kind": "freeze", "at_step": 5}, {"heartbeat_minutes": 0.03, "max_preemptions": 0}, "no heartbeat"),
        ({"kind": "quota", "chips": 2}, {}, "Request more quota of v5litepod-4 in us-west4-a"),
    ],
)
def test_given_up_with_the_reason_and_nothing_left(
    bench: Bench, fault: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    bench.emulator.add_fault(**fault)
    endless = ("-c", "import time\nfor n in range(10**6): print('step', n); time.sleep(0.1)")
    with pytest.raises(AirflowFailException, match=message):
        finish(bench.job(arguments=endless, **settings))
    assert bench.nothing_is_left
    assert bench.memory().history


@pytest.mark.parametrize(
    ("fault", "settings", "message"),
    [
        ({"kind": "late_grant", "after": 1000}, {"queueing_hours": 0.0003}, "limit of queueing"),
        ({"kind": "stock_out"}, {"stock_out_hours": 2.5}, "no more capacity"),
    ],
)
def test_without_a_tpu_in_any_zone_the_task_waits_long(
    bench: Bench, fault: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    bench.emulator.add_fault(**fault)
    with pytest.raises(TpuStockOutError, match=message) as failed:
        finish(bench.job(**settings))
    assert bench.nothing_is_left
    hours = settings.get("stock_out_hours", 1.0)
    assert f"tries again {hours:g} h (stock_out_hours) after each of its first 2 tries" in str(failed.value)
    decision = RetryByCause().evaluate(failed.value, 1, 2)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(hours=hours))


def test_a_training_that_fails_says_how(bench: Bench) -> None:
    with pytest.raises(AirflowFailException, match="loss is not a number"):
        finish(bench.job(arguments=("-c", "raise SystemExit('loss is not a number')")))
    assert bench.nothing_is_left
    assert bench.made == 1


def test_the_money_is_spent(bench: Bench) -> None:
    job = bench.job(50, max_cost=5.0, chip_hour_price=2.0)

    async def follow() -> None:
        await stopped(await until(deferred(operator(job)), bench.checkpoint.with_suffix(".50").exists))

    asyncio.run(follow())
    # As if it had trained for an hour: four chips cost 8.
    JobMemory(bench.address).change(
        lambda memory: memory and replace(memory, granted=(memory.granted or 0.0) - 3600)
    )
    reason = r"stopped: about \d+\.\d\d spent, as a real TPU would cost, max_cost is 5\.00"
    with pytest.raises(AirflowFailException, match=reason):
        finish(job)
    assert bench.nothing_is_left
    assert "saved\n" in bench.log(bench.memory().name)


def test_a_triggerer_that_dies_leaves_the_tpu_to_the_next(bench: Bench) -> None:
    async def follow() -> dict[str, Any]:
        first = deferred(operator(bench.job(50)))
        running = await until(first, bench.checkpoint.with_suffix(".50").exists)
        await stopped(running)
        assert len(bench.emulator.node_ids) == 1
        # The second one finds it training, and the machine is then preempted.
        running = await until(again(first), lambda: bench.memory().phase == "running")
        bench.emulator.strike(bench.emulator.node_ids[0], kind="preempt")
        return await asyncio.wait_for(running, SECONDS)

    assert asyncio.run(follow())["status"] == "success"
    assert bench.made == 2
    assert bench.nothing_is_left


def test_killed_between_asking_and_the_answer(bench: Bench) -> None:
    """The request was sent, and nobody has written that down: the next try finds it."""
    job = TpuJob.from_dict(bench.job())
    # So long ago that the next request asks for a later end of its life.
    memory = Memory(run_id=job.run_id, since=time.time() - 3600, generation=2)
    JobMemory(job.address).save(memory)
    CloudTPUHook().get_conn("emulator").create_queued_resource(job.request(memory, "us-west4-a"))
    assert finish(job.to_dict())["status"] == "success"
    assert bench.made == 1


@pytest.mark.parametrize("how", ["ended", "cleared", "taken over"])
def test_ended_while_the_request_is_under_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whoever ends the run then finds no TPU to delete: the one who asked deletes what it is given."""
    job = bench.job()
    trigger = deferred(operator(job))
    name, create = bench.memory().name, CloudTpuClient.create_queued_resource

    def much_later(client: CloudTpuClient, request: TpuRequest) -> Any:
        if how == "ended":
            CloudTPUDeleteRunOperator(task_id="delete", job=job).execute(context())
        else:
            deferred(operator(job), cleared=int(how == "cleared"))
        return create(client, request)

    monkeypatch.setattr(CloudTpuClient, "create_queued_resource", much_later)
    with pytest.raises(ChangedError):
        trigger._step()
    assert bench.emulator.queued_resource_ids == ([name] if how == "taken over" else [])


def test_a_name_that_another_made_is_not_adopted(bench: Bench) -> None:
    job = TpuJob.from_dict(bench.job())
    memory = Memory(run_id=job.run_id, since=time.time(), generation=2)
    request = replace(job.request(memory, "us-west4-a"), labels={}, startup_script="sleep 1000")
    CloudTPUHook().get_conn("emulator").create_queued_resource(request)
    assert finish(job.to_dict())["status"] == "success"
    assert bench.memory().attempt == 2
    assert bench.emulator.queued_resource_ids == [memory.name]


@pytest.mark.parametrize("told_first", [True, False])
def test_cleared_while_it_trains(bench: Bench, told_first: bool) -> None:
    """A person's word: the TPU goes, and the new try makes another one; whoever hears of it first."""
    job = bench.job(50)

    async def follow() -> None:
        trigger = deferred(operator(job))
        await stopped(await until(trigger, bench.checkpoint.with_suffix(".50").exists))
        if told_first:
            await trigger.on_kill()
            assert bench.memory().phase == "deleting"
            deadline = time.monotonic() + SECONDS
            while not bench.nothing_is_left:  # Asked for once, which is enough.
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        else:
            deferred(operator(job), cleared=1)
            await trigger.on_kill()
            assert bench.memory().after == "same_zone"

    asyncio.run(follow())
    assert finish(job, cleared=1)["status"] == "success"
    assert bench.memory().attempt == bench.made == 2
    assert "going on from step 50" in bench.log(bench.memory().name)
    assert bench.nothing_is_left


def test_a_try_that_another_has_taken_over_keeps_still(bench: Bench) -> None:
    async def follow() -> None:
        old = deferred(operator(bench.job(50)))
        running = await until(old, bench.checkpoint.with_suffix(".50").exists)
        deferred(operator(bench.job(50)))
        await stopped(running)
        await old.on_kill()
        assert bench.memory().phase in ("booting", "running")

    asyncio.run(follow())
    assert len(bench.emulator.node_ids) == 1


def test_the_teardown_deletes_all_of_the_run_and_nothing_else(bench: Bench) -> None:
    assert CloudTPUDeleteRunOperator(task_id="delete", job=None).execute(context()) == []
    job = bench.job(50)

    async def follow() -> None:
        await stopped(await until(deferred(operator(job)), bench.checkpoint.with_suffix(".50").exists))

    asyncio.run(follow())
    client = CloudTPUHook().get_conn("emulator")
    client.create_queued_resource(
        TpuRequest(
            name="other",
            zone="us-west4-a",
            accelerator_type="v5litepod-4",
            runtime_version="v2-alpha-tpuv5-lite",
        )
    )
    mine = bench.memory().name
    deleted = CloudTPUDeleteRunOperator(task_id="delete", job=job).execute(context())
    assert deleted == [f"us-west4-a/{mine}"]
    memory = bench.memory()
    assert (memory.phase, memory.holder, memory.granted) == ("failed", "", None)
    assert memory.deleted is not None
    assert time.time() - memory.deleted < 60
    assert bench.emulator.queued_resource_ids == ["other"]
    client.delete("us-west4-a", "other", poll=0.05)
    assert bench.nothing_is_left
    # A try after that takes the next name.
    assert finish(job)["status"] == "success"
    assert bench.memory().attempt == 2


def test_links(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty store of XComs, which only a task's own process can reach."""
    monkeypatch.setattr(XCom, "get_value", lambda **_: None)
    console = "https://console.cloud.google.com"
    task = operator(bench.job() | {"tensorboard": "gs://b/models/m/bert model/tensorboard/"})
    tpus, logs = task.operator_extra_links
    key: Any = None
    assert [link.get_link(task, ti_key=key) for link in (tpus, logs)] == ["", ""], "it is emulated"
    monkeypatch.delenv("CLOUD_TPU_EMULATOR_HOST")
    assert tpus.get_link(task, ti_key=key) == f"{console}/compute/tpus"
    task.project_id = "p"
    assert tpus.get_link(task, ti_key=key) == f"{console}/compute/tpus?project=p"
    folder = f"{console}/storage/browser/b/models/m/bert%20model/tensorboard?project=p"
    assert logs.get_link(task, ti_key=key) == folder
    without = operator(None)
    assert logs.get_link(without, ti_key=key) == tpus.get_link(without, ti_key=key) == ""
    deletes = CloudTPUDeleteRunOperator(task_id="b", job=bench.job(), project_id="p")
    (link,) = deletes.operator_extra_links
    assert link.get_link(deletes, ti_key=key) == f"{console}/compute/tpus?project=p"


def test_the_log_does_not_price_an_emulated_tpu(
    bench: Bench, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    job = TpuJob.from_dict(bench.job() | {"progress": f"gs://{bench.bucket.name}/progress.json"})
    trigger = CloudTPUTrainTrigger(job=job.to_dict(), holder="me")
    trigger._connect()
    told = []
    for emulated in (True, False):
        memory = Memory(run_id="r", phase="running", granted=1.0, emulated=emulated)
        asyncio.run(trigger._report(job, memory))
        told.append(capsys.readouterr().out + caplog.text)
        caplog.clear()
        assert trigger._state(job, memory).startswith("Emulated TPU" if emulated else "TPU")
    assert "no step yet; an emulated TPU, which costs nothing" in told[0]
    assert "dollars" not in told[0]
    assert "US dollars" in told[1]


def test_the_line_of_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress = {"step": 1000, "train_steps": 4000, "loss": 7.25, "examples_per_second": 64.0}
    assert progress_line(progress, 64) == ("step 1,000 of 4,000, loss 7.2500, 64.0 examples/s, 0:50:00 left")
    assert ", 64.0 examples/s (estimated 3,395 to 4,210), 0:50:00 left" in progress_line(
        progress, 64, (3_395.2, 4_209.9)
    )
    assert progress_line({"step": 0, "train_steps": 10}, 64, (1.0, 2.0)) == "step 0 of 10"
    assert progress_line({"step": 0, "train_steps": 10}, 64) == "step 0 of 10"


def test_a_run_with_a_damaged_memory_is_deleted_and_can_start_again(bench: Bench) -> None:
    job = bench.job()
    trigger = deferred(operator(job))
    trigger._step()
    assert len(bench.emulator.queued_resource_ids) == 1
    blob = bench.bucket.blob("models/m/tpu/run/memory.json")
    blob.upload_from_string(b'{"run_id": ')
    event = asyncio.run(anext(trigger.run()))
    assert event.payload["status"] == "failed"
    assert "memory.json: not a TPU's memory" in event.payload["reason"]
    assert CloudTPUDeleteRunOperator(task_id="delete", job=job).execute(context())
    assert bench.nothing_is_left
    kept = [one for one in bench.bucket.list_blobs() if ".damaged-" in one.name]
    assert [one.download_as_bytes() for one in kept] == [b'{"run_id": ']
    assert finish(job)["status"] == "success"

"""Trainings on emulated Cloud TPUs through a real Airflow, with the real trainer, while everything dies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import LocalStack

from qarib_tasks import pipeline
from qarib_tasks.config.loading import to_dict
from qarib_tasks.machines.backend import run_to_end
from qarib_tasks.machines.local import LocalProcessBackend
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.api.client import CloudTpuClient
from tests.support.airflow_runs import TINY, require_success
from tests.support.browser.shown import require_right_figures_of_tpu
from tests.support.browser.site import looking_at

pytestmark = pytest.mark.slow
# A triggerer that starts again takes over the dead one's triggers sooner than by default.
QUICK = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12", "QARIB_RETRY_SECONDS": "1"}
STEPS = {"train_steps": 50, "num_warmup_steps": 3, "save_checkpoints_steps": 10}


class Stack(LocalStack):
    """Airflow whose TPUs are emulated.

    Attributes:
        paid: seconds, as the run's own records say at the end of a test.
        unwatched: seconds in which no process looked at the TPU.
    """

    paid = 0.0
    unwatched = 0.0

    def end_tpus(self) -> None:
        """End the service, which then says how long each run had a TPU."""
        self._processes["tpu"].terminate()
        self._processes["tpu"].wait()

    def kill_while_training(self, *components: str) -> None:
        """Kill components, and return when the run sees its TPU again."""
        before, killed = memory(self), time.monotonic()
        self.kill(*components)
        wait(self, lambda: memory(self) != before)
        self.unwatched += time.monotonic() - killed


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    with Stack(home, environment=QUICK, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack
        stack.end_tpus()
    bill = (stack.logs / "tpu.log").read_text(encoding="utf-8").splitlines()[-1]
    assert "node-seconds with run=manual" in bill
    if stack.paid:
        # The run sees some time later that a TPU is ready or gone; how much later depends on this machine.
        # tests/tpu/test_lifecycle.py compares the two by a clock that the test moves.
        billed = float(bill.split()[0])
        assert billed / 2 <= stack.paid <= 2 * billed + stack.unwatched


class Tpus:
    """What the emulated service has."""

    def __init__(self, stack: LocalStack) -> None:
        self.client = CloudTpuClient("emulator", endpoint=stack.environment["CLOUD_TPU_EMULATOR_HOST"])

    @property
    def queued(self) -> list[str]:
        return [str(found.name).rpartition("/")[2] for found in self.client.queued_resources()]

    @property
    def all(self) -> list[str]:
        return [*self.queued, *(str(node.name) for node in self.client.nodes())]


def wait(stack: LocalStack, reached: Callable[[], Any]) -> Any:
    while not (result := reached()):
        stack.check()
        time.sleep(0.2)
    return result


def state_of(stack: LocalStack, run_id: str, task: str) -> str | None:
    tasks = stack.task_instances(demo.DAG, run_id)
    return next((t["state"] for t in tasks if t["task_id"] == task), None)


def memory(stack: LocalStack) -> dict[str, Any]:
    found = Bucket(f"gs://{stack.bucket}/").list("models/")
    names = [name for name in found if name.endswith("/memory.json")]
    text = Bucket(f"gs://{stack.bucket}/").read_text(names[0]) if names else None
    return dict(json.loads(text)) if text else {"phase": "", "attempt": 0}


def history(run: Run) -> list[dict[str, Any]]:
    assert run.address
    text = Bucket(run.address + run.model.name).read_text("bert_model/history.jsonl") or ""
    return [json.loads(line) for line in text.splitlines()]


def ended(stack: LocalStack, run_id: str) -> bool:
    return stack.run(demo.DAG, run_id)["state"] in ("success", "failed")


def require_goodput_shown(stack: LocalStack, run_id: str) -> dict[str, Any]:
    """The parts of the paid time add up to it, and the page shows each; return what it shows."""
    with looking_at(stack) as site:
        with site.context.expect_event(
            "response", lambda response: "/qarib/data/training" in response.url
        ) as answer:
            page = site.open("training", run_id)
        found: dict[str, Any] = answer.value.json()["tpu"]["goodput"]
        parts = found["parts"]
        assert sum(parts.values()) == pytest.approx(found["paid"], rel=0.02)
        assert found["unpaid"] > 0
        for name in ("booting", "steps", "compiling", "checkpoints"):
            assert parts[name] > 0, parts
        assert parts["booting"] == pytest.approx(memory(stack)["seconds"]["booting"])
        table = page.get_by_role("region", name="Goodput").get_by_role("row")
        assert table.count() == 1 + sum(seconds > 0 for seconds in parts.values())
        run = demo.read_run(stack, run_id)
        progress = Bucket(f"{run.address}{run.model.name}").read_text("progress.json") or ""
        settings = to_dict(run.config)["tpu"]
        require_right_figures_of_tpu(page, memory(stack), json.loads(progress), settings)
    return found


def test_three_preemptions_a_dead_triggerer_and_everything_dead(stack: LocalStack, tmp_path: Path) -> None:
    """The end has the figures of a training that nothing befell, and each attempt had one TPU."""
    # The first attempt finds no TPU. Each other strikes one attempt; before the last the machine is told.
    faults: list[dict[str, Any]] = [
        {"kind": "stock_out", "match": "*-1"},
        {"kind": "preempt", "at_step": 15, "match": "*-2"},
        {"kind": "preempt", "at_step": 25, "match": "*-3"},
        {"kind": "preempt", "at_step": 35, "match": "*-4", "notice": 30},
    ]
    values = {"scale": 0.01, "faults": faults, "delays": {"booting": 400}}
    stack.tpu_faults.write_text(json.dumps(values), encoding="utf-8")
    tpus, seen = Tpus(stack), set[str]()
    run_id = stack.trigger(demo.DAG, TINY | STEPS)
    wait(stack, lambda: memory(stack)["phase"] == "running")
    seen |= set(tpus.queued)
    stack.kill_while_training("triggerer")
    wait(stack, lambda: memory(stack)["attempt"] == 3 and memory(stack)["phase"] == "running")
    seen |= set(tpus.queued)
    stack.kill_while_training(*stack.components)
    wait(stack, lambda: memory(stack)["attempt"] == 5 and memory(stack)["phase"] == "running")
    seen |= set(tpus.queued)
    wait(stack, lambda: ended(stack, run_id))
    tasks = stack.task_instances(demo.DAG, run_id)
    require_success(stack, tasks)
    assert tpus.all == []
    assert memory(stack)["preemptions"] == 3
    assert {name.rpartition("-")[2] for name in seen} == {"2", "3", "5"}
    run = demo.read_run(stack, run_id)
    lines = history(run)
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert steps[-1] == 50
    stack.paid = require_goodput_shown(stack, run_id)["paid"]

    # The same in one go, on this machine.
    upload = replace(run.config.upload, prefix="undisturbed/")
    other = prepare(replace(run.config, workspace=str(tmp_path), upload=upload))
    pipeline.run_all(other, lambda work: run_to_end(LocalProcessBackend(), work))
    names = ("step", "loss", "masked_lm_loss", "masked_lm_accuracy")
    assert [[line[n] for n in names] for line in lines] == [
        [line[n] for n in names] for line in history(other)
    ]


def test_marked_failed_then_cleared(stack: LocalStack) -> None:
    """A person's word: the TPU is gone at once; the cleared task makes another, and goes on."""
    tpus = Tpus(stack)
    # Longer than the test, but not longer than `running_hours` by the estimate.
    long = {"train_steps": 1_000_000, "save_checkpoints_steps": 1_000}
    run_id = stack.trigger(demo.DAG, TINY | STEPS | long)
    wait(stack, lambda: memory(stack)["phase"] == "running")
    (first,) = tpus.queued
    path = f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/train"
    stack.api("PATCH", path, json={"new_state": "failed"})
    wait(stack, lambda: not tpus.all)
    wait(stack, lambda: ended(stack, run_id))
    states = {t["task_id"]: t["state"] for t in stack.task_instances(demo.DAG, run_id)}
    assert (states["train"], states["evaluate"], states["delete_tpu"]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    assert stack.run(demo.DAG, run_id)["state"] == "failed"
    assert (memory(stack)["phase"], bool(memory(stack)["deleted"])) == ("failed", True)

    clear = {"dry_run": False, "task_ids": ["train"], "dag_run_id": run_id, "only_failed": False}
    stack.api("POST", f"dags/{demo.DAG}/clearTaskInstances", json=clear | {"include_downstream": True})
    wait(stack, lambda: memory(stack)["phase"] == "running")
    (second,) = tpus.queued
    assert second != first
    stack.api("POST", f"dags/{demo.DAG}/clearTaskInstances", json=clear)
    wait(stack, lambda: second not in tpus.queued)
    wait(stack, lambda: memory(stack)["attempt"] == 3 and memory(stack)["phase"] == "running")
    assert len(tpus.queued) == 1
    stack.api("PATCH", path, json={"new_state": "failed"})
    wait(stack, lambda: not tpus.all)

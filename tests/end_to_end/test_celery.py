"""The whole DAG through two Celery workers, PostgreSQL and Redis, while workers and the database are lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import marked
from server_stack import ServerStack

from tests.support.airflow_runs import TINY, require_objects_as_in_manifests, require_success

pytestmark = pytest.mark.slow
# Some thirty shards, so that there is a middle; and a lost worker is noticed in seconds, not in minutes.
CONF = TINY | {"shard_lines": 150, "train_steps": 10}
QUICK = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    # The scheduler ends with the database: its successor takes its tasks over, a lost one among them.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "QARIB_RETRY_SECONDS": "1",
}


def test_two_workers_one_is_lost_and_the_database_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServerStack(tmp_path / "stack", workers=2, environment=QUICK) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        run_id = stack.trigger(demo.DAG, CONF)

        def conversions(*states: str) -> list[dict[str, Any]]:
            tasks = stack.task_instances(demo.DAG, run_id)
            found = [task for task in tasks if task["task_id"] == "shard.convert"]
            return [task for task in found if not states or task["state"] in states]

        def caught() -> dict[str, Any] | None:
            """A conversion of worker-1's, which is held so that it cannot end before the worker is lost."""
            if running_on(stack, "worker-1", conversions("running")):
                stack.hold("worker-1")
                if task := running_on(stack, "worker-1", conversions("running")):
                    return task
                stack.hold("worker-1", signal.SIGCONT)
            return None

        for worker in stack.workers:
            environment = Path(f"/proc/{stack.process(worker)}/environ").read_bytes()
            assert b"STORAGE_EMULATOR_HOST=" in environment
            assert not [secret for secret in stack.secrets if secret.encode() in environment]
        wait(stack, run_id, lambda: conversions("success") and both_convert(stack))
        taken = wait(stack, run_id, caught)
        stack.lose("worker-1")
        done = len(conversions("success"))
        wait(stack, run_id, lambda: len(conversions("success")) > done)
        stack.crash_postgres()
        assert len(conversions("success")) < len(conversions()), "the database was not lost in the middle"
        wait(stack, run_id, lambda: stack.run(demo.DAG, run_id)["state"] in ("success", "failed"))

        tasks = stack.task_instances(demo.DAG, run_id)
        require_success(stack, tasks)
        again = {task["map_index"] for task in conversions() if task["try_number"] > 1}
        assert taken["map_index"] in again
        require_objects_as_in_manifests(demo.read_run(stack, run_id))
        # The workers have loaded what a task needs: none converts the tiny shard that loading it all takes.
        log = stack.task_log(conversions("success")[-1]).splitlines()
        assert "::endgroup::" in log
        assert not [line for line in log if line.startswith("shard: ")]
        marker = stack.marker
    assert marked(marker) == []
    assert not stack.postgres_folder.exists()


def wait(stack: ServerStack, run_id: str, reached: Callable[[], Any]) -> Any:
    """Look until it is so; a run that is over while something else is waited for has failed."""
    while not (result := reached()):
        run = stack.run(demo.DAG, run_id)
        assert run["state"] in ("queued", "running") or reached(), demo.failure(
            stack, stack.task_instances(demo.DAG, run_id)
        )
        time.sleep(0.1)
    return result


def both_convert(stack: ServerStack) -> bool:
    return all("task_id='shard.convert'" in stack.run_by(worker) for worker in stack.workers)


def running_on(stack: ServerStack, worker: str, tasks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """One of the task instances that this worker was given."""
    log = stack.run_by(worker)
    return next((task for task in tasks if task["id"] in log), None)

"""Trigger for a training on Cloud TPU."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.utils.state import TaskInstanceState
from asgiref.sync import sync_to_async
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from qarib_airflow.reporting.metrics import report_progress
from qarib_airflow.reporting.tracking import Live, live_of_tpu
from qarib_tasks.errors import ChangedError, CorruptError, StorageError
from qarib_tasks.layout import MEMORY
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.records.read import parse_record
from qarib_tasks.storage.records.schemas import Progress
from qarib_tasks.tpu.api.errors import TpuUnavailableError
from qarib_tasks.tpu.follow import TpuRun
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory, ended
from qarib_tasks.tpu.memory import JobMemory

PROGRESS_SECONDS = float(os.environ.get("QARIB_PROGRESS_SECONDS", "60"))
# The training continues while an API does not answer; only this trigger cannot follow it.
OUTAGE_SECONDS = 3600.0
_OUTAGES = (TpuUnavailableError, StorageError, GoogleAPIError, GoogleAuthError, OSError)


class CloudTPUTrainTrigger(BaseTrigger):
    """
    Create a TPU, follow the training on it, replace it when it is lost, and delete it at the end.

    All state that must survive this process is in the job's ``memory.json`` in the bucket, saved before each
    action: a triggerer that takes over finds the TPU instead of creating a second one.

    Fires one event, ``{"status": "success" | "failed", "reason": ..., "history": [...], "stock_out": ...}``,
    once the TPU is deleted. ``stock_out``: it failed because no zone had capacity.

    :param job: A :class:`~qarib_tasks.tpu.job.TpuJob` as a dictionary.
    :param holder: Identifies the try of the task. Only the try that the memory names acts.
    :param project_id: Google Cloud project of the TPU. The default is the connection's project.
    :param gcp_conn_id: The connection ID used to connect to Google Cloud.
    :param impersonation_chain: Optional service account to impersonate, or chained list of accounts.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        holder: str,
        project_id: str | None = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | list[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job = dict(job)
        self.holder = holder
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._run: TpuRun | None = None
        self._memories: JobMemory | None = None
        self._storage: Any = None
        self._live: Live | None = None
        # Held during a step, which cannot be interrupted and must not overlap another.
        self._acting = threading.Lock()
        self._killed = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Serialize arguments and classpath."""
        return (
            "qarib_airflow.tpu.trigger.CloudTPUTrainTrigger",
            {
                "job": self.job,
                "holder": self.holder,
                "project_id": self.project_id,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll and act until the training has ended and its TPU is deleted."""
        job = TpuJob.from_dict(self.job)
        logged, reported, failing_since = "", 0.0, None
        memory = Memory(run_id=job.run_id)
        while True:
            now = time.time()
            try:
                memory = await self._in_thread(self._step)
                failing_since = None
            except ChangedError:
                continue  # Another try has taken over, or a user has ended the task: load the memory again.
            except _OUTAGES as error:
                failing_since = failing_since or now
                if now - failing_since > OUTAGE_SECONDS:
                    yield _event("failed", f"no answer for {OUTAGE_SECONDS:g} s: {error}", memory)
                    return
                self.log.warning("Trying again at the next poll: %s", error)
            except CorruptError as error:
                self.log.error("%s", error)
                yield _event("failed", str(error), memory)
                return
            except Exception as error:
                self.log.exception("Unexpected error while managing the TPU")
                yield _event("failed", str(error), memory)
                return
            if (text := self._state(job, memory)) != logged:
                logged = text
                self.log.info("%s", text)
            if memory.phase in ("succeeded", "failed"):
                status = "success" if memory.phase == "succeeded" else "failed"
                yield _event(status, memory.reason, memory)
                return
            if memory.phase == "running" and now - reported >= PROGRESS_SECONDS:
                reported = now
                await self._report(job, memory)
            await asyncio.sleep(job.tpu.poll_seconds * random.uniform(0.8, 1.2))

    async def on_kill(self) -> None:
        """
        Delete the TPU: the task was marked failed or succeeded, or cleared.

        A task that is still deferred is followed by another triggerer, and its TPU is kept.
        """
        if await self._is_still_deferred():
            self.log.info("Another triggerer follows this task: the TPU is kept")
            return
        self.log.info("The task was ended or cleared: deleting its TPU")
        self._killed = True
        await self._in_thread(self._kill)

    def _connect(self) -> tuple[TpuRun, JobMemory]:
        if self._run is None or self._memories is None:
            # These take seconds to import: not in the loop that all triggers share, nor while a user waits.
            import airflow.sdk.execution_time.task_runner  # noqa: F401
            from airflow.providers.google.cloud.hooks.gcs import GCSHook

            from qarib_airflow.tpu.hook import service_of

            chain = self.impersonation_chain
            gcs = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=chain)
            self._storage = gcs.get_conn()
            job = TpuJob.from_dict(self.job)
            client = service_of(job.tpu, self.project_id, self.gcp_conn_id, chain)
            self._memories = job.memory(self._storage)
            self._run = job.run(client, self._storage, self._memories.save)
        return self._run, self._memories

    def _step(self) -> Memory:
        """One step from the saved memory."""
        with self._acting:
            run, memories = self._connect()
            memory = memories.load()
            if memory is None:
                raise CorruptError("the TPU's memory no longer exists", where=self.job["address"] + MEMORY)
            if self._killed or memory.holder != self.holder:
                return memory
            try:
                return run.step(memory, time.time())
            except ChangedError:
                if memory.phase == "asking":
                    poll = TpuJob.from_dict(self.job).tpu.poll_seconds
                    run.delete_stray(memory, memories.load(), poll=poll)
                raise

    def _kill(self) -> None:
        def over(memory: Memory | None) -> Memory | None:
            if memory is None or memory.holder != self.holder or memory.phase in ("succeeded", "failed"):
                return None
            return ended(memory, time.time(), "a user ended or cleared the task")

        with self._acting:
            run, memories = self._connect()
            if memory := memories.change(over):
                run.client.delete_step(TpuJob.from_dict(self.job).zone(memory), memory.name)

    async def _in_thread(self, function: Any) -> Any:
        """Run a function in a thread, not cancelled with this coroutine, so that calls to the API finish."""
        return await asyncio.shield(asyncio.to_thread(function))

    def _state(self, job: TpuJob, memory: Memory) -> str:
        what = {
            "asking": "is being requested",
            "queueing": "is queued",
            "booting": "is granted and boots",
            "running": "trains",
            "stopping": f"is asked to save and stop: {memory.reason}",
            "deleting": f"is being deleted: {memory.reason}",
            "succeeded": "is deleted, the training has finished",
            "failed": f"has failed: {memory.reason}",
        }[memory.phase]
        kind = "Emulated TPU" if memory.emulated else "TPU"
        return f"{kind} {memory.name} ({job.tpu.accelerator_type}) in {job.zone(memory)} {what}"

    async def _report(self, job: TpuJob, memory: Memory) -> None:
        """Log the progress and the cost of the training; only the cost if the progress cannot be read."""
        try:
            text = await asyncio.to_thread(self._progress, job, memory)
        except _OUTAGES as error:
            text = f"cannot read the progress: {error}"
        if memory.emulated:
            self.log.info("%s; an emulated TPU, which costs nothing", text)
            return
        cost = memory.cost(time.time(), job.price)
        self.log.info("%s; estimated cost until now %.2f US dollars", text, cost)

    def _progress(self, job: TpuJob, memory: Memory) -> str:
        folder, _, name = job.progress.rpartition("/")
        try:
            text = Bucket(f"{folder}/", self._storage).read_text(name)
            if not text:
                return "no step yet"
            progress = parse_record(text.encode(), Progress, job.progress)
        except CorruptError as error:
            return f"cannot read the progress: {error}"
        report_progress(str(progress.get("model_id")), progress, memory.preemptions)
        self._live = self._live or live_of_tpu(job, self._storage)
        self._live.poke()
        # An emulated TPU is as fast as this machine.
        return progress_line(progress, job.batch, () if memory.emulated else job.expected)

    async def _is_still_deferred(self) -> bool:
        """Whether the task is still deferred. False if unknown: then a user is assumed to have ended it."""
        ti = self.task_instance
        if ti is None:
            return False
        # `_connect` has imported it before; a DAG file that imports this module does not need it.
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        try:
            states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
                dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
            )
            return TaskInstanceState.DEFERRED in states.get(ti.run_id, {}).values()
        except Exception:
            self.log.warning("Could not read the task's state", exc_info=True)
            return False


def progress_line(progress: Mapping[str, Any], batch: int, expected: Sequence[float] = ()) -> str:
    """A progress.json as one line: step, loss, examples per second beside the estimate, remaining time.

    Args:
        expected: the two ends of the examples per second that were estimated.
    """
    step, steps = int(progress.get("step", 0)), int(progress.get("train_steps", 0))
    text = f"step {step:,} of {steps:,}"
    if "loss" in progress:
        text += f", loss {progress['loss']:.4f}"
    if speed := progress.get("examples_per_second"):
        left = round((steps - step) * batch / speed)
        estimate = f" (estimated {expected[0]:,.0f} to {expected[1]:,.0f})" if expected else ""
        text += f", {speed:,.1f} examples/s{estimate}, "
        text += f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
    return text


def _event(status: str, reason: str, memory: Memory) -> TriggerEvent:
    no_capacity = memory.phase == "failed" and memory.stock_out
    payload = {"status": status, "reason": reason, "history": list(memory.history), "stock_out": no_capacity}
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]

"""Operators for Cloud TPU."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.common.hooks.base_google import PROVIDE_PROJECT_ID
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from qarib_airflow.tpu.hook import service_of
from qarib_airflow.tpu.links import CloudTPULink, TensorBoardLogsLink, link_params
from qarib_airflow.tpu.trigger import CloudTPUTrainTrigger
from qarib_tasks.errors import CorruptError
from qarib_tasks.tpu.api.errors import TpuStockOutError, TpuUnavailableError
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory, all_deleted, ended, resumed

if TYPE_CHECKING:
    from airflow.sdk import Context


class CloudTPUTrainOperator(BaseOperator):
    """
    Train on a Cloud TPU: create it, follow the training, replace a lost TPU, delete it at the end.

    Deferrable: it occupies no worker while the TPU queues, boots and trains. It logs a line at every change,
    and one line per minute with step, loss, examples per second and remaining time.

    A retry adopts the TPU that is recorded as the run's live one. When the task is marked failed or success,
    or cleared, its TPU is deleted. A final failure of the lifecycle (its limits are used up, or the training
    itself failed) is not retried. If no zone had a TPU, the task is retried after ``stock_out_hours``.

    :param job: A :class:`~qarib_tasks.tpu.job.TpuJob` as a dictionary. (templated)
    :param project_id: Google Cloud project of the TPU. (templated)
        If set to None or missing, the connection's project is used.
    :param gcp_conn_id: The connection ID used to connect to Google Cloud.
    :param impersonation_chain: Optional service account to impersonate using short-term
        credentials, or chained list of accounts required to get the access_token
        of the last account in the list, which will be impersonated in the request. (templated)
    """

    template_fields: Sequence[str] = ("job", "project_id", "gcp_conn_id", "impersonation_chain")
    operator_extra_links = (CloudTPULink(), TensorBoardLogsLink())

    def __init__(
        self,
        *,
        job: Mapping[str, Any] | None,
        project_id: str | None = PROVIDE_PROJECT_ID,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    @property
    def extra_links_params(self) -> dict[str, str]:
        """The values of the links; none for a run without a TPU."""
        return link_params(self.project_id, self.gcp_conn_id, self.job) if self.job else {}

    @property
    def storage(self) -> Any:
        """A `google.cloud.storage.Client` of the connection."""
        return _storage(self)

    def execute(self, context: Context) -> None:
        """Take over the job, and defer."""
        assert self.job is not None
        job = TpuJob.from_dict(self.job)
        # Airflow keeps max_tries for the retries of a task, and increases it when a user clears the task.
        holder, generation, now = str(context["ti"].id), context["ti"].max_tries, time.time()

        def taken_over(memory: Memory | None) -> Memory:
            if memory is None:
                memory = Memory(run_id=job.run_id, since=now)
            else:
                self.log.info("TPU %s: the last phase was %s", memory.name, memory.phase)
                if memory.generation != generation and memory.phase != "deleting":
                    memory = ended(memory, now, "the task was cleared")
            return replace(resumed(memory, now), holder=holder, generation=generation)

        memory = job.memory(self.storage).change(taken_over)
        if memory is not None and memory.phase == "succeeded":
            self.log.info("The training has already ended")
            return
        chain = self.impersonation_chain
        trigger = CloudTPUTrainTrigger(
            job=job.to_dict(),
            holder=holder,
            project_id=self.project_id,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=chain if chain is None or isinstance(chain, str) else list(chain),
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        """
        Log the attempts, and fail if the training did not succeed.

        :raises TpuStockOutError: No zone had a TPU: the retry policy waits.
        :raises AirflowFailException: The training or its TPU failed permanently.
        """
        for line in event["history"]:
            self.log.info("%s", line)
        if event["status"] != "success" and event.get("stock_out"):
            assert self.job is not None
            hours = TpuJob.from_dict(self.job).tpu.stock_out_hours
            do = (
                f"The task tries again {hours:.3g} h (stock_out_hours) after each of its first "
                f"{context['ti'].max_tries} tries. Set more zones, a smaller type, or another provisioning"
            )
            error = TpuStockOutError(event["reason"], do=do)
            error.wait_hours = hours
            raise error
        if event["status"] != "success":
            raise AirflowFailException(event["reason"])


class CloudTPUDeleteRunOperator(BaseOperator):
    """
    Delete every TPU of a run, however the run ended, and wait until none exists.

    For a teardown: it finds the TPUs by the label ``run`` in all zones, and by the run's recorded name.

    :param job: A :class:`~qarib_tasks.tpu.job.TpuJob` as a dictionary; None does nothing. (templated)
    :param timeout: Maximum seconds to wait.
    :param project_id: Google Cloud project of the TPU. (templated)
        If set to None or missing, the connection's project is used.
    :param gcp_conn_id: The connection ID used to connect to Google Cloud.
    :param impersonation_chain: Optional service account to impersonate. (templated)
    """

    template_fields: Sequence[str] = ("job", "project_id", "gcp_conn_id", "impersonation_chain")
    operator_extra_links = (CloudTPULink(),)

    def __init__(
        self,
        *,
        job: Mapping[str, Any] | None,
        timeout: float = 1800.0,
        project_id: str | None = PROVIDE_PROJECT_ID,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.timeout = timeout
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    @property
    def extra_links_params(self) -> dict[str, str]:
        """The values of the links; none for a run without a TPU."""
        return link_params(self.project_id, self.gcp_conn_id) if self.job else {}

    def execute(self, context: Context) -> list[str]:
        """Delete the run's TPUs, and return the names of those that existed."""
        if not self.job:
            self.log.info("The run has no TPU")
            return []
        job = TpuJob.from_dict(self.job)

        def over(memory: Memory | None) -> Memory | None:
            return memory and replace(ended(memory, time.time(), "the run is over"), holder="")

        # First, so that no process that still follows the run creates another.
        memories, memory, damaged = job.memory(_storage(self)), None, False
        try:
            memory = memories.change(over)
        except CorruptError as error:
            self.log.warning("%s. The run's TPUs are found by their labels", error.what)
            damaged = True
        client = service_of(job.tpu, self.project_id, self.gcp_conn_id, self.impersonation_chain)
        removed: list[str] = []
        deadline = time.monotonic() + self.timeout

        def remaining_tpus() -> list[str]:
            names = client.delete_labelled(job.labels)
            # A list omits zones that do not answer, so the recorded TPU is requested by its name.
            if memory and not names and not client.delete_step(job.zone(memory), memory.name):
                names.append(f"{job.zone(memory)}/{memory.name}")
            return names

        while remaining := remaining_tpus():
            removed = list(dict.fromkeys([*removed, *remaining]))
            if time.monotonic() > deadline:
                raise TpuUnavailableError(
                    f"TPUs still exist after {self.timeout:g} s of deleting",
                    where=", ".join(remaining),
                    do="They may cost money: delete them in the Google Cloud console, and clear this task",
                )
            time.sleep(min(10.0, job.tpu.poll_seconds))
        self.log.info("Deleted: %s", ", ".join(removed) or "none existed")

        def none_exists(memory: Memory | None) -> Memory | None:
            # Meanwhile, a new try of the training can have taken over.
            return None if memory is None or memory.holder else all_deleted(memory, time.time())

        if damaged:
            memories.set_aside()
        memories.change(none_exists)
        return removed


def _storage(operator: Any) -> Any:
    chain = operator.impersonation_chain
    return GCSHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=chain).get_conn()

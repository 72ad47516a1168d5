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

from qarib_airflow.tpu.hook import CloudTPUHook
from qarib_airflow.tpu.links import CloudTPULink, TensorBoardLogsLink, link_params
from qarib_airflow.tpu.trigger import CloudTPUTrainTrigger
from qarib_tasks.tpu.api.errors import TpuUnavailableError
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory, ended, resumed
from qarib_tasks.tpu.memory import JobMemory

if TYPE_CHECKING:
    from airflow.sdk import Context


class CloudTPUTrainOperator(BaseOperator):
    """
    Train on a Cloud TPU: make it, follow the training, replace a TPU that is lost, delete it at the end.

    Deferrable: no worker is held while it queues, boots and trains. The log gets a line at every change and
    a line a minute with step, loss, examples a second and the time left.

    A retry adopts the TPU that is recorded as the run's live one. When the task is marked failed or success,
    or cleared, its TPU is deleted. What the lifecycle gives up on (its own budgets are spent, the
    training itself failed) is not retried.

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
        """Values of the links: none for a run without a TPU."""
        return link_params(self.project_id, self.job) if self.job else {}

    @property
    def storage(self) -> Any:
        """A `google.cloud.storage.Client` of the connection."""
        return _storage(self)

    def execute(self, context: Context) -> None:
        """Take the job over, and defer."""
        assert self.job is not None
        job = TpuJob.from_dict(self.job)
        # Of the retries of a task Airflow leaves max_tries as it is; when a person clears it, it is raised.
        holder, generation, now = str(context["ti"].id), context["ti"].max_tries, time.time()

        def taken_over(memory: Memory | None) -> Memory:
            if memory is None:
                memory = Memory(run_id=job.run_id, since=now)
            else:
                self.log.info("TPU %s was last %s", memory.name, memory.phase)
                if memory.generation != generation and memory.phase != "deleting":
                    memory = ended(memory, now, "the task was cleared")
            return replace(resumed(memory, now), holder=holder, generation=generation)

        memory = JobMemory(job.address, self.storage).change(taken_over)
        if memory is not None and memory.phase == "succeeded":
            self.log.info("The training is at its end already")
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
        Say how it ended.

        :raises AirflowFailException: The training or its TPU failed for good.
        """
        for line in event["history"]:
            self.log.info("%s", line)
        if event["status"] != "success":
            raise AirflowFailException(event["reason"])


class CloudTPUDeleteRunOperator(BaseOperator):
    """
    Delete every TPU of a run, whatever has become of the run, and see that they are gone.

    For a teardown: it finds them by the label ``run`` in all zones, and by what the run has recorded.

    :param job: A :class:`~qarib_tasks.tpu.job.TpuJob` as a dictionary; nothing is done without. (templated)
    :param timeout: Seconds to wait at most.
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
        """Values of the links: none for a run without a TPU."""
        return link_params(self.project_id) if self.job else {}

    def execute(self, context: Context) -> list[str]:
        """Delete them; the names of those that were there."""
        if not self.job:
            self.log.info("The run has no TPU")
            return []
        job = TpuJob.from_dict(self.job)

        def over(memory: Memory | None) -> Memory | None:
            return memory and replace(ended(memory, time.time(), "the run is over"), holder="")

        # First: nobody who still follows the run may make another.
        memory = JobMemory(job.address, _storage(self)).change(over)
        hook = CloudTPUHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        client = hook.get_conn(self.project_id)
        removed: list[str] = []
        deadline = time.monotonic() + self.timeout

        def still_there() -> list[str]:
            names = client.delete_labelled(job.labels)
            # A list leaves out zones that do not answer: what is recorded is asked for by its name.
            if memory and not names and not client.delete_step(job.zone(memory), memory.name):
                names.append(f"{job.zone(memory)}/{memory.name}")
            return names

        while left := still_there():
            removed = list(dict.fromkeys([*removed, *left]))
            if time.monotonic() > deadline:
                raise TpuUnavailableError(
                    f"still there after {self.timeout:g} s of deleting",
                    where=", ".join(left),
                    do="They may cost money: look at them in the Google Cloud console, and clear this task",
                )
            time.sleep(min(10.0, job.tpu.poll_seconds))
        self.log.info("Deleted: %s", ", ".join(removed) or "none was there")
        return removed


def _storage(operator: Any) -> Any:
    chain = operator.impersonation_chain
    return GCSHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=chain).get_conn()

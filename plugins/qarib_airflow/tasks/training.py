"""The trainer's commands as tasks: start, follow, stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from qarib_airflow.errors import failing_for_good
from qarib_airflow.reporting.metrics import report_training
from qarib_airflow.reporting.settings_link import SavedSettingsLink
from qarib_airflow.tpu.operators import CloudTPUTrainOperator
from qarib_tasks import pipeline
from qarib_tasks.machines.backend import Backend, Work, run_to_end
from qarib_tasks.machines.local import LocalProcessBackend
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.memory import JobMemory

if TYPE_CHECKING:
    from airflow.sdk import Context

# Airflow kills a task five seconds after asking it to end.
STOP_WITHIN = 4.0


class TrainerOperator(BaseOperator):
    """Runs `qarib evaluate` or `export` on a `Backend` and copies its log into the task's log, line by line.

    If a task is killed without notice, the trainer keeps running; the retry finds it and follows it again. A
    task that is marked failed or cleared stops the trainer. A trainer that no task follows ends by itself.

    :param run_values: a `Run` as a dictionary. (templated)
    :param command: `train`, `evaluate` or `export`.
    """

    template_fields: Sequence[str] = ("run_values",)
    operator_extra_links = (SavedSettingsLink(),)

    def __init__(self, *, run_values: Mapping[str, Any], command: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_values = run_values
        self.command = command
        self._work: Work | None = None

    def work_of(self, run: Run) -> Work:
        """Return the command to run."""
        return pipeline.trainer_work(run, self.command)

    def execute(self, context: Context) -> None:
        with failing_for_good():
            self._work = self.work_of(Run.from_dict(self.run_values))
        run_to_end(local_backend(), self._work, on_line=self.log.info)

    def on_kill(self) -> None:
        if self._work is not None:
            local_backend().stop(self._work)


class TrainOperator(CloudTPUTrainOperator):
    """Trains on the Cloud TPU that was prepared for the run, or on this machine if none was.

    :param run_values: a `Run` as a dictionary. (templated)
    :param job: a `TpuJob` as a dictionary, or None. (templated)
    """

    template_fields: Sequence[str] = (*CloudTPUTrainOperator.template_fields, "run_values")

    def __init__(self, *, run_values: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_values = run_values
        self._work: Work | None = None

    def execute(self, context: Context) -> None:
        run = Run.from_dict(self.run_values)
        if self.job is not None:
            super().execute(context)  # Returns only if the training has already ended.
            self._report(run)
            return
        with failing_for_good():
            self._work = pipeline.trainer_work(run, "train")

        def on_line(line: str) -> None:
            self.log.info(line)
            report_training(run)

        run_to_end(local_backend(), self._work, on_line=on_line)
        report_training(run)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        super().execute_complete(context, event)
        self._report(Run.from_dict(self.run_values))

    def _report(self, run: Run) -> None:
        """Fetch the progress of a training on a TPU, and report its metrics."""
        assert self.job is not None
        fetch_progress(run, self.storage)
        memory = JobMemory(TpuJob.from_dict(self.job).address, self.storage).load()
        report_training(run, memory.preemptions if memory else 0)

    def on_kill(self) -> None:
        if self._work is not None:
            local_backend().stop(self._work)


def local_backend() -> Backend:
    return LocalProcessBackend(grace=STOP_WITHIN)


def fetch_progress(run: Run, client: Any) -> None:
    """Download the progress of a training on another machine to the workspace."""
    assert run.address is not None
    Bucket(run.address, client).download(run.model.name_of(run.model.progress), run.model.progress)

"""The trainer's commands as tasks: start, follow, stop."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from qarib_airflow.reporting.lineage import report_lineage
from qarib_airflow.reporting.metrics import report_training
from qarib_airflow.reporting.settings_link import SavedSettingsLink
from qarib_airflow.reporting.tracking import live_of_run
from qarib_airflow.tasks.current_run import current_run, current_values
from qarib_airflow.tasks.in_turn import look_again
from qarib_airflow.tasks.turns import claim, of_model
from qarib_airflow.tpu.operators import CloudTPUTrainOperator
from qarib_airflow.tpu.prepare import needs_tpu
from qarib_tasks import pipeline
from qarib_tasks.errors import BusyError, StoppedError
from qarib_tasks.layout import TURNS
from qarib_tasks.machines.backend import Backend, Work, run_to_end
from qarib_tasks.machines.local import LocalProcessBackend
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.stopping import StopRequests
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.job import TpuJob

if TYPE_CHECKING:
    from airflow.sdk import Context

# Airflow kills a task five seconds after asking it to end.
STOP_WITHIN = 4.0
# Seconds that a training has to save its state if a person stops it on the page.
SAVE_WITHIN = 600.0


class TrainerOperator(BaseOperator):
    """Runs `qarib evaluate` or `export` on a `Backend` and copies its log into the task's log, line by line.

    If a task is killed without notice, the trainer keeps running; the retry finds it and follows it again. A
    task that is marked failed or cleared stops the trainer. A trainer that no task follows ends by itself.

    :param command: `train`, `evaluate` or `export`.
    """

    operator_extra_links = (SavedSettingsLink(),)

    def __init__(self, *, command: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_values: Mapping[str, Any] | None = None  # for the link
        self.command = command
        self._work: Work | None = None

    def work_of(self, run: Run) -> Work:
        """Return the command to run."""
        return pipeline.trainer_work(run, self.command)

    def execute(self, context: Context) -> None:
        self.run_values = current_values()
        run = Run.from_dict(self.run_values)
        self._work = self.work_of(run)
        run_to_end(local_backend(), self._work, on_line=self.log.info)
        if self.command == "export":
            report_lineage(run, "export")

    def on_kill(self) -> None:
        if self._work is not None:
            local_backend().stop(self._work)


class TrainOperator(CloudTPUTrainOperator):
    """Trains on the Cloud TPU that was prepared for the run, or on this machine if none was.

    :param job: a `TpuJob` as a dictionary, or None. (templated)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._work: Work | None = None

    def execute(self, context: Context) -> None:
        run = current_run()
        turn = of_model(run)
        # It has the turn since its TPU was prepared, unless this task alone was cleared.
        if (place := claim(run, turn, context)).ahead:
            look_again(context["ti"], turn.kind, f"{turn.waits}, {place}")
        if self.job is not None and not needs_tpu(run, self.gcp_conn_id):
            self._report(run)
            return
        if self.job is not None:
            super().execute(context)  # Returns only if the training has already ended.
            self._report(run)
            return
        self._work = pipeline.trainer_work(run, "train")
        live = live_of_run(run)

        def on_line(line: str) -> None:
            self.log.info(line)
            report_training(run)

        requests = StopRequests(run, self.storage if run.address else None)
        requests.clear()

        def asked_to_stop() -> str | None:  # called at each poll, also if the trainer logs nothing
            live.poke()
            return requests.made()

        backend = LocalProcessBackend(grace=SAVE_WITHIN, alone=machine_lock(run))
        try:
            run_to_end(backend, self._work, on_line=on_line, asked_to_stop=asked_to_stop)
        except StoppedError:
            requests.clear()
            raise
        except BusyError as error:
            look_again(context["ti"], "machine", f"waits for its turn: {error.what}")
        report_training(run)
        report_lineage(run, "train")

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        super().execute_complete(context, event)
        self._report(current_run())

    def _report(self, run: Run) -> None:
        """Fetch the progress of a training on a TPU, and report its metrics."""
        assert self.job is not None
        fetch_progress(run, self.storage)
        memory = TpuJob.from_dict(self.job).memory(self.storage).load()
        report_training(run, memory.preemptions if memory else 0)
        report_lineage(run, "train")

    def on_kill(self) -> None:
        if self._work is not None:
            local_backend().stop(self._work)


def machine_lock(run: Run) -> Path:
    """The lock that a training on this machine has: one at a time."""
    return Path(run.config.workspace) / TURNS / f"machine-{platform.node()}.lock"


def local_backend() -> Backend:
    return LocalProcessBackend(grace=STOP_WITHIN)


def fetch_progress(run: Run, client: Any) -> None:
    """Download the progress of a training on another machine to the workspace."""
    assert run.address is not None
    Bucket(run.address, client).download(run.model.name_of(run.model.progress), run.model.progress)

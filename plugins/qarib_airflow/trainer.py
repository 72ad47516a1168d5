"""The trainer's commands as tasks: start, follow, stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from qarib_airflow.errors import failing_for_good
from qarib_tasks import pipeline
from qarib_tasks.tpu.backend import TpuBackend, Work, run_to_end
from qarib_tasks.tpu.local import LocalProcessBackend

if TYPE_CHECKING:
    from airflow.sdk import Context

# Airflow kills a task five seconds after it asked it to end.
STOP_WITHIN = 4.0


class TrainerOperator(BaseOperator):
    """Runs `qarib train`, `evaluate` or `export` on a `TpuBackend`, its log line by line in the task's log.

    A task that is killed without notice leaves the trainer running; its retry finds it and follows on. A
    task that is marked failed or cleared stops it, and a trainer that nobody follows ends by itself.

    :param run_values: a `pipeline.Run` as a dictionary. (templated)
    :param command: `train`, `evaluate` or `export`.
    """

    template_fields: Sequence[str] = ("run_values",)

    def __init__(self, *, run_values: Mapping[str, Any], command: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_values = run_values
        self.command = command
        self._work: Work | None = None

    @property
    def backend(self) -> TpuBackend:
        return LocalProcessBackend(grace=STOP_WITHIN)

    def execute(self, context: Context) -> None:
        with failing_for_good():
            run = pipeline.Run.from_dict(self.run_values)
            self._work = pipeline.trainer_work(run, self.command)
        run_to_end(self.backend, self._work, on_line=self.log.info)

    def on_kill(self) -> None:
        if self._work is not None:
            self.backend.stop(self._work)

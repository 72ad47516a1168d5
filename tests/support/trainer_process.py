"""A trainer in a process forked from one that has imported TensorFlow, and has done nothing with it."""

from __future__ import annotations

from qarib_tasks.train.runtime import choose_backend

choose_backend()

import qarib_tasks.train.assemble  # noqa: F401
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.loop import train
from qarib_tasks.train.results.export import export


def run(job: TrainingJob, command: str) -> None:
    {"train": train, "export": export}[command](job)

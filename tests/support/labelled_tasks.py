"""Labelled tasks whose texts have the wordpieces of `training_examples`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qarib_tasks.config.training import TrainingJob
from qarib_tasks.labelled.staged import write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.layout import ModelLayout


def words_task(name: str, *, train: int = 300, test: int = 200, seed: int = 3) -> LabelledTask:
    """Which half of twelve words has most of a text's words? A fifth of the answers are wrong."""
    random = np.random.default_rng(seed)

    def part(count: int) -> LabelledPart:
        texts, labels = [], []
        for _ in range(count):
            words = random.integers(0, 12, random.integers(1, 30))
            texts.append(" ".join(f"w{word}" for word in words))
            labels.append(int((words < 6).mean() < 0.5) if random.random() < 0.8 else random.integers(0, 2))
        return LabelledPart(tuple(texts), tuple(map(int, labels)))

    return LabelledTask(
        name=name, metric="macro_f1", labels=("first", "second"), train=part(train), test=part(test)
    )


def with_tasks(job: TrainingJob, *tasks: LabelledTask) -> TrainingJob:
    """Write the tasks into the model's folder; the job with them."""
    layout = ModelLayout(Path(job.output), job)
    return replace(job, tasks=tuple(write_task(task, layout.task(task.name)) for task in tasks))

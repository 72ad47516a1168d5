"""A small model and a task that it learns at once, for the tests of fine-tuning.

As a program, it fine-tunes the model in a folder and prints the result: `FOLDER OUTPUT BACKEND`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.runtime import choose_backend

# A small model needs more than the usual rates. The first one teaches it nothing.
RECIPE = Recipe(rates=(1e-5, 1e-2), batch_size=16, epochs=3, xla=False)


def words_of_two_kinds(
    name: str = "kinds", *, train: int = 300, test: int = 100, seed: int = 5
) -> LabelledTask:
    """Of which of two sets are a text's words? Three quarters are of the second."""
    random = np.random.default_rng(seed)

    def part(count: int) -> LabelledPart:
        labels = (random.random(count) < 0.75).astype(int).tolist()
        words = (random.integers(20, size=random.integers(2, 12)) + 20 * label for label in labels)
        return LabelledPart(tuple(" ".join(f"w{word}" for word in some) for some in words), tuple(labels))

    return LabelledTask(
        name=name, metric="macro_f1", labels=("few", "many"), train=part(train), test=part(test)
    )


def make_model(folder: Path, *tasks: LabelledTask) -> TrainingJob:
    """A trained and exported model with tasks of its own, and its settings as a run writes them."""
    from qarib_tasks.runs.run import write_settings
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.results.export import export
    from tests.support.training_examples import make_job, with_tasks

    job = make_job(folder, train_steps=4)
    job = with_tasks(replace(job, model=replace(job.model, initializer_range=0.1)), *tasks)
    train(job)
    export(job)
    write_settings(Path(job.output) / "config.yaml", job)
    return job


def run(model: str, output: str | None, seeds: list[int], recipe: Recipe = RECIPE) -> None:
    """Fine-tune a model on its own tasks."""
    from qarib_tasks.train.finetuning.run import fine_tuning

    fine_tuning(model, output=Path(output) if output else None, recipe=recipe).run(seeds)


def in_processes() -> Callable[..., object]:
    """The constructor of processes that have imported TensorFlow already."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["qarib_tasks.train.runtime", "tests.support.trainer_process"])
    return context.Process


if __name__ == "__main__":
    choose_backend(sys.argv[3])
    run(sys.argv[1], sys.argv[2], [1])
    print(json.dumps("done"))

"""One fine-tuning: a task, a seed, and a rate of the grid at a time. It continues after a kill.

In the working folder, `<number of the rate>.json` has the outcome of a rate, and `state.safetensors` the
state after the last epoch of the rate that is at work. Both are written atomically, and name what they are
of.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qarib_tasks.labelled.scores import METRICS, scores
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.storage.files import atomic_path, write_text
from qarib_tasks.storage.working_folder import HIDDEN
from qarib_tasks.train import runtime
from qarib_tasks.train.finetuning.model import StartingModel
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.finetuning.texts import Texts, task_texts
from qarib_tasks.train.model.classifier import build_classifier
from qarib_tasks.train.model.steps import Steps, make_steps

log = logging.getLogger(__name__)
STATE = f"{HIDDEN}state.safetensors"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a rate.

    Attributes:
        development: the task's metric on the development texts.
        loss: mean over the training texts of the last epoch; None if it is not finite.
        predicted: the label of each test text.
    """

    rate: float
    development: float
    loss: float | None
    predicted: list[int]


@dataclass(frozen=True)
class Tuned:
    """A finished fine-tuning: the outcome of each rate, and the numbers of texts."""

    outcomes: list[Outcome]
    train_texts: int
    development_texts: int

    @property
    def best(self) -> Outcome:
        """The outcome with the highest development score; of equal ones that of the lowest rate."""
        return max(self.outcomes, key=lambda outcome: (outcome.development, -outcome.rate))


def tune(
    model: StartingModel, task: LabelledTask, seed: int, recipe: Recipe, folder: Path, subject: str
) -> Tuned:
    """Fine-tune the model at each rate of the recipe. Finished rates and epochs are not made again.

    The seed determines the new layers, the order of the texts, and the dropout.

    Args:
        folder: a working folder of ours.
        subject: what the result depends on, apart from the seed and the rate; files of another subject are
            ignored.
    """
    runtime.make_deterministic()
    texts = task_texts(task, model, recipe)
    outcomes = []
    for number, rate in enumerate(recipe.rates):
        key = hashlib.sha256(json.dumps([subject, seed, rate]).encode()).hexdigest()
        path = folder / f"{HIDDEN}{number}.json"
        outcome = _read(path, key)
        if outcome is None:
            steps, loss = _trained(model, task, texts.train, seed, rate, recipe, folder / STATE, key)
            held = texts.development
            development = scores(task, held.labels.tolist(), predict(steps, held, recipe)).score
            outcome = Outcome(rate, development, loss, predict(steps, texts.test, recipe))
            write_text(path, json.dumps({"key": key, "outcome": asdict(outcome)}) + "\n")
            del steps  # Its memory is needed for the next one.
        name = METRICS[task.metric]
        log.info(
            "task %s, seed %d, rate %g: %s %.4f on %d development texts",
            task.name, seed, rate, name, outcome.development, len(texts.development),
        )  # fmt: skip
        outcomes.append(outcome)
    return Tuned(outcomes, len(texts.train), len(texts.development))


def predict(steps: Steps, texts: Texts, recipe: Recipe) -> list[int]:
    """Return the label with the highest logit for each text."""
    found: list[int] = []
    for batch, count in texts.batches(recipe.batch_size):
        found += np.argmax(steps.embed(_inputs(batch)), axis=-1)[:count].tolist()
    return found


def _inputs(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}


def _read(path: Path, key: str) -> Outcome | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["key"] == key:
            return Outcome(**values["outcome"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _trained(
    model: StartingModel,
    task: LabelledTask,
    texts: Texts,
    seed: int,
    rate: float,
    recipe: Recipe,
    path: Path,
    key: str,
) -> tuple[Steps, float | None]:
    """Train a new classifier at a rate, from the epoch that was saved last; return the last epoch's loss."""
    config = recipe.training(rate, len(texts))
    classifier = build_classifier(
        model.config, model.vocab_size, len(task.labels), model.weights, seed, precision=recipe.precision
    )
    steps = make_steps(classifier, config, seed)
    first, loss = 0, None
    if saved := _load(path, key):
        state, loss = saved
        steps.restore(state)
        first = int(state["global_step"]) // recipe.steps_of_epoch(len(texts))
        log.info("task %s, seed %d, rate %g: continues after epoch %d", task.name, seed, rate, first)
    for epoch in range(first, recipe.epochs):
        figures = [steps.train(batch) for batch in texts.shuffled(recipe.batch_size, seed, epoch)]
        mean = math.fsum(float(each["loss"]) for each in figures) / len(figures)
        loss = mean if math.isfinite(mean) else None
        log.info(
            "task %s, seed %d, rate %g: epoch %d of %d, loss %.4f",
            task.name, seed, rate, epoch + 1, recipe.epochs, mean,
        )  # fmt: skip
        if loss is None:
            log.warning("task %s, seed %d: the loss at the rate %g is not finite", task.name, seed, rate)
        _save(path, key, steps.state(), loss)
    return steps, loss


def _save(path: Path, key: str, state: Mapping[str, np.ndarray], loss: float | None) -> None:
    with atomic_path(path) as temporary:
        save_file(dict(state), temporary, metadata={"key": key, "loss": json.dumps(loss)})


def _load(path: Path, key: str) -> tuple[dict[str, np.ndarray], float | None] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("key") != key:
                return None
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return state, json.loads(about["loss"])
    except (SafetensorError, OSError) as error:
        log.warning("%s: cannot be read, the rate starts again: %s", path, error)
        return None

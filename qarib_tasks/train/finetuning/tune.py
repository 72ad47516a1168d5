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
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qarib_tasks.labelled.scores import METRICS, scores
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.storage.files import atomic_path, open_to_readers, write_text
from qarib_tasks.storage.records.read import take_record
from qarib_tasks.storage.records.schemas import RateOutcome
from qarib_tasks.storage.working_folder import HIDDEN
from qarib_tasks.train import runtime
from qarib_tasks.train.finetuning.model import StartingModel
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.finetuning.texts import Texts, task_texts
from qarib_tasks.train.model.classifier import Classifier, build_classifier
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


class Tuner:
    """A model on a task, for fine-tunings with any seed: one classifier, compiled once, for all of them."""

    def __init__(self, model: StartingModel, task: LabelledTask, recipe: Recipe) -> None:
        runtime.make_deterministic()
        self.model, self.task, self.recipe = model, task, recipe
        self.texts = task_texts(task, model, recipe)

    @cached_property
    def classifier(self) -> Classifier:
        dropout = self.recipe.dropout
        config = replace(self.model.config, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
        return build_classifier(
            config, self.model.vocab_size, len(self.task.labels), precision=self.recipe.precision
        )

    @cached_property
    def steps(self) -> Steps:
        config = self.recipe.training(len(self.texts.train))
        return make_steps(self.classifier, config, 0, restartable=True)

    def tune(self, seed: int, folder: Path, subject: str) -> Tuned:
        """Fine-tune at each rate of the recipe. Finished rates and epochs are not made again.

        The seed determines the new layers, the order of the texts, and the dropout.

        Args:
            folder: a working folder of ours.
            subject: what the result depends on, apart from the seed and the rate; files of another subject
                are ignored.
        """
        outcomes = []
        for number, rate in enumerate(self.recipe.rates):
            key = hashlib.sha256(json.dumps([subject, seed, rate]).encode()).hexdigest()
            path = folder / f"{HIDDEN}{number}.json"
            outcome = _read(path, key)
            if outcome is None:
                loss = self._train(seed, rate, folder / STATE, key)
                held = self.texts.development
                development = scores(self.task, held.labels.tolist(), self._predict(held)).score
                outcome = Outcome(rate, development, loss, self._predict(self.texts.test))
                write_text(path, json.dumps({"key": key, "outcome": asdict(outcome)}) + "\n")
            log.info(
                "task %s, seed %d, rate %g: %s %.4f on %d development texts",
                self.task.name, seed, rate, METRICS[self.task.metric], outcome.development,
                len(self.texts.development),
            )  # fmt: skip
            outcomes.append(outcome)
        return Tuned(outcomes, len(self.texts.train), len(self.texts.development))

    def _train(self, seed: int, rate: float, path: Path, key: str) -> float | None:
        """Train at a rate, from the epoch that was saved last; return the last epoch's loss."""
        steps, recipe, name = self.steps, self.recipe, self.task.name
        start = self.classifier.starting_weights(self.model.config, self.model.weights, seed)
        steps.restart(start, seed, rate)
        first, loss = 0, None
        if saved := _load(path, key):
            state, loss = saved
            steps.restore(state)
            first = int(state["global_step"]) // recipe.steps_of_epoch(len(self.texts.train))
            log.info("task %s, seed %d, rate %g: continues after epoch %d", name, seed, rate, first)
        for epoch in range(first, recipe.epochs):
            batches = self.texts.train.shuffled(recipe.batch_size, seed, epoch)
            figures = [steps.train(batch) for batch in batches]
            mean = math.fsum(float(each["loss"]) for each in figures) / len(figures)
            loss = mean if math.isfinite(mean) else None
            log.info(
                "task %s, seed %d, rate %g: epoch %d of %d, loss %.4f",
                name, seed, rate, epoch + 1, recipe.epochs, mean,
            )  # fmt: skip
            if loss is None:
                log.warning("task %s, seed %d: the loss at the rate %g is not finite", name, seed, rate)
            _save(path, key, steps.state(), loss)
        return loss

    def _predict(self, texts: Texts) -> list[int]:
        """Return the label with the highest logit for each text."""
        found: list[int] = []
        for batch, count in texts.batches(self.recipe.batch_size):
            inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
            found += np.argmax(self.steps.embed(inputs), axis=-1)[:count].tolist()
        return found


def _read(path: Path, key: str) -> Outcome | None:
    values = take_record(path, RateOutcome, "the rate is trained again")
    return Outcome(**values["outcome"]) if values and values["key"] == key else None


def _save(path: Path, key: str, state: Mapping[str, np.ndarray], loss: float | None) -> None:
    with atomic_path(path) as temporary:
        save_file(dict(state), temporary, metadata={"key": key, "loss": json.dumps(loss)})
        open_to_readers(temporary)


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
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        log.warning("%s: cannot be read, the rate starts again: %s", path, error)
        return None

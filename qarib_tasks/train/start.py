"""What a training consists of, put together at a checkpoint or at the beginning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from qarib_tasks.config import TrainingJob
from qarib_tasks.train import runtime
from qarib_tasks.train.checkpoint import Index, model_settings
from qarib_tasks.train.data import ExampleStream, Parser, Position, Prefetched
from qarib_tasks.train.evaluate import Evaluator, read_evaluations
from qarib_tasks.train.journal import Journal
from qarib_tasks.train.model import build_model
from qarib_tasks.train.output import Output
from qarib_tasks.train.shards import Shards
from qarib_tasks.train.steps import Steps, make_steps
from qarib_tasks.train.vocabulary import Vocabulary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    steps: Steps
    batches: Prefetched
    evaluator: Evaluator
    journal: Journal
    position: Position


def first_index(job: TrainingJob, vocabulary: Vocabulary) -> Index:
    """The beginning of a training, as if it were a checkpoint."""
    return Index(step=0, position=asdict(Position()), model=model_settings(job, vocabulary.record))


def start(
    job: TrainingJob,
    output: Output,
    vocabulary: Vocabulary,
    index: Index,
    state: Mapping[str, np.ndarray] | None,
) -> Parts:
    """Build the model and all that feeds, follows and evaluates it. The reading begins at once.

    Args:
        index, state: of the checkpoint to go on from; the state is None at the beginning.
    """
    runtime.make_deterministic()
    steps = make_steps(build_model(job, len(vocabulary)), job.train, job.random_seed)
    if state is not None:
        steps.restore(state)
        log.info("going on from the checkpoint of step %d", index.step)
    shards = Shards(job.training_data, output.cache)
    stream = ExampleStream(shards, window=job.train.shuffle_window, seed=job.random_seed)
    evaluator = Evaluator(job, output, vocabulary, steps)
    position = Position(**index.position)
    batches = Prefetched(stream, Parser(job, len(vocabulary)), position, job.train.train_batch_size)
    evaluations = [evaluation for evaluation in read_evaluations(output) if evaluation["step"] <= index.step]
    journal = Journal(job, output, batches, index.step, evaluations, index.figures)
    return Parts(steps, batches, evaluator, journal, position)

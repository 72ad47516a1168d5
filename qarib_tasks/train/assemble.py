"""The parts of a training, built from a checkpoint or for the beginning."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

import numpy as np

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.usual import (
    dropping_faults,
    packed_faults,
    unusual_settings,
    void_next_sentence,
)
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import TrainingShape, training_shape
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.train import runtime
from qarib_tasks.train.checkpoint import Checkpoints, Index, model_settings
from qarib_tasks.train.data.batches import ExampleStream, Parser, Position, Prefetched
from qarib_tasks.train.data.shards import Shards
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.hosts.workers import Workers
from qarib_tasks.train.model.bert import PretrainingBert, build_model
from qarib_tasks.train.model.positions.dropping import dropping_of
from qarib_tasks.train.model.positions.masking import masking_of
from qarib_tasks.train.model.speed import Speed
from qarib_tasks.train.model.steps import Steps, make_steps
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.journal import Journal
from qarib_tasks.train.results.evaluate import Evaluator, read_evaluations
from qarib_tasks.train.weights.pretrained import optimizer_averages, pretrained_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The parts of a training.

    Attributes:
        index: the checkpoint that the training resumes from, or its beginning.
        position: this rank's position in the data at that checkpoint.
    """

    index: Index
    steps: Steps
    batches: Prefetched
    evaluator: Evaluator
    journal: Journal
    position: Position


def start(
    job: TrainingJob,
    output: Output,
    vocabulary: Vocabulary,
    checkpoints: Checkpoints,
    newest: Index | None,
    workers: Workers,
) -> Parts:
    """Build the model, its input, its journal and its evaluator. Reading the data starts at once.

    Args:
        newest: the checkpoint to resume from; None for the beginning.

    Raises:
        ConfigError: the job's settings do not suit its data or each other.
    """
    faults = packed_faults(job.data_format, job.train)
    if faults := faults + dropping_faults(job.train, job.model, job):
        raise ConfigError("; ".join(faults))
    runtime.make_deterministic()
    model = build_model(job, len(vocabulary))
    index, state = (newest, None) if newest else _first(job, output, vocabulary, model)
    masking = masking_of(job, vocabulary.tokens)
    dropping = dropping_of(job, vocabulary.tokens)
    before = index.updates_before
    steps = make_steps(
        model, job.train, job.random_seed, masking=masking, dropping=dropping, updates_before=before
    )
    if newest:
        log.info("resuming from the checkpoint of step %d", index.step)
    if newest and workers.first:
        state = checkpoints.load(newest)
    steps.begin(state if workers.first else None, workers.first)
    shards = Shards(job.training_data, output.cache, job.left_out, job.earlier_data)
    shards.check_vocabulary(vocabulary.record)
    shards.check_format(job.data_format)
    stream = ExampleStream(
        shards,
        window=job.train.shuffle_window,
        seed=job.random_seed,
        max_corrupt=job.train.max_corrupt_records,
        interleave=job.train.interleave_shards,
        host=workers.number,
        hosts=workers.count,
    )
    evaluator = Evaluator(job, output, vocabulary, steps)
    position = position_of(index, workers)
    parse = Parser(job, len(vocabulary))
    size = job.train.train_batch_size // workers.count
    batches = Prefetched(stream, parse, position, size, ahead=4 * job.train.steps_per_call)
    evaluations = [evaluation for evaluation in read_evaluations(output) if evaluation["step"] <= index.step]
    speed = Speed(steps.hardware, shape_of(job, len(vocabulary)))
    journal = Journal(job, output, batches, index.step, evaluations, speed, index.figures)
    log.info("training on %s, %s", steps.hardware, runtime.chosen_precision(job.train.precision))
    warn_of_settings(job)
    warn_of_labels(job)
    return Parts(index, steps, batches, evaluator, journal, position)


def position_of(index: Index, workers: Workers) -> Position:
    """Return the position that this rank resumes reading from.

    The shards of an epoch are divided by the world size. If it differs from the checkpoint's, all ranks start
    the next epoch.
    """
    if index.step == 0:
        return Position()
    positions = [Position.from_dict(position) for position in (index.position, *index.others)]
    if len(positions) == workers.count:
        return positions[workers.number]
    epoch = max(position.epoch for position in positions) + 1
    log.warning(
        "the checkpoint of step %d has world size %d, this training has %d: skipping the rest of the epoch, "
        "reading resumes at epoch %d",
        index.step, len(positions), workers.count, epoch,
    )  # fmt: skip
    return Position(epoch=epoch, corrupt=positions[0].corrupt)


def shape_of(job: TrainingJob, vocab_size: int) -> TrainingShape:
    """Return the shape that determines the work of each of the job's steps."""
    return training_shape(job.model, vocab_size, job.train, job)


def warn_of_settings(job: TrainingJob) -> None:
    """Warn of settings that are far outside what worked elsewhere."""
    for line in unusual_settings(job.train, job.model, job):
        log.warning("%s", line)


def warn_of_labels(job: TrainingJob) -> None:
    """Warn if the next-sentence task teaches nothing because nearly all examples have the same label."""
    for line in void_next_sentence(job.train, job.random_next_share):
        log.warning("%s", line)


def _first(
    job: TrainingJob, output: Output, vocabulary: Vocabulary, model: PretrainingBert
) -> tuple[Index, dict[str, np.ndarray] | None]:
    """Return the index of a training's beginning, after loading the weights that the model starts from.

    Also return the state to begin with, as `Steps.state` does; None: the model's weights, no averages.
    """
    started_from: list[FileRecord] = []
    state, updates = None, 0
    if job.train.start_from:
        variables = model.named_variables()
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        weights, started_from = pretrained_weights(job, output, vocabulary, shapes)
        for name, value in weights.items():
            variables[name].assign(value)
        if job.train.start_from_optimizer:
            state, updates = optimizer_averages(job, output, variables)
            state |= {name: np.asarray(variable.value) for name, variable in variables.items()}
            state["global_step"] = np.asarray(0, np.int64)
    index = Index(
        step=0,
        position=asdict(Position()),
        model=model_settings(job, vocabulary.record),
        started_from=started_from,
        updates_before=updates,
    )
    return index, state

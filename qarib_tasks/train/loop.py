"""The training loop. TensorFlow and Keras are imported only where there is something to train."""

from __future__ import annotations

import logging
from dataclasses import asdict

from qarib_tasks.config import TrainingJob
from qarib_tasks.train.checkpoint import Checkpoints, Index, require_same_model
from qarib_tasks.train.evaluate import evaluation_of
from qarib_tasks.train.journal import is_finished
from qarib_tasks.train.output import Output
from qarib_tasks.train.termination import Termination
from qarib_tasks.train.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def train(job: TrainingJob) -> None:
    """Train to `train_steps` from the newest whole checkpoint, or from the beginning.

    Raises:
        InputError, CorruptError: the data or the vocabulary is missing, broken, or not the job's.
        ConfigError: the checkpoint that is there is of another model.
        TrainingError: the loss is not finite, or another process trains here.
        StoppedError: SIGTERM or SIGINT came; the state is saved.
    """
    output, config = Output(job), job.train
    with Termination() as termination, output.locked():
        vocabulary = Vocabulary.read(job, output)
        checkpoints = Checkpoints(output, config.keep_checkpoint_max, config.recovery_minutes)
        output.fetch_below(output.evaluations, ".json")
        newest = checkpoints.newest()
        if newest:
            require_same_model(newest, job, vocabulary.record)
            checkpoints.publish(newest)
            ended = newest.step >= config.train_steps and is_finished(output)
            if ended and evaluation_of(job, output, newest.step):
                log.info("%s: already trained, %d steps", output.root, newest.step)
                return
        _train(job, output, vocabulary, checkpoints, newest, termination)


def _train(
    job: TrainingJob,
    output: Output,
    vocabulary: Vocabulary,
    checkpoints: Checkpoints,
    newest: Index | None,
    termination: Termination,
) -> None:
    from qarib_tasks.train.start import start

    parts = start(job, output, vocabulary, checkpoints, newest)
    steps, batches, evaluator, journal = parts.steps, parts.batches, parts.evaluator, parts.journal
    config, index, step, position = job.train, parts.index, parts.index.step, parts.position
    with batches, journal, termination.held():
        if not index.recovery and not evaluation_of(job, output, step):
            journal.evaluated(evaluator.run(step))
        while step < config.train_steps:
            before = position
            batch, position = batches.next()
            journal.add(steps.train(batch), before, position)
            step += 1
            planned = step % config.save_checkpoints_steps == 0 or step == config.train_steps
            if planned or termination.asked_by or checkpoints.recovery_is_due():
                figures = journal.checkpoint()
                state = steps.state()
                checkpoints.save(index.at(step, asdict(position), figures, recovery=not planned), state)
            termination.raise_if_asked(step)
            if planned:
                journal.evaluated(evaluator.run(step))
    journal.finish()

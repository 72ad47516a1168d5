"""The training loop."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import asdict

from qarib_tasks.config import TrainingJob
from qarib_tasks.train import runtime
from qarib_tasks.train.checkpoint import Checkpoints, model_settings, require_same_model
from qarib_tasks.train.data import ExampleStream, Parser, Position, Prefetched
from qarib_tasks.train.evaluate import Evaluator, evaluation_of, read_evaluations
from qarib_tasks.train.journal import Journal, is_finished
from qarib_tasks.train.model import build_model
from qarib_tasks.train.output import Output
from qarib_tasks.train.shards import Shards
from qarib_tasks.train.steps import make_steps
from qarib_tasks.train.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def train(job: TrainingJob) -> None:
    """Train to `train_steps` from the newest whole checkpoint, or from the beginning.

    Raises:
        InputError, CorruptError: the data or the vocabulary is missing, broken, or not the job's.
        ConfigError: the checkpoint that is there is of another model.
        TrainingError: the loss is not finite, or another process trains here.
    """
    output = Output(job)
    with output.locked():
        output.fetch_below(output.evaluations, ".json")
        _train(job, output)


def _train(job: TrainingJob, output: Output) -> None:
    config = job.train
    vocabulary = Vocabulary.read(job, output)
    checkpoints = Checkpoints(output, keep=config.keep_checkpoint_max)
    newest = checkpoints.newest()
    step, position = 0, Position()
    if newest:
        require_same_model(newest, job, vocabulary.record)
        step, position = newest.step, Position(**newest.position)
        checkpoints.publish(step)
    if step >= config.train_steps and is_finished(output) and evaluation_of(job, output, step):
        log.info("%s: already trained, %d steps", output.root, step)
        return
    runtime.make_deterministic()
    steps = make_steps(build_model(job, len(vocabulary)), config, job.random_seed)
    if newest:
        steps.restore(checkpoints.load(newest))
        log.info("going on from the checkpoint of step %d", step)
    stream = ExampleStream(
        Shards(job.training_data, output.cache), window=config.shuffle_window, seed=job.random_seed
    )
    evaluator = Evaluator(job, output, vocabulary, steps)
    batches = Prefetched(stream, Parser(job, len(vocabulary)), position, config.train_batch_size)
    evaluations = [e for e in read_evaluations(output) if e["step"] <= step]
    with closing(batches), Journal(job, output, batches, step, evaluations) as journal:
        if not evaluation_of(job, output, step):
            journal.evaluated(evaluator.run(step))
        while step < config.train_steps:
            batch, position = batches.next()
            journal.add(steps.train(batch))
            step += 1
            if step % config.save_checkpoints_steps == 0 or step == config.train_steps:
                journal.checkpoint()
                checkpoints.save(
                    step, steps.state(), asdict(position), model_settings(job, vocabulary.record)
                )
                journal.evaluated(evaluator.run(step))
        journal.finish()

"""The training loop. It imports TensorFlow and Keras only if the training is not finished."""

from __future__ import annotations

import logging
from dataclasses import asdict

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train import runtime
from qarib_tasks.train.checkpoint import Checkpoints
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.hosts.agreement import Agreement, Request
from qarib_tasks.train.hosts.termination import Termination
from qarib_tasks.train.hosts.workers import Place, Workers
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import steps_of_call
from qarib_tasks.train.resume import ResumePoint, find_resume_point

log = logging.getLogger(__name__)


def train(job: TrainingJob) -> None:
    """Train to `train_steps` from the newest complete checkpoint, or from the beginning.

    Raises:
        InputError, CorruptError: the data or the vocabulary is missing, damaged, or not the job's.
        ConfigError: the existing checkpoint is of another model, or the settings do not fit the number of
            machines.
        TrainingError: the loss is not finite, or another process trains in this folder.
        LostWorkerError: another rank did not join or has ended.
        StoppedError: SIGTERM or SIGINT was received; the state is saved.
    """
    place = Place.of()
    runtime.check_machines(job, place)
    output = Output(job, place.worker)
    with Termination() as termination, output.locked(), Workers(place) as workers:
        vocabulary = Vocabulary.read(job, output)
        minutes = job.train.recovery_minutes if workers.first else 0
        checkpoints = Checkpoints(output, job.train.keep_checkpoint_max, minutes, job.train.stable_step)
        resume = find_resume_point(job, output, vocabulary, checkpoints, workers)
        if resume.finished:
            log.info("%s: already trained, %d steps", output.root, job.train.train_steps)
        else:
            # A later run recognizes the model by its settings in the bucket.
            output.try_to_publish(output.config, *output.tasks)
            runtime.connect_devices(place)
            _train(job, output, vocabulary, checkpoints, resume, termination, workers)


def _train(
    job: TrainingJob,
    output: Output,
    vocabulary: Vocabulary,
    checkpoints: Checkpoints,
    resume: ResumePoint,
    termination: Termination,
    workers: Workers,
) -> None:
    from qarib_tasks.train.assemble import start

    parts = start(job, output, vocabulary, checkpoints, resume.newest, workers)
    steps, batches, evaluator, journal = parts.steps, parts.batches, parts.evaluator, parts.journal
    config, index, step, position = job.train, parts.index, parts.index.step, parts.position
    agreement, ledger, compiled = Agreement(workers, step), journal.ledger, set[int]()
    with batches, journal, termination.held():
        if resume.evaluates:
            with ledger.of("evaluation"):
                evaluation = evaluator.run(step)
            journal.evaluated(evaluation)
        while step < config.train_steps:
            with ledger.of("waiting"):
                taken = [batches.next() for _ in range(steps_of_call(step, config))]
            # Another number of steps in a call is another program.
            with ledger.of("steps" if len(taken) in compiled else "compiling"):
                trained = steps.train_several([b for b, _ in taken])
            compiled.add(len(taken))
            for figures, (_, after) in zip(trained, taken, strict=True):
                journal.add(figures, position, after)
                position, step = after, step + 1
            ends = (config.stable_step, config.train_steps)
            planned = step % config.save_checkpoints_steps == 0 or step in ends
            due = Request.RECOVERY if checkpoints.recovery_is_due() else Request.NOTHING
            request = agreement(step, Request.STOP if termination.asked_by else due)
            if planned or request:
                with ledger.of("checkpoints"):
                    pending = journal.checkpoint()
                    positions = workers.exchange(f"position {step}", asdict(position))
                    state = steps.state() if workers.first or config.shard_optimizer else {}
                    if workers.first:
                        stable = step == config.stable_step
                        saved = index.at(step, positions, pending, recovery=not planned, stable=stable)
                        checkpoints.save(saved, state, journal.publish)
                agreement.answered()
            if request == Request.STOP:
                if workers.first:
                    journal.stopped()
                workers.finish()
                termination.end(step)
            if planned:
                with ledger.of("evaluation"):
                    evaluation = evaluator.run(step)
                journal.evaluated(evaluation)
    journal.finish()

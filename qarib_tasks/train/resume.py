"""The point that a training resumes from: rank 0 finds it and sends it to the other ranks."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.checkpoint import Checkpoints, Index, require_same_model
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.hosts.workers import Workers
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import is_finished
from qarib_tasks.train.results.evaluate import evaluation_of


@dataclass(frozen=True)
class ResumePoint:
    """The point that a training resumes from.

    Attributes:
        newest: the checkpoint to resume from; None for the beginning.
        finished: whether the training is finished.
        evaluates: whether to evaluate the step that the training resumes from.
    """

    newest: Index | None
    finished: bool
    evaluates: bool


def find_resume_point(
    job: TrainingJob, output: Output, vocabulary: Vocabulary, checkpoints: Checkpoints, workers: Workers
) -> ResumePoint:
    """Find the point to resume from, the same on all ranks.

    Raises:
        ConfigError: the existing checkpoint is of another model.
    """
    found = asdict(_find(job, output, vocabulary, checkpoints)) if workers.first else None
    values = workers.exchange("resume point", found)[0]
    return ResumePoint(**values | {"newest": values["newest"] and Index.from_dict(values["newest"])})


def _find(job: TrainingJob, output: Output, vocabulary: Vocabulary, checkpoints: Checkpoints) -> ResumePoint:
    output.fetch_evaluations()
    newest = checkpoints.newest()
    if newest is None:
        return ResumePoint(None, False, evaluation_of(job, output, 0) is None)
    require_same_model(newest, job, vocabulary.record)
    checkpoints.publish(newest)
    evaluated = evaluation_of(job, output, newest.step) is not None
    # The training does not repeat an evaluation with other settings: `qarib evaluate` does.
    was_evaluated = output.layout.evaluation(newest.step).is_file()
    at_end = newest.step >= job.train.train_steps and is_finished(output)
    return ResumePoint(newest, at_end and was_evaluated, not newest.recovery and not evaluated)

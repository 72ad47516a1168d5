"""What a training finds where it is to go on: worker 0 looks, and the others go by what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qarib_tasks.config.training import TrainingJob
from qarib_tasks.train.checkpoint import Checkpoints, Index, require_same_model
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.hosts.workers import Workers
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import is_finished
from qarib_tasks.train.results.evaluate import evaluation_of


@dataclass(frozen=True)
class Opening:
    """Attributes:
    newest: the checkpoint to go on from; None for the beginning.
    finished: there is nothing left to do.
    evaluates: whether the step that it goes on from is still to be evaluated.
    """

    newest: Index | None
    finished: bool
    evaluates: bool


def look(
    job: TrainingJob, output: Output, vocabulary: Vocabulary, checkpoints: Checkpoints, workers: Workers
) -> Opening:
    """The same for all workers.

    Raises:
        ConfigError: the checkpoint that is there is of another model.
    """
    found = asdict(_look(job, output, vocabulary, checkpoints)) if workers.first else None
    said = workers.exchange("opening", found)[0]
    return Opening(**said | {"newest": said["newest"] and Index.from_dict(said["newest"])})


def _look(job: TrainingJob, output: Output, vocabulary: Vocabulary, checkpoints: Checkpoints) -> Opening:
    output.fetch_below(output.evaluations, ".json")
    newest = checkpoints.newest()
    if newest is None:
        return Opening(None, False, evaluation_of(job, output, 0) is None)
    require_same_model(newest, job, vocabulary.record)
    checkpoints.publish(newest)
    evaluated = evaluation_of(job, output, newest.step) is not None
    # An evaluation with other settings is not the training's to repeat: `qarib evaluate` does that.
    was_evaluated = output.layout.evaluation(newest.step).is_file()
    at_end = newest.step >= job.train.train_steps and is_finished(output)
    return Opening(newest, at_end and was_evaluated, not newest.recovery and not evaluated)

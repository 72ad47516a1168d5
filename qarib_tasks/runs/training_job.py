"""Build the trainer's job from a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from qarib_tasks.config.evaluation import FREE_TASKS, StagedTask
from qarib_tasks.config.training.job import TrainedOn, TrainingJob
from qarib_tasks.labelled.staged import is_task_file, staged_task
from qarib_tasks.layout import CACHE
from qarib_tasks.runs import contamination
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest

TRAINER_COMMANDS = ("train", "evaluate", "export")  # in this order


def training_job(run: Run) -> TrainingJob:
    """Build the trainer's job. It reads from the bucket, if the run has one, because a TPU VM must.

    Raises:
        InputError: a labelled task is not in the model's folder, see `pipeline.stage_tasks`.
    """
    dataset, model, convert = run.dataset, run.model, run.config.convert
    earlier = run.earlier
    manifests = datasets_of(run)
    first = [*earlier, run][0]
    return TrainingJob(
        training_data=run.at(dataset.training_data),
        earlier_data=tuple(extended.at(extended.dataset.training_data) for extended in earlier),
        heldout_data=first.at(first.dataset.heldout_training_data),
        vocab_file=run.at(dataset.vocab),
        output=str(model.root),
        publish_to=run.address + model.name if run.address else None,
        cache=str(Path(run.config.workspace) / CACHE),
        start_from_digest=run.start_from_digest,
        steps_before=run.steps_before,
        random_next_share=random_next_share(manifests),
        trained_on=tuple(map(_trained_on, manifests)),
        license=run.config.upload.license,
        left_out=tuple(
            PurePath(dataset.tfrecord_name(name)).name
            for manifest in manifests
            for name in manifest.statistics.get("missing_shards", ())
        ),
        data_format=convert.format,
        random_seed=convert.random_seed,
        do_lower_case=convert.do_lower_case,
        max_seq_length=convert.max_seq_length,
        max_predictions_per_seq=convert.max_predictions_per_seq,
        masked_lm_prob=convert.masked_lm_prob,
        bert_model=run.config.upload.bert_model,
        bert_evals=run.config.upload.bert_evals,
        model=run.config.model,
        train=run.config.train,
        evaluate=run.config.evaluate,
        tasks=_tasks(run),
    )


def _tasks(run: Run) -> tuple[StagedTask, ...]:
    """Return the run's tasks, with what is known of test texts in the training text."""
    digests = contamination.task_texts(run).digests
    tasks = []
    for name in _task_names(run):
        task = staged_task(name, run.model.task(name))
        if name in digests:
            left_out, contaminated = contamination.found(run, digests[name])
            task = replace(task, left_out=left_out, contaminated=contaminated)
        tasks.append(task)
    return tuple(tasks)


def datasets_of(run: Run) -> list[Manifest]:
    """Return the manifests of the complete datasets that the run trains on, the oldest first.

    Raises:
        CorruptError: one is damaged.
    """
    manifests = (one.dataset.manifest for one in (*run.earlier, run))
    return [Manifest.complete(path) for path in manifests if path.is_file()]


def _task_names(run: Run) -> list[str]:
    """Return the names of the labelled tasks, and of those that the corpus gives, see `free_tasks`."""
    names = [task.name for task in run.config.evaluate.tasks]
    if run.config.evaluate.free_tasks:
        names += [name for name in FREE_TASKS if is_task_file(run.model.task(name))]
    return names


def _trained_on(manifest: Manifest) -> TrainedOn:
    sources = tuple(source["name"] for source in manifest.config["collect"]["sources"])
    return TrainedOn(
        dataset_id=manifest.id,
        examples=manifest.statistics["examples"],
        sources=sources,
        warnings=tuple(manifest.statistics.get("corpus_warnings", ())),
    )


def random_next_share(datasets: Sequence[Manifest]) -> float | None:
    """Return the share of examples whose second part is random, or None if a manifest does not have it."""
    figures = [(m.statistics.get("random_next_share"), m.statistics["examples"]) for m in datasets]
    if not figures or any(share is None for share, _ in figures):
        return None
    total = sum(share * examples for share, examples in figures) / max(sum(n for _, n in figures), 1)
    return float(round(total, 4))

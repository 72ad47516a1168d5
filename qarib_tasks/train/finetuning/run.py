"""Fine-tuning of a model on tasks: which tasks it is, and where the results are written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qarib_tasks.config.evaluation import StagedTask, TaskConfig
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.errors import ConfigError, QaribError
from qarib_tasks.labelled.reading import read_tasks
from qarib_tasks.labelled.staged import read_staged, write_task
from qarib_tasks.layout import SETTINGS, ModelLayout
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import scratch_folder
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.recognition import (
    is_finetuning_result,
    is_finetuning_table,
    require_folders,
    require_our_object,
    require_ours,
)
from qarib_tasks.train.finetuning.model import OwnModel, StartingModel, find_model, own_model, read_model
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.finetuning.results import Subject, fine_tune, write_table
from qarib_tasks.train.results.export import refresh_model_card

if TYPE_CHECKING:
    from qarib_tasks.train.finetuning.tune import Tuner

log = logging.getLogger(__name__)


@dataclass
class FineTuning:
    """A model, the tasks to fine-tune it on, and the folder of the results.

    Attributes:
        own: the model's folder, if it is ours and gets the results.
        read: reads the model, which is not needed if all results exist.
    """

    own: OwnModel | None
    layout: ModelLayout
    subjects: list[Subject]
    read: Callable[[], StartingModel]

    @cached_property
    def model(self) -> StartingModel:
        return self.read()

    def run(self, seeds: Sequence[int]) -> None:
        """Fine-tune with each seed on each task, except where there is a result."""
        require_ours(self.layout.finetuning_table, is_finetuning_table)  # Not only after hours of work.
        for subject in self.subjects:
            tuner = cache(partial(self._tuner, subject))
            for seed in seeds:
                fine_tune(subject, tuner, seed)
                self._publish([self.layout.finetuning_result(subject.task.name, seed)])

    def _tuner(self, subject: Subject) -> Tuner:
        from qarib_tasks.train.finetuning.tune import Tuner

        return Tuner(self.model, subject.task, subject.recipe)

    def table(self, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Write the table of the results, and the model card with it; return the entries of the tasks.

        Args:
            seeds: those that each task should have.
        """
        entries = write_table(self.layout, self.subjects, seeds)
        if self.own:
            self._publish(
                self.layout.finetuning_result(entry["name"], one["seed"])
                for entry in entries
                for one in entry["seeds"]
            )
            if _is_exported(self.layout):
                refresh_model_card(self.own.job)
        return entries

    def _publish(self, paths: Iterable[Path]) -> None:
        """Publish results as the training publishes its files. If the bucket is unreachable, only warn."""
        if self.own is None or not self.own.job.publish_to:
            return
        bucket = Bucket(self.own.job.publish_to.rstrip("/") + "/")
        for path in paths:
            name = path.relative_to(self.layout.root).as_posix()
            try:
                require_our_object(bucket, name, is_finetuning_result)
                bucket.upload(path, name)
            except QaribError:
                raise
            except Exception as error:
                log.warning("%s: not published: %s", path, error)
                return


def _is_exported(layout: ModelLayout) -> bool:
    return layout.manifest.is_file() and Manifest.read(layout.manifest).state == "complete"


def fine_tuning(
    address: str,
    tasks: Sequence[TaskConfig] = (),
    names: Sequence[str] = (),
    output: Path | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 (it is frozen)
) -> FineTuning:
    """Read the model and the tasks. Nothing is written but the tasks that are read from the user's files.

    Args:
        address: path or gs:// address of a model.
        tasks: tasks to read. If there are none, those that the model's folder has.
        names: of those, the ones to use; empty: all.
        output: folder for the results; by default, the model's own.

    Raises:
        ConfigError: the model, a task, or the folder does not fit.
        InputError, CorruptError, StorageError: a file cannot be used.
    """
    own = own_model(address)
    if output is not None and (own is None or output.resolve() != own.layout.root.resolve()):
        _check_output(output, [address, *([str(own.layout.root)] if own else [])])
        layout, results_in = ModelLayout(output, UploadConfig()), None
    elif own is not None:
        layout, results_in = own.layout, own
    else:
        raise ConfigError(
            "not a model folder of qarib, which would get the results",
            where=address,
            do="Give a folder for them with `-o`",
        )
    start = find_model(address, own)
    found = _read(tasks, layout, results_in) if tasks else _own(own, names, address)
    cache = Path(own.job.cache) if own and own.job.cache else layout.cache
    subjects = [
        Subject(layout, read_staged(staged, path), staged.sha256, start.digest, recipe)
        for path, staged in found.items()
    ]
    return FineTuning(results_in, layout, subjects, lambda: read_model(address, start, cache, own))


def _check_output(output: Path, models: Iterable[str]) -> None:
    """Check that the folder for the results is in no folder of the model: those stay as they are."""
    require_folders([output])
    folders = [Path(model) for model in models if not model.startswith("gs://")]
    if any(folder.is_dir() and output.resolve().is_relative_to(folder.resolve()) for folder in folders):
        raise ConfigError("is in the model's folder", where=output, do="Give another folder with `-o`")


def _own(own: OwnModel | None, names: Sequence[str], address: str) -> dict[Path, StagedTask]:
    """Return the tasks in a model's folder by their files.

    Raises:
        ConfigError: there are none, or none of this name.
    """
    if own is None or not own.job.tasks:
        raise ConfigError("the model has no tasks of its own", where=address, do="Give `--task` or `--train`")
    known = {task.name: task for task in own.job.tasks}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"no task {unknown[0]!r}",
            where=own.layout.root / SETTINGS,
            do=f"Choose one of: {', '.join(known)}; or give the files of another task with `--train`",
        )
    return {own.layout.task(name): task for name, task in known.items() if not names or name in names}


def _read(
    tasks: Sequence[TaskConfig], layout: ModelLayout, own: OwnModel | None
) -> Mapping[Path, StagedTask]:
    """Read tasks from the user's files, and keep each beside its results.

    Raises:
        ConfigError: two tasks have one name, or the model has another task of this name.
        InputError, CorruptError, StorageError: a file or a label cannot be used.
    """
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"duplicate task name {', '.join(map(repr, twice))}", do="Rename one of them")
    with scratch_folder() as cache:
        read = read_tasks(tasks, cache)
    require_folders([layout.root, layout.bert_evals, layout.finetuning("").parent])
    theirs = {task.name: task for task in own.job.tasks} if own else {}
    found = {}
    for task in read:
        path = layout.finetuning(task.name) / "task.jsonl"
        require_folders([path.parent])
        with scratch_folder() as scratch:
            staged = write_task(task, scratch / path.name)
        if task.name in theirs and theirs[task.name] != staged:
            raise ConfigError(
                f"the model has another task {task.name!r}",
                where=layout.task(task.name),
                do="Give this one another `name`",
            )
        found[path] = write_task(task, path)
    return found

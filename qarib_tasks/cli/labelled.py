"""Labelled tasks that a command is given in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qarib_tasks.config.labelled import TaskConfig
from qarib_tasks.config.loading import from_dict, load_yaml
from qarib_tasks.config.training import EvaluateConfig
from qarib_tasks.errors import ConfigError, QaribError
from qarib_tasks.labelled.decontamination import TaskTexts
from qarib_tasks.storage.files import scratch_folder


def texts_of_tasks(path: Path) -> TaskTexts:
    """Read the test texts of the tasks in a YAML file.

    Raises:
        QaribError: the file or a task in it cannot be used. Its `in_file` is set.
    """
    from qarib_tasks.labelled.reading import read_tasks

    with _in_file(), scratch_folder() as fetched:
        return TaskTexts.of(read_tasks(tasks_of(path), fetched))


def tasks_of(path: Path) -> tuple[TaskConfig, ...]:
    """Return the tasks in a YAML file: its `tasks`, or those in the `evaluate` section of a run.

    Raises:
        ConfigError, InputError: there are none, or a setting is invalid.
    """
    values = load_yaml(path)
    section = values.get("evaluate", values)
    tasks = section.get("tasks") if isinstance(section, dict) else None
    if not tasks or not isinstance(tasks, list):
        raise ConfigError(
            "the file has no labelled tasks",
            where=path,
            do="Add `tasks`, a list with `name` and `train` of each, and more settings where they are needed",
        )
    return from_dict(EvaluateConfig, {"tasks": tasks}, path).tasks


@contextmanager
def _in_file() -> Iterator[None]:
    """Mark errors: the settings that they name are in a file, not options of the command."""
    try:
        yield
    except QaribError as error:
        error.in_file = True
        raise

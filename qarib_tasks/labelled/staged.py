"""Checked tasks as files in a model's folder, from which they are trained and scored on any machine.

The first line of `tasks/<name>.jsonl` is a JSON object about the task, each other line a text with its label
and part. The same task gives the same bytes. The training process never reads the files of the user.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from qarib_tasks.config.evaluation import StagedTask
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.storage.files import atomic_path, checksums
from qarib_tasks.storage.recognition import NOT_OURS, is_ours, json_with

_SETTINGS = ("name", "metric", "positive", "negative")


def write_task(task: LabelledTask, path: Path) -> StagedTask:
    """Write a task to a file.

    Raises:
        InputError: the file exists and is not a task's.
    """
    if os.path.lexists(path) and not is_task_file(path):
        raise InputError(NOT_OURS, where=path, do="Move this file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for line in _lines(task):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return staged_task(task.name, path)


def is_task_file(path: Path) -> bool:
    """Whether a file is a task's."""
    return is_ours(path, is_task)


def is_task(head: bytes) -> bool:
    """Whether a file that begins like this is a task's."""
    return json_with(*_SETTINGS, "labels", "left_out", begins=b'{"name": "')(head.partition(b"\n")[0])


def _lines(task: LabelledTask) -> Iterator[dict[str, object]]:
    settings = {name: getattr(task, name) for name in _SETTINGS}
    yield settings | {"labels": task.labels, "left_out": task.left_out}
    for name, part in (("train", task.train), ("test", task.test)):
        for text, label in zip(part.texts, part.labels, strict=True):
            yield {"part": name, "label": task.labels[label], "text": text}


def staged_task(name: str, path: Path) -> StagedTask:
    """Return the record of a task's file.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(
            f"the task {name} has no file in the model's folder", where=path, do="Start a new run"
        )
    return StagedTask(name=name, sha256=checksums(path).sha256)


def read_staged(staged: StagedTask, path: Path) -> LabelledTask:
    """Read a task from its file.

    Raises:
        InputError: there is no such file.
        CorruptError: its checksum is not that of the task, or it is not such a file.
    """
    found = staged_task(staged.name, path).sha256
    if found != staged.sha256:
        raise CorruptError(
            f"the SHA-256 is {found}, expected {staged.sha256}", where=path, do="Start a new run"
        )
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            head, *rows = map(json.loads, file)
        labels = tuple(head["labels"])
        numbers = {label: number for number, label in enumerate(labels)}

        def part(name: str) -> LabelledPart:
            some = [row for row in rows if row["part"] == name]
            return LabelledPart(
                tuple(row["text"] for row in some), tuple(numbers[row["label"]] for row in some)
            )

        settings = {name: head[name] for name in _SETTINGS}
        return LabelledTask(
            labels=labels,
            train=part("train"),
            test=part("test"),
            left_out=head["left_out"],
            **settings,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"not a task: {error!r}", where=path, do="Start a new run") from None

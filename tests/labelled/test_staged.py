"""Tasks in a model's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.labelled.staged import read_staged, staged_task, write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask

TASK = LabelledTask(
    name="mood",
    metric="f1_pn",
    labels=("NEG", "NEU", "POS"),
    train=LabelledPart(("جميل", 'سيئ "جدا"\u2028', "عادي"), (2, 0, 1)),
    test=LabelledPart(("رائع 😍",), (2,)),
    positive="POS",
    negative="NEG",
    left_out={"empty": 2},
)


def test_a_task_is_read_as_it_was_written_and_has_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tasks" / "mood.jsonl"
    staged = write_task(TASK, path)
    assert read_staged(staged, path) == TASK
    assert write_task(TASK, tmp_path / "again.jsonl") == staged == staged_task("mood", path)
    assert write_task(replace(TASK, metric="macro_f1"), tmp_path / "other.jsonl") != staged


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mood.jsonl"
    with pytest.raises(InputError, match="the task mood has no file"):
        staged_task("mood", path)
    staged = write_task(TASK, path)
    path.write_text(path.read_text(encoding="utf-8").replace("عادي", "غريب"), encoding="utf-8")
    with pytest.raises(CorruptError, match=r"mood\.jsonl: the SHA-256 is .*, expected"):
        read_staged(staged, path)
    path.write_text('{"labels": []}\n')
    with pytest.raises(CorruptError, match="not a task"):
        read_staged(staged_task("mood", path), path)


def test_a_file_of_the_user_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mood.jsonl"
    path.write_text('{"text": "نص", "label": "a"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"mood\.jsonl: exists and was not made by qarib"):
        write_task(TASK, path)
    assert path.read_text(encoding="utf-8").startswith('{"text"')
    path.unlink()
    write_task(TASK, path)
    assert read_staged(write_task(replace(TASK, metric="accuracy"), path), path).metric == "accuracy"

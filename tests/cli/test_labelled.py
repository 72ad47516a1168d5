"""`qarib collect --without-texts-of`: the tasks in a file, and what is said of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.cli.sources import tasks_of

TEXTS = [f"هذا هو النص الطويل رقم {number} من نصوص المهمة" for number in range(40)]
TASK = "{name: mood, train: %s, text: tweet, label: mood}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "mood.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("tweet", "mood"), *((text, len(text) % 2) for text in TEXTS)])
    return tmp_path


def collect(folder: Path, tasks: str, *more: str) -> int:
    (folder / "tasks.yaml").write_text(tasks, encoding="utf-8")
    others = [f"نص آخر له رقم {number}" for number in range(50)]
    documents = [*others, *(f"@fulan {text}!" for text in TEXTS)]
    (folder / "a.txt").write_text("\n".join(documents), encoding="utf-8")
    return run_command(
        [
            "collect",
            "a.txt",
            "--document",
            "line",
            "-o",
            "data.txt",
            "--without-texts-of",
            "tasks.yaml",
            *more,
        ]
    )


@pytest.mark.parametrize("form", ["tasks: [%s]", "preset: demo\nevaluate: {tasks: [%s]}"])
def test_documents_with_test_texts_are_left_out_and_told(
    form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not collect(folder, form % TASK % "mood.csv")
    (task,) = json.loads((folder / "data.txt.manifest.json").read_text())["statistics"]["tasks"].values()
    kept = (folder / "data.txt").read_text(encoding="utf-8")
    assert 0 < task["documents"] == task["texts"] < 40
    assert sum(text in kept for text in TEXTS) == 40 - task["documents"]
    out = capsys.readouterr().out
    assert f"; task mood: {task['documents']} documents with test texts" in out
    assert "set `--document line`" in out


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        ("tasks: []", "tasks.yaml: the file has no labelled tasks. Add `tasks`"),
        ("evaluate: 3", "tasks.yaml: the file has no labelled tasks"),
        ("[1]", "tasks.yaml: tasks.0: must hold settings"),
        (f"tasks: [{TASK % 'mood.csv'}, {TASK % 'mood.csv'}]", "duplicate name 'mood'"),
        ("tasks: [{name: a, train: mood.csv, limit: -1}]", "tasks.yaml: tasks.0.limit: Input should be"),
        # Not an option of this command: the setting is in the file.
        ("tasks: [{name: a, train: bad.jsonl}]", "or raise skip_at_most"),
        (f"tasks: [{TASK % 'none.csv'}]", "none.csv: no such file"),
    ],
)
def test_errors_name_the_file_and_its_settings(
    tasks: str, error: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.jsonl").write_text('{"text": "a", "label": "b"}\n{bad\n', encoding="utf-8")
    assert collect(folder, tasks) == 1
    err = capsys.readouterr().err
    assert error in err
    assert "Traceback" not in err
    assert not (folder / "data.txt").exists()


def test_the_file_of_a_task_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "mood.csv").read_bytes()
    assert collect(folder, f"tasks: [{TASK % 'mood.csv'}]", "-o", "mood.csv") == 1
    assert (folder / "mood.csv").read_bytes() == before
    assert len(tasks_of(folder / "tasks.yaml")) == 1

"""`qarib finetune`: where tasks come from, what is printed, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.machines.exit_status import REFUSED
from qarib_tasks.train.runtime import choose_backend

choose_backend()

from tests.support.tuning.small_model import make_model, words_of_two_kinds

TASK = words_of_two_kinds()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_model(tmp_path_factory.mktemp("cli"), TASK).output)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Outcomes without a training; the tasks and seeds that were asked for."""
    from qarib_tasks.train.finetuning.tune import Outcome, Tuned, Tuner

    asked = []

    def tune(self: Tuner, seed: int, *_: Any) -> Tuned:
        asked.append((self.task.name, seed))
        return Tuned(
            [Outcome(rate, 0.9, 1.0, [seed % 2] * len(self.task.test)) for rate in (2e-5, 3e-5, 5e-5)], 9, 1
        )

    monkeypatch.setattr("qarib_tasks.train.finetuning.tune.Tuner.tune", tune)
    return asked


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "mood.csv"
    rows = (f"نص {n},{'POS' if n % 3 else 'NEG'}\n" for n in range(60))
    path.write_text("tweet,mood\n" + "".join(rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def output_of(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    assert run_command(["finetune", *map(str, arguments)]) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def table(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "bert_evals" / "tasks.json").read_text())["tasks"]  # type: ignore[no-any-return]


def test_the_tasks_of_the_model_and_a_table(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], made_up: list[tuple[str, int]]
) -> None:
    shown = output_of(capsys, model, "-o", folder, "--seeds", 2).splitlines()
    assert made_up == [("kinds", 1), ("kinds", 2)]
    assert shown[0].split() == ["task", "metric", "mean", "±", "sd", "seeds", "TF-IDF", "most", "frequent"]
    (entry,) = table(folder)
    assert shown[1].split()[1:5] == ["macro-F1", f"{entry['mean']:.4f}", "±", f"{entry['sd']:.4f}"]
    assert shown[2] == f"{folder}/bert_evals/tasks.json: 1 task"
    shown = output_of(capsys, model, "-o", folder, "--seeds", 3, "--table").splitlines()
    assert shown[2] == "⁨kinds⁩: no result of seed 3"
    assert output_of(capsys, model, "-o", folder, "--name", "kinds", "--seed", 3) == ""
    assert table(folder)[0]["missing"] == [3]
    output_of(capsys, model, "-o", folder, "--seeds", 3)
    assert made_up == [("kinds", 1), ("kinds", 2), ("kinds", 3)]
    assert table(folder)[0]["missing"] == []


@pytest.mark.parametrize("form", ["list", "one", "tasks", "run", "json"])
def test_a_task_from_a_file(
    model: Path, folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    entry = {"name": "mood", "train": str(texts), "text": "tweet", "label": "mood"}
    value: Any = {
        "list": [entry],
        "one": entry,
        "tasks": {"tasks": [entry]},
        "run": {"preset": "demo", "evaluate": {"tasks": [entry]}},
        "json": [entry],
    }[form]
    path = tmp_path / ("task.json" if form == "json" else "task.yaml")
    path.write_text(json.dumps(value, indent=1 if form == "json" else None))
    output_of(capsys, model, "-o", folder, "--task", path, "--seeds", 1)
    assert [entry["name"] for entry in table(folder)] == ["mood"]
    assert table(folder)[0]["labels"] == ["NEG", "POS"]


def test_a_task_from_options(
    model: Path, folder: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--train", texts, "--text", "tweet", "--label", "mood", "--metric", "accuracy", "--seeds", 1)
    output_of(capsys, model, "-o", folder, *options)
    output_of(
        capsys,
        model,
        "-o",
        folder,
        "--name",
        "again",
        "--test",
        texts,
        *options[:-2],
        "--seeds",
        1,
        status=REFUSED,
    )
    assert [(entry["name"], entry["metric"]) for entry in table(folder)] == [("mood", "accuracy")]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = REFUSED) -> str:
    lines = [line for line in output_of(capsys, *arguments, status=status).splitlines() if "rror:" in line]
    assert len(lines) == 1
    return lines[0]


def test_errors_are_one_line(
    model: Path, folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = (model, "-o", folder)
    found = error_of(capsys, *to, "--name", "mood")
    assert found == (
        f"qarib: error: {model}/config.yaml: no task 'mood'. Choose one of: kinds; or give the files of "
        "another task with `--train`"
    )
    found = error_of(capsys, *to, "--train", texts, "--text", "tweet", "--label", "nothing")
    assert f"{texts}" in found
    assert "nothing" in found
    assert "`--label`" in found or "column" in found
    found = error_of(capsys, *to, "--train", tmp_path / "none.csv")
    assert f"{tmp_path}/none.csv" in found
    found = error_of(
        capsys, tmp_path / "none", "-o", folder, "--train", texts, "--text", "tweet", "--label", "mood"
    )
    assert f"{tmp_path}/none: no model to start from" in found
    found = error_of(capsys, texts.parent, "--train", texts)
    assert "not a model folder of qarib" in found
    empty = tmp_path / "empty.yaml"
    empty.write_text("[]")
    assert f"{empty}: the file has no labelled tasks" in error_of(capsys, *to, "--task", empty)
    empty.write_text("[{name: a}]")
    assert "tasks.0.train: is missing" in error_of(capsys, *to, "--task", empty)
    empty.write_text("[{name: a, train: b, text: c, label: c}]")
    assert "text and label are the same field" in error_of(capsys, *to, "--task", empty)
    assert "--seeds" in error_of(capsys, *to, "--seeds", 0)
    for arguments, message in (
        (("--text", "tweet"), "--text needs --train."),
        (("--task", empty, "--name", "a"), "--name needs --train."),
        (("--task", empty, "--train", texts), "Give --task or --train, not both."),
        (("--seed", 1, "--table"), "Give --seed or --table, not both."),
    ):
        assert message in error_of(capsys, *to, *arguments, status=2)
    assert not (folder / "bert_evals" / "tasks.json").exists()

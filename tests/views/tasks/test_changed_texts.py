"""The test texts that one model labels wrongly and a later one rightly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.views.files import Cache, Files
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.tasks.changed_texts import changed_texts
from qarib_tasks.views.tasks.results import results_of
from tests.support.made_up_run import (
    FolderBucket,
    arabic_task,
    predicted,
    write_probes,
    write_tuning,
)

TASK = arabic_task("sentiment", hostile=True)
OWN, FORMER = "demo-00000000aa", "demo-00000000bb"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name, every in ((OWN, 5), (FORMER, 2)):
        write_probes(folder(tmp_path, name), 10, TASK, every=every)
    return tmp_path


def folder(workspace: Path, name: str = OWN) -> Path:
    return workspace / "models" / name


def changed(workspace: Path, files: Files | None = None) -> dict[str, Any]:
    files = files or Files(workspace, None, Cache())
    models = []
    for name in (OWN, FORMER):
        values = {"config": {"workspace": str(workspace)}, "model_id": name}
        model = RunRecord(dag_id="d", run_id="r", state="", values=values).model
        assert model is not None
        models.append(results_of(files, model))
    return changed_texts(files, "sentiment", *models)


def counts(task: LabelledTask, own: int, former: int) -> tuple[int, int]:
    both = zip(task.test.labels, predicted(task, own), predicted(task, former), strict=True)
    found = [(mine == label, theirs == label) for label, mine, theirs in both]
    return found.count((True, False)), found.count((False, True))


def test_by_the_probes(workspace: Path) -> None:
    found = changed(workspace)
    assert (found["right"], found["wrong"]) == counts(TASK, 5, 2) == (24, 6)
    assert (found["compared"], found["seed"], len(found["texts"])) == (60, None, 20)
    text = found["texts"][0]
    assert text["text"] == TASK.test.texts[2]
    assert text["text"].startswith("<script>")
    assert (text["label"], text["before"]) == ("positive", "negative")


def test_by_the_lowest_seed_that_both_were_fine_tuned_with(workspace: Path) -> None:
    write_tuning(folder(workspace), TASK, every=7)
    write_tuning(folder(workspace, FORMER), TASK, every=3, missing=[0])
    found = changed(workspace)
    assert (found["seed"], (found["right"], found["wrong"])) == (1, counts(TASK, 8, 4))
    (folder(workspace) / "bert_evals/finetuning/sentiment/1.json").unlink()
    assert changed(workspace)["seed"] == 2
    (folder(workspace, FORMER) / "bert_evals/finetuning/sentiment/2.json").write_text('{"predicted": "x"}')
    fault = changed(workspace)["fault"]
    assert fault["where"].endswith(f"{FORMER}/bert_evals/finetuning/sentiment/2.json")
    assert fault["do"]


def test_a_sample_is_the_first_texts(workspace: Path) -> None:
    write_probes(folder(workspace, FORMER), 10, TASK, every=2, sample=12)
    found = changed(workspace)
    assert (found["compared"], found["right"]) == (12, 4)


def test_long_texts_are_cut(workspace: Path) -> None:
    long = replace(
        TASK, test=LabelledPart(tuple(f"{text} {'ب' * 5000}" for text in TASK.test.texts), TASK.test.labels)
    )
    for name, every in ((OWN, 5), (FORMER, 2)):
        write_probes(folder(workspace, name), 10, long, every=every)
    assert {len(one["text"]) for one in changed(workspace)["texts"]} == {1001}


def test_why_there_is_none(workspace: Path) -> None:
    assert changed_texts(Files(workspace, None, Cache()), "sentiment", None, None) == {  # type: ignore[arg-type]
        "reason": "There is no previous model to compare with."
    }
    predictions = folder(workspace, FORMER) / "bert_evals/probe_predictions.json"
    predictions.unlink()
    assert changed(workspace)["reason"] == "The predictions of both models for the same texts are not stored."
    (folder(workspace, FORMER) / "bert_evals/evaluation-10.json").write_text('{"step": 10}')
    assert changed(workspace)["reason"] == "The previous model was not scored on this task."
    write_probes(folder(workspace, FORMER), 10, arabic_task("sentiment"), every=2)
    assert "on other texts" in changed(workspace)["reason"]


def test_texts_that_are_not_stored(workspace: Path) -> None:
    (folder(workspace) / "tasks/sentiment.jsonl").unlink()
    assert changed(workspace)["reason"] == "The texts of this task are not stored."


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[]\n",
        b'{"labels": []}\n',
        b"\xff\xfe\n",
        b"[" * 100_000,
        b'{"labels": [[]]}\n',
        b'{"labels": 4}\nx',
    ],
)
def test_a_damaged_file_is_a_message(workspace: Path, data: bytes) -> None:
    path = folder(workspace) / "tasks/sentiment.jsonl"
    for damaged in (data, path.read_bytes().replace(b'"positive"', b'"negative"'), path.read_bytes()[:-9]):
        path.write_bytes(damaged)
        fault = changed(workspace)["fault"]
        assert (fault["where"], fault["do"]) == (str(path), "Start a new run")


def test_labels_that_the_task_does_not_have(workspace: Path) -> None:
    path = folder(workspace, FORMER) / "bert_evals/probe_predictions.json"
    values = json.loads(path.read_text())
    values["tasks"][0]["predicted"] = [99] * 60
    path.write_text(json.dumps(values))
    assert changed(workspace)["fault"]
    values["tasks"][0]["predicted"] = [-1, True, "x"]
    path.write_text(json.dumps(values))
    assert changed(workspace)["reason"]
    values["tasks"][0]["predicted"] = [0] * 61
    path.write_text(json.dumps(values))
    assert changed(workspace)["compared"] == 60


def test_a_large_file_is_read_once_and_a_huge_one_is_not(workspace: Path) -> None:
    bucket, cache = FolderBucket(workspace), Cache()
    for _ in range(3):
        assert changed(workspace, Files(None, bucket, cache))["right"] == 24
        cache.age(30)
    name = f"models/{OWN}/tasks/sentiment.jsonl"
    assert bucket.asked.count(f"read {name}") == 1
    # What is kept is the result, without the texts that it does not need.
    assert not any(isinstance(value, bytes) and b'"part"' in value for _, value in cache._values.values())
    assert (workspace / name).stat().st_size > 6000
    for own in (Files(workspace, None, Cache(), 6000), Files(None, bucket, Cache(), 6000)):
        fault = changed(workspace, own)["fault"]
        assert "too large for this page" in fault["what"]
        assert fault["where"].endswith(name)


def test_a_changed_file_is_read_again(workspace: Path) -> None:
    own, path = Files(workspace, None, Cache()), folder(workspace) / "tasks/sentiment.jsonl"
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + b" ")
    assert changed(workspace, own)["fault"]
    path.write_bytes(intact)
    assert changed(workspace, own)["right"] == 24

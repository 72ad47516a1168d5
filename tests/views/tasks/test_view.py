"""Labelled tasks, as the page shows them.

Covers qarib_tasks/views/tasks/results.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.evaluation import SOURCE
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.tasks.view import tasks_view
from qarib_tasks.views.training import training_view
from tests.support.made_up_run import (
    FolderBucket,
    MadeUpRun,
    arabic_task,
    files,
    write_probes,
    write_tuning,
)

SENTIMENT, DIALECT = arabic_task("sentiment"), arabic_task("dialect", labels=("خليجي", "مصري"))
EARLIER = "demo-00000000cc"


def folder(run: MadeUpRun, model_id: str | None = None) -> Path:
    return run.workspace / "models" / (model_id or str(run.record.values["model_id"]))


def record(run: MadeUpRun, model_id: str, **config: Any) -> RunRecord:
    values = {**run.record.values, "model_id": model_id}
    return replace(run.record, run_id=model_id, values={**values, "config": {**run.record.config, **config}})


def view(run: MadeUpRun, bucket: FolderBucket | None = None, **config: Any) -> dict[str, Any]:
    own = record(run, str(run.record.values["model_id"]), **config)
    return tasks_view(own, files(run, bucket, local=bucket is None), [record(run, EARLIER)])


def test_the_probe_by_step(run: MadeUpRun) -> None:
    for step, every in ((0, 2), (10, 3), (20, 4)):
        write_probes(folder(run), step, SENTIMENT, DIALECT, every=every)
    found = view(run)
    sentiment, dialect = found["tasks"]
    assert (found["evaluated"], found["faults"], found["trouble"]) == (True, [], None)
    assert (sentiment["name"], sentiment["metric"], dialect["name"]) == ("sentiment", "macro-F1", "dialect")
    probe = sentiment["probe"]
    assert probe["step"] == [0, 10, 20]
    assert sorted(probe["value"]) == probe["value"]
    assert all(
        low < value < high
        for low, value, high in zip(probe["low"], probe["value"], probe["high"], strict=True)
    )
    assert (probe["tfidf"], probe["tfidf_low"], probe["most_frequent"]) == ([0.5] * 3, [0.4] * 3, [0.2] * 3)
    assert (probe["train_texts"][-1], probe["all_test_texts"][-1]) == (12, 60)
    # The confusion matrix of the last evaluation only.
    assert (sum(map(sum, dialect["confusion"])), dialect["confusion_of"]) == (40, 20)
    assert dialect["labels"] == ["خليجي", "مصري"]
    assert json.dumps(found).count("confusion_of") == 2
    assert sentiment["former_probe"] is None
    assert sentiment["changed"]["reason"] == "There is no previous model to compare with."


def test_other_views_do_not_send_them(run: MadeUpRun) -> None:
    write_probes(folder(run), 10, SENTIMENT, every=3)
    progress = json.loads((folder(run) / "bert_evals/evaluation-10.json").read_text())
    (folder(run) / "progress.json").write_text(
        json.dumps({"step": 10, "state": "finished", "evaluation": progress})
    )
    sent = json.dumps(training_view(run.record, files(run, None), 0.0))
    assert "masked_lm_loss" in sent
    assert "confusion" not in sent


def test_evaluations_on_other_texts_are_not_in_the_line(run: MadeUpRun) -> None:
    write_probes(folder(run), 0, arabic_task("sentiment", hostile=True), every=2)
    (folder(run) / "bert_evals/evaluation-5.json").write_text('{"step": 5}')
    write_probes(folder(run), 10, SENTIMENT, every=3, sample=30)
    (task,) = view(run)["tasks"]
    assert (task["probe"]["step"], task["on_other_texts"]) == ([10], 1)
    assert (task["probe"]["test_texts"], task["probe"]["all_test_texts"]) == ([30], [60])


def test_more_labels_than_a_matrix_has_room_for(run: MadeUpRun) -> None:
    many = arabic_task("many", labels=[f"label {number:02}" for number in range(51)])
    fifty = arabic_task("fifty@corpus", labels=many.labels[:50])
    write_probes(folder(run), 1, many, fifty, every=3)
    first, second = view(run)["tasks"]
    assert (first["confusion"], first["labels"], first["label_count"]) == (None, [], 51)
    assert len(second["confusion"]) == len(second["labels"]) == second["label_count"] == 50


def test_a_fine_tuned_model_beside_the_one_before_it(run: MadeUpRun) -> None:
    write_probes(folder(run), 10, SENTIMENT, DIALECT, every=4)
    write_tuning(folder(run), SENTIMENT, DIALECT, every=7, missing=[1])
    write_probes(folder(run, EARLIER), 10, SENTIMENT, arabic_task("dialect"), every=2)
    write_tuning(folder(run, EARLIER), SENTIMENT, arabic_task("dialect"), every=3)
    found = view(run)
    sentiment, dialect = found["tasks"]
    assert found["former"] == EARLIER
    tuned = sentiment["tuned"]
    assert [one["seed"] for one in tuned["seeds"]] == [0, 2]
    assert (tuned["missing"], tuned["seeds"][0]["rate"]) == ([1], 2e-5)
    assert tuned["mean"] == pytest.approx(sum(one["value"] for one in tuned["seeds"]) / 2)
    assert sentiment["former_tuned"]["same_texts"] is True
    assert sentiment["former_tuned"]["mean"] < tuned["mean"]
    assert sentiment["former_probe"]["value"] < sentiment["probe"]["value"][-1]
    assert dialect["former_tuned"]["same_texts"] is dialect["former_probe"]["same_texts"] is False
    assert sentiment["confusion_of"] is None  # of the fine-tuning
    assert sum(map(sum, sentiment["confusion"])) == 2 * 60
    assert "other texts" in dialect["changed"]["reason"]


def test_tasks_that_were_only_fine_tuned(run: MadeUpRun) -> None:
    """A task can be new after the training, and each of its seeds can have failed."""
    write_tuning(folder(run), SENTIMENT, every=7)
    table = folder(run) / "bert_evals/tasks.json"
    values = json.loads(table.read_text())
    failed = {
        "name": "dialect",
        "metric": "accuracy",
        "sha256": "",
        "labels": [],
        "seeds": [],
        "missing": [0, 1],
    }
    table.write_text(json.dumps({"tasks": [*values["tasks"], failed]}))
    found = view(run)
    assert [(task["name"], task["metric"], task["probe"]) for task in found["tasks"]] == [
        ("sentiment", "macro-F1", None),
        ("dialect", "accuracy", None),
    ]
    assert found["tasks"][1]["tuned"]["missing"] == [0, 1]


def test_documents_with_test_texts_and_tasks_of_the_corpus(run: MadeUpRun) -> None:
    write_probes(folder(run), 10, arabic_task(SOURCE), every=3)
    path = folder(run) / "bert_evals/evaluation-10.json"
    values = json.loads(path.read_text())
    values["tasks"][0] |= {"left_out_documents": 4, "contaminated_documents": 2}
    path.write_text(json.dumps(values))
    (task,) = view(run)["tasks"]
    assert task["about"] == "Which source is a line from?"
    assert (task["probe"]["left_out_documents"], task["probe"]["contaminated_documents"]) == ([4], [2])


def test_which_model_was_before_it(run: MadeUpRun) -> None:
    """The promoted one, else the one it started from, else that of an earlier run."""
    own, promoted, started = str(run.record.values["model_id"]), "demo-00000000d0", "demo-00000000d1"
    for name in (own, promoted, started, EARLIER):
        write_probes(folder(run, name), 10, SENTIMENT, every=3)
    start = {"start_from": f"{run.workspace}/models/{started}/export"}
    judged = [{"model_id": promoted, "state": "promoted"}, {"model_id": own, "state": "candidate"}]
    path = run.workspace / "models/promoted.json"
    path.write_text(json.dumps({"presets": {"demo": {"promoted": promoted, "judged": judged}}}))
    assert view(run, train=start)["former"] == promoted
    path.unlink()
    assert view(run, train=start)["former"] == started
    assert view(run, train={"start_from": f"gs://qarib/models/{started}"})["former"] == started
    for elsewhere in (f"gs://other/models/{started}", f"/elsewhere/models/{started}", ""):
        assert view(run, train={"start_from": elsewhere})["former"] == EARLIER


@pytest.mark.parametrize("name", ["../../secrets", "/etc", "demo-1", ""])
def test_names_in_files_are_no_paths(run: MadeUpRun, tmp_path: Path, name: str) -> None:
    write_probes(folder(run), 10, SENTIMENT, every=3)
    write_probes(tmp_path / "secrets", 10, SENTIMENT, every=2)
    judged = [{"model_id": name, "state": "promoted"}]
    record = {"presets": {"demo": {"promoted": name, "judged": judged}}}
    (run.workspace / "models/promoted.json").write_text(json.dumps(record))
    assert view(run)["former"] is None
    table = {"tasks": [{"name": f"x/{name}", "mean": 0.5, "seeds": [], "sha256": ""}]}
    (folder(run) / "bert_evals/tasks.json").write_text(json.dumps(table))
    assert [task["name"] for task in view(run)["tasks"]] == ["sentiment"]


def test_from_the_bucket_alone(run: MadeUpRun, bucket: FolderBucket) -> None:
    for name, every in ((run.record.values["model_id"], 4), (EARLIER, 2)):
        place = bucket.folder / "models" / str(name)
        write_probes(place, 10, SENTIMENT, every=every)
        write_tuning(place, SENTIMENT, every=every)
    found = view(run, bucket)
    (task,) = found["tasks"]
    assert (task["probe"]["step"], found["former"], len(task["tuned"]["seeds"])) == ([10], EARLIER, 3)
    assert task["changed"]["seed"] == 0
    before = len(bucket.asked)
    again = tasks_view(record(run, str(run.record.values["model_id"])), files(run, bucket, local=False), [])
    assert again["tasks"][0]["former_probe"] is None
    assert bucket.asked.count("read models/demo-00000000bb/tasks/sentiment.jsonl") == 1
    assert len(bucket.asked) < 3 * before


def test_settings_say_whether_there_will_be_tasks(run: MadeUpRun) -> None:
    task = {"name": "sentiment", "train": "train.csv"}
    for evaluate, expected in (({}, False), ({"tasks": []}, False), ({"tasks": [task]}, True), (None, False)):
        found = view(run, evaluate=evaluate)
        assert (found["expected"], found["evaluated"], found["tasks"]) == (expected, False, [])
        assert found["documentation"].endswith("docs/training.md#labelled-tasks")
    no_model = replace(run.record, values={"config": run.record.config})
    assert tasks_view(no_model, files(run, None), [])["tasks"] == []


NESTED = "[" * 100_000
NOT_TASKS: list[Any] = [
    "x",
    {},
    3,
    [3],
    [{}],
    [{"name": 4}],
    [{"name": "a", "value": "much"}],
    [[]],
    [{"name": "a\0b", "value": 1}],
]


@pytest.mark.parametrize("rows", NOT_TASKS)
def test_damaged_results_are_a_message(run: MadeUpRun, rows: Any) -> None:
    write_probes(folder(run), 10, SENTIMENT, every=3)
    write_tuning(folder(run), SENTIMENT, every=3)
    evaluation, table = folder(run) / "bert_evals/evaluation-20.json", folder(run) / "bert_evals/tasks.json"
    evaluation.write_text(json.dumps({"step": 20, "tasks": rows}))
    table.write_text(json.dumps({"tasks": rows}))
    found = view(run)
    assert found["faults"][0]["where"] == str(evaluation)
    assert [task["name"] for task in found["tasks"]] == ["sentiment"]
    assert found["tasks"][0]["tuned"] is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", NESTED, '{"tasks": {}}', "\ud800".encode("utf-16", "surrogatepass")]
)
def test_a_file_of_another_kind_is_a_message(run: MadeUpRun, text: str | bytes) -> None:
    write_probes(folder(run), 10, SENTIMENT, every=3)
    for name in ("tasks.json", "probe_predictions.json", "evaluation-30.json"):
        path = folder(run) / "bert_evals" / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = view(run)
    assert [fault["where"] for fault in found["faults"]] == [str(folder(run) / "bert_evals/tasks.json")]
    assert found["tasks"][0]["probe"]["step"] == [10]


def test_what_is_no_figure_is_left_out(run: MadeUpRun) -> None:
    write_tuning(folder(run), SENTIMENT, every=3)
    path = folder(run) / "bert_evals/tasks.json"
    values = json.loads(path.read_text())
    values["tasks"][0] |= {
        "sd": float("nan"),
        "tfidf": 10**400,
        "tfidf_low": True,
        "labels": ["a", 2],
        "confusion": [[1, 2], [3]],
        "seeds": [{"seed": 1}, {"seed": -1, "value": 0.5}, 7, {"seed": 0, "value": 0.5, "low": "0"}],
        "missing": ["x", 4, None],
    }
    path.write_text(json.dumps(values))
    (task,) = view(run)["tasks"]
    assert task["tuned"].keys().isdisjoint({"sd", "tfidf", "tfidf_low"})
    assert task["tuned"]["seeds"] == [{"seed": 0, "value": 0.5}]
    assert (task["tuned"]["missing"], task["confusion"], task["labels"]) == ([4], None, [])

"""What trackers get of a training: its files, also while they are written.

Covers qarib_tasks/tracking/tracker.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.tracking.model import SILENT_SECONDS, Folder, read_model
from qarib_tasks.tracking.tracker import Credentials
from tests.support.tracking.models import UPDATED, make_model, write_evaluation, write_history

AT = datetime.fromisoformat(UPDATED).timestamp()


def test_the_metrics_of_a_training_and_its_evaluations_by_step(tmp_path: Path) -> None:
    job, folder = make_model(tmp_path)
    write_history(folder, 1, 100, 200)
    write_evaluation(folder, 200)
    model = read_model(job, [Folder(folder)], folder.name)
    assert [point.step for point in model.points] == [1, 100, 200, 200]
    assert [point.seconds for point in model.points] == [0.5, 50.0, 100.0, 100.0]
    assert model.points[0].values["train/loss"] == 10.0
    assert "train/step" not in model.points[0].values
    assert model.points[-1].values == {
        **{f"evaluation/{name}": 2.0 for name in ("loss", "masked_lm_loss", "perplexity", "unigram_entropy")},
        **{f"evaluation/{name}": 0.5 for name in ("masked_lm_accuracy", "unigram_accuracy")},
        "task/emoji corpus": 0.5,
    }
    assert (model.began, model.updated) == (AT - 100.0, AT)


def test_the_parameters_are_the_settings_that_the_model_is_named_by(tmp_path: Path) -> None:
    job, folder = make_model(tmp_path)
    parameters = read_model(job, [Folder(folder)], folder.name).parameters
    assert parameters["train.train_batch_size"] == "8"
    assert parameters["model.hidden_size"] == "768"
    assert parameters["datasets"] == "demo-00000000aa"
    assert parameters["random_seed"] == "34"
    assert not any("address" in name or "keep_checkpoint" in name for name in parameters)
    # A setting that changes no weights is none: it can differ after a restart, and MLflow refuses that.
    other = replace(job, train=replace(job.train, keep_checkpoint_max=3))
    assert other != job
    assert read_model(other, [Folder(folder)], folder.name).parameters == parameters
    # A secret in an address is in no parameter.
    start = "https://user:secret@example.org/model?token=secret"
    secret = replace(job, train=TrainConfig(start_from=start))
    assert "secret" not in str(read_model(secret, [Folder(folder)], folder.name))


def test_a_line_that_is_being_written_is_not_read_yet(tmp_path: Path) -> None:
    job, folder = make_model(tmp_path)
    write_history(folder, 1, 100)
    history = folder / "bert_model" / "history.jsonl"
    with history.open("a", encoding="utf-8") as file:
        file.write('{"step": 200, "loss": 1.0}')  # also complete, its line is not
    assert [point.step for point in read_model(job, [Folder(folder)], "m").points] == [1, 100]
    with history.open("a", encoding="utf-8") as file:
        file.write('\nnot JSON\n{"step": 150, "loss": 1.0}\n{"step": 300, "loss": 1.0}\n')
    assert [point.step for point in read_model(job, [Folder(folder)], "m").points] == [1, 100, 200, 300]


def test_the_longest_history_counts_and_the_newest_progress(tmp_path: Path) -> None:
    job, folder = make_model(tmp_path / "here")
    _, other = make_model(tmp_path / "there")
    write_history(folder, 1, 100)
    write_history(other, 1, 100, 200, state="stopped", updated="2026-11-01T09:00:00+00:00")
    write_evaluation(other, 100)
    model = read_model(job, [Folder(folder), Folder(other)], "m")
    assert [point.step for point in model.points] == [1, 100, 100, 200]
    assert model.reported == "training"


def test_without_files_there_is_nothing_but_parameters(tmp_path: Path) -> None:
    job, folder = make_model(tmp_path)
    model = read_model(job, [Folder(folder)], "m", now=1000.0)
    assert (model.points, model.began, model.reported) == ([], 1000.0, "")
    assert model.state(1000.0) == "failed"


@pytest.mark.parametrize(
    ("reported", "silent", "state"),
    [("finished", 9e9, "finished"), ("stopped", 0.0, "killed"), ("training", 0.0, "running"),
     ("training", SILENT_SECONDS + 1, "failed")],
)  # fmt: skip
def test_what_became_of_a_training_by_its_files(
    tmp_path: Path, reported: str, silent: float, state: str
) -> None:
    job, folder = make_model(tmp_path)
    write_history(folder, 1, state=reported)
    assert read_model(job, [Folder(folder)], "m").state(AT + silent) == state


def test_the_addresses_of_dataset_model_and_export(tmp_path: Path) -> None:
    job, folder = make_model(tmp_path, publish_to="gs://bucket/models/demo-00000000bb/")
    artefacts = read_model(job, [Folder(folder)], "m").artefacts
    model = "gs://bucket/models/demo-00000000bb/"
    assert artefacts == {"dataset": f"{tmp_path}/datasets/demo-00000000aa/", "model": model}
    made = Path(__file__).parents[1] / "data/made_by_3ef437a/work/models/demo-c50f6ad7af/manifest.json"
    manifest = json.loads(made.read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    artefacts = read_model(job, [Folder(folder)], "m").artefacts
    assert artefacts["export"] == f"{model}export/"
    assert artefacts["made_by"] == manifest["made_by"]


def test_a_secret_is_not_shown() -> None:
    assert "hidden" not in repr(Credentials("someone", "hidden"))

"""Models and datasets that the first version made are found again, and nothing is made a second time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.loading import load_yaml
from qarib_tasks.config.presets import merged, resolve
from qarib_tasks.machines.backend import Work
from qarib_tasks.runs.names import made_before
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.train.loop import train
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export

MADE = Path(__file__).parents[1] / "data" / "made_by_3ef437a"
DATASET, MODEL = "demo-e3029ea0ef", "demo-c50f6ad7af"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of what the first version made, at another place."""
    shutil.copytree(MADE, tmp_path / "qarib")
    for path in (tmp_path / "qarib").rglob("*"):
        if path.suffix in (".yaml", ".json"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("/srv/qarib", str(tmp_path / "qarib")), encoding="utf-8")
    return tmp_path / "qarib" / "work"


def request(workspace: Path, **overrides: Any) -> Run:
    return prepare(resolve(merged(load_yaml(workspace.parent / "run.yaml"), overrides)))


def files(workspace: Path) -> dict[str, tuple[bytes, int]]:
    """The bytes of each file, and the time of those that take long to make."""
    long = (".txt", ".tfrecord", ".safetensors")
    return {
        str(path.relative_to(workspace)): (
            path.read_bytes(),
            path.stat().st_mtime_ns if path.suffix in long else 0,
        )
        for path in workspace.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def work(job: Work) -> None:
    """Run a trainer's command in this process."""
    from qarib_tasks.config.loading import from_dict
    from qarib_tasks.config.training import TrainingJob

    commands = {"train": train, "evaluate": evaluate, "export": export}
    commands[job.name](from_dict(TrainingJob, load_yaml(Path(job.arguments[-1]))))


def test_the_same_request_makes_nothing(workspace: Path) -> None:
    before = files(workspace)
    run = request(workspace)
    assert (run.dataset_id, run.model_id) == (DATASET, MODEL)
    pipeline.run_all(run, work)
    assert files(workspace) == before


@pytest.mark.parametrize(
    "train_settings",
    [
        {"keep_checkpoint_max": 7},
        {"save_checkpoints_steps": 3},
        {"recovery_minutes": 5.0, "steps_per_call": 2, "max_corrupt_records": 4},
        {"num_tpu_cores": 8},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_settings_that_change_no_weight_train_nothing(
    workspace: Path, train_settings: dict[str, Any]
) -> None:
    before = files(workspace)
    run = request(workspace, train=train_settings)
    assert (run.dataset_id, run.model_id) == (DATASET, MODEL)
    pipeline.run_all(run, work)
    changed = {name for name, file in files(workspace).items() if before.get(name) != file}
    # The settings are saved, and nothing is made. Its old number of cores says nothing to this version.
    settings = {f"datasets/{DATASET}/config.yaml", f"models/{MODEL}/config.yaml"}
    assert changed == (set() if "num_tpu_cores" in train_settings else settings)


def test_other_settings_of_the_evaluation_are_the_same_model(workspace: Path) -> None:
    run = request(workspace, evaluate={"max_eval_steps": 1})
    assert (run.dataset_id, run.model_id) == (DATASET, MODEL)
    before = files(workspace)
    work(pipeline.trainer_work(run, "train"))
    changed = {name for name, file in files(workspace).items() if before.get(name) != file}
    assert changed == {f"models/{MODEL}/config.yaml"}


def test_other_weights_are_another_model(workspace: Path) -> None:
    assert request(workspace, train={"train_steps": 5}).model_id != MODEL
    assert request(workspace, model={"hidden_dropout_prob": 0.2}).model_id != MODEL


def test_a_training_on_the_dataset_finds_the_model(workspace: Path) -> None:
    config = resolve(load_yaml(workspace.parent / "run.yaml"))
    assert prepare_training(config, DATASET).model_id == MODEL


def test_of_several_the_one_that_is_furthest(workspace: Path) -> None:
    """The first version trained it under two names; the other is not at its end."""
    models = workspace / "models"
    shutil.copytree(models / MODEL, models / "demo-0000000000")
    config = models / "demo-0000000000" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(MODEL, "demo-0000000000"), encoding="utf-8")
    (models / "demo-0000000000" / "manifest.json").unlink()
    assert request(workspace, train={"keep_checkpoint_max": 9}).model_id == MODEL
    shutil.copy(models / MODEL / "manifest.json", models / "demo-0000000000")
    os.remove(models / MODEL / "manifest.json")
    assert request(workspace, train={"keep_checkpoint_max": 9}).model_id == "demo-0000000000"


def test_a_model_in_the_bucket_is_found_without_the_workspace(
    workspace: Path, bucket_name: str, tmp_path: Path
) -> None:
    bucket = Bucket(f"gs://{bucket_name}/qarib/")
    upload = {"bucket": bucket_name, "prefix": "qarib/"}
    run = request(workspace, upload=upload)
    assert run.address is not None
    elsewhere = resolve(
        merged(
            load_yaml(workspace.parent / "run.yaml"),
            {"workspace": str(tmp_path / "new"), "upload": upload, "train": {"keep_checkpoint_max": 9}},
        )
    )
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    assert made_before(elsewhere, DATASET, "", run.address, client) is None
    # A training that was begun on a TPU: of its settings the bucket has only what the machine was given.
    bucket.upload(workspace / "models" / MODEL / "config.yaml", "launch/0123456789abcdef/config.yaml")
    assert made_before(elsewhere, DATASET, "", run.address, client) == MODEL
    bucket.delete("launch/0123456789abcdef/config.yaml")
    bucket.upload(workspace / "models" / MODEL / "config.yaml", f"models/{MODEL}/config.yaml")
    assert made_before(elsewhere, DATASET, "", run.address, client) == MODEL
    assert made_before(elsewhere, DATASET, "", run.address) is None

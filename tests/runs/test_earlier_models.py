"""Models and datasets that the first version made are found again, and nothing is made a second time.

Covers qarib_tasks/runs/names.py.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.loading import load_yaml
from qarib_tasks.config.presets import merged, resolve
from qarib_tasks.machines.backend import Work
from qarib_tasks.registry.promotion import promote
from qarib_tasks.runs.earlier_models import made_before
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.train.loop import train
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export

MADE = Path(__file__).parents[1] / "data" / "made_by_3ef437a"
DATASET, MODEL = "demo-e3029ea0ef", "demo-c50f6ad7af"


@pytest.fixture(params=["qarib", "datasets/my-datasets"])
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of what the first version made, at another place."""
    place = tmp_path / request.param
    shutil.copytree(MADE, place)
    for path in place.rglob("*"):
        if path.suffix in (".yaml", ".json"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("/srv/qarib", str(place)), encoding="utf-8")
    return place / "work"


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
    from qarib_tasks.config.training.job import TrainingJob

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


def test_a_complete_model_wins_over_an_abandoned_one_of_todays_name(workspace: Path) -> None:
    settings = {"keep_checkpoint_max": 7}
    shutil.move(workspace / "models" / MODEL, workspace / "aside")
    today = request(workspace, train=settings).model_id
    shutil.move(workspace / "aside", workspace / "models" / MODEL)
    (workspace / "models" / today).mkdir()
    assert request(workspace, train=settings).model_id == MODEL
    (workspace / "models" / today / "progress.json").write_text('{"step": 2}', encoding="utf-8")
    assert request(workspace, train=settings).model_id == MODEL


@pytest.mark.parametrize("text", [b"\xff\xfe", b"made: 2026-13-45", b"[1]", b"train: {train_steps: x}", b"{"])
def test_files_of_other_programs_are_ignored(workspace: Path, text: bytes) -> None:
    for name in ("mine", "demo-0123456789"):
        folder = workspace / "models" / name
        folder.mkdir()
        (folder / "config.yaml").write_bytes(text)
    (workspace / "models" / "other" / "config.yaml").mkdir(parents=True)
    settings = request(workspace, train={"keep_checkpoint_max": 7}).config
    for damage in ("[]", "null", '{"step": null}', '{"step": 1e400}', "{"):
        (workspace / "models" / MODEL / "progress.json").write_text(damage, encoding="utf-8")
        assert made_before(settings, DATASET, "", None) == MODEL


def test_files_without_an_end_are_ignored(workspace: Path) -> None:
    pipe, huge = (workspace / "models" / name / "config.yaml" for name in ("pipe", "huge"))
    pipe.parent.mkdir()
    huge.parent.mkdir()
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    settings = request(workspace, train={"keep_checkpoint_max": 7}).config
    assert made_before(settings, DATASET, "", None) == MODEL


@pytest.mark.parametrize(
    ("name", "setting"), [("exp", ""), ("demo-0123456789", "random_seed: 99"), ("demo-0123456789", "")]
)
def test_a_training_of_the_users_own_is_not_taken(workspace: Path, name: str, setting: str) -> None:
    """It has no name of ours, or other data settings, or it is a copy whose settings name another folder."""
    models = workspace / "models"
    shutil.move(models / MODEL, models / name)
    config = models / name / "config.yaml"
    if setting:
        text = config.read_text(encoding="utf-8").replace(MODEL, name)
        config.write_text(text.replace("random_seed: 34", setting), encoding="utf-8")
    assert request(workspace, train={"keep_checkpoint_max": 7}).model_id not in (name, MODEL)


def test_a_model_of_another_preset_is_another(workspace: Path) -> None:
    config = replace(resolve(load_yaml(workspace.parent / "run.yaml")), preset="qarib")
    assert prepare_training(config, DATASET).model_id.startswith("qarib-")


def test_measuring_the_promoted_model_otherwise_does_not_demote_it(workspace: Path) -> None:
    run = request(workspace)
    assert promote(run).state == "promoted"
    measured = request(workspace, evaluate={"max_eval_steps": 1})
    for command in ("evaluate", "export"):
        work(pipeline.trainer_work(measured, command))
    assert promote(measured).state == "promoted"
    assert promote(run).state == "promoted"

"""Weights & Biases: its real client writes files, without its service.

Covers qarib_tasks/tracking/publish.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qarib_tasks.config.deployment.tracking import Tracking
from qarib_tasks.tracking.model import Folder, read_model
from qarib_tasks.tracking.publish import environment_credentials, publish, trackers
from qarib_tasks.tracking.tracker import Credentials, State
from qarib_tasks.tracking.wandb_offline import BLOCK, HEADER, PART, STEP, records, rows, written_summary
from tests.support.tracking.models import make_model, write_evaluation, write_history

MODEL = "demo-00000000bb"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[State], int]:
    """Publishes the model of the test."""
    monkeypatch.setenv("WANDB_MODE", "online")  # which the tracker does not follow
    job, folder = make_model(tmp_path)

    def publish_again(state: State) -> int:
        (tracker,) = trackers(Tracking(wandb=str(tmp_path / "out")), Credentials())
        return publish(read_model(job, [Folder(folder)], folder.name), tracker, state)

    return publish_again


def steps(tmp_path: Path) -> list[int]:
    return [step for step, _ in rows(tmp_path / "out", MODEL)]


def test_a_training_that_fails_and_resumes_has_each_step_once(
    tmp_path: Path, published: Callable[[State], int]
) -> None:
    folder = tmp_path / "models" / MODEL
    write_history(folder, 1, 100, 200)
    write_evaluation(folder, 100)
    published("failed")
    # The last one is kept back: the evaluation after it would be of the same step.
    assert steps(tmp_path) == [1, 100]
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.wandb")}
    published("failed")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.wandb")} == written

    write_history(folder, 1, 100)  # resumed from an older checkpoint
    published("failed")
    assert steps(tmp_path) == [1, 100]
    write_history(folder, 1, 100, 200, 300, state="finished")
    write_evaluation(folder, 300)
    published("finished")
    assert steps(tmp_path) == [1, 100, 200, 300]
    found = dict(rows(tmp_path / "out", MODEL))
    assert {step: json.loads(values[STEP]) for step, values in found.items()} == {s: s for s in found}
    assert json.loads(found[100]["evaluation/loss"]) == json.loads(found[300]["evaluation/loss"]) == 2.0
    assert json.loads(found[200]["train/loss"]) == 10.0 / 200
    names = {"qarib.model": "", "qarib.state": ""}
    assert written_summary(tmp_path / "out", MODEL, names) == {
        "qarib.model": f"{folder}/",
        "qarib.state": "finished",
    }
    assert published("finished") == 0
    assert steps(tmp_path) == [1, 100, 200, 300]


def test_other_files_in_the_folder_stay(tmp_path: Path, published: Callable[[State], int]) -> None:
    write_history(tmp_path / "models" / MODEL, 1, 100, state="finished")
    names = ("latest-run", "debug.log", "debug-internal.log", "settings", "notes.txt", "wandb/debug.log")
    files = [tmp_path / "out" / part / name for part in (".", "wandb") for name in names]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a user's")
    published("finished")
    assert steps(tmp_path) == [1, 100]
    assert [path for path in files if path.is_symlink() or path.read_text() != "a user's"] == []


def test_records_longer_than_a_block_and_a_file_that_a_kill_cut_off() -> None:
    """As LevelDB writes them: complete ones, in parts, and zeros where no part fits."""
    parts = [(1, b"a" * (BLOCK - HEADER - 2 * PART - 3)), (2, b""), (4, b"bb"), (1, b"c")]
    data = b"x" * HEADER
    for kind, part in parts[:1]:
        data += bytes(4) + len(part).to_bytes(2, "little") + bytes([kind]) + part
    data += bytes(BLOCK - len(data) % BLOCK) if BLOCK - len(data) % BLOCK < PART else b""
    for kind, part in parts[1:]:
        data += bytes(4) + len(part).to_bytes(2, "little") + bytes([kind]) + part
        if BLOCK - len(data) % BLOCK < PART:
            data += bytes(BLOCK - len(data) % BLOCK)
    assert list(records(data)) == [parts[0][1], b"bb", b"c"]
    assert list(records(data[:-1])) == [parts[0][1], b"bb"]
    assert list(records(data[:3])) == []


def test_the_credentials_are_those_of_mlflows_own_client() -> None:
    assert environment_credentials({}) == Credentials()
    both = {"MLFLOW_TRACKING_USERNAME": "someone", "MLFLOW_TRACKING_PASSWORD": "s"}
    assert environment_credentials(both) == Credentials("someone", "s")
    assert environment_credentials(both | {"MLFLOW_TRACKING_TOKEN": "t"}) == Credentials("", "t")

"""What became of a training, by its tasks; publishing while it trains, and a tracker that is down.

Covers plugins/qarib_airflow/reporting/tracking.py.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from qarib_airflow.reporting import tracking
from qarib_airflow.tasks.tracking import state_of

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.storage.bucket import Bucket, default_client
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.machine.startup import BucketFile
from qarib_tasks.tracking.model import Folder, TrackedModel, read_model
from qarib_tasks.tracking.tracker import Credentials
from tests.support.airflow import interpreter
from tests.support.tracking.models import make_model, write_evaluation, write_history

DOWN = "mlflow: http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("train", "evaluate", "export", "state"),
    [
        ("success", "success", "success", "finished"),
        ("failed", "upstream_failed", "upstream_failed", "failed"),
        ("success", "failed", "upstream_failed", "failed"),
        ("success", "success", "failed", "failed"),
        ("upstream_failed", "upstream_failed", "upstream_failed", None),
        ("skipped", "skipped", "skipped", None),
        (None, None, None, None),
    ],
)
def test_the_state_of_a_training(train: str, evaluate: str, export: str, state: str | None) -> None:
    assert state_of({"train": train, "evaluate": evaluate, "export": export}) == state


def test_a_tracker_that_is_down_is_a_warning_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QARIB_TRACKING", DOWN)
    monkeypatch.setattr(tracking, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr("qarib_tasks.tracking.mlflow.TRIES", 1)
    job, folder = make_model(tmp_path)
    write_history(folder, 1)
    read, first = threading.Event(), threading.Event()

    def model() -> TrackedModel:
        read.set()
        first.wait()
        return read_model(job, [Folder(folder)], folder.name)

    live = tracking.Live(model, Credentials)
    with caplog.at_level(logging.WARNING):
        live.poke()  # Returns at once, also while the tracker does not answer.
        assert read.wait(30)
        thread = live._thread
        live.poke()
        assert live._thread is thread
        first.set()
        for _ in range(2):
            assert live._thread
            live._thread.join(30)
            live.poke()
    assert live._thread is not thread
    lines = [record.getMessage() for record in caplog.records if record.name == tracking.log.name]
    assert len(lines) == 1
    assert "trying again later: " in lines[0]
    assert "MLflow does not answer" in lines[0]


def test_without_a_tracker_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QARIB_TRACKING", raising=False)

    def never() -> TrackedModel:
        raise AssertionError

    live = tracking.Live(never, lambda: pytest.fail("asked for credentials"))
    live.poke()
    assert live._thread is None


def test_the_connection_has_the_credentials_or_else_the_environment() -> None:
    code = (
        "from qarib_airflow.reporting.tracking import credentials; c = credentials(); print(c.user, c.secret)"
    )
    connection = '{"conn_type": "http", "login": "someone", "password": "s"}'
    assert interpreter.printed(code, AIRFLOW_CONN_QARIB_MLFLOW=connection) == "someone s"
    assert interpreter.printed(code, MLFLOW_TRACKING_TOKEN="t").strip() == "t"


def test_the_dags_have_the_task_only_if_there_is_a_tracker() -> None:
    code = "from qarib_pretrain import DAG; task = DAG.task_dict.get('track'); "
    code += "print(task and (sorted(task.upstream_task_ids), task.trigger_rule.value))"
    assert interpreter.printed(code, QARIB_TRACKING="") == "None"
    assert interpreter.printed(code, QARIB_TRACKING=DOWN) == "(['export'], 'all_done')"


def test_a_training_on_a_tpu_is_read_from_its_bucket(bucket_name: str, tmp_path: Path) -> None:
    job, folder = make_model(tmp_path, publish_to=f"gs://{bucket_name}/models/demo-00000000bb/")
    write_history(folder, 1, 100)
    write_evaluation(folder, 100)
    objects = Bucket(f"gs://{bucket_name}/")
    for path in folder.rglob("*.json*"):
        objects.upload(path, f"models/{folder.name}/{path.relative_to(folder).as_posix()}")
    objects.upload(folder / "config.yaml", "launch/0123/config.yaml")
    file = BucketFile.of(folder / "config.yaml", "launch/0123/config.yaml")
    tpu_job = TpuJob(
        run_id="run",
        owner="somebody",
        address=f"gs://{bucket_name}/models/{folder.name}/tpu/run/",
        tpu=TpuConfig(zones=("us-west4-a",)),
        arguments=(),
        wheel=file,
        requirements=file,
        files=(replace(file, path=f"models/{folder.name}/config.yaml"),),
        progress=f"gs://{bucket_name}/models/{folder.name}/progress.json",
    )
    model = tracking.live_of_tpu(tpu_job, default_client())._read()
    assert model == read_model(job, [Folder(folder)], folder.name)
    assert model.model_id == folder.name
    assert [point.step for point in model.points] == [1, 100, 100]

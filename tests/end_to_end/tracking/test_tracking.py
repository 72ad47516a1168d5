"""Trainings in a real Airflow, followed by a real MLflow: one is killed once, one loses its TPUs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import LocalStack
from playwright.sync_api import sync_playwright

from qarib_tasks.layout import MEMORY
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tracking.mlflow import MODEL_TAG
from qarib_tasks.tracking.wandb_offline import rows
from tests.support.airflow_runs import LOCAL, TINY
from tests.support.tracking.mlflow_server import active, metric, mlflow_server, names, steps

pytestmark = pytest.mark.slow
STEPS = {"train_steps": 600, "num_warmup_steps": 3, "save_checkpoints_steps": 100, "xla": "false"}
TOKEN = "a-token-that-nothing-shows"
SECONDS = 120_000


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """The MLflow server, so that a test can stop it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def address(home: Path, servers: ExitStack) -> str:
    return servers.enter_context(mlflow_server(home / "mlflow"))


@pytest.fixture
def stack(
    home: Path, address: str, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStack]:
    connection = {"conn_type": "http", "password": TOKEN}
    environment = {
        "QARIB_TRACKING": json.dumps({"mlflow": address, "wandb": str(home / "runs")}),
        "AIRFLOW_CONN_QARIB_MLFLOW": json.dumps(connection),
        "QARIB_RETRY_SECONDS": "1",
        "QARIB_PROGRESS_SECONDS": "1",
    }
    with LocalStack(home / "airflow", environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def wait(stack: LocalStack, reached: Callable[[], Any]) -> Any:
    while not (result := reached()):
        stack.check()
        time.sleep(0.2)
    return result


def finished(stack: LocalStack, run_id: str) -> str:
    ended = ("success", "failed")
    wait(stack, lambda: stack.run(demo.DAG, run_id)["state"] in ended)
    return str(stack.run(demo.DAG, run_id)["state"])


def task_of(stack: LocalStack, run_id: str, name: str) -> dict[str, Any]:
    return next(t for t in stack.task_instances(demo.DAG, run_id) if t["task_id"] == name)


def tracked(address: str, run: Run) -> dict[str, Any] | None:
    found = [one for one in active(address) if names(one, "tags").get(MODEL_TAG) == run.model_id]
    assert len(found) <= 1
    return found[0] if found else None


def history(run: Run) -> list[tuple[int, float]]:
    lines = map(json.loads, run.model.history.read_text(encoding="utf-8").splitlines())
    return [(line["step"], line["loss"]) for line in lines]


def in_bucket(run: Run) -> list[tuple[int, float]]:
    """The history of a training on a TPU, up to its last checkpoint."""
    text = Bucket(f"{run.address}{run.model.name}").read_text("bert_model/history.jsonl") or ""
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def memory(run: Run) -> dict[str, Any]:
    """What the run knows of its TPU."""
    bucket = Bucket(f"{run.address}{run.model.name}")
    (name,) = [name for name in bucket.list("") if name.endswith(MEMORY)]
    return dict(json.loads(bucket.read_text(name) or ""))


def lose_tpus(stack: LocalStack, number: int) -> None:
    """Have the first TPUs of a run be preempted, as soon as they have trained a step."""
    faults = [{"kind": "preempt", "at_step": 1, "match": f"*-{one}"} for one in range(1, number + 1)]
    stack.tpu_faults.write_text(json.dumps({"scale": 0.01, "faults": faults}), encoding="utf-8")


def published_live(stack: LocalStack, address: str, run: Run, after: int) -> None:
    """Wait until the tracker has a later step of a training that runs."""

    def reached() -> bool:
        found = tracked(address, run)
        assert found is None or found["info"]["status"] == "RUNNING"
        return bool(found and steps(address, found, "train/loss")[-1:] > [after])

    wait(stack, reached)


def step_of(run: Run) -> int:
    return int(json.loads(run.model.progress.read_text())["step"]) if run.model.progress.is_file() else 0


CURVES = (
    "() => [...document.querySelectorAll('.js-plotly-plot')]"
    ".flatMap(plot => (plot.data || []).map(curve => [...(curve.x || [])].map(Number)))"
)


def drawn(address: str, run: dict[str, Any], points: int, image: Path) -> list[list[int]]:
    """The steps of the curves that MLflow's page of a run draws, once one has so many points."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is not installed: apt-get install chromium"
    info = run["info"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # MLflow draws only what is in sight: all charts are.
        page = browser.new_page(viewport={"width": 1440, "height": 4000})
        page.goto(f"{address}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}/model-metrics")
        drawing = f"({CURVES})().some(curve => curve.length >= {points})"
        page.wait_for_function(drawing, timeout=SECONDS)
        page.screenshot(path=image)
        curves: list[list[int]] = page.evaluate(CURVES)
        browser.close()
    return [curve for curve in curves if len(curve) > 1]


def test_a_training_that_is_killed_and_one_that_loses_its_tpus(
    stack: LocalStack, address: str, servers: ExitStack, home: Path
) -> None:
    run_id = stack.trigger(demo.DAG, LOCAL | STEPS)
    wait(stack, lambda: task_of(stack, run_id, "train")["state"] == "running")
    run = demo.read_run(stack, run_id)
    wait(stack, lambda: step_of(run) > 150)
    trainer = json.loads((run.model.root / "train.process.json").read_text())["pid"]
    os.killpg(trainer, signal.SIGSTOP)  # so that it does not end before its steps are published
    wait(stack, lambda: (found := tracked(address, run)) and steps(address, found, "train/loss")[-1:] > [100])
    first = tracked(address, run)
    assert first
    assert first["info"]["status"] == "RUNNING"
    os.killpg(trainer, signal.SIGKILL)  # it resumes from step 100, which is before what is published
    assert finished(stack, run_id) == "success"
    assert task_of(stack, run_id, "train")["try_number"] == 2
    assert json.loads(run.model.progress.read_text())["resumed"]

    last = tracked(address, run)
    assert last
    assert last["info"]["run_id"] == first["info"]["run_id"]
    assert last["info"]["status"] == "FINISHED"
    made = history(run)
    assert len(made) > 100
    assert [step for step, _ in made] == steps(address, last, "train/loss")
    # What was published before the kill stays: the training repeats these steps with the same result.
    assert metric(address, last, "train/loss") == [(step, pytest.approx(loss)) for step, loss in made]
    assert steps(address, last, "evaluation/masked_lm_loss") == [*range(0, 601, 100)]
    tags = names(last, "tags")
    assert tags["qarib.dataset"] == f"{run.address}{run.dataset.name}"
    assert tags["qarib.export"] == f"{run.address}{run.model.name}export/"
    assert names(last, "params")["train.train_steps"] == "600"
    curves = drawn(address, last, len(made), home / "mlflow.png")
    assert [step for step, _ in made] in curves, curves
    assert all(curve == sorted(set(curve)) for curve in curves)
    written = [step for step, _ in rows(home / "runs", run.model_id)]
    assert written == [0, *(step for step, _ in made)]  # the first evaluation is of step 0

    # On a TPU, the triggerer publishes. The first is lost and replaced; the second's loss ends the training,
    # which would take longer than the test.
    lose_tpus(stack, 0)
    lost = stack.trigger(demo.DAG, TINY | STEPS | {"train_steps": 1_000_000, "max_preemptions": 1})
    wait(stack, lambda: task_of(stack, lost, "train")["state"] == "deferred")
    other = demo.read_run(stack, lost)
    published_live(stack, address, other, after=0)
    lose_tpus(stack, 1)
    wait(stack, lambda: (now := memory(other))["attempt"] == 2 and now["phase"] == "running")
    published_live(stack, address, other, after=in_bucket(other)[-1][0])
    lose_tpus(stack, 2)
    assert finished(stack, lost) == "failed"
    assert memory(other)["preemptions"] == 2
    assert task_of(stack, lost, "train")["state"] == "failed"
    assert task_of(stack, lost, "track")["state"] == "success"
    found = tracked(address, other)
    assert found
    assert found["info"]["status"] == "FAILED"
    made = in_bucket(other)
    assert [step for step, _ in made] == sorted({step for step, _ in made})
    assert metric(address, found, "train/loss") == [(step, pytest.approx(loss)) for step, loss in made]

    # A tracker that is down is a task that is skipped, with the reason.
    servers.close()
    body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, "task_ids": ["track"]}
    stack.api("POST", f"dags/{demo.DAG}/clearTaskInstances", json=body | {"reset_dag_runs": True})
    assert finished(stack, run_id) == "success"
    assert task_of(stack, run_id, "track")["state"] == "skipped"
    log = stack.task_log(task_of(stack, run_id, "track"))
    assert "Not published: " in log
    assert "MLflow does not answer: ConnectionError" in log

    holding = [path for path in (*stack.logs.rglob("*"), *stack.workspace.rglob("*")) if path.is_file()]
    assert not [path for path in holding if TOKEN.encode() in path.read_bytes()]

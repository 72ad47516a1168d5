"""MLflow: a real server, and answers that a server gives when it is in trouble."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.deployment.tracking import Tracking
from qarib_tasks.errors import TrackerError
from qarib_tasks.tracking.mlflow import MODEL_TAG, MOST_METRICS, SETTLE_SECONDS, TRIES, MLflow
from qarib_tasks.tracking.model import Folder, read_model
from qarib_tasks.tracking.publish import publish
from qarib_tasks.tracking.tracker import Credentials, Point, State
from tests.support.tracking.mlflow_server import active, metric, mlflow_server, names, steps
from tests.support.tracking.models import make_model, write_evaluation, write_history

PARAMETERS = {"train.train_steps": "300"}
NOBODY = Credentials()


class Troubled(BaseHTTPRequestHandler):
    """Answers each request as the test says, and keeps what it was asked."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, str | None]]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, self.headers.get("Authorization")))
        status, headers, body = self.answers[min(len(self.asked), len(self.answers)) - 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def troubled() -> Iterator[tuple[str, type[Troubled]]]:
    handler = type("Handler", (Troubled,), {"answers": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def start(address: str, credentials: Credentials = NOBODY) -> list[float]:
    """Begin a run, and return the pauses between the tries."""
    pauses: list[float] = []
    MLflow(Tracking(mlflow=address), credentials, pauses.append).start("m", PARAMETERS, 0.0)
    return pauses


def test_an_error_says_what_the_server_answers_and_where(troubled: tuple[str, type[Troubled]]) -> None:
    address, handler = troubled
    handler.answers = [(403, {}, json.dumps({"error_code": "X", "message": "no\nright"}).encode())]
    with pytest.raises(TrackerError, match="MLflow answers 403: no right") as raised:
        start(address)
    assert str(raised.value.where).startswith(f"{address}/api/2.0/mlflow/experiments/get-by-name")
    assert len(handler.asked) == 1
    handler.answers = [(200, {}, b"<html>a sign-in page</html>")]
    with pytest.raises(TrackerError, match="MLflow answers 200"):
        start(address)


def test_a_server_that_is_busy_is_asked_again_a_few_times(troubled: tuple[str, type[Troubled]]) -> None:
    address, handler = troubled
    handler.answers = [(503, {}, b"busy")]
    pauses: list[float] = []
    with pytest.raises(TrackerError, match="MLflow answers 503"):
        MLflow(Tracking(mlflow=address), NOBODY, pauses.append).start("m", {}, 0.0)
    assert (len(handler.asked), pauses) == (TRIES, [2.0, 4.0])


def run_answer(run_id: str, **parameters: str) -> dict[str, Any]:
    values = [{"key": key.replace("_", ".", 1), "value": value} for key, value in parameters.items()]
    return {"info": {"run_id": run_id, "start_time": 0, "status": "RUNNING"}, "data": {"params": values}}


def test_parameters_that_another_process_adds_at_the_same_time_are_not_sent_again(
    troubled: tuple[str, type[Troubled]],
) -> None:
    address, handler = troubled
    conflict = {"error_code": "BAD_REQUEST", "message": "(sqlite3.IntegrityError) UNIQUE constraint failed"}
    told = [
        (200, {"experiment": {"experiment_id": "1"}}),
        (200, {"runs": [run_answer("a")]}),
        (400, conflict),
        (200, {"runs": [run_answer("a", train_train_steps="300")]}),
    ]
    handler.answers = [(status, {}, json.dumps(body).encode()) for status, body in told]
    assert start(address) == [SETTLE_SECONDS]
    assert [path.rsplit("/", 1)[1] for path, _ in handler.asked][2:] == ["log-batch", "search"]
    # Refused again and again, it is an error.
    handler.asked.clear()
    handler.answers = handler.answers[:1] + TRIES * handler.answers[1:3]
    with pytest.raises(TrackerError, match="MLflow answers 400"):
        start(address)
    assert len(handler.asked) == 1 + 2 * TRIES


def test_of_two_runs_created_at_the_same_time_the_second_is_deleted(
    troubled: tuple[str, type[Troubled]],
) -> None:
    address, handler = troubled
    told: list[dict[str, Any]] = [
        {"experiment": {"experiment_id": "1"}},
        {"runs": []},
        {"run": run_answer("b")},
        {"runs": [run_answer("a", train_train_steps="300")]},
        {},
    ]
    handler.answers = [(200, {}, json.dumps(body).encode()) for body in told]
    assert start(address) == [SETTLE_SECONDS]
    assert [path.rsplit("/", 1)[1] for path, _ in handler.asked][2:] == ["create", "search", "delete"]


def test_no_server_is_an_error_without_a_traceback_of_the_library(
    troubled: tuple[str, type[Troubled]],
) -> None:
    pauses: list[float] = []
    with pytest.raises(TrackerError, match="MLflow does not answer: ConnectionError") as raised:
        MLflow(Tracking(mlflow="http://127.0.0.1:9"), NOBODY, pauses.append).start("m", {}, 0.0)
    assert raised.value.__suppress_context__
    assert len(pauses) == TRIES - 1


def test_the_token_is_sent_to_no_other_address(troubled: tuple[str, type[Troubled]]) -> None:
    address, handler = troubled
    handler.answers = [(302, {"Location": f"{address}/elsewhere"}, b"")]
    with pytest.raises(TrackerError, match="MLflow answers 302") as raised:
        start(address, Credentials(secret="hidden"))
    assert [authorization for _, authorization in handler.asked] == ["Bearer hidden"]
    assert "hidden" not in str(raised.value)
    handler.asked.clear()
    with pytest.raises(TrackerError):
        start(address, Credentials("someone", "hidden"))
    assert [authorization for _, authorization in handler.asked] == ["Basic c29tZW9uZTpoaWRkZW4="]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


def tracker(address: str, experiment: str) -> MLflow:
    return MLflow(Tracking(mlflow=address, experiment=experiment), NOBODY)


def of_model(address: str, model: str) -> dict[str, Any]:
    (run,) = [run for run in active(address) if names(run, "tags").get(MODEL_TAG) == model]
    return run


@pytest.mark.slow
def test_a_training_that_returns_to_an_older_checkpoint_has_each_step_once(
    server: str, tmp_path: Path
) -> None:
    job, folder = make_model(tmp_path)

    def again(state: State) -> int:
        # Each time by a process of its own, which knows nothing of those before.
        return publish(read_model(job, [Folder(folder)], folder.name), tracker(server, "resumed"), state)

    write_history(folder, 1, 100, 200)
    write_evaluation(folder, 100)
    assert again("running") == 3 * 5 + 7
    run = of_model(server, folder.name)
    assert run["info"]["status"] == "RUNNING"
    assert again("running") == 0
    write_history(folder, 1, 100)
    assert again("failed") == 0
    assert of_model(server, folder.name)["info"]["status"] == "FAILED"
    assert steps(server, run, "train/loss") == [1, 100, 200]
    write_history(folder, 1, 100, 200, 250)
    assert again("running") == 5
    assert of_model(server, folder.name)["info"]["status"] == "RUNNING"
    write_history(folder, 1, 100, 200, 250, state="stopped")
    assert again("killed") == 0
    assert of_model(server, folder.name)["info"]["status"] == "KILLED"
    write_history(folder, 1, 100, 200, 250, 300, state="finished")
    write_evaluation(folder, 300)
    assert again("finished") == 5 + 7
    assert again("finished") == 0

    last = of_model(server, folder.name)
    assert last["info"]["run_id"] == run["info"]["run_id"]
    assert last["info"]["status"] == "FINISHED"
    assert metric(server, last, "train/loss") == [(s, 10.0 / s) for s in (1, 100, 200, 250, 300)]
    assert steps(server, last, "evaluation/loss") == [100, 300]
    assert steps(server, last, "task/emoji corpus") == [100, 300]
    assert names(last, "params")["train.train_batch_size"] == "8"
    assert names(last, "tags")["qarib.model"] == f"{folder}/"


@pytest.mark.slow
def test_what_is_sent_twice_is_there_once(server: str) -> None:
    """As when a process is killed after the server has taken a request, and before it knows of it."""
    one = tracker(server, "twice")
    one.start("twice-0000000000", PARAMETERS, 1e9)
    points = [Point(step, step / 2, {"train/loss": 1.0 / step}) for step in range(1, 2 * MOST_METRICS)]
    one.metrics(points)
    one.metrics(points[MOST_METRICS // 2 :])
    run = of_model(server, "twice-0000000000")
    assert steps(server, run, "train/loss") == list(range(1, 2 * MOST_METRICS))
    assert one.start("twice-0000000000", PARAMETERS, 2e9) == {"train/loss": 2 * MOST_METRICS - 1}


class Settled:
    """The pauses of processes that begin at once: until each has created a run, or has ended.

    On a busy machine, the server needs longer than the real pause.
    """

    def __init__(self, number: int) -> None:
        self.begin = threading.Barrier(number)
        self._missing = set(range(number))
        self._changed = threading.Condition()

    def arrived(self, number: int) -> None:
        with self._changed:
            self._missing.discard(number)
            self._changed.notify_all()

    def pause(self, number: int, seconds: float) -> None:
        if seconds != SETTLE_SECONDS:  # The server is busy.
            time.sleep(seconds)
            return
        self.arrived(number)
        with self._changed:
            assert self._changed.wait_for(lambda: not self._missing, timeout=600)


@pytest.mark.slow
def test_processes_that_begin_at_once_have_one_run(server: str) -> None:
    many = {f"train.{number}": str(number) for number in range(150)}
    tracking = Tracking(mlflow=server, experiment="at once")
    for model in ("first-0000000000", "second-0000000000", "third-0000000000"):
        settled = Settled(8)

        def begin(number: int, model: str = model, settled: Settled = settled) -> None:
            settled.begin.wait()
            try:
                one = MLflow(tracking, NOBODY, partial(settled.pause, number))
                one.start(model, many, float(number))
            finally:
                settled.arrived(number)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(begin, range(8)))
        assert names(of_model(server, model), "params") == many
        assert tracker(server, "at once").start(model, many, 0.0) == {}


@pytest.mark.slow
def test_a_server_that_dies_and_returns_lacks_nothing(tmp_path: Path) -> None:
    from ports import free_ports

    job, folder = make_model(tmp_path)
    write_history(folder, 1, 100)
    (port,) = free_ports(1)
    model = read_model(job, [Folder(folder)], folder.name)
    with mlflow_server(tmp_path / "mlflow", port) as address:
        publish(model, tracker(address, "dies"), "running")
    write_history(folder, 1, 100, 200, state="finished")
    model = read_model(job, [Folder(folder)], folder.name)
    with pytest.raises(TrackerError, match="does not answer"):
        publish(model, MLflow(Tracking(mlflow=address), NOBODY, lambda _: None), "finished")
    with mlflow_server(tmp_path / "mlflow", port) as address:
        publish(model, tracker(address, "dies"), "finished")
        run = of_model(address, folder.name)
        assert steps(address, run, "train/loss") == [1, 100, 200]
        assert run["info"]["status"] == "FINISHED"

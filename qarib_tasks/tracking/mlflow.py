"""MLflow over its REST API: the package `mlflow` is not needed (ADR 0017)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from qarib_tasks.config.deployment.tracking import Tracking
from qarib_tasks.errors import TrackerError
from qarib_tasks.tracking.tracker import Credentials, Point, State

T = TypeVar("T")
# By which a model's run is found again.
MODEL_TAG = "qarib.model_id"
SECONDS = (5.0, 30.0)  # to connect, and to wait for an answer
TRIES = 3
PASSES = (429, 502, 503, 504)
# Processes that begin one model's run at the same time have created theirs by then.
SETTLE_SECONDS = 1.0
# What the server takes in a request, and of a value.
MOST_METRICS, MOST_OTHERS, MOST_CHARACTERS = 1000, 100, 5000
STATES: Mapping[State, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
}


class Refused(TrackerError):
    """The server answers, and not with what was asked for."""


class MLflow:
    """A server. The last step that it has of each metric decides what is sent.

    Args:
        pause: waits so many seconds between two tries.
    """

    name = "MLflow"

    def __init__(
        self, tracking: Tracking, credentials: Credentials, pause: Callable[[float], None] = time.sleep
    ) -> None:
        import requests

        self._address, self._experiment, self._pause = tracking.mlflow, tracking.experiment, pause
        self._http: Any = requests.Session()
        if credentials.user:
            self._http.auth = (credentials.user, credentials.secret)
        elif credentials.secret:
            self._http.headers["Authorization"] = f"Bearer {credentials.secret}"
        self._run: Mapping[str, Any] = {}

    def start(self, run_id: str, parameters: Mapping[str, str], began: float) -> Mapping[str, int]:
        """See `Tracker`. The run is found by a tag, so that it is the same after a restart."""
        experiment = self._experiment_id()
        # Each request with parameters can meet those of another process once.
        tries = TRIES + len(parameters) // MOST_OTHERS
        for tried in range(1, tries + 1):
            self._run = self._found(experiment, run_id) or self._created(experiment, run_id, began)
            try:
                self._add_parameters(parameters)
                break
            except Refused:
                # Another process has added the same parameters since this one read the run,
                # or has deleted the run because two were created.
                if tried == tries:
                    raise
                self._pause(SETTLE_SECONDS)
        return {one["key"]: int(one["step"]) for one in self._data("metrics")}

    def metrics(self, points: Sequence[Point]) -> None:
        """See `Tracker`. A value that is sent twice has the same time, and the server keeps one of them."""
        began = int(self._run["info"]["start_time"])
        values = (
            {"key": key, "value": value, "step": point.step, "timestamp": began + round(point.seconds * 1000)}
            for point in points
            for key, value in point.values.items()
        )
        for part in _parts(values, MOST_METRICS):
            self._post("runs/log-batch", run_id=self._id, metrics=part)

    def artefacts(self, addresses: Mapping[str, str]) -> None:
        """See `Tracker`: as tags."""
        known = {one["key"]: one["value"] for one in self._data("tags")}
        tags = [
            {"key": f"qarib.{name}", "value": value[:MOST_CHARACTERS]}
            for name, value in addresses.items()
            if known.get(f"qarib.{name}") != value[:MOST_CHARACTERS]
        ]
        if tags:
            self._post("runs/log-batch", run_id=self._id, tags=tags)

    def state(self, state: State, at: float) -> None:
        """See `Tracker`."""
        if self._run["info"]["status"] != STATES[state]:
            ended = {} if state == "running" else {"end_time": round(at * 1000)}
            self._post("runs/update", run_id=self._id, status=STATES[state], **ended)

    @property
    def _id(self) -> str:
        return str(self._run["info"]["run_id"])

    def _data(self, name: str) -> list[dict[str, Any]]:
        return list(self._run["data"].get(name, ()))

    def _experiment_id(self) -> str:
        query = {"experiment_name": self._experiment}
        found = self._call("GET", "experiments/get-by-name", query, absent="RESOURCE_DOES_NOT_EXIST")
        if found is None:
            try:
                return str(self._post("experiments/create", name=self._experiment)["experiment_id"])
            except Refused:  # Another process can have created it meanwhile.
                found = self._call("GET", "experiments/get-by-name", query)
        return str(found["experiment"]["experiment_id"])

    def _add_parameters(self, parameters: Mapping[str, str]) -> None:
        known = {one["key"] for one in self._data("params")}
        new = [
            {"key": key, "value": value[:MOST_CHARACTERS]}
            for key, value in parameters.items()
            if key not in known
        ]
        for part in _parts(new, MOST_OTHERS):
            self._post("runs/log-batch", run_id=self._id, params=part)

    def _found(self, experiment: str, run_id: str) -> Mapping[str, Any] | None:
        """The oldest run of the model; None if there is none."""
        runs = self._post(
            "runs/search",
            experiment_ids=[experiment],
            filter=f"tags.`{MODEL_TAG}` = '{run_id}'",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=1,
        ).get("runs", ())
        return dict(runs[0]) if runs else None

    def _created(self, experiment: str, run_id: str, began: float) -> Mapping[str, Any]:
        tags = {MODEL_TAG: run_id, "mlflow.source.name": "qarib", "mlflow.source.type": "JOB"}
        made = self._post(
            "runs/create",
            experiment_id=experiment,
            run_name=run_id,
            start_time=round(began * 1000),
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )["run"]
        self._pause(SETTLE_SECONDS)
        first = self._found(experiment, run_id) or made
        if first["info"]["run_id"] != made["info"]["run_id"]:  # Another process has created it, too.
            self._post("runs/delete", run_id=made["info"]["run_id"])
        return dict(first)

    def _post(self, call: str, **body: Any) -> Any:
        return self._call("POST", call, body)

    def _call(self, method: str, call: str, values: Mapping[str, Any], absent: str = "") -> Any:
        """Return the answer; None if it is the error `absent`.

        Raises:
            TrackerError: there is no answer, or it is an error.
        """
        import requests

        url = f"{self._address}/api/2.0/mlflow/{call}"
        given = {"params" if method == "GET" else "json": dict(values)}
        for tried in range(1, TRIES + 1):
            try:
                # A token must not follow a redirection.
                answer = self._http.request(method, url, timeout=SECONDS, allow_redirects=False, **given)
            except requests.RequestException as error:
                if tried == TRIES:
                    raise self._error(f"does not answer: {type(error).__name__}", url) from None
            else:
                if answer.status_code not in PASSES or tried == TRIES:
                    break
            self._pause(2.0**tried)
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.status_code == 200 and isinstance(body, dict):
            return body
        fault = body if isinstance(body, dict) else {}
        if absent and fault.get("error_code") == absent:
            return None
        what = " ".join(str(fault.get("message") or answer.reason).split())[:300]
        raise self._error(f"answers {answer.status_code}: {what}", url, Refused)

    @staticmethod
    def _error(what: str, url: str, kind: type[TrackerError] = TrackerError) -> TrackerError:
        do = "Check the server and its credentials, then use `qarib track`"
        return kind(f"MLflow {what}", where=url, do=do)


def _parts(values: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(values)
    while part := list(islice(iterator, size)):
        yield part

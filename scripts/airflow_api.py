"""Airflow's REST API, as the scripts that start an Airflow use it."""

from __future__ import annotations

import time
from typing import Any

# Generous: a part that ended is noticed at once, this is for a machine that is busy otherwise.
START_SECONDS = 600.0


class StackError(Exception):
    """The stack cannot start, or a part of it ended; one line for a person."""


class AirflowApi:
    """Calls of an Airflow; who inherits gives `check`, and calls `log_in` once it answers."""

    _client: Any = None

    def log_in(self, client: Any, user: str, password: str) -> None:
        """Use this `httpx.Client` from now on, with a token of Airflow's."""
        self._client = client
        answer = client.post("/auth/token", json={"username": user, "password": password})
        answer.raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def check(self) -> None:
        """Raise StackError if a part of the stack has ended."""
        raise NotImplementedError

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call Airflow's REST API below /api/v2/ and give the JSON that it answers."""
        answer = self._client.request(method, f"/api/v2/{path}", **arguments)
        if answer.is_error:
            raise StackError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run, once the DAG is parsed; gives its run_id."""
        deadline = time.monotonic() + START_SECONDS
        while not self.api("GET", "dags", params={"dag_id_pattern": dag_id})["dags"]:
            self.check()
            if errors := self.api("GET", "importErrors")["import_errors"]:
                raise StackError(f"{errors[0]['filename']}: {errors[0]['stack_trace']}")
            if time.monotonic() > deadline:
                raise StackError(f"the DAG {dag_id} was not found in {START_SECONDS:.0f} s")
            time.sleep(0.2)
        run = self.api("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The run as the REST API gives it; `state` is queued, running, success or failed."""
        self.check()
        return dict(self.api("GET", f"dags/{dag_id}/dagRuns/{run_id}"))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Every task instance of a run."""
        tasks: list[dict[str, Any]] = []
        while True:
            page = self.api(
                "GET",
                f"dags/{dag_id}/dagRuns/{run_id}/taskInstances",
                params={"limit": 100, "offset": len(tasks), "order_by": "id"},
            )
            tasks += page["task_instances"]
            if len(tasks) >= page["total_entries"] or not page["task_instances"]:
                return tasks

    def task_log(self, task: dict[str, Any]) -> str:
        """What a task instance has logged in its latest try, a line a message."""
        path = "dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}".format(**task)
        answer = self.api("GET", path, params={"map_index": task["map_index"], "full_content": True})
        lines = []
        for line in answer["content"]:
            lines.append(line if isinstance(line, str) else line["event"])
            for error in [] if isinstance(line, str) else line.get("error_detail") or []:
                lines.append(f"{error['exc_type']}: {error['exc_value']}")
        return "\n".join(lines)

"""A client of Airflow's REST API, for the scripts that start an Airflow."""

from __future__ import annotations

import time
from typing import Any

# Long, for a busy machine: a component that ended is noticed at once.
START_SECONDS = 600.0


class StackError(Exception):
    """The stack cannot start, or one of its components ended. The message is one line for the user."""


class AirflowApi:
    """Calls Airflow's REST API. A subclass defines `check`, and calls `log_in` when Airflow answers."""

    _client: Any = None

    def log_in(self, client: Any, user: str, password: str) -> None:
        """Get a token from Airflow, and use this `httpx.Client` with it for all later calls."""
        self._client = client
        answer = client.post("/auth/token", json={"username": user, "password": password})
        answer.raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def check(self) -> None:
        """Raise StackError if a component of the stack ended."""
        raise NotImplementedError

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call Airflow's REST API below /api/v2/, and return its JSON; None if it answers nothing."""
        answer = self._client.request(method, f"/api/v2/{path}", **arguments)
        if answer.is_error:
            raise StackError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Wait until the DAG is parsed, start a run, and return its run_id."""
        deadline = time.monotonic() + START_SECONDS
        while not self.api("GET", "dags", params={"dag_id_pattern": dag_id})["dags"]:
            self.check()
            if errors := self.api("GET", "importErrors")["import_errors"]:
                raise StackError(f"{errors[0]['filename']}: {errors[0]['stack_trace']}")
            if time.monotonic() > deadline:
                raise StackError(f"Airflow did not find the DAG {dag_id} within {START_SECONDS:.0f} s")
            time.sleep(0.2)
        run = self.api("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return the run from the REST API; `state` is queued, running, success, or failed."""
        self.check()
        return dict(self.api("GET", f"dags/{dag_id}/dagRuns/{run_id}"))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return every task instance of a run."""
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
        """Return the log of a task instance's latest try, one line per message."""
        path = "dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}".format(**task)
        answer = self.api("GET", path, params={"map_index": task["map_index"], "full_content": True})
        lines = []
        for line in answer["content"]:
            lines.append(line if isinstance(line, str) else line["event"])
            for error in [] if isinstance(line, str) else line.get("error_detail") or []:
                lines.append(f"{error['exc_type']}: {error['exc_value']}")
        return "\n".join(lines)

"""Addresses of Airflow's pages about a run, for people."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk.configuration import conf


def run_addresses(ti: Any) -> dict[str, str]:
    """The pages of a task's run by title."""
    query = urlencode({"dag_id": ti.dag_id, "run_id": ti.run_id})
    return {"The run in Airflow": _of_run(ti), "The run on the QARiB page": f"{_base()}/qarib/?{query}"}


def answer_address(ti: Any) -> str:
    """The page on which a task's question is answered."""
    return f"{_of_run(ti)}/tasks/{quote(ti.task_id)}/required_actions"


def _of_run(ti: Any) -> str:
    return f"{_base()}/dags/{quote(ti.dag_id)}/runs/{quote(ti.run_id)}"


def _base() -> str:
    return str(conf.get("api", "base_url", fallback="")).rstrip("/")

"""Errors in a task's log: one line for what a person can fix, a traceback for what only a programmer can."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from qarib_tasks.errors import QaribError, masked
from qarib_tasks.storage.system_errors import told


def without_tracebacks() -> None:
    """Let this process log errors that people can fix without their tracebacks."""
    processors = structlog.get_config()["processors"]
    if plain not in processors:
        processors.insert(0, plain)  # In place: Airflow keeps its loggers.


def plain(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the traceback of such an error by its message. A structlog processor."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    if text := message(error):
        del event["exc_info"]
        event["event"] = f"{str(event['event']).removesuffix(' with exception')}: {text}"
    return event


def message(error: object) -> str | None:
    """Return what happened, where, and what to do; None for an error that needs a traceback."""
    if isinstance(error, OSError):
        error = told(error)
    return masked(str(error)) if isinstance(error, QaribError) else None

"""A task's log has a traceback only for what a person cannot fix; tests/end_to_end/test_finetuning.py, too.

Covers plugins/qarib_airflow/reporting/plain_errors.py, plugins/qarib_plain_errors.py.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import qarib_plain_errors
import structlog
from structlog.testing import LogCapture

from qarib_tasks.errors import InputError

UNREADABLE = "/w/a.txt:3: is not UTF-8. Convert it with `iconv`"


@pytest.fixture
def captured() -> Iterator[LogCapture]:
    """What a logger writes that was made before the task began."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(**before)


def logged(captured: LogCapture, error: BaseException, *, dag_id: str = "qarib_pretrain") -> dict[str, Any]:
    log = structlog.get_logger("task")
    log.info("begins")
    for _ in range(2):
        qarib_plain_errors.on_task_instance_running(None, SimpleNamespace(dag_id=dag_id))
    try:
        raise error
    except BaseException:
        log.exception("Task failed with exception")
    return dict(captured.entries[-1])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("is not UTF-8", where="/w/a.txt:3", do="Convert it with `iconv`"), UNREADABLE),
        (OSError(errno.EACCES, "Permission denied", "/w/a.txt"), "/w/a.txt: Permission denied. Change the"),
    ],
)
def test_what_a_person_can_fix_is_one_line(captured: LogCapture, error: BaseException, text: str) -> None:
    found = logged(captured, error)
    assert found["event"].startswith(f"Task failed: {text}")
    assert found["log_level"] == "error"
    assert "exc_info" not in found


def test_a_bug_has_its_traceback(captured: LogCapture) -> None:
    found = logged(captured, ZeroDivisionError("division by zero"))
    assert (found["event"], found["exc_info"]) == ("Task failed with exception", True)


def test_tasks_of_other_dags_log_as_before(captured: LogCapture) -> None:
    assert logged(captured, InputError("is not UTF-8"), dag_id="another")["exc_info"] is True

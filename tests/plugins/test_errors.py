"""Which errors are retried, and after how long."""

from __future__ import annotations

import errno
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import requests
from airflow.sdk.definitions.retry_policy import RetryAction
from google.api_core.exceptions import Forbidden, NotFound, ServiceUnavailable, TooManyRequests
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from qarib_airflow.errors import LONGEST_WAIT, RetryByCause, asked_wait
from qarib_airflow.reporting import reasons

from qarib_tasks.errors import ConfigError, CorruptError, InputError, RefusedError, StoppedError, StorageError

NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def answer(status: int) -> Exception:
    """Of a web server, as aiohttp has it."""
    request: Any = SimpleNamespace(real_url="https://x/a")
    return aiohttp.ClientResponseError(request, (), status=status, message="bad")


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (ConfigError("bad"), RetryAction.FAIL),
        (Forbidden("bad"), RetryAction.FAIL),  # type: ignore[no-untyped-call]
        (because(StorageError("bad"), NotFound("no bucket")), RetryAction.FAIL),  # type: ignore[no-untyped-call]
        (because(StorageError("bad"), ServiceUnavailable("later")), RetryAction.RETRY),  # type: ignore[no-untyped-call]
        (TooManyRequests("bad"), RetryAction.RETRY),  # type: ignore[no-untyped-call]
        (ServiceUnavailable("bad"), RetryAction.RETRY),  # type: ignore[no-untyped-call]
        (InputError("bad"), RetryAction.FAIL),
        (StoppedError("bad"), RetryAction.FAIL),
        (RefusedError("bad"), RetryAction.FAIL),
        (because(StorageError("bad"), answer(403)), RetryAction.FAIL),
        (answer(401), RetryAction.FAIL),
        (answer(429), RetryAction.RETRY),
        (answer(503), RetryAction.RETRY),
        (requests.HTTPError("bad", response=SimpleNamespace(status_code=403)), RetryAction.FAIL),
        (requests.ConnectionError("bad"), RetryAction.RETRY),
        (DefaultCredentialsError("bad"), RetryAction.FAIL),  # type: ignore[no-untyped-call]
        (RefreshError("bad", retryable=False), RetryAction.FAIL),  # type: ignore[no-untyped-call]
        (RefreshError("bad", retryable=True), RetryAction.RETRY),  # type: ignore[no-untyped-call]
        (because(RefreshError("bad"), TransportError("no answer")), RetryAction.RETRY),  # type: ignore[no-untyped-call]
        (TransportError("bad"), RetryAction.RETRY),  # type: ignore[no-untyped-call]
        (PermissionError(errno.EACCES, "bad", "/x"), RetryAction.FAIL),
        (OSError(errno.EROFS, "bad", "/x"), RetryAction.FAIL),
        (OSError(errno.ESTALE, "bad", "/x"), RetryAction.RETRY),
        (MemoryError("bad"), RetryAction.RETRY),
        (StorageError("bad"), RetryAction.RETRY),
        (CorruptError("bad"), RetryAction.RETRY),
        (OSError("bad"), RetryAction.RETRY),
    ],
)
def test_only_what_may_help_is_tried_again(error: Exception, action: RetryAction) -> None:
    decision = RetryByCause().evaluate(error, 1, 3)
    assert decision.action == action
    assert decision.reason is not None
    assert "bad" in decision.reason


def test_the_reason_is_short_and_has_no_password() -> None:
    reason = RetryByCause().evaluate(OSError("https://me:PASSWORD@host/" + 900 * "x"), 1, 3).reason
    assert reason is not None
    assert len(reason) == 500
    assert "PASSWORD" not in reason
    assert RetryByCause().evaluate(KeyError(), 1, 3).reason == "KeyError"


def test_a_full_disk_says_what_to_do() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/dev/full")
    decision = RetryByCause().evaluate(error, 1, 3)
    assert decision.action == RetryAction.RETRY
    for text in (str(decision.reason), str(reasons.described(error))):
        assert "/dev/full" in text
        assert "Free disk space" in text


def answered(retry_after: str | None) -> Exception:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return TooManyRequests("slow down", response=SimpleNamespace(headers=headers))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("Mon, 30 Nov 2026 03:05:00 GMT", timedelta(minutes=5)),
        (str(2 * int(LONGEST_WAIT.total_seconds())), None),
        ("Mon, 30 Nov 2026 02:00:00 GMT", None),  # has passed
        ("soon", None),
        ("0", None),
        (None, None),
    ],
)
def test_a_service_that_says_how_long_is_waited_for(text: str | None, wait: timedelta | None) -> None:
    assert asked_wait(answered(text), NOW) == wait
    assert asked_wait(because(StorageError("bad"), answered(text)), NOW) == wait


def test_a_web_server_that_says_how_long_is_waited_for() -> None:
    """As `remote_errors` raises it: the download's error is only the context."""
    told = SimpleNamespace(headers={"Retry-After": "7"})
    download = aiohttp.ClientResponseError(None, (), status=429, headers=told.headers)  # type: ignore[arg-type]
    error = StorageError("the server answered 429")
    error.__context__ = because(FileNotFoundError("x"), download)
    assert RetryByCause().evaluate(error, 1, 3).retry_delay == timedelta(seconds=7)


def test_errors_that_are_each_other_s_cause() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert asked_wait(first, NOW) is None
    assert asked_wait(because(first, because(second, answered("60"))), NOW) == timedelta(seconds=60)


def test_other_errors_have_the_delays_of_the_task() -> None:
    assert RetryByCause().evaluate(OSError("bad"), 1, 3).retry_delay is None
    assert RetryByCause().evaluate(answered("60"), 1, 3).retry_delay == timedelta(seconds=60)

"""Decides which errors Airflow retries, and after how long."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from qarib_tasks.errors import ConfigError, InputError, StoppedError, StorageError, masked
from qarib_tasks.storage.system_errors import told
from qarib_tasks.tpu.api.errors import TpuPermissionError, TpuRequestError, TpuStockOutError

if TYPE_CHECKING:
    from airflow.sdk import Context

# A person who stops a training does not want it to start again by itself.
FOR_GOOD = (ConfigError, InputError, StoppedError, TpuPermissionError, TpuRequestError)
# Of the refused requests, only those with these codes (timeout, too many requests) can succeed later.
WORTH_A_RETRY = (408, 429)
# A service that asks for more is not waited for: the task then has its own delays.
LONGEST_WAIT = timedelta(hours=1)
MOST_CHARACTERS = 500  # of a reason, as Airflow keeps it


class RetryByCause(RetryPolicy):
    """Fails at once what a retry cannot fix; waits as long as a service asks for, and long for a TPU."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        exception = (told(exception) if isinstance(exception, OSError) else None) or exception
        reason = (masked(str(exception)) or type(exception).__name__)[:MOST_CHARACTERS]
        if is_for_good(exception):
            return RetryDecision.fail(reason)
        if isinstance(exception, TpuStockOutError):
            return RetryDecision.retry(timedelta(hours=exception.wait_hours), reason)
        return RetryDecision.retry(asked_wait(exception, datetime.now(UTC)), reason)


def is_for_good(error: BaseException) -> bool:
    """Whether a retry cannot fix the error: bad settings or inputs, or a request that Google refuses."""
    # Not imported here: if the module was not imported, it raised nothing.
    google: Any = sys.modules.get("google.api_core.exceptions")
    refused = google and isinstance(error, google.ClientError) and error.code not in WORTH_A_RETRY
    if isinstance(error, StorageError) and error.__cause__:
        return is_for_good(error.__cause__)
    return isinstance(error, FOR_GOOD) or bool(refused)


def asked_wait(error: BaseException | None, now: datetime) -> timedelta | None:
    """How long the service that refused asks to wait (`Retry-After`); None if it does not."""
    seen: list[BaseException] = []  # An error can be its own cause, or that of its cause.
    while error is not None and error not in seen:
        seen.append(error)
        # Google's clients keep the response, aiohttp its headers.
        headers = getattr(getattr(error, "response", error), "headers", None)
        text = headers.get("Retry-After") if headers is not None and hasattr(headers, "get") else None
        if text is not None:
            return _wait(str(text).strip(), now)
        error = error.__cause__ or error.__context__
    return None


def _wait(text: str, now: datetime) -> timedelta | None:
    """Seconds, or a date as HTTP has it."""
    try:
        wait = timedelta(seconds=int(text)) if text.isdecimal() else parsedate_to_datetime(text) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return wait if timedelta() < wait <= LONGEST_WAIT else None

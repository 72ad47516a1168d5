"""Decides which errors Airflow retries, and after how long."""

from __future__ import annotations

import errno
import sys
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from qarib_tasks.errors import ConfigError, InputError, RefusedError, StoppedError, StorageError, masked
from qarib_tasks.storage.system_errors import FORBIDDEN, told
from qarib_tasks.tpu.api.errors import TpuPermissionError, TpuRequestError, TpuStockOutError

if TYPE_CHECKING:
    from airflow.sdk import Context

# A person who stops a training does not want it to start again by itself.
FOR_GOOD = (ConfigError, InputError, RefusedError, StoppedError, TpuPermissionError, TpuRequestError)
# Of the refused requests, only those with these codes (timeout, too early, too many) can succeed later.
WORTH_A_RETRY = (408, 425, 429)
# What a folder says until a person changes it.
NOT_ALLOWED = (*FORBIDDEN, errno.EROFS)
# A service that asks for more is not waited for: the task then has its own delays.
LONGEST_WAIT = timedelta(hours=1)
MOST_CHARACTERS = 500  # of a reason, as Airflow keeps it


class RetryByCause(RetryPolicy):
    """Fails at once what a retry cannot fix; waits as long as a service asks for, and long for a TPU."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        shown = (told(exception) if isinstance(exception, OSError) else None) or exception
        reason = (masked(str(shown)) or type(shown).__name__)[:MOST_CHARACTERS]
        if is_for_good(exception):
            return RetryDecision.fail(reason)
        if isinstance(exception, TpuStockOutError):
            return RetryDecision.retry(timedelta(hours=exception.wait_hours), reason)
        return RetryDecision.retry(asked_wait(exception, datetime.now(UTC)), reason)


def is_for_good(error: BaseException) -> bool:
    """Whether a retry cannot fix the error: settings, inputs, permissions, or a server that refuses."""
    if isinstance(error, FOR_GOOD):
        return True
    if isinstance(error, StorageError) and error.__cause__:
        return is_for_good(error.__cause__)
    if isinstance(error, OSError) and error.errno in NOT_ALLOWED:
        return True
    return _is_refused(error) or _has_no_login(error)


def _is_refused(error: BaseException) -> bool:
    """Whether it is a web service's answer with one of the codes of a refusal."""
    # As Google's clients have it, aiohttp, and requests.
    codes = (getattr(error, name, None) for name in ("status", "code"))
    code = next((code for code in codes if isinstance(code, int)), None)
    code = code or getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(code, int) and 400 <= code < 500 and code not in WORTH_A_RETRY


def _has_no_login(error: BaseException) -> bool:
    """Whether Google's credentials are missing, damaged, or revoked."""
    # Not imported here: if the module was not imported, it raised nothing.
    auth: Any = sys.modules.get("google.auth.exceptions")
    if auth is None or not isinstance(error, auth.GoogleAuthError):
        return False
    if isinstance(error, auth.RefreshError):  # Also if the service that renews them does not answer.
        return not error.retryable and not isinstance(error.__cause__, auth.TransportError)
    return isinstance(error, auth.DefaultCredentialsError | auth.MalformedError)


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

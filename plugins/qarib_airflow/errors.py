"""Decides which errors Airflow retries."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from airflow.sdk.exceptions import AirflowFailException

from qarib_tasks.errors import ConfigError, InputError, StorageError
from qarib_tasks.tpu.api.errors import TpuPermissionError, TpuRequestError

FOR_GOOD = (ConfigError, InputError, TpuPermissionError, TpuRequestError)
# Of the refused requests, only those with these codes (timeout, too many requests) can succeed later.
WORTH_A_RETRY = (408, 429)

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Turn an error that a retry cannot fix into one that Airflow does not retry."""
    try:
        yield
    except Exception as error:
        if is_for_good(error):
            raise AirflowFailException(str(error)) from error
        raise


def is_for_good(error: BaseException) -> bool:
    """Whether a retry cannot fix the error: bad settings or inputs, or a request that Google refuses."""
    # Not imported here: if the module was not imported, it raised nothing.
    google: Any = sys.modules.get("google.api_core.exceptions")
    refused = google and isinstance(error, google.ClientError) and error.code not in WORTH_A_RETRY
    if isinstance(error, StorageError) and error.__cause__:
        return is_for_good(error.__cause__)
    return isinstance(error, FOR_GOOD) or bool(refused)


def fails_for_good(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a task's function in `failing_for_good`; put it below `@task`."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with failing_for_good():
            return function(*args, **kwargs)

    return wrapped

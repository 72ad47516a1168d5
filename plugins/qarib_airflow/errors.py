"""Which errors are worth a retry."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import ParamSpec, TypeVar

from airflow.sdk.exceptions import AirflowFailException

from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.tpu.cloud_errors import TpuPermissionError, TpuRequestError

# For what may go by: the network, a service that answers with 500, a worker that was lost.
RETRIES = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
}

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Turn an error that trying again cannot help into one that Airflow does not retry."""
    try:
        yield
    except (ConfigError, InputError, TpuPermissionError, TpuRequestError) as error:
        raise AirflowFailException(str(error)) from error


def fails_for_good(function: Callable[P, R]) -> Callable[P, R]:
    """`failing_for_good` around a task's function; below `@task`."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with failing_for_good():
            return function(*args, **kwargs)

    return wrapped

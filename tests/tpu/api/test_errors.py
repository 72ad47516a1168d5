"""What the Cloud TPU API's answers mean: which type of error, and whether to ask again."""

from __future__ import annotations

import shlex

import pytest
from google.api_core import exceptions

from qarib_tasks.tpu.api.errors import (
    TpuConflictError,
    TpuError,
    TpuPermissionError,
    TpuQuotaError,
    TpuRequestError,
    TpuStateError,
    TpuStockOutError,
    TpuUnavailableError,
    explain,
    is_transient,
    of_status,
)

ZONE = "us-west4-a"
QUOTA = "Quota limit 'TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI' has been exceeded."
STOCK_OUT = "There is no more capacity in the zone"


@pytest.mark.parametrize(
    ("error", "expected", "again"),
    [
        (exceptions.ResourceExhausted(QUOTA), TpuQuotaError, False),
        (exceptions.ResourceExhausted(STOCK_OUT), TpuStockOutError, False),
        (exceptions.ResourceExhausted("Too many requests"), TpuUnavailableError, True),
        (exceptions.ServiceUnavailable("try later"), TpuUnavailableError, True),
        (exceptions.InternalServerError("oops"), TpuUnavailableError, True),
        (exceptions.Aborted("at once"), TpuUnavailableError, True),
        (exceptions.PermissionDenied("no"), TpuPermissionError, False),
        (exceptions.Unauthenticated("who"), TpuPermissionError, False),
        (exceptions.AlreadyExists("twice"), TpuConflictError, False),
        (exceptions.InvalidArgument("type"), TpuRequestError, False),
        (exceptions.NotFound("zone"), TpuRequestError, False),
        (exceptions.FailedPrecondition("not supported while in state DELETING"), TpuStateError, False),
        (ConnectionError("network"), TpuUnavailableError, False),
    ],
)
def test_each_answer_has_its_type(error: Exception, expected: type[TpuError], again: bool) -> None:
    explained = explain(error, zone=ZONE, accelerator_type="v5litepod-8", name="tpu-1")
    assert type(explained) is expected
    assert is_transient(error) is again
    assert all(part in str(explained.where) for part in ("tpu-1", "v5litepod-8", ZONE))


def test_what_was_retried_is_explained_by_its_last_answer() -> None:
    cause = exceptions.PermissionDenied("no")
    error = exceptions.RetryError("gave up", cause=cause)
    assert type(explain(error, zone=ZONE)) is TpuPermissionError


def test_the_quota_names_type_and_zone_and_a_code_alone_is_enough() -> None:
    text = str(of_status(8, QUOTA, zone=ZONE, accelerator_type="v5litepod-8").do)
    assert "v5litepod-8" in text
    assert ZONE in text
    assert type(of_status(9, "", zone=ZONE)) is TpuStateError
    assert type(of_status(13, "", zone=ZONE)) is TpuUnavailableError


@pytest.mark.parametrize("code", [3, 5])
def test_a_command_in_an_error_is_quoted(code: int) -> None:
    zone = "us-west4-a; rm -rf '~'"
    error = of_status(code, "unknown zone", zone=zone)
    command = str(error.do).partition(": ")[2]
    assert shlex.split(command)[-1] == f"--zone={zone}"

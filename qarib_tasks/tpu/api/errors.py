"""The Cloud TPU API's errors as errors that name the zone, the type and what to do.

The patterns match the messages that users of the service have reported. What follows from an error is in
`lifecycle.refused`.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from qarib_tasks.errors import QaribError


class TpuError(QaribError):
    """The Cloud TPU API refused something, or something happened to a TPU."""


class TpuQuotaError(TpuError):
    """The request exceeds the project's quota of chips or addresses: repeating it does not help."""


class TpuStockOutError(TpuError):
    """The zone has no capacity now: another zone or another time may help.

    Attributes:
        wait_hours: after which to ask again.
    """

    wait_hours = 1.0


class TpuRequestError(TpuError):
    """The request itself is wrong."""


class TpuPermissionError(TpuError):
    """The account lacks a permission, or the zone is not open to the project."""


class TpuStateError(TpuError):
    """The resource's current state does not allow the request; a later state may."""


class TpuConflictError(TpuError):
    """A resource that this run did not create has the name."""


class TpuUnavailableError(TpuError):
    """The API does not answer, or answers "too many requests", to every retry."""


_QUOTA = re.compile(r"Quota limit '|Quota '[^']+' exhausted|IN_USE_ADDRESSES", re.I)
_STOCK_OUT = re.compile(r"no more capacity|Insufficient reserved capacity|STOCKOUT", re.I)
_STATE = re.compile(r"not supported while in state|while in state", re.I)

# google.rpc.Code
_INVALID_ARGUMENT, _DEADLINE, _NOT_FOUND, _EXISTS, _DENIED = 3, 4, 5, 6, 7
_EXHAUSTED, _PRECONDITION, _ABORTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = 8, 9, 10, 13, 14, 16


def is_quota(code: int, message: str) -> bool:
    """Whether an error is about the quota of chips, not about the rate of requests."""
    return code == _EXHAUSTED and bool(_QUOTA.search(message))


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a little later."""
    from google.api_core import exceptions

    if not isinstance(error, exceptions.GoogleAPICallError):
        return False
    code = _code(error)
    if code == _EXHAUSTED:
        return not is_quota(code, error.message) and not _STOCK_OUT.search(error.message)
    return code in (_DEADLINE, _ABORTED, _INTERNAL, _UNAVAILABLE)


def explain(error: BaseException, *, zone: str, accelerator_type: str = "", name: str = "") -> TpuError:
    """A call's exception as a `TpuError`."""
    from google.api_core import exceptions

    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        error = error.cause
    if isinstance(error, exceptions.GoogleAPICallError):
        return of_status(
            _code(error), error.message or "", zone=zone, accelerator_type=accelerator_type, name=name
        )
    return TpuUnavailableError(str(error), where=_where(zone, accelerator_type, name))


def of_status(code: int, message: str, *, zone: str, accelerator_type: str = "", name: str = "") -> TpuError:
    """A status (google.rpc.Code and text) of a call, an operation or `failed_data` as a `TpuError`."""
    where = _where(zone, accelerator_type, name)
    kind = accelerator_type or "this type"
    if _QUOTA.search(message) and code in (_EXHAUSTED, _PRECONDITION):
        return TpuQuotaError(
            message,
            where=where,
            do=f"Request more quota of {kind} in {zone} (IAM & Admin > Quotas), use another zone or a "
            "smaller type, and delete queued resources that are FAILED or SUSPENDED: they use quota too",
        )
    if _STOCK_OUT.search(message):
        return TpuStockOutError(
            message,
            where=where,
            do=f"Set more zones for {kind}, a smaller type, or spot instead of on-demand, or wait",
        )
    if _STATE.search(message) or code == _PRECONDITION:
        return TpuStateError(message, where=where, do="Wait until the state changes")
    if code in (_DENIED, _UNAUTHENTICATED):
        return TpuPermissionError(
            message,
            where=where,
            do="Grant the connection's account roles/tpu.admin, and roles/iam.serviceAccountUser on the "
            "account that the TPU runs as; check that the Cloud TPU API is enabled and that the project "
            f"has access to {zone}",
        )
    if code == _EXISTS:
        return TpuConflictError(message, where=where, do="Delete that resource, or use another name")
    if code in (_INVALID_ARGUMENT, _NOT_FOUND):
        return TpuRequestError(
            message,
            where=where,
            do=f"List what the zone offers: gcloud compute tpus accelerator-types list "
            f"--zone={shlex.quote(zone)}",
        )
    return TpuUnavailableError(message, where=where, do="Try again later")


def of_failed(resource: Any, *, zone: str) -> TpuError:
    """The error of a FAILED queued resource; withdrawn capacity appears as an internal error."""
    status = resource.state.failed_data.error
    node = resource.tpu.node_spec[0].node if resource.tpu.node_spec else None
    kind, name = (str(node.accelerator_type) if node else ""), str(resource.name).rsplit("/", 1)[-1]
    if status.code in (_INTERNAL, _DEADLINE) or not status.code:
        return TpuStockOutError(
            f"not granted: {status.message or 'no reason given'}",
            where=_where(zone, kind, name),
            do=f"Set more zones for {kind}, request a smaller type, or wait longer",
        )
    return of_status(status.code, status.message, zone=zone, accelerator_type=kind, name=name)


def _code(error: Any) -> int:
    """google.rpc.Code of an exception of google.api_core."""
    grpc_code = getattr(error, "grpc_status_code", None)
    if grpc_code is not None:
        return int(grpc_code.value[0])
    http = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}
    return http.get(int(getattr(error, "code", None) or 500), _INTERNAL)


def _where(zone: str, accelerator_type: str, name: str) -> str:
    return " ".join(
        part for part in (name, f"({accelerator_type})" if accelerator_type else "", "in", zone) if part
    )

"""Time, operations and names of the emulated Cloud TPU service."""

from __future__ import annotations

import heapq
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from qarib_tasks.emulators.cloud_tpu.catalog import ApiError, bad_request, not_found
from qarib_tasks.emulators.cloud_tpu.faults import Faults

T = TypeVar("T")
_PARENT = re.compile(r"projects/([^/]+)/locations/([^/]+)")


class ManualClock:
    """A clock that a test sets: seconds since 1970."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Timeline:
    """Scheduled actions, in the order of their time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._running: float | None = None

    @property
    def now(self) -> float:
        """Seconds since 1970; in an action, the time at which it was due."""
        return self._clock() if self._running is None else self._running

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), action))

    def run_due(self) -> None:
        until = self._clock()
        while self._due and self._due[0][0] <= until:
            self._running, _, action = heapq.heappop(self._due)
            try:
                action()
            finally:
                self._running = None


@dataclass
class Operation:
    """A long-running operation; `result` is a message or an error once it is done."""

    name: str
    metadata: Any
    result: Any = None
    error: ApiError | None = None
    done: bool = False


class Operations:
    """Implements google.longrunning.Operations, and creates operations."""

    def __init__(self, timeline: Timeline, faults: Faults) -> None:
        self._timeline = timeline
        self._faults = faults
        self._all: dict[str, Operation] = {}
        self._requests: dict[tuple[str, str], Operation] = {}

    def start(self, target: str, verb: str, request_id: str = "") -> Operation:
        from google.cloud.tpu_v2alpha1 import OperationMetadata

        random_part = (
            f"{random.getrandbits(52):013x}-{random.getrandbits(32):08x}-{random.getrandbits(32):08x}"
        )
        name = f"{parent_of(target)}/operations/operation-{int(self._timeline.now * 1000)}-{random_part}"
        metadata = OperationMetadata(
            create_time=self._timeline.time, target=target, verb=verb, api_version="v2alpha1"
        )
        operation = self._all[name] = Operation(name, metadata)
        if request_id:
            self._requests[target, request_id] = operation
        return operation

    def repeated(self, target: str, request_id: str) -> Operation | None:
        """Return the operation that the same request started earlier, if any."""
        return self._requests.get((target, request_id)) if request_id else None

    def finish(
        self, operation: Operation, method: str, result: Any = None, error: ApiError | None = None
    ) -> None:
        """Finish an operation; without a result, with google.protobuf.Empty. Later calls have no effect.

        Args:
            method: the API's method, for the faults.
        """
        from google.protobuf import empty_pb2

        if result is not None:
            result = type(result).pb(type(result)(result))  # A copy.
        result = empty_pb2.Empty() if result is None else result

        def end() -> None:
            if not operation.done:
                operation.result, operation.error, operation.done = result, error, True
                operation.metadata.end_time = self._timeline.time

        target = operation.metadata.target
        slow = self._faults.take("operation_slow", id_of(target), zone_of(target), method=method)
        if slow:
            self._timeline.after(slow.after, end)
        else:
            end()

    def message(self, operation: Operation) -> Any:
        """Return the operation as google.longrunning.operations_pb2.Operation."""
        from google.longrunning import operations_pb2  # type: ignore[import-untyped,unused-ignore]

        message = operations_pb2.Operation(name=operation.name, done=operation.done)
        message.metadata.Pack(type(operation.metadata).pb(operation.metadata))
        if operation.error is not None:
            message.error.CopyFrom(operation.error.status)
        elif operation.done:
            message.response.Pack(operation.result)
        return message

    def get(self, name: str) -> Operation:
        if name not in self._all:
            raise not_found(name)
        return self._all[name]

    def list(self, parent: str) -> list[Operation]:
        return [operation for name, operation in self._all.items() if name.startswith(f"{parent}/")]

    def delete(self, name: str) -> None:
        del self._all[self.get(name).name]


@dataclass
class Bill:
    """The bill of a node: the node is charged while it is READY."""

    name: str
    accelerator_type: str
    zone: str
    labels: dict[str, str]
    seconds: float = 0.0


@dataclass
class State:
    """The state that the parts of the service share. Every call and every tick holds the lock.

    Attributes:
        folder: has the machines' disks and logs.
        environment: of every machine's processes.
        token: what every request must have.
    """

    folder: Path
    timeline: Timeline
    faults: Faults
    environment: dict[str, str] = field(default_factory=dict)
    token: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.operations = Operations(self.timeline, self.faults)

    def delay(self, name: str) -> float:
        """Return a delay in seconds, scaled."""
        return self.faults.behaviour.delay(name)

    def wrong_state(self, what: str, state: str) -> ApiError:
        error = bad_request(f"{what} is not supported while in state {state}")
        error.code = self.faults.behaviour.refusal_code
        return error


def split_parent(parent: str) -> tuple[str, str]:
    """`projects/P/locations/Z` → (P, Z)."""
    match = _PARENT.fullmatch(parent)
    if match is None:
        raise bad_request(f'Invalid parent "{parent}".')
    return match[1], match[2]


def parent_of(name: str) -> str:
    return name.rsplit("/", 2)[0]


def zone_of(name: str) -> str:
    """Return the zone in the name of a resource or parent; empty if the name has none."""
    match = _PARENT.match(name)
    return match[2] if match else ""


def id_of(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def in_parent(name: str, parent: str) -> bool:
    """Return whether a resource is in a project's zone; `locations/-` means all zones."""
    project, zone = split_parent(parent)
    return name.startswith(f"projects/{project}/locations/") and zone in ("-", zone_of(name))


def page(items: Sequence[T], size: int, token: str) -> tuple[Sequence[T], str]:
    """Return a page of a list, and the token of the next page."""
    try:
        start = int(token or 0)
    except ValueError:
        raise bad_request(f'Invalid page token "{token}".') from None
    end = start + (size or 100)
    return items[start:end], str(end) if end < len(items) else ""

"""The action that all ranks take at the same step, agreed from the requests of each."""

from __future__ import annotations

from enum import IntEnum

from qarib_tasks.train.hosts.workers import Workers

# Steps between two votes. A vote is counted at the next one, so that no rank waits for it.
EVERY = 8


class Request(IntEnum):
    """What a rank requests after a step; the highest request of all ranks is agreed."""

    NOTHING = 0
    RECOVERY = 1
    STOP = 2


class Agreement:
    """Agrees on requests between ranks.

    Every rank calls it after every call of the device. With a world size of 1, a request is agreed at once.
    With more, all ranks get the same answer at the same step, at most two votes after the request.

    Args:
        step: the step that the training resumes from.
    """

    def __init__(self, workers: Workers, step: int = 0) -> None:
        self._workers = workers
        self._step = step
        self._open: int | None = None  # the step of the vote that is not counted yet
        self._answered = False

    def __call__(self, step: int, request: Request) -> Request:
        if self._workers.count == 1:
            return request
        due = step // EVERY > self._step // EVERY
        self._step = step
        if not due:
            return Request.NOTHING
        before, self._open = self._open, step
        self._workers.begin(f"request {step}", request)
        agreed = Request.NOTHING
        if before is not None:
            agreed = Request(max(self._workers.result(f"request {before}")))
        if self._answered:
            # This vote is from before the last answer. A rank that still has a request votes for it again.
            self._answered, agreed = False, Request.NOTHING
        return agreed

    def answered(self) -> None:
        """Mark earlier requests as out of date, because a checkpoint was written."""
        self._answered = self._open is not None

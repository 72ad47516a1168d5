"""What all workers have to do at the same step, decided from what each of them wishes."""

from __future__ import annotations

from enum import IntEnum

from qarib_tasks.train.hosts.workers import Workers

# Steps between two votes. A vote is counted when the next is held: nobody waits for it.
EVERY = 8


class Wish(IntEnum):
    """What a worker wants to be done behind a step; of several wishes the highest counts."""

    NOTHING = 0
    RECOVERY = 1
    STOP = 2


class Agreement:
    """Called by every worker behind every call of the device. A worker alone has its wish at once; of
    several, all get the same answer at the same step, at most two votes after one of them wished.

    Args:
        step: the one that the training goes on from.
    """

    def __init__(self, workers: Workers, step: int = 0) -> None:
        self._workers = workers
        self._step = step
        self._open: int | None = None  # the step of the vote that is not counted yet
        self._answered = False

    def __call__(self, step: int, wish: Wish) -> Wish:
        if self._workers.count == 1:
            return wish
        due = step // EVERY > self._step // EVERY
        self._step = step
        if not due:
            return Wish.NOTHING
        before, self._open = self._open, step
        self._workers.begin(f"wish {step}", wish)
        agreed = Wish.NOTHING
        if before is not None:
            agreed = Wish(max(self._workers.result(f"wish {before}")))
        if self._answered:
            # The wish was held before the answer to the same wish: whoever still has it says so again.
            self._answered, agreed = False, Wish.NOTHING
        return agreed

    def answered(self) -> None:
        """A checkpoint was written: wishes of before are out of date."""
        self._answered = self._open is not None

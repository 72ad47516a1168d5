"""The errors a user can meet: what was wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class QaribError(Exception):
    """Root of every error raised on purpose.

    Args:
        what: what was wrong, one sentence without a full stop.
        where: file, file:line, shard or setting that it was found in.
        do: what the user can do about it.
        parts: the errors that it tells together, see `Faults`.
    """

    def __init__(
        self, what: str, *, where: object = None, do: str | None = None, parts: Sequence[QaribError] = ()
    ) -> None:
        super().__init__(what, where, do)
        self.what = what
        self.where = None if where is None else str(where)
        self.do = do
        self.parts = tuple(parts)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.do}" if self.do else text


class ConfigError(QaribError):
    """A setting is unknown, of the wrong type, out of range, or at odds with another."""


class InputError(QaribError):
    """An input is missing, empty or unusable: trying again will not help."""


class NothingNewError(InputError):
    """The sources hold nothing that is not in the dataset already: there is nothing to do."""


class CorruptError(QaribError):
    """A file is not what its manifest or its own checksums say it is."""


class TrainingError(QaribError):
    """The training cannot go on, or its process ended without finishing."""


class LostWorkerError(TrainingError):
    """One of the processes that train together is gone: the others cannot go on without it."""


class StoppedError(QaribError):
    """The work was asked to end and did: what it had is saved, running it again continues it."""


class StorageError(QaribError):
    """A bucket does not exist, does not answer, or holds other bytes than were sent."""


class ChangedError(StorageError):
    """Somebody else has written an object since it was read: what was made of it is out of date."""


class Faults:
    """Errors that are told together."""

    def __init__(self) -> None:
        self.found: list[QaribError] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Go on behind the block whatever is wrong in it."""
        try:
            yield
        except QaribError as error:
            self.found += error.parts or (error,)

    def raise_all(self, worst: Callable[[QaribError], bool] = lambda error: True) -> None:
        """Raise the one that there is, or one that lists all, of the type of the first that is `worst`."""
        if len(self.found) < 2:
            for error in self.found:
                raise error
            return
        first = next(filter(worst, self.found), self.found[0])
        lines = "".join(f"\n{number}. {error}" for number, error in enumerate(self.found, 1))
        text = f"{len(self.found)} things are wrong:{lines}"
        raise type(first)(text, parts=self.found) from first.__cause__

"""The errors that a user can see: what happened, where, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class QaribError(Exception):
    """Base class of every error that this package raises on purpose.

    Args:
        what: what happened, one sentence without a full stop.
        where: file, file:line, shard, or setting where it was found.
        do: what the user can do about it.
        parts: the errors that this one lists, see `Faults`.

    Attributes:
        in_file: the settings that it names are in a file, also if the command has options for such settings.
    """

    in_file = False

    def __init__(
        self, what: str, *, where: object = None, do: str | None = None, parts: Sequence[QaribError] = ()
    ) -> None:
        super().__init__(what, where, do)
        self.what = what
        # A name can hold a line break; a message is one line.
        self.where = None if where is None else _CONTROL.sub(_escaped, str(where))
        self.do = do
        self.parts = tuple(parts)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.do}" if self.do else text


class ConfigError(QaribError):
    """A setting is unknown, has the wrong type, is out of range, or conflicts with another."""


class InputError(QaribError):
    """An input is missing, empty, or unusable: a retry does not help."""


class NothingNewError(InputError):
    """Everything in the sources is already in the dataset: there is nothing to do."""


class CorruptError(QaribError):
    """A file does not match its manifest or its own checksums."""


class TrainingError(QaribError):
    """The training cannot continue, or its process ended before it finished."""


class LostWorkerError(TrainingError):
    """A rank was lost: the other ranks cannot continue without it."""


class StoppedError(QaribError):
    """The work stopped on request: its state is saved, and the next run resumes from it."""


class StorageError(QaribError):
    """A bucket does not exist, does not answer, or holds bytes that differ from those sent."""


class ChangedError(StorageError):
    """An object was modified concurrently: results based on the version that was read are out of date."""


class Faults:
    """Collects errors, to report them together."""

    def __init__(self) -> None:
        self.found: list[QaribError] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Collect errors raised in the block instead of raising them."""
        try:
            yield
        except QaribError as error:
            self.found += error.parts or (error,)

    def raise_all(self, worst: Callable[[QaribError], bool] = lambda error: True) -> None:
        """Raise the collected error, or one listing them all, if any.

        Args:
            worst: chooses the type of the error that lists them all: the type of the first error for which
                it is true, or of the first error.
        """
        if len(self.found) < 2:
            for error in self.found:
                raise error
            return
        first = next(filter(worst, self.found), self.found[0])
        lines = "".join(f"\n{number}. {error}" for number, error in enumerate(self.found, 1))
        text = f"found {len(self.found)} problems:{lines}"
        raise type(first)(text, parts=self.found) from first.__cause__

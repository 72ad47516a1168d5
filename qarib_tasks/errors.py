"""The errors a user can meet: what was wrong, where, and what to do about it."""

from __future__ import annotations


class QaribError(Exception):
    """Root of every error raised on purpose.

    Args:
        what: what was wrong, one sentence without a full stop.
        where: file, file:line, shard or setting that it was found in.
        do: what the user can do about it.
    """

    def __init__(self, what: str, *, where: object = None, do: str | None = None) -> None:
        super().__init__(what, where, do)
        self.what = what
        self.where = None if where is None else str(where)
        self.do = do

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

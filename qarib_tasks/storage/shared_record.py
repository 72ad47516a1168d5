"""A small JSON file that several runs change, in the bucket (if there is one) and in the workspace.

With a bucket, its object is authoritative: a change is written only over the generation that it is based on,
and the workspace's file is a copy. Without a bucket, the workspace's file is authoritative, and a lock keeps
a second writer out.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qarib_tasks.errors import ChangedError, CorruptError
from qarib_tasks.storage.bucket import RESTORE, Bucket
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import MOVE_SHARED, is_shared_record, require_ours
from qarib_tasks.storage.records.read import parse_record, record_bytes
from qarib_tasks.storage.records.record import Record

FORMAT = 1
Values = Mapping[str, Any]


@dataclass(frozen=True)
class SharedRecord:
    """A JSON file that several runs change.

    Attributes:
        workspace: the folder that all workers share.
        address: `gs://bucket/prefix/`, or None without a bucket.
        name: the file's name below the workspace and below the address.
        client: a `google.cloud.storage.Client`; see `storage.Bucket`.
    """

    workspace: Path
    address: str | None
    name: str
    client: Any = None

    def read(self) -> Values:
        """The record's values; empty if the file does not exist.

        Raises:
            CorruptError: the file is not a record of this format.
        """
        if self.address:
            return self._parsed(Bucket(self.address, self.client).read_text(self.name))
        return self._parsed(self._text())

    def change(self, change: Callable[[Values], Values]) -> Values:
        """Read, change, and write the record; retry if another process writes it in between.

        Nothing is written if the values stay the same.

        Args:
            change: returns the new values for the current ones; it can be called several times.

        Returns:
            the values that the record now holds.

        Raises:
            CorruptError: the file is not a record of this format. InputError: the workspace's copy is not.
        """
        if self.address:  # What is in the bucket replaces this file.
            require_ours(self.workspace / self.name, is_shared_record, MOVE_SHARED)
        with self._locked():
            return self._change_bucket(change) if self.address else self._change_file(change)

    def _change_file(self, change: Callable[[Values], Values]) -> Values:
        before = self._text()
        values = change(self._parsed(before))
        if (text := _text(values)) != before:
            write_text(self.workspace / self.name, text)
        return values

    def _change_bucket(self, change: Callable[[Values], Values]) -> Values:
        assert self.address is not None
        bucket = Bucket(self.address, self.client)
        while True:
            before, generation = bucket.read_version(self.name)
            values = change(self._parsed(before))
            text = _text(values)
            try:
                if text != before:
                    bucket.write_text(self.name, text, over=generation)
            except ChangedError:
                continue
            write_text(self.workspace / self.name, text)
            return values

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.workspace / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _parsed(self, text: str | None) -> Values:
        if text is None:
            return {}
        try:
            values = parse_record(text.encode(), Record, self.where)
        except CorruptError as error:
            raise CorruptError(error.what, where=self.where, do=self._do) from None
        if values.get("format") != FORMAT:
            what = f"not a record of format {FORMAT}"
            raise CorruptError(what, where=self.where, do=f"Update qarib. {self._do}")
        return values

    @property
    def where(self) -> str:
        """The record's path, or its address in the bucket."""
        return f"{self.address}{self.name}" if self.address else str(self.workspace / self.name)

    @property
    def _do(self) -> str:
        return RESTORE if self.address else MOVE_SHARED

    def _text(self) -> str | None:
        """The text of the workspace's file; None if it does not exist.

        Raises:
            CorruptError: it is not UTF-8. InputError: it is no file, or may not be read.
        """
        data = record_bytes(self.workspace / self.name)
        try:
            return None if data is None else data.decode("utf-8")
        except UnicodeDecodeError:
            raise CorruptError("is damaged: not UTF-8", where=self.where, do=self._do) from None


def _text(values: Values) -> str:
    return json.dumps({**values, "format": FORMAT}, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

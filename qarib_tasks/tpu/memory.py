"""The state that a TPU job keeps between polls."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from qarib_tasks.errors import ChangedError, CorruptError
from qarib_tasks.layout import MEMORY
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.records.read import parse_record
from qarib_tasks.tpu.lifecycle import Memory

log = logging.getLogger(__name__)
_MEMORY: TypeAdapter[Memory] = TypeAdapter(Memory)
# Earlier versions did not write these.
_NEWER = {"seconds", "emulated", "answer", "answered", "deleted"}
_DO = "Clear the task that deletes the run's TPUs: it moves this object, too. Then clear the training"


def read_memory(data: bytes) -> Memory:
    """The memory in a file's bytes.

    Raises:
        CorruptError: they are not a memory.
    """
    values = parse_record(data, _MEMORY, MEMORY)
    if missing := sorted({field.name for field in fields(Memory)} - _NEWER - values.keys()):
        raise CorruptError(f"is damaged: {missing[0]}: Field required")
    return _MEMORY.validate_json(data)


class JobMemory:
    """`memory.json` of a job's folder.

    A try of the task and the triggerer of an earlier try can use it at the same time. A change to an outdated
    memory is never saved.

    Args:
        address: of the job's folder.
        run_id: of the job, which names its TPUs; None for any.
        zones: the number of zones of the job; None for any.
    """

    def __init__(
        self, address: str, client: Any = None, *, run_id: str | None = None, zones: int | None = None
    ) -> None:
        self.address = address
        self._bucket = Bucket(address, client)
        self._run_id = run_id
        self._zones = zones
        self._saved: str | None = None
        self._generation: int | None = None

    def load(self) -> Memory | None:
        """None before the first `save`.

        Raises:
            CorruptError: the object is not a valid memory of this job.
        """
        try:
            self._saved, self._generation = self._bucket.read_version(MEMORY)
            memory = None if self._saved is None else read_memory(self._saved.encode())
            if memory:
                self._require_of_job(memory)
        except CorruptError as error:
            what = f"not a TPU's memory: {error.what}"
            raise CorruptError(what, where=f"{self.address}{MEMORY}", do=_DO) from None
        return memory

    def _require_of_job(self, memory: Memory) -> None:
        if self._run_id is not None and memory.run_id != self._run_id:
            raise CorruptError(f"it is of the run {memory.run_id!r}")
        if self._zones is not None and max(memory.zone, *memory.tried, 0) >= self._zones:
            raise CorruptError(f"it is in a zone of more than {self._zones}")

    def set_aside(self) -> None:
        """Give a damaged memory another name, and log it."""
        blob = self._bucket.get(MEMORY)
        if blob is None:
            return
        name = f"{MEMORY}.damaged-{blob.generation}"
        with tempfile.TemporaryDirectory(prefix="qarib-") as folder:
            copy = Path(folder) / MEMORY
            self._bucket.download(MEMORY, copy)
            self._bucket.upload(copy, name)
        self._bucket.delete(MEMORY)
        log.warning("%s%s: is damaged. Kept as %s", self.address, MEMORY, name)

    def save(self, memory: Memory) -> None:
        """Write the memory, unless it equals the one that `load` or `save` handled last.

        Raises:
            ChangedError: another process saved a memory after this one was loaded.
        """
        text = json.dumps(memory.to_dict(), indent=1) + "\n"
        if text != self._saved:
            self._generation = self._bucket.write_text(MEMORY, text, over=self._generation)
            self._saved = text

    def change(self, change: Callable[[Memory | None], Memory | None]) -> Memory | None:
        """Load, change and save the memory; start again if another process saves one in between.

        Args:
            change: makes the new memory from the saved one; returns None to change nothing.

        Returns:
            the memory that was saved, or None.
        """
        while True:
            memory = change(self.load())
            try:
                if memory is not None:
                    self.save(memory)
                return memory
            except ChangedError:
                continue

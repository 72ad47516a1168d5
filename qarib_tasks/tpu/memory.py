"""The state that a TPU job keeps between polls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qarib_tasks.errors import ChangedError, CorruptError
from qarib_tasks.layout import MEMORY
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.lifecycle import Memory


class JobMemory:
    """`memory.json` of a job's folder.

    A try of the task and the triggerer of an earlier try can use it at the same time. A change to an outdated
    memory is never saved.
    """

    def __init__(self, address: str, client: Any = None) -> None:
        self.address = address
        self._bucket = Bucket(address, client)
        self._saved: str | None = None
        self._generation: int | None = None

    def load(self) -> Memory | None:
        """None before the first `save`.

        Raises:
            CorruptError: the object is not a valid memory.
        """
        self._saved, self._generation = self._bucket.read_version(MEMORY)
        if self._saved is None:
            return None
        try:
            return Memory.from_dict(json.loads(self._saved))
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptError(
                f"not a TPU's memory: {error}",
                where=f"{self.address}{MEMORY}",
                do="Delete the run's TPUs (labels made-by=qarib), then this object",
            ) from None

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

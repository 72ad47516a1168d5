"""A person's request to stop a training on a worker's machine: it saves its state first.

The request is `models/<model_id>/stop` in the workspace or the bucket, because the one who asks may see only
one of them. One that was made before the training started does not count.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qarib_tasks.layout import STOP, ModelLayout
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket

log = logging.getLogger(__name__)
BUCKET_SECONDS = 10.0  # between two looks into the bucket
MOST_CHARACTERS = 200


def request_name(model: ModelLayout) -> str:
    """The name of the request below the workspace, and below the bucket's prefix."""
    return f"{model.name}{STOP}"


def request_text(user: str) -> str:
    """The content of a request."""
    return json.dumps({"by": user[:MOST_CHARACTERS]}) + "\n"


class StopRequests:
    """Looks for requests to stop a run's training.

    Args:
        client: a `google.cloud.storage.Client`; without one, only the workspace is looked into.
    """

    def __init__(self, run: Run, client: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(run.config.workspace) / request_name(run.model)
        self._name = request_name(run.model)
        self._bucket = Bucket(run.address, client) if run.address and client else None
        self._clock = clock
        self._next = 0.0

    def clear(self) -> None:
        """Remove a request: it is from before the training, or was obeyed."""
        self._path.unlink(missing_ok=True)
        if self._bucket:
            self._bucket.delete(self._name)

    def made(self) -> str | None:
        """Return who asked for a stop, in a sentence's words; None without a request."""
        if self._path.is_file():
            with self._path.open("rb") as file:
                return _words(file.read(10 * MOST_CHARACTERS))
        if self._bucket and self._clock() >= self._next:
            self._next = self._clock() + BUCKET_SECONDS
            try:
                text = self._bucket.read_text(self._name)
            except Exception as error:  # A bucket that does not answer must not end the training.
                log.warning("Could not look for a request to stop: %s", error)
                return None
            return None if text is None else _words(text.encode())
        return None


def _words(content: bytes) -> str:
    try:
        by = json.loads(content)["by"]
    except (ValueError, KeyError, TypeError, RecursionError):
        by = ""
    who = f"{by[:MOST_CHARACTERS]} asked it" if isinstance(by, str) and by else "it was asked"
    return f"{who} to stop; its state is saved"

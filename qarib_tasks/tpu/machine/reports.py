"""What the machines of a TPU write to the bucket about their work, and how the work is asked to stop."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qarib_tasks.errors import StorageError
from qarib_tasks.layout import STOP, WORKER
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.lifecycle import Heartbeat

_WORKER = re.compile(rf"/{WORKER}([0-9]+)\.json$")
# The state of one worker that is the state of all.
_FIRST = ("failed", "stopped", "preempted", "running", "other_ended")


@dataclass(frozen=True)
class BucketReports:
    """Implements `cloud_run.Training` over the folder that `launch.Launch.reports` names.

    Args:
        address: gs:// folder.
        client: a `google.cloud.storage.Client`; without one, as `storage.Bucket` finds it.
    """

    address: str
    client: Any = None

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.address.rstrip("/") + "/", self.client)

    def heartbeat(self, name: str) -> Heartbeat | None:
        """Of all workers in one: it has succeeded when all that ever spoke have, and failed when one has.

        A worker that ended since another did says so (`other_ended`). What the other one has to say counts
        then; where all say it, the other one is lost.

        Raises:
            StorageError: a report is not one.
        """
        workers: dict[int, dict[str, str]] = {}
        told: dict[int, Any] = {}  # when
        for path, blob in self._bucket.list(f"{name}/").items():
            if match := _WORKER.search(path):
                try:
                    workers[int(match[1])] = json.loads(_read(blob))
                    told[int(match[1])] = blob.updated
                except ValueError as error:
                    raise StorageError(f"not a report: {error}", where=self.address + "/" + path) from None
        of = {
            state: [number for number, report in workers.items() if report["state"] == state]
            for state in (*_FIRST, "succeeded")
        }
        # Worker 0 publishes: without it nothing is known, but that it cannot go on.
        if 0 not in workers and not of["failed"]:
            return None
        # All came to the end before worker 0 succeeded.
        done = set(of["succeeded"] + of["other_ended"]) == set(workers) and 0 in of["succeeded"]
        state = "succeeded" if done else next(state for state in _FIRST if of[state])
        # Whoever fails first is the cause of the others' end.
        one = min(of[state], key=lambda number: (told[number] if state == "failed" else 0, number))
        message = workers[one]["message"]
        if len(workers) > 1 and state != "succeeded":
            message = f"worker {one}: {message}"
        state = "lost" if state == "other_ended" else state
        mark = ", ".join(report["mark"] for _, report in sorted(workers.items()))
        return Heartbeat(name=name, mark=mark, state=state, message=message)  # type: ignore[arg-type]

    def stop(self, name: str) -> None:
        with tempfile.NamedTemporaryFile() as empty:
            self._bucket.upload(Path(empty.name), f"{name}/{STOP}")


def _read(blob: Any) -> bytes:
    """The object as it is now: the generation that was listed may be overwritten already."""
    return bytes(blob.bucket.blob(blob.name).download_as_bytes())

"""The reports that the machines of a TPU write to the bucket, and the request to stop their work."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qarib_tasks.errors import CorruptError, StorageError
from qarib_tasks.layout import STOP, WORKER
from qarib_tasks.storage.bucket import Bucket, answers
from qarib_tasks.storage.records.read import parse_record
from qarib_tasks.storage.records.schemas import WorkerReport
from qarib_tasks.tpu.observation import Heartbeat

_WORKER = re.compile(rf"/{WORKER}([0-9]+)\.json$")
# If one worker has one of these states, the training has it; the first one counts.
_FIRST = ("failed", "stopped", "preempted", "running", "other_ended")


@dataclass(frozen=True)
class BucketReports:
    """Implements `follow.Training` with the folder that `startup.Launch.reports` names.

    Args:
        address: gs:// folder.
        client: a `google.cloud.storage.Client`; by default the one that `storage.Bucket` creates.
    """

    address: str
    client: Any = None

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.address.rstrip("/") + "/", self.client)

    def heartbeat(self, name: str) -> Heartbeat | None:
        """The combined heartbeat of all workers: succeeded when all that reported have, failed when one has.

        A worker that ended because another one ended reports `other_ended`, and the other's report counts. If
        all report it, the other one is lost.

        Raises:
            StorageError: a report is not valid JSON.
        """
        workers: dict[int, dict[str, str]] = {}
        reported: dict[int, Any] = {}  # when
        for path, blob in self._bucket.list(f"{name}/").items():
            if match := _WORKER.search(path):
                try:
                    workers[int(match[1])] = parse_record(_read(blob), WorkerReport, path)
                    reported[int(match[1])] = blob.updated
                except CorruptError as error:
                    raise StorageError(
                        f"not a report: {error.what}", where=self.address + "/" + path
                    ) from None
        of = {
            state: [number for number, report in workers.items() if report["state"] == state]
            for state in (*_FIRST, "succeeded")
        }
        # Worker 0 publishes: without its report, only a failure is certain.
        if 0 not in workers and not of["failed"]:
            return None
        # All workers ended before worker 0 succeeded.
        done = set(of["succeeded"] + of["other_ended"]) == set(workers) and 0 in of["succeeded"]
        state = "succeeded" if done else next(state for state in _FIRST if of[state])
        # The worker that failed first caused the others to end.
        one = min(of[state], key=lambda number: (reported[number] if state == "failed" else 0, number))
        message = workers[one]["message"]
        if len(workers) > 1 and state != "succeeded":
            message = f"worker {one}: {message}"
        state = "lost" if state == "other_ended" else state
        mark = ", ".join(report["mark"] for _, report in sorted(workers.items()))
        return Heartbeat(name=name, mark=mark, state=state, message=message)  # type: ignore[arg-type]

    def stop(self, name: str) -> None:
        """Ask the training on the TPU of that name to save and stop."""
        with tempfile.NamedTemporaryFile() as empty:
            self._bucket.upload(Path(empty.name), f"{name}/{STOP}")


def _read(blob: Any) -> bytes:
    """The current content of the object: the generation that was listed may be overwritten by now."""
    with answers(f"gs://{blob.bucket.name}/{blob.name}"):
        return bytes(blob.bucket.blob(blob.name).download_as_bytes())

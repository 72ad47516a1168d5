"""Weights & Biases without its service: its client writes files, which `wandb sync` uploads.

Each call of `publish` with something new makes a folder `wandb/offline-run-TIME-MODEL/`, all with the same
run id. The files are the record of what was published, so they are read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qarib_tasks.config.deployment.tracking import Tracking
from qarib_tasks.errors import TrackerError
from qarib_tasks.tracking.tracker import Point, State

# A file of records, as LevelDB writes its log: blocks with parts of records.
HEADER, BLOCK, PART = 7, 32_768, 7
COMPLETE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
STEP = "trainer/step"


class WandbOffline:
    """Writes files for Weights & Biases. A row has all metrics of a step, as its service orders rows by step.

    The last row is kept back while the training has not finished: its evaluation may be missing.
    """

    name = "Weights & Biases"

    def __init__(self, tracking: Tracking) -> None:
        self._folder, self._project = Path(tracking.wandb).expanduser(), tracking.experiment
        self._run_id, self._parameters = "", dict[str, str]()
        self._points: Sequence[Point] = ()
        self._addresses: Mapping[str, str] = {}
        self._last = -1

    def start(self, run_id: str, parameters: Mapping[str, str], began: float) -> Mapping[str, int]:
        """See `Tracker`: the files know."""
        self._run_id, self._parameters = run_id, dict(parameters)
        last = {name: step for step, values in rows(self._folder, run_id) for name in values}
        self._last = max(last.values(), default=-1)
        return last

    def metrics(self, points: Sequence[Point]) -> None:
        """See `Tracker`."""
        self._points = points

    def artefacts(self, addresses: Mapping[str, str]) -> None:
        """See `Tracker`: as values of the run's summary."""
        self._addresses = {f"qarib.{name}": value for name, value in addresses.items()}

    def state(self, state: State, at: float) -> None:
        """See `Tracker`. This call writes everything."""
        new: dict[int, dict[str, float]] = {}
        for point in self._points:
            new.setdefault(point.step, {}).update(point.values)
        if new and state != "finished":
            del new[max(new)]
        new = {step: values for step, values in new.items() if step > self._last}
        summary = dict(self._addresses) | {"qarib.state": state}
        if new or summary != written_summary(self._folder, self._run_id, summary):
            self._write(new, summary, 0 if state in ("finished", "running") else 1)

    def _write(self, new: Mapping[int, Mapping[str, float]], summary: Mapping[str, str], status: int) -> None:
        try:
            import wandb
        except ImportError:
            raise TrackerError(
                "the client of Weights & Biases is not installed",
                where="wandb",
                do="pip install 'qarib[wandb]'",
            ) from None
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        quiet: Any = {"silent": True, "console": "off", "disable_git": True, "disable_code": True}
        # Its links, such as `debug.log`, would replace files of these names.
        settings = wandb.Settings(**quiet, x_disable_stats=True, x_disable_meta=True, symlink=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                mode="offline",
                project=self._project,
                id=self._run_id,
                name=self._run_id,
                resume="allow",
                dir=str(self._folder),
                config=self._parameters,
                settings=settings,
            )
            for step, values in sorted(new.items()):
                run.log({**values, STEP: step}, step=step)
            run.summary.update(dict(summary))
            run.finish(exit_code=status)
        except (wandb.Error, OSError) as error:
            raise TrackerError(
                f"could not write for Weights & Biases: {error}", where=self._folder, do="Check the folder"
            ) from None
        finally:
            wandb.teardown()


def rows(folder: Path, run_id: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a run in the files: the step, and each metric as JSON."""
    for record in _records_of(folder, run_id):
        if record.HasField("history"):
            items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            yield record.history.step.num, items


def written_summary(folder: Path, run_id: str, names: Mapping[str, str]) -> dict[str, str]:
    """The values of a run's summary with these names, as written last."""
    found: dict[str, str] = {}
    for record in _records_of(folder, run_id):
        for item in record.summary.update if record.HasField("summary") else ():
            key = item.key or ".".join(item.nested_key)
            if key in names:
                found[key] = item.value_json.strip('"')
    return found


def _records_of(folder: Path, run_id: str) -> Iterator[Any]:
    # The client adds a number to the name of a second folder of the same second.
    files = sorted(folder.glob(f"wandb/offline-run-*-{run_id}*/run-{run_id}.wandb"))
    if not files:
        return
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined,unused-ignore]

    for path in files:
        for data in records(path.read_bytes()):
            try:
                yield Record.FromString(data)
            except DecodeError:  # A process was killed while it wrote.
                break


def records(data: bytes) -> Iterator[bytes]:
    """The records in a file's bytes, up to one that a kill cut off."""
    offset, record = HEADER, b""
    while True:
        if BLOCK - offset % BLOCK < PART:  # No part begins there: zeros fill the block.
            offset += BLOCK - offset % BLOCK
        head = data[offset : offset + PART]
        if len(head) < PART:
            return
        length, kind = int.from_bytes(head[4:6], "little"), head[6]
        part = data[offset + PART : offset + PART + length]
        if len(part) < length or kind not in (COMPLETE, FIRST, MIDDLE, LAST):
            return
        record = part if kind in (COMPLETE, FIRST) else record + part
        if kind in (COMPLETE, LAST):
            yield record
        offset += PART + length

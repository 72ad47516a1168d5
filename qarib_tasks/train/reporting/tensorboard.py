"""Scalars as TensorBoard events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.storage.tfrecord import frame


class Events:
    """TensorBoard events of a folder, begun anew with the lines that are known already.

    `tf.summary` would need the package tensorboard to write; the format is a TFRecord file of
    `tensorflow.Event` (tensorflow/core/util/event.proto).
    """

    def __init__(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._file = (folder / f"events.out.tfevents.{int(time.time())}.qarib").open("wb")
        self._append(file_version="brain.Event:2")
        for line in lines:
            self.write(line)

    def write(self, line: Mapping[str, Any]) -> None:
        from tensorflow.core.framework.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in line.items()
            if name != "step" and isinstance(value, (int, float))
        ]
        self._append(step=line["step"], summary=Summary(value=values))

    def _append(self, **fields: Any) -> None:
        from tensorflow.core.util.event_pb2 import Event

        self._file.write(frame(Event(wall_time=time.time(), **fields).SerializeToString()))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

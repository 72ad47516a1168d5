"""Scalars as TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.storage.recognition import is_ours, is_training_events


class Events:
    """TensorBoard events in a folder; existing lines are written again first.

    Uses the writer of TensorFlow 1, which TensorFlow 2 keeps: it writes a summary (protobuf) in microseconds.
    `tf.summary` needs milliseconds per line, and its scalars need the package tensorboard.
    """

    def __init__(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        import tensorflow as tf

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            if is_ours(old, is_training_events):  # Other programs write files of this name too.
                old.unlink()
        with tf.Graph().as_default():  # It refuses to be made while TensorFlow executes eagerly.
            self._writer = tf.compat.v1.summary.FileWriter(str(folder))
        for line in lines:
            self._add(line)
        self._writer.flush()

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line and flush the file."""
        self._add(line)
        self._writer.flush()

    def _add(self, line: Mapping[str, Any]) -> None:
        from tensorflow.core.framework.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in line.items()
            if name != "step" and isinstance(value, (int, float))
        ]
        values += [
            Summary.Value(tag=f"tasks/{task['name']}", simple_value=task["value"])
            for task in line.get("tasks", ())
        ]
        self._writer.add_summary(Summary(value=values), line["step"])

    def close(self) -> None:
        self._writer.close()

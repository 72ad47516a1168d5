"""Scalars as TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Events:
    """TensorBoard events of a folder, written again from the lines that are known already.

    By TensorFlow's own writer, which takes a summary as protobuf; only `tf.summary.scalar` needs the package
    tensorboard.
    """

    def __init__(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        import tensorflow as tf

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = tf.summary.create_file_writer(str(folder), max_queue=1000)
        for line in lines:
            self._add(line)
        self._writer.flush()

    def write(self, line: Mapping[str, Any]) -> None:
        """Have one more line in the file."""
        self._add(line)
        self._writer.flush()

    def _add(self, line: Mapping[str, Any]) -> None:
        import tensorflow as tf
        from tensorflow.core.framework.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in line.items()
            if name != "step" and isinstance(value, (int, float))
        ]
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(Summary(value=values).SerializeToString(), step=line["step"])

    def close(self) -> None:
        self._writer.close()

"""Read TFRecord files of pretraining examples as arrays, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qarib_tasks.storage import tfrecord
from qarib_tasks.storage.tfrecord import corrupt_record, open_records

RECORDS_AT_A_TIME = 8_192
CHUNK = 4 << 20

Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Shape:
    """The lengths of an example's features."""

    max_seq_length: int
    max_predictions_per_seq: int

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """[8] the first column of each feature in a row, and the end of the last feature."""
        width, predictions = self.max_seq_length, self.max_predictions_per_seq
        return np.cumsum([0, *[width] * 3, *[predictions] * 3, 1])

    def features(self, rows: Array) -> dict[str, Array]:
        """The features of rows by name, each [records, length] int32; the weights are 0 or 1."""
        from qarib_tasks.conversion.compiled.records import FEATURES

        offsets = self.offsets
        return {name: rows[:, offsets[i] : offsets[i + 1]] for i, name in enumerate(FEATURES)}


def read_rows(path: Path, shape: Shape) -> Iterator[Array]:
    """The examples of a file, plain or gzip, a few thousand at a time.

    Yields:
        [records, 3 * max_seq_length + 3 * max_predictions_per_seq + 1] int32: input_ids, input_mask,
        segment_ids, masked_lm_positions, masked_lm_ids, masked_lm_weights, next_sentence_labels.

    Raises:
        InputError: the file does not exist.
        CorruptError: framing, a checksum, or a feature is wrong; the message has the record's number, from 0.
    """
    from qarib_tasks.conversion.compiled import parsing

    offsets = shape.offsets
    done = 0
    rest = b""
    with open_records(path) as file:
        while True:
            try:
                chunk = file.read(CHUNK)
            except tfrecord.UNREADABLE as error:
                raise corrupt_record(path, done, tfrecord.unreadable(error)) from None
            data = np.frombuffer(rest + chunk, np.uint8)
            at = 0
            while True:
                rows = np.empty((RECORDS_AT_A_TIME, offsets[-1]), np.int32)
                fault, feature, count, used = parsing.parse(data[at:], offsets, rows)
                at += used
                done += count
                if count:
                    yield rows[:count]
                if fault not in (parsing.COMPLETE, parsing.INCOMPLETE):
                    raise corrupt_record(path, done, _fault(fault, feature))
                if count < RECORDS_AT_A_TIME:
                    break
            rest = data[at:].tobytes()
            if not chunk:
                if rest:
                    raise corrupt_record(path, done, tfrecord.CUT_OFF)
                return


def _fault(fault: int, feature: int) -> str:
    from qarib_tasks.conversion.compiled import parsing
    from qarib_tasks.conversion.compiled.records import FEATURES

    name = FEATURES[feature] if feature >= 0 else ""
    return {
        parsing.LENGTH_CRC: tfrecord.WRONG_LENGTH_CRC,
        parsing.DATA_CRC: tfrecord.WRONG_DATA_CRC,
        parsing.TOO_LONG: tfrecord.TOO_LONG,
        parsing.NOT_EXAMPLE: f"not a tf.train.Example{f', at {name}' if name else ''}",
        parsing.UNKNOWN_FEATURE: "has an unknown feature",
        parsing.FEATURE_TWICE: f"has {name} twice",
        parsing.FEATURE_MISSING: f"{name} is missing",
        parsing.WRONG_LENGTH: f"{name} has the wrong length",
        parsing.WRONG_VALUE: f"{name} has an invalid value",
    }[fault]

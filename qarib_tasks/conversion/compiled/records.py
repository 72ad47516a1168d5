# mypy: disable-error-code="no-any-return"
"""Encode examples as TFRecords of `tf.train.Example`; `storage.tfrecord` describes the framing."""

from __future__ import annotations

from typing import Any

import numpy as np

from qarib_tasks.conversion.compiled import compiled, int64
from qarib_tasks.conversion.compiled.instances import A_LENGTH, A_START, B_LENGTH, B_START, MASKS, RANDOM_NEXT
from qarib_tasks.storage.tfrecord import MASK_DELTA

INPUT_IDS, INPUT_MASK, SEGMENT_IDS, POSITIONS, LABELS, WEIGHTS, NEXT = range(7)
FEATURES = (
    "input_ids",
    "input_mask",
    "segment_ids",
    "masked_lm_positions",
    "masked_lm_ids",
    "masked_lm_weights",
    "next_sentence_labels",
)
NAMES = np.frombuffer("".join(FEATURES).encode(), np.uint8)
NAME_OFFSETS = np.cumsum([0, *map(len, FEATURES)])
PREFIX = 12  # bytes before a record: its length, and the checksum of that
_ONE = 0x3F800000  # 1.0 as float32


def _crc_tables() -> Any:
    """[8, 256] uint32: the CRC32C (Castagnoli) of a byte followed by 0 to 7 zero bytes."""
    table: Any = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (table & 1) * np.uint32(0x82F63B78)
    tables = [table]
    for _ in range(7):
        tables.append((tables[-1] >> 8) ^ table[tables[-1] & 0xFF])
    return np.array(tables, np.uint32)


CRC = _crc_tables()


@compiled
def masked_crc(data: Any, start: int, end: int) -> int:
    """The masked CRC32C of `data[start:end]`, computed eight bytes at a time."""
    crc = 0xFFFFFFFF
    at = start
    while at + 8 <= end:
        crc ^= (
            int64(data[at]) | int64(data[at + 1]) << 8 | int64(data[at + 2]) << 16 | int64(data[at + 3]) << 24
        )
        crc = int64(
            CRC[7, crc & 0xFF]
            ^ CRC[6, (crc >> 8) & 0xFF]
            ^ CRC[5, (crc >> 16) & 0xFF]
            ^ CRC[4, crc >> 24]
            ^ CRC[3, data[at + 4]]
            ^ CRC[2, data[at + 5]]
            ^ CRC[1, data[at + 6]]
            ^ CRC[0, data[at + 7]]
        )
        at += 8
    while at < end:
        crc = int64(CRC[0, (crc ^ data[at]) & 0xFF]) ^ (crc >> 8)
        at += 1
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def largest_record(max_seq_length: int, max_predictions_per_seq: int) -> int:
    """The largest size of a record in bytes: an id takes at most 5, a position 2, a flag 1, a weight 4."""
    return 400 + 7 * max_seq_length + 11 * max_predictions_per_seq


@compiled
def _fixed(out: Any, at: int, value: int, size: int) -> int:
    for i in range(size):
        out[at + i] = (value >> (8 * i)) & 0xFF
    return at + size


@compiled
def _varint_size(value: int) -> int:
    size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


@compiled
def _varint(out: Any, at: int, value: int) -> int:
    while value > 0x7F:
        out[at] = value & 0x7F | 0x80
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@compiled
def _entry_size(feature: int, packed: int) -> int:
    """The size in bytes of a feature's map entry, without the entry's tag and length."""
    values = 1 + _varint_size(packed) + packed
    message = 1 + _varint_size(values) + values
    name = NAME_OFFSETS[feature + 1] - NAME_OFFSETS[feature]
    return 1 + _varint_size(name) + name + 1 + _varint_size(message) + message


@compiled
def head(out: Any, at: int, feature: int, packed: int) -> int:
    """Write a map entry up to its packed values."""
    values = 1 + _varint_size(packed) + packed
    message = 1 + _varint_size(values) + values
    name = NAME_OFFSETS[feature + 1] - NAME_OFFSETS[feature]
    out[at] = 0x0A
    at = _varint(out, at + 1, _entry_size(feature, packed))
    out[at] = 0x0A
    at = _varint(out, at + 1, name)
    at = _copy(out, at, NAMES[NAME_OFFSETS[feature] : NAME_OFFSETS[feature + 1]])
    out[at] = 0x12
    at = _varint(out, at + 1, message)
    # Feature: field 2 is a list of float, field 3 of int64; both have their values in field 1.
    out[at] = 0x12 if feature == WEIGHTS else 0x1A
    at = _varint(out, at + 1, values)
    out[at] = 0x0A
    return _varint(out, at + 1, packed)


@compiled
def begin(out: Any, at: int, sizes: Any) -> int:
    """Write the bytes before a record's first feature; the record itself starts after PREFIX bytes.

    Args:
        sizes: [7] int64, the size in bytes of each feature's packed values.
    """
    features = 0
    for feature in range(7):
        entry = _entry_size(feature, sizes[feature])
        features += 1 + _varint_size(entry) + entry
    total = 1 + _varint_size(features) + features
    at = _fixed(out, at, total, 8)
    at = _fixed(out, at, masked_crc(out, at - 8, at), 4)
    out[at] = 0x0A
    return _varint(out, at + 1, features)


@compiled
def finish(out: Any, at: int, record: int) -> int:
    """Write the checksum after a record that started at `record`."""
    return _fixed(out, at, masked_crc(out, record, at), 4)


@compiled
def fill(out: Any, at: int, count: int, value: int) -> int:
    """Write a value `count` times, to a separate slice, for which the compiler generates a fast loop."""
    part = out[at : at + count]
    for i in range(len(part)):
        part[i] = value
    return at + count


@compiled
def _copy(out: Any, at: int, source: Any) -> int:
    part = out[at : at + len(source)]
    for i in range(len(part)):
        part[i] = source[i]
    return at + len(source)


@compiled
def id_size(value: int) -> int:
    """The size in bytes of an id below 2**21 as a varint, without a branch."""
    return 1 + (value > 0x7F) + (value > 0x3FFF)


@compiled
def put_ids(out: Any, at: int, ids: Any) -> int:
    """Write ids below 2**21 as varints: always three bytes; the next id overwrites the surplus ones."""
    for i in range(len(ids)):
        value = int64(ids[i])
        out[at] = (value & 0x7F) | (value > 0x7F) << 7
        out[at + 1] = ((value >> 7) & 0x7F) | (value > 0x3FFF) << 7
        out[at + 2] = value >> 14
        at += id_size(value)
    return at


@compiled
def fill_example(
    row: Any,
    tokens: Any,
    positions: Any,
    replacements: Any,
    classification: int,
    separator: int,
    ids: Any,
    labels: Any,
) -> int:
    """Write an example's masked ids to `ids` and the original ids to `labels`; returns its length."""
    ids[0] = classification
    at = _copy(ids, 1, tokens[row[A_START] : row[A_START] + row[A_LENGTH]])
    ids[at] = separator
    at = _copy(ids, at + 1, tokens[row[B_START] : row[B_START] + row[B_LENGTH]])
    ids[at] = separator
    for i in range(row[MASKS]):
        position = positions[i]
        labels[i] = ids[position]
        ids[position] = replacements[i]
    return row[A_LENGTH] + row[B_LENGTH] + 3


@compiled
def encode(
    order: Any,
    rows: Any,
    mask_starts: Any,
    tokens: Any,
    positions: Any,
    replacements: Any,
    settings: Any,
    out: Any,
) -> int:
    """Write the records of the examples in `order` to `out`.

    Args:
        order: [records] int64, numbers of examples.
        rows: [examples, COLUMNS] int64, see `instances`.
        mask_starts: [examples] int64, first mask of each example.
        positions, replacements: [masks] uint16, int32.
        settings: [4] int64: max_seq_length, max_predictions_per_seq, ids of [CLS] and [SEP].
        out: [≥ records * largest_record] uint8.

    Returns:
        the number of bytes written.
    """
    width = settings[0]
    predictions = settings[1]
    ids = np.empty(width, np.int64)
    labels = np.empty(predictions, np.int64)
    at = 0
    sizes = np.empty(7, np.int64)
    for example in order:
        row = rows[example]
        start = mask_starts[example]
        masks = row[MASKS]
        length = fill_example(
            row, tokens, positions[start:], replacements[start:], settings[2], settings[3], ids, labels
        )
        size = width - length
        for i in range(length):
            size += id_size(ids[i])
        sizes[INPUT_IDS] = size
        sizes[INPUT_MASK] = width
        sizes[SEGMENT_IDS] = width
        size = predictions - masks
        for i in range(masks):
            size += id_size(int64(positions[start + i]))
        sizes[POSITIONS] = size
        size = predictions - masks
        for i in range(masks):
            size += id_size(labels[i])
        sizes[LABELS] = size
        sizes[WEIGHTS] = 4 * predictions
        sizes[NEXT] = 1
        record = at + PREFIX
        at = begin(out, at, sizes)
        at = head(out, at, INPUT_IDS, sizes[INPUT_IDS])
        at = put_ids(out, at, ids[:length])
        at = fill(out, at, width - length, 0)
        at = head(out, at, INPUT_MASK, width)
        at = fill(out, at, length, 1)
        at = fill(out, at, width - length, 0)
        at = head(out, at, SEGMENT_IDS, width)
        at = fill(out, at, row[A_LENGTH] + 2, 0)
        at = fill(out, at, row[B_LENGTH] + 1, 1)
        at = fill(out, at, width - length, 0)
        at = head(out, at, POSITIONS, sizes[POSITIONS])
        at = put_ids(out, at, positions[start : start + masks])
        at = fill(out, at, predictions - masks, 0)
        at = head(out, at, LABELS, sizes[LABELS])
        at = put_ids(out, at, labels[:masks])
        at = fill(out, at, predictions - masks, 0)
        at = head(out, at, WEIGHTS, 4 * predictions)
        for _ in range(masks):
            at = _fixed(out, at, _ONE, 4)
        at = fill(out, at, 4 * (predictions - masks), 0)
        at = head(out, at, NEXT, 1)
        out[at] = row[RANDOM_NEXT]
        at += 1
        at = finish(out, at, record)
    return at

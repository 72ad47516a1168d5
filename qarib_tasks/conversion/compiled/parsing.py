# mypy: disable-error-code="no-any-return"
"""Parse TFRecords of `tf.train.Example` into rows of integers; checks every length and checksum."""

from __future__ import annotations

from typing import Any

from qarib_tasks.conversion.compiled import compiled, int64
from qarib_tasks.conversion.compiled.records import NAME_OFFSETS, NAMES, WEIGHTS, masked_crc
from qarib_tasks.storage.tfrecord import MAX_RECORD

(
    COMPLETE,
    INCOMPLETE,
    LENGTH_CRC,
    DATA_CRC,
    TOO_LONG,
    NOT_EXAMPLE,
    UNKNOWN_FEATURE,
    FEATURE_TWICE,
    FEATURE_MISSING,
    WRONG_LENGTH,
    WRONG_VALUE,
) = range(11)


@compiled
def _number(data: Any, at: int, size: int) -> int:
    value = 0
    for i in range(size):
        value |= int64(data[at + i]) << (8 * i)
    return value


@compiled
def _varint(data: Any, at: int, end: int) -> tuple[int, int]:
    """The number at `at` and the place after it; the place is -1 where it does not end before `end`."""
    value = int64(0)
    shift = 0
    while at < end and shift < 64:
        byte = int64(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return value, -1


@compiled
def _message(data: Any, at: int, end: int, tag: int) -> tuple[int, int]:
    """First and last place of a length-delimited field that must have this tag; first is -1 otherwise."""
    if at >= end or data[at] != tag:
        return -1, -1
    length, at = _varint(data, at + 1, end)
    if at < 0 or length < 0 or at + length > end:
        return -1, -1
    return at, at + length


@compiled
def _feature_number(data: Any, at: int, end: int) -> int:
    for feature in range(len(NAME_OFFSETS) - 1):
        first = NAME_OFFSETS[feature]
        size = NAME_OFFSETS[feature + 1] - first
        if size == end - at:
            i = 0
            while i < size and data[at + i] == NAMES[first + i]:
                i += 1
            if i == size:
                return feature
    return -1


@compiled
def _example(data: Any, at: int, end: int, offsets: Any, row: Any) -> tuple[int, int]:
    """Write an Example's features to `row`; returns a fault or COMPLETE, and the faulty feature or -1."""
    at, stop = _message(data, at, end, 0x0A)
    if at < 0 or stop != end:
        return NOT_EXAMPLE, -1
    seen = 0
    while at < end:
        entry, entry_end = _message(data, at, end, 0x0A)
        if entry < 0:
            return NOT_EXAMPLE, -1
        at = entry_end
        name, name_end = _message(data, entry, entry_end, 0x0A)
        if name < 0:
            return NOT_EXAMPLE, -1
        feature = _feature_number(data, name, name_end)
        if feature < 0:
            return UNKNOWN_FEATURE, -1
        if seen >> feature & 1:
            return FEATURE_TWICE, feature
        seen |= 1 << feature
        value, value_end = _message(data, name_end, entry_end, 0x12)
        if value < 0 or value_end != entry_end:
            return NOT_EXAMPLE, feature
        value, value_end = _message(data, value, value_end, 0x12 if feature == WEIGHTS else 0x1A)
        if value < 0:
            return NOT_EXAMPLE, feature
        place, place_end = _message(data, value, value_end, 0x0A)
        if place < 0 or place_end != value_end:
            return NOT_EXAMPLE, feature
        column = offsets[feature]
        last = offsets[feature + 1]
        while place < place_end:
            if column == last:
                return WRONG_LENGTH, feature
            if feature == WEIGHTS:
                if place + 4 > place_end:
                    return NOT_EXAMPLE, feature
                number = _number(data, place, 4)
                place += 4
                if number != 0 and number != 0x3F800000:
                    return WRONG_VALUE, feature
                number = int64(number != 0)
            else:
                number, place = _varint(data, place, place_end)
                if place < 0:
                    return NOT_EXAMPLE, feature
                if number < 0 or number > 0x7FFFFFFF:
                    return WRONG_VALUE, feature
            row[column] = number
            column += 1
        if column != last:
            return WRONG_LENGTH, feature
    for feature in range(len(offsets) - 1):
        if not seen >> feature & 1:
            return FEATURE_MISSING, feature
    return COMPLETE, -1


@compiled
def parse(data: Any, offsets: Any, rows: Any) -> tuple[int, int, int, int]:
    """Parse records until `rows` is full, `data` ends, or a record is wrong.

    Args:
        data: [bytes] uint8, starts with a record.
        offsets: [8] int64, the first column of each feature and the end of the last.
        rows: [records, columns] int32, written.

    Returns:
        a fault, COMPLETE, or INCOMPLETE if `data` ends within a record; the faulty feature or -1; the number
        of complete records; and their size in bytes.
    """
    at = 0
    for number in range(len(rows)):
        if at == len(data):
            return COMPLETE, -1, number, at
        if at + 12 > len(data):
            return INCOMPLETE, -1, number, at
        if masked_crc(data, at, at + 8) != _number(data, at + 8, 4):
            return LENGTH_CRC, -1, number, at
        length = _number(data, at, 8)
        if length < 0 or length > MAX_RECORD:
            return TOO_LONG, -1, number, at
        end = at + 12 + length
        if end + 4 > len(data):
            return INCOMPLETE, -1, number, at
        if masked_crc(data, at + 12, end) != _number(data, end, 4):
            return DATA_CRC, -1, number, at
        fault, feature = _example(data, at + 12, end, offsets, rows[number])
        if fault != COMPLETE:
            return fault, feature, number, at
        at = end + 4
    return COMPLETE, -1, len(rows), at

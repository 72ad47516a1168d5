"""Decode one `tf.train.Example` without TensorFlow and without knowing its features.

To read many examples with known features, use `example_reader`, which is faster.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


def decode_example(data: bytes) -> dict[str, list[int] | list[float]]:
    """The features of a `tf.train.Example` by name: lists of int or of float, packed or not.

    Raises:
        ValueError: the data is not an Example with such features.
    """
    features: dict[str, list[int] | list[float]] = {}
    for _, entries in _fields(data):
        for _, entry in _fields(_bytes(entries)):
            pair = dict(_fields(_bytes(entry)))
            features[_bytes(pair.get(1, b"")).decode()] = _decode_feature(_bytes(pair.get(2, b"")))
    return features


def _decode_feature(data: bytes) -> list[int] | list[float]:
    floats: list[float] = []
    integers: list[int] = []
    for kind, values in _fields(data):
        for _, value in _fields(_bytes(values)):
            if kind == 2:
                packed = _bytes(value)
                floats += struct.unpack(f"<{len(packed) // 4}f", packed)
            elif kind == 3:
                integers += _varints(value) if isinstance(value, bytes) else [_signed(value)]
            else:
                raise ValueError(f"has a feature of kind {kind}, expected a list of int64 or float")
    return floats or integers


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("has a number in place of a message")
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _varints(data: bytes) -> list[int]:
    result, at = [], 0
    while at < len(data):
        value, at = _read_varint(data, at)
        result.append(_signed(value))
    return result


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the message ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of each field of a protobuf message."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _read_varint(data, at)
        elif wire == 5:
            length = 4
        else:
            raise ValueError(f"has a field of wire type {wire}")
        if at + length > len(data):
            raise ValueError("the message ends within a field")
        yield number, data[at : at + length]
        at += length

"""TFRecord files of `tf.train.Example`, read without TensorFlow and without knowing the features.

A TFRecord file is a sequence of records: length (8 bytes, little-endian), masked CRC32C of these 8 bytes,
the data, masked CRC32C of the data (tensorflow/core/lib/io/record_writer.h). With GZIP the whole file is
a gzip stream. `example_reader` is for reading many records of known features fast.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import google_crc32c

from qarib_tasks.errors import CorruptError, InputError

BUFFER = 1 << 20
UNREADABLE = (EOFError, OSError, zlib.error)  # what reading a damaged file raises, compressed or not

GZIP_MAGIC = b"\x1f\x8b\x08"
MAX_RECORD = 1 << 28
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """The CRC32C of `data`, rotated and offset, as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def is_gzip(path: Path) -> bool:
    """Whether the file begins as a gzip stream does.

    A TFRecord file could only do so if its first record were longer than half a megabyte: none of ours is.
    """
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, plain or gzip, each with its CRCs checked.

    Raises:
        InputError: there is no such file.
        CorruptError: framing or CRC is wrong; the message has the record's number, from 0.
    """
    if not path.is_file():
        raise InputError("no such file", where=path)
    number = 0
    compressed = is_gzip(path)
    with cast(IO[bytes], gzip.open(path, "rb") if compressed else path.open("rb")) as file:
        while True:
            try:
                data = _read_record(file)
            except (ValueError, EOFError, OSError, zlib.error) as error:
                raise CorruptError(
                    str(error), where=f"{path}: record {number}", do="Convert the shard again"
                ) from None
            if data is None:
                return
            yield data
            number += 1


def _read_record(file: IO[bytes]) -> bytes | None:
    head = file.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise ValueError("the file ends within the record")
    length, length_crc = struct.unpack("<QI", head)
    if masked_crc32c(head[:8]) != length_crc:
        raise ValueError("the CRC of the record's length is wrong")
    if length > MAX_RECORD:
        raise ValueError("the record's length cannot be")
    body = file.read(length + 4)
    if len(body) < length + 4:
        raise ValueError("the file ends within the record")
    if masked_crc32c(body[:length]) != int.from_bytes(body[length:], "little"):
        raise ValueError("the CRC of the record is wrong")
    return body[:length]


def decode_example(data: bytes) -> dict[str, list[int] | list[float]]:
    """The features of a `tf.train.Example` by name: lists of int or of float, packed or not.

    Raises:
        ValueError: it is not an Example of such features.
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
                raise ValueError(f"a feature of kind {kind}, not a list of int64 or float")
    return floats or integers


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
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
            raise ValueError(f"a field of wire type {wire}")
        if at + length > len(data):
            raise ValueError("the message ends within a field")
        yield number, data[at : at + length]
        at += length


def records_from(
    path: Path,
    number: int = 0,
    offset: int = 0,
    pass_over: Callable[[CorruptError], None] | None = None,
) -> Iterator[tuple[int, int, bytes]]:
    """The records of a TFRecord file, plain or GZIP, from the record `number` at `offset` on.

    Each is eight bytes of length, their masked CRC32C, the payload and its masked CRC32C, little-endian
    (TensorFlow, `tensorflow/core/lib/io/record_writer.h`).

    Args:
        offset: bytes before the record, uncompressed.
        pass_over: is told of each corrupt record, which is then left out, with all behind it in the file
            unless only its payload is corrupt; it raises the error where it has been told of too many.

    Yields:
        the number and the offset of the record behind, and the payload.

    Raises:
        CorruptError: a checksum is wrong, or the file ends within a record.
    """

    def corrupt(what: str) -> None:
        error = CorruptError(
            f"record {number} {what}",
            where=path,
            do="Convert the shard again, or fetch it again from the bucket",
        )
        if pass_over is None:
            raise error
        pass_over(error)

    with _open(path) as file:
        try:
            file.seek(offset)
        except UNREADABLE as error:
            corrupt(f"cannot be read: {error}")
            return
        while True:
            try:
                header = file.read(12)
                if not header:
                    return
                if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
                    corrupt("does not begin as a record does")
                    return
                length = int.from_bytes(header[:8], "little")
                payload, crc = file.read(length), file.read(4)
            except UNREADABLE as error:
                corrupt(f"cannot be read: {error}")
                return
            if len(payload) < length or len(crc) < 4:
                corrupt("is cut off")
                return
            whole = _masked_crc(payload) == crc
            if not whole:
                corrupt("has a wrong checksum")
            number += 1
            offset += length + 16
            if whole:
                yield number, offset, payload


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(12)
    # The length of a plain record may begin like the mark of a GZIP file: only its checksum tells.
    if head[:2] == b"\x1f\x8b" and _masked_crc(head[:8]) != head[8:]:
        return io.BufferedReader(gzip.open(path), BUFFER)
    return path.open("rb", buffering=BUFFER)


def frame(payload: bytes) -> bytes:
    """One record of a TFRecord file."""
    length = len(payload).to_bytes(8, "little")
    return b"".join((length, _masked_crc(length), payload, _masked_crc(payload)))


def _masked_crc(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")

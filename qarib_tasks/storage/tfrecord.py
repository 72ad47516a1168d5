"""The TFRecord format: the one module that knows how a file stores records.

A TFRecord file is a sequence of records. Each record is the payload's length (8 bytes, little-endian), the
masked CRC32C of these 8 bytes, the payload, and the masked CRC32C of the payload
(tensorflow/core/lib/io/record_writer.h). With GZIP, the file is one gzip stream.

`conversion.compiled` writes and parses records in compiled code. It uses the constants of this module, and
its compiled code is stamped with the bytes of this file.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import google_crc32c

from qarib_tasks.errors import CorruptError, InputError

MASK_DELTA = 0xA282EAD8  # added to a rotated CRC32C
MAX_RECORD = 1 << 28  # bytes; a longer record is treated as damaged
HEADER = 12  # bytes: the length and its CRC
GZIP_MAGIC = b"\x1f\x8b\x08"
BUFFER = 1 << 20
UNREADABLE = (EOFError, OSError, zlib.error)  # what reading a damaged file raises, compressed or not

# The faults of a record.
WRONG_LENGTH_CRC = "the checksum of the record length is wrong"
WRONG_DATA_CRC = "the checksum of the record is wrong"
TOO_LONG = "implausible record length"
CUT_OFF = "the file ends within the record"


def corrupt_record(path: Path, number: int, what: str) -> CorruptError:
    """The error for a damaged record; `number` counts from 0."""
    return CorruptError(
        what,
        where=f"{path}: record {number}",
        do="Convert the shard again, or download it again from the bucket",
    )


def unreadable(error: Exception) -> str:
    """The fault of a record whose reading raised one of `UNREADABLE`."""
    return f"cannot be read: {error}"


def masked_crc32c(data: bytes) -> int:
    """The CRC32C of `data`, rotated and offset, as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One record of a TFRecord file."""
    length = len(payload).to_bytes(8, "little")
    return b"".join((length, _stored_crc(length), payload, _stored_crc(payload)))


def _stored_crc(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")


def open_records(path: Path) -> IO[bytes]:
    """Open a TFRecord file, plain or gzip, to read its uncompressed bytes.

    Raises:
        InputError: the file does not exist or cannot be opened.
    """
    # The compiled code's cache depends on the source of what this module imports at once.
    from qarib_tasks.storage.files import require_file

    require_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEADER)
        # The length of a plain record can begin like a gzip stream: only the length's checksum decides.
        if head.startswith(GZIP_MAGIC) and _stored_crc(head[:8]) != head[8:]:
            return cast(IO[bytes], gzip.open(path))
        return path.open("rb", buffering=BUFFER)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error


def read_records(
    path: Path,
    number: int = 0,
    offset: int = 0,
    pass_over: Callable[[CorruptError], None] | None = None,
) -> Iterator[tuple[int, int, bytes]]:
    """The records of a TFRecord file, plain or gzip, with their checksums verified.

    Args:
        number, offset: the first record to read, and the uncompressed bytes before it.
        pass_over: called with the error of each corrupt record instead of raising it. The record is skipped;
            unless only its payload is corrupt, the rest of the file is skipped too.

    Yields:
        the number and the offset of the next record, and the payload of this one.

    Raises:
        InputError: the file does not exist.
        CorruptError: a record is damaged; the error names the file and the record's number.
    """

    def corrupt(what: str) -> None:
        error = corrupt_record(path, number, what)
        if pass_over is None:
            raise error
        pass_over(error)

    with open_records(path) as opened:
        file = io.BufferedReader(opened, BUFFER) if isinstance(opened, gzip.GzipFile) else opened
        try:
            file.seek(offset)
        except UNREADABLE as error:
            corrupt(unreadable(error))
            return
        while True:
            try:
                header = file.read(HEADER)
                if not header:
                    return
                if len(header) < HEADER:
                    corrupt(CUT_OFF)
                    return
                if _stored_crc(header[:8]) != header[8:]:
                    corrupt(WRONG_LENGTH_CRC)
                    return
                length = int.from_bytes(header[:8], "little")
                if length > MAX_RECORD:
                    corrupt(TOO_LONG)
                    return
                payload, crc = file.read(length), file.read(4)
            except UNREADABLE as error:
                corrupt(unreadable(error))
                return
            if len(crc) < 4:
                corrupt(CUT_OFF)
                return
            intact = _stored_crc(payload) == crc
            if not intact:
                corrupt(WRONG_DATA_CRC)
            number += 1
            offset += length + HEADER + 4
            if intact:
                yield number, offset, payload

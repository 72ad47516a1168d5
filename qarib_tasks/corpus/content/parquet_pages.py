"""The sizes of the pages in a Parquet file, from their headers: a few bytes can unpack to gigabytes.

pyarrow unpacks a page as far as its header says, and puts each text of a dictionary into as many rows as the
file names it for. The footer's sizes are claims, so the headers are read before the pages are.

Source: https://github.com/apache/parquet-format, parquet.thrift, in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

_HEADER = 1 << 12  # bytes of a page's header that are read at first
_LONGEST_HEADER = 1 << 24  # that pyarrow reads
_DEEPEST = 20  # structs in each other
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_DELTA_BYTES = 7  # the encoding DELTA_BYTE_ARRAY: a text begins as the one before it
_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd"}


@dataclass
class Pages:
    """What the pages of some columns unpack to.

    Attributes:
        bytes: of all.
        values: the number of values, also in lists.
        longest: bytes that one text can have at most.
        row: bytes of the largest average row of a page.
    """

    bytes: int = 0
    values: int = 0
    longest: int = 0
    row: int = 0


def pages_of(stream: IO[bytes], chunks: Iterable[Any]) -> Pages:
    """Read the headers of all pages of column chunks.

    Args:
        chunks: pyarrow's ColumnChunkMetaData.

    Raises:
        ValueError: a header is damaged.
    """
    found = Pages()
    for chunk in chunks:
        for _ in added_pages(found, stream, chunk):
            pass
    return found


def added_pages(found: Pages, stream: IO[bytes], chunk: Any) -> Iterator[int]:
    """Add the pages of a column chunk to what was found; yield the number of values so far after each page.

    The position of the stream is the same while this waits.

    Raises:
        ValueError: see `pages_of`.
    """
    raw = getattr(stream, "raw", stream)  # A buffer would read far more than the headers.
    starts = [place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place]
    place = min(starts, default=0)
    end = place + chunk.total_compressed_size
    read = 0
    while place < end and read < chunk.num_values:
        before = raw.tell()
        header, length = _page_header(raw, place)
        size, packed = header.get(2, 0), header.get(3, 0)
        if size < 0 or packed < 0:
            raise ValueError("the size of a page is negative")
        found.bytes += size
        kind, about = header.get(1), header.get(5) or header.get(7) or header.get(8) or {}
        values = about.get(1, 0)
        if kind == _DICTIONARY:
            found.longest = max(found.longest, _longest(raw, place + length, packed, size, chunk))
        elif kind in (_DATA, _DATA_2):
            read += values
            found.values += values
            found.row = max(found.row, size // max(values, 1))
            encoding = about.get(2 if kind == _DATA else 4)
            if encoding == _DELTA_BYTES:
                found.longest = max(found.longest, size)
        place += length + packed
        raw.seek(before)
        yield read


def _longest(raw: Any, place: int, packed: int, size: int, chunk: Any) -> int:
    """Return the length of the longest text of a dictionary, or that of all if it cannot be read here."""
    if chunk.physical_type != "BYTE_ARRAY":
        return 0
    if size <= _SHORT:
        return size
    import pyarrow

    data = _read(raw, place, packed)
    if chunk.compression in _CODECS:
        codec = _CODECS[chunk.compression]
        data = pyarrow.decompress(data, decompressed_size=size, codec=codec, asbytes=True)
    elif chunk.compression != "UNCOMPRESSED":
        return size
    longest = start = 0
    while start + 4 <= len(data):
        length = int.from_bytes(data[start : start + 4], "little")
        longest = max(longest, length)
        start += 4 + length
    return min(longest, size)


_SHORT = 1 << 16  # bytes of a dictionary of which no text can be too long


def _read(raw: Any, place: int, count: int) -> bytes:
    raw.seek(place)
    parts, left = [], count
    while left and (part := raw.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _page_header(raw: Any, place: int) -> tuple[dict[int, Any], int]:
    """Return the fields of the page's header by their numbers, and its length."""
    size = _HEADER
    while True:
        data = _read(raw, place, size)
        try:
            return _struct(data, 0, 0)
        except IndexError:
            if len(data) < size or size >= _LONGEST_HEADER:
                raise ValueError("the header of a page is damaged") from None
            size *= 8


def _struct(data: bytes, place: int, depth: int) -> tuple[dict[int, Any], int]:
    if depth > _DEEPEST:
        raise ValueError("the header of a page is damaged")
    values: dict[int, Any] = {}
    number = 0
    while kind := data[place]:
        place += 1
        if kind >> 4:
            number += kind >> 4
        else:
            number, place = _integer(data, place)
        values[number], place = _value(data, place, kind & 15, depth)
    return values, place + 1


def _value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true, false
        return kind == 1, place
    if kind == 3:  # a byte
        return data[place], place + 1
    if kind in (4, 5, 6):  # integers
        return _integer(data, place)
    if kind == 7:  # a floating-point number
        return None, place + 8
    if kind == 8:  # bytes
        length, place = _unsigned(data, place)
        return None, place + length
    if kind == 12:
        return _struct(data, place, depth + 1)
    # Lists, sets, and maps occur in no page's header.
    raise ValueError("the header of a page is damaged")


def _unsigned(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("the header of a page is damaged")


def _integer(data: bytes, place: int) -> tuple[int, int]:
    value, place = _unsigned(data, place)
    return (value >> 1) ^ -(value & 1), place

"""The sizes of the record batches of an Arrow file, from the messages that describe them.

Each buffer of a compressed batch begins with the size that it unpacks to, which pyarrow allocates at once. So
these sizes are read before the batches are.

Source: https://github.com/apache/arrow, format/Message.fbs and File.fbs, in the binary format of FlatBuffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_MAGIC = b"ARROW1"
_CONTINUED = b"\xff\xff\xff\xff"
_MOST_METADATA = 16 << 20  # bytes of the message of a batch, or of a file's footer
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DAMAGED = "the metadata of the Arrow file is damaged"


@dataclass(frozen=True)
class Batch:
    """A record batch, or the values of a dictionary.

    Attributes:
        rows: the number of rows.
        body: the bytes of the file that it takes.
        unpacked: the bytes of all its buffers.
        dictionary: it has the values of a dictionary.
    """

    rows: int
    body: int
    unpacked: int
    dictionary: bool


def batches_of(stream: IO[bytes]) -> Iterator[Batch]:
    """Yield what a file or stream says of its batches, a file's dictionaries first.

    The position of the stream is the same afterwards, and while this waits.

    Raises:
        ValueError: the metadata is damaged.
    """
    raw = getattr(stream, "raw", stream)  # A buffer would read far more than the metadata.
    try:
        if _read(raw, 0, len(_MAGIC)) == _MAGIC:
            for place in _blocks(raw):
                found, _ = _message(raw, place)
                if found:
                    yield found
            return
        place = 0
        while True:
            found, place = _message(raw, place)
            if found:
                yield found
            if not place:
                return
    except (struct.error, IndexError):
        raise ValueError(_DAMAGED) from None


def _read(raw: Any, place: int, count: int) -> bytes:
    before = raw.tell()
    raw.seek(place)
    parts, left = [], count
    while left and (part := raw.read(left)):
        parts.append(part)
        left -= len(part)
    raw.seek(before)
    return b"".join(parts)


def _blocks(raw: Any) -> Iterator[int]:
    """Yield the places of a file's messages, from its footer."""
    before = raw.tell()
    size = raw.seek(0, 2)
    raw.seek(before)
    length = int.from_bytes(_read(raw, size - 10, 4), "little")
    if not 0 < length <= min(_MOST_METADATA, size):
        raise ValueError(_DAMAGED)
    footer = _Table.root(_read(raw, size - 10 - length, length))
    for field in (2, 3):  # the dictionaries, the record batches
        yield from (block[0] for block in footer.structs(field, "<qi4xq"))


def _message(raw: Any, place: int) -> tuple[Batch | None, int]:
    """Return the batch of a message, and the place of the next message; 0 at the end."""
    if place < 0:
        raise ValueError(_DAMAGED)
    head = _read(raw, place, 8)
    is_continued = head.startswith(_CONTINUED)
    length = int.from_bytes(head[4:8] if is_continued else head[:4], "little")
    if len(head) < 8 or not length:
        return None, 0
    start = place + (8 if is_continued else 4)
    if length > _MOST_METADATA:
        raise ValueError(_DAMAGED)
    message = _Table.root(_read(raw, start, length))
    kind, body = message.number(1, "<B"), message.number(3, "<q")
    if body < 0:
        raise ValueError(_DAMAGED)
    after = start + length + body
    batch = message.table(2)
    if kind == _DICTIONARY_BATCH and batch:
        batch = batch.table(1)
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH) or not batch:
        return None, after
    packed, unpacked = batch.table(3) is not None, 0
    for offset, count in batch.structs(2, "<qq"):
        unpacked += max(count, 0)
        if packed and count >= 8:
            (size,) = struct.unpack("<q", _read(raw, start + length + offset, 8))
            unpacked += max(size, 0)
    return Batch(batch.number(0, "<q"), body, unpacked, kind == _DICTIONARY_BATCH), after


@dataclass(frozen=True)
class _Table:
    """A table of FlatBuffers."""

    data: bytes
    place: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, *struct.unpack_from("<I", data))

    def _field(self, number: int) -> int:
        """Return where a field is; 0 if the table does not have it."""
        (back,) = struct.unpack_from("<i", self.data, self.place)
        fields = self.place - back
        if fields < 0:
            raise ValueError(_DAMAGED)
        (size,) = struct.unpack_from("<H", self.data, fields)
        if size < 6 + 2 * number:
            return 0
        (offset,) = struct.unpack_from("<H", self.data, fields + 4 + 2 * number)
        return self.place + int(offset) if offset else 0

    def number(self, number: int, form: str) -> int:
        place = self._field(number)
        return int(struct.unpack_from(form, self.data, place)[0]) if place else 0

    def _target(self, number: int) -> int:
        place = self._field(number)
        return place + int(struct.unpack_from("<I", self.data, place)[0]) if place else 0

    def table(self, number: int) -> _Table | None:
        place = self._target(number)
        return _Table(self.data, place) if place else None

    def structs(self, number: int, form: str) -> Iterator[tuple[int, ...]]:
        place = self._target(number)
        if not place:
            return
        (count,) = struct.unpack_from("<I", self.data, place)
        size = struct.calcsize(form)
        if count * size > len(self.data):
            raise ValueError(_DAMAGED)
        for index in range(count):
            yield struct.unpack_from(form, self.data, place + 4 + index * size)

"""TensorFlow's format of checkpoints ("V2"), written without TensorFlow, which takes seconds to import.

The data file has the arrays one after the other (tensorflow/core/util/tensor_bundle). The index is a sorted
table of LevelDB's form (tensorflow/core/lib/io/table_builder.cc): a block with an entry for each array by its
name, each a protocol buffer (tensorflow/core/protobuf/tensor_bundle.proto), then an empty block, a block with
the place of the first one, and a footer. The files have the bytes that TensorFlow itself writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from qarib_tasks.storage.tfrecord import masked_crc32c

_TYPES = {"float32": 1, "int64": 9}  # tensorflow/core/framework/types.proto
_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes
_RESTART = 16  # entries; the first of so many has its complete key
_HEADER = bytes([0x08, 1, 0x1A, 2, 0x08, 1])  # one data file, little-endian, written by version 1


def write_tensor_bundle(data: Path, index: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the two files of a checkpoint, deterministically.

    Args:
        arrays: float32 or int64, by name.
    """
    entries, offset = {b"": _HEADER}, 0
    with data.open("wb") as file:
        for name, array in sorted((name.encode(), array) for name, array in arrays.items()):
            values = np.asarray(array, order="C")
            stored = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
            file.write(stored)
            entries[name] = _entry(values, offset, stored)
            offset += len(stored)
    index.write_bytes(_table(entries))


def _entry(values: np.ndarray, offset: int, stored: bytes) -> bytes:
    """Return a `BundleEntryProto`: type, shape, place, size, and checksum. Zeros are left out."""
    sizes = b"".join(_field(2, _number(1, size)) for size in values.shape)
    entry = _number(1, _TYPES[values.dtype.name]) + _field(2, sizes) + _number(4, offset)
    return entry + _number(5, len(stored)) + bytes([6 << 3 | 5]) + masked_crc32c(stored).to_bytes(4, "little")


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value) if value else b""


def _field(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _table(entries: Mapping[bytes, bytes]) -> bytes:
    """Return a table of one block. `entries` are sorted."""
    table = bytearray()

    def add(pairs: Mapping[bytes, bytes]) -> bytes:
        """Append a block, and return its handle."""
        block = b"".join(_block(pairs))
        handle = _varint(len(table)) + _varint(len(block))
        kind = b"\0"  # not compressed
        table.extend(block + kind + masked_crc32c(block + kind).to_bytes(4, "little"))
        return handle

    first, nothing = add(entries), add({})
    after = add({_short_successor(list(entries)[-1]): first})
    handles = nothing + after
    return bytes(table) + handles.ljust(_FOOTER - 8, b"\0") + _MAGIC.to_bytes(8, "little")


def _block(pairs: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield the pairs, each key without what it shares with the last one, and the places of complete keys."""
    restarts, place, before = [0], 0, b""
    for number, (key, value) in enumerate(pairs.items()):
        shared = 0
        if number and number % _RESTART == 0:
            restarts.append(place)
        elif number:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        own = key[shared:]
        part = b"".join(map(_varint, (shared, len(own), len(value)))) + own + value
        place, before = place + len(part), key
        yield part
    yield b"".join(number.to_bytes(4, "little") for number in (*restarts, len(restarts)))


def _short_successor(key: bytes) -> bytes:
    """Return a short key after this one, as LevelDB does."""
    for place, byte in enumerate(key):
        if byte != 255:
            return key[:place] + bytes([byte + 1])
    return key

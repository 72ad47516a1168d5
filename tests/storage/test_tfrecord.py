"""The TFRecord format, and the damage that its reader names."""

from __future__ import annotations

import ast
import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.conversion.example_reader import Shape, read_rows
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage import tfrecord
from qarib_tasks.storage.tfrecord import MAX_RECORD, frame, masked_crc32c, read_records


def write_shard(path: Path, payloads: list[bytes], *, compressed: bool = False) -> None:
    data = b"".join(map(frame, payloads))
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)


@pytest.mark.parametrize("compressed", [False, True])
def test_records_from_an_offset(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "x.tfrecord"
    write_shard(path, [b"first", b"", b"third"], compressed=compressed)
    steps = list(read_records(path))
    assert [record for _, _, record in steps] == [b"first", b"", b"third"]
    number, offset, _ = steps[0]
    assert list(read_records(path, number, offset)) == steps[1:]


def test_a_plain_file_that_begins_like_gzip_is_plain(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    write_shard(path, [b"x" * 0x88B1F])
    assert path.read_bytes()[:3] == b"\x1f\x8b\x08"
    assert [len(record) for _, _, record in read_records(path)] == [0x88B1F]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fault", ["flipped", "cut", "in the file"])
def test_a_broken_record_is_named(tmp_path: Path, fault: str, compressed: bool) -> None:
    path = tmp_path / "shard_0003.tfrecord"
    data = [frame(b"a" * 40), frame(b"b" * 40), frame(b"c" * 40)]
    if fault == "flipped":
        data[2] = data[2].replace(b"ccc", b"cxc", 1)
    whole = b"".join(data)
    if fault == "cut":
        whole = whole[:-10]
    written = bytearray(gzip.compress(whole) if compressed else whole)
    if fault == "in the file":
        written[-20] ^= 0xFF
    path.write_bytes(written)
    # The compressed file is read in one piece: the reader is still at the first record.
    number = 0 if compressed and fault == "in the file" else 2
    with pytest.raises(CorruptError, match=rf"shard_0003.tfrecord: record {number}"):
        list(read_records(path))


def test_both_readers_name_damage_in_the_same_words(tmp_path: Path) -> None:
    """The plain one, and the compiled one that the conversion and `qarib verify` use."""
    length = (MAX_RECORD + 1).to_bytes(8, "little")
    damage = {
        tfrecord.WRONG_LENGTH_CRC: b"\x01" + bytes(20),
        tfrecord.WRONG_DATA_CRC: frame(b"abc").replace(b"abc", b"abd"),
        tfrecord.TOO_LONG: length + masked_crc32c(length).to_bytes(4, "little"),
        tfrecord.CUT_OFF: frame(b"abc")[:-1],
    }
    path = tmp_path / "shard_0000.tfrecord"
    for what, data in damage.items():
        path.write_bytes(data)
        errors = []
        for reader in (read_records(path), read_rows(path, Shape(8, 2))):
            with pytest.raises(CorruptError) as raised:
                list(reader)
            errors.append(str(raised.value))
        assert errors[0] == errors[1]
        assert f"{path}: record 0: {what}. Convert the shard again" in errors[0]
    path.write_bytes(gzip.compress(frame(b"abc"))[:-4])
    for reader in (read_records(path), read_rows(path, Shape(8, 2))):
        with pytest.raises(CorruptError, match=re.escape(f"{path}: record 0: cannot be read: ")):
            list(reader)
    path.unlink()
    for reader in (read_records(path), read_rows(path, Shape(8, 2))):
        with pytest.raises(InputError, match=r"shard_0000\.tfrecord: no such file"):
            list(reader)


def test_an_implausible_length_is_passed_over_with_the_rest_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shard_0000.tfrecord"
    length = (1 << 60).to_bytes(8, "little")
    head = length + masked_crc32c(length).to_bytes(4, "little")
    path.write_bytes(frame(b"one") + head + frame(b"two"))
    passed: list[CorruptError] = []
    assert [data for _, _, data in read_records(path, pass_over=passed.append)] == [b"one"]
    assert [(error.where, error.what) for error in passed] == [(f"{path}: record 1", tfrecord.TOO_LONG)]


def test_the_compiled_checksum_is_the_same() -> None:
    from qarib_tasks.conversion.compiled.records import masked_crc

    data = np.random.default_rng(3).integers(0, 256, 1000, np.uint8)
    for end in (0, 1, 7, 8, 9, 999, 1000):
        assert masked_crc(data, 0, end) == masked_crc32c(data[:end].tobytes())


def test_the_stamp_of_the_compiled_code_covers_what_it_imports() -> None:
    """numba builds imported constants into the compiled code."""
    from qarib_tasks.conversion import compiled

    stamped = {"qarib_tasks.storage.tfrecord"} | {
        f"qarib_tasks.conversion.compiled.{path.stem}" for path in compiled.HERE.glob("*.py")
    }
    imported = set()
    for path in compiled.HERE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("qarib_tasks"):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= {name if name in stamped else str(node.module) for name in names}
    assert imported - {"qarib_tasks.conversion.compiled"} <= stamped
    assert [path.name for path in compiled.OUTSIDE] == ["tfrecord.py"]

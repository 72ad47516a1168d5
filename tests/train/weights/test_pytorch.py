"""Files of torch, read without it."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.train.weights.pytorch import LEGACY_MAGIC, read_pytorch


@pytest.mark.slow
@pytest.mark.parametrize("archive", [True, False])
def test_tensors_of_both_formats(tmp_path: Path, archive: bool) -> None:
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = OrderedDict(
        whole=base,
        transposed=base.t(),
        part=base[1:3, 2:],
        half=torch.tensor([1.5, -2.0], dtype=torch.float16),
        brain=torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        ids=torch.arange(5),
        scalar=torch.tensor(3.5),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    torch.save(state, tmp_path / "model.bin", _use_new_zipfile_serialization=archive)
    tensors = read_pytorch(tmp_path / "model.bin")
    assert list(tensors) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(tensors[name].astype(np.float64), value.detach().double().numpy())


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("pickles run code",))


def test_code_in_a_pickle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.bin"
    for content in (pickle.dumps(Evil()), b"no pickle", b""):
        path.write_bytes(content)
        with pytest.raises(CorruptError, match="not a PyTorch state_dict"):
            read_pytorch(path)
    assert "run code" not in capsys.readouterr().out


def pickled(count: int, size: int, stride: int, before: bytes = b"") -> bytes:
    """The pickle of {"w": a tensor of `size` numbers in a storage of `count`}, as torch writes it."""

    def number(value: int) -> bytes:
        return b"I" + str(value).encode() + b"\n"

    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage[1:] + number(count) + b"tQ" + number(0) + b"("
        + number(size) + b"t(" + number(stride) + b"ttR"
    )  # fmt: skip
    return b"\x80\x02" + before + b"}X\x01\x00\x00\x00w" + tensor + b"s."


def repeated(times: int, count: int) -> bytes:
    """The pickle of many tensors, each of all numbers of one storage."""
    one = pickled(count, count, 1).partition(b"X\x01\x00\x00\x00w")[2].removesuffix(b".")
    names = (f"{number:05}".encode() for number in range(times))
    return b"\x80\x02}" + b"".join(b"X\x05\x00\x00\x00" + name + one for name in names) + b"."


def archive(pickle_: bytes, data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("archive/data.pkl", pickle_)
        made.writestr("archive/data/0", data)
    return file.getvalue()


def test_an_archive_made_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(archive(pickled(3, 2, 1), np.array([1, 2, 3], "f4").tobytes()))
    np.testing.assert_array_equal(read_pytorch(path)["w"], [1, 2])


def test_an_encrypted_archive(tmp_path: Path) -> None:
    """`zipfile` writes none: the flag of each member is set by hand, in its header and in the directory."""
    data = bytearray(archive(pickled(3, 2, 1), np.array([1, 2, 3], "f4").tobytes()))
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(header)
        while place >= 0:
            data[place + offset] |= 1
            place = data.find(header, place + 1)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=r"model\.bin: .* is encrypted, .*\. Save it without a password"):
        read_pytorch(path)


MANY = 1 << 30
SMALL = {
    "a storage that is larger than its file": lambda: archive(pickled(MANY, 1, 1), b"1234"),
    "a tensor that repeats a number": lambda: archive(pickled(1, 16 * MANY, 0), b"1234"),
    "tensors that share a storage": lambda: archive(repeated(1000, 1 << 16), bytes(4 << 16)),
    "a size that is negative": lambda: archive(pickled(1, -1, 1), b"1234"),
    "a storage that is packed": lambda: archive(
        pickled(8 << 20, 1, 1), bytes(32 << 20), zipfile.ZIP_DEFLATED
    ),
    "a number of an object": lambda: archive(
        pickled(1, 1, 1, before=b"Nr" + struct.pack("<I", 1 << 29) + b"0"), b"1234"
    ),
    "an endless name": lambda: archive(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 45), b"1234"),
    "the legacy format": lambda: (
        b"".join(pickle.dumps(value, 2) for value in (LEGACY_MAGIC, 1001, {"little_endian": True}))
        + pickled(MANY, 1, 1)
        + pickle.dumps(["0"], 2)
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_file_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(SMALL[name]())
    assert path.stat().st_size < 2 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptError, match=r"model\.bin: not a PyTorch state_dict"):
        read_pytorch(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_pytorch(tmp_path / name)

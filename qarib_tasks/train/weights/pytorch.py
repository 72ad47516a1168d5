"""A reader of `pytorch_model.bin` without torch: older models on the Hugging Face Hub have no other file.

The file is a pickle, which could run any code; this reader builds tensors and rejects everything else.
The size of the file limits what it takes in memory: no storage and no tensor is larger than its bytes there.
Formats, as in torch/serialization.py: the zip archive (since 1.6) and the legacy format.
"""

from __future__ import annotations

import io
import lzma
import math
import os
import pickle
import pickletools
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.regular_files import open_regular

MOST_TIMES = 4  # its size that a file may unpack to; torch does not compress
FREE_BYTES = 16 << 20  # that any file may unpack to
MOST_PICKLED = 64 << 20  # bytes of a pickle, which has names and shapes, no numbers
MOST_MEMBERS = 100_000
MOST_DIMENSIONS = 8
_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    RuntimeError,  # also of an encrypted zip file, and one that is packed in an unknown way
)
REPLACE = "Download it again, or save it again with `torch.save(model.state_dict(), ...)`"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a `state_dict` by name, each in its stored precision.

    Raises:
        CorruptError: the file cannot be read, contains values that are not tensors, or unpacks to much more
            than its size.
    """
    import ml_dtypes  # noqa: F401 (NumPy then knows bfloat16)

    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            budget = _Budget(max(FREE_BYTES, MOST_TIMES * size))
            state = _read_zip(file, budget) if zipfile.is_zipfile(file) else _read_legacy(file, budget)
        if not isinstance(state, dict):
            raise TypeError("the pickle is no dictionary")
        # Tensors can share a storage, as the two embeddings do: each is copied when it is used.
        if sum(value.nbytes for value in state.values() if isinstance(value, np.ndarray)) > budget.most:
            raise ValueError(f"its tensors repeat more than {MOST_TIMES} times its size")
    except _DAMAGED as error:
        what = " ".join(str(error).split())[:200] or type(error).__name__
        do = "Save it without a password" if "encrypted" in what else REPLACE
        raise CorruptError(f"not a PyTorch state_dict: {what}", where=path, do=do) from None
    if not all(isinstance(value, np.ndarray) for value in state.values()):
        raise CorruptError("contains values that are not tensors", where=path, do=REPLACE)
    return dict(state)


class _Budget:
    """The bytes that a file's parts may still take."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._left = most

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MOST_TIMES} times its size")


def _read_zip(file: IO[bytes], budget: _Budget) -> Any:
    with zipfile.ZipFile(file) as archive:
        if len(archive.namelist()) > MOST_MEMBERS:
            raise ValueError(f"it has more than {MOST_MEMBERS:,} members")
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = name.removesuffix("data.pkl")

        def content(name: str, size: int) -> bytes:
            """Read a member of this size, whatever the archive says about it."""
            with archive.open(name) as member:
                return member.read(size)

        def storage(key: str, dtype: np.dtype[Any], count: int) -> np.ndarray:
            size = count * dtype.itemsize
            if size > archive.getinfo(f"{folder}data/{key}").file_size:
                raise ValueError(f"the storage {key} is cut short")
            budget.take(size)
            return np.frombuffer(content(f"{folder}data/{key}", size), dtype, count)

        pickled = content(name, MOST_PICKLED + 1)
        budget.take(len(pickled))
        return _load(io.BytesIO(pickled), storage)


def _read_legacy(file: IO[bytes], budget: _Budget) -> Any:
    file.seek(0)
    sizes: dict[str, tuple[np.ndarray, int]] = {}

    def storage(key: str, dtype: np.dtype[Any], count: int) -> np.ndarray:
        budget.take(count * dtype.itemsize)
        return sizes.setdefault(key, (np.zeros(count, dtype), count))[0]

    magic, _version, _system = (_load(file, storage) for _ in range(3))
    if magic != LEGACY_MAGIC:
        raise ValueError("unknown magic number")
    state = _load(file, storage)
    for key in _load(file, storage):
        array, count = sizes[key]
        if int.from_bytes(file.read(8), "little") != count:
            raise ValueError(f"the storage {key} has another size")
        array[:] = np.frombuffer(file.read(array.nbytes), array.dtype)
    return state


def _load(file: IO[bytes], storage: Callable[[str, np.dtype[Any], int], np.ndarray]) -> Any:
    """Load a pickle, after its instructions are checked: some take memory that is not in the file."""
    start = file.tell()
    for code, argument, _ in pickletools.genops(file):
        length = file.tell() - start
        if length > MOST_PICKLED:
            raise ValueError(f"the pickle has more than {MOST_PICKLED:,} bytes")
        # pickle makes a table up to the number of an object.
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= length:
            raise ValueError("the pickle numbers more objects than it has")
    file.seek(start)
    return _Unpickler(file, storage).load()


class _Unpickler(pickle.Unpickler):
    """An unpickler that builds only tensors.

    Args:
        storage: returns the array of a storage by its key, type and length, filled now or later; tensors are
            views of it.
    """

    def __init__(self, file: Any, storage: Callable[[str, np.dtype[Any], int], np.ndarray]) -> None:
        super().__init__(file)
        self._storage = storage
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in DTYPES:
            return np.dtype(DTYPES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _location, count = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"a persistent {kind} is not allowed")
        if not isinstance(dtype, np.dtype) or type(count) is not int or count < 0 or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage is damaged")
        if key not in self._storages:
            self._storages[key] = self._storage(key, dtype, count)
        return self._storages[key]


def _tensor(
    storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> np.ndarray:
    """Return a view of a storage, as `torch.Tensor.as_strided` does, within the storage's bounds.

    The view has no more numbers than the storage: one that repeats them would take any memory when it is
    used.
    """
    if any(type(number) is not int for number in (offset, *size, *stride)) or len(size) > MOST_DIMENSIONS:
        raise ValueError("the shape of a tensor is damaged")
    if math.prod(size) > len(storage):
        raise ValueError("a tensor is larger than its storage")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if offset < 0 or min((*size, *stride), default=1) < 0 or last >= len(storage):
        raise ValueError("a tensor is larger than its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)

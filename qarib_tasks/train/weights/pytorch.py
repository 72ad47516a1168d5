"""A reader of `pytorch_model.bin` without torch: older models on the Hugging Face Hub have no other file.

The file is a pickle, which could run any code; this reader builds tensors and rejects everything else.
Formats, as in torch/serialization.py: the zip archive (since 1.6) and the legacy format.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from qarib_tasks.errors import CorruptError

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
        CorruptError: the file cannot be read, or contains values that are not tensors.
    """
    import ml_dtypes  # noqa: F401 (NumPy then knows bfloat16)

    try:
        with path.open("rb") as file:
            state = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, ValueError, TypeError) as error:
        raise CorruptError(f"not a PyTorch state_dict: {error}", where=path) from None
    if not all(isinstance(value, np.ndarray) for value in state.values()):
        raise CorruptError("contains values that are not tensors", where=path)
    return dict(state)


def _read_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = name.removesuffix("data.pkl")

        def fill(key: str, storage: np.ndarray) -> None:
            data = archive.read(f"{folder}data/{key}")
            storage[:] = np.frombuffer(data, storage.dtype, len(storage))

        with archive.open(name) as pickled:
            return _Unpickler(pickled, fill).load()


def _read_legacy(file: IO[bytes]) -> Any:
    file.seek(0)
    storages: dict[str, np.ndarray] = {}
    magic, _version, _system = (_Unpickler(file, storages.__setitem__).load() for _ in range(3))
    if magic != LEGACY_MAGIC:
        raise ValueError("unknown magic number")
    state = _Unpickler(file, storages.__setitem__).load()
    for key in _Unpickler(file, storages.__setitem__).load():
        count = int.from_bytes(file.read(8), "little")
        storages[key][:] = np.frombuffer(file.read(count * storages[key].itemsize), storages[key].dtype)
    return state


class _Unpickler(pickle.Unpickler):
    """An unpickler that builds only tensors.

    Args:
        fill: called with the key of a storage and its array, to fill the array now or later; tensors are
            views of it.
    """

    def __init__(self, file: Any, fill: Callable[[str, np.ndarray], None]) -> None:
        super().__init__(file)
        self._fill = fill
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
        if key not in self._storages:
            self._storages[key] = np.zeros(count, dtype)
            self._fill(key, self._storages[key])
        return self._storages[key]


def _tensor(
    storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> np.ndarray:
    """Return a view of a storage, as `torch.Tensor.as_strided` does, within the storage's bounds."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if offset < 0 or min((*size, *stride), default=1) < 0 or last >= len(storage):
        raise ValueError("a tensor is larger than its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)

"""The inner loops of the conversion, compiled by numba.

Modules outside this package import it only inside functions, because numba is heavy. The compiled code is
stored on disk, so that processes and machines do not compile it again (docs/adr/0003-compiled-conversion.md):

- It is compiled for any CPU of the architecture, not only for the current one.
- It is found by a hash of its sources (this package and `storage.tfrecord`) and of numba's version, not by
  time stamps.
- It is in this package's `__pycache__`, where `python -m qarib_tasks.conversion.compile_ahead` stores it when
  an image is built; the folder can be read-only later. Other code is stored in the first writable folder of
  `$NUMBA_CACHE_DIR`, `__pycache__`, the user's cache folder, and a temporary folder of the process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

os.environ.setdefault("NUMBA_CPU_NAME", "generic")

import numba  # noqa: TID253
from numba.core import caching  # noqa: TID253

from qarib_tasks.storage import tfrecord

# If another module imported numba first, it has not read the variable yet.
numba.config.reload_config()  # type: ignore[no-untyped-call]

F = TypeVar("F", bound=Callable[..., Any])
# Types of a compiled function; a type checker sees plain numbers.
int64: Any = np.int64
uint64: Any = np.uint64
HERE = Path(__file__).resolve().parent
PREPARED = HERE / "__pycache__"
# The modules whose constants the compiled code uses; this package imports nothing else of qarib_tasks.
OUTSIDE = (Path(tfrecord.__file__),)


@functools.cache
def source_stamp() -> str:
    """A hash of the sources of the compiled code, so that a change in any of them compiles the code again."""
    stamp = hashlib.sha256(f"{numba.__version__} {sys.implementation.cache_tag}".encode())
    for path in (*sorted(HERE.glob("*.py")), *OUTSIDE):
        stamp.update(path.read_bytes())
    return stamp.hexdigest()[:16]


@functools.cache
def cache_folder() -> str:
    """The folder with this version's complete compiled code or, without one, the first writable folder."""
    folder = PREPARED / f"compiled-{source_stamp()}"
    if (folder / "complete").is_file():
        return str(folder)
    given = os.environ.get("NUMBA_CACHE_DIR", "")
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for candidate in (given, str(PREPARED), os.path.join(user, "qarib")):
        # The variable is not set, or the user has no home folder.
        if not candidate or candidate.startswith("~"):
            continue
        try:
            folder = Path(candidate) / f"compiled-{source_stamp()}"
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return str(folder)
    return _temporary_folder().name


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="qarib-compiled-")


class Locator:
    """The place where numba stores a function of this package; see the package's docstring."""

    def __init__(self, function: Any, file: str) -> None:
        self._name = f"{Path(file).stem}.{function.__code__.co_firstlineno}"

    @classmethod
    def from_function(cls, function: Any, file: str) -> Locator | None:
        return cls(function, file) if Path(file).resolve().parent == HERE else None

    def ensure_cache_path(self) -> None:
        """Do nothing: `cache_folder` returns a folder that exists and is writable unless it is complete."""

    def get_cache_path(self) -> str:
        return cache_folder()

    def get_source_stamp(self) -> str:
        return source_stamp()

    def get_disambiguator(self) -> str:
        return self._name


caching.CacheImpl._locator_classes.insert(0, Locator)


def compiled(function: F) -> F:
    """Compile a function for any CPU, without holding Python's lock, and store it on disk."""
    dispatcher: Any = numba.njit(cache=True, nogil=True)(function)
    save = dispatcher._cache.save_overload

    def save_if_possible(signature: Any, code: Any) -> None:
        # Code runs without being stored: a full disk or a complete, read-only folder must not stop work.
        with contextlib.suppress(OSError):
            save(signature, code)

    dispatcher._cache.save_overload = save_if_possible
    return cast(F, dispatcher)

"""The inner loops of the conversion, compiled by numba.

Nothing outside this package imports it at module level: numba is heavy. The compiled code is kept on disk,
so that neither each process nor each machine compiles it again (docs/adr/0003-compiled-conversion.md):

- It is compiled for any CPU of the architecture, not for the one at hand.
- It is found by a hash of its sources (this package and `storage.tfrecord`) and of numba's version, not by
  time stamps.
- It lies in `__pycache__` here, where `python -m qarib_tasks.conversion.compile_ahead` puts it when an image
  is built; a read-only folder is fine to read it from. What is not there goes to `$NUMBA_CACHE_DIR`, or the
  user's cache folder, or a temporary folder of this process, whichever can be written.
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

# Where something else imported numba first, it has not seen the variable yet.
numba.config.reload_config()  # type: ignore[no-untyped-call]

F = TypeVar("F", bound=Callable[..., Any])
# What a compiled function makes of them; to a type checker they are numbers like any other.
int64: Any = np.int64
uint64: Any = np.uint64
HERE = Path(__file__).resolve().parent
PREPARED = HERE / "__pycache__"
# What the compiled code takes constants from; modules here import nothing else of qarib_tasks.
OUTSIDE = (Path(tfrecord.__file__),)


@functools.cache
def source_stamp() -> str:
    """A hash of what the compiled code is made of: a change in any of these files must reach its callers."""
    stamp = hashlib.sha256(f"{numba.__version__} {sys.implementation.cache_tag}".encode())
    for path in (*sorted(HERE.glob("*.py")), *OUTSIDE):
        stamp.update(path.read_bytes())
    return stamp.hexdigest()[:16]


@functools.cache
def cache_folder() -> str:
    """The first folder that holds this version's compiled code whole, or that can be written."""
    folder = PREPARED / f"compiled-{source_stamp()}"
    if (folder / "complete").is_file():
        return str(folder)
    given = os.environ.get("NUMBA_CACHE_DIR", "")
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for candidate in (given, str(PREPARED), os.path.join(user, "qarib")):
        # Not set, or a user without a home.
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
    """Where numba keeps a function of this package; see the package's docstring."""

    def __init__(self, function: Any, file: str) -> None:
        self._name = f"{Path(file).stem}.{function.__code__.co_firstlineno}"

    @classmethod
    def from_function(cls, function: Any, file: str) -> Locator | None:
        return cls(function, file) if Path(file).resolve().parent == HERE else None

    def ensure_cache_path(self) -> None:
        """The folder is there, and can be written unless it is complete."""

    def get_cache_path(self) -> str:
        return cache_folder()

    def get_source_stamp(self) -> str:
        return source_stamp()

    def get_disambiguator(self) -> str:
        return self._name


caching.CacheImpl._locator_classes.insert(0, Locator)


def compiled(function: F) -> F:
    """Compile a function for any CPU, without holding Python's lock, kept on disk."""
    dispatcher: Any = numba.njit(cache=True, nogil=True)(function)
    save = dispatcher._cache.save_overload

    def save_if_possible(signature: Any, code: Any) -> None:
        # Not kept is not lost: a full disk or a folder that is complete and read-only must not stop the work.
        with contextlib.suppress(OSError):
            save(signature, code)

    dispatcher._cache.save_overload = save_if_possible
    return cast(F, dispatcher)

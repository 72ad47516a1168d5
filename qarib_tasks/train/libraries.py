"""The import of TensorFlow and Keras, without what they import only because it is installed."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LIBRARIES = ("keras", "tensorflow")


def import_quickly() -> None:
    """Make the import of TensorFlow and Keras take less time. Call this before it.

    If scikit-learn is installed, Keras imports it for wrappers of models that nothing here uses; if JAX is,
    TensorFlow imports it to convert models for phones. The import also makes a million objects, none of which
    is garbage.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the two libraries, and has them loaded by a `_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LIBRARIES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads a module by its own loader, which the module then has."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self.own
        # On the jax backend, Keras itself needs JAX.
        names = ("pandas", "sklearn", *(() if os.environ.get("KERAS_BACKEND") == "jax" else ("jax",)))
        with _hidden(names), _no_collection():
            self.own.exec_module(module)


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Let the import of packages that are not yet imported fail, as if they were not installed."""
    names = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: Python's way to say it
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage, and leave all objects that are made meanwhile out of each later collection."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

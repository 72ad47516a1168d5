"""Strangers' files, and the names that a command writes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.storage.files import is_temporary

STRANGERS = (b"a stranger's\n", b"", b'{"kind": "a stranger\'s", "id": "x", "outputs": []}\n')
# What the first version made.
MADE_BEFORE = Path(__file__).parents[1] / "data" / "made_by_3ef437a" / "work"
_watched: list[tuple[Path, set[str]]] = []
_RANDOM = re.compile(r"[a-z0-9_]{8}$")  # the end of the names that tempfile makes


@cache
def text() -> str:
    lines = (SAMPLE / "udhr.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(lines[:120])


def texts(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.txt").write_text(text(), encoding="utf-8")
    (folder / "in" / "b.txt").write_text(text()[:500] + "\n", encoding="utf-8")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every path in the watched folder that anything is done to, and what is in the folder then."""
    if not _watched or event not in ("open", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.remove"):
        return
    folder, names = _watched[-1]
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    for argument in arguments[:1] if event == "open" else arguments[:2]:
        if isinstance(argument, str | bytes | os.PathLike):
            path = os.path.join(folder, os.fsdecode(argument))
            if path.startswith(f"{folder}/"):
                names.add(os.path.relpath(path, folder))
    with suppress(OSError):  # Something was removed in the meantime; the next event lists it again.
        names.update(listed(folder))


def listed(folder: Path) -> Iterator[str]:
    """Yield the names of everything below a folder."""
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(root, name), folder)


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[set[str]]:
    """Yield the set of the names below `folder` that are written in the block."""
    names: set[str] = set()
    _watched.append((folder, names))
    try:
        yield names
    finally:
        _watched.pop()


def is_random(part: str) -> bool:
    """Whether a name, or a part of one, shows that it is ours: no user chooses such a name."""
    return is_temporary(part) or (part.startswith(".qarib-") and _RANDOM.search(part) is not None)


def place(folder: Path, name: str, content: bytes, is_folder: bool) -> dict[Path, bytes | None]:
    """Put a stranger's file there, or a folder with one; returns what has to be there afterwards."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.mkdir(exist_ok=True)
        path = path / "notes"
    path.write_bytes(content)
    return {path: content}

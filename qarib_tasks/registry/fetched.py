"""The cache of fetched source files, which can have files of another origin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qarib_tasks.corpus.sources import fetched_manifest


def fetched(cache: Path) -> Iterator[Path]:
    """Yield the fetched files in `cache`, sorted; a file's modification time is when it was last read."""
    for path in sorted(cache.glob("*")):
        if path.is_file() and fetched_manifest(path):
            yield path


def forget(path: Path) -> None:
    """Remove a fetched file. It is fetched again when it is needed. A file that is not one stays."""
    if manifest := fetched_manifest(path):
        path.unlink(missing_ok=True)
        manifest.unlink()

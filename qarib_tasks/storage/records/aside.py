"""Second names for files that are about to be replaced: what a user changed, and what is damaged."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

log = logging.getLogger(__name__)
CHANGED = "changed since it was made"
KEPT = re.compile(r"(?P<name>.+)\.changed-\d+", re.DOTALL)  # the names that `keep_aside` gives


def keep_aside(path: Path, why: str = CHANGED) -> Path:
    """Give a file's content a second, new name, `data.txt.changed-1`, so that `path` can be replaced."""
    number = 1
    while True:
        new = path.with_name(f"{path.name}.changed-{number}")
        try:
            os.link(path, new, follow_symlinks=False)
        except FileExistsError:
            number += 1
            continue
        except OSError:  # The file system has no links.
            if os.path.lexists(new):
                number += 1
                continue
            path.rename(new)
        log.warning("%s: %s: kept as %s", path, why, new.name)
        return new


def set_aside(path: Path, why: str, then: str, *, stays: bool = False) -> Path:
    """Give a damaged record another name, such as `progress.json.damaged-1`, and log it.

    A copy of it that was set aside earlier is not made, and not logged, twice.

    Args:
        stays: the record keeps its name as well, until it is written again.

    Returns:
        the new path.
    """
    number = 1
    while os.path.lexists(other := path.with_name(f"{path.name}.damaged-{number}")):
        if other.is_file() and not other.is_symlink() and _is_same(other, path):
            if stays:
                return other
            path.unlink()
            return _said(path, why, then, other)
        number += 1
    if stays:
        try:
            os.link(path, other, follow_symlinks=False)
        except OSError:  # The file system has no links.
            other.write_bytes(path.read_bytes())
    else:
        path.rename(other)
    return _said(path, why, then, other)


def _is_same(one: Path, other: Path) -> bool:
    return one.samefile(other) or (
        one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    )


def _said(path: Path, why: str, then: str, other: Path) -> Path:
    log.warning("%s: %s. Kept as %s; %s", path, why, other.name, then)
    return other

"""`config.yaml` of a dataset or a model: written by us, and perhaps edited by the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from qarib_tasks.config.loading import load_yaml
from qarib_tasks.config.yaml_text import read_yaml
from qarib_tasks.errors import ConfigError, CorruptError
from qarib_tasks.storage.files import checksums_of
from qarib_tasks.storage.regular_files import read_settings_text

# Begins the file, before a digest of the rest.
WRITTEN = "# Written by qarib. If you edit this file, it is kept when it is written again. "
_DO = "Restore it from a copy, or move it and run what made it again with the same settings"


def read_settings(path: Path, *names: str) -> dict[str, Any]:
    """Read what `runs.run.write_settings` wrote, which the user can have edited.

    Args:
        names: settings that it must have.

    Raises:
        InputError: there is no such file. CorruptError: it is damaged.
    """
    try:
        values = load_yaml(path)
    except ConfigError as error:
        raise CorruptError(f"is damaged: {error.what}", where=error.where, do=_DO) from None
    if missing := [name for name in names if name not in values]:
        raise CorruptError(f"is damaged: has no {missing[0]}", where=path, do=_DO)
    text = read_settings_text(path)
    if text.startswith(WRITTEN) and not text.endswith("\n"):
        raise CorruptError("is damaged: the end is missing", where=path, do=_DO)
    return values


def is_edited(text: str) -> bool:
    """Whether this is not what `runs.run.write_settings` wrote."""
    first, _, rest = text.partition("\n")
    if first.startswith(WRITTEN):
        return first.removeprefix(WRITTEN) != digest(rest)
    # Of an earlier version, which wrote no digest: at least comments and another form show.
    return yaml.safe_dump(read_yaml(text), sort_keys=False, allow_unicode=True) != text


def digest(text: str) -> str:
    """The digest of the settings in the first line of the file."""
    return checksums_of(text.encode()).sha256[:16]

"""The paths on a command line and in its settings. A leading `~` is the user's home, also without a shell."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from qarib_tasks.corpus.sources import STANDARD_INPUT
from qarib_tasks.errors import InputError

T = TypeVar("T")


class _Path(click.Path):
    """A path that the command checks itself, so that its error is one line as any other.

    Args:
        name: what help calls it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(readable=False, path_type=Path)
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == STANDARD_INPUT and not os.path.lexists(value):
            raise InputError("standard input cannot be read here", where=value, do="Give a file")
        return super().convert(os.path.expanduser(value), param, ctx)


class _Output(_Path):
    """The path of a file or folder to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == STANDARD_INPUT:
            what = "standard output cannot hold an output"
            raise InputError(what, where=value, do="Give a path; one with the name - is ./-")
        if self.name == "path" and str(value).endswith(os.sep):
            raise InputError("is a folder, not a file", where=value, do="Choose another output")
        return super().convert(value, param, ctx)


FILE, FOLDER = _Path("path"), _Path("directory")
OUTPUT, OUTPUT_FOLDER = _Output("path"), _Output("directory")


def with_homes(config: T, *names: str) -> T:
    """Return a config dataclass with `~` replaced in these settings, such as `train.start_from`."""
    values: dict[str, Any] = {}
    for name in names:
        first, _, rest = name.partition(".")
        value = values.get(first, getattr(config, first))
        values[first] = with_homes(value, rest) if rest else _at_home(value)
    return replace(config, **values)  # type: ignore[type-var]


def _at_home(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    return os.path.expanduser(value) if isinstance(value, str) else value

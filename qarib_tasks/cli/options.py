"""Command options for settings: type, choices, default and help are those of the config field.

And paths on a command line and in its settings: a leading `~` is the user's home, also without a shell.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from qarib_tasks.config.loading import is_address
from qarib_tasks.corpus.sources import STANDARD_INPUT
from qarib_tasks.errors import InputError

Command = Callable[..., Any]


class SettingOption(click.Option):
    """An option for a setting.

    Attributes:
        setting: the name of the config field.
    """

    def __init__(self, *arguments: Any, setting: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.setting = setting


def options_of(command: click.Command) -> dict[str, str]:
    """Return the command's option for each setting; of a switch, both (`--header/--no-header`)."""
    found = {}
    for option in command.params:
        if isinstance(option, SettingOption):
            long = [name for name in option.opts if name.startswith("--")]
            found[option.setting] = "/".join([long[-1], *option.secondary_opts])
    return found


def setting_option(config: type, name: str, *declarations: str, **attributes: Any) -> Callable[..., Any]:
    """Return an option for a field of a config class. Creating the config checks the field's limits.

    Args:
        declarations: those of `click.option`; by default `--the-name`.
        attributes: attributes of `click.option` that replace the field's.
    """
    field: Any = config.__pydantic_fields__[name]  # type: ignore[attr-defined]
    kind: Any = field.annotation
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        flag += f"/--no-{name.replace('_', '-')}"
    elif typing.get_origin(kind) is typing.Literal:
        kind = click.Choice(typing.get_args(kind))
    elif tuple in [typing.get_origin(one) for one in typing.get_args(kind)]:  # one value or several
        kind, attributes = str, {"multiple": True, "default": (field.default,)} | attributes
    values = {
        "type": kind,
        "default": field.default,
        "show_default": True,
        "help": field.description or f"{field.title}.",
        "cls": SettingOption,
        "setting": name,
    }
    return click.option(*(declarations or (flag, name)), **(values | attributes))


def setting_options(
    config: type, *, without: Collection[str] = (), **attributes: Any
) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for every field of a config class except `without`.

    Args:
        attributes: see `setting_option`.
    """

    def decorated(command: Command) -> Command:
        fields: Any = config.__pydantic_fields__  # type: ignore[attr-defined]
        for name in reversed([name for name in fields if name not in without]):
            command = setting_option(config, name, **attributes)(command)
        return command

    return decorated


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
        if is_address(os.fspath(value)) and not os.path.lexists(value):
            raise InputError(
                "an address cannot be read here", where=value, do="Download it, then give its path"
            )
        return super().convert(os.path.expanduser(value), param, ctx)


class _Output(_Path):
    """The path of a file or folder to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == STANDARD_INPUT:
            what = "standard output cannot hold an output"
            raise InputError(what, where=value, do="Give a path; one with the name - is ./-")
        if self.name == "path" and str(value).endswith(os.sep):
            raise InputError("is a folder, not a file", where=value, do="Choose another output")
        if is_address(os.fspath(value)):
            do = "Give a path, then copy the output, for example with `gcloud storage cp`"
            raise InputError("an output is written to this machine, not to an address", where=value, do=do)
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

"""Command options for settings: type, choices, default and help are those of the config field."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection
from typing import Any

import click

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

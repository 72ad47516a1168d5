"""The settings of a run as texts, and those that are not its preset's."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.presets import PRESETS, resolve
from qarib_tasks.config.run import RunConfig

# Where files are, not what is in them, and what a run is compared by.
PLACES = ("workspace", "preset", "upload.bucket", "upload.prefix")
MOST_SETTINGS = 500  # of a run: its record can hold anything
MOST_CHARACTERS = 300  # of a value


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Each setting of a run's record as a text, by its name, such as `train.train_steps`."""
    found: dict[str, str] = {}
    for key, value in config.items():
        own = value.items() if isinstance(value, Mapping) else ()
        found |= {f"{key}.{name}": _text(each) for name, each in own} if own else {key: _text(value)}
        if len(found) > MOST_SETTINGS:
            break
    return {name: text for name, text in list(found.items())[:MOST_SETTINGS] if name not in PLACES}


def _text(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float):
        text = f"{value:,}" if isinstance(value, int) and abs(value) < 1 << 63 else repr(value)
    elif isinstance(value, list | tuple):
        text = ", ".join(_item(item) for item in value[:MOST_SETTINGS])
    else:
        text = _json(value)
    if len(text) <= MOST_CHARACTERS:
        return text
    # Texts that differ further on stay different.
    return f"{text[:MOST_CHARACTERS]}… ({zlib.crc32(text.encode('utf-8', 'replace')):08x})"


def _item(value: Any) -> str:
    """An item of a list: a source or a task by its name and the values that are not the default ones."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else _json(value)
    # The contents of a source's files count, not where they are.
    own = {key: each for key, each in value.items() if key not in ("name", "path")}
    usual = _usual()
    more = [f"{key} {_json(each)}" for key, each in own.items() if usual.get(key) != each]
    name = str(value.get("name") or "")
    return f"{name} ({', '.join(more[:MOST_SETTINGS])})" if more else name


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False).strip('"')
    except (ValueError, RecursionError):
        return "…"


@cache
def _usual() -> dict[str, Any]:
    """The values that a source or a task has without being asked."""
    from qarib_tasks.config.corpus import SourceConfig
    from qarib_tasks.config.evaluation import TaskConfig

    found: dict[str, Any] = {}
    for cls in (TaskConfig, SourceConfig):
        for name, field in _fields(cls).items():
            found[name] = field.get_default(call_default_factory=True)
    return found


def _fields(cls: Any) -> Mapping[str, Any]:
    """The fields of a config class; none of another type."""
    return getattr(cls, "__pydantic_fields__", {})


@cache
def preset_settings(name: str) -> Mapping[str, str]:
    """The settings of a preset, as `settings_of`; empty if there is no such preset."""
    if name not in PRESETS:
        return {}
    return settings_of(to_dict(resolve({"preset": name, "workspace": "/"})))


@cache
def titles() -> Mapping[str, str]:
    """The title of each setting, by its name."""
    found: dict[str, str] = {}
    for section, field in _fields(RunConfig).items():
        if own := _fields(field.annotation).items():
            found |= {f"{section}.{name}": one.title or name for name, one in own}
        else:
            found[section] = field.title or section
    return found


def changed(config: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """The settings of a run that are not its preset's.

    Returns:
        name, title, value, and preset, which is the preset's value; None if the preset is not known.
    """
    usual = preset_settings(str(config.get("preset")))
    if not usual:
        return None
    return [
        {"name": name, "title": titles().get(name, name), "value": value, "preset": usual.get(name, "none")}
        for name, value in settings_of(config).items()
        if usual.get(name) != value
    ]

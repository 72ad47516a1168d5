"""Reads YAML that others can write: text that takes far more memory or stack than its size is refused."""

from __future__ import annotations

from typing import Any

import yaml

from qarib_tasks.errors import ConfigError

# Prefer the compiled loader: every task of a shard reads the settings of its run.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_LEVELS = 20  # of lists and mappings in each other: the compiled loader crashes where there are thousands
MOST_VALUES = 1_000_000  # with each alias written out


def require_small(text: str, *, aliases: bool = True) -> None:
    """Check YAML before it is loaded: aliases of aliases can stand for any number of values.

    Args:
        aliases: whether it may have some.

    Raises:
        ValueError: it is too large. yaml.YAMLError: it is not YAML.
    """
    sizes: dict[str | None, int] = {}  # of what an alias stands for, in values
    open_: list[tuple[str | None, int]] = []  # the anchor of each list and mapping, and the values before it
    total = 0
    for event in yaml.parse(text, YAML_LOADER):
        if isinstance(event, yaml.AliasEvent):
            if not aliases:
                raise ValueError("aliases (*name) are not read here: write each value out")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = total - before + 1
        total += isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent)
        if len(open_) > MOST_LEVELS:
            raise ValueError(f"more than {MOST_LEVELS} levels")
        if total > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")


def read_yaml(text: str) -> Any:
    """The value in a text.

    Raises:
        ValueError: it is too large, see `require_small`, or a value in it is no date. yaml.YAMLError: it is
            not YAML.
    """
    require_small(text)
    return yaml.load(text, YAML_LOADER)


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Read a mapping, such as a variable of a deployment has; an empty text is an empty one.

    Args:
        where: the name of the variable, for the error.

    Raises:
        ConfigError: it is not a mapping in YAML or JSON.
    """
    try:
        values = read_yaml(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=where) from None
    if not isinstance(values, dict):
        raise ConfigError(
            "the value must be a mapping of settings", where=where, do="Write it as `name: value`"
        )
    return values

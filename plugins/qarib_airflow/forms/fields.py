"""Makes a trigger form's field from a field of a config class, and reads what was typed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from airflow.sdk import Param

from qarib_tasks.config.typed import NUMBER_PATTERN, listed, number
from qarib_tasks.errors import ConfigError

Kind = Literal["text", "number", "switch", "choice", "list", "rows"]
BOOLEANS = {"true": True, "false": False}
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "minLength", "maxLength")
_SOURCE = {"type": "object", "required": ["name", "path"]}


def param(field: Mapping[str, Any], **attributes: Any) -> Param:
    """The form's field for a setting. The field can stay empty: null is not a value of the setting.

    Numbers and lists of settings are typed as text, which `typed` reads: Airflow's field for numbers changes
    what is typed, and its field for JSON closes brackets by itself. Requests to Airflow's API can also have
    numbers and lists.

    Args:
        field: the setting's JSON schema, as pydantic gives it.
        attributes: more attributes of the `Param`; they override the schema's.
    """
    field, kind = _own(field), kind_of(field)
    schema = {key: field[key] for key in _LIMITS if key in field} | {"title": field["title"]}
    if kind in ("switch", "choice"):
        # In the form a switch cannot be empty, but a list of choices can.
        schema |= {"type": ["null", "string"], "enum": [None, *choices_of(field)]}
    elif kind == "rows":
        # Without examples, Airflow shows a field of several types as JSON.
        schema |= {
            "type": ["null", "string", "array"],
            "items": _SOURCE,
            "format": "multiline",
            "examples": [],
        }
    elif kind == "list":
        schema |= {"type": ["null", "array"], "items": field["items"]}
    elif kind == "number":
        schema |= {"type": ["null", "string", field["type"]], "pattern": NUMBER_PATTERN, "examples": []}
    else:
        schema |= {"type": ["null", field["type"]]}
    if "description_md" not in attributes and "description" in field:
        schema["description"] = field["description"]
    return Param(None, **schema | attributes)


def typed(field: Mapping[str, Any], value: Any, where: str) -> Any:
    """The value of a setting, from its field of the form.

    Args:
        field: the setting's JSON schema.
        where: the field's name.

    Raises:
        ConfigError: what was typed is no number, or no list of settings.
    """
    kind = kind_of(field)
    if not isinstance(value, str):
        return value
    try:
        if kind == "switch":
            return BOOLEANS.get(value, value)
        if kind == "number":
            return number(value, integer=_own(field)["type"] == "integer") if value.strip() else None
        if kind == "rows":
            return listed(value) or None
    except ValueError as error:
        raise ConfigError(str(error), where=where) from None
    return value


def kind_of(field: Mapping[str, Any]) -> Kind:
    """How a setting is typed; `rows` are lists of settings, `list` has texts.

    A setting that can be a text or a list of texts is a `list`.
    """
    kinds = [kind for kind in field.get("anyOf", [field]) if kind["type"] != "null"]
    first = next((kind for kind in kinds if kind["type"] == "array"), kinds[0])
    if first["type"] == "array":
        return "rows" if "$ref" in first["items"] else "list"
    if first["type"] == "boolean":
        return "switch"
    if "enum" in first or "const" in first:
        return "choice"
    return "number" if first["type"] in ("integer", "number") else "text"


def choices_of(field: Mapping[str, Any]) -> list[Any]:
    """What a switch or a choice can be."""
    field = _own(field)
    return list(BOOLEANS) if field["type"] == "boolean" else field.get("enum", [field.get("const")])


def _own(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a value that an optional setting has."""
    if "anyOf" not in field:
        return field
    return {**next(kind for kind in field["anyOf"] if kind["type"] != "null"), **field}

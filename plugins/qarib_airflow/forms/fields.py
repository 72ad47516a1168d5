"""Makes a trigger form's field from a field of a config class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

BOOLEANS = {"true": True, "false": False}
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "minLength", "maxLength")
_SOURCE = {"type": "object", "required": ["name", "path"]}


def param(field: Mapping[str, Any], **attributes: Any) -> Param:
    """The form's field for a setting. The field can stay empty: null is not a value of the setting.

    Args:
        field: the setting's JSON schema, as pydantic gives it.
        attributes: more attributes of the `Param`; they override the schema's.
    """
    if "anyOf" in field:  # An optional setting: an empty field means no value.
        field = {**next(kind for kind in field["anyOf"] if kind["type"] != "null"), **field}
    schema = {key: field[key] for key in _LIMITS if key in field} | {"title": field["title"]}
    if field["type"] == "boolean":
        # In the form a switch cannot be empty, but a list of choices can.
        schema |= {"type": ["null", "string"], "enum": [None, *BOOLEANS]}
    elif "enum" in field or "const" in field:
        schema |= {"type": ["null", "string"], "enum": [None, *field.get("enum", [field.get("const")])]}
    elif field["type"] == "array":
        items = field["items"]
        schema |= {"type": ["null", "array"], "items": _SOURCE if "$ref" in items else items}
    else:
        schema |= {"type": ["null", field["type"]]}
    if "description_md" not in attributes and "description" in field:
        schema["description"] = field["description"]
    return Param(None, **schema | attributes)

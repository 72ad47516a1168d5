"""The trigger form of `qarib_retrain`."""

from __future__ import annotations

from airflow.sdk import Param
from pydantic import TypeAdapter

from qarib_tasks.registry.retraining import RetrainConfig


def retrain_params() -> dict[str, Param]:
    """The form: each field that is left empty has the value of the Airflow Variable qarib_retrain."""
    params = {}
    for name, field in TypeAdapter(RetrainConfig).json_schema()["properties"].items():
        kind = next((one for one in field.get("anyOf", [field]) if one["type"] != "null"), field)
        schema = {key: kind[key] for key in _LIMITS if key in kind}
        if "enum" in kind:
            schema["enum"] = [None, *kind["enum"]]
        if kind["type"] == "array":
            schema["items"] = {"type": "object", "required": ["name", "path"]}
        params[name] = Param(
            None,
            type=["null", kind["type"]],
            title=field["title"],
            description=field["description"],
            **schema,
        )
    return params


_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern")

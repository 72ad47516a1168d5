"""The trigger form of `qarib_retrain`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow.sdk import Param
from pydantic import TypeAdapter

from qarib_airflow.forms.fields import param, typed
from qarib_tasks.errors import Faults
from qarib_tasks.registry.retraining import RetrainConfig


@cache
def _fields() -> dict[str, dict[str, Any]]:
    fields: dict[str, dict[str, Any]] = TypeAdapter(RetrainConfig).json_schema()["properties"]
    return fields


def retrain_params() -> dict[str, Param]:
    """The fields of the form. An empty field has the value of the Airflow Variable qarib_retrain."""
    return {name: param(field) for name, field in _fields().items()}


def read_retrain_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a filled-in form sets, by name; not checked further.

    Raises:
        ConfigError: a number or the list of sources cannot be read. One error reports all.
    """
    values, faults = dict(params), Faults()
    for name in values.keys() & _fields().keys():
        with faults.kept():
            values[name] = typed(_fields()[name], values[name], name)
    faults.raise_all()
    return values

"""The trigger form of `qarib_retrain`."""

from __future__ import annotations

from airflow.sdk import Param
from pydantic import TypeAdapter

from qarib_airflow.forms.fields import param
from qarib_tasks.registry.retraining import RetrainConfig


def retrain_params() -> dict[str, Param]:
    """The fields of the form. An empty field has the value of the Airflow Variable qarib_retrain."""
    fields = TypeAdapter(RetrainConfig).json_schema()["properties"]
    return {name: param(field) for name, field in fields.items()}

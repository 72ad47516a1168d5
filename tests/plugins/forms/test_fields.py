"""One builder for the fields of all forms."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError
from pydantic import TypeAdapter
from qarib_airflow.forms.fields import param
from qarib_airflow.forms.retrain import retrain_params

from qarib_tasks.registry.retraining import RetrainConfig


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ({"type": "integer", "minimum": 2}, 2, 1),
        ({"type": "number", "exclusiveMaximum": 1}, 0.5, 1),
        ({"type": "string", "enum": ["a", "b"]}, "a", "c"),
        ({"type": "string", "const": "a"}, "a", "b"),
        ({"type": "boolean"}, "true", True),
        ({"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}]}, 3, 4),
        ({"type": "array", "items": {"type": "string"}}, ["a"], [1]),
        (
            {"type": "array", "items": {"$ref": "#/$defs/Source"}},
            [{"name": "a", "path": "b"}],
            [{"name": "a"}],
        ),
    ],
)
def test_empty_or_within_the_limits(field: dict[str, object], good: object, bad: object) -> None:
    made = param(field | {"title": "T", "description": "D"}, section="S")
    assert made.schema["title"] == "T"
    assert made.schema["section"] == "S"
    assert made.description == "D"
    assert made.resolve() is None
    assert made.resolve(good) == good
    with pytest.raises(ParamValidationError):
        made.resolve(bad)


def test_the_form_of_a_retraining_has_every_setting() -> None:
    fields = TypeAdapter(RetrainConfig).json_schema()["properties"]
    params = retrain_params()
    assert list(params) == list(fields)
    for name, made in params.items():
        assert made.description == fields[name]["description"]
        assert made.resolve() is None

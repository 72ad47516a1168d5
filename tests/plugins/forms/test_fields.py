"""One builder for the fields of all forms."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError
from pydantic import TypeAdapter
from qarib_airflow.forms.fields import param, typed
from qarib_airflow.forms.retrain import read_retrain_params, retrain_params

from qarib_tasks.errors import ConfigError
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


SOURCES = {"type": "array", "items": {"$ref": "#/$defs/SourceConfig"}}


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ({"type": "integer"}, "2,000,000", 2_000_000),
        ({"type": "integer"}, "1e5", 100_000),
        ({"type": "integer"}, "-5", -5),
        ({"type": "integer"}, 7, 7),
        ({"type": "integer"}, " ", None),
        ({"type": "number"}, "8e-6", 8e-6),
        ({"type": "number"}, ".0001", 1e-4),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "12.5", 12.5),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, None, None),
        ({"type": "boolean"}, "false", False),
        ({"type": "string"}, "007", "007"),
        (SOURCES, "/data/tweets.txt", [{"name": "tweets", "path": "/data/tweets.txt"}]),
        (SOURCES, "- name: a\n  path: b", [{"name": "a", "path": "b"}]),
        (SOURCES, [{"name": "a", "path": "b"}], [{"name": "a", "path": "b"}]),
        (SOURCES, "\n", None),
    ],
)
def test_what_is_typed_arrives_as_meant(field: dict[str, object], value: object, meant: object) -> None:
    made = param(field | {"title": "T"})
    read = typed(field, made.resolve(value) if value is not None else made.resolve(), "a_field")
    assert (read, type(read)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "integer"}, "2.000"),
        ({"type": "number"}, "2,5"),
        (SOURCES, "a: b: c"),
        (SOURCES, "name: a\n- b"),
    ],
)
def test_what_cannot_be_read_in_one_way_names_the_field(field: dict[str, object], value: str) -> None:
    with pytest.raises(ConfigError, match=r"^a_field: "):
        typed(field, value, "a_field")


def test_airflow_shows_fields_for_text() -> None:
    """Airflow shows a field of several types without examples as JSON, and edits numbers while one types."""
    for field in ({"type": "integer"}, SOURCES):
        schema = param(field | {"title": "T"}).schema
        assert next(kind for kind in schema["type"] if kind != "null") == "string"
        assert "examples" in schema


def test_the_form_of_a_retraining_reads_what_is_typed() -> None:
    params = {name: made.resolve() for name, made in retrain_params().items()}
    assert read_retrain_params(params) == params
    filled = params | {"retrain_steps": "20,000", "learning_rate": "1e-4", "sources": "/data/{month}/*.txt"}
    read = read_retrain_params(filled)
    assert (read["retrain_steps"], read["learning_rate"]) == (20_000, 1e-4)
    assert read["sources"] == [{"name": "month", "path": "/data/{month}/*.txt"}]
    with pytest.raises(ConfigError, match="found 2 problems"):
        read_retrain_params(params | {"retrain_steps": "2.000", "learning_rate": "1,5"})


def test_the_form_of_a_retraining_has_every_setting() -> None:
    fields = TypeAdapter(RetrainConfig).json_schema()["properties"]
    params = retrain_params()
    assert list(params) == list(fields)
    for name, made in params.items():
        assert made.description == fields[name]["description"]
        assert made.resolve() is None

"""Events of OpenLineage, checked by JSON schemas.

No package of an index has the published schemas. The client has classes that are generated from them, with
their required names, types, and formats: the schemas here are made of those again.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import attr
import openlineage.client.generated as generated
from jsonschema import Draft202012Validator
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.generated.base import BaseFacet

PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number"}
# The classes have a default for them; an event must have them.
ALWAYS = ("producer", "schemaURL", "_producer", "_schemaURL")
# A facet that says only this of its schema is one of the producer's own, and can have any names.
ANY = ("RunFacet", "JobFacet", "DatasetFacet")
Place = tuple[str, str]


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events that the file transport wrote, by time."""
    events = [json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()]
    return sorted(events, key=lambda event: str(event["eventTime"]))


def require_valid(event: Mapping[str, Any]) -> None:
    """Check an event and its facets by the JSON schemas of their classes, and build the event.

    A name that is missing or unknown, or a value of another type or form, is an error.
    """
    _require(event, RunEvent)
    assert event["schemaURL"].startswith("https://openlineage.io/spec/")
    datasets = (*event.get("inputs", ()), *event.get("outputs", ()))
    holders = [event["run"], event["job"], *datasets]
    for holder in holders:
        for part in ("facets", "inputFacets", "outputFacets"):
            _require_facets(holder.get(part) or {})
    # The classes check what a schema's formats would: times, addresses, and ids.
    RunEvent(
        eventTime=event["eventTime"],
        producer=event["producer"],
        eventType=RunState(event["eventType"]),
        run=Run(event["run"]["runId"]),
        job=Job(event["job"]["namespace"], event["job"]["name"]),
    )


def _require_facets(facets: Mapping[str, Any]) -> None:
    for name, values in facets.items():
        assert values["_producer"].startswith("http"), name
        assert values["_schemaURL"].startswith("http"), name
        kind = values["_schemaURL"].rpartition("/")[2]
        if kind not in ANY:
            _require(values, _classes()[kind])


def _require(values: Mapping[str, Any], cls: type) -> None:
    Draft202012Validator(schema_of(cls)).validate(values)


@cache
def schema_of(cls: type) -> dict[str, Any]:
    """The JSON schema of a class of OpenLineage's client and of all that it holds."""
    definitions: dict[str, Any] = {}
    reference = _of_type(cls, definitions)
    return {"$defs": definitions, **reference}


def _of_type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if kind is Any:
        return {}
    if origin := get_origin(kind):
        parts = [part for part in get_args(kind) if part is not type(None)]
        if origin is list:
            return {"type": "array", "items": _of_type(parts[0], definitions)}
        if origin is dict:
            return {"type": "object", "additionalProperties": _of_type(parts[1], definitions)}
        # What is not known is left out of an event, and is not null.
        return {"anyOf": [_of_type(part, definitions) for part in parts]}
    if issubclass(kind, Enum):
        return {"enum": [one.value for one in kind]}
    name = f"{kind.__module__}.{kind.__name__}"
    if name not in definitions:
        definitions[name] = {}  # A class can hold itself.
        fields, types = attr.fields(kind), get_type_hints(kind)
        definitions[name] = {
            "type": "object",
            "properties": {one.name: _of_type(types[one.name], definitions) for one in fields},
            "required": [one.name for one in fields if one.default is attr.NOTHING or one.name in ALWAYS],
            # A facet of a kind that is not known can hold anything; its own class is checked by itself.
            "additionalProperties": issubclass(kind, BaseFacet) and kind.__module__ == BaseFacet.__module__,
        }
    return {"$ref": f"#/$defs/{name}"}


@cache
def _classes() -> dict[str, Any]:
    """The facets' classes by the last part of their schema's address."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for value in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, BaseFacet):
                found[value.__name__] = value
    return found


def edges(events: list[dict[str, Any]]) -> dict[str, tuple[set[Place], set[Place]]]:
    """What the runs of each job read and made, by all their events."""
    found: dict[str, tuple[set[Place], set[Place]]] = {}
    for event in events:
        read, made = found.setdefault(event["job"]["name"], (set(), set()))
        read |= set(_places(event.get("inputs")))
        made |= set(_places(event.get("outputs")))
    return found


def _places(datasets: list[dict[str, Any]] | None) -> Iterator[Place]:
    for dataset in datasets or ():
        yield dataset["namespace"], dataset["name"]

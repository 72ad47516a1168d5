"""Events of OpenLineage, checked by the classes of its client.

The package has no JSON schema of the events: it has classes that are generated from it, with its required
names and formats.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attr
import openlineage.client.generated as generated
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.base import BaseFacet

# A facet that says only this of its schema is one of the producer's own, and can have any names.
ANY = ("RunFacet", "JobFacet", "DatasetFacet")
Place = tuple[str, str]


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events that the file transport wrote, by time."""
    events = [json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()]
    return sorted(events, key=lambda event: str(event["eventTime"]))


def require_valid(event: Mapping[str, Any]) -> None:
    """Build the event from its JSON: a name that is missing, unknown, or of a wrong form raises an error."""
    assert not set(event) - {
        "eventTime",
        "producer",
        "schemaURL",
        "eventType",
        "run",
        "job",
        "inputs",
        "outputs",
    }
    assert event["schemaURL"].startswith("https://openlineage.io/spec/")
    for holder in (event["run"], event["job"]):
        _require_facets(holder.get("facets"))
    for dataset in (*event.get("inputs", ()), *event.get("outputs", ())):
        for facets in ("facets", "inputFacets", "outputFacets"):
            _require_facets(dataset.get(facets))
    RunEvent(
        eventTime=event["eventTime"],
        producer=event["producer"],
        eventType=RunState(event["eventType"]),
        run=Run(event["run"]["runId"]),
        job=Job(event["job"]["namespace"], event["job"]["name"]),
        inputs=[InputDataset(one["namespace"], one["name"]) for one in event.get("inputs", ())],
        outputs=[OutputDataset(one["namespace"], one["name"]) for one in event.get("outputs", ())],
    )


def _require_facets(facets: Mapping[str, Any] | None) -> None:
    for name, values in (facets or {}).items():
        assert values["_producer"].startswith("http"), name
        assert values["_schemaURL"].startswith("http"), name
        kind = values["_schemaURL"].rpartition("/")[2]
        if kind not in ANY:
            cls = _classes()[kind]
            own = {key: value for key, value in values.items() if not key.startswith("_")}
            assert set(own) <= {field.name for field in attr.fields(cls)}, name
            assert cls(**own)


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

"""Lineage as the classes of OpenLineage's client, and that no fault of it fails a task."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from jsonschema import ValidationError
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde
from qarib_airflow.reporting import lineage

from qarib_tasks.runs.lineage import Data, Step
from tests.support.airflow import interpreter
from tests.support.tracking.openlineage import require_valid

STEP = Step(
    [Data("/srv/text.txt", "sha256:ab", bytes=5), Data("gs://bucket/vocab.txt")],
    [Data("gs://bucket/data", "sha256:cd", 3, 7, 2, {"input_ids": "int64[64]"})],
    "qarib 0.1.0, code 0123456789ab",
)


def test_checksums_counts_schema_and_the_version_of_the_code_are_facets() -> None:
    inputs, outputs, facets = lineage.as_events(STEP)
    text, vocabulary = (json.loads(Serde.to_json(one)) for one in inputs)
    assert (text["namespace"], text["name"]) == ("file", "/srv/text.txt")
    assert text["facets"]["version"]["datasetVersion"] == "sha256:ab"
    assert text["inputFacets"]["inputStatistics"]["size"] == 5
    assert "rowCount" not in text["inputFacets"]["inputStatistics"]
    assert not vocabulary.get("facets")
    (data,) = (json.loads(Serde.to_json(one)) for one in outputs)
    assert (data["namespace"], data["name"]) == ("gs://bucket", "data")
    counts = data["outputFacets"]["outputStatistics"]
    assert (counts["rowCount"], counts["size"], counts["fileCount"]) == (3, 7, 2)
    (column,) = data["facets"]["schema"]["fields"]
    assert (column["name"], column["type"]) == ("input_ids", "int64[64]")
    (tag,) = json.loads(Serde.to_json(facets["tags"]))["tags"]
    assert (tag["key"], tag["value"]) == ("made_by", STEP.made_by)


def event() -> dict[str, Any]:
    """As the provider sends it."""
    inputs, outputs, facets = lineage.as_events(STEP)
    made = RunEvent(
        eventTime="2026-12-01T10:00:00+00:00",
        eventType=RunState.RUNNING,
        run=Run(str(uuid.UUID(int=7)), facets),
        job=Job("qarib", "qarib_pretrain.dataset"),
        inputs=inputs,
        outputs=outputs,
        producer="https://example.org",
    )
    return dict(json.loads(Serde.to_json(made)))


def test_an_event_has_the_schema_of_openlineage() -> None:
    require_valid(event())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("eventType", "DONE"),
        ("eventTime", "yesterday"),
        ("producer", None),
        ("extra", 7),
        ("run.runId", "7"),
        ("run.facets.tags.tags.0.key", 7),
        ("run.facets.tags.extra", 7),
        ("job.namespace", None),
        ("inputs.0.name", 7),
        ("inputs.0.inputFacets.inputStatistics.size", "5"),
        ("outputs.0.outputFacets.outputStatistics.rowCount", 3.5),
        ("outputs.0.facets.schema.fields.0.name", 7),
        ("outputs.0.facets.schema.fields.0.extra", 7),
        ("outputs.0.facets.version._schemaURL", None),
    ],
)
def test_the_schema_refuses_what_is_not_in_it(path: str, value: Any) -> None:
    damaged = event()
    holder: Any = damaged
    *parts, last = path.split(".")
    for part in parts:
        holder = holder[int(part) if part.isdigit() else part]
    holder[last] = value
    with pytest.raises((ValidationError, ValueError)):
        require_valid(damaged)


def test_a_fault_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(lineage, "is_on", lambda: True)
    monkeypatch.setattr(lineage.log, "warning", lambda text, *values: said.append(text % values))
    lineage.report_lineage(None, "collect")  # type: ignore[arg-type]
    (line,) = said
    assert line.startswith("The lineage of the task is not reported: ")


def test_without_a_place_for_events_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from qarib_airflow.reporting.lineage import is_on; on = is_on(); "
        "print(on, 'openlineage.client' in sys.modules)"
    )
    assert interpreter.printed(code) == "False False"
    assert interpreter.printed(code, AIRFLOW__OPENLINEAGE__TRANSPORT='{"type": "console"}') == "True False"

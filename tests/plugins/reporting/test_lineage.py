"""Lineage as the classes of OpenLineage's client, and that no fault of it fails a task."""

from __future__ import annotations

import json

import pytest
from openlineage.client.serde import Serde
from qarib_airflow.reporting import lineage

from qarib_tasks.runs.lineage import Data, Step
from tests.support.airflow import interpreter

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

"""The lineage events of a run in a real Airflow: from each source file to the exported model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import LocalStack

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.storage.manifest import Manifest
from tests.support.airflow_runs import LOCAL, finish, require_success
from tests.support.tracking.openlineage import Place, edges, read_events, require_valid

pytestmark = pytest.mark.slow
MADE_IN = ("collect", "vocab", "dataset", "train", "export")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    folder.mkdir()
    return folder


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    airflow_database: Path,
    events: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LocalStack]:
    # A file for each event: those of several processes would mix in one file.
    transport = {"type": "file", "log_file_path": str(events / "event"), "append": False}
    environment = {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "qarib",
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "60",
    }
    home = tmp_path_factory.mktemp("stack")
    with LocalStack(home, environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def place(address: str) -> Place:
    bucket, _, name = address.removeprefix("gs://").partition("/")
    return f"gs://{bucket}", name


def with_facet(events: list[dict[str, Any]], part: str, where: Place, name: str) -> dict[str, Any]:
    """A facet of a dataset among the inputs or outputs of the events."""
    holder = {"inputs": "inputFacets", "outputs": "outputFacets"}[part]
    for event in events:
        for one in event.get(part) or ():
            facets = {**(one.get("facets") or {}), **(one.get(holder) or {})}
            if (one["namespace"], one["name"]) == where and name in facets:
                return dict(facets[name])
    raise AssertionError((where, name))


def test_a_run_is_one_graph_from_each_source_file_to_the_exported_model(
    stack: LocalStack, events: Path, tmp_path: Path
) -> None:
    texts = stack.workspace / "texts"
    texts.mkdir(parents=True)
    lines = (SAMPLE / "muwatta.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(3):
        part = lines[number::3]
        (texts / f"{number}.txt").write_text("".join(part), encoding="utf-8")
    run_id, tasks = finish(stack, LOCAL | {"sources": [{"name": "muwatta", "path": f"{texts}/*.txt"}]})
    require_success(stack, tasks)
    run = demo.read_run(stack, run_id)

    found = read_events(events)
    for event in found:
        require_valid(event)
    # A task's events are of the same run of the same job.
    for task in MADE_IN:
        name = f"{demo.DAG}.{task}"
        of_job = [event for event in found if event["job"]["name"] == name]
        assert {event["eventType"] for event in of_job} >= {"START", "RUNNING", "COMPLETE"}
        assert len({event["run"]["runId"] for event in of_job}) == 1

    graph = {name: edges(found)[f"{demo.DAG}.{name}"] for name in MADE_IN}
    sources = {("file", str(texts / f"{number}.txt")) for number in range(3)}
    model = place(f"{run.address}{run.model.name}export")
    assert graph["collect"][0] == sources
    assert model in graph["export"][1]
    # Everything that leads to the model, backwards.
    needed, seen = {model}, set[Place]()
    while needed:
        seen |= needed
        before = {p for read, made in graph.values() if made & needed for p in read}
        needed = before - seen
    assert sources <= seen
    everything = set.union(*(graph[name][0] | graph[name][1] for name in MADE_IN))
    assert seen == everything  # one graph, and nothing beside it

    manifest = Manifest.complete(run.dataset.manifest)
    data = place(f"{run.address}{run.dataset.name}pretraining_data")
    counts = with_facet(found, "outputs", data, "outputStatistics")
    assert (counts["rowCount"], counts["size"], counts["fileCount"]) == tuple(
        manifest.statistics[name] for name in ("examples", "bytes", "shards")
    )
    names = {one["name"] for one in with_facet(found, "outputs", data, "schema")["fields"]}
    assert {"input_ids", "masked_lm_ids", "next_sentence_labels"} <= names
    for record, file in zip(manifest.inputs, sorted(sources), strict=True):
        version = with_facet(found, "inputs", file, "version")["datasetVersion"]
        assert version == f"sha256:{record.sha256}"
    tags = [event["run"]["facets"]["tags"]["tags"] for event in found if event["eventType"] == "RUNNING"]
    assert any({"key": "made_by", "value": manifest.made_by, "source": "QARIB"} in one for one in tags)

"""Gauges: from a run's own files, by Airflow's StatsD client, through the exporter, to a scrape.

Covers qarib_tasks/emulators/statsd_exporter.py.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qarib_tasks.config.run import RunConfig
from qarib_tasks.emulators.statsd_exporter import Exporter, StatsdCollector
from qarib_tasks.errors import StorageError
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.manifest import Manifest, manifest_of

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with Exporter("127.0.0.1", 0, 0) as exporter:
        yield exporter


def scrape(exporter: Exporter) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def received(*packets: str) -> Samples:
    collector = StatsdCollector()
    for packet in packets:
        collector.receive(packet.encode())
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }
    malformed = samples.pop(("statsd_malformed_lines_total", ()))
    return samples | ({("malformed", ()): malformed} if malformed else {})


def test_lines() -> None:
    assert received(
        "airflow.ti.start,dag_id=a,task_id=b.c:1|c", "airflow.ti.start,task_id=b.c,dag_id=a:2|c"
    ) == {("airflow_ti_start_total", (("dag_id", "a"), ("task_id", "b.c"))): 3}
    assert received("a:4|c|@0.5") == {("a_total", ()): 8}
    assert received("pool.open:5|g\npool.open:+2|g\npool.open:-1|g") == {("pool_open", ()): 6}
    assert received("x:1500|ms", "x:500|ms") == {("x_seconds_count", ()): 2, ("x_seconds_sum", ()): 2.0}
    assert received("loss,model=demo-1:1e-05|g") == {("loss", (("model", "demo-1"),)): 1e-05}


@pytest.mark.parametrize("line", ["", "a", "a:1", "a:x|c", "a:1|h", "a,b:1|g", ":1|g", "a:1|g\nb", "a:--1|g"])
def test_lines_that_are_not_understood_are_counted(line: str) -> None:
    found = received(line, "a:2|g")
    assert found[("a", ())] == 2
    assert found.get(("malformed", ()), 0) == (1 if line else 0)


def test_a_name_keeps_its_type() -> None:
    assert received("a:1|c", "a:2|g") == {("a_total", ()): 1, ("malformed", ()): 1}


def test_gauges_say_what_the_files_say(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(exporter.statsd_port))
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
    from qarib_airflow.reporting import metrics

    metrics._initialize.cache_clear()
    run = Run(RunConfig(workspace=str(tmp_path)), "demo-0123456789", "demo-abcdef0123")
    for number in range(5):
        write_text(run.dataset.shard(f"shards/shard_{number:04}"), "text")
    for name in ("shards/shard_0000", "shards/shard_0002", "heldout/shards/shard_0000"):
        Manifest(kind="shard", id=name).write(manifest_of(run.dataset.tfrecord(name)))
    name = "shards/shard_0001"
    Manifest(kind="shard", id=name, state="failed").write(manifest_of(run.dataset.tfrecord(name)))
    write_text(manifest_of(run.dataset.tfrecord("shards/shard_0003")), "{")
    metrics.report_shards(run)
    metrics.report_training(run)  # Nothing yet.
    progress = {
        "step": 20,
        "train_steps": 40,
        "updated_at": "2026-05-04T03:02:01+00:00",
        "loss": 7.25,
        "masked_lm_loss": 6.5,
        "examples_per_second": 12.5,
        "state": "training",
    }
    write_text(run.model.progress, json.dumps(progress))
    metrics.report_training(run, preemptions=2)
    monkeypatch.undo()
    metrics._initialize.cache_clear()
    metrics._initialize()

    dataset, model = (("dataset", "demo-0123456789"),), (("model", "demo-abcdef0123"),)
    wanted = {
        ("airflow_qarib_shards", dataset): 5,
        ("airflow_qarib_shards_done", dataset): 2,
        ("airflow_qarib_training_step", model): 20,
        ("airflow_qarib_loss", model): 7.25,
        ("airflow_qarib_masked_lm_loss", model): 6.5,
        ("airflow_qarib_examples_per_second", model): 12.5,
        ("airflow_qarib_preemptions", model): 2,
    }
    while ("airflow_qarib_preemptions", model) not in scrape(exporter):  # UDP: until the last has arrived.
        pass
    found = scrape(exporter)
    assert {key: value for key, value in found.items() if key[0].startswith("airflow_qarib")} == wanted
    assert found["statsd_malformed_lines_total", ()] == 0


def test_a_port_that_is_in_use_is_named() -> None:
    with Exporter("127.0.0.1", 0, 0) as first:
        for ports, message in (
            (
                (first.statsd_port, 0),
                rf"127\.0\.0\.1:{first.statsd_port} \(UDP\): cannot listen: Add",
            ),
            ((0, first.port), rf"127\.0\.0\.1:{first.port}: cannot listen: Address already in use. Use ano"),
        ):
            with pytest.raises(StorageError, match=message):
                Exporter("127.0.0.1", *ports)

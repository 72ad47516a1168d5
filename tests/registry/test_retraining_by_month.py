"""A re-training on the files of its partition: which are read, which are missing, and what the record says.

Covers qarib_tasks/registry/retraining.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.loading import from_dict
from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.month import Month
from qarib_tasks.registry.promotion import promote, promoted_model, record_of
from qarib_tasks.registry.retraining import RetrainConfig, missing_files, months_of, prepare_retraining
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.run import Run, run_of_dataset, save_settings
from qarib_tasks.storage.manifest import Manifest
from tests.registry.test_retraining import trained
from tests.support.datasets import complete, request_month, write_documents

OCTOBER, FEBRUARY = Month(2026, 10), Month(2026, 2)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "text"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def first(text: Path, tmp_path: Path) -> Run:
    """A promoted model on a dataset of one month."""
    write_documents(text / "2026-09.txt", 0, 300)
    source = {"name": "text", "path": str(text / "2026-09.txt")}
    run = request_month(tmp_path, collect={"sources": [source]})
    complete(run)
    trained(run, 5.0)
    assert promote(run).state == "promoted"
    return run


def settings(text: Path, name: str = "{month}.txt", **values: Any) -> RetrainConfig:
    sources = [{"name": "text", "path": str(text / name)}]
    return from_dict(RetrainConfig, {"preset": "demo", "sources": sources, "retrain_steps": 50, **values})


def deployment(folder: Path) -> dict[str, Any]:
    return {"workspace": str(folder / "work"), "upload": {"bucket": None}, "tpu": {}}


def prepared(text: Path, month: Month | None, name: str = "{month}.txt") -> Run:
    folder = deployment(text.parent.parent)
    return prepare_retraining(settings(text, name), folder, datetime(2026, 10, 1, tzinfo=UTC), month=month)


def test_the_manifest_names_the_partition_which_changes_no_name(first: Run, text: Path) -> None:
    write_documents(text / "2026-10.txt", 300, 500)
    dated, run = prepared(text, None), prepared(text, OCTOBER)
    assert (run.config.partition, dated.config.partition) == ("2026-10", "")
    assert (run.dataset_id, run.model_id) == (dated.dataset_id, dated.model_id)
    complete(dated)
    before = Manifest.read(dated.dataset.manifest)
    assert "partition" not in before.config
    save_settings(run)
    after = finish_dataset(run)
    assert after.config == {**before.config, "partition": "2026-10"}
    assert (after.outputs, after.inputs, after.statistics) == (
        before.outputs,
        before.inputs,
        before.statistics,
    )
    # A repair of the dataset, which knows only its settings, keeps it.
    assert finish_dataset(run_of_dataset(text.parent, run.dataset_id)).text() == after.text()


def test_a_judged_model_settles_its_month(first: Run, text: Path, tmp_path: Path) -> None:
    write_documents(text / "2026-10.txt", 300, 500)
    run = prepared(text, OCTOBER)
    save_settings(run)
    complete(run)
    trained(run, 9.0)
    assert promote(run).state == "candidate"
    record = record_of(tmp_path / "work", None)
    months = months_of(settings(text), deployment(tmp_path), OCTOBER, UTC)
    entry = record.read()["presets"]["demo"]["months"]["2026-10"]
    assert (entry["state"], entry["why"]) == ("trained", f"{run.model_id} stays a candidate")
    turn = months.take(
        OCTOBER, "b", now=datetime(2027, 1, 1, tzinfo=UTC), is_active=lambda _: False, missing=list
    )
    assert turn.state == "settled"


def test_a_month_whose_model_could_not_be_judged_is_not_settled(
    first: Run, text: Path, tmp_path: Path
) -> None:
    """Another model was promoted since its run began."""
    write_documents(text / "2026-10.txt", 300, 500)
    write_documents(text / "2026-11.txt", 500, 700)
    run, other = prepared(text, OCTOBER), prepared(text, Month(2026, 11))
    for one in (run, other):
        save_settings(one)
        complete(one)
        trained(one, 4.9)
    promote(replace(other, config=replace(other.config, partition="")))
    judged = promote(run)
    assert "run it again" in judged.reason
    record = record_of(tmp_path / "work", None)
    assert "months" not in record.read()["presets"]["demo"]
    model = promoted_model(record, "demo")
    assert model
    assert model.model_id == other.model_id


def test_with_days_a_month_is_complete_when_each_day_has_a_file(first: Run, text: Path) -> None:
    asked = settings(text, "{day}-*.txt")
    for number, day in enumerate(FEBRUARY.days[:-1]):
        write_documents(text / f"{day}-a.txt", 300 + number, 310 + number)
    write_documents(text / "2026-03-01-a.txt", 0, 10)
    assert missing_files(asked, FEBRUARY) == [f"{text}/2026-02-28-*.txt: no such file"]
    write_documents(text / "2026-02-28-b.txt", 300, 500)
    assert missing_files(asked, FEBRUARY) == []
    run = prepared(text, FEBRUARY, "{day}-*.txt")
    names = [Path(file["address"]).name for file in json.loads(run.dataset.sources.read_text())["files"]]
    assert len(names) == 28
    assert {name[:7] for name in names} == {"2026-02"}


def test_all_sources_that_name_a_month_must_have_it(text: Path) -> None:
    sources = [
        {"name": "text", "path": str(text / "{month}.txt")},
        {"name": "more", "path": str(text / "{year}" / "{month}" / "*.txt")},
        {"name": "always", "path": str(text / "nothing.txt")},
    ]
    asked = settings(text, sources=sources)
    assert [line.partition(":")[0] for line in missing_files(asked, FEBRUARY)] == [
        f"{text}/2026-02.txt",
        f"{text}/2026/2026-02/*.txt",
    ]
    (text / "2026" / "2026-02").mkdir(parents=True)
    write_documents(text / "2026-02.txt", 0, 10)
    write_documents(text / "2026" / "2026-02" / "a.txt", 0, 10)
    assert missing_files(asked, FEBRUARY) == []


def test_a_file_can_say_that_a_month_is_ready(text: Path) -> None:
    asked = settings(text, month_ready=str(text / "{month}.ready"))
    write_documents(text / "2026-02.txt", 0, 10)
    assert missing_files(asked, FEBRUARY) == [f"{text}/2026-02.ready: no such file"]
    (text / "2026-02.ready").touch()
    assert missing_files(asked, FEBRUARY) == []


def test_settings_that_cannot_be(text: Path, tmp_path: Path) -> None:
    folder = deployment(tmp_path)
    with pytest.raises(ConfigError, match="month_ready: does not name its month"):
        months_of(settings(text, month_ready=str(text / "{year}.ready")), folder, OCTOBER, UTC)
    with pytest.raises(ConfigError, match="must name its month"):
        months_of(settings(text, "*.txt"), folder, OCTOBER, UTC)
    with pytest.raises(ConfigError, match="'2026-2' is not a month"):
        months_of(settings(text, skip_months=["2026-2"]), folder, OCTOBER, UTC)
    found = months_of(settings(text, skip_months=["2026-11"]), folder, OCTOBER, UTC)
    assert found.skipped == {Month(2026, 11)}

"""Datasets that extend another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.presets import resolve
from qarib_tasks.dataset.ledger import files_of
from qarib_tasks.errors import ConfigError, InputError, NothingNewError
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run, ledger_of
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.datasets import make_months, request_month, write_documents


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run], list[list[str]]]:
    """Three datasets, each extending the one before."""
    folder = tmp_path_factory.mktemp("months")
    return folder, *make_months(folder, 3)


def documents(path: Path) -> list[str]:
    return [text.strip() for text in path.read_text(encoding="utf-8").split("\n\n") if text.strip()]


def test_an_extension_holds_only_what_is_new(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    _, runs, _ = months
    texts = [documents(run.dataset.data) + documents(run.dataset.heldout_data) for run in runs]
    assert all(texts)
    everything = [text for some in texts for text in some]
    assert len(everything) == len(set(everything))
    # Nothing but repeats is left out: the text all at once has the same documents.
    folder = months[0]
    whole = request_month(folder, workspace=str(folder / "whole"))
    pipeline.collect(whole)
    at_once = documents(whole.dataset.data) + documents(whole.dataset.heldout_data)
    assert sorted(at_once) == sorted(everything)
    # A document that is held out is held out in both.
    assert sorted(documents(whole.dataset.heldout_data)) == sorted(
        text for run in runs for text in documents(run.dataset.heldout_data)
    )
    taken = sorted(Path(file.address).name for file in files_of(ledger_of(runs[0]).read()))
    assert taken == ["2026-01.txt", "2026-02.txt", "2026-03.txt"]


def test_its_shards_go_on_where_the_others_end(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    _, runs, shards = months
    names = [name for some in shards for name in some]
    assert len(names) == len(set(names))
    training = [name for name in names if not name.startswith("heldout/")]
    assert training == [f"shards/shard_{number:04d}" for number in range(len(training))]
    assert len({run.dataset_id for run in runs}) == 3
    for run, before in zip(runs[1:], runs, strict=False):
        assert run.dataset.vocab.read_bytes() == before.dataset.vocab.read_bytes()
        manifest = Manifest.read(run.dataset.manifest)
        assert manifest.config["extends"] == before.dataset_id
        assert {record.name for record in manifest.outputs}.isdisjoint({name for name in _tfrecords(before)})
    assert "extends" not in Manifest.read(runs[0].dataset.manifest).config


def _tfrecords(run: Run) -> set[str]:
    return {r.name for r in Manifest.read(run.dataset.manifest).outputs if r.name.endswith(".tfrecord")}


def test_the_trainer_reads_all_and_evaluates_on_the_first_one_s_held_out_part(
    months: tuple[Path, list[Run], list[list[str]]],
) -> None:
    _, runs, _ = months
    jobs = [training_job(run) for run in runs]
    folders = [str(run.dataset.training_data) for run in runs]
    assert [(*job.earlier_data, job.training_data) for job in jobs] == [
        tuple(folders[:1]),
        tuple(folders[:2]),
        tuple(folders),
    ]
    assert {job.heldout_data for job in jobs} == {str(runs[0].dataset.heldout_training_data)}
    again = prepare_training(runs[0].config, runs[2].dataset_id)
    assert training_job(again).earlier_data == jobs[2].earlier_data
    from qarib_tasks.train.data.shards import Shards

    shards = Shards(jobs[2].training_data, Path("cache"), earlier=jobs[2].earlier_data)
    everything = [name for run in runs for name in _tfrecords(run) if not name.startswith("heldout/")]
    assert [f"pretraining_data/{name}" for name in shards.names] == sorted(everything)
    assert all(shards.path(name).is_file() for name in shards.names)
    with pytest.raises(InputError, match="exists here and in a folder that this one extends"):
        Shards(folders[0], Path("cache"), earlier=folders[:1])


def test_nothing_new_is_said_so_and_the_contents_count(
    months: tuple[Path, list[Run], list[list[str]]], tmp_path: Path
) -> None:
    folder, runs, _ = months
    with pytest.raises(NothingNewError, match="all 3 source files"):
        request_month(folder, runs[2].dataset_id)
    # Under another name and date they are what they were.
    moved = {"collect": {"sources": [{"name": "moved", "path": str(tmp_path / "*.txt")}]}}
    for month in (1, 2, 3):
        (tmp_path / f"{month}.txt").write_bytes((folder / "text" / f"2026-0{month}.txt").read_bytes())
    with pytest.raises(NothingNewError):
        request_month(folder, runs[2].dataset_id, **moved)
    # Of a dataset that is not extended nothing is known.
    write_documents(tmp_path / "2.txt", 900, 950)
    run = request_month(folder, runs[0].dataset_id, **moved)
    plan = json.loads(run.dataset.sources.read_text())["files"]
    assert [Path(entry["address"]).name for entry in plan] == ["2.txt", "3.txt"]


def test_what_is_collected_is_what_was_listed(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    write_documents(tmp_path / "text" / "a.txt", 0, 100)
    run = request_month(tmp_path)
    write_documents(tmp_path / "text" / "b.txt", 100, 200)
    assert [record.name for record in pipeline.collect(run).inputs] == ["text/a.txt"]


def test_only_a_complete_dataset_is_extended(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    write_documents(tmp_path / "text" / "a.txt", 0, 100)
    run = request_month(tmp_path)
    with pytest.raises(InputError, match="not complete"):
        request_month(tmp_path, run.dataset_id)
    with pytest.raises(InputError, match="no dataset"):
        request_month(tmp_path, "demo-0123456789")
    with pytest.raises(ConfigError, match="extends"):
        resolve({"preset": "demo", "workspace": "w", "extends": "../elsewhere"})


def test_a_text_that_is_gone_cannot_be_extended(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    folder, runs, _ = months
    write_documents(folder / "text" / "2026-04.txt", 800, 900)
    try:
        run = request_month(folder, runs[2].dataset_id)
        hidden = runs[1].dataset.data.rename(runs[1].dataset.root / "hidden")
        with pytest.raises(InputError, match="no longer exists"):
            pipeline.collect(run)
        hidden.rename(runs[1].dataset.data)
    finally:
        (folder / "text" / "2026-04.txt").unlink()


def test_the_audit_knows_only_a_dataset_s_own_shards(
    months: tuple[Path, list[Run], list[list[str]]],
) -> None:
    from qarib_tasks.dataset.audit import audit

    _, runs, shards = months
    for run, own in zip(runs, shards, strict=True):
        assert [state.name for state in audit(run.dataset)] == own
        assert manifest_of(run.dataset.shards(run.dataset.heldout_data)).is_file()

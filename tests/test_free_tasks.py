"""Tasks from the held-out part of a run's corpus: from collecting to what the trainer gets.

Covers qarib_tasks/pipeline.py, qarib_tasks/runs/training_job.py.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.evaluation import EMOJI, SOURCE
from qarib_tasks.errors import InputError
from qarib_tasks.labelled.staged import read_staged, write_task
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from tests.support.datasets import complete, request
from tests.support.training_examples import words_task

SOURCES = ("زرقاء", "حمراء", "empty", "خضراء")


def text(source: str, first: int = 0) -> str:
    """Documents whose first word is the source's name, some of them twice, and some in all sources."""
    own = [f"{source} حكاية قصيرة رقم {number}" for number in range(first, first + 900)]
    return "\n\n".join(own + own[::9] + [f"في كل المصادر حكاية رقم {number}" for number in range(300)])


def sources(folder: Path, *names: str, **texts: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    listed = []
    for name in names or SOURCES:
        path = folder / f"{name}.txt"
        path.write_text(texts.get(name) or ("." if name == "empty" else text(name)) + "\n", encoding="utf-8")
        listed.append({"name": name, "path": str(path)})
    return {"sources": listed, "heldout_share": 0.1}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("free")
    run = request(folder, collect=sources(folder), vocab={"vocab_size": 400})
    complete(run)
    return run


@pytest.fixture
def run(collected: Run) -> Run:
    """Of a model without files."""
    for path in collected.model.task("any").parent.glob("*"):
        path.unlink()
    return collected


def task_of(run: Run) -> LabelledTask:
    (staged,) = training_job(run).tasks
    assert staged.name == SOURCE
    return read_staged(staged, run.model.task(SOURCE))


def test_a_line_has_the_source_that_it_was_collected_from(run: Run) -> None:
    assert training_job(run).tasks == ()
    pipeline.stage_free_tasks(run)
    task = task_of(run)
    assert task.labels == tuple(sorted(set(SOURCES) - {"empty"}))
    heldout = set(run.dataset.heldout_data.read_text(encoding="utf-8").splitlines())
    own = 0
    for part in (task.train, task.test):
        assert len(part) > 50
        assert set(part.texts) <= heldout
        for name, label in zip(part.texts, part.labels, strict=True):
            if (first := name.split()[0]) in SOURCES:
                own += 1
                assert first == task.labels[label]
    assert own > 200


def test_tasks_change_no_file_of_the_dataset(run: Run) -> None:
    files = {path: path.read_bytes() for path in run.dataset.root.rglob("*") if path.is_file()}
    pipeline.stage_free_tasks(run)
    assert {path: path.read_bytes() for path in run.dataset.root.rglob("*") if path.is_file()} == files


def test_the_same_bytes_each_time_and_for_another_model_of_the_dataset(run: Run) -> None:
    pipeline.stage_free_tasks(run)
    before = run.model.task(SOURCE).read_bytes()
    other = prepare_training(
        replace(run.config, train=replace(run.config.train, train_steps=900)), run.dataset_id
    )
    for one in (run, other):
        pipeline.collect(one)
        pipeline.stage_free_tasks(one)
    assert other.model_id != run.model_id
    assert other.model.task(SOURCE).read_bytes() == run.model.task(SOURCE).read_bytes() == before


def test_none_where_they_are_turned_off(run: Run) -> None:
    off = replace(run, config=replace(run.config, evaluate=replace(run.config.evaluate, free_tasks=False)))
    pipeline.stage_free_tasks(off)
    assert not run.model.task(SOURCE).exists()
    pipeline.stage_free_tasks(run)
    assert training_job(off).tasks == ()
    assert training_job(run).tasks != ()


def test_none_where_the_text_or_its_manifest_is_gone(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for path in (run.dataset.heldout_data, run.dataset.root / "data.txt.manifest.json"):
        path.rename(tmp_path / "away")
        pipeline.stage_free_tasks(run)
        (tmp_path / "away").rename(path)
        assert training_job(run).tasks == ()
    assert f"{run.dataset.heldout_data}: no such file, so the corpus gives no tasks" in caplog.text
    assert "no task source@corpus: the manifest does not say which source a line is from" in caplog.text


def test_a_task_that_the_corpus_no_longer_gives_is_removed_and_a_strangers_file_stays(run: Run) -> None:
    path = run.model.task(EMOJI)
    write_task(words_task(EMOJI), path)
    assert [task.name for task in training_job(run).tasks] == [EMOJI]
    pipeline.stage_free_tasks(run)
    assert not path.exists()
    path.write_text("mine", encoding="utf-8")
    pipeline.stage_free_tasks(run)
    assert path.read_text(encoding="utf-8") == "mine"
    assert [task.name for task in training_job(run).tasks] == [SOURCE]


def test_a_strangers_file_of_that_name_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    collect = sources(tmp_path)
    path = request(tmp_path, collect=collect).model.task(SOURCE)
    path.parent.mkdir(parents=True)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"source@corpus\.jsonl: exists and was not made by qarib"):
        request(tmp_path, collect=collect)
    request(tmp_path, collect=collect, evaluate={"free_tasks": False})


def test_a_model_of_an_extended_dataset_is_scored_on_the_first_held_out_part(tmp_path: Path) -> None:
    """As its loss is: the figures of a model and of the one before can be compared."""
    first = request(tmp_path, collect=sources(tmp_path), vocab={"vocab_size": 400})
    complete(first)
    more = sources(tmp_path / "more", "سوداء", "بيضاء")
    run = request(tmp_path, collect=more, extends=first.dataset_id)
    complete(run)
    for one in (first, run):
        pipeline.stage_free_tasks(one)
    assert run.model_id != first.model_id
    assert training_job(run).tasks == training_job(first).tasks != ()

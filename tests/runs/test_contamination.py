"""Runs with labelled tasks: test texts stay out of new datasets, and are counted in those that exist."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.labelled.decontamination import TaskTexts
from qarib_tasks.runs import contamination
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.datasets import DOCUMENTS, complete, request, request_month, write_documents

LONG = [" ".join(text.split()) for text in DOCUMENTS if 100 < len(text) < 900][:120]


def with_tasks(run: Run, *tasks: dict[str, Any]) -> Run:
    """The same run with tasks, which are read and staged as a preflight does it."""
    evaluate = from_dict(EvaluateConfig, {"tasks": list(tasks)})
    run = replace(run, config=replace(run.config, evaluate=evaluate))
    pipeline.stage_tasks(run, pipeline.read_tasks(run.config))
    return run


def task(folder: Path, texts: list[str], name: str = "topic") -> dict[str, Any]:
    """A task whose test texts are these."""
    for part, some in (("test", texts), ("train", [f"نص آخر للتدريب {n}" for n in range(8)])):
        rows = [json.dumps({"text": text, "label": "ab"[n % 2]}) for n, text in enumerate(some)]
        (folder / f"{name}-{part}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return {"name": name, "train": f"{folder}/{name}-train.jsonl", "test": f"{folder}/{name}-test.jsonl"}


def statistics(run: Run) -> dict[str, Any]:
    return dict(Manifest.complete(manifest_of(run.dataset.data)).statistics)


def trained_texts(run: Run) -> str:
    return " ".join(run.dataset.data.read_text(encoding="utf-8").split())


def test_a_new_dataset_is_made_without_the_test_texts(tmp_path: Path) -> None:
    plain = request(tmp_path)
    run = with_tasks(plain, task(tmp_path, LONG[:6]))
    assert (run.dataset_id, run.model_id) == (plain.dataset_id, plain.model_id)
    pipeline.collect(run)
    documents = statistics(run)["tasks"]["topic"]["documents"]
    assert documents >= 6
    assert not any(text in trained_texts(run) for text in LONG[:6])
    assert sum(text in trained_texts(run) for text in LONG[6:]) > 9
    digest = contamination.task_texts(run).digests["topic"]
    assert contamination.found(run, digest) == (documents, 0)
    assert contamination.notes(run, contamination.task_texts(run)) == []
    # Later, also without the task, it stays as it is.
    before = run.dataset.data.stat().st_ino
    assert pipeline.collect(plain).statistics["tasks"]["topic"]["documents"] == documents
    assert run.dataset.data.stat().st_ino == before


def test_a_dataset_that_exists_is_not_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = request(tmp_path)
    pipeline.collect(plain)
    data, manifest = plain.dataset.data, manifest_of(plain.dataset.data)
    before, told_before = manifest.read_bytes(), pipeline.losses_of(plain)
    kept = [text for text in LONG if text in trained_texts(plain)]
    texts = kept[:6]
    run = with_tasks(
        plain, task(tmp_path, texts), task(tmp_path, ["جملة طويلة لا توجد في أي نص من النصوص"] * 2, "none")
    )
    tasks = TaskTexts.of(pipeline.read_tasks(run.config))
    (first, _) = contamination.notes(run, tasks)
    assert first.startswith(f"test texts of the task topic may be in the text of {run.dataset_id}")
    assert "collect counts them. To leave them out, collect the text in another workspace" in first
    inode = data.stat().st_ino
    with caplog.at_level("INFO"):
        pipeline.collect(run)
    assert data.stat().st_ino == inode
    counted = {one["task"]: one["documents"] for one in statistics(run)["contamination"].values()}
    assert counted["topic"] >= 6
    assert counted["none"] == 0
    told = f"test texts of the task topic are in {counted['topic']} documents of the text of {run.dataset_id}"
    assert f"warning: {told}" in caplog.text
    assert told in pipeline.losses_of(run)[-1]
    assert contamination.found(run, tasks.digests["topic"]) == (0, counted["topic"])
    # Nothing else in the manifest has changed, and another time nothing is counted.
    now = json.loads(manifest.read_text(encoding="utf-8"))
    del now["statistics"]["contamination"]
    assert now == json.loads(before)
    assert pipeline.losses_of(plain) == told_before
    stamp = manifest.stat().st_mtime_ns
    pipeline.collect(run)
    assert manifest.stat().st_mtime_ns == stamp


def test_training_on_a_dataset_counts_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = request(tmp_path)
    pipeline.collect(made)
    pipeline.build_vocab(made)
    pipeline.split(made)
    texts = [text for text in LONG if text in trained_texts(made)][:6]
    existing = prepare_training(made.config, made.dataset_id, first_step="convert")
    run = with_tasks(existing, task(tmp_path, texts))
    (staged,) = training_job(run).tasks
    assert (staged.left_out, staged.contaminated) == (0, None)
    pipeline.collect(run)
    (staged,) = training_job(run).tasks
    assert staged.contaminated is not None
    assert staged.contaminated >= 6
    # Without the text, what was counted is still known; another task cannot be counted.
    made.dataset.data.unlink()
    assert training_job(run).tasks == (staged,)
    other = with_tasks(run, task(tmp_path, LONG[50:56], "other"))
    pipeline.collect(other)
    assert "data.txt: no such file, so documents with test texts of other are not counted" in caplog.text
    (staged,) = training_job(other).tasks
    assert staged.contaminated is None


def test_the_datasets_that_are_extended_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    write_documents(tmp_path / "text" / "1.txt", 0, 200)
    first = request_month(tmp_path)
    complete(first)
    write_documents(tmp_path / "text" / "2.txt", 200, 400)
    plain = request_month(tmp_path, first.dataset_id)
    old, new = DOCUMENTS[:200], DOCUMENTS[200:400]
    texts = [
        next(text for text in some if 200 < len(text) < 900 and text.strip() in first_text)
        for some, first_text in (
            (old, first.dataset.data.read_text(encoding="utf-8")),
            (new, "\n\n".join(new)),
        )
    ]
    run = with_tasks(plain, task(tmp_path, [" ".join(text.split()) for text in texts]))
    pipeline.collect(run)
    digests = contamination.task_texts(run).digests
    assert contamination.found(run, digests["topic"]) == (1, 1)

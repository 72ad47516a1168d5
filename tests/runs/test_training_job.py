"""What the trainer is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.errors import InputError
from qarib_tasks.labelled.staged import read_staged
from qarib_tasks.runs.training_job import training_job
from tests.support.datasets import request


def test_the_trainer_reads_the_bucket_where_there_is_one(tmp_path: Path) -> None:
    local = training_job(request(tmp_path))
    assert local.training_data == str(request(tmp_path).dataset.training_data)
    assert local.publish_to is None
    run = request(tmp_path, upload={"bucket": "some-bucket", "prefix": "a/b/"})
    job = training_job(run)
    base = f"gs://some-bucket/a/b/datasets/{run.dataset_id}"
    assert job.training_data == f"{base}/pretraining_data"
    assert job.heldout_data == f"{base}/heldout/pretraining_data"
    assert job.vocab_file == f"{base}/vocab.txt"
    assert job.publish_to == f"gs://some-bucket/a/b/models/{run.model_id}/"


def test_labelled_tasks_are_files_of_the_model(tmp_path: Path) -> None:
    texts = "".join(f"نص {number}\t{'ab'[number % 2]}\n" for number in range(50))
    (tmp_path / "train.tsv").write_text(f"text\tlabel\n{texts}", encoding="utf-8")
    task = {"name": "mood", "train": str(tmp_path / "train.tsv")}
    run = request(tmp_path, evaluate={"tasks": [task]})
    assert run.model_id == request(tmp_path).model_id
    with pytest.raises(InputError, match=r"the task mood has no file.*Start a new run"):
        training_job(run)
    read = pipeline.read_tasks(run.config)
    pipeline.stage_tasks(run, read)
    (tmp_path / "train.tsv").unlink()
    [staged] = training_job(run).tasks
    assert [read_staged(staged, run.model.task("mood"))] == read

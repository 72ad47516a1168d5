"""What the trainer is told."""

from __future__ import annotations

from pathlib import Path

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

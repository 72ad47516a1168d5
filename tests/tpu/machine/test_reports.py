"""What several workers say, as one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.errors import StorageError
from qarib_tasks.tpu.machine.reports import BucketReports, _read


@pytest.fixture
def bucket(bucket_name: str) -> Any:
    client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    return client.bucket(bucket_name)


@pytest.fixture
def reports(bucket: Any) -> BucketReports:
    return BucketReports(f"gs://{bucket.name}/reports", bucket.client)


def write(bucket: Any, worker: int, state: str, mark: str = "1") -> None:
    report = {"name": "a", "mark": mark, "state": state, "message": f"of {worker}"}
    bucket.blob(f"reports/a/worker-{worker}.json").upload_from_string(json.dumps(report))


@pytest.mark.parametrize(
    ("states", "state", "message"),
    [
        (["succeeded"], "succeeded", "of 0"),
        (["running", "succeeded"], "running", "worker 0: of 0"),
        (["succeeded", "running"], "running", "worker 1: of 1"),
        (["succeeded", "succeeded"], "succeeded", "of 0"),
        (["running", "preempted", "failed"], "failed", "worker 2: of 2"),
        (["running", "preempted"], "preempted", "worker 1: of 1"),
        (["preempted", "stopped"], "stopped", "worker 1: of 1"),
        # The one that the others ended for has still to say why; it may never.
        (["other_ended", "running", "other_ended"], "running", "worker 1: of 1"),
        (["other_ended", "other_ended", "failed"], "failed", "worker 2: of 2"),
        (["other_ended", "other_ended"], "lost", "worker 0: of 0"),
        (["succeeded", "other_ended"], "succeeded", "of 0"),
    ],
)
def test_all_workers_as_one(
    bucket: Any, reports: BucketReports, states: list[str], state: str, message: str
) -> None:
    assert reports.heartbeat("a") is None
    for worker, one in enumerate(states):
        write(bucket, worker, one)
    beat = reports.heartbeat("a")
    assert beat is not None
    assert (beat.name, beat.state, beat.message) == ("a", state, message)
    # Any worker's news are news.
    write(bucket, len(states) - 1, states[-1], mark="2")
    again = reports.heartbeat("a")
    assert again is not None
    assert again.mark != beat.mark


def test_of_several_failures_the_first_is_told(bucket: Any, reports: BucketReports) -> None:
    write(bucket, 1, "running")
    write(bucket, 2, "failed")
    assert reports.heartbeat("a").message == "worker 2: of 2"  # type: ignore[union-attr]
    write(bucket, 0, "failed")
    write(bucket, 1, "failed")
    assert reports.heartbeat("a").message == "worker 2: of 2"  # type: ignore[union-attr]


def test_without_the_worker_that_publishes_nothing_is_known(bucket: Any, reports: BucketReports) -> None:
    write(bucket, 1, "running")
    write(bucket, 0, "running")
    bucket.blob("reports/a/worker-0.json").delete()
    assert reports.heartbeat("a") is None


def test_a_report_that_was_overwritten_meanwhile(bucket: Any, reports: BucketReports) -> None:
    write(bucket, 0, "running")
    (listed,) = bucket.list_blobs(prefix="reports/a/")
    write(bucket, 0, "succeeded")
    assert json.loads(_read(listed))["state"] == "succeeded"
    bucket.blob("reports/a/worker-0.json").upload_from_string("{")
    with pytest.raises(StorageError, match=r"reports/a/worker-0\.json"):
        reports.heartbeat("a")


def test_asking_to_stop_twice_is_fine(bucket: Any, reports: BucketReports) -> None:
    reports.stop("a")
    reports.stop("a")
    assert bucket.blob("reports/a/stop").exists()

"""The operators on a GKE cluster: a local stand-in for the Kubernetes API, whose pods are processes.

Covers qarib_tasks/tpu/gke/client.py, qarib_tasks/tpu/gke/pod.sh.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from qarib_airflow.preflight.checks import check_tpu
from qarib_airflow.tpu.hook import gke_service
from qarib_airflow.tpu.operators import CloudTPUDeleteRunOperator
from qarib_airflow.tpu.prepare import prepare_tpu

from qarib_tasks.tpu import reaper
from qarib_tasks.tpu.api.errors import TpuConflictError, TpuPermissionError
from qarib_tasks.tpu.gke.manifest import GkeRequest, object_name
from qarib_tasks.tpu.job import TpuJob
from tests.support.datasets import CONNECTION, tpu_run
from tests.support.kubernetes.stand_in import StandIn
from tests.support.lifecycles.benches import IMAGE
from tests.support.tpu_jobs import Bench, context, deferred, finish, operator, stopped, until

CLUSTER = "projects/p/locations/l/clusters/c"
SETTINGS = {"machine": "gke", "gke_cluster": CLUSTER, "image": IMAGE, "accelerator_type": "v5litepod-4"}
SLICE = {"accelerator_type": "v5litepod-16"}


@pytest.fixture
def cluster(tmp_path: Path, emulator_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    environment = {"STORAGE_EMULATOR_HOST": emulator_address, "QARIB_PYTHON": sys.executable}
    with StandIn(tmp_path, time.time, scale=0.0, environment=environment) as cluster:
        monkeypatch.setenv("GKE_EMULATOR_HOST", cluster.endpoint)
        yield cluster


@pytest.fixture
def bench(
    bucket_name: str, emulator_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: StandIn
) -> Bench:
    return Bench(bucket_name, emulator_address, tmp_path, monkeypatch)


def job_of(bench: Bench, *waits: int, **settings: Any) -> dict[str, Any]:
    return bench.job(*waits, **{**SETTINGS, **settings})


def test_a_spot_node_that_is_taken_away(bench: Bench, cluster: StandIn) -> None:
    job = job_of(bench, 25)

    async def follow() -> dict[str, Any]:
        running = await until(deferred(operator(job)), bench.checkpoint.with_suffix(".25").exists)
        cluster.strike(object_name(bench.memory().name), "vanish")
        return await asyncio.wait_for(running, 60)

    event = asyncio.run(follow())
    assert event["status"] == "success"
    assert (bench.memory().attempt, bench.memory().emulated) == (2, True)
    assert "going on from step 20\nstep 21 of 100" in bench.log(bench.memory().name)
    assert (cluster.objects, cluster.pods) == ({}, {})


def test_the_first_process_of_a_pod_passes_the_notice_on(bench: Bench, cluster: StandIn) -> None:
    """Kubernetes sends it to this process only; the work saves, and reports it."""
    job = job_of(bench, 25)

    async def follow() -> dict[str, Any]:
        running = await until(deferred(operator(job)), bench.checkpoint.with_suffix(".25").exists)
        (pod,) = cluster.pods.values()
        assert pod.process is not None
        pod.process.terminate()
        return await asyncio.wait_for(running, 60)

    event = asyncio.run(follow())
    assert event["status"] == "success"
    assert "received a preemption notice" in event["history"][0]
    assert "saved\n" in bench.log(bench.memory().name.removesuffix("2") + "1")


def test_a_training_that_fails_says_how(bench: Bench, cluster: StandIn) -> None:
    failing = bench.job(arguments=("-c", "raise SystemExit('loss is not a number')"), **SETTINGS)
    with pytest.raises(AirflowFailException, match="loss is not a number"):
        finish(failing)
    assert not cluster.objects


def test_several_hosts_have_numbers_and_one_coordinator(bench: Bench, cluster: StandIn) -> None:
    tells = "import os; print(*(os.environ['QARIB_TPU_' + n] for n in ('WORKER', 'WORKERS', 'COORDINATOR')))"
    job = bench.job(arguments=("-c", tells), **{**SETTINGS, **SLICE})
    assert finish(job)["status"] == "success"
    name = bench.memory().name
    host = f"{object_name(name)}-host-0-0.{object_name(name)}:8476"
    for number in range(4):
        log = bench.bucket.blob(f"models/m/tpu/run/{name}/worker-{number}.log").download_as_bytes().decode()
        assert f"{number} 4 {host}" in log


def test_a_pod_that_cannot_write_to_the_bucket_says_so(bench: Bench, cluster: StandIn) -> None:
    """It has no other way than its last words, which Kubernetes keeps."""
    job = TpuJob.from_dict(job_of(bench))
    assert cluster.environment
    cluster.environment = {**cluster.environment, "STORAGE_EMULATOR_HOST": f"http://{cluster.address}"}
    with pytest.raises(AirflowFailException, match="cannot write to gs://"):
        finish(job.to_dict())
    assert not cluster.objects


def test_an_image_that_is_not_there_is_not_tried_on_other_nodes(bench: Bench, cluster: StandIn) -> None:
    cluster.add_fault("no_image")
    with pytest.raises(AirflowFailException, match="cannot start: ImagePullBackOff: not found"):
        finish(job_of(bench))
    assert (bench.memory().attempt, cluster.objects) == (1, {})


def test_the_teardown_and_labels(bench: Bench, cluster: StandIn) -> None:
    job = job_of(bench, 50)

    async def follow() -> None:
        await stopped(await until(deferred(operator(job)), bench.checkpoint.with_suffix(".50").exists))

    asyncio.run(follow())
    ((name, made),) = cluster.objects.items()
    labels = made["metadata"]["labels"]
    assert (labels["made-by"], labels["owner"], labels["model"]) == ("qarib", "somebody", "m")
    assert made["spec"]["activeDeadlineSeconds"] > 168 * 3600
    deleted = CloudTPUDeleteRunOperator(task_id="delete", job=job).execute(context())
    assert deleted == [f"us-west4-a/{name}"]
    assert (cluster.objects, cluster.pods) == ({}, {})


def test_only_what_is_late_and_ours_is_reaped(bench: Bench, cluster: StandIn) -> None:
    cluster.environment = None
    service = gke_service(CLUSTER, "default")
    job = TpuJob.from_dict(job_of(bench, **SLICE))
    for since in (1.6e9, time.time()):
        memory = job.memory().load() or _memory(job, since)
        service.create_queued_resource(job.request(memory, "us-west4-a"))
    late = reaper.expired(reaper.find(service), datetime.now(UTC))
    assert [one.name for one in late] == [object_name(_memory(job, 1.6e9).name)]
    assert late[0].zone == "us-west4-a"
    reaper.delete(service, late, within=10)
    assert list(cluster.objects) == [object_name(_memory(job, time.time()).name)]


def test_what_kubernetes_refuses(bench: Bench, cluster: StandIn) -> None:
    service = gke_service(CLUSTER, "default")
    job = TpuJob.from_dict(job_of(bench))
    request = job.request(_memory(job, time.time()), "us-west4-a")
    assert isinstance(request, GkeRequest)
    service.create_queued_resource(request)
    service.create_queued_resource(request)  # It is the run's own.
    cluster.objects[object_name(request.name)]["metadata"]["labels"]["run"] = "another"
    with pytest.raises(TpuConflictError):
        service.create_queued_resource(request)
    cluster.objects.clear()
    cluster.add_fault("forbidden")
    with pytest.raises(TpuPermissionError, match=r"roles/container\.developer"):
        service.create_queued_resource(request)
    cluster.token = "another"
    with pytest.raises(TpuPermissionError):
        service.check()


def test_before_a_run_the_cluster_is_asked(
    bench: Bench, cluster: StandIn, tmp_path: Path, bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = tpu_run(tmp_path / "run", bucket_name, **SETTINGS, external_ips=False)
    check_tpu(run, CONNECTION)
    assert f"On {CLUSTER}. TPU v5litepod-4 (4 chips, spot) in" in caplog.text
    job = TpuJob.from_dict(prepare_tpu(run, "r", "amal", CONNECTION))
    assert isinstance(job.request(_memory(job, 1.0), "us-west4-a"), GkeRequest)
    cluster.token = "another"
    with pytest.raises(TpuPermissionError, match="Unauthorized"):
        check_tpu(run, CONNECTION)


def test_the_dag_that_reaps_looks_in_the_cluster(
    bench: Bench, cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qarib_reap_tpus

    cluster.environment = None
    job = TpuJob.from_dict(job_of(bench))
    gke_service(CLUSTER, "default").create_queued_resource(job.request(_memory(job, 1.6e9), "us-west4-a"))
    monkeypatch.setenv("QARIB_TPU", f"{{machine: gke, gke_cluster: {CLUSTER}}}")
    monkeypatch.setattr(qarib_reap_tpus, "get_current_context", lambda: {"params": {"dry_run": False}})
    reap: Any = qarib_reap_tpus.qarib_reap_tpus().get_task("reap").python_callable
    assert reap() == [f"us-west4-a/{object_name(_memory(job, 1.6e9).name)}"]
    assert (cluster.objects, cluster.pods) == ({}, {})


def _memory(job: TpuJob, since: float) -> Any:
    from qarib_tasks.tpu.lifecycle import Memory

    return Memory(run_id=job.run_id, since=since, attempt=1 if since < 1.7e9 else 2)

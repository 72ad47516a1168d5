"""What is checked, told and uploaded before a run asks for a TPU."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from qarib_airflow.preflight.checks import check_tpu
from qarib_airflow.preflight.pretrain import preflight
from qarib_airflow.tpu.prepare import prepare_tpu

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.training import TrainingJob
from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.model_files import find
from qarib_tasks.tpu.api.errors import TpuRequestError
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory
from qarib_tasks.tpu.machine.wheel import build_wheel
from qarib_tasks.tpu.prepare import REQUIREMENTS

CONNECTION = "google_cloud_default"


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", behaviour=Behaviour(scale=0.0)) as emulator:
        monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", emulator.endpoint)
        yield emulator


def run_of(tmp_path: Path, bucket: str, **tpu: Any) -> Run:
    upload = {"bucket": bucket, "prefix": "team/"}
    values = {"preset": "demo", "workspace": str(tmp_path / "w"), "upload": upload}
    return Run(resolve(values | {"tpu": {"machine": "cloud_tpu"} | tpu}), "demo-0", "demo-1")


def test_hours_and_price_are_told_before_anything_is_made(
    emulator: TpuEmulator,
    bucket_name: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    source = tmp_path / "source.txt"
    source.write_text("نص قصير\n" * 100, encoding="utf-8")
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", str(tmp_path))
    params = {"preset": "qarib", "workspace": str(tmp_path / "w"), "bucket": bucket_name}
    preflight(params | {"sources": [{"name": "text", "path": str(source)}]}, CONNECTION)
    assert (
        "TPU v5litepod-8 (8 chips, spot) in us-central1-a, us-west4-a, europe-west4-b: about" in caplog.text
    )
    assert "hours for 2,000,000 steps" in caplog.text
    assert "US dollars at 1.96 an hour (list of" in caplog.text
    assert emulator.calls.get("CreateQueuedResource") is None


def test_zones_that_lack_it(
    emulator: TpuEmulator, bucket_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_tpu(run_of(tmp_path, bucket_name, zones=["us-central1-c", "us-west4-a"]), CONNECTION)
    assert "us-central1-c: the zone has no accelerator type v5litepod-8" in caplog.text
    with pytest.raises(TpuRequestError, match=r"no accelerator type v5litepod-8.*Name other zones"):
        check_tpu(run_of(tmp_path, bucket_name, zones=["us-central1-c"]), CONNECTION)
    with pytest.raises(TpuRequestError, match="no runtime version v2-alpha"):
        check_tpu(run_of(tmp_path, bucket_name, zones=["us-west4-a"], runtime_version="v2-alpha"), CONNECTION)


@pytest.mark.parametrize(
    ("tpu", "message"),
    [
        ({"max_cost": 1e-9}, r"above max_cost 0\.00"),
        ({"running_hours": 1e-9}, "above running_hours"),
        ({"accelerator_type": "v99-8"}, "not an accelerator type that is known"),
        ({"accelerator_type": "v5litepod-256"}, "a batch of 32 cannot be divided over the 256 devices"),
        ({"accelerator_type": "v3-128"}, "a batch of 32 cannot be divided over the 128 devices"),
    ],
)
def test_what_cannot_end_well_is_not_begun(
    emulator: TpuEmulator, bucket_name: str, tmp_path: Path, tpu: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_tpu(run_of(tmp_path, bucket_name, **tpu), CONNECTION)


def test_all_that_a_machine_needs_is_in_the_bucket(bucket_name: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, bucket_name)
    values = prepare_tpu(run, "manual__1", "somebody", CONNECTION)
    assert values is not None
    job = TpuJob.from_dict(json.loads(json.dumps(values)))
    bucket = Bucket(f"gs://{bucket_name}/")
    for file in (job.wheel, job.requirements, *job.files):
        copy = tmp_path / "copy"
        bucket.download(file.name, copy)
        assert checksums(copy).sha256 == file.sha256
        assert file.name.startswith(f"team/launch/{file.sha256[:16]}/")
    training = from_dict(TrainingJob, yaml.safe_load(bucket.read_text(job.files[0].name) or ""))
    assert training.publish_to == f"gs://{bucket_name}/team/models/demo-1/"
    assert not Path(training.output).is_absolute()
    assert job.files[0].path == f"{training.output}/config.yaml" == job.arguments[-1]
    assert job.address == f"gs://{bucket_name}/team/models/demo-1/tpu/manual__1/"
    # Another time, the same.
    before = {name: blob.generation for name, blob in bucket.list().items()}
    assert prepare_tpu(run, "manual__1", "somebody", CONNECTION) == values
    assert {name: blob.generation for name, blob in bucket.list().items()} == before


def test_two_airflows_of_one_project_have_runs_of_one_name(bucket_name: str, tmp_path: Path) -> None:
    """As the scheduled runs of a staging and a production deployment: neither deletes the other's TPU."""
    jobs = []
    for prefix in ("production/", "staging/"):
        run = run_of(tmp_path / prefix, bucket_name)
        run = replace(run, config=replace(run.config, upload=replace(run.config.upload, prefix=prefix)))
        jobs.append(TpuJob.from_dict(prepare_tpu(run, "scheduled__1", "somebody", CONNECTION) or {}))
    one, other = jobs
    assert one.labels != other.labels
    assert Memory(run_id=one.run_id).name != Memory(run_id=other.run_id).name


def test_weights_on_this_machine_are_taken_to_the_bucket(bucket_name: str, tmp_path: Path) -> None:
    weights = tmp_path / "pretrained" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    (weights.parent / "vocab.txt").write_text("[PAD]\n")
    (weights.parent / "README.md").write_text("not needed")
    digest = find(str(weights.parent)).digest
    run = replace(run_of(tmp_path, bucket_name), start_from_digest=digest)
    local = replace(run.config.train, start_from=str(weights.parent))
    run = replace(run, config=replace(run.config, train=local))
    values = prepare_tpu(run, "r", "o", CONNECTION)
    assert values is not None
    bucket = Bucket(f"gs://{bucket_name}/")
    settings = TpuJob.from_dict(values).files[0].name
    training = from_dict(TrainingJob, yaml.safe_load(bucket.read_text(settings) or ""))
    assert training.train.start_from.startswith(f"gs://{bucket_name}/team/launch/")
    assert sorted(Bucket(training.train.start_from).list()) == ["model.safetensors", "vocab.txt"]
    assert find(training.train.start_from).digest == training.start_from_digest == digest
    weights.write_bytes(b"others")
    with pytest.raises(InputError, match="not what it was"):
        prepare_tpu(run, "r", "o", CONNECTION)


def test_no_tpu_where_none_is_needed(bucket_name: str, tmp_path: Path) -> None:
    assert prepare_tpu(run_of(tmp_path, bucket_name, machine="local"), "r", "o", CONNECTION) is None
    run = run_of(tmp_path, bucket_name)
    assert run.address
    Bucket(run.address + run.model.name).write_text("progress.json", '{"state": "finished"}')
    assert prepare_tpu(run, "r", "o", CONNECTION) is None


def test_machines_without_a_way_out_need_a_wheelhouse(
    bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, bucket_name, external_ips=False)
    with pytest.raises(ConfigError, match="QARIB_TPU_WHEELHOUSE"):
        prepare_tpu(run, "r", "o", CONNECTION)
    monkeypatch.setenv("QARIB_TPU_WHEELHOUSE", str(tmp_path / "wheelhouse.tar"))
    with pytest.raises(ConfigError, match="no such file"):
        prepare_tpu(run, "r", "o", CONNECTION)
    (tmp_path / "wheelhouse.tar").write_bytes(b"tar")
    values = prepare_tpu(run, "r", "o", CONNECTION)
    assert values is not None
    assert values["wheelhouse"]["name"].endswith("/wheelhouse.tar")


def test_the_wheel_holds_this_package_and_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = build_wheel(tmp_path / "a").read_bytes(), build_wheel(tmp_path / "b").read_bytes()
    assert one == other
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        names = set(archive.namelist())
        assert {
            "qarib_tasks/cli/main.py",
            "qarib_tasks/vocabulary/unicode_tables.txt",
            "qarib_tasks/train/loop.py",
        } <= names
        assert not any("__pycache__" in name for name in names)


def test_the_requirements_are_pinned_with_checksums() -> None:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line[:1].isalnum()]
    assert all("==" in line and line.endswith("\\") for line in pinned)
    names = {line.partition("==")[0] for line in pinned}
    assert {"jax", "jaxlib", "libtpu", "tensorflow", "keras", "google-cloud-tpu"} <= names
    tested: dict[str, set[str]] = {}
    for line in (REQUIREMENTS.parent / "dev.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition(" ;")[0].partition("==")
        tested.setdefault(name, set()).add(version)
    versions = dict(line.removesuffix(" \\").split(" ;")[0].split("==") for line in pinned)
    differ = {name for name, version in versions.items() if version not in tested.get(name, {version})}
    assert not differ, "the machines would run what no test has run"

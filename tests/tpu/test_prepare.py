"""What is uploaded before a run asks for a TPU.

Covers plugins/qarib_airflow/tpu/prepare.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from qarib_airflow.tpu.prepare import needs_tpu, prepare_tpu

from qarib_tasks.config.evaluation import SOURCE, TaskConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.labelled.staged import write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.layout import ModelLayout
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.model_files import find
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory
from qarib_tasks.tpu.prepare import REQUIREMENTS
from tests.support.datasets import CONNECTION, tpu_run
from tests.support.deploy.locks import locked


def test_all_that_a_machine_needs_is_in_the_bucket(bucket_name: str, tmp_path: Path) -> None:
    run = tpu_run(tmp_path, bucket_name)
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


def test_labelled_tasks_are_files_of_the_machine(bucket_name: str, tmp_path: Path) -> None:
    run = tpu_run(tmp_path, bucket_name)
    tasks = (TaskConfig(name="mood", train="gone.csv"),)
    run = replace(run, config=replace(run.config, evaluate=replace(run.config.evaluate, tasks=tasks)))
    part = LabelledPart(("نص", "آخر"), (0, 1))
    staged = write_task(LabelledTask("mood", "macro_f1", ("a", "b"), part, part), run.model.task("mood"))
    of_corpus = write_task(LabelledTask(SOURCE, "macro_f1", ("a", "b"), part, part), run.model.task(SOURCE))
    job = TpuJob.from_dict(prepare_tpu(run, "r", "o", CONNECTION) or {})
    settings, file, other = job.files
    bucket = Bucket(f"gs://{bucket_name}/")
    training = from_dict(TrainingJob, yaml.safe_load(bucket.read_text(settings.name) or ""))
    assert training.tasks == (staged, of_corpus)
    assert other.path == ModelLayout(Path(training.output), training).task(SOURCE).as_posix()
    assert other.sha256 == of_corpus.sha256
    assert file.path == ModelLayout(Path(training.output), training).task("mood").as_posix()
    assert file.sha256 == staged.sha256
    assert (bucket.read_text(file.name) or "").count("\n") == 5


def test_two_airflows_of_one_project_have_runs_of_one_name(bucket_name: str, tmp_path: Path) -> None:
    """As the scheduled runs of a staging and a production deployment: neither deletes the other's TPU."""
    jobs = []
    for prefix in ("production/", "staging/"):
        run = tpu_run(tmp_path / prefix, bucket_name)
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
    run = replace(tpu_run(tmp_path, bucket_name), start_from_digest=digest)
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
    with pytest.raises(InputError, match="changed since the run was prepared"):
        prepare_tpu(run, "r", "o", CONNECTION)


def test_no_tpu_where_none_is_needed(bucket_name: str, tmp_path: Path) -> None:
    assert not needs_tpu(tpu_run(tmp_path, bucket_name, machine="local"), CONNECTION)
    run = tpu_run(tmp_path, bucket_name)
    assert run.address
    bucket = Bucket(run.address + run.model.name)
    bucket.write_text("progress.json", '{"state": "finished"}')  # damaged
    assert needs_tpu(run, CONNECTION)
    progress = {"state": "finished", "step": 7, "train_steps": 7, "updated_at": ""}
    bucket.write_text("progress.json", json.dumps(progress))
    assert not needs_tpu(run, CONNECTION)


def test_machines_without_a_way_out_need_a_wheelhouse(
    bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tpu_run(tmp_path, bucket_name, external_ips=False)
    with pytest.raises(ConfigError, match="QARIB_TPU_WHEELHOUSE"):
        prepare_tpu(run, "r", "o", CONNECTION)
    monkeypatch.setenv("QARIB_TPU_WHEELHOUSE", str(tmp_path / "wheelhouse.tar"))
    with pytest.raises(ConfigError, match="no such file"):
        prepare_tpu(run, "r", "o", CONNECTION)
    (tmp_path / "wheelhouse.tar").write_bytes(b"tar")
    values = prepare_tpu(run, "r", "o", CONNECTION)
    assert values is not None
    assert values["wheelhouse"]["name"].endswith("/wheelhouse.tar")


def test_machines_with_an_image_need_none_and_run_it(bucket_name: str, tmp_path: Path) -> None:
    image = f"us-docker.pkg.dev/p/images/qarib@sha256:{'0' * 64}"
    run = tpu_run(tmp_path, bucket_name, external_ips=False, image=image)
    values = prepare_tpu(run, "r", "o", CONNECTION)
    assert values is not None
    assert values["wheelhouse"] is None
    job = TpuJob.from_dict(values)
    request = job.request(Memory(run_id=job.run_id, since=1_800_000_000.0), "us-west4-a")
    assert isinstance(request, TpuRequest)
    assert f"\nIMAGE={image}\n" in request.startup_script
    # Neither is fetched: the image has the project and its packages.
    assert f"{job.wheel.sha256}" not in request.startup_script
    assert f"{job.requirements.sha256}" not in request.startup_script


def test_the_requirements_are_pinned_with_checksums() -> None:
    versions = {name: one[0][0] for name, one in locked(REQUIREMENTS).items()}
    assert {"jax", "jaxlib", "libtpu", "tensorflow", "keras", "google-cloud-tpu"} <= set(versions)
    tested = locked(REQUIREMENTS.parent / "dev.txt")
    differ = {
        name
        for name, version in versions.items()
        if name in tested and version not in {known for known, _ in tested[name]}
    }
    assert not differ, "the machines would run what no test has run"

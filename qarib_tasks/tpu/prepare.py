"""Uploads what a run's TPU needs in the bucket before the TPU is requested."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import dump_yaml, from_dict, to_dict
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.counting import counted
from qarib_tasks.dataset.ledger import read_plan
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.layout import CACHE, LAUNCH, SETTINGS, START_FROM
from qarib_tasks.machines.chips import TrainingShape, machines_of, training_shape
from qarib_tasks.machines.planning.advice import advice
from qarib_tasks.machines.planning.estimate import estimate
from qarib_tasks.machines.planning.limits import over_limits, require_devices
from qarib_tasks.machines.planning.options import DatasetSize
from qarib_tasks.machines.planning.options import plan as plan_of_options
from qarib_tasks.machines.planning.text import summary, table
from qarib_tasks.runs.disk_space import size_to_read, text_bytes
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket, split_address
from qarib_tasks.storage.files import checksums, write_text
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.model_files import find
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.machine.startup import BucketFile
from qarib_tasks.tpu.machine.wheel import build_wheel

log = logging.getLogger(__name__)
# Settings that an estimate of the cost depends on, beside what is trained where.
ESTIMATED_BY = ("chip_hour_price", "share_of_peak")
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "tpu.txt"


def prepare_job(run: Run, run_id: str, owner: str, client: Any = None) -> TpuJob:
    """Upload the package's wheel, the pinned requirements, the training's settings and initial weights.

    Their names in the bucket contain their checksums, so a running job never gets other files. The machines
    compare the files with the checksums in the job.

    Args:
        client: a `google.cloud.storage.Client`.

    Raises:
        ConfigError: the run has no bucket, the TPU's devices cannot share a batch, or the deployment lacks a
            file.
        InputError: the model that the training starts from is missing or has changed.
        StorageError: an uploaded object fails its checksum.
    """
    if run.address is None:
        raise ConfigError("a TPU needs a bucket", where="bucket", do="Set one")
    require_devices(run.config.train, run.config.tpu.accelerator_type)
    training = replace(
        training_job(run),
        output=run.model.name.rstrip("/"),
        cache=CACHE,
        publish_to=run.address + run.model.name,
    )
    bucket = Bucket(run.address, client)
    training = _with_start_uploaded(training, bucket)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / SETTINGS
        write_text(config, dump_yaml(training))
        wheel = _upload(bucket, build_wheel(Path(folder)))
        requirements = _upload(bucket, _deployed("QARIB_TPU_REQUIREMENTS", REQUIREMENTS))
        settings = replace(_upload(bucket, config), path=run.model.name + SETTINGS)
    tasks = [
        replace(_upload(bucket, path), path=run.model.name_of(path))
        for path in (run.model.task(task.name) for task in training.tasks)
    ]
    wheelhouse, machine = None, run.config.tpu
    if os.environ.get("QARIB_TPU_WHEELHOUSE"):
        wheelhouse = _upload(bucket, _deployed("QARIB_TPU_WHEELHOUSE"))
    elif machine.machine == "cloud_tpu" and not machine.external_ips and not machine.image:
        raise ConfigError(
            "machines without external addresses need a wheelhouse",
            where="external_ips",
            do="Run qarib wheelhouse -o wheelhouse.tar, and set QARIB_TPU_WHEELHOUSE for the Airflow "
            "workers; or set image",
        )
    asked = run.config
    rates = estimate(shape_of(run), asked.train, asked.evaluate, asked.tpu).examples_per_second
    return TpuJob(
        # Two Airflows of one project can have runs of the same name; each would delete the other's TPU.
        run_id=f"{run_id} of {run.address}{run.model.name}",
        owner=owner,
        address=run.address + run.model.tpu_job(run_id),
        tpu=asked.tpu,
        arguments=("-m", "qarib_tasks.cli", "train", "--config", settings.path),
        wheel=wheel,
        requirements=requirements,
        files=(settings, *tasks),
        wheelhouse=wheelhouse,
        progress=run.at(run.model.progress),
        tensorboard=f"{run.at(run.model.events)}/",
        batch=asked.train.train_batch_size,
        expected=(rates.low, rates.high),
    )


def _with_start_uploaded(training: TrainingJob, bucket: Bucket) -> TrainingJob:
    """The training with `start_from` in the bucket, as a TPU's machine cannot read folders of this one."""
    address = training.train.start_from
    if not address or address.startswith("gs://"):
        return training
    found = find(address)
    if found.digest != training.start_from_digest:
        raise InputError("changed since the run was prepared", where=address, do="Start a new run")
    folder = f"{LAUNCH}/{found.digest[:16]}/{START_FROM}/"
    for name in found.files:
        if bucket.upload(Path(found.folder) / name, folder + name):
            log.info("uploaded %s%s%s", bucket.address, folder, name)
    return replace(training, train=replace(training.train, start_from=bucket.address + folder))


def _deployed(variable: str, default: Path | None = None) -> Path:
    path = Path(os.environ.get(variable) or default or "")
    if not path.is_file():
        raise ConfigError("no such file", where=path, do=f"Set {variable} for the Airflow workers")
    return path


def _upload(bucket: Bucket, path: Path) -> BucketFile:
    digest = checksums(path).sha256
    name = f"{LAUNCH}/{digest[:16]}/{path.name}"
    if bucket.upload(path, name):
        log.info("uploaded %s%s, SHA-256 %s", bucket.address, name, digest)
    return BucketFile(split_address(bucket.address + name)[1], digest, path.name)


def shape_of(run: Run) -> TrainingShape:
    """The values that determine the work of a step."""
    config = run.config
    return training_shape(config.model, config.vocab.vocab_size, config.train, config.convert)


def plan(run: Run) -> str:
    """The accelerator, zones, and the expected hours and price, as text for the log.

    Raises:
        ConfigError: the accelerator type is unknown, its devices cannot share a batch, or the upper end of
            the estimate exceeds a limit.
    """
    config = run.config
    tpu = config.tpu
    require_devices(run.config.train, run.config.tpu.accelerator_type)
    expected = estimate(shape_of(run), config.train, config.evaluate, tpu)
    machines = machines_of(tpu.accelerator_type)
    of = f" of {machines} machines" if machines > 1 else ""
    text = (
        f"TPU {tpu.accelerator_type} ({counted(expected.chips, 'chip')}{of}, {tpu.provisioning}) in "
        f"{', '.join(tpu.zones)}: about {summary(expected, config.train.train_steps)}"
    )
    for fault in over_limits(tpu, expected):
        raise ConfigError(f"{text}. {fault.what[0].upper()}{fault.what[1:]}", where=fault.where, do=fault.do)
    return text


def is_above(run: Run, dollars: float | None) -> bool:
    """Whether the upper end of the training's estimated cost is above a limit; never without one."""
    config = run.config
    if dollars is None:
        return False
    return estimate(shape_of(run), config.train, config.evaluate, config.tpu).cost.high > dollars


def at_prices_of(run: Run, deployed: Mapping[str, Any]) -> Run:
    """The run at the deployment's price and share of the peak, or the list's price and the default share.

    A limit of the deployment would be none if a run's own price decided.

    Args:
        deployed: the deployment's settings of TPUs, as they are written.

    Raises:
        ConfigError: one of them is not valid.
    """
    own = {name: value for name, value in to_dict(run.config.tpu).items() if name not in ESTIMATED_BY}
    values = own | {name: deployed[name] for name in ESTIMATED_BY if name in deployed}
    return replace(run, config=replace(run.config, tpu=from_dict(TpuConfig, values, "qarib_tpu")))


def cost_of(run: Run) -> str:
    """The expected hours and price as text, also if they are above a limit."""
    config = run.config
    expected = estimate(shape_of(run), config.train, config.evaluate, config.tpu)
    return f"about {summary(expected, config.train.train_steps)}"


def options(run: Run) -> list[str]:
    """The best other TPUs and batches for the run's examples, and advice, as lines for the log."""
    made = plan_of_options(run.config, _dataset_size(run))
    return [*table(made, marked_only=True), *(f"- {line}" for line in advice(run.config, made))]


def _dataset_size(run: Run) -> DatasetSize | None:
    if run.dataset.manifest.is_file() and not run.config.extends:
        known = Manifest.read(run.dataset.manifest).statistics
        return DatasetSize(known["shards"], known["examples"])
    if not run.dataset.sources.is_file():
        return None
    text = text_bytes(file.listed for file in read_plan(run.dataset.sources))
    return size_to_read(run.config, text)

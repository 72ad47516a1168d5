"""What a run's TPU needs in the bucket before it is asked for."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from qarib_tasks.config import dump_yaml
from qarib_tasks.errors import ConfigError
from qarib_tasks.pipeline import Run, training_job
from qarib_tasks.storage import Bucket, checksums, split_address, write_text
from qarib_tasks.tpu.chips import PRICES_OF, TrainingShape, chips_of, estimate
from qarib_tasks.tpu.cloud_request import label_value
from qarib_tasks.tpu.job import TpuJob, hourly_price
from qarib_tasks.tpu.launch import BucketFile
from qarib_tasks.tpu.package import build_wheel

log = logging.getLogger(__name__)
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "tpu.txt"


def prepare_job(run: Run, run_id: str, owner: str, client: Any = None) -> TpuJob:
    """Upload the package's wheel, the pinned requirements and the training's settings.

    Their names in the bucket hold their checksums: what runs already never sees other files. The machines
    compare them with what is said here.

    Args:
        client: a `google.cloud.storage.Client`.

    Raises:
        ConfigError: the run publishes nowhere, or the deployment lacks a file.
        StorageError: the bucket holds other bytes than were sent.
    """
    if run.address is None:
        raise ConfigError("a TPU needs a bucket", where="bucket")
    require_one_machine(run.config.tpu.accelerator_type)
    training = replace(
        training_job(run),
        output=f"models/{run.model_id}",
        cache="cache",
        publish_to=run.address + run.model.name,
    )
    bucket = Bucket(run.address, client)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        write_text(config, dump_yaml(training))
        wheel = _upload(bucket, build_wheel(Path(folder)))
        requirements = _upload(bucket, _deployed("QARIB_TPU_REQUIREMENTS", REQUIREMENTS))
        settings = replace(_upload(bucket, config), path=f"{training.output}/config.yaml")
    wheelhouse = None
    if os.environ.get("QARIB_TPU_WHEELHOUSE"):
        wheelhouse = _upload(bucket, _deployed("QARIB_TPU_WHEELHOUSE"))
    elif not run.config.tpu.external_ips:
        raise ConfigError(
            "machines without external addresses need a wheelhouse",
            where="external_ips",
            do="Set QARIB_TPU_WHEELHOUSE for the Airflow workers, see docs/cloud-tpu.md",
        )
    return TpuJob(
        run_id=run_id,
        owner=owner,
        address=f"{run.address}{run.model.name}tpu/{label_value(run_id)}/",
        tpu=run.config.tpu,
        arguments=("-m", "qarib_tasks.cli", "train", "--config", settings.path),
        wheel=wheel,
        requirements=requirements,
        files=(settings,),
        wheelhouse=wheelhouse,
        progress=f"{run.address}{run.model.name}progress.json",
        tensorboard=f"{run.address}{run.model.name}{run.config.upload.bert_model}tensorboard/",
        batch=run.config.train.train_batch_size,
    )


def require_one_machine(accelerator_type: str) -> None:
    """Refuse a slice of several machines: the trainer would begin on each of them, and all would publish.

    Raises:
        ConfigError: it has several, or the type is not known.
    """
    number, chip = chips_of(accelerator_type)
    if number > (8 if chip.name in ("v5e", "v6e") else 4):
        raise ConfigError(
            f"{accelerator_type} is a slice of several machines, and the trainer uses one",
            where="accelerator_type",
            do="Take up to 8 chips of v5e or v6e, up to 4 of the other generations",
        )


def _deployed(variable: str, default: Path | None = None) -> Path:
    path = Path(os.environ.get(variable) or default or "")
    if not path.is_file():
        raise ConfigError("no such file", where=path, do=f"Set {variable} for the Airflow workers")
    return path


def _upload(bucket: Bucket, path: Path) -> BucketFile:
    digest = checksums(path).sha256
    name = f"launch/{digest[:16]}/{path.name}"
    if bucket.upload(path, name):
        log.info("uploaded %s%s, SHA-256 %s", bucket.address, name, digest)
    return BucketFile(split_address(bucket.address + name)[1], digest, path.name)


def plan(run: Run) -> str:
    """Accelerator, zones, hours and price that are to be expected, for a person.

    Raises:
        ConfigError: the accelerator type is not known or has several machines, or the estimate is above what
            may be spent.
    """
    tpu, train = run.config.tpu, run.config.train
    require_one_machine(tpu.accelerator_type)
    shape = TrainingShape(
        model=run.config.model,
        vocab_size=run.config.vocab.vocab_size,
        batch=train.train_batch_size,
        length=run.config.convert.max_seq_length,
        predictions=round(run.config.convert.max_seq_length * run.config.convert.masked_lm_prob),
    )
    expected = estimate(shape, train.train_steps, tpu.accelerator_type)
    price = hourly_price(tpu)
    cost = expected.hours * price
    source = "as set" if tpu.chip_hour_price else f"list of {PRICES_OF}, {expected.chip.region}"
    text = (
        f"TPU {tpu.accelerator_type} ({expected.chips} chips, {tpu.provisioning}) in {', '.join(tpu.zones)}: "
        f"about {expected.steps_per_second:,.0f} steps/s, {expected.hours:.1f} hours for "
        f"{train.train_steps:,} steps, {cost:,.2f} US dollars at {price:.2f} an hour ({source}); "
        "starting, evaluating and checkpoints come on top"
    )
    if tpu.max_cost is not None and cost > tpu.max_cost:
        raise ConfigError(f"{text}. That is above max_cost {tpu.max_cost:.2f}", where="max_cost")
    if expected.hours > tpu.running_hours:
        raise ConfigError(f"{text}. That is above running_hours {tpu.running_hours:g}", where="running_hours")
    return text

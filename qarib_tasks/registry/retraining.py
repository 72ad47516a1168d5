"""Training the promoted model further on new text: what is asked for, and the run that it comes to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.loading import STRICT, from_dict, to_dict
from qarib_tasks.config.presets import merged
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.errors import ConfigError, InputError, NothingNewError
from qarib_tasks.layout import PROMOTED, ModelLayout
from qarib_tasks.registry.promotion import model_manifest, promoted_model, record_of
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run, run_of_dataset

log = logging.getLogger(__name__)
# What a source's address may hold, and how a date is written there (`strftime`).
DATE_FIELDS = {"{year}": "%Y", "{month}": "%Y-%m", "{day}": "%Y-%m-%d"}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RetrainConfig:
    """A re-training. Everything else is as the promoted model was made."""

    preset: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9_]+$",
            title="Preset",
            description="Whose promoted model is trained further.",
        ),
    ] = "qarib"
    prefix: Annotated[
        str,
        Field(
            pattern=r"^$|^[^/].*/$",
            title="Prefix",
            description="Folder in the bucket that the model was published to, ending with a slash.",
        ),
    ] = ""
    sources: Annotated[
        tuple[SourceConfig, ...],
        Field(
            title="Sources",
            description="Where new text is looked for. {year}, {month} (2026-10) and {day} (2026-10-31) in "
            "an address are those of the run's data interval. Empty: those of the first dataset.",
        ),
    ] = ()
    retrain_steps: Annotated[
        int, Field(ge=1, title="Training steps", description="Of this training alone.")
    ] = 100_000
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            title="Learning rate",
            description="At the end of the warm-up; it then falls to 0. Empty: that of the promoted model.",
        ),
    ] = None
    num_warmup_steps: Annotated[
        int | None,
        Field(
            ge=0,
            title="Warm-up steps",
            description="Empty: as many as the promoted model had, at most a tenth of the steps.",
        ),
    ] = None
    promotion_margin: Annotated[
        float | None,
        Field(
            ge=0,
            title="Promotion margin",
            description="Nats that the masked-LM loss on the held-out part may be above that of the promoted "
            "model. Empty: the margin of the run that is extended.",
        ),
    ] = None
    machine: Annotated[
        Literal["cloud_tpu", "local"] | None,
        Field(
            title="Machine",
            description="cloud_tpu, or local: the machine that Airflow's worker runs on. Empty: what the "
            "deployment sets in qarib_tpu, else that of the dataset's own run.",
        ),
    ] = None


def prepare_retraining(
    config: RetrainConfig,
    deployment: Mapping[str, Any],
    date: datetime | None,
    allowed: AllowedSources | None = None,
    client: Any = None,
) -> Run:
    """The run that extends the promoted model's dataset by what is new and trains the model further.

    Its settings are not saved yet (`run.save_settings`): there is more to check.

    Args:
        deployment: what this deployment sets for every run, nested as a `RunConfig`: the workspace at least.
        date: what the date fields of the sources' addresses stand for.
        allowed, client: as `run.prepare` is given them.

    Raises:
        NothingNewError: the sources have no file that the promoted model has not seen.
        InputError: there is no promoted model yet, or its dataset is gone.
        ConfigError: a setting is wrong, or an address has a date field and the run has no date.
    """
    workspace = Path(deployment["workspace"])
    bucket = (deployment.get("upload") or {}).get("bucket") or ""
    upload = UploadConfig(bucket=bucket, prefix=config.prefix)
    address = f"gs://{upload.bucket}/{upload.prefix}" if upload.bucket else None
    promoted = promoted_model(record_of(workspace, address, client), config.preset)
    if promoted is None:
        raise InputError(
            f"no model of the preset {config.preset} is promoted yet",
            where=f"{address or f'{workspace}/'}{PROMOTED}",
            do="Let the DAG qarib_pretrain run with this preset to its end first, or choose another preset",
        )
    base = run_of_dataset(workspace, promoted.dataset_id)
    log.info(
        "goes on from %s: %s steps, masked-LM loss %.4f",
        promoted.model_id,
        f"{promoted.total_steps:,}",
        promoted.loss,
    )
    made = model_manifest(ModelLayout.of(workspace, promoted.model_id, base.config.upload)).config
    values = to_dict(base.config) | {name: made[name] for name in ("model", "train", "evaluate")}
    values = merged(values, {**deployment, "upload": to_dict(upload) | _folders(base.config)})
    warmup = config.num_warmup_steps
    if warmup is None:
        warmup = min(values["train"]["num_warmup_steps"], config.retrain_steps // 10)
    values["train"] |= {
        "start_from": promoted.address,
        "train_steps": config.retrain_steps,
        "num_warmup_steps": warmup,
    }
    if config.learning_rate is not None:
        values["train"]["learning_rate"] = config.learning_rate
    if config.promotion_margin is not None:
        values["promotion_margin"] = config.promotion_margin
    if config.machine is not None:
        values["tpu"]["machine"] = config.machine
    sources = config.sources or [*base.earlier, base][0].config.collect.sources
    there = _there(sources, date, allowed)
    values["collect"]["sources"] = [to_dict(source) for source in there]
    values |= {"preset": config.preset, "extends": promoted.dataset_id}
    return prepare(from_dict(RunConfig, values, "qarib_retrain"), allowed, client, save=False)


def _folders(config: RunConfig) -> dict[str, Any]:
    """The settings of the upload that all datasets of a chain share."""
    return {name: value for name, value in to_dict(config.upload).items() if name not in ("bucket", "prefix")}


def _there(
    sources: tuple[SourceConfig, ...], date: datetime | None, allowed: AllowedSources | None
) -> list[SourceConfig]:
    """The sources with the date in their addresses; of those with a date only the ones that have a file.

    Raises:
        NothingNewError: there is none.
    """
    found, missing = [], []
    for source in sources:
        dated = replace(source, path=with_date(source.path, date))
        if dated != source:
            try:
                list_files(dated, allowed)
            except InputError as error:
                log.info("%s", error)
                missing.append(dated.path)
                continue
        found.append(dated)
    if not found:
        raise NothingNewError("there is no such file", where=", ".join(missing))
    return found


def with_date(address: str, date: datetime | None) -> str:
    """The address with the date in place of its date fields.

    Raises:
        ConfigError: it has one, and there is no date.
    """
    for field, form in DATE_FIELDS.items():
        if field in address and date is None:
            raise ConfigError(
                f"the address has the field {field} and the run has no date",
                where=address,
                do="Trigger it with a logical date, or schedule it by cron; asset events have no date",
            )
        if date is not None:
            address = address.replace(field, date.strftime(form))
    return address

"""Continued training of the promoted model on new text: its settings, and the run that they give."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.loading import STRICT, Settings, fields_of, from_dict, to_dict
from qarib_tasks.config.presets import merged
from qarib_tasks.config.run import PromotionConfig, RunConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.upload import PREFIX, UploadConfig, plain_prefix
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.errors import ConfigError, CorruptError, InputError, NothingNewError
from qarib_tasks.layout import PROMOTED, ModelLayout, checkpoint_name
from qarib_tasks.registry.comparison import JudgedModel
from qarib_tasks.registry.month import Month, has_month
from qarib_tasks.registry.months import Months
from qarib_tasks.registry.promotion import model_manifest, promoted_model, record_of
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run, run_of_dataset
from qarib_tasks.storage.manifest import DO_AGAIN
from qarib_tasks.storage.model_files import find

log = logging.getLogger(__name__)
# Date fields in the address of a source, and their `strftime` format.
DATE_FIELDS = {"{year}": "%Y", "{month}": "%Y-%m", "{day}": "%Y-%m-%d"}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RetrainConfig(Settings):
    """The settings of a re-training. All other settings are those of the promoted model."""

    preset: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9_]+$",
            title="Preset",
            description="Preset whose promoted model is trained further.",
        ),
    ] = "qarib"
    prefix: Annotated[
        str,
        Field(
            pattern=PREFIX,
            title="Prefix",
            description="Folder in the bucket that the model was published to, ending with a slash.",
        ),
        AfterValidator(plain_prefix),
    ] = ""
    sources: Annotated[
        tuple[SourceConfig, ...],
        Field(
            title="Sources",
            description="Sources of new text. {year}, {month} (2026-10) and {day} (2026-10-31) in an address "
            "stand for the start of the run's data interval; with months as partitions, for the run's month "
            "and all of its days. Empty: the sources of the first dataset.",
        ),
    ] = ()
    month_ready: Annotated[
        str,
        Field(
            title="Month ready",
            description="With months as partitions: address of a file, with {month}, that says that all "
            "files of the month are there. Empty: a month is ready when each source has a file of it, or, "
            "with {day}, a file of each day.",
        ),
    ] = ""
    skip_months: Annotated[
        tuple[str, ...],
        Field(
            title="Months to skip",
            description="With months as partitions: months that no run trains on and no later month waits "
            "for, such as 2026-02.",
        ),
    ] = ()
    retrain_steps: Annotated[
        int, Field(ge=1, title="Training steps", description="Steps of this training only.")
    ] = 100_000
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            title="Learning rate",
            description="Peak value, at the end of the warm-up. It then decays as the "
            "promoted model's did. Empty: the promoted model's.",
        ),
    ] = None
    num_warmup_steps: Annotated[
        int | None,
        Field(
            ge=0,
            title="Warm-up steps",
            description="Empty: the promoted model's, and at most a tenth of the training steps; none from a "
            "stable checkpoint of wsd.",
        ),
    ] = None
    promote_by: Annotated[
        Literal["loss", "task", "both"] | None,
        Field(
            title="Promote by",
            description="loss: the masked-LM loss on the held-out part. task: the probe of a task. both: the "
            "model must be worse in neither. Empty, here and in the next six: as for the run that made the "
            "promoted model's dataset.",
        ),
    ] = None
    promote_task: Annotated[
        str | None,
        Field(
            title="Task to promote by",
            description="Its name: a labelled task of the promoted model, or one that the corpus gives.",
        ),
    ] = None
    promotion_margin: Annotated[
        float | None,
        Field(
            ge=0,
            title="Promotion margin",
            description="How far, in nats, the masked-LM loss on the held-out part may exceed that of the "
            "promoted model.",
        ),
    ] = None
    task_margin: Annotated[
        float | None,
        Field(
            ge=0,
            lt=1,
            title="Margin of the task",
            description="How far the task's metric, from 0 to 1, may fall below that of the promoted model.",
        ),
    ] = None
    below_baseline: Annotated[
        Literal["keep", "promote"] | None,
        Field(
            title="Below the baseline",
            description="What to do with a model whose probe of the task to promote by is below TF-IDF. "
            "keep: do not promote it. promote: compare it all the same.",
        ),
    ] = None
    approval: Annotated[
        Literal["never", "worse", "always"] | None,
        Field(
            title="Approval",
            description="Whether a person must approve the promotion in Airflow. never: the figures decide. "
            "worse: a person is asked about a model that the figures would not promote. always: about every "
            "model.",
        ),
    ] = None
    approval_hours: Annotated[
        float | None,
        Field(
            gt=0,
            le=24 * 90,
            title="Hours to approve",
            description="Hours to wait for an answer; without one, the model stays a candidate.",
        ),
    ] = None
    machine: Annotated[
        Literal["cloud_tpu", "gke", "local"] | None,
        Field(
            title="Machine",
            description="cloud_tpu, gke, or local for the Airflow worker's machine. Empty: the value in the "
            "Airflow "
            "Variable qarib_tpu, else the value of the run that made the dataset.",
        ),
    ] = None


def prepare_retraining(
    config: RetrainConfig,
    deployment: Mapping[str, Any],
    date: datetime | None,
    allowed: AllowedSources | None = None,
    client: Any = None,
    month: Month | None = None,
) -> Run:
    """Prepare the run that extends the promoted model's dataset with new text and trains the model further.

    The run's settings are not saved yet, see `runs.run.save_settings`: the caller checks more.

    Args:
        deployment: the settings of this deployment, nested as in `RunConfig`; at least the workspace.
        date: the date for the date fields in the addresses of the sources.
        allowed, client: see `runs.prepare.prepare`.
        month: the run's partition; `date` is then not used.

    Raises:
        NothingNewError: the promoted model has seen all files of the sources.
        InputError: no model is promoted yet, or its dataset no longer exists.
        ConfigError: a setting is not valid, or an address has a date field and the run has no date.
    """
    workspace = Path(deployment["workspace"])
    upload, address = _published(config, deployment)
    promoted = promoted_model(record_of(workspace, address, client), config.preset)
    if promoted is None:
        raise InputError(
            f"no model of the preset {config.preset} is promoted yet",
            where=f"{address or f'{workspace}/'}{PROMOTED}",
            do="Run the DAG qarib_pretrain with this preset first, or choose another preset",
        )
    base = run_of_dataset(workspace, promoted.dataset_id)
    log.info(
        "continues the training of %s: %s steps, masked-LM loss %.4f",
        promoted.model_id,
        f"{promoted.total_steps:,}",
        promoted.loss,
    )
    layout = ModelLayout.of(workspace, promoted.model_id, base.config.upload)
    values = to_dict(base.config) | _settings_of(layout)
    values = merged(values, {**deployment, "upload": to_dict(upload) | _folders(base.config)})
    start = _start(promoted, from_dict(TrainConfig, values["train"]), base)
    had_none = values["train"].get("start_from_optimizer", False)
    values["train"] |= {"train_steps": config.retrain_steps, **start}
    if config.num_warmup_steps is not None:
        values["train"] |= {"num_warmup_steps": config.num_warmup_steps, "warmup_share": 0.0}
    elif start["start_from_optimizer"]:
        values["train"] |= {"num_warmup_steps": 0, "warmup_share": 0.0}
    elif not values["train"].get("warmup_share"):
        most = config.retrain_steps // 10
        # A training from a stable checkpoint has no warm-up that could be repeated.
        own_steps = most if had_none else values["train"]["num_warmup_steps"]
        values["train"]["num_warmup_steps"] = min(own_steps, most)
    if config.learning_rate is not None:
        values["train"]["learning_rate"] = config.learning_rate
    own = to_dict(config)
    promotion = {name: own[name] for name in fields_of(PromotionConfig) if own[name] is not None}
    values["promotion"] |= promotion
    if config.machine is not None:
        values["tpu"]["machine"] = config.machine
    sources = config.sources or [*base.earlier, base][0].config.collect.sources
    if month:
        existing = [replace(source, path=month.address(source.path)) for source in sources]
    else:
        existing = _existing(sources, date, allowed)
    values["collect"]["sources"] = [to_dict(source) for source in existing]
    values |= {"preset": config.preset, "extends": promoted.dataset_id}
    values["partition"] = str(month) if month else ""
    return prepare(from_dict(RunConfig, values, "qarib_retrain"), allowed, client, save=False)


def _published(config: RetrainConfig, deployment: Mapping[str, Any]) -> tuple[UploadConfig, str | None]:
    """Return where the models are published, and the address; None without a bucket."""
    bucket = (deployment.get("upload") or {}).get("bucket") or ""
    upload = UploadConfig(bucket=bucket, prefix=config.prefix)
    return upload, f"gs://{upload.bucket}/{upload.prefix}" if upload.bucket else None


def months_of(
    config: RetrainConfig,
    deployment: Mapping[str, Any],
    first: Month,
    timezone: tzinfo,
    client: Any = None,
) -> Months:
    """Return the record of the months that the preset's model was trained on.

    Raises:
        ConfigError: no source's address names a month, `month_ready` does not, or a month to skip is none.
    """
    if not any(has_month(source.path) for source in config.sources):
        raise ConfigError(
            "with months as partitions, a source's address must name its month",
            where="sources",
            do="Put {month} or {day} in an address",
        )
    if config.month_ready and not has_month(config.month_ready):
        raise ConfigError(
            "does not name its month: one file would say that all months are complete",
            where="month_ready",
            do="Put {month} in it",
        )
    skipped = frozenset(Month.parse(key, "skip_months") for key in config.skip_months)
    record = record_of(Path(deployment["workspace"]), _published(config, deployment)[1], client)
    return Months(record, config.preset, first, skipped, timezone)


def missing_files(config: RetrainConfig, month: Month, allowed: AllowedSources | None = None) -> list[str]:
    """Return what is missing of a month's files, one line each; nothing if the month is complete.

    Raises:
        ConfigError: a source may not be read. StorageError: a bucket or web server does not answer.
    """
    sources = [source for source in config.sources if has_month(source.path)]
    if config.month_ready:
        sources = [SourceConfig(name="month_ready", path=config.month_ready)]
    missing = []
    for source in sources:
        for address in month.addresses(source.path):
            try:
                list_files(replace(source, path=address), allowed)
            except InputError as error:
                missing.append(f"{address}: {error.what}")
    return missing


def _settings_of(model: ModelLayout) -> dict[str, Any]:
    """Return the settings that a model was trained with.

    Raises:
        CorruptError: its manifest is damaged. InputError: it is not exported.
    """
    made, values = model_manifest(model).config, {}
    for name, cls in (("model", ModelConfig), ("train", TrainConfig), ("evaluate", EvaluateConfig)):
        try:
            from_dict(cls, made[name])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            what = error.what if isinstance(error, ConfigError) else "no settings"
            what = f"not a manifest: config.{name}: {what}"
            raise CorruptError(what, where=model.manifest, do=DO_AGAIN) from None
        values[name] = made[name]
    return values


def _start(promoted: JudgedModel, train: TrainConfig, base: Run) -> dict[str, Any]:
    """Return the settings of what the training starts from.

    With the schedule wsd, this is the promoted model's checkpoint before its rate fell, with the optimizer's
    state, so that the rate need not rise again. Otherwise, it is the model itself.
    """
    if train.stable_step is not None:
        folder = f"{promoted.address}/{base.config.upload.bert_model}"
        stable = folder + checkpoint_name(train.stable_step)
        try:
            find(stable)
        except InputError as error:
            log.warning("starts from the end of the training, not from its stable checkpoint: %s", error)
        else:
            log.info("starts from the stable checkpoint, with the optimizer's state: %s", stable)
            return {"start_from": stable, "start_from_optimizer": True}
    return {"start_from": promoted.address, "start_from_optimizer": False}


def _folders(config: RunConfig) -> dict[str, Any]:
    """Return the upload settings that all datasets of a chain share."""
    return {name: value for name, value in to_dict(config.upload).items() if name not in ("bucket", "prefix")}


def _existing(
    sources: tuple[SourceConfig, ...], date: datetime | None, allowed: AllowedSources | None
) -> list[SourceConfig]:
    """Fill in the date, and drop sources with a date field that have no file for that date.

    Raises:
        NothingNewError: no source is left.
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
        raise NothingNewError("no such file", where=", ".join(missing))
    return found


def with_date(address: str, date: datetime | None) -> str:
    """Replace the date fields of an address with the date.

    Raises:
        ConfigError: the address has a date field, and `date` is None.
    """
    for field, form in DATE_FIELDS.items():
        if field in address and date is None:
            raise ConfigError(
                f"the address has the field {field} and the run has no date",
                where=address,
                do="Trigger it with a logical date (with months as partitions, with a partition key such as "
                "2026-02), or schedule it by cron; asset events have no date",
            )
        if date is not None:
            address = address.replace(field, date.strftime(form))
    return address

"""A run as the page shows it: its settings, its progress, and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.errors import CorruptError, QaribError
from qarib_tasks.layout import MEMORY, DatasetLayout, ModelLayout
from qarib_tasks.views import shapes
from qarib_tasks.views.files import SMALL, Cache, Files
from qarib_tasks.views.goodput import goodput
from qarib_tasks.views.shapes import MANIFEST, PROGRESS, RUN, conform
from qarib_tasks.views.way import AT_WORK, ENDED, Reason, way

MOST_WARNINGS, MOST_CHARACTERS = 20, 1000  # of the corpus, in the line of a run


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A DAG run from Airflow's database.

    Attributes:
        values: the `run.Run` that its first task resolved, as a dictionary; empty before that.
        steps: number of task instances by task and state.
        reasons: why tasks failed or were skipped, as they kept them.
        waits: what the run waits for, in words; empty if for nothing.
    """

    dag_id: str
    run_id: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    user: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reasons: Sequence[Reason] = ()
    waits: str = ""
    fault: QaribError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Leave out values of a wrong type, also all of them: who may write XComs can write any."""
        values, complete = conform(self.values, RUN)
        object.__setattr__(self, "values", values)
        if not complete:
            what = "the run's record has values of a wrong type, which are left out"
            error = CorruptError(what, where=f"{self.dag_id} {self.run_id}", do="Start a new run")
            object.__setattr__(self, "fault", error)

    @property
    def config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.values.get("config") or {}
        return config

    @property
    def upload(self) -> UploadConfig:
        """Where the run publishes; the default if the run's own settings are invalid."""
        try:
            return from_dict(UploadConfig, self.config.get("upload") or {})
        except QaribError:
            return UploadConfig()

    @property
    def workspace(self) -> Path | None:
        folder = self.config.get("workspace")
        return Path(folder) if folder else None

    @property
    def address(self) -> str | None:
        upload = self.upload
        return f"gs://{upload.bucket}/{upload.prefix}" if upload.bucket else None

    @property
    def dataset(self) -> DatasetLayout | None:
        name = self.values.get("dataset_id")
        return DatasetLayout(self.workspace or Path(), name, self.upload) if name else None

    @property
    def model(self) -> ModelLayout | None:
        name = self.values.get("model_id")
        return ModelLayout.of(self.workspace or Path(), name, self.upload) if name else None


def summary(record: RunRecord, files: Files, now: float) -> dict[str, Any]:
    """The run's line in the list of runs."""
    result: dict[str, Any] = {
        "dag_id": record.dag_id,
        "run_id": record.run_id,
        "state": record.state,
        "started": stamp(record.started),
        "ended": stamp(record.ended),
        "user": record.user,
        "preset": record.config.get("preset"),
        "dataset_id": record.values.get("dataset_id"),
        "model_id": record.values.get("model_id"),
        "address": record.address,
        "way": way(record.steps, record.reasons, record.state),
        "waits": record.waits,
        "data": data_sizes(record, files),
        "training": None,
        "tpu": tpu_facts(record, files, now),
        "trouble": None,
        "fault": None,
    }
    if (model := record.model) is not None and (progress := progress_of(files, model)):
        progress["state"] = training_state(record, progress.get("state"))
        result["training"] = {
            name: progress.get(name)
            for name in ("state", "step", "train_steps", "loss", "masked_lm_loss", "masked_lm_accuracy")
        }
    result["trouble"] = trouble(files.trouble)
    result["fault"] = trouble(record.fault or files.fault)
    return result


def without_files(record: RunRecord, fault: QaribError) -> dict[str, Any]:
    """The run's line in the list of runs if its files cannot be shown."""
    found = summary(replace(record, values={}), Files(None, None, Cache()), 0.0)
    return found | {"fault": trouble(fault)}


def data_sizes(record: RunRecord, files: Files) -> dict[str, Any]:
    """Lines, words, and bytes of the corpus; shards, examples, and bytes of the dataset, as far as known.

    `warnings` has a text for each rule that dropped much of the corpus.
    """
    if record.dataset is None:
        return {}
    layout = record.dataset
    corpus = files.manifest(layout, layout.data).get("statistics") or {}
    sizes = {key: corpus.get(key) for key in ("documents", "lines", "words", "bytes") if key in corpus}
    sizes |= _dataset_sizes(files, layout.name_of(layout.manifest))
    warnings = [text[:MOST_CHARACTERS] for text in (corpus.get("warnings") or ())[:MOST_WARNINGS]]
    return sizes | ({"warnings": warnings} if warnings else {})


def _dataset_sizes(files: Files, name: str) -> dict[str, Any]:
    """Shards, examples, and bytes from a dataset's manifest, a large file: read once per version."""
    version = files.version(name, SMALL)
    found: dict[str, Any] | None = files.cache.versions.get((version, "sizes")) if version else None
    if found is None:
        dataset = files.json(name, MANIFEST).get("statistics") or {}
        found = {f"dataset_{key}": dataset[key] for key in ("shards", "examples", "bytes") if key in dataset}
        if version and files.fault is None:
            files.cache.versions.keep((version, "sizes"), found)
    return found


def progress_of(files: Files, model: ModelLayout) -> dict[str, Any]:
    """The newest `progress.json`, with `place`, the place it is from: "workspace" or "bucket".

    A training on another machine reports in the bucket, one on this machine first in the workspace.
    """
    name = model.name_of(model.progress)
    here = files.here(name, PROGRESS) or {}
    if here.get("state") == "finished":
        return here | {"place": "workspace"}
    there = files.object(files.published(name), name, PROGRESS)
    if not here and not there:
        return {}
    if str(here.get("updated_at", "")) >= str(there.get("updated_at", "")):
        return here | {"place": "workspace"}
    return there | {"place": "bucket"}


def tpu_facts(record: RunRecord, files: Files, now: float) -> dict[str, Any] | None:
    """State (see `tpu_state`), age, estimated cost, and goodput of the run's TPU; None for a run without one.

    An emulated TPU has no cost.

    Args:
        now: seconds since 1970.
    """
    model = record.model
    if model is None or (record.config.get("tpu") or {}).get("machine") == "local":
        return None
    name = model.tpu_job(record.run_id) + MEMORY
    memory = files.object(files.published(name), name, shapes.MEMORY)
    if not memory:
        return None
    granted = memory.get("granted")
    settings = record.config.get("tpu") or {}
    zones = settings.get("zones") or ()
    try:
        from qarib_tasks.machines.chips import hourly_price

        price: float | None = hourly_price(from_dict(TpuConfig, settings))
    except QaribError:
        price = None
    # A memory of an earlier version does not say when the TPU was deleted: no later than the run ended.
    if record.ended:
        now = min(now, record.ended.timestamp())
    seconds = float(memory.get("spent") or 0.0) + (now - granted if granted else 0.0)
    zone, progress = memory.get("zone"), progress_of(files, model)
    if emulated := memory.get("emulated") is True:
        price = None
    cost = None if price is None else max(0.0, seconds) / 3600 * price
    examples = (progress.get("step") or 0) * ((record.config.get("train") or {}).get("train_batch_size") or 0)
    return {
        "emulated": emulated,
        "goodput": goodput(memory, progress, now),
        "cost_per_million": 1e6 * cost / examples if cost is not None and examples else None,
        "budget": settings.get("max_cost"),
        **tpu_state(memory),
        "accelerator_type": settings.get("accelerator_type"),
        "provisioning": settings.get("provisioning"),
        "zone": zones[zone] if isinstance(zone, int) and 0 <= zone < len(zones) else None,
        "attempt": memory.get("attempt"),
        "preemptions": memory.get("preemptions"),
        "age_seconds": max(0.0, now - granted) if granted else None,
        "used_seconds": max(0.0, seconds),
        "price": price,
        "cost": cost,
        "reason": memory.get("reason") or "",
        "history": list(memory.get("history") or ()),
    }


def tpu_state(memory: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a TPU, `at` what time (ISO 8601), and the `phase` of the run with it.

    The state is `deleted`, or else what the service last answered, in its words. It is the phase while the
    service was not asked, and for a memory of an earlier version, `at` the start of the phase.
    """
    phase, at = memory.get("phase"), memory.get("since")
    state: str | None = phase
    if memory.get("deleted") and phase in ("succeeded", "failed"):
        state, at = "deleted", memory["deleted"]
    elif memory.get("answer"):
        state, at = memory["answer"], memory.get("answered")
    try:
        time = stamp(datetime.fromtimestamp(at, UTC)) if at else None
    except (OverflowError, OSError, ValueError):  # Anyone who may write to the bucket can have written it.
        time = None
    return {"state": state, "phase": phase, "at": time}


def training_state(record: RunRecord, state: str | None) -> str | None:
    """The state that a training last reported, or `not finished` if it has ended without a last report."""
    if state != "training":
        return state
    tasks = record.steps.get("train") or {}
    ended = record.state in ENDED or (tasks and not any(tasks.get(one) for one in (*AT_WORK, "none")))
    return "not finished" if ended else state


def trouble(error: QaribError | None) -> dict[str, str | None] | None:
    """What happened, where, and what to do, for the page."""
    return None if error is None else {"what": error.what, "where": error.where, "do": error.do}


def stamp(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")

"""A run: the resolved request, and the names that its dataset and its model get from it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qarib_tasks.config.loading import dump_yaml, from_dict, load_yaml, to_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import InputError, QaribError
from qarib_tasks.layout import (
    LEDGER,
    SETTINGS,
    DatasetLayout,
    ModelLayout,
    dataset_folder,
    dataset_of_shard,
)
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import is_run_config, is_training_job, require_ours
from qarib_tasks.storage.records.aside import keep_aside
from qarib_tasks.storage.records.settings import WRITTEN, digest, is_edited, read_settings
from qarib_tasks.storage.regular_files import read_settings_text
from qarib_tasks.storage.shared_record import SharedRecord

FirstStep = Literal["collect", "convert", "train"]


@dataclass(frozen=True)
class Run:
    """A resolved request: its settings, and the names of its dataset and its model.

    Attributes:
        start_from_digest: digest of the initial weights; empty for random weights.
        steps_before: steps that the initial weights were trained for, if they are a model of this project.
        first_step: the first step to run. The results of the steps before it exist already.
    """

    config: RunConfig
    dataset_id: str
    model_id: str
    start_from_digest: str = ""
    steps_before: int = 0
    first_step: FirstStep = "collect"

    def to_dict(self) -> dict[str, Any]:
        names = ("dataset_id", "model_id", "start_from_digest", "steps_before", "first_step")
        return {"config": to_dict(self.config)} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Run:
        return cls(**{**values, "config": from_dict(RunConfig, values["config"])})

    @property
    def only_training(self) -> bool:
        """Whether the run uses a complete dataset and skips the steps that make one."""
        return self.first_step == "train"

    @property
    def dataset(self) -> DatasetLayout:
        return DatasetLayout(Path(self.config.workspace), self.dataset_id, self.config.upload)

    @property
    def model(self) -> ModelLayout:
        return ModelLayout.of(Path(self.config.workspace), self.model_id, self.config.upload)

    @property
    def address(self) -> str | None:
        """`gs://bucket/prefix/`, or None for a run that publishes nowhere."""
        upload = self.config.upload
        return f"gs://{upload.bucket}/{upload.prefix}" if upload.bucket else None

    def at(self, path: Path) -> str:
        """Return the address where the trainer reads a workspace file: in the bucket, if the run has one."""
        if not self.address:
            return str(path)
        return self.address + path.relative_to(self.config.workspace).as_posix()

    @property
    def earlier(self) -> list[Run]:
        """Return the runs of the datasets that this run's dataset extends, the oldest first.

        Raises:
            InputError: the workspace lacks one of them.
        """
        if not self.config.extends:
            return []
        extended = run_of_dataset(Path(self.config.workspace), self.config.extends)
        return [*extended.earlier, extended]


def save_settings(run: Run) -> None:
    """Write the settings next to the dataset, for `run_of_dataset`, unless the run only trains."""
    if not run.only_training:
        write_settings(run.dataset.config, run.config)


def write_settings(path: Path, config: RunConfig | TrainingJob) -> None:
    """Write a config dataclass as YAML, unless the file already holds these settings.

    A file of an earlier version therefore keeps its bytes and is not published again. A file that the user
    edited is kept under another name.

    Raises:
        InputError: a file exists that does not hold such settings.
    """
    with contextlib.suppress(QaribError):
        if from_dict(type(config), load_yaml(path)) == config:
            return
    require_ours(path, is_training_job if isinstance(config, TrainingJob) else is_run_config)
    if path.exists() and is_edited(read_settings_text(path)):
        keep_aside(path)
    text = dump_yaml(config)
    write_text(path, f"{WRITTEN}{digest(text)}\n{text}")


def ledger_of(run: Run, client: Any = None) -> SharedRecord:
    """Return the ledger of consumed source files, in the bucket or else in the workspace."""
    return SharedRecord(Path(run.config.workspace), run.address, LEDGER, client)


def run_of_dataset(workspace: Path, dataset_id: str) -> Run:
    """Reconstruct the run that made a dataset. It names no model.

    Raises:
        InputError: the workspace has no such dataset.
    """
    path = dataset_folder(workspace, dataset_id) / SETTINGS
    if not path.is_file():
        known = sorted(p.parent.name for p in path.parent.parent.glob(f"*/{SETTINGS}") if p.is_file())
        raise InputError(
            f"no dataset {dataset_id!r}", where=path.parent, do=f"Choose one of: {', '.join(known) or 'none'}"
        )
    values = read_settings(path, "collect", "vocab", "convert")
    return Run(from_dict(RunConfig, values | {"workspace": str(workspace)}, path), dataset_id, "")


def run_of_shard(path: Path) -> tuple[Run, str]:
    """Return the run that made a raw shard, see `run_of_dataset`, and the shard's name.

    Args:
        path: `<workspace>/datasets/<dataset_id>/shards/shard_0000`, or the same below `heldout/`.
    """
    workspace, dataset_id, name = dataset_of_shard(path)
    return run_of_dataset(workspace, dataset_id), name

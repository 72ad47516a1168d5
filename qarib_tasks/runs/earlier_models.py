"""Models that the first version made under names that depend on settings which change no weight."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from qarib_tasks.config.loading import SETTINGS_BYTES, from_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.yaml_text import read_yaml
from qarib_tasks.errors import CorruptError, QaribError
from qarib_tasks.layout import ID, LAUNCH, MANIFEST, MODELS, PROGRESS, SETTINGS
from qarib_tasks.runs.names import actual_values, later_weight_settings, model_name, weight_settings
from qarib_tasks.storage.bucket import Bucket, refused
from qarib_tasks.storage.regular_files import read_regular

log = logging.getLogger(__name__)
_READ_AT_ONCE = 16  # objects
# Settings of the dataset that a trainer's settings hold as well.
_DATA_SETTINGS = (
    *("random_seed", "do_lower_case", "max_seq_length", "max_predictions_per_seq", "masked_lm_prob"),
)


def made_before(
    config: RunConfig, dataset_id: str, start_from_digest: str, address: str | None, client: Any = None
) -> str | None:
    """Return the name under which the first version made, or began, the model of this run.

    The names of that version depend on settings that change no weight, such as `keep_checkpoint_max`. A model
    of the same preset that differs only in those settings is the model of this run.

    Args:
        address: `gs://bucket/prefix/` that the run publishes to.
        client: a `google.cloud.storage.Client`; without one only the workspace is searched.

    Returns:
        the name of the most complete model, or None if that has today's name or if there is none.

    Raises:
        StorageError: the bucket cannot be read. A bucket that does not exist is no error here.
    """
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError

    folder = Path(config.workspace) / MODELS
    bucket = Bucket(address, client) if address and client else None
    try:
        try:
            return _made_before(config, dataset_id, start_from_digest, _Models(folder, bucket))
        except NotFound:
            return _made_before(config, dataset_id, start_from_digest, _Models(folder, None))
    except (GoogleAPIError, GoogleAuthError) as error:
        raise refused(error, address) from error


def _made_before(config: RunConfig, dataset_id: str, digest: str, models: _Models) -> str | None:
    today = model_name(config, dataset_id, digest)
    own = model_name(config, dataset_id, digest, actual_values(config))
    names = [name for name in dict.fromkeys((own, today)) if models.has(name)]
    if not any(models.is_complete(name) for name in names) and not later_weight_settings(config):
        wanted = weight_settings(config.model, config.train, digest)
        names += sorted(
            name
            for name, job in models.jobs()
            if name.startswith(f"{config.preset}-")
            and PurePath(job.training_data).parent.name == dataset_id
            and weight_settings(job.model, job.train, job.start_from_digest) == wanted
            and all(getattr(job, setting) == getattr(config.convert, setting) for setting in _DATA_SETTINGS)
        )
    # Of equally complete ones the first: the name of the request's own values, then today's.
    best = min(names, key=models.steps_missing, default=today)
    return None if best == today else best


@dataclass(frozen=True)
class _Models:
    """The models of a workspace and its bucket."""

    folder: Path
    bucket: Bucket | None

    def has(self, name: str) -> bool:
        """Whether there is something of the model."""
        folder = self.folder / name
        if folder.is_dir() and any(folder.iterdir()):
            return True
        files = (PROGRESS, MANIFEST)
        return bool(self.bucket) and any(self._object(name, file) is not None for file in files)

    def is_complete(self, name: str) -> bool:
        return self._text(name, MANIFEST) is not None

    def steps_missing(self, name: str) -> tuple[bool, int]:
        """Return a sort key, smallest for the most complete model: no manifest, then steps (negated)."""
        try:
            step = json.loads(self._text(name, PROGRESS) or "{}").get("step", 0)
            step = step if isinstance(step, int) else 0
        except (ValueError, AttributeError, RecursionError):
            step = 0
        return not self.is_complete(name), -step

    def jobs(self) -> Iterator[tuple[str, TrainingJob]]:
        """Yield the names and settings of known trainings: those of models, and those launched on TPUs."""
        for path in sorted(self.folder.glob(f"*/{SETTINGS}")):
            yield from _job(_read(path), path.parent.name)
        if self.bucket is None:
            return
        names = [f"{model}{SETTINGS}" for model in self.bucket.folders(f"{MODELS}/")]
        names += [name for name in self.bucket.list(f"{LAUNCH}/") if name.endswith(f"/{SETTINGS}")]
        with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
            for name, text in zip(names, threads.map(self._read_object, names), strict=True):
                folder = PurePath(name).parent.name if name.startswith(f"{MODELS}/") else ""
                yield from _job(text, folder)

    def _text(self, name: str, file: str) -> str | None:
        path = self.folder / name / file
        return _read(path) if path.is_file() else self._object(name, file)

    def _object(self, name: str, file: str) -> str | None:
        return self._read_object(f"{MODELS}/{name}/{file}") if self.bucket else None

    def _read_object(self, name: str) -> str | None:
        assert self.bucket is not None
        try:
            return self.bucket.read_text(name)
        except CorruptError:
            return None


def _read(path: Path) -> str | None:
    try:
        return read_regular(path, SETTINGS_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError, QaribError):
        return None


def _job(text: str | None, folder: str) -> Iterator[tuple[str, TrainingJob]]:
    """Yield the model's name and settings, unless the text is something else.

    Args:
        folder: name of the model's folder that holds the text; empty for the settings of a launch.
    """
    try:
        values = read_yaml(text or "")
        job = from_dict(TrainingJob, values) if isinstance(values, dict) else None
    except (QaribError, yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return
    name = PurePath(job.output).name if job else ""
    if job and re.fullmatch(ID, name) and folder in ("", name):
        yield name, job

"""The names of a run's dataset and model, and models that the first version named differently."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import yaml

from qarib_tasks.config.identity import left_settings, named_settings
from qarib_tasks.config.loading import YAML_LOADER, from_dict, to_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training import TrainingJob
from qarib_tasks.dataset.ledger import ConsumedFile
from qarib_tasks.errors import QaribError, StorageError
from qarib_tasks.layout import DATASETS, LAUNCH, MANIFEST, MODELS, PROGRESS, SETTINGS
from qarib_tasks.storage.bucket import Bucket

log = logging.getLogger(__name__)
_DATASET = re.compile(rf"{DATASETS}/([^/]+)/")
_READ_AT_ONCE = 16  # objects


def dataset_name(config: RunConfig, files: Sequence[ConsumedFile], vocab_digest: str) -> str:
    """Return the `dataset_id`: the preset and a hash of everything that changes the data.

    Args:
        files: the source files. Their contents count, not their addresses. For a remote file, which is not
            fetched yet, its address, size and version count instead.
        vocab_digest: SHA-256 of `config.vocab.vocab_file`; empty for none.
    """
    sections = ("collect", "vocab", "split", "convert")
    data: dict[str, Any] = {name: named_settings(getattr(config, name)) for name in sections}
    for values in data["collect"]["sources"]:
        values["files"] = [
            file.sha256 or [file.address, file.bytes, file.version]
            for file in files
            if file.source == values["name"]
        ]
    data["vocab"]["vocab_file"] = vocab_digest
    if config.extends:
        data["extends"] = config.extends
    return f"{config.preset}-{short_hash(data)}"


def model_name(config: RunConfig, dataset_id: str, start_from_digest: str) -> str:
    """Return the `model_id`: the preset and a hash of the dataset's name and all that changes the weights.

    Args:
        start_from_digest: digest of the initial weights; empty for random weights.
    """
    return _hashed(config, dataset_id, start_from_digest, left_settings(config.preset))


def made_before(
    config: RunConfig, dataset_id: str, start_from_digest: str, address: str | None, client: Any = None
) -> str | None:
    """Return the name under which the first version made, or began, the model of this run.

    The names of that version depend on settings that change no weight, such as `keep_checkpoint_max`. A model
    that differs only in those settings is the model of this run.

    Args:
        address: `gs://bucket/prefix/` that the run publishes to.
        client: a `google.cloud.storage.Client`; without one only the workspace is searched.

    Returns:
        the name, or None if no such model exists or if it has today's name.

    Raises:
        StorageError: the bucket cannot be read. A bucket that does not exist is no error here.
    """
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError

    bucket = Bucket(address, client) if address and client else None
    try:
        return _made_before(config, dataset_id, start_from_digest, bucket)
    except NotFound:
        return None
    except (GoogleAPIError, GoogleAuthError) as error:
        raise StorageError(
            f"the bucket cannot be searched for models: {error}", where=address, do="Run the step again"
        ) from error


def _made_before(
    config: RunConfig, dataset_id: str, start_from_digest: str, bucket: Bucket | None
) -> str | None:
    folder = Path(config.workspace) / MODELS
    today = model_name(config, dataset_id, start_from_digest)
    settings = {section: to_dict(getattr(config, section)) for section in left_settings("")}
    actual = {
        section: {name: settings[section].get(name, value) for name, value in values.items()}
        for section, values in left_settings(config.preset).items()
    }
    for name in (_hashed(config, dataset_id, start_from_digest, actual), today):
        if (folder / name).is_dir() or (bucket and _is_in(bucket, name)):
            return name if name != today else None
    wanted = _identity(config.model, config.train, dataset_id, start_from_digest)
    found = {job.output for job in _jobs(folder, bucket) if _identity_of(job) == wanted}
    names = {PurePath(output).name for output in found}
    return min(names, key=lambda name: (*_distance(folder, bucket, name), name), default=None)


def short_hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def _hashed(config: RunConfig, dataset_id: str, digest: str, left: Mapping[str, Mapping[str, Any]]) -> str:
    values = _identity(config.model, config.train, dataset_id, digest)[1]
    values["train"] |= left["train"]
    values["evaluate"] = named_settings(config.evaluate) | dict(left["evaluate"])
    return f"{config.preset}-{short_hash([dataset_id, values])}"


def _identity(model: Any, train: Any, dataset_id: str, digest: str) -> tuple[str, dict[str, Any]]:
    settings = named_settings(train)
    del settings["start_from"]
    if digest:
        settings["start_from"] = digest
    return dataset_id, {"model": named_settings(model), "train": settings}


def _identity_of(job: TrainingJob) -> tuple[str, dict[str, Any]] | None:
    dataset = _DATASET.search(job.training_data + "/")
    return _identity(job.model, job.train, dataset[1], job.start_from_digest) if dataset else None


def _is_in(bucket: Bucket, name: str) -> bool:
    return any(bucket.get(f"{MODELS}/{name}/{file}") for file in (PROGRESS, MANIFEST))


def _jobs(folder: Path, bucket: Bucket | None) -> Iterator[TrainingJob]:
    """Yield the known trainings of workspace and bucket: those of models, and those launched on TPUs."""
    for path in sorted(folder.glob(f"*/{SETTINGS}")):
        yield from _job(path.read_text(encoding="utf-8"))
    if bucket:
        names = [name for name in bucket.list(f"{LAUNCH}/") if name.endswith(f"/{SETTINGS}")]
        names += [model + SETTINGS for model in bucket.folders(f"{MODELS}/")]
        with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
            for text in threads.map(bucket.read_text, names):
                yield from _job(text or "")


def _job(text: str) -> Iterator[TrainingJob]:
    """Yield the training that a text holds, unless it holds something else."""
    try:
        values = yaml.load(text, Loader=YAML_LOADER)
        if isinstance(values, dict):
            yield from_dict(TrainingJob, values)
    except (QaribError, yaml.YAMLError):
        log.debug("not the settings of a training: %.80s", text)


def _distance(folder: Path, bucket: Bucket | None, name: str) -> tuple[bool, int]:
    """Return a sort key, smallest for the most complete model: no manifest, then steps (negated)."""
    texts: dict[str, str] = {}
    for file in (MANIFEST, PROGRESS):
        path = folder / name / file
        if path.is_file():
            texts[file] = path.read_text(encoding="utf-8")
        elif bucket and (text := bucket.read_text(f"{MODELS}/{name}/{file}")):
            texts[file] = text
    try:
        step = int(json.loads(texts.get(PROGRESS, "{}")).get("step", 0))
    except ValueError:
        step = 0
    return MANIFEST not in texts, -step

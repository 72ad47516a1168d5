"""A run: what is asked for, and the names that its dataset and its model have because of it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from qarib_tasks.config.run import RunConfig, dump_yaml, from_dict, load_yaml, to_dict
from qarib_tasks.corpus import collect as corpus
from qarib_tasks.corpus.sources import AllowedSources
from qarib_tasks.dataset.ledger import NAME as LEDGER
from qarib_tasks.dataset.ledger import ConsumedFile, files_of, not_taken_by, write_plan
from qarib_tasks.errors import InputError, NothingNewError
from qarib_tasks.layout import DatasetLayout, ModelLayout, manifest_of
from qarib_tasks.storage.files import Bucket, write_text
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.model_files import find, steps_behind
from qarib_tasks.storage.shared_record import SharedRecord

log = logging.getLogger(__name__)
MOST_NAMED = 50  # files, in the log
FirstStep = Literal["collect", "convert", "train"]


@dataclass(frozen=True)
class Run:
    """A resolved request: its settings, and the names its dataset and its model have because of them.

    Attributes:
        start_from_digest: of what the training starts from, where it does not start from nothing.
        steps_before: that were behind that, if it is a model of ours.
        first_step: the steps before it are left out, as what they made is there.
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
        """Whether the dataset is complete and its steps are left out."""
        return self.first_step == "train"

    @property
    def dataset(self) -> DatasetLayout:
        return DatasetLayout(Path(self.config.workspace), self.dataset_id, self.config.upload)

    @property
    def model(self) -> ModelLayout:
        return ModelLayout(Path(self.config.workspace), self.model_id, self.config.upload)

    @property
    def address(self) -> str | None:
        """`gs://bucket/prefix/`, or None for a run that publishes nowhere."""
        upload = self.config.upload
        return f"gs://{upload.bucket}/{upload.prefix}" if upload.bucket else None

    def at(self, path: Path) -> str:
        """Where the trainer reads a file of the workspace: in the bucket where there is one."""
        if not self.address:
            return str(path)
        return self.address + path.relative_to(self.config.workspace).as_posix()

    @property
    def earlier(self) -> list[Run]:
        """Of the datasets that this run's extends, the first of all first.

        Raises:
            InputError: the workspace lacks one.
        """
        if not self.config.extends:
            return []
        extended = run_of_dataset(Path(self.config.workspace), self.config.extends)
        return [*extended.earlier, extended]


def prepare(
    config: RunConfig, allowed: AllowedSources | None = None, client: Any = None, *, save: bool = True
) -> Run:
    """Check the sources and name the run's dataset and model by a hash of all that changes them.

    Addresses are not part of the hash, contents are: the same text under another path is the same dataset. Of
    a file far away its address, size and version stand for the content, which is not fetched yet.

    Args:
        allowed: what sources may name, where others than the machine's owner name them; None for anything.
        client: a `google.cloud.storage.Client` to read the ledger with, where the run extends a dataset.
        save: whether nothing is left to check: see `save_settings`.

    Raises:
        ConfigError: there is no source, or one may not be read. InputError: a source names no file.
        NothingNewError: the dataset that the run extends has taken all of them.
        StorageError: a bucket or web server does not answer as it should.
    """
    if config.extends:
        config = _as_extended(config)
    listed = corpus.list_sources(config.collect, allowed)
    files = [ConsumedFile.of(source.name, file) for source, some in listed.items() for file in some]
    if config.extends:
        files = _new(config, files, client)
        new = {file.source for file in files}
        sources = tuple(source for source in config.collect.sources if source.name in new)
        config = replace(config, collect=replace(config.collect, sources=sources))
    settings = to_dict(config)
    data = {name: settings[name] for name in ("collect", "vocab", "split", "convert")}
    for values in data["collect"]["sources"]:
        del values["path"]
        values["files"] = [
            file.sha256 or [file.address, file.bytes, file.version]
            for file in files
            if file.source == values["name"]
        ]
    if config.extends:
        data["extends"] = config.extends
    if vocab_file := config.vocab.vocab_file:
        if allowed:
            allowed.check(vocab_file, "vocab.vocab_file")
        data["vocab"]["vocab_file"] = FileRecord.of(vocab_file_of(config)).sha256
    dataset_id = f"{config.preset}-{_short_hash(data)}"
    run = _named(config, dataset_id, allowed)
    write_plan(run.dataset.sources, files)
    if save:
        save_settings(run)
    return run


def save_settings(run: Run) -> None:
    """Write the settings beside the dataset, unless the run only trains on it: for `run_of_dataset`."""
    if not run.only_training:
        write_text(run.dataset.config, dump_yaml(run.config))


def _as_extended(config: RunConfig) -> RunConfig:
    """The config with the settings of the dataset that it extends, but for the sources."""
    extended = run_of_dataset(Path(config.workspace), config.extends)
    _require_complete(extended)
    own = extended.config
    vocab = replace(own.vocab, vocab_file=str(extended.dataset.vocab))
    collect = replace(own.collect, sources=config.collect.sources)
    return replace(config, collect=collect, vocab=vocab, split=own.split, convert=own.convert)


def _new(config: RunConfig, files: list[ConsumedFile], client: Any) -> list[ConsumedFile]:
    """The files that no dataset has taken of those that are extended.

    Raises:
        NothingNewError: there is none.
    """
    run = Run(config, "", "")
    datasets = {earlier.dataset_id for earlier in run.earlier}
    new = not_taken_by(datasets, files_of(ledger_of(run, client).read()), files)
    log.info("%d of %d source files are new to %s", len(new), len(files), config.extends)
    for file in new[:MOST_NAMED]:
        log.info("new: %s", file.address)
    if not new:
        raise NothingNewError(
            f"all of the {len(files):,} source files are in the dataset already", where=config.extends
        )
    return new


def ledger_of(run: Run, client: Any = None) -> SharedRecord:
    """The ledger of the workspace, or the bucket."""
    return SharedRecord(Path(run.config.workspace), run.address, LEDGER, client)


def prepare_training(
    config: RunConfig,
    dataset_id: str,
    allowed: AllowedSources | None = None,
    first_step: Literal["convert", "train"] = "train",
) -> Run:
    """The run that trains on a dataset that is there, whose settings stand in place of the config's.

    Args:
        first_step: with `convert` the dataset need not be complete, its text and vocabulary must be.

    Raises:
        InputError: the workspace has no such dataset, or it is not complete.
        ConfigError: the dataset does not suit the model, or `train.start_from` may not be read.
    """
    made = run_of_dataset(Path(config.workspace), dataset_id)
    if first_step == "train":
        _require_complete(made)
    made_before = [made.dataset.data, made.dataset.vocab, made.dataset.shards(made.dataset.data)]
    for path in made_before if first_step == "convert" else ():
        if not manifest_of(path).is_file():
            raise InputError("is not made yet", where=path, do="Start from collect")
    values = to_dict(config)
    own = to_dict(made.config)
    values |= {name: own[name] for name in ("extends", "collect", "vocab", "split", "convert")}
    return replace(_named(from_dict(RunConfig, values), dataset_id, allowed), first_step=first_step)


def _require_complete(run: Run) -> None:
    if not run.dataset.manifest.is_file():
        raise InputError(
            "the dataset is not complete",
            where=run.dataset.root,
            do=f"Trigger the DAG qarib_backfill_shards for {run.dataset_id}, or the run that made it",
        )


def _named(config: RunConfig, dataset_id: str, allowed: AllowedSources | None) -> Run:
    """The run on this dataset, its model named by a hash of all that changes it."""
    settings = to_dict(config)
    model = {name: settings[name] for name in ("model", "train", "evaluate")}
    # Nothing in the model depends on these.
    del model["train"]["recovery_minutes"], model["train"]["steps_per_call"]
    del model["evaluate"]["fill_mask_sentences"]
    digest, steps = "", 0
    if start_from := model["train"].pop("start_from"):
        if allowed:
            allowed.check(start_from, "train.start_from")
        found = find(start_from)
        digest = model["train"]["start_from"] = found.digest
        steps = steps_behind(found)
    return Run(config, dataset_id, f"{config.preset}-{_short_hash([dataset_id, model])}", digest, steps)


def run_of_dataset(workspace: Path, dataset_id: str) -> Run:
    """The run that a dataset was made by, as far as its data go: it names no model.

    Raises:
        InputError: the workspace has no such dataset.
    """
    path = workspace / "datasets" / dataset_id / "config.yaml"
    if not path.is_file():
        known = sorted(other.parent.name for other in path.parent.parent.glob("*/config.yaml"))
        raise InputError(
            f"no dataset {dataset_id!r}", where=path.parent, do=f"Choose one of: {', '.join(known) or 'none'}"
        )
    config = from_dict(RunConfig, load_yaml(path) | {"workspace": str(workspace)}, path)
    return Run(config, dataset_id, "")


def run_of_shard(path: Path) -> tuple[Run, str]:
    """The run that a raw shard belongs to, as `run_of_dataset`, and the shard's name.

    Args:
        path: `<workspace>/datasets/<dataset_id>/shards/shard_0000`, or below `heldout/` there.
    """
    part = path.parents[1]
    root = part.parent if part.name == "heldout" else part
    return run_of_dataset(root.parents[1], root.name), path.relative_to(root).as_posix()


def _short_hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def vocab_file_of(config: RunConfig) -> Path:
    """The vocabulary that is to be kept, on this machine: one in a bucket is fetched once a version."""
    address = config.vocab.vocab_file
    if config.extends:
        return run_of_dataset(Path(config.workspace), config.extends).dataset.vocab
    if not address.startswith("gs://"):
        return Path(address)
    folder, _, name = address.rpartition("/")
    bucket = Bucket(folder + "/")
    if (blob := bucket.get(name)) is None:
        raise InputError("no such object", where=address, do="Correct vocab.vocab_file")
    path = Path(config.workspace) / "cache" / "vocab" / f"{_short_hash([address, blob.generation])}.txt"
    if not path.exists():
        bucket.download(name, path)
    return path

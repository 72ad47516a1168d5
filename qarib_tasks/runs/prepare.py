"""Resolve a request into a run: checks, names and earlier datasets."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from qarib_tasks.config.evaluation import FREE_TASKS
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.corpus.allowed import AllowedSources, require_no_secret
from qarib_tasks.corpus.collect import list_sources
from qarib_tasks.dataset.ledger import ConsumedFile, files_of, not_taken_by, write_plan
from qarib_tasks.errors import CorruptError, InputError, NothingNewError
from qarib_tasks.labelled.staged import is_task
from qarib_tasks.layout import (
    CACHE,
    DATASETS,
    FETCHED,
    LEDGER,
    MANIFEST,
    MODELS,
    PROMOTED,
    SETTINGS,
    VOCABULARIES,
    DatasetLayout,
)
from qarib_tasks.machines.backend import Work
from qarib_tasks.machines.local import check_files
from qarib_tasks.runs.earlier_models import made_before
from qarib_tasks.runs.names import dataset_name, model_name, short_hash
from qarib_tasks.runs.run import Run, ledger_of, run_of_dataset, save_settings
from qarib_tasks.runs.training_job import TRAINER_COMMANDS
from qarib_tasks.storage.bucket import Bucket, refused
from qarib_tasks.storage.files import is_temporary
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.storage.model_files import find, steps_trained
from qarib_tasks.storage.ownership import Earlier
from qarib_tasks.storage.recognition import (
    MOVE_SHARED,
    check_model_folder,
    check_model_objects,
    is_dataset_manifest,
    is_plan,
    is_run_config,
    is_shared_record,
    require_folders,
    require_our_object,
    require_ours,
)
from qarib_tasks.storage.records.aside import set_aside

log = logging.getLogger(__name__)

MOST_NAMED = 50  # files, in the log


def prepare(
    config: RunConfig, allowed: AllowedSources | None = None, client: Any = None, *, save: bool = True
) -> Run:
    """Check the sources and name the run's dataset and model by a hash of all that changes them.

    Args:
        allowed: the sources that the deployment allows; None allows all.
        client: a `google.cloud.storage.Client` to read the ledger and the names of earlier models with.
        save: save the settings too, see `save_settings`. Pass False if you check more first.

    Raises:
        ConfigError: the request has no source, or a source is not allowed.
        InputError: a source matches no file.
        NothingNewError: the extended dataset contains all source files.
        StorageError: a bucket or web server returns an error.
    """
    if config.extends:
        config = _as_extended(config)
    listed = list_sources(config.collect, allowed)
    files = [ConsumedFile.of(source.name, file) for source, some in listed.items() for file in some]
    if config.extends:
        files = _new(config, files, client)
        new = {file.source for file in files}
        sources = tuple(source for source in config.collect.sources if source.name in new)
        config = replace(config, collect=replace(config.collect, sources=sources))
    vocab_digest = ""
    if vocab_file := config.vocab.vocab_file:
        require_no_secret(vocab_file)
        if allowed:
            allowed.check(vocab_file, "vocab.vocab_file")
        vocab_digest = FileRecord.of(vocab_file_of(config)).sha256
    run = _named(config, dataset_name(config, files, vocab_digest), allowed, client)
    _check_dataset_folder(run.dataset)
    try:
        if run.dataset.manifest.is_file():
            Manifest.complete(run.dataset.manifest)
    except CorruptError as error:
        set_aside(run.dataset.manifest, error.what, "it is written again once every shard is complete")
    write_plan(run.dataset.sources, files)
    if save:
        save_settings(run)
    return run


def _as_extended(config: RunConfig) -> RunConfig:
    """Return the config with the settings of the extended dataset, and its own sources."""
    extended = run_of_dataset(Path(config.workspace), config.extends)
    _require_complete(extended)
    own = extended.config
    vocab = replace(own.vocab, vocab_file=str(extended.dataset.vocab))
    collect = replace(own.collect, sources=config.collect.sources)
    theirs = {"collect": collect, "vocab": vocab, "split": own.split, "convert": own.convert}
    values = to_dict(config) | {name: to_dict(section) for name, section in theirs.items()}
    return from_dict(RunConfig, values, f"extends {', '.join(config.extends)}")


def _new(config: RunConfig, files: list[ConsumedFile], client: Any) -> list[ConsumedFile]:
    """Return the files that none of the extended datasets contains.

    Raises:
        NothingNewError: no file is new.
    """
    run = Run(config, "", "")
    datasets = {earlier.dataset_id for earlier in run.earlier}
    ledger = ledger_of(run, client)
    new = not_taken_by(datasets, files_of(ledger.read(), ledger.where), files)
    log.info("%d of %d source files are new to %s", len(new), len(files), config.extends)
    for file in new[:MOST_NAMED]:
        log.info("new: %s", file.address)
    if not new:
        raise NothingNewError(
            f"all {len(files):,} source files are in the dataset already", where=config.extends
        )
    return new


def prepare_training(
    config: RunConfig,
    dataset_id: str,
    allowed: AllowedSources | None = None,
    first_step: Literal["convert", "train"] = "train",
    client: Any = None,
) -> Run:
    """Prepare a run on an existing dataset. The dataset's settings replace those of the config.

    Args:
        first_step: with `convert`, only the text, the vocabulary and the raw shards must be complete.
        client: a `google.cloud.storage.Client` to read the names of earlier models with.

    Raises:
        InputError: the workspace has no such dataset, or the dataset is not complete.
        ConfigError: the dataset does not fit the model, or `train.start_from` is not allowed.
    """
    made = run_of_dataset(Path(config.workspace), dataset_id)
    if first_step == "train":
        _require_complete(made)
    made_before = [made.dataset.data, made.dataset.vocab, made.dataset.shards(made.dataset.data)]
    for path in made_before if first_step == "convert" else ():
        if not Earlier.read(manifest_of(path)).is_complete:
            raise InputError("not made yet", where=path, do="Start from collect")
    values = to_dict(config)
    own = to_dict(made.config)
    values |= {name: own[name] for name in ("extends", "partition", "collect", "vocab", "split", "convert")}
    return replace(_named(from_dict(RunConfig, values), dataset_id, allowed, client), first_step=first_step)


def _require_complete(run: Run) -> None:
    if not run.dataset.manifest.is_file():
        raise InputError(
            "the dataset is not complete",
            where=run.dataset.root,
            do=f"Trigger the DAG qarib_backfill_shards for {run.dataset_id}, or the run that made it",
        )
    Manifest.complete(run.dataset.manifest)


def _named(config: RunConfig, dataset_id: str, allowed: AllowedSources | None, client: Any) -> Run:
    """Return the run on this dataset, with the name of its model."""
    digest, steps = "", 0
    if start_from := config.train.start_from:
        require_no_secret(start_from)
        if allowed:
            allowed.check(start_from, "train.start_from")
        found = find(start_from)
        digest, steps = found.digest, steps_trained(found)
    run = Run(config, dataset_id, model_name(config, dataset_id, digest), digest, steps)
    if before := made_before(config, dataset_id, digest, run.address, client):
        log.info("An earlier version made this model: %s", before)
        run = replace(run, model_id=before)
    _check_files(run, client)
    return run


def _check_files(run: Run, client: Any) -> None:
    """Check what later steps would refuse: that the files and objects which they replace are ours.

    Raises:
        InputError: they are not.
    """
    workspace = Path(run.config.workspace)
    for name in (LEDGER, PROMOTED):
        require_ours(workspace / name, is_shared_record, MOVE_SHARED)
    require_folders(workspace / name for name in (DATASETS, MODELS, CACHE, FETCHED))
    check_model_folder(run.model)
    evaluate = run.config.evaluate
    for name in [*(task.name for task in evaluate.tasks), *(FREE_TASKS if evaluate.free_tasks else ())]:
        require_ours(run.model.task(name), is_task)
    for command in TRAINER_COMMANDS:
        check_files(Work(command, (), run.model.root))
    if run.address and client:
        _check_objects(run, run.address, client)


def _check_objects(run: Run, address: str, client: Any) -> None:
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError

    try:
        check_model_objects(run.model, Bucket(address + run.model.name, client))
        bucket = Bucket(address + run.dataset.name, client)
        require_our_object(bucket, SETTINGS, is_run_config)
        require_our_object(bucket, MANIFEST, is_dataset_manifest)
    except NotFound:  # There is no such bucket: the first write says so.
        return
    except (GoogleAPIError, GoogleAuthError) as error:
        raise refused(error, address) from error


def _check_dataset_folder(dataset: DatasetLayout) -> None:
    """Check that the dataset's folder is ours: it has our settings or our plan, or nothing yet.

    Raises:
        InputError: it has other files.
    """
    require_folders([dataset.root])
    require_ours(dataset.config, is_run_config)
    require_ours(dataset.sources, is_plan)
    require_ours(dataset.manifest, is_dataset_manifest)
    if dataset.root.is_dir() and not dataset.config.exists() and not dataset.sources.exists():
        names = sorted(path.name for path in dataset.root.iterdir())
        if others := [name for name in names if not is_temporary(name)]:
            raise InputError(
                f"has files that qarib did not make: {', '.join(others[:MOST_NAMED])}",
                where=dataset.root,
                do="Move them",
            )


def vocab_file_of(config: RunConfig) -> Path:
    """Return the local path of the vocabulary to keep. One in a bucket is downloaded once per version."""
    address = config.vocab.vocab_file
    if config.extends:
        return run_of_dataset(Path(config.workspace), config.extends).dataset.vocab
    if not address.startswith("gs://"):
        return Path(address)
    folder, _, name = address.rpartition("/")
    bucket = Bucket(folder + "/")
    if (blob := bucket.get(name)) is None:
        raise InputError("no such object", where=address, do="Correct vocab.vocab_file")
    path = Path(config.workspace) / VOCABULARIES / f"{short_hash([address, blob.generation])}.txt"
    if not path.exists():
        bucket.download(name, path)
    return path

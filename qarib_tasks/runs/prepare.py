"""From a request to a run: names, earlier datasets, checks."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.collect import list_sources
from qarib_tasks.dataset.ledger import ConsumedFile, files_of, not_taken_by, write_plan
from qarib_tasks.errors import InputError, NothingNewError
from qarib_tasks.layout import VOCABULARIES
from qarib_tasks.runs.names import dataset_name, made_before, model_name, short_hash
from qarib_tasks.runs.run import Run, ledger_of, run_of_dataset, save_settings
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import FileRecord, manifest_of
from qarib_tasks.storage.model_files import find, steps_trained

log = logging.getLogger(__name__)

MOST_NAMED = 50  # files, in the log


def prepare(
    config: RunConfig, allowed: AllowedSources | None = None, client: Any = None, *, save: bool = True
) -> Run:
    """Check the sources and name the run's dataset and model by a hash of all that changes them.

    Args:
        allowed: what sources may name, where others than the machine's owner name them; None for anything.
        client: a `google.cloud.storage.Client` to read the ledger and the names of earlier models with.
        save: whether nothing is left to check: see `save_settings`.

    Raises:
        ConfigError: there is no source, or one may not be read. InputError: a source names no file.
        NothingNewError: the dataset that the run extends has taken all of them.
        StorageError: a bucket or web server does not answer as it should.
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
        if allowed:
            allowed.check(vocab_file, "vocab.vocab_file")
        vocab_digest = FileRecord.of(vocab_file_of(config)).sha256
    run = _named(config, dataset_name(config, files, vocab_digest), allowed, client)
    write_plan(run.dataset.sources, files)
    if save:
        save_settings(run)
    return run


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


def prepare_training(
    config: RunConfig,
    dataset_id: str,
    allowed: AllowedSources | None = None,
    first_step: Literal["convert", "train"] = "train",
    client: Any = None,
) -> Run:
    """The run that trains on a dataset that is there, whose settings stand in place of the config's.

    Args:
        first_step: with `convert` the dataset need not be complete, its text and vocabulary must be.
        client: a `google.cloud.storage.Client` to read the names of earlier models with.

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
    return replace(_named(from_dict(RunConfig, values), dataset_id, allowed, client), first_step=first_step)


def _require_complete(run: Run) -> None:
    if not run.dataset.manifest.is_file():
        raise InputError(
            "the dataset is not complete",
            where=run.dataset.root,
            do=f"Trigger the DAG qarib_backfill_shards for {run.dataset_id}, or the run that made it",
        )


def _named(config: RunConfig, dataset_id: str, allowed: AllowedSources | None, client: Any) -> Run:
    """The run on this dataset, its model named by a hash of all that changes it."""
    digest, steps = "", 0
    if start_from := config.train.start_from:
        if allowed:
            allowed.check(start_from, "train.start_from")
        found = find(start_from)
        digest, steps = found.digest, steps_trained(found)
    run = Run(config, dataset_id, model_name(config, dataset_id, digest), digest, steps)
    if before := made_before(config, dataset_id, digest, run.address, client):
        log.info("An earlier version made this model: %s", before)
        return replace(run, model_id=before)
    return run


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
    path = Path(config.workspace) / VOCABULARIES / f"{short_hash([address, blob.generation])}.txt"
    if not path.exists():
        bucket.download(name, path)
    return path

"""The steps of a run, bound to the places of its files. The DAG's tasks and `qarib run` call these.

Every function here is idempotent: called again after it finished, or after it was killed at any instant, it
finds what is whole and redoes only the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qarib_tasks.config.identity import recorded_settings
from qarib_tasks.corpus import collect as collect_step
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.dataset import ledger
from qarib_tasks.dataset.audit import shard_names
from qarib_tasks.dataset.ledger import by_source, read_plan
from qarib_tasks.dataset.split import split as split_text
from qarib_tasks.errors import InputError
from qarib_tasks.layout import FETCHED
from qarib_tasks.machines.backend import Work
from qarib_tasks.runs.completion import dataset_files, finish_dataset
from qarib_tasks.runs.prepare import vocab_file_of
from qarib_tasks.runs.run import Run, ledger_of, write_settings
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.vocabulary.build import build_vocab as build_vocabulary


def sources(run: Run) -> list[str]:
    """The names of the sources to collect."""
    return [] if run.first_step != "collect" else [source.name for source in run.config.collect.sources]


def collect_source(run: Run, name: str, allowed: AllowedSources | None = None) -> None:
    """One source's part of `collect`, which may be done beforehand: each source in a task of its own."""
    collect_step.collect_source(
        run.config.collect,
        name,
        run.dataset.data,
        cache=_fetched_sources(run),
        allowed=allowed,
        files=by_source(read_plan(run.dataset.sources)),
    )


def collect(run: Run, allowed: AllowedSources | None = None) -> Manifest:
    """Sources → `data.txt`, `heldout/data.txt` and `report.html`."""
    if run.first_step != "collect":
        return Manifest.read(manifest_of(run.dataset.data))
    return collect_step.collect(
        run.config.collect,
        run.dataset.data,
        heldout=run.dataset.heldout_data,
        random_seed=run.config.convert.random_seed,
        cache=_fetched_sources(run),
        allowed=allowed,
        files=by_source(read_plan(run.dataset.sources)),
        earlier={e.dataset_id: _texts(e) for e in run.earlier},
    )


def _texts(run: Run) -> list[Path]:
    """A dataset's text and its held-out part, as they were collected.

    Raises:
        InputError: they are no longer in the workspace.
    """
    texts = [run.dataset.data, run.dataset.heldout_data]
    for path in texts:
        if not path.is_file():
            raise InputError(
                "the text of a dataset that is extended is gone, and repeats of it cannot be found",
                where=path,
                do=f"Run the DAG that made {run.dataset_id} again with the same settings",
            )
    return texts


def record_sources(run: Run, client: Any = None) -> None:
    """Have the files that the complete dataset was made of in the ledger.

    Args:
        client: a `google.cloud.storage.Client`.
    """
    if not run.dataset.sources.is_file():  # Of a dataset that an older version made.
        return
    records = Manifest.read(manifest_of(run.dataset.data)).inputs
    files = [
        file.read_as(record, run.dataset_id)
        for file, record in zip(read_plan(run.dataset.sources), records, strict=True)
    ]
    ledger.record(ledger_of(run, client), run.dataset_id, files)


def _fetched_sources(run: Run) -> Path:
    return Path(run.config.workspace) / FETCHED


def build_vocab(run: Run) -> Manifest:
    """`data.txt` → `vocab.txt`, and `tokenizer.json`, `tokenizer_config.json`, `bert_config.json`."""
    if run.first_step != "collect":
        return Manifest.read(manifest_of(run.dataset.vocab))
    convert = run.config.convert
    given = str(vocab_file_of(run.config)) if run.config.vocab.vocab_file else ""
    manifest = build_vocabulary(
        run.dataset.data,
        run.dataset.vocab,
        replace(run.config.vocab, vocab_file=given),
        do_lower_case=convert.do_lower_case,
        random_seed=convert.random_seed,
    )
    bert_config = recorded_settings(run.config.model) | {"vocab_size": run.config.vocab.vocab_size}
    write_text(run.dataset.bert_config, json.dumps(bert_config, indent=2, sort_keys=True) + "\n")
    return manifest


def split(run: Run) -> list[str]:
    """`data.txt` and `heldout/data.txt` → shards.

    Returns:
        the shards' names below the dataset's folder, those of the held-out part last; none where the dataset
        is complete and only trained on.
    """
    if run.only_training:
        return []
    for data in (run.dataset.data, run.dataset.heldout_data) if run.first_step == "collect" else ():
        folder = run.dataset.shards(data)
        split_text(data, folder, run.config.split, _shards_before(run, folder))
    return shard_names(run.dataset)


def _shards_before(run: Run, folder: Path) -> int | None:
    """How many shards the datasets that the run's extends have in a folder; None if it extends none."""
    if not run.config.extends:
        return None
    part = folder.relative_to(run.dataset.root).as_posix() + "/"
    names = [name for earlier in run.earlier for name in shard_names(earlier.dataset)]
    return sum(name.startswith(part) for name in names)


def convert(run: Run, shard: str) -> Manifest:
    """One shard → TFRecords and, beside them, the shard's manifest."""
    # numpy, which it brings along, is a good part of what importing a DAG file costs.
    from qarib_tasks.conversion.convert import convert_shard

    dataset = run.dataset
    return convert_shard(dataset.shard(shard), dataset.vocab, dataset.tfrecord(shard), run.config.convert)


def shard_files(run: Run, shard: str) -> list[Path]:
    """The files of a converted shard that are published: the TFRecords, then their manifest."""
    tfrecord = run.dataset.tfrecord(shard)
    return [tfrecord, manifest_of(tfrecord)]


def trainer_work(run: Run, command: str) -> Work:
    """`train`, `evaluate` or `export` as work for a `Backend`, its `config.yaml` written."""
    write_settings(run.model.config, training_job(run))
    return Work(command, (command, "--config", str(run.model.config)), run.model.root)


def run_all(run: Run, work: Callable[[Work], None]) -> Manifest:
    """The whole way without Airflow; `work` runs a trainer command to its end.

    Returns:
        the manifest of the model.
    """
    collect(run)
    build_vocab(run)
    names = split(run)
    for name in names:
        convert(run, name)
    finish_dataset(run)
    record_sources(run)
    if run.address:
        bucket = Bucket(run.address)
        published = [path for name in names for path in shard_files(run, name)] + dataset_files(run)
        for path in published:
            bucket.upload(path, path.relative_to(run.config.workspace).as_posix())
    for command in ("train", "evaluate", "export"):
        work(trainer_work(run, command))
    return Manifest.read(run.model.manifest)

"""The steps of a run, bound to the places of its files. The DAG's tasks and `qarib run` call these.

Every function here is idempotent: called again after it finished, or after it was killed at any instant, it
finds what is whole and redoes only the rest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

from qarib_tasks.config.run import TrainedOn, TrainingJob, dump_yaml, to_dict
from qarib_tasks.corpus import collect as corpus
from qarib_tasks.corpus.sources import AllowedSources
from qarib_tasks.dataset import ledger
from qarib_tasks.dataset import split as shards
from qarib_tasks.dataset.audit import MOST_NAMED, audit, broken, listed, repair, shard_names, tolerated
from qarib_tasks.dataset.ledger import by_source, read_plan
from qarib_tasks.errors import InputError
from qarib_tasks.layout import FETCHED, manifest_of
from qarib_tasks.machines.backend import Work
from qarib_tasks.runs.run import FirstStep as FirstStep
from qarib_tasks.runs.run import Run as Run
from qarib_tasks.runs.run import ledger_of, vocab_file_of
from qarib_tasks.runs.run import prepare as prepare
from qarib_tasks.runs.run import prepare_training as prepare_training
from qarib_tasks.runs.run import run_of_dataset as run_of_dataset
from qarib_tasks.runs.run import run_of_shard as run_of_shard
from qarib_tasks.runs.run import save_settings as save_settings
from qarib_tasks.storage.files import Bucket, same, write_text
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.vocabulary import build as vocab

log = logging.getLogger(__name__)


def sources(run: Run) -> list[str]:
    """The names of the sources to collect."""
    return [] if run.first_step != "collect" else [source.name for source in run.config.collect.sources]


def collect_source(run: Run, name: str, allowed: AllowedSources | None = None) -> None:
    """One source's part of `collect`, which may be done beforehand: each source in a task of its own."""
    corpus.collect_source(
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
    return corpus.collect(
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
    manifest = vocab.build_vocab(
        run.dataset.data,
        run.dataset.vocab,
        replace(run.config.vocab, vocab_file=given),
        do_lower_case=convert.do_lower_case,
        random_seed=convert.random_seed,
    )
    bert_config = {key: value for key, value in to_dict(run.config.model).items()} | {
        "vocab_size": run.config.vocab.vocab_size
    }
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
        shards.split(data, folder, run.config.split, _shards_before(run, folder))
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


def finish_dataset(run: Run, objects: Mapping[str, Any] | None = None) -> Manifest:
    """Write the dataset's manifest, once every shard is whole, or as many as the config wants.

    The manifest's statistics name those that are not, as `missing_shards`; nobody reads them.

    Args:
        objects: what the bucket holds below the dataset's folder, see `audit.audit`.

    Raises:
        InputError: with the shards that are missing, failed or corrupt, and why.
    """
    dataset = run.dataset
    if run.only_training:
        return require_published(run, objects)
    states = audit(dataset, objects)
    if faults := broken(states):
        do = repair(dataset.dataset_id, run.config.workspace)
        what = f"{len(faults):,} of {len(states):,} shards are not whole: {listed(faults, '; ')}"
        if not tolerated(faults, len(states), run.config.upload.tolerated_missing_share):
            raise InputError(what, where=dataset.dataset_id, do=do)
        log.warning("%s. upload.tolerated_missing_share is above that. %s", what, do)
    missing = [state.name for state in faults]
    names = [state.name for state in states if state.name not in missing]
    totals, outputs, random_next = {"examples": 0, "bytes": 0}, [], 0.0
    for name in names:
        shard = Manifest.read(manifest_of(dataset.tfrecord(name)))
        record = shard.output(dataset.tfrecord(name).name)
        outputs.append(FileRecord(dataset.tfrecord_name(name), record.bytes, record.sha256, record.crc32c))
        if not name.startswith("heldout/"):
            totals["examples"] += shard.statistics["examples"]
            shares = shard.statistics["next_sentence_shares"]
            random_next += shares["random"] * shard.statistics["examples"]
            totals["bytes"] += record.bytes
    own = [
        dataset.vocab,
        dataset.bert_config,
        dataset.root / "tokenizer.json",
        dataset.root / "tokenizer_config.json",
    ]
    outputs = [FileRecord.of(path) for path in own] + outputs
    settings = to_dict(run.config)
    config = {key: settings[key] for key in ("preset", "collect", "vocab", "split", "convert", "model")}
    if run.config.extends:
        config["extends"] = run.config.extends
    inputs = Manifest.read(manifest_of(dataset.data)).inputs
    manifest = Manifest(
        kind="dataset",
        id=dataset.dataset_id,
        config=config,
        inputs=inputs,
        outputs=outputs,
        statistics=totals
        | {
            "shards": sum(not name.startswith("heldout/") for name in names),
            "missing_shards": missing,
            "random_next_share": round(random_next / max(totals["examples"], 1), 4),
        },
    )
    # The audit has looked at every file: nothing large is read again.
    if dataset.manifest.is_file() and _same_but_for_its_time(Manifest.read(dataset.manifest), manifest):
        return Manifest.read(dataset.manifest)
    manifest.write(dataset.manifest)
    return manifest


def _same_but_for_its_time(one: Manifest, other: Manifest) -> bool:
    texts = [
        json.dumps(asdict(replace(manifest, made_at="", made_by="")), sort_keys=True)
        for manifest in (one, other)
    ]
    return texts[0] == texts[1]


def require_published(run: Run, objects: Mapping[str, Any] | None) -> Manifest:
    """The manifest of a complete dataset, whose objects are as it says: looked at as a whole.

    Raises:
        InputError: with the objects that are missing or have other bytes.
    """
    manifest = Manifest.read(run.dataset.manifest)
    faults = [
        f"{record.name} {'has other bytes' if record.name in objects else 'is missing'}"
        for record in manifest.outputs
        if objects is not None and not same(objects.get(record.name), record.checksums)
    ]
    if faults:
        raise InputError(
            f"{len(faults):,} objects are not what the manifest says: {'; '.join(faults[:MOST_NAMED])}",
            where=f"{run.address}{run.dataset.name}",
            do=repair(run.dataset_id, run.config.workspace),
        )
    return manifest


def dataset_files(run: Run) -> list[Path]:
    """What is published of a dataset beside its shards, the manifest last."""
    dataset = run.dataset
    return [
        *(
            dataset.root / record.name
            for record in Manifest.read(dataset.manifest).outputs
            if "/" not in record.name
        ),
        manifest_of(dataset.vocab),
        dataset.sources,
        dataset.report,
        dataset.config,
        manifest_of(dataset.data),
        dataset.manifest,
    ]


def training_job(run: Run) -> TrainingJob:
    """What the trainer is given. It reads the bucket where there is one, as it must on a TPU VM."""
    dataset, model, convert = run.dataset, run.model, run.config.convert
    earlier = run.earlier
    manifests = [Manifest.read(r.dataset.manifest) for r in (*earlier, run) if r.dataset.manifest.is_file()]
    first = [*earlier, run][0]
    return TrainingJob(
        training_data=run.at(dataset.training_data),
        earlier_data=tuple(extended.at(extended.dataset.training_data) for extended in earlier),
        heldout_data=first.at(first.dataset.heldout_training_data),
        vocab_file=run.at(dataset.vocab),
        output=str(model.root),
        publish_to=run.address + model.name if run.address else None,
        cache=str(Path(run.config.workspace) / "cache"),
        start_from_digest=run.start_from_digest,
        steps_before=run.steps_before,
        random_next_share=_random_next_share(manifests),
        trained_on=tuple(map(_trained_on, manifests)),
        license=run.config.upload.license,
        left_out=tuple(
            PurePath(dataset.tfrecord_name(name)).name
            for manifest in manifests
            for name in manifest.statistics.get("missing_shards", ())
        ),
        random_seed=convert.random_seed,
        do_lower_case=convert.do_lower_case,
        max_seq_length=convert.max_seq_length,
        max_predictions_per_seq=convert.max_predictions_per_seq,
        masked_lm_prob=convert.masked_lm_prob,
        bert_model=run.config.upload.bert_model,
        bert_evals=run.config.upload.bert_evals,
        model=run.config.model,
        train=run.config.train,
        evaluate=run.config.evaluate,
    )


def _trained_on(manifest: Manifest) -> TrainedOn:
    sources = tuple(source["name"] for source in manifest.config["collect"]["sources"])
    return TrainedOn(dataset_id=manifest.id, examples=manifest.statistics["examples"], sources=sources)


def _random_next_share(datasets: Sequence[Manifest]) -> float | None:
    """Of the examples of all of them; None where a manifest does not tell."""
    figures = [(m.statistics.get("random_next_share"), m.statistics["examples"]) for m in datasets]
    if not figures or any(share is None for share, _ in figures):
        return None
    total = sum(share * examples for share, examples in figures) / max(sum(n for _, n in figures), 1)
    return float(round(total, 4))


def trainer_work(run: Run, command: str) -> Work:
    """`train`, `evaluate` or `export` as work for a `TpuBackend`, its `config.yaml` written."""
    write_text(run.model.config, dump_yaml(training_job(run)))
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

"""The steps of a run, bound to the places of its files. The DAG's tasks and `qarib run` call these.

Every function here is idempotent: called again after it finished, or after it was killed at any instant, it
finds what is whole and redoes only the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qarib_tasks import corpus, shards, vocab
from qarib_tasks.audit import audit, broken, listed, shard_names
from qarib_tasks.config import RunConfig, TrainingJob, dump_yaml, from_dict, load_yaml, to_dict
from qarib_tasks.errors import InputError
from qarib_tasks.layout import DatasetLayout, ModelLayout, manifest_of
from qarib_tasks.manifest import FileRecord, Manifest, finished
from qarib_tasks.pretrained import find
from qarib_tasks.sources import AllowedSources
from qarib_tasks.storage import Bucket, write_text
from qarib_tasks.tpu.backend import Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A resolved request: its settings, and the names its dataset and its model have because of them."""

    config: RunConfig
    dataset_id: str
    model_id: str
    start_from_digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        names = ("dataset_id", "model_id", "start_from_digest")
        return {"config": to_dict(self.config)} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Run:
        return cls(**{**values, "config": from_dict(RunConfig, values["config"])})

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


def prepare(config: RunConfig, allowed: AllowedSources | None = None) -> Run:
    """Check the sources and name the run's dataset and model by a hash of all that changes them.

    Addresses are not part of the hash, contents are: the same text under another path is the same dataset. Of
    a file far away its address, size and version stand for the content, which is not fetched yet.

    Args:
        allowed: what sources may name, where others than the machine's owner name them; None for anything.

    Raises:
        ConfigError: there is no source, or one may not be read. InputError: a source names no file.
        StorageError: a bucket or web server does not answer as it should.
    """
    settings = to_dict(config)
    data = {name: settings[name] for name in ("collect", "vocab", "split", "convert")}
    files = corpus.list_sources(config.collect, allowed)
    for values, some in zip(data["collect"]["sources"], files.values(), strict=True):
        del values["path"]
        values["files"] = [
            FileRecord.of(file.path).sha256 if file.path else [file.address, file.bytes, file.version]
            for file in some
        ]
    if vocab_file := config.vocab.vocab_file:
        if allowed:
            allowed.check(vocab_file, "vocab.vocab_file")
        data["vocab"]["vocab_file"] = FileRecord.of(_vocab_file(config)).sha256
    dataset_id = f"{config.preset}-{_short_hash(data)}"
    model = {name: settings[name] for name in ("model", "train", "evaluate")}
    del model["train"]["recovery_minutes"]  # nothing in the model depends on it
    digest = ""
    if start_from := model["train"].pop("start_from"):
        if allowed:
            allowed.check(start_from, "train.start_from")
        digest = model["train"]["start_from"] = find(start_from).digest
    run = Run(config, dataset_id, f"{config.preset}-{_short_hash([dataset_id, model])}", digest)
    write_text(run.dataset.config, dump_yaml(config))
    return run


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


def _short_hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def collect_source(run: Run, name: str, allowed: AllowedSources | None = None) -> None:
    """One source's part of `collect`, which may be done beforehand: each source in a task of its own."""
    corpus.collect_source(
        run.config.collect, name, run.dataset.data, cache=_fetched_sources(run), allowed=allowed
    )


def collect(run: Run, allowed: AllowedSources | None = None) -> Manifest:
    """Sources → `data.txt`, `heldout/data.txt` and `report.html`."""
    return corpus.collect(
        run.config.collect,
        run.dataset.data,
        heldout=run.dataset.heldout_data,
        random_seed=run.config.convert.random_seed,
        cache=_fetched_sources(run),
        allowed=allowed,
    )


def _fetched_sources(run: Run) -> Path:
    return Path(run.config.workspace) / "cache" / "sources"


def _vocab_file(config: RunConfig) -> Path:
    """The vocabulary that is to be kept, on this machine: one in a bucket is fetched once a version."""
    address = config.vocab.vocab_file
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


def build_vocab(run: Run) -> Manifest:
    """`data.txt` → `vocab.txt`, and `tokenizer.json`, `tokenizer_config.json`, `bert_config.json`."""
    convert = run.config.convert
    given = str(_vocab_file(run.config)) if run.config.vocab.vocab_file else ""
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
        the shards' names below the dataset's folder, those of the held-out part last.
    """
    for data in (run.dataset.data, run.dataset.heldout_data):
        shards.split(data, run.dataset.shards(data), run.config.split)
    return shard_names(run.dataset)


def convert(run: Run, shard: str) -> Manifest:
    """One shard → TFRecords and, beside them, the shard's manifest."""
    # numpy, which it brings along, is a good part of what importing a DAG file costs.
    from qarib_tasks.pretraining_data import convert_shard

    dataset = run.dataset
    return convert_shard(dataset.shard(shard), dataset.vocab, dataset.tfrecord(shard), run.config.convert)


def shard_files(run: Run, shard: str) -> list[Path]:
    """The files of a converted shard that are published: the TFRecords, then their manifest."""
    tfrecord = run.dataset.tfrecord(shard)
    return [tfrecord, manifest_of(tfrecord)]


def finish_dataset(run: Run, objects: Mapping[str, Any] | None = None) -> Manifest:
    """Write the dataset's manifest, once every shard is whole.

    Args:
        objects: what the bucket holds below the dataset's folder, see `audit.audit`.

    Raises:
        InputError: with the shards that are missing, failed or corrupt, and why.
    """
    dataset = run.dataset
    states = audit(dataset, objects)
    if faults := broken(states):
        raise InputError(
            f"{len(faults):,} of {len(states):,} shards are not whole: {listed(faults, '; ')}",
            where=dataset.dataset_id,
            do=f"Trigger the DAG qarib_backfill_shards for the dataset {dataset.dataset_id}",
        )
    names = [state.name for state in states]
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
    inputs = Manifest.read(manifest_of(dataset.data)).inputs
    if (done := finished(dataset.manifest, config=config, inputs=inputs)) and list(done.outputs) == outputs:
        return done
    manifest = Manifest(
        kind="dataset",
        id=dataset.dataset_id,
        config=config,
        inputs=inputs,
        outputs=outputs,
        statistics=totals
        | {
            "shards": sum(not name.startswith("heldout/") for name in names),
            "random_next_share": round(random_next / max(totals["examples"], 1), 4),
        },
    )
    manifest.write(dataset.manifest)
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
        dataset.report,
        dataset.config,
        manifest_of(dataset.data),
        dataset.manifest,
    ]


def training_job(run: Run) -> TrainingJob:
    """What the trainer is given. It reads the bucket where there is one, as it must on a TPU VM."""
    dataset, model, convert = run.dataset, run.model, run.config.convert
    at = (
        (lambda path: run.address + path.relative_to(run.config.workspace).as_posix()) if run.address else str
    )
    done = dataset.manifest.is_file()
    return TrainingJob(
        training_data=at(dataset.training_data),
        heldout_data=at(dataset.heldout_training_data),
        vocab_file=at(dataset.vocab),
        output=str(model.root),
        publish_to=run.address + model.name if run.address else None,
        cache=str(Path(run.config.workspace) / "cache"),
        start_from_digest=run.start_from_digest,
        random_next_share=Manifest.read(dataset.manifest).statistics.get("random_next_share")
        if done
        else None,
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
    if run.address:
        bucket = Bucket(run.address)
        published = [path for name in names for path in shard_files(run, name)] + dataset_files(run)
        for path in published:
            bucket.upload(path, path.relative_to(run.config.workspace).as_posix())
    for command in ("train", "evaluate", "export"):
        work(trainer_work(run, command))
    return Manifest.read(run.model.manifest)

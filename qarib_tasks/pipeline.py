"""The steps of a run, bound to the run's files. The tasks of the DAG and `qarib run` call these functions.

Every function is idempotent. If you call it again after it finished, or after it was killed at any instant,
it keeps the complete files and redoes only the rest. The folder of a dataset is ours (`adopt`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qarib_tasks.config.conversion import heldout_settings
from qarib_tasks.config.evaluation import FREE_TASKS
from qarib_tasks.config.identity import recorded_settings
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.usual import unusual_settings, void_next_sentence
from qarib_tasks.corpus import collect as collect_step
from qarib_tasks.corpus import losses
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.dataset import ledger
from qarib_tasks.dataset.audit import shard_names
from qarib_tasks.dataset.ledger import by_source, read_plan
from qarib_tasks.dataset.split import split as split_text
from qarib_tasks.errors import InputError
from qarib_tasks.labelled.staged import is_task_file, write_task
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.layout import FETCHED, DatasetLayout, is_heldout
from qarib_tasks.machines.backend import Work
from qarib_tasks.runs import contamination
from qarib_tasks.runs.completion import dataset_files, finish_dataset
from qarib_tasks.runs.names import dataset_name
from qarib_tasks.runs.prepare import vocab_file_of
from qarib_tasks.runs.run import Run, ledger_of, write_settings
from qarib_tasks.runs.training_job import TRAINER_COMMANDS, datasets_of, random_next_share, training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.storage.ownership import Earlier, write_kept
from qarib_tasks.storage.working_folder import only_one
from qarib_tasks.train.results.finetuned import read_table, require_results
from qarib_tasks.vocabulary.build import build_vocab as build_vocabulary

log = logging.getLogger(__name__)


def warn_of_settings(run: Run) -> None:
    """Warn of settings that are far outside what worked elsewhere.

    Also of a next-sentence task that teaches nothing, if the run's dataset exists already.
    """
    share = random_next_share(datasets_of(run))
    unusual = unusual_settings(run.config.train, run.config.model, run.config.convert)
    for line in unusual + void_next_sentence(run.config.train, share):
        log.warning("%s", line)


def sources(run: Run) -> list[str]:
    """Return the names of the sources to collect."""
    return [] if run.first_step != "collect" else [source.name for source in run.config.collect.sources]


def collect_source(run: Run, name: str, allowed: AllowedSources | None = None) -> None:
    """Collect one source ahead of `collect`, so that each source can have a task of its own."""
    collect_step.collect_source(
        run.config.collect,
        name,
        run.dataset.data,
        cache=_fetched_sources(run),
        allowed=allowed,
        files=by_source(read_plan(run.dataset.sources)),
    )


def collect(run: Run, allowed: AllowedSources | None = None) -> Manifest:
    """Sources → `data.txt`, `heldout/data.txt` and a page about them.

    Documents that contain test texts of the run's tasks are left out; in a text that exists, they are
    counted.
    """
    texts = contamination.task_texts(run) if run.config.evaluate.tasks else None
    if run.first_step != "collect":
        manifest = Manifest.complete(manifest_of(run.dataset.data))
        if texts:
            contamination.count(run, texts)
            _log_lines(_notes(run))
        return manifest
    manifest = collect_step.collect(
        run.config.collect,
        run.dataset.data,
        heldout=run.dataset.heldout_data,
        random_seed=run.config.convert.random_seed,
        cache=_fetched_sources(run),
        allowed=allowed,
        files=by_source(read_plan(run.dataset.sources)),
        earlier={e.dataset_id: _texts(e) for e in run.earlier},
        without=texts,
        adopt=True,
    )
    if texts:
        contamination.count(run, texts)
    _log_lines(losses_of(run))
    return manifest


def _log_lines(lines: Sequence[str]) -> None:
    for line in lines:
        log.log(logging.WARNING if line.startswith("warning") else logging.INFO, "%s", line)


def losses_of(run: Run) -> list[str]:
    """Return lines on what the run's corpus has lost; none if its manifest is not in the workspace."""
    path = manifest_of(run.dataset.data)
    if not path.is_file():
        return []
    manifest = Manifest.read(path)
    return [*losses.lines(manifest.statistics, manifest.config), *_notes(run)]


def _notes(run: Run) -> list[str]:
    """Return warnings of test texts in the text that the model is trained on."""
    if not run.config.evaluate.tasks:
        return []
    return [f"warning: {line}" for line in contamination.notes(run, contamination.task_texts(run))]


def _texts(run: Run) -> list[Path]:
    """Return the paths of a dataset's collected text and of its held-out part.

    Raises:
        InputError: the workspace no longer has them.
    """
    texts = [run.dataset.data, run.dataset.heldout_data]
    for path in texts:
        if not path.is_file():
            raise InputError(
                "the text of the extended dataset no longer exists, so its duplicates cannot be found",
                where=path,
                do=f"Run the DAG that made {run.dataset_id} again with the same settings",
            )
    return texts


def record_sources(run: Run, client: Any = None) -> None:
    """Record the source files of the complete dataset in the ledger.

    Args:
        client: a `google.cloud.storage.Client`.
    """
    if not run.dataset.sources.is_file():  # An older version made this dataset.
        return
    records = Manifest.complete(manifest_of(run.dataset.data)).inputs
    files = ledger.consumed(run.dataset.sources, records, run.dataset_id)
    ledger.record(ledger_of(run, client), run.dataset_id, files)


def _fetched_sources(run: Run) -> Path:
    return Path(run.config.workspace) / FETCHED


def build_vocab(run: Run) -> Manifest:
    """`data.txt` → `vocab.txt`, and `tokenizer.json`, `tokenizer_config.json`, `bert_config.json`."""
    if run.first_step != "collect":
        return Manifest.complete(manifest_of(run.dataset.vocab))
    convert = run.config.convert
    given = str(vocab_file_of(run.config)) if run.config.vocab.vocab_file else ""
    if given and not run.config.extends:
        _require_same_vocabulary(run, Path(given))
    manifest = build_vocabulary(
        run.dataset.data,
        run.dataset.vocab,
        replace(run.config.vocab, vocab_file=given),
        do_lower_case=convert.do_lower_case,
        random_seed=convert.random_seed,
        adopt=True,
    )
    bert_config = recorded_settings(run.config.model) | {"vocab_size": run.config.vocab.vocab_size}
    text = json.dumps(bert_config, indent=2, sort_keys=True) + "\n"
    write_kept(run.dataset.bert_config, text, Earlier.read(run.dataset.manifest))
    return manifest


def _require_same_vocabulary(run: Run, path: Path) -> None:
    """Require that a vocabulary to keep is the one after which the dataset is named.

    Raises:
        InputError: it is not.
    """
    if not run.dataset.sources.is_file():  # An older version made this dataset.
        return
    digest = FileRecord.of(path).sha256
    if dataset_name(run.config, read_plan(run.dataset.sources), digest) != run.dataset_id:
        raise InputError(
            "the vocabulary changed after the run was prepared",
            where=run.config.vocab.vocab_file,
            do="Start a new run",
        )


def split(run: Run) -> list[str]:
    """`data.txt` and `heldout/data.txt` → shards.

    Returns:
        the names of the shards below the dataset's folder, with the held-out part last; empty for a run that
        only trains.
    """
    if run.only_training:
        return []
    for data in (run.dataset.data, run.dataset.heldout_data) if run.first_step == "collect" else ():
        folder = run.dataset.shards(data)
        split_text(data, folder, run.config.split, _shards_before(run, folder), adopt=True)
    return shard_names(run.dataset)


def _shards_before(run: Run, folder: Path) -> int | None:
    """Count the shards in this folder of the extended datasets. None if the run extends no dataset."""
    if not run.config.extends:
        return None
    part = folder.relative_to(run.dataset.root).as_posix() + "/"
    names = [name for earlier in run.earlier for name in shard_names(earlier.dataset)]
    return sum(name.startswith(part) for name in names)


def convert(run: Run, shard: str) -> Manifest:
    """One shard → TFRecords and, beside them, the shard's manifest."""
    # It imports numpy, which would dominate the time that Airflow needs to parse a DAG file.
    from qarib_tasks.conversion.convert import convert_shard

    dataset, config = run.dataset, run.config.convert
    if is_heldout(shard):
        config = heldout_settings(config)
    return convert_shard(dataset.shard(shard), dataset.vocab, dataset.tfrecord(shard), config, adopt=True)


def shard_files(run: Run, shard: str) -> list[Path]:
    """Return the files to publish for a converted shard: the TFRecords, then their manifest."""
    tfrecord = run.dataset.tfrecord(shard)
    return [tfrecord, manifest_of(tfrecord)]


def read_tasks(config: RunConfig, allowed: AllowedSources | None = None) -> list[LabelledTask]:
    """Read and check a run's labelled tasks. One error lists the problems of all."""
    from qarib_tasks.labelled import reading as labelled

    return labelled.read_tasks(config.evaluate.tasks, Path(config.workspace) / FETCHED, allowed)


def stage_tasks(run: Run, tasks: Sequence[LabelledTask]) -> None:
    """Labelled tasks → `tasks/<name>.jsonl` in the model's folder, which the trainer reads."""
    for task in tasks:
        write_task(task, run.model.task(task.name))


def stage_free_tasks(run: Run) -> None:
    """Held-out part → the tasks that it gives, in the model's folder, like `stage_tasks`.

    A run that extends datasets is scored on the held-out part of the first one, as its loss is, so that its
    figures can be compared with those of the models before.
    """
    from qarib_tasks.labelled.free import free_tasks

    if not run.config.evaluate.free_tasks:
        return
    dataset = [*run.earlier, run][0].dataset
    if not dataset.heldout_data.is_file():  # Only the shards came here, for example from a bucket.
        log.info("%s: no such file, so the corpus gives no tasks", dataset.heldout_data)
        return
    tasks = free_tasks(dataset.heldout_data, _heldout_documents(dataset))
    stage_tasks(run, tasks)
    for name in set(FREE_TASKS) - {task.name for task in tasks}:
        if is_task_file(path := run.model.task(name)):  # of another version of qarib
            path.unlink()


def _heldout_documents(dataset: DatasetLayout) -> dict[str, int]:
    """Return the number of held-out documents of each source, in the order of the text; empty if unknown."""
    path = manifest_of(dataset.data)
    if not path.is_file():
        return {}
    manifest = Manifest.read(path)
    sources: Mapping[str, Any] = manifest.statistics.get("sources", {})
    names = [source["name"] for source in manifest.config.get("sources", ())]
    return {name: sources.get(name, {}).get("heldout_documents", 0) for name in names}


def trainer_work(run: Run, command: str) -> Work:
    """Write the trainer's `config.yaml` and return `train`, `evaluate` or `export` as work for a "
    "`Backend`."""
    write_settings(run.model.config, training_job(run))
    return Work(command, (command, "--config", str(run.model.config)), run.model.root)


def finetunings(run: Run) -> list[dict[str, Any]]:
    """Return the task's name and the seed of each fine-tuning; none unless tasks and `finetune` are set."""
    evaluate = run.config.evaluate
    if not evaluate.finetune:
        return []
    return [
        {"name": task.name, "seed": seed}
        for task in evaluate.tasks
        for seed in range(1, evaluate.finetune_seeds + 1)
    ]


def finetuning_work(run: Run, name: str, seed: int) -> Work:
    """Return the fine-tuning on one task with one seed as work for a `Backend`."""
    arguments = (*_finetune(run), "--name", name, "--seed", str(seed))
    return Work(f"seed-{seed}", arguments, run.model.finetuning(name))


def finetuning_table_work(run: Run) -> Work:
    """Return the table of all fine-tunings as work for a `Backend`."""
    names = [word for task in run.config.evaluate.tasks for word in ("--name", task.name)]
    arguments = (*_finetune(run), *names, "--table", "--seeds", str(run.config.evaluate.finetune_seeds))
    return Work("finetuning-table", arguments, run.model.root)


def _finetune(run: Run) -> tuple[str, ...]:
    train = run.config.train
    xla = "--xla" if train.xla else "--no-xla"
    return "finetune", str(run.model.root), "--backend", train.backend, "--precision", train.precision, xla


def require_finetunings(run: Run) -> None:
    """Require that the table has a result of every fine-tuning.

    Raises:
        InputError: some are missing; the error names all.
    """
    names = {task.name for task in run.config.evaluate.tasks}
    require_results([entry for entry in read_table(run.model) if entry["name"] in names])


def make_dataset(run: Run) -> list[str]:
    """Run the steps from the sources to the TFRecords, and return the names of the shards."""
    # First: a wrong task is an error before hours of work.
    stage_tasks(run, read_tasks(run.config))
    collect(run)
    stage_free_tasks(run)
    build_vocab(run)
    names = split(run)
    for name in names:
        convert(run, name)
    return names


def run_all(run: Run, work: Callable[[Work], None]) -> Manifest:
    """Run all steps without Airflow. `work` runs a trainer command and waits for it.

    A second run of the same dataset or model on this machine waits until the first has ended.

    Returns:
        the model's manifest.
    """
    with only_one(run.model.root):
        with only_one(run.dataset.root):
            warn_of_settings(run)
            _publish_dataset(run, make_dataset(run))
        return _train(run, work)


def _publish_dataset(run: Run, names: Sequence[str]) -> None:
    finish_dataset(run)
    record_sources(run)
    if run.address:
        bucket = Bucket(run.address)
        published = [path for name in names for path in shard_files(run, name)] + dataset_files(run)
        for path in published:
            bucket.upload(path, path.relative_to(run.config.workspace).as_posix())


def _train(run: Run, work: Callable[[Work], None]) -> Manifest:
    for command in TRAINER_COMMANDS:
        work(trainer_work(run, command))
    for one in finetunings(run):
        work(finetuning_work(run, one["name"], one["seed"]))
    if finetunings(run):
        work(finetuning_table_work(run))
    return Manifest.read(run.model.manifest)

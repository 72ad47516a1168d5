"""A run with any number of shards, as its manifests tell of it, without converting anything."""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from qarib_airflow.reporting import waits
from qarib_airflow.reporting.reasons import KEY

from qarib_tasks.labelled.scores import scores
from qarib_tasks.labelled.staged import write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.layout import DatasetLayout
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.views.files import Cache, Files, Stored
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.shards import ShardTask
from qarib_tasks.views.way import ENDED

HOSTILE = "<script>document.title='taken'</script>"
FIGURES = {"examples": 1157, "lines": 512, "documents": 100, "words": 9000, "wordpieces": 12000}


@dataclass
class MadeUpRun:
    """A run whose shards are all converted and uploaded, its files below `workspace`."""

    workspace: Path
    record: RunRecord
    names: list[str]
    tasks: list[ShardTask] = field(default_factory=list)

    @property
    def dataset(self) -> DatasetLayout:
        assert self.record.dataset is not None
        return self.record.dataset

    def upload(self, bucket: Path) -> None:
        """Have the dataset's files in a `FolderBucket`."""
        shutil.copytree(self.dataset.root, bucket / self.dataset.name, dirs_exist_ok=True)

    def upload_to(self, emulator: str, bucket: str) -> None:
        """Have the dataset's files in a bucket of an emulator of Cloud Storage."""
        from google.cloud.storage import transfer_manager

        own = emulator_bucket(emulator, bucket)
        if not own.exists():
            own.create()
        files = [path for path in self.dataset.root.rglob("*") if path.is_file()]
        pairs = [(str(p), own.blob(p.relative_to(self.workspace).as_posix())) for p in files]
        transfer_manager.upload_many(pairs, worker_type="thread", max_workers=8, raise_exception=True)


def emulator_bucket(emulator: str, bucket: str) -> Any:
    """A bucket of an emulator, by the emulator's address."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": emulator}
    client = storage.Client(project="emulator", credentials=AnonymousCredentials(), client_options=options)
    return client.bucket(bucket)


def make_run(
    workspace: Path, shards: int, *, dataset_id: str = "demo-00000000aa", hostile: bool = False
) -> MadeUpRun:
    """Write manifests and small TFRecords of so many shards, and one of the held-out part.

    Args:
        hostile: names of sources, reasons and samples hold HTML.
    """
    config = {
        "preset": "demo",
        "workspace": str(workspace),
        "upload": {"bucket": "qarib"},
        "tpu": {"machine": "local"},
    }
    values = {"config": config, "dataset_id": dataset_id, "model_id": "demo-00000000bb"}
    record = RunRecord(dag_id="qarib_pretrain", run_id="made-up", state="success", values=values)
    dataset = record.dataset
    assert dataset is not None
    names = [f"shards/shard_{number:04d}" for number in range(shards)]
    heldout = ["heldout/shards/shard_0000"]
    for folder, of in (("shards", names), ("heldout/shards", heldout)):
        part = folder.removesuffix("shards")
        outputs = [FileRecord(name.removeprefix(part), 9, "0" * 64, "AAAAAA==") for name in of]
        Manifest(kind="shards", id="shards", outputs=outputs).write(manifest_of(dataset.root / folder))
    outputs = []
    for number, name in enumerate([*names, *heldout]):
        file = dataset.tfrecord(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"records of " + name.encode())
        sample = [
            {"example": 0, "next_sentence": "random", "text": HOSTILE if hostile else "قال {رسول→[MASK]}"}
        ]
        own = FileRecord.of(file)
        Manifest(
            kind="shard",
            id=file.stem,
            outputs=[own],
            statistics=FIGURES | {"unknown_share": 0.001 * (number % 3)},
            sample=sample,
        ).write(manifest_of(file))
        outputs.append(replace(own, name=dataset.tfrecord_name(name)))
    sizes = {"shards": shards, "examples": 1157 * shards, "bytes": sum(o.bytes for o in outputs)}
    Manifest(kind="dataset", id=dataset_id, outputs=outputs, statistics=sizes).write(dataset.manifest)
    source = {
        "files": 1,
        "documents": 90,
        "documents_read": 100,
        "lines": 500,
        "words": 9000,
        "bytes": 60_000,
    }
    source |= {"duplicates": 10, "heldout_documents": 0, "samples": [["قال  قال", "قال قال"]]}
    if hostile:
        source["samples"] = [[HOSTILE, ""]]
    corpus = {name: value for name, value in source.items() if isinstance(value, int)}
    corpus |= {"changed": {"elongation": 3, "urls": 0}, "dropped": {"arabic_share": 2}}
    corpus |= {"line_words": {"4-5": 7, "1": 2, "1024+": 1}, "document_lines": {"2": 5}}
    corpus |= {"sources": {HOSTILE if hostile else "tweets": source}}
    Manifest(kind="corpus", id="data", statistics=corpus).write(manifest_of(dataset.data))
    vocabulary = {"vocab_size": 3000, "words": 9000}
    Manifest(kind="vocabulary", id="vocab.txt", statistics=vocabulary, sample=["بن", "عن"]).write(
        manifest_of(dataset.vocab)
    )
    tasks = [
        ShardTask(step, index, "success", 1, 1000.0 + index, 1001.0 + index, name.replace("shards/", ""))
        for index, name in enumerate([*names, *heldout])
        for step in ("convert", "upload")
    ]
    return MadeUpRun(workspace, record, [*names, *heldout], tasks)


class FolderBucket:
    """A `BucketAccess` over a folder that counts what is asked of it."""

    address = "gs://qarib/"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def list(self, below: str) -> list[Stored]:
        self.asked.append(f"list {below}")
        found = sorted(path for path in (self.folder / below).rglob("*") if path.is_file())
        return [self._stored(path) for path in found]

    def _stored(self, path: Path) -> Stored:
        about = checksums(path)
        return Stored(path.relative_to(self.folder).as_posix(), about.bytes, about.crc32c)

    def read(self, name: str, last: int = 0) -> bytes | None:
        self.asked.append(f"read {name}")
        path = self.folder / name
        return path.read_bytes()[-last:] if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_training(folder: Path, *, steps: int, at: str, state: str = "training") -> None:
    """Write history, evaluations, a checkpoint and progress.json of a training, `at` a time in ISO format."""
    lines = [
        {"step": step, "loss": 9 - step / 10, "masked_lm_loss": 8 - step / 10} for step in range(1, steps + 1)
    ]
    (folder / "bert_model").mkdir(parents=True, exist_ok=True)
    (folder / "bert_evals").mkdir(exist_ok=True)
    (folder / "bert_model/history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / f"bert_model/checkpoint-{steps}.json").write_text("{}")
    for step in (0, steps):
        evaluation: dict[str, Any] = {
            "step": step,
            "masked_lm_loss": 8.0 - step / 10,
            "masked_lm_accuracy": 0.1,
        }
        guess = {"word": "الله" if step else "في", "probability": 0.5}
        evaluation["fill_mask"] = [{"text": "رسول [MASK]", "words": [guess] * 5}]
        (folder / f"bert_evals/evaluation-{step}.json").write_text(json.dumps(evaluation))
    progress = {**lines[-1], "state": state, "train_steps": 100, "updated_at": at}
    (folder / "progress.json").write_text(json.dumps(progress))


def arabic_task(
    name: str, *, labels: Sequence[str] = ("negative", "neutral", "positive"), hostile: bool = False
) -> LabelledTask:
    """Numbered texts whose labels take turns: four of each label to train on, twenty to test."""
    start = HOSTILE if hostile else "الخدمة ممتازة"

    def part(kind: str, count: int) -> LabelledPart:
        texts = (f"{start} {kind} {number}" for number in range(count))
        return LabelledPart(tuple(texts), tuple(number % len(labels) for number in range(count)))

    train, test = part("train", 4 * len(labels)), part("test", 20 * len(labels))
    return LabelledTask(name=name, metric="macro_f1", labels=tuple(labels), train=train, test=test)


def predicted(task: LabelledTask, every: int) -> list[int]:
    """The labels of the test texts, each so many-th wrong."""
    return [
        (label + 1) % len(task.labels) if number % every == 0 else label
        for number, label in enumerate(task.test.labels)
    ]


def write_probes(folder: Path, step: int, *tasks: LabelledTask, every: int, sample: int = 0) -> None:
    """Write an evaluation with probes that predict each so many-th text wrongly.

    Args:
        sample: the number of test texts that are used; 0 for all.
    """
    results, labels = [], []
    for task in tasks:
        staged = write_task(task, folder / f"tasks/{task.name}.jsonl")
        part = task.test.first(sample) if sample else task.test
        guessed = predicted(task, every)[: len(part)]
        found = scores(task, part.labels, guessed)
        result = {"name": task.name, "metric": task.metric, "value": found.score, "low": found.low}
        result |= {
            "high": found.high,
            "most_frequent": 0.2,
            "tfidf": 0.5,
            "tfidf_low": 0.4,
            "tfidf_high": 0.6,
        }
        result |= {"train_texts": len(task.train), "all_train_texts": len(task.train)}
        result |= {"test_texts": len(part), "all_test_texts": len(task.test), "labels": task.labels}
        if len(task.labels) <= 50:
            result["confusion"] = found.confusion
        results.append(result | {"sha256": staged.sha256})
        labels.append({"name": task.name, "sha256": staged.sha256, "predicted": guessed})
    evals = folder / "bert_evals"
    evals.mkdir(parents=True, exist_ok=True)
    figures = {"step": step, "masked_lm_loss": 8.0, "masked_lm_accuracy": 0.1, "tasks": results}
    (evals / f"evaluation-{step}.json").write_text(json.dumps(figures))
    (evals / "probe_predictions.json").write_text(json.dumps({"step": step, "tasks": labels}))


def write_tuning(folder: Path, *tasks: LabelledTask, every: int, missing: Sequence[int] = ()) -> None:
    """Write the results of a fine-tuning with the seeds 0 to 2. Seed 0 predicts each so many-th text wrongly,
    the others fewer.
    """
    rows = []
    for task in tasks:
        staged = write_task(task, folder / f"tasks/{task.name}.jsonl")
        seeds, matrices = [], []
        for seed in (one for one in range(3) if one not in missing):
            guessed = predicted(task, every + seed)
            found = scores(task, task.test.labels, guessed)
            path = folder / f"bert_evals/finetuning/{task.name}/{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"predicted": guessed, "value": found.score}))
            matrices.append(found.confusion)
            seeds.append(
                {"seed": seed, "rate": 2e-5, "value": found.score, "low": found.low, "high": found.high}
            )
        values = [float(one["value"]) for one in seeds]
        row: dict[str, Any] = {"name": task.name, "metric": task.metric, "sha256": staged.sha256}
        row |= {"labels": task.labels, "mean": statistics.mean(values), "sd": statistics.pstdev(values)}
        row |= {"seeds": seeds, "missing": list(missing), "most_frequent": 0.2, "tfidf": 0.5}
        row |= {"tfidf_low": 0.4, "tfidf_high": 0.6, "test_texts": len(task.test)}
        confusion = [
            [sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)
        ]
        rows.append(row | {"confusion": confusion})
    (folder / "bert_evals/tasks.json").write_text(json.dumps({"tasks": rows}))


def insert_run(database: Path, *runs: MadeUpRun, note: str | None = None) -> None:
    """Have Airflow's own database (SQLite) tell of runs, as if their tasks had run."""
    with sqlite3.connect(database, timeout=60) as connection:
        for run in runs:
            _insert(connection, run, note)
    connection.close()


def _insert(connection: sqlite3.Connection, run: MadeUpRun, note: str | None) -> None:
    record, now = run.record, datetime.now(UTC).replace(tzinfo=None)

    def stamp(seconds: float | None) -> str | None:
        return None if seconds is None else str(now - timedelta(hours=1) + timedelta(seconds=seconds - 1000))

    (number,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM dag_run").fetchone()

    def insert(table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))

    of = {"dag_id": record.dag_id, "run_id": record.run_id}
    insert(
        "dag_run", id=number, **of, run_type="manual", run_after=str(now), state=record.state,
        start_date=stamp(1000), end_date=stamp(4600) if record.state in ENDED else None, conf="{}",
    )  # fmt: skip
    if note is not None:
        times = {"created_at": str(now), "updated_at": str(now)}
        insert("dag_run_note", dag_run_id=number, content=note, **times)
    common = of | {"max_tries": 2, "pool": "default_pool", "pool_slots": 1, "queue": "default"}
    for task_id, states in (record.steps or {"preflight": {"success": 1}}).items():
        for state, times in states.items():
            for index in range(times):
                insert(
                    "task_instance", id=uuid.uuid4().hex, task_id=task_id, try_number=1, **common,
                    state=None if state == "none" else state, map_index=index if times > 1 else -1,
                )  # fmt: skip
    kept = [("preflight", -1, "return_value", dict(record.values))] if record.values else []
    for one in record.reasons:
        texts = {"kind": one.kind, "what": one.what, "where": one.where, "do": one.do}
        kept.append((one.task, one.map_index, KEY, texts))
    if record.waits:
        waiting = next(task for task, states in record.steps.items() if {*states} & {*waits.WAITING})
        kept.append((waiting, -1, waits.KEY, {"kind": "turn", "text": record.waits}))
    for task_id, index, key, value in kept:
        insert(
            "xcom", dag_run_id=number, task_id=task_id, map_index=index, key=key, **of,
            value=json.dumps(value), timestamp=str(now),
        )  # fmt: skip
    for task in run.tasks:
        insert(
            "task_instance", id=uuid.uuid4().hex, task_id=f"shard.{task.step}", map_index=task.map_index,
            state=task.state, try_number=task.tries, start_date=stamp(task.started),
            end_date=stamp(task.ended), rendered_map_index=task.label, **common,
        )  # fmt: skip


def files(run: MadeUpRun, bucket: FolderBucket | None, *, local: bool = True) -> Files:
    return Files(run.workspace if local else None, bucket, Cache())


def states(view: dict[str, object]) -> dict[str, str]:
    shards = view["shards"]
    assert isinstance(shards, list)
    return {
        shard["name"].rpartition("_")[2] if "heldout" not in shard["name"] else "heldout": shard["state"]
        for shard in shards
    }

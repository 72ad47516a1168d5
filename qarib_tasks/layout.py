"""Where everything that a run makes is: the same names below the workspace and the bucket's prefix.

This module alone knows the names of these folders and files; tests/test_layout_names.py checks that no other
one states them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

# Below the workspace and the bucket's prefix.
DATASETS = "datasets"
MODELS = "models"
LEDGER = "sources.json"
PREVIEW = "preview.json"
PROMOTED = f"{MODELS}/promoted.json"
# Below the workspace only: what is downloaded, and whose turn it is.
CACHE = "cache"
FETCHED, VOCABULARIES, TURNS = f"{CACHE}/sources", f"{CACHE}/vocab", f"{CACHE}/turns"
CHECKSUMS = f"{CACHE}/checksums"  # of the files of a dataset that were compared with their manifests
LAUNCH = "launch"  # Below the prefix only: what a TPU is started with.
# In the folder of a dataset or a model.
MANIFEST = "manifest.json"
SETTINGS = "config.yaml"
PROGRESS = "progress.json"
HELDOUT = "heldout/"
SHARDS = "shards/"
TFRECORD = ".tfrecord"
TENSORBOARD = "tensorboard"
EXPORT, TASKS, TPU = "export", "tasks", "tpu"
# Unless a run chooses others.
PRETRAINING_DATA, BERT_MODEL, BERT_EVALS = "pretraining_data/", "bert_model/", "bert_evals/"
# Beside a vocabulary, and in an exported model.
VOCAB = "vocab.txt"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
BERT_CONFIG = "bert_config.json"
HUGGING_FACE_CONFIG = "config.json"
HUGGING_FACE_WEIGHTS = "model.safetensors"
MODEL_CARD = "README.md"
REPORT = "report.html"  # Beside a corpus.
START_FROM = "start_from"  # In a cache and in the launch folder: weights that a training starts from.
# In the folder of a TPU job: its memory and, in a folder per TPU, what its workers write and read.
MEMORY = "memory.json"
WORKER = "worker-"
STOP = "stop"
# The id of a dataset or a model, as a regular expression: the preset and a hash.
ID = "[a-z0-9_]+-[0-9a-f]{10}"
MAX_NAME = 63
_SHARD = "shard_"
_SHARD_FILE = re.compile(rf"{_SHARD}\d{{4}}")
_INDEX, _STATE = ".json", ".safetensors"
_CHECKPOINT, _RECOVERY = "checkpoint", "recovery"
_CHECKPOINT_INDEX = re.compile(rf"({_CHECKPOINT}|{_RECOVERY})-(\d+){re.escape(_INDEX)}")
_EVALUATION = re.compile(r"evaluation-(\d+)\.json")


class ModelFolders(Protocol):
    """Names of folders, each with a slash at its end: an `UploadConfig` has them, and a `TrainingJob`."""

    @property
    def bert_model(self) -> str: ...

    @property
    def bert_evals(self) -> str: ...


class DatasetFolders(Protocol):
    """As `ModelFolders`: an `UploadConfig` has it."""

    @property
    def pretraining_data(self) -> str: ...


def dataset_folder(workspace: Path, dataset_id: str) -> Path:
    return workspace / DATASETS / dataset_id


def model_folder(workspace: Path, model_id: str) -> Path:
    return workspace / MODELS / model_id


@dataclass(frozen=True)
class DatasetLayout:
    """`datasets/<dataset_id>/`.

    A shard's name is its path below the dataset's folder: `shards/shard_0000`, or
    `heldout/shards/shard_0000` for a shard of the held-out part.
    """

    workspace: Path
    dataset_id: str
    upload: DatasetFolders

    @property
    def name(self) -> str:
        """The folder's name below the workspace and below the bucket's prefix, ending with a slash."""
        return f"{DATASETS}/{self.dataset_id}/"

    def name_of(self, path: Path) -> str:
        """The name of a file of the dataset below the workspace and below the bucket's prefix."""
        return self.name + path.relative_to(self.root).as_posix()

    @property
    def root(self) -> Path:
        return dataset_folder(self.workspace, self.dataset_id)

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    @property
    def config(self) -> Path:
        """The `RunConfig` of the last run that asked for this dataset, as YAML."""
        return self.root / SETTINGS

    @property
    def sources(self) -> Path:
        """The files that are collected, as `ledger.write_plan` writes them."""
        return self.root / LEDGER

    @property
    def data(self) -> Path:
        return self.root / "data.txt"

    @property
    def preview(self) -> Path:
        """What the preflight saw in the sources: a `Preview` of each, as JSON."""
        return self.root / PREVIEW

    @property
    def heldout(self) -> Path:
        return self.root / HELDOUT

    @property
    def heldout_data(self) -> Path:
        return self.heldout / self.data.name

    @property
    def vocab(self) -> Path:
        return self.root / VOCAB

    @property
    def vocabulary_files(self) -> list[Path]:
        """The vocabulary, and what tools need beside it."""
        return [self.vocab, self.bert_config, self.root / TOKENIZER, self.root / TOKENIZER_CONFIG]

    @property
    def bert_config(self) -> Path:
        return self.root / BERT_CONFIG

    def shards(self, data: Path) -> Path:
        """The folder of the raw shards of `data` (the corpus, or its held-out part)."""
        return data.parent / SHARDS

    def shard(self, shard: str) -> Path:
        """The raw shard."""
        return self.root / shard

    def tfrecord_name(self, shard: str) -> str:
        """`shards/shard_0000` → `pretraining_data/shard_0000.tfrecord`, the held-out part alike."""
        part, _, name = shard.rpartition(SHARDS)
        return f"{part}{self.upload.pretraining_data}{name}{TFRECORD}"

    def shard_of_tfrecord(self, name: str) -> str:
        """The inverse of `tfrecord_name`; empty for the name of another file."""
        for part in (HELDOUT, ""):
            start = part + self.upload.pretraining_data
            if name.startswith(start) and name.endswith(TFRECORD):
                return f"{part}{SHARDS}{name.removeprefix(start).removesuffix(TFRECORD)}"
        return ""

    def tfrecord(self, shard: str) -> Path:
        return self.root / self.tfrecord_name(shard)

    @property
    def training_data(self) -> Path:
        return self.root / self.upload.pretraining_data

    @property
    def heldout_training_data(self) -> Path:
        return self.heldout / self.upload.pretraining_data


def shard_file(number: int) -> str:
    """The file name of a raw shard."""
    return f"{_SHARD}{number:04d}"


def is_shard_file(name: str) -> bool:
    """Whether `shard_file` gives this name for a number."""
    return _SHARD_FILE.fullmatch(name) is not None


def is_shard(name: str) -> bool:
    """Whether a text is the name of a shard, see `DatasetLayout`."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/" in (SHARDS, HELDOUT + SHARDS) and is_shard_file(file)


def is_heldout(name: str) -> bool:
    """Whether a shard's or a file's name below the dataset's folder is of the held-out part."""
    return name.startswith(HELDOUT)


def dataset_of_shard(path: Path) -> tuple[Path, str, str]:
    """The workspace, the dataset's id and the shard's name, from the path of a raw shard."""
    part = path.parents[1]
    root = part.parent if part.name == HELDOUT.rstrip("/") else part
    return root.parents[1], root.name, path.relative_to(root).as_posix()


def shard_label(shard: str) -> str:
    """`shard_0000`, or `heldout/shard_0000`, from the path of a raw shard or of its TFRecords."""
    path = PurePath(shard)
    heldout = path.parent.parent.name == HELDOUT.rstrip("/")
    return (HELDOUT if heldout else "") + path.stem


def shard_of_label(label: str) -> str:
    """The shard's name, the inverse of `shard_label`; empty for another label."""
    name = label.removeprefix(HELDOUT)
    return f"{label.removesuffix(name)}{SHARDS}{name}" if name.startswith(_SHARD) else ""


@dataclass(frozen=True)
class ModelLayout:
    """`models/<model_id>/`, or whichever folder a training is given."""

    root: Path
    folders: ModelFolders

    @classmethod
    def of(cls, workspace: Path, model_id: str, folders: ModelFolders) -> ModelLayout:
        """The layout of a model in a workspace."""
        return cls(model_folder(workspace, model_id), folders)

    @property
    def model_id(self) -> str:
        return self.root.name

    @property
    def name(self) -> str:
        """The folder's name below the workspace and below the bucket's prefix, ending with a slash."""
        return f"{MODELS}/{self.model_id}/"

    def name_of(self, path: Path) -> str:
        """The name of a file or folder of the model below the workspace and below the bucket's prefix."""
        return self.name + path.relative_to(self.root).as_posix()

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    @property
    def config(self) -> Path:
        """The `TrainingJob`, as YAML."""
        return self.root / SETTINGS

    @property
    def progress(self) -> Path:
        return self.root / PROGRESS

    @property
    def lock(self) -> Path:
        """Locked by the process that trains."""
        return self.root / ".lock"

    @property
    def cache(self) -> Path:
        """Downloads, where the training is not given another folder for them."""
        return self.root / CACHE

    @property
    def bert_model(self) -> Path:
        return self.root / self.folders.bert_model

    @property
    def history(self) -> Path:
        """The figures of the logged steps, a JSON object per line."""
        return self.bert_model / "history.jsonl"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's files on the training."""
        return self.bert_model / TENSORBOARD

    def checkpoint_index(self, name: str) -> Path:
        """The file that makes a checkpoint valid. `name` as from `checkpoint_name`."""
        return self.bert_model / f"{name}{_INDEX}"

    def checkpoint_state(self, name: str) -> Path:
        """The file with a checkpoint's tensors."""
        return self.bert_model / f"{name}{_STATE}"

    @property
    def bert_evals(self) -> Path:
        return self.root / self.folders.bert_evals

    @property
    def evaluation_events(self) -> Path:
        """The folder of TensorBoard's files on the evaluations."""
        return self.bert_evals / TENSORBOARD

    def evaluation(self, step: int) -> Path:
        return self.bert_evals / f"evaluation-{step}.json"

    @property
    def probe_predictions(self) -> Path:
        """The labels that the probe of the newest evaluation predicts for the test texts of tasks."""
        return self.bert_evals / "probe_predictions.json"

    @property
    def eval_results(self) -> Path:
        """The newest evaluation as google-research/bert writes it."""
        return self.bert_evals / "eval_results.txt"

    def task(self, name: str) -> Path:
        """The file with the texts and labels of a task."""
        return self.root / TASKS / f"{name}.jsonl"

    @property
    def finetuning_table(self) -> Path:
        """The results of all fine-tunings on labelled tasks."""
        return self.bert_evals / "tasks.json"

    def finetuning(self, task: str) -> Path:
        """The folder of a task's fine-tunings."""
        return self.bert_evals / "finetuning" / task

    def finetuning_result(self, task: str, seed: int) -> Path:
        return self.finetuning(task) / f"{seed}.json"

    @property
    def export(self) -> Path:
        return self.root / EXPORT

    @property
    def model_card(self) -> Path:
        return self.export / MODEL_CARD

    def tpu_job(self, run_id: str) -> str:
        """The name, below the bucket's prefix, of the folder of a run's TPUs, ending with a slash."""
        return f"{self.name}{TPU}/{label_value(run_id)}/"


def checkpoint_name(step: int, *, recovery: bool = False) -> str:
    """The name of a checkpoint's files, without their ends."""
    return f"{_RECOVERY if recovery else _CHECKPOINT}-{step}"


@dataclass(frozen=True)
class CheckpointName:
    """What the name of a checkpoint's index says."""

    name: str
    step: int
    recovery: bool


def checkpoint_of_index(file: str) -> CheckpointName | None:
    """The checkpoint whose index has this file name; None for another file."""
    if match := _CHECKPOINT_INDEX.fullmatch(file):
        return CheckpointName(file.removesuffix(_INDEX), int(match[2]), match[1] == _RECOVERY)
    return None


def checkpoint_of_stem(stem: str) -> CheckpointName | None:
    """The checkpoint of this name; None for another text."""
    return checkpoint_of_index(stem + _INDEX)


def checkpoint_of_state(file: str) -> CheckpointName | None:
    """The checkpoint whose tensors have this file name; None for another file."""
    return checkpoint_of_stem(file.removesuffix(_STATE)) if file.endswith(_STATE) else None


def checkpoint_files(name: str) -> tuple[str, str]:
    """The file names of a checkpoint: its index and its tensors."""
    return name + _INDEX, name + _STATE


def evaluation_step(file: str) -> int | None:
    """The step of the evaluation with this file name; None for another file."""
    return int(match[1]) if (match := _EVALUATION.fullmatch(file)) else None


def label_value(text: str) -> str:
    """A text as the value of a label: at most 63 lower-case letters, digits, `_` and `-`.

    Two texts that differ only in what labels cannot hold get two values.
    """
    value = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    if value == text and len(value) <= MAX_NAME:
        return value
    return f"{value[:52].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

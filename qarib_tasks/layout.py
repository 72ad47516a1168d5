"""Where everything that a run makes lies: the same names below the workspace and the bucket's prefix."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from qarib_tasks.config.upload import UploadConfig

MAX_NAME = 63

# Sources from far away, below the workspace.
FETCHED = "cache/sources"


@dataclass(frozen=True)
class DatasetLayout:
    """`datasets/<dataset_id>/`.

    A shard's name is its path below the dataset's folder: `shards/shard_0000`, or
    `heldout/shards/shard_0000` for a shard of the held-out part.
    """

    workspace: Path
    dataset_id: str
    upload: UploadConfig

    @property
    def name(self) -> str:
        """The folder's name below the workspace and below the bucket's prefix, ending with a slash."""
        return f"datasets/{self.dataset_id}/"

    @property
    def root(self) -> Path:
        return self.workspace / "datasets" / self.dataset_id

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def config(self) -> Path:
        """The `RunConfig` of the last run that asked for this dataset, as YAML."""
        return self.root / "config.yaml"

    @property
    def sources(self) -> Path:
        """The files that are collected, as `ledger.write_plan` writes them."""
        return self.root / "sources.json"

    @property
    def data(self) -> Path:
        return self.root / "data.txt"

    @property
    def report(self) -> Path:
        """The page about the corpus that stands beside `data`."""
        return self.data.with_name("report.html")

    @property
    def heldout(self) -> Path:
        return self.root / "heldout"

    @property
    def heldout_data(self) -> Path:
        return self.heldout / "data.txt"

    @property
    def vocab(self) -> Path:
        return self.root / "vocab.txt"

    @property
    def bert_config(self) -> Path:
        return self.root / "bert_config.json"

    def shards(self, data: Path) -> Path:
        """The folder of the raw shards of `data` (the corpus, or its held-out part)."""
        return data.parent / "shards"

    def shard(self, shard: str) -> Path:
        """The raw shard."""
        return self.root / shard

    def tfrecord_name(self, shard: str) -> str:
        """`shards/shard_0000` → `pretraining_data/shard_0000.tfrecord`, the held-out part alike."""
        part, _, name = shard.rpartition("shards/")
        return f"{part}{self.upload.pretraining_data}{name}.tfrecord"

    def tfrecord(self, shard: str) -> Path:
        return self.root / self.tfrecord_name(shard)

    @property
    def training_data(self) -> Path:
        return self.root / self.upload.pretraining_data

    @property
    def heldout_training_data(self) -> Path:
        return self.heldout / self.upload.pretraining_data


@dataclass(frozen=True)
class ModelLayout:
    """`models/<model_id>/`."""

    workspace: Path
    model_id: str
    upload: UploadConfig

    @property
    def name(self) -> str:
        return f"models/{self.model_id}/"

    @property
    def root(self) -> Path:
        return self.workspace / "models" / self.model_id

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def config(self) -> Path:
        """The `TrainingJob`, as YAML."""
        return self.root / "config.yaml"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def bert_model(self) -> Path:
        return self.root / self.upload.bert_model

    @property
    def bert_evals(self) -> Path:
        return self.root / self.upload.bert_evals

    @property
    def export(self) -> Path:
        return self.root / "export"


def label_value(text: str) -> str:
    """A text as the value of a label: at most 63 lower-case letters, digits, `_` and `-`.

    Two texts that differ only in what labels cannot hold get two values.
    """
    value = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    if value == text and len(value) <= MAX_NAME:
        return value
    return f"{value[:52].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

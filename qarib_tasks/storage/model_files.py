"""What a training can start from (`train.start_from`): the files at an address, and their identity.

The address names one of our models or checkpoints, a TF 1 BERT checkpoint, or a Hugging Face folder, on this
machine or in a bucket.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from qarib_tasks.config.yaml_text import read_yaml
from qarib_tasks.errors import CorruptError, InputError, StorageError
from qarib_tasks.layout import (
    BERT_CONFIG,
    BERT_MODEL,
    EXPORT,
    HUGGING_FACE_CONFIG,
    HUGGING_FACE_WEIGHTS,
    MODEL_CARD,
    SETTINGS,
    START_FROM,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCAB,
    checkpoint_files,
    checkpoint_of_index,
    checkpoint_of_stem,
)
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.records.settings import WRITTEN
from qarib_tasks.storage.regular_files import read_regular, read_settings_text

Kind = Literal["checkpoint", "tensorflow1", "hugging_face"]
MOST_BYTES = 64 << 20  # of a JSON file that describes a model
SETTINGS_AGAIN = "Restore it from a copy, or copy the weights to a folder without it"
_MOST_STEPS = 10**12
SHARDS_INDEX = ".index.json"  # ends the name of a file that lists the shards of the weights
HUGGING_FACE = tuple(
    name + end for name in (HUGGING_FACE_WEIGHTS, "pytorch_model.bin") for end in ("", SHARDS_INDEX)
)
TENSORFLOW1 = "bert_model.ckpt"
TENSORFLOW1_FILES = (f"{TENSORFLOW1}.data-00000-of-00001", f"{TENSORFLOW1}.index")
TOKENIZERS = (TOKENIZER, TOKENIZER_CONFIG)
# What an export writes.
EXPORTED = frozenset(
    (
        *(MODEL_CARD, HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS, VOCAB, *TOKENIZERS),
        *(BERT_CONFIG, *TENSORFLOW1_FILES),
    )
)
BESIDE = (VOCAB, HUGGING_FACE_CONFIG, BERT_CONFIG)
ACCEPTED = (
    "Give one of our model folders or checkpoints, a TF 1 checkpoint (bert_model.ckpt), "
    "or a Hugging Face folder with model.safetensors or pytorch_model.bin, in one file or in shards"
)


@dataclass(frozen=True)
class Pretrained:
    """A model whose weights another training can start from.

    Attributes:
        kind: how it is stored.
        folder: path or gs:// address of the folder that contains the files.
        stem: the prefix of the names of the checkpoint's files; for a Hugging Face folder, the file's name.
        files: size in bytes and CRC32C (base64) by name, of the weights and of the files that describe them.
    """

    kind: Kind
    folder: str
    stem: str
    files: Mapping[str, tuple[int, str]]

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the contents, independent of their location."""
        files = sorted((name, self.files[name]) for name in self.recorded)
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()

    @property
    def recorded(self) -> list[str]:
        """The files that the model's identity depends on. The tokenizer's count if no `vocab.txt` does."""
        return [name for name in self.files if VOCAB not in self.files or name not in TOKENIZERS]

    def stage(self, cache: Path) -> Path:
        """A folder on this machine with the files; a bucket's are downloaded below `cache` and verified.

        Raises:
            InputError: a file of another origin has a cached one's name.
            StorageError: the bucket does not answer, or its files changed since `find`.
        """
        if not self.folder.startswith("gs://"):
            return Path(self.folder)
        folder = cache / START_FROM / self.digest
        bucket = Bucket(self.folder + "/")
        for name, (size, crc32c) in self.files.items():
            path = folder / name
            if os.path.lexists(path):
                if path.is_file() and (path.stat().st_size, checksums(path).crc32c) == (size, crc32c):
                    continue
                # Ours is complete, or not there.
                raise InputError("exists and was not made by qarib", where=path, do="Move this file")
            bucket.download(name, path)
            if checksums(path).crc32c != crc32c:
                path.unlink()
                raise StorageError("changed during the download", where=bucket.address + name, do="Try again")
        return folder


def find(address: str) -> Pretrained:
    """The model at a path or gs:// address: a folder, or the prefix of a checkpoint's files.

    In one of our model folders, the newest checkpoint is used, or the export if no checkpoint is left.

    Raises:
        InputError: the address has no weights to read, or more than one set of them.
    """
    address = address.rstrip("/")
    listing = _list(address)
    for below in ("", BERT_MODEL, f"{EXPORT}/"):
        if listing and (found := _in_folder(f"{address}/{below}".rstrip("/"), listing, below)):
            return found
    parent, _, stem = address.rpartition("/")
    stem = re.sub(r"\.(index|safetensors|json)$", "", stem)
    listing = {name: value for name, value in _list(parent or ".").items() if "/" not in name}
    if f"{stem}.index" in listing:
        return _pretrained("tensorflow1", parent, stem, listing)
    if checkpoint_of_stem(stem) and set(checkpoint_files(stem)) <= set(listing):
        return _pretrained("checkpoint", parent, stem, listing)
    raise InputError("no model to start from", where=address, do=ACCEPTED)


def model_address(address: str) -> str:
    """The address of the model's folder, where an address is that of one of our checkpoints."""
    folder, _, stem = address.rpartition("/")
    return folder.rpartition("/")[0] if checkpoint_of_stem(stem) else address


def steps_trained(found: Pretrained) -> int:
    """The steps that one of our models was trained, including those of the models that it started from.

    0 for a model from elsewhere, and for weights that are no longer in the folder of their model.
    """
    parent = found.folder.rpartition("/")[0]
    if parent.startswith("gs://"):
        text = Bucket(parent + "/").read_text(SETTINGS) if parent.count("/") > 2 else None
    else:
        path = Path(parent) / SETTINGS
        text = read_settings_text(path) if path.is_file() else None
    try:
        job = read_yaml(text or "")
    except (yaml.YAMLError, ValueError):
        job = None
    if not isinstance(job, dict) or not isinstance(job.get("train"), dict):
        if text is not None and (found.kind == "checkpoint" or text.startswith(WRITTEN)):
            where = f"{parent}/{SETTINGS}"
            raise CorruptError("is damaged: not the settings of a training", where=where, do=SETTINGS_AGAIN)
        return 0
    checkpoint = checkpoint_of_stem(found.stem)
    before: Any = job.get("steps_before", 0)
    own: Any = checkpoint.step if checkpoint else job["train"].get("train_steps", 0)
    if not all(isinstance(steps, int) and 0 <= steps < _MOST_STEPS for steps in (before, own)):
        what = f"is damaged: steps_before is {before!r}, train_steps is {own!r}"
        raise CorruptError(what, where=f"{parent}/{SETTINGS}", do=SETTINGS_AGAIN)
    return int(before) + int(own)


def _in_folder(folder: str, listing: Mapping[str, object], below: str) -> Pretrained | None:
    here = {name.removeprefix(below): value for name, value in listing.items() if name.startswith(below)}
    names = [name for name in here if "/" not in name]
    for name in HUGGING_FACE:
        if name in names:
            return _pretrained("hugging_face", folder, name, here)
    steps = {
        one.step: one.name
        for one in map(checkpoint_of_index, names)
        if one and set(checkpoint_files(one.name)) <= set(names)
    }
    if steps:
        return _pretrained("checkpoint", folder, steps[max(steps)], here)
    stems = [name.removesuffix(".index") for name in names if name.endswith(".index")]
    if len(stems) > 1:
        raise InputError(
            f"has several checkpoints: {', '.join(sorted(stems))}",
            where=folder,
            do="Append the name of one of them to the folder",
        )
    return _pretrained("tensorflow1", folder, stems[0], here) if stems else None


def _pretrained(kind: Kind, folder: str, stem: str, listing: Mapping[str, object]) -> Pretrained:
    ends = {
        "checkpoint": checkpoint_files(""),
        "tensorflow1": (".index", ".data-"),
        "hugging_face": ("",),
    }[kind]
    beside = BESIDE if kind == "checkpoint" else BESIDE + TOKENIZERS
    names = [
        name
        for name in listing
        if "/" not in name and (name in beside or name.startswith(tuple(stem + end for end in ends)))
    ]
    if stem.endswith(SHARDS_INDEX):
        names += _shards(folder, stem, listing)
    files = {}
    for name in sorted(names):
        if isinstance(path := listing[name], Path):
            sums = checksums(path)
            files[name] = (sums.bytes, sums.crc32c)
        else:
            blob = listing[name]
            files[name] = (int(blob.size), str(blob.crc32c))  # type: ignore[attr-defined]
    return Pretrained(kind, folder, stem, files)


def _shards(folder: str, index: str, listing: Mapping[str, object]) -> list[str]:
    """The files that a Hugging Face folder's weights are split into.

    Raises:
        CorruptError: the index does not list them. InputError: one of them is missing.
    """
    where = f"{folder}/{index}"
    if isinstance(path := listing[index], Path):
        text: str | bytes = read_regular(path, MOST_BYTES)
    else:
        text = Bucket(folder + "/").read_text(index) or ""
    names = sorted(set(shards_of(text, where).values()))
    if missing := [name for name in names if name not in listing or "/" in name]:
        raise InputError(
            f"lists files that do not exist: {', '.join(missing)}",
            where=where,
            do="Download the model again",
        )
    return names


def shards_of(index: str | bytes, where: object) -> dict[str, str]:
    """The file of each tensor, from the content of the index of a Hugging Face folder's shards.

    Raises:
        CorruptError: it is not such an index.
    """
    try:
        names = json.loads(index)["weight_map"]
        if names and all(isinstance(name, str) for name in names.values()):
            return dict(names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise CorruptError("not an index of shards", where=where, do="Download the model again")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that describes a model.

    Raises:
        CorruptError: it is not a JSON object.
    """
    do = "Download it again, or export the model again"
    try:
        values = json.loads(read_regular(path, MOST_BYTES).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise CorruptError("not JSON", where=path, do=do) from None
    if not isinstance(values, dict):
        raise CorruptError("not a JSON object", where=path, do=do)
    return values


def _list(folder: str) -> Mapping[str, object]:
    """The files in a folder and its direct subfolders, by relative name: paths, or a bucket's objects."""
    if folder.startswith("gs://"):
        found = Bucket(folder + "/").list() if folder.count("/") > 1 else {}
        return {name: blob for name, blob in found.items() if name.count("/") < 2}
    root = Path(folder)
    paths = [path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_file()]
    return {path.relative_to(root).as_posix(): path for path in paths}

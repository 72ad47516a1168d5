"""Checkpoints: written aside, read back, and known by an index that is written last.

`checkpoint-500.safetensors` holds weights and optimizer, `checkpoint-500.json`, its index, the step, the
data's position and the checksum. There is no random state: the numbers of step n come from (seed, n).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from qarib_tasks.config import TrainingJob, to_dict
from qarib_tasks.errors import ConfigError, CorruptError, QaribError
from qarib_tasks.manifest import FileRecord
from qarib_tasks.storage import atomic_path, checksums, write_text
from qarib_tasks.train.output import Output

log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True)
class Index:
    """What is known of a checkpoint without reading its tensors.

    Attributes:
        position: of the data, as `asdict(data.Position)`.
        model: the settings that decide the tensors' names and shapes, and the vocabulary's checksum.
    """

    step: int
    position: Mapping[str, int]
    model: Mapping[str, Any]
    state: FileRecord
    format: int = FORMAT


def model_settings(job: TrainingJob, vocab: FileRecord) -> dict[str, Any]:
    return to_dict(job.model) | {"next_sentence": job.train.next_sentence, "vocabulary": vocab.sha256}


class Checkpoints:
    """The checkpoints of one training, the newest `keep` of them."""

    def __init__(self, output: Output, *, keep: int) -> None:
        self.output = output
        self.folder = output.checkpoints
        self.keep = keep

    def index_path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}.json"

    def state_path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}.safetensors"

    def steps(self) -> list[int]:
        """The steps of the checkpoints here and in the bucket, the newest first."""
        names = {path.name for path in self.folder.glob("checkpoint-*.json")}
        if self.output.bucket:
            names |= {
                name.rpartition("/")[2]
                for name in self.output.bucket.list(self.output.name(self.folder) + "/")
            }
        steps = {name.removeprefix("checkpoint-").removesuffix(".json") for name in names}
        return sorted((int(step) for step in steps if step.isdigit()), reverse=True)

    def save(
        self,
        step: int,
        state: Mapping[str, np.ndarray],
        position: Mapping[str, int],
        model: Mapping[str, Any],
    ) -> None:
        """Write a checkpoint, publish it, and remove those that are too many.

        Raises:
            CorruptError: what was read back is not what was written.
        """
        path = self.state_path(step)
        # An index of the same step from an earlier life must not vouch for a half-written state.
        self.index_path(step).unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            save_file(dict(state), temporary)
            temporary.chmod(0o644)  # as other files: the library makes it private
            _verify(temporary, state)
        index = Index(step, position, model, FileRecord.of(path))
        write_text(self.index_path(step), json.dumps(asdict(index), indent=1, sort_keys=True) + "\n")
        self.publish(step)
        for old in self.steps()[self.keep :]:
            files = (self.index_path(old), self.state_path(old))
            for file in files:
                file.unlink(missing_ok=True)
            self.output.unpublish(*files)
        for orphan in self.folder.glob("checkpoint-*.safetensors"):
            if not orphan.with_suffix(".json").exists():
                orphan.unlink()

    def publish(self, step: int) -> None:
        """Have a checkpoint in the bucket, its index last; one that is there already is not sent again."""
        self.output.publish(self.state_path(step), self.index_path(step))

    def newest(self) -> Index | None:
        """The newest checkpoint that is whole, its files on this machine; None where there is none."""
        for step in self.steps():
            try:
                return self._check(step)
            except (QaribError, ValueError, KeyError, TypeError) as error:
                log.warning("checkpoint %d is not whole and is passed over: %s", step, error)
        return None

    def _check(self, step: int) -> Index:
        index_path, state_path = self.index_path(step), self.state_path(step)
        if not self.output.fetch(index_path) or not self.output.fetch(state_path):
            raise CorruptError("a file of the checkpoint is missing", where=state_path)
        values = json.loads(index_path.read_text(encoding="utf-8"))
        index = Index(**values | {"state": FileRecord(**values["state"])})
        if index.format != FORMAT or index.step != step:
            raise CorruptError("not an index of this format", where=index_path)
        if checksums(state_path) != index.state.checksums:
            # Only a bucket can have a better one.
            state_path.unlink()
            if not self.output.fetch(state_path) or checksums(state_path) != index.state.checksums:
                raise CorruptError("not what its index says", where=state_path)
        return index

    def load(self, index: Index) -> dict[str, np.ndarray]:
        return load_file(self.state_path(index.step))

    def weights(self, index: Index) -> dict[str, np.ndarray]:
        """The model's variables alone, by their TF 1 names."""
        weights = {}
        with safe_open(self.state_path(index.step), framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                if not name.endswith(("/adam_m", "/adam_v")) and name != "global_step":
                    weights[name] = file.get_tensor(name)
        return weights


def require_same_model(index: Index, job: TrainingJob, vocab: FileRecord) -> None:
    """Refuse to go on with a checkpoint of another model or vocabulary.

    Raises:
        ConfigError: naming the settings that differ.
    """
    wanted = model_settings(job, vocab)
    differ = [name for name in wanted if index.model.get(name) != wanted[name]]
    if differ:
        raise ConfigError(
            f"the checkpoint of step {index.step} is of another model: {', '.join(differ)} differ",
            where=job.output,
            do="Give the settings it was trained with, or another output folder",
        )


def _verify(path: Path, state: Mapping[str, np.ndarray]) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            same = set(file.keys()) == set(state) and all(
                np.array_equal(file.get_tensor(name), value, equal_nan=True) for name, value in state.items()
            )
    except (SafetensorError, OSError) as error:
        raise CorruptError(f"cannot be read back: {error}", where=path) from None
    if not same:
        raise CorruptError("what was read back is not what was written", where=path, do="Check the disk")

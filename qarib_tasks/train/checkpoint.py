"""Checkpoints: written to a temporary file, read back, and valid only with an index that is written last.

`checkpoint-500.safetensors` holds weights and optimizer state. `checkpoint-500.json` is its index, with the
step, the data's position and the checksum. A checkpoint has no random state: the random numbers of step n
are determined by (seed, n).

`recovery-537.*` has the same format and is written every few minutes, so that the loss of a machine loses
little work. It is kept until the next checkpoint of either kind is complete.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError, QaribError
from qarib_tasks.layout import (
    checkpoint_name,
    checkpoint_of_index,
    checkpoint_of_state,
    checkpoint_of_stem,
)
from qarib_tasks.storage.files import (
    atomic_path,
    checksums,
    open_to_readers,
    remove_all_leftovers,
    write_text,
)
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.recognition import is_checkpoint_state, is_ours
from qarib_tasks.storage.records.aside import set_aside
from qarib_tasks.storage.records.read import read_record
from qarib_tasks.storage.records.schemas import CheckpointIndex
from qarib_tasks.train.model.trained import is_weight
from qarib_tasks.train.output import Output

log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Index:
    """The facts about a checkpoint that are known without reading its tensors.

    Attributes:
        position: rank 0's position in the data, as `asdict(batches.Position)`.
        others: the positions of the other ranks, in their order.
        model: the settings that determine the tensors' names and shapes, and the vocabulary's checksum.
        figures: figures of the steps since the last line of the history; the next line is their mean.
        started_from: the files of the weights that the training started from; empty if they were random.
        updates_before: updates in the optimizer's averages that the training started from.
        recovery: whether the checkpoint was written because time had passed, not at a planned step.
        stable: whether it is the last one before the rate of the schedule wsd falls.
        state: the file of the tensors; None only before it is written.
    """

    step: int
    position: Mapping[str, int]
    model: Mapping[str, Any]
    others: Sequence[Mapping[str, int]] = ()
    figures: Sequence[Mapping[str, float]] = ()
    started_from: Sequence[FileRecord] = ()
    updates_before: int = 0
    recovery: bool = False
    stable: bool = False
    state: FileRecord | None = None
    format: int = FORMAT

    @property
    def name(self) -> str:
        """Name of the checkpoint's files without their extensions."""
        return checkpoint_name(self.step, recovery=self.recovery)

    def at(
        self,
        step: int,
        positions: Sequence[Mapping[str, int]],
        figures: Sequence[Mapping[str, float]],
        *,
        recovery: bool,
        stable: bool = False,
    ) -> Index:
        """Return the index of a later checkpoint of the same training."""
        first, *others = positions
        return replace(
            self,
            step=step,
            position=first,
            others=others,
            figures=figures,
            recovery=recovery,
            stable=stable,
            state=None,
        )

    @classmethod
    def read(cls, path: Path) -> Index:
        """Read an index.

        Raises:
            CorruptError: it is damaged. InputError: there is none.
        """
        values = read_record(path, CheckpointIndex)
        if values is None:
            raise InputError("no such checkpoint", where=path)
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Index:
        """Create an index from values that `asdict` returned.

        Raises:
            KeyError, TypeError: the values are not those of an index.
        """
        state = values["state"] and FileRecord(**values["state"])
        started_from = [FileRecord(**record) for record in values.get("started_from", ())]
        return cls(**{**values, "state": state, "started_from": started_from})


def model_settings(job: TrainingJob, vocab: FileRecord) -> dict[str, Any]:
    settings = {"next_sentence": job.train.next_sentence, "vocabulary": vocab.sha256}
    if job.train.start_from:
        settings["start_from"] = job.start_from_digest or job.train.start_from
    return named_settings(job.model) | settings


class Checkpoints:
    """The checkpoints of a training: the newest `keep` of them, the stable and the recovery checkpoint.

    Args:
        recovery_minutes: minutes after a checkpoint of either kind until a recovery checkpoint is due; 0 for
            no recovery checkpoints.
        stable: the step of a checkpoint to keep in addition, see `TrainConfig.stable_step`.
    """

    def __init__(
        self, output: Output, keep: int, recovery_minutes: float = 0, stable: int | None = None
    ) -> None:
        self.output = output
        self.folder = output.checkpoints
        self.keep = keep
        self.stable = stable
        self.recovery_minutes = recovery_minutes
        self._saved = time.monotonic()

    def index_path(self, name: str) -> Path:
        return self.output.layout.checkpoint_index(name)

    def state_path(self, name: str) -> Path:
        return self.output.layout.checkpoint_state(name)

    def names(self) -> list[str]:
        """Return the names of the checkpoints here and in the bucket, the newest first."""
        files = {path.name for path in self.folder.glob("*")}
        if self.output.bucket:
            below = self.output.bucket.list(self.output.name(self.folder) + "/")
            files |= {name.rpartition("/")[2] for name in below}
        found = [one for one in map(checkpoint_of_index, files) if one]
        found.sort(key=lambda one: (-one.step, one.recovery))
        return [one.name for one in found]

    def recovery_is_due(self) -> bool:
        """Return whether enough time has passed since the last checkpoint."""
        return 0 < self.recovery_minutes * 60 <= time.monotonic() - self._saved

    def save(
        self, index: Index, state: Mapping[str, np.ndarray], publish_before: Callable[[], None] | None = None
    ) -> None:
        """Write a checkpoint, publish it, and remove surplus checkpoints.

        A recovery checkpoint is written to this machine's disk even if the bucket is unreachable.

        Args:
            publish_before: publishes the files that the checkpoint refers to.

        Raises:
            CorruptError: the checkpoint read back differs from the one written.
        """
        path = self.state_path(index.name)
        # An earlier process's index of this step can stay: its checksum fits no other state.
        with atomic_path(path) as temporary:
            save_file(dict(state), temporary)
            open_to_readers(temporary)
            _verify(temporary, state)
            index = replace(index, state=FileRecord.of(temporary, path.name))
        write_text(self.index_path(index.name), json.dumps(asdict(index), indent=1, sort_keys=True) + "\n")
        try:
            if publish_before:
                publish_before()
            self.publish(index)
            self._remove_old(index)
        except Exception as error:
            if not index.recovery:
                raise
            # The next one follows in minutes, and until then the previous one is kept.
            log.warning("%s: not published, trying again with the next: %s", index.name, error)
        self._saved = time.monotonic()

    def _remove_old(self, new: Index) -> None:
        names = [name for name in self.names() if name != new.name]
        stable = None if self.stable is None else checkpoint_name(self.stable)
        planned = [name for name in names if (one := checkpoint_of_stem(name)) and not one.recovery]
        newest = [name for name in planned if name != stable][: self.keep - (not new.recovery)]
        kept = [*newest, stable]
        for old in names:
            if old not in kept:
                files = (self.index_path(old), self.state_path(old))
                for file in files:
                    file.unlink(missing_ok=True)
                self.output.unpublish(*files)
        for orphan in self.folder.iterdir():
            name = checkpoint_of_state(orphan.name)
            if name and not self.index_path(name.name).exists() and is_ours(orphan, is_checkpoint_state):
                orphan.unlink()
        remove_all_leftovers(self.folder)

    def publish(self, index: Index) -> None:
        """Publish a checkpoint, its index last; files that the bucket has are not uploaded again."""
        self.output.publish(self.state_path(index.name), self.index_path(index.name))

    def newest(self) -> Index | None:
        """Fetch and return the newest complete checkpoint; None if none exists."""
        for name in self.names():
            try:
                return self._check(name)
            except QaribError as error:
                log.warning("skipping %s, which is incomplete or damaged: %s", name, error)
        return None

    def _check(self, name: str) -> Index:
        index_path, state_path = self.index_path(name), self.state_path(name)
        if not self.output.fetch(index_path) or not self.output.fetch(state_path):
            raise CorruptError("a file of the checkpoint is missing", where=state_path)
        index = self._index(name)
        if (state := index.state) is None:
            raise CorruptError("the index names no state file", where=index_path)
        if index.format != FORMAT or index.name != name:
            raise CorruptError("not an index of this format", where=index_path)
        intact = checksums(state_path) == state.checksums
        # Only the bucket can have an intact one.
        if not intact and self.output.fetch(state_path, again=True):
            intact = checksums(state_path) == state.checksums
        if not intact:
            raise CorruptError("does not match its index", where=state_path)
        return index

    def _index(self, name: str) -> Index:
        """Read an index. A damaged one is set aside, and fetched again if the bucket has another.

        Raises:
            CorruptError: it is damaged.
        """
        path = self.index_path(name)
        try:
            return Index.read(path)
        except CorruptError as error:
            set_aside(path, error.what, "a checkpoint before it is used, or the bucket's")
            if not self.output.fetch(path):
                raise
            return Index.read(path)

    def load(self, index: Index) -> dict[str, np.ndarray]:
        return load_file(self.state_path(index.name))

    def weights(self, index: Index) -> dict[str, np.ndarray]:
        """Read the model's variables only, by their TF 1 names."""
        weights = {}
        with safe_open(self.state_path(index.name), framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                if is_weight(name):
                    weights[name] = file.get_tensor(name)
        return weights


def require_same_model(index: Index, job: TrainingJob, vocab: FileRecord) -> None:
    """Require that a checkpoint has the job's model and vocabulary.

    Raises:
        ConfigError: settings differ; the error names them.
    """
    wanted = model_settings(job, vocab)
    names = sorted({*wanted, *index.model})
    differ = [name for name in names if index.model.get(name) != wanted.get(name)]
    if differ:
        raise ConfigError(
            f"the checkpoint of step {index.step} is of another model: {', '.join(differ)} differ",
            where=job.output,
            do="Use the settings that it was trained with, or another output folder",
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
        raise CorruptError("differs from the state that was written", where=path, do="Check the disk")

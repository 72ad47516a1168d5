"""What trackers get of a training, read from the files that the training writes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError, masked
from qarib_tasks.layout import EXPORT, ModelLayout, evaluation_step
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.records.read import parse_record, record_bytes
from qarib_tasks.storage.records.record import Record
from qarib_tasks.storage.records.schemas import Evaluation, HistoryLine, Progress
from qarib_tasks.tracking.tracker import Point, State

# A training that has not reported for so long, and did not say that it ended, has failed.
SILENT_SECONDS = 3600.0
# Of an evaluation: how much was evaluated.
_SIZES = ("examples", "predictions", "wordpieces", "eval_batch_size", "max_eval_steps")
_OF_JOB = (
    *("data_format", "random_seed", "do_lower_case", "max_seq_length", "max_predictions_per_seq"),
    *("masked_lm_prob", "start_from_digest", "steps_before"),
)


class Place(Protocol):
    """A folder of a model. Names are relative to it."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if it does not exist."""

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder."""


class Folder:
    """A model's folder in a workspace."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes | None:
        return record_bytes(self._root / name)

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        return sorted(one.name for one in path.iterdir()) if path.is_dir() else []


class Objects:
    """A model's folder in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, name: str) -> bytes | None:
        text = self._bucket.read_text(name)
        return None if text is None else text.encode()

    def names(self, folder: str) -> list[str]:
        return [name.removeprefix(folder) for name in self._bucket.list(folder)]


@dataclass(frozen=True)
class TrackedModel:
    """A training as its files have it.

    Attributes:
        began, updated: in seconds since 1970. reported: what its progress says; empty if there is none.
    """

    model_id: str
    parameters: Mapping[str, str]
    points: Sequence[Point]
    artefacts: Mapping[str, str]
    began: float
    updated: float
    reported: str = ""

    def state(self, now: float) -> State:
        """What became of the training, if nothing but its files is known."""
        known: dict[str, State] = {"finished": "finished", "stopped": "killed"}
        is_silent = now - self.updated > SILENT_SECONDS
        return known.get(self.reported) or ("failed" if is_silent or not self.reported else "running")


def read_model(
    job: TrainingJob, places: Sequence[Place], model_id: str, now: float | None = None
) -> TrackedModel:
    """Read a training.

    Args:
        places: of its files. The longest history counts, and the newest progress.
    """
    layout = ModelLayout(Path(job.output), job)

    def name(path: Path) -> str:
        return path.relative_to(layout.root).as_posix()

    read = [_record(place, name(layout.progress), Progress) for place in places]
    progress = max((one for one in read if one), key=lambda one: str(one["updated_at"]), default={})
    lines = max((_history(place, name(layout.history)) for place in places), key=_last_step, default=[])
    evaluations: dict[int, dict[str, Any]] = {}
    folder = f"{name(layout.bert_evals)}/"
    for place in places:
        for file in place.names(folder):
            if (step := evaluation_step(file)) is not None and step not in evaluations:
                evaluations[step] = _record(place, folder + file, Evaluation)
    points = [*_of_history(lines, job.train.train_batch_size)]
    points += _of_evaluations(evaluations, points)
    now = time.time() if now is None else now
    updated = _seconds(progress.get("updated_at")) or now
    lasted = max((point.seconds for point in points), default=0.0)
    return TrackedModel(
        model_id=model_id,
        parameters=_parameters(job),
        points=sorted(points, key=lambda point: point.step),
        artefacts=_artefacts(job, places, name(layout.manifest)),
        began=updated - lasted,
        updated=updated,
        reported=str(progress.get("state", "")),
    )


def _record(place: Place, name: str, schema: type[Record]) -> dict[str, Any]:
    """A record; empty if there is none, or if it is damaged: the training writes it again."""
    try:
        data = place.read(name)
        return {} if data is None else parse_record(data, schema, name)
    except (CorruptError, InputError):
        return {}


def _history(place: Place, name: str) -> list[dict[str, Any]]:
    """The lines of a history with ascending steps, without damaged ones and one that is being written."""
    lines: list[dict[str, Any]] = []
    for text in (place.read(name) or b"").split(b"\n")[:-1]:
        try:
            line = parse_record(text, HistoryLine, name)
        except CorruptError:
            continue
        if line["step"] > _last_step(lines):
            lines.append(line)
    return lines


def _last_step(lines: Sequence[Mapping[str, Any]]) -> int:
    return int(lines[-1]["step"]) if lines else -1


def _of_history(lines: Sequence[Mapping[str, Any]], batch: int) -> Iterator[Point]:
    seconds, before = 0.0, 0
    for line in lines:
        if (rate := line.get("examples_per_second")) and _is_number(rate) and rate > 0:
            seconds += (line["step"] - before) * batch / rate
        before = line["step"]
        yield Point(line["step"], seconds, _values(line, "train"))


def _of_evaluations(found: Mapping[int, Mapping[str, Any]], trained: Sequence[Point]) -> Iterator[Point]:
    for step, evaluation in sorted(found.items()):
        values = _values(evaluation, "evaluation")
        for task in evaluation.get("tasks", ()):
            values[f"task/{_metric_name(task['name'])}"] = float(task["value"])
        yield Point(step, max((one.seconds for one in trained if one.step <= step), default=0.0), values)


def _metric_name(name: str) -> str:
    """A task's name with only what names of metrics may have."""
    return "".join(letter if letter.isalnum() or letter in "_-. " else " " for letter in name)


def _values(record: Mapping[str, Any], group: str) -> dict[str, float]:
    return {
        f"{group}/{name}": float(value)
        for name, value in record.items()
        if name != "step" and name not in _SIZES and _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parameters(job: TrainingJob) -> dict[str, str]:
    """The settings that the model is named by, as text."""
    named = {"model": named_settings(job.model), "train": named_settings(job.train)}
    found = {f"{part}.{name}": value for part, values in named.items() for name, value in values.items()}
    found |= {name: getattr(job, name) for name in _OF_JOB}
    found["datasets"] = ", ".join(dataset.dataset_id for dataset in job.trained_on)
    texts = {name: masked(str(value)) for name, value in found.items() if value is not None}
    return {name: text for name, text in texts.items() if text}


def _artefacts(job: TrainingJob, places: Sequence[Place], manifest: str) -> dict[str, str]:
    """The addresses of the dataset and the model, and of the exported model once it is complete."""
    model = f"{(job.publish_to or job.output).rstrip('/')}/"
    found = {"dataset": f"{job.training_data.rstrip('/').rpartition('/')[0]}/", "model": model}
    for place in places:
        try:
            data = place.read(manifest)
            made = Manifest.parse(data, manifest) if data else None
        except (CorruptError, InputError):
            continue
        if made and made.state == "complete":
            found |= {"export": f"{model}{EXPORT}/", "made_by": made.made_by}
    return {name: masked(address) for name, address in found.items()}


def _seconds(text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0

"""`history.jsonl`: which steps it logs, how to read it and how to resume it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.records.aside import set_aside
from qarib_tasks.storage.records.read import parse_record, record_bytes, take_record
from qarib_tasks.storage.records.schemas import HistoryLine, Progress
from qarib_tasks.train.output import Output

MOST_FAULTS = 5  # that the log lists


def log_interval(train_steps: int) -> int:
    """Return the number of steps between lines of the history: at least 100 lines, at most 100 steps."""
    return min(100, max(1, train_steps // 100))


def steps_of_call(step: int, train: TrainConfig) -> int:
    """Return how many steps the device runs in the call after `step`: `steps_per_call`, or 1.

    No call spans a logged step or a checkpoint. Calls of several steps start at multiples of
    `steps_per_call`, so that they are the same wherever the training was interrupted: a call of one step
    rounds differently from a call of several.
    """
    calls = train.steps_per_call
    ends = (log_interval(train.train_steps), train.save_checkpoints_steps)
    room = min(train.train_steps - step, *(every - step % every for every in ends))
    if train.stable_step is not None and step < train.stable_step:
        room = min(room, train.stable_step - step)
    return calls if step and step % calls == 0 and room >= calls else 1


def is_finished(output: Output) -> bool:
    """Return whether a training has finished here and all its figures are written and published."""
    known = read_progress(output.progress)
    return known is not None and known["state"] == "finished"


def read_progress(path: Path) -> dict[str, Any] | None:
    """Read a training's progress; None if there is none, or a damaged one, which is set aside."""
    return take_record(path, Progress, "the training writes it again")


def read_history(path: Path, until: int | None = None) -> list[dict[str, Any]]:
    """Read the lines up to the step `until`, without a last line that a kill truncated.

    A file with damaged lines is kept under another name too.
    """
    lines: list[dict[str, Any]] = []
    faults: list[str] = []
    data = record_bytes(path) or b""
    for number, text in enumerate(data.split(b"\n"), 1):
        try:
            line = parse_record(text, HistoryLine, path) if text else None
        except CorruptError as error:
            faults.append(f"line {number} {error.what}")
            continue
        if line is None:
            continue
        if until is not None and line["step"] > until:
            break
        if lines and line["step"] <= lines[-1]["step"]:
            faults.append(f"line {number} is of step {line['step']}, after step {lines[-1]['step']}")
            continue
        lines.append(line)
    cut_off = len(faults) == 1 and faults[0].startswith(f"line {data.count(bytes([10])) + 1} ")
    if faults and not cut_off:
        set_aside(path, "; ".join(faults[:MOST_FAULTS]), "its other lines are used", stays=True)
    return lines


def last_progress(output: Output) -> dict[str, Any]:
    """Return the progress that the last process of this training reported; empty if there is none."""
    output.fetch(output.progress)
    return read_progress(output.progress) or {}


def resumed(known: Mapping[str, Any], step: int) -> list[int]:
    """Return the steps from which this training has resumed; `step` is the last of them.

    Later steps are dropped, because the training has returned to a step before them.
    """
    if not step:
        return []
    return sorted({*(one for one in known.get("resumed", ()) if one <= step), step})

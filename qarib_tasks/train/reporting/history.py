"""`history.jsonl`: which steps it logs, how to read it and how to resume it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.train.output import Output


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
    if not output.progress.is_file():
        return False
    return bool(json.loads(output.progress.read_text(encoding="utf-8"))["state"] == "finished")


def read_history(path: Path, until: int | None = None) -> list[dict[str, Any]]:
    """Read the lines up to the step `until`, without a last line that a kill truncated."""
    lines = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if until is not None and line["step"] > until:
                break
            lines.append(line)
    return lines


def last_progress(output: Output) -> dict[str, Any]:
    """Return the progress that the last process of this training reported; empty if there is none."""
    output.fetch(output.progress)
    try:
        known = json.loads(output.progress.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def resumed(known: Mapping[str, Any], step: int) -> list[int]:
    """Return the steps from which this training has resumed; `step` is the last of them.

    Later steps are dropped, because the training has returned to a step before them.
    """
    if not step:
        return []
    return sorted({*(one for one in known.get("resumed", ()) if one <= step), step})

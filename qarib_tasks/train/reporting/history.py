"""`history.jsonl`: reading it, resuming it, and which steps it logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qarib_tasks.config.training import TrainConfig
from qarib_tasks.train.output import Output


def log_interval(train_steps: int) -> int:
    """Steps between two lines of the history: 100 lines or more, and every 100 steps at least."""
    return min(100, max(1, train_steps // 100))


def steps_of_call(step: int, train: TrainConfig) -> int:
    """How many steps the device runs in the call behind a step: `steps_per_call`, or one at a time.

    No call goes beyond a logged step or a checkpoint. Calls of several begin at their multiples, so that they
    are the same wherever the training was interrupted: one compiled step rounds otherwise than several.
    """
    calls = train.steps_per_call
    ends = (log_interval(train.train_steps), train.save_checkpoints_steps)
    room = min(train.train_steps - step, *(every - step % every for every in ends))
    return calls if step and step % calls == 0 and room >= calls else 1


def is_finished(output: Output) -> bool:
    """Whether a training came to its end here and all its figures are written and published."""
    if not output.progress.is_file():
        return False
    return bool(json.loads(output.progress.read_text(encoding="utf-8"))["state"] == "finished")


def read_history(path: Path, until: int | None = None) -> list[dict[str, Any]]:
    """The lines up to a step. A last line cut off by a kill is left out."""
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


def resumed(output: Output, step: int) -> list[int]:
    """The steps from which this training has gone on after an interruption, `step` the last of them.

    What was trained beyond a step that it went back to is forgotten with that.
    """
    if not step:
        return []
    output.fetch(output.progress)
    try:
        known = json.loads(output.progress.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    return sorted({*(one for one in known.get("resumed", ()) if one <= step), step})

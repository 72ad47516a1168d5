"""A training's history, which can have hundreds of thousands of lines, as columns of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qarib_tasks.errors import CorruptError
from qarib_tasks.layout import ModelLayout
from qarib_tasks.views.curves.points import extremes, smoothed
from qarib_tasks.views.files import Files
from qarib_tasks.views.shapes import LINE, conform, is_plain, is_shallow

Numbers = npt.NDArray[np.float64]
FIGURES = (
    "loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss", "next_sentence_accuracy",
    "learning_rate", "examples_per_second",
)  # fmt: skip
MOST_BYTES_OF_A_LINE = 1 << 16
MANY_BYTES = 1 << 20  # of a history for which it takes long to read each line for itself
MOST_SELECTIONS = 8  # of points, that are kept of a history


@dataclass(frozen=True, eq=False)
class History:
    """The logged steps, in order.

    Attributes:
        steps: float64 (n,).
        figures: float64 (n,) of each figure that any line has; NaN where a line lacks it.
        fault: what is wrong with the file; empty if nothing is.
    """

    steps: Numbers
    figures: Mapping[str, Numbers]
    fault: str = ""
    _selections: dict[tuple[int, float], dict[str, Any]] = field(default_factory=dict)

    @property
    def last_step(self) -> float:
        """0 without lines."""
        return float(self.steps[-1]) if len(self.steps) else 0.0

    def curves(self, buckets: int, smoothing: float = 0.0) -> dict[str, dict[str, list[Any]]]:
        """Points of each figure, with its extremes: `step` and `value`, lists of equal length.

        Args:
            buckets: parts of the history, each of which gives two points.
            smoothing: share of the history over which each point is a mean; 0 for none.
        """
        key = buckets, smoothing
        if key not in self._selections:
            made = {name: self._curve(values, buckets, smoothing) for name, values in self.figures.items()}
            while len(self._selections) >= MOST_SELECTIONS:
                self._selections.pop(next(iter(self._selections)), None)
            self._selections[key] = made
        return self._selections[key]

    def _curve(self, values: Numbers, buckets: int, smoothing: float) -> dict[str, list[Any]]:
        known = np.isfinite(values)
        steps, values = self.steps[known], values[known]
        values = smoothed(values, smoothing)
        shown = extremes(values, buckets)
        return {"step": integers(steps[shown]), "value": rounded(values[shown])}


NOTHING = History(np.zeros(0), {})


def rounded(values: Numbers) -> list[float]:
    """To six digits, which is more than a screen shows."""
    return [float(f"{one:.6g}") for one in values.tolist()]


def integers(steps: Numbers) -> list[int | float]:
    """Steps as integers, which they are unless another program wrote them."""
    return [int(step) if step.is_integer() else step for step in steps.tolist()]


def parse(data: bytes | None) -> History:
    """The lines of JSON up to the first incomplete one, without values of a wrong type."""
    if data and len(data) > MANY_BYTES and (found := _parse_fast(data)) is not None:
        return found
    return _parse(data)


def _parse_fast(data: bytes) -> History | None:
    """The same, in a fifth of the time; None for a file with any line that is not as it should be."""
    import pyarrow
    from pyarrow import json as lines

    start = data.rfind(b"\n", 0, len(data) - 1) + 1  # of the last line
    try:
        json.loads(data[start:])
        start = len(data)
    except (ValueError, RecursionError):  # It is being written.
        pass
    schema = pyarrow.schema([(name, pyarrow.float64()) for name in ("step", *FIGURES)])
    options = lines.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        table = lines.read_json(pyarrow.BufferReader(memoryview(data)[:start]), parse_options=options)
    except pyarrow.ArrowInvalid:
        return None
    # Not by `to_numpy()`, which imports pandas for half a second.
    columns = {name: np.concatenate([_numbers(part) for part in table[name].chunks]) for name in schema.names}
    return _ordered(columns.pop("step"), columns, "")


def _numbers(part: Any) -> Numbers:
    """A `pyarrow.Array` of float64, with NaN for what is not known."""
    known, values = part.buffers()
    found = np.frombuffer(values, np.float64, len(part), 8 * part.offset)
    if known is None:
        return found
    bits = np.unpackbits(np.frombuffer(known, np.uint8), bitorder="little")
    return np.where(bits[part.offset : part.offset + len(part)], found, np.nan)


def _parse(data: bytes | None) -> History:
    steps: list[float] = []
    columns: dict[str, list[float]] = {name: [] for name in FIGURES}
    pairs = list(columns.items())
    fault = ""
    for text in (data or b"").splitlines():
        if len(text) > MOST_BYTES_OF_A_LINE:
            fault = "a line of the file is too long for this page"
            break
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict):
            continue
        if not is_plain(line):
            line, complete = conform(line, LINE) if is_shallow(line) else ({}, False)
            if not complete:
                fault = "the file has values of a wrong type, which are left out"
        if "step" in line:
            steps.append(line["step"])
            for name, values in pairs:
                values.append(line.get(name, np.nan))
    if not steps:
        return History(NOTHING.steps, {}, fault)
    return _ordered(np.array(steps, np.float64), columns, fault)


def _ordered(steps: Numbers, columns: Mapping[str, Sequence[float] | Numbers], fault: str) -> History:
    figures = {name: np.array(values, np.float64) for name, values in columns.items()}
    order = np.argsort(steps, kind="stable")
    order = order[np.isfinite(steps[order])]
    kept = {name: values[order] for name, values in figures.items() if np.isfinite(values).any()}
    return History(steps[order], kept, fault)


def history_of(files: Files, model: ModelLayout, progress: Mapping[str, Any]) -> History:
    """The logged steps of a training, from where there are more of them.

    A training on another machine publishes its history with each checkpoint.
    """
    name = model.name_of(model.history)
    here, there = files.kept(name, parse, here=True) or NOTHING, NOTHING
    if progress.get("place") != "workspace" or not len(here.steps):
        there = files.kept(name, parse, here=False) or NOTHING
    found = max((here, there), key=lambda one: one.last_step)
    if fault := here.fault or there.fault:
        files.mark(CorruptError(fault, where=files.where(name), do="Check what wrote it"))
    return found


def with_newest(
    curves: Mapping[str, Mapping[str, list[Any]]], progress: Mapping[str, Any], last_step: float
) -> dict[str, Mapping[str, list[Any]]]:
    """The curves up to the newest figures in `progress.json`, which is written more often than a history."""
    step = progress.get("step")
    if progress.get("loss") is None or step is None or step <= last_step:
        return dict(curves)
    added = dict(curves)
    for name in FIGURES:
        if progress.get(name) is not None:
            own = curves.get(name) or {"step": [], "value": []}
            added[name] = {"step": [*own["step"], step], "value": [*own["value"], progress[name]]}
    return added

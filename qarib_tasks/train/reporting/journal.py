"""Reports of a running training: progress.json, history, TensorBoard events, log lines and a progress bar.

The history is the record. After a restart, events are written again from it, so that no step counts twice.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import TrainingError
from qarib_tasks.layout import evaluation_step
from qarib_tasks.storage.files import names_output, write_text
from qarib_tasks.storage.records.schemas import TrainingState
from qarib_tasks.train.output import Output

if TYPE_CHECKING:
    from qarib_tasks.train.data.batches import Position, Prefetched
    from qarib_tasks.train.model.speed import Speed
from qarib_tasks.train.reporting.history import last_progress, log_interval, read_history, resumed
from qarib_tasks.train.reporting.ledger import Ledger
from qarib_tasks.train.reporting.plateau import plateau
from qarib_tasks.train.reporting.tensorboard import Events

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPLOADS = 15.0
FIRST = ("step", "loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_accuracy")


class Journal:
    """Collects the figures of each step and writes them at the logged steps.

    Args:
        step: the step that the training resumes from.
        evaluations: the existing evaluations, ordered by step.
        speed: computes the throughput from the time that steps took.
        figures: figures of the steps up to `step` that are in no line yet, as `checkpoint` returned them.
    """

    def __init__(
        self,
        job: TrainingJob,
        output: Output,
        batches: Prefetched,
        step: int,
        evaluations: list[dict[str, Any]],
        speed: Speed,
        figures: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self.job = job
        self.output = output
        self.batches = batches
        self.speed = speed
        self.step, self.logged = step, step - len(figures)
        self.interval = log_interval(job.train.train_steps)
        known = last_progress(output)
        self.resumed, self.ledger = resumed(known, step), Ledger(known, step)
        output.fetch(output.history)
        self.lines = read_history(output.history, until=step)
        write_text(output.history, "".join(json.dumps(line) + "\n" for line in self.lines))
        self._history = output.history.open("a", encoding="utf-8")
        self._pending: list[Mapping[str, Any]] = list(figures)
        # Steps of an earlier process, whose durations are not known.
        self._untimed = len(figures)
        self._positions: dict[int, tuple[Position, Position]] = {}
        self._evaluation = evaluations[-1] if evaluations else None
        self._events = Events(output.layout.events, self.lines)
        self._evaluation_events = Events(output.layout.evaluation_events, evaluations)
        self._bar = _Bar(job.train.train_steps, step) if sys.stderr.isatty() else None
        self._since = self._last_line = self._last_upload = time.monotonic()
        self._waited = batches.waited

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._history.close()
        self._events.close()
        self._evaluation_events.close()
        if self._bar:
            self._bar.close()

    def add(self, figures: Mapping[str, Any], before: Position, after: Position) -> None:
        """Add the scalars of the next step; write a line if this step is logged.

        Args:
            before, after: the positions before and after the step's batch.

        Raises:
            TrainingError: a loss since the last line is not finite.
        """
        self._pending.append(figures)
        self.step += 1
        self._positions[self.step] = before, after
        total, every = self.job.train.train_steps, self.job.train.save_checkpoints_steps
        if self.step == 1 or not self.step % self.interval or not self.step % every or self.step == total:
            self._write()

    def _finite(self) -> list[dict[str, float]]:
        """Return the figures of the steps since the last line.

        Raises:
            TrainingError: a loss among them is not finite.
        """
        steps = [{name: float(value) for name, value in figures.items()} for figures in self._pending]
        for step, figures in enumerate(steps, start=self.logged + 1):
            if not all(math.isfinite(figures[name]) for name in ("loss", "gradient_norm")):
                stream = self.batches.stream
                shards = ", ".join(stream.shards_of(*self._positions[step]))
                reader = f" that rank {stream.host} read" if stream.hosts > 1 else ""
                raise TrainingError(
                    f"the loss of step {step} is {figures['loss']}, its gradient norm is "
                    f"{figures['gradient_norm']}; the examples{reader} are from {shards}",
                    where=self.output.root,
                    do="Lower the learning rate or lengthen the warm-up; earlier checkpoints are intact",
                )
        return steps

    def _write(self) -> None:
        steps = self._finite()
        now, waited = time.monotonic(), self.batches.waited
        seconds = max(now - self._since, 1e-9)
        line = {"step": self.step} | _means(steps)
        line["learning_rate"] = steps[-1]["learning_rate"]
        line["gradient_norm"] = steps[-1]["gradient_norm"]
        line |= self.speed.figures(len(steps) - self._untimed, seconds)
        line["data_wait_share"] = round((waited - self._waited) / seconds, 4)
        if self.job.train.max_corrupt_records:
            line["corrupt_records"] = self._positions[self.step][1].corrupt
        self.lines.append(line)
        with names_output(self.output.history):
            self._history.write(json.dumps(line) + "\n")
            self._history.flush()
        self._events.write(line)
        self._pending, self.logged, self._since, self._waited = [], self.step, now, waited
        self._untimed = 0
        self._positions.clear()
        self._progress("training")
        if self._bar:
            self._bar.update(self.step, line)
        if self.step == 1 or now - self._last_line > SECONDS_BETWEEN_LINES:
            self._log(line)
        if now - self._last_upload > SECONDS_BETWEEN_UPLOADS:
            self._last_upload = now
            self.output.try_to_publish(self.output.progress)

    def evaluated(self, evaluation: dict[str, Any]) -> None:
        """Add an evaluation that was made after the current step."""
        if warning := plateau(self._evaluation, evaluation, self.job.train):
            log.warning("%s", warning)
        self._evaluation = evaluation
        self._evaluation_events.write(evaluation)
        self._progress("training")
        self._since, self._waited = time.monotonic(), self.batches.waited

    def checkpoint(self) -> list[dict[str, float]]:
        """Prepare for a checkpoint: sync the history to disk.

        Returns:
            the figures of the steps since the history's last line.

        Raises:
            TrainingError: a loss among them is not finite.
        """
        pending = self._finite()
        os.fsync(self._history.fileno())
        if not pending:
            self._log(self.lines[-1])
        return pending

    def publish(self) -> None:
        """Publish the history and the events to the bucket."""
        self.output.publish(self.output.history)
        self._publish_events()

    def _publish_events(self) -> None:
        """Publish the event files of this process only: they include the events of earlier processes."""
        for events in (self._events, self._evaluation_events):
            self.output.publish_events(events.folder)

    def stopped(self) -> None:
        """Report that the training saved its state and stops on request."""
        self._progress("stopped")
        self.output.try_to_publish(self.output.progress)

    def finish(self) -> None:
        """Publish the figures of a finished training and, last, mark it as finished."""
        self._publish_events()
        found = self.output.evaluations.glob("*.json")
        evaluations = sorted(path for path in found if evaluation_step(path.name) is not None)
        self.output.publish(self.output.history, *evaluations, self.output.config)
        self._progress("finished")
        self.output.publish(self.output.progress)

    def _log(self, line: Mapping[str, Any]) -> None:
        self._last_line = time.monotonic()
        log.info(
            "step %d of %d: loss %.4f, masked-LM loss %.4f, accuracy %.4f, %.1f examples/s, "
            "%.0f tokens/s, waited for data %.1f%%%s%s",
            line["step"], self.job.train.train_steps, line["loss"], line["masked_lm_loss"],
            line["masked_lm_accuracy"], line["examples_per_second"], line["tokens_per_second"],
            100 * line["data_wait_share"],
            f", {line['model_flops_utilization']:.1%} of peak" if "model_flops_utilization" in line else "",
            f", {line['corrupt_records']} corrupt records" if line.get("corrupt_records") else "",
        )  # fmt: skip

    def _progress(self, state: TrainingState) -> None:
        line = self.lines[-1] if self.lines else {}
        progress = {
            "state": state,
            "model_id": self.output.model_id,
            **line,
            "step": self.step,
            "train_steps": self.job.train.train_steps,
            **asdict(self.speed.hardware),
            "first": {name: self.lines[0][name] for name in FIRST if name in self.lines[0]}
            if self.lines
            else None,
            "evaluation": self._evaluation,
            "resumed": self.resumed,
            "seconds": self.ledger.seconds(self.step),
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_text(self.output.progress, json.dumps(progress, indent=1) + "\n")


def _means(steps: list[dict[str, float]]) -> dict[str, float]:
    """Compute means over the steps since the last line; accuracies are over all their predictions."""
    result = {
        n: sum(s[n] for s in steps) / len(steps) for n in steps[0] if n == "loss" or n.endswith("_loss")
    }
    total = {name: sum(s[name] for s in steps) for name in steps[0]}
    result["masked_lm_accuracy"] = total["right_predictions"] / max(total["predictions"], 1.0)
    if "sentences" in total:
        result["next_sentence_accuracy"] = total["right_sentences"] / max(total["sentences"], 1.0)
    return result


class _Bar:
    """A progress bar on the terminal."""

    def __init__(self, total: int, step: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=total, completed=step)
        self._progress.start()

    def update(self, step: int, line: Mapping[str, Any]) -> None:
        text = f"masked-LM loss {line['masked_lm_loss']:.3f}, accuracy {line['masked_lm_accuracy']:.3f}"
        self._progress.update(self._task, completed=step, description=text)

    def close(self) -> None:
        self._progress.stop()

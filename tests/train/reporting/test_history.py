"""Which steps are logged, how many run in one call, and a history that was cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.train.reporting.history import log_interval, read_history, steps_of_call


@pytest.mark.parametrize(("steps", "interval"), [(1, 1), (99, 1), (800, 8), (10_000, 100), (2_000_000, 100)])
def test_a_history_has_a_hundred_lines_or_more(steps: int, interval: int) -> None:
    assert log_interval(steps) == interval


@pytest.mark.parametrize("calls", [1, 4, 10])
def test_no_call_passes_a_logged_step_a_checkpoint_or_the_end(calls: int) -> None:
    train = TrainConfig(
        train_steps=1030, num_warmup_steps=10, save_checkpoints_steps=35, steps_per_call=calls
    )
    stops = {step for step in range(1, 1031) if step % log_interval(1030) == 0 or step % 35 == 0} | {1030}
    step, reached = 0, set()
    while step < 1030:
        length = steps_of_call(step, train)
        assert length in (1, calls)
        # A call of several begins at a multiple, wherever the training goes on from.
        assert length == 1 or (step > 0 and step % calls == 0)
        step += length
        reached.add(step)
    assert step == 1030
    assert stops <= reached
    assert calls != 4 or len(reached) < 1030


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    lines = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    assert read_history(path) == lines
    assert read_history(path, until=2) == lines[:2]

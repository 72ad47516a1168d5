"""A run's row in the table of all runs."""

from __future__ import annotations

import json

from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.views.many.row import row_of
from tests.support.browser.many_runs import many_runs, write_progress
from tests.support.made_up_run import MadeUpRun, arabic_task, files, write_probes, write_tuning


def test_the_figures_of_a_run(run: MadeUpRun) -> None:
    (own,) = many_runs(run, 1)
    assert own.record.model is not None
    folder = own.workspace / own.record.model.name
    row = row_of(own.record, files(own, None), 0.0)
    assert (row["heldout_loss"], row["unigram_entropy"]) == (4.0, 6.5)
    assert row["training"]["step"] == 800
    assert row["score"] is None
    assert (row["goodput"], row["cost"]) == (None, None)
    assert row["settings"] == []
    # The probes of the newest evaluation, and once there are, the fine-tunings.
    tasks = arabic_task("sentiment"), arabic_task("dialect", labels=("a", "b"))
    write_probes(folder, 800, *tasks, every=4)
    probed = json.loads((folder / "bert_evals/evaluation-800.json").read_text())["tasks"]
    write_progress(folder, evaluation={"tasks": probed})
    best = max(probed, key=lambda one: one["value"])
    row = row_of(own.record, files(own, None), 0.0)
    assert row["score"] == {
        "task": best["name"], "metric": METRICS[best["metric"]], "value": best["value"], "tuned": False
    }  # fmt: skip
    write_tuning(folder, tasks[0], every=9)
    row = row_of(own.record, files(own, None), 0.0)
    assert (row["score"]["task"], row["score"]["tuned"]) == ("sentiment", True)


def test_a_run_without_files(run: MadeUpRun) -> None:
    (own,) = many_runs(run, 1)
    row = row_of(own.record, files(own, None, local=False), 0.0)
    assert (row["heldout_loss"], row["score"], row["cost"], row["training"]) == (None, None, None, None)

"""How the fine-tunings of a run are wired, and what each of them runs.

Covers plugins/qarib_airflow/tasks/finetuning.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.cli.main import cli
from qarib_tasks.config.evaluation import EvaluateConfig, TaskConfig
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import InputError
from qarib_tasks.runs.run import Run
from tests.support.airflow.interpreter import printed


@pytest.fixture
def run(tmp_path: Path) -> Run:
    tasks = tuple(TaskConfig(name=name, train=f"{name}.csv") for name in ("sentiment", "dialect"))
    config = RunConfig(
        workspace=str(tmp_path),
        train=TrainConfig(xla=False, backend="jax"),
        evaluate=EvaluateConfig(tasks=tasks, finetune_seeds=2),
    )
    return Run(config, "d-0123456789", "m-0123456789")


def changed(run: Run, **values: Any) -> Run:
    return replace(run, config=replace(run.config, evaluate=replace(run.config.evaluate, **values)))


def test_a_fine_tuning_for_each_task_and_seed(run: Run) -> None:
    assert [(one["name"], one["seed"]) for one in pipeline.finetunings(run)] == [
        *(("sentiment", 1), ("sentiment", 2), ("dialect", 1), ("dialect", 2))
    ]
    assert pipeline.finetunings(changed(run, finetune=False)) == []
    assert pipeline.finetunings(changed(run, tasks=())) == []
    assert EvaluateConfig().finetune
    assert EvaluateConfig().finetune_seeds == 5


def test_the_commands_are_those_of_the_command_line(run: Run) -> None:
    each, table = pipeline.finetuning_work(run, "dialect", 2), pipeline.finetuning_table_work(run)
    assert each.folder == run.model.finetuning("dialect")
    assert each.name == "seed-2"
    command = cli.commands["finetune"]
    with command.make_context("finetune", list(each.arguments[1:])) as context:
        values = context.params
    assert (values["model"], values["names"], values["only"]) == (str(run.model.root), ("dialect",), (2,))
    assert (values["backend"], values["xla"], values["precision"]) == ("jax", False, "float32")
    with command.make_context("finetune", list(table.arguments[1:])) as context:
        values = context.params
    assert (values["names"], values["seeds"], values["table"]) == (("sentiment", "dialect"), 2, True)


def test_missing_results_are_named(run: Run) -> None:
    path = run.model.finetuning_table
    path.parent.mkdir(parents=True)
    figures = dict.fromkeys(("most_frequent", "tfidf", "tfidf_low", "tfidf_high"), 0.5)
    row = {"metric": "macro_f1", "sha256": "", "labels": ["a", "b"], "mean": None, "sd": None} | figures
    row |= {"seeds": [], "test_texts": 2}
    rows = [row | {"name": "dialect", "missing": [1, 2]}, row | {"name": "other", "missing": [1]}]
    path.write_text(json.dumps({"tasks": rows}))
    with pytest.raises(InputError, match=r"without a result: dialect, seed 1; dialect, seed 2$"):
        pipeline.require_finetunings(run)


def test_one_at_a_time_unless_the_environment_says_otherwise() -> None:
    code = "import qarib_pretrain\nprint(qarib_pretrain.DAG.get_task('finetune').max_active_tis_per_dagrun)"
    for environment, limit in (({"QARIB_FINETUNE_AT_ONCE": "3"}, "3"), ({}, "1")):
        assert printed(code, **environment) == limit


def test_a_failed_seed_does_not_stop_the_table_and_no_task_is_no_failure() -> None:
    import qarib_pretrain

    dag = qarib_pretrain.DAG
    assert dag.get_task("finetuning_table").trigger_rule == "all_done_min_one_success"
    assert dag.get_task("finetunings").trigger_rule == "none_failed"
    assert dag.get_task("finetune").is_mapped

"""The DAG files: what importing them costs, how they are wired, what they say of themselves.

Covers plugins/qarib_airflow/defaults.py, plugins/qarib_airflow/deployment/preload.py,
plugins/qarib_airflow/tasks/pipeline.py, plugins/qarib_airflow/tasks/current_run.py,
plugins/qarib_plugin.py.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.errors import ConfigError
from tests.support.airflow.interpreter import printed, run

REPOSITORY = Path(__file__).resolve().parents[2]
DAG_FILES = sorted(path.stem for path in (REPOSITORY / "dags").glob("*.py"))

# The provider is imported first, as Airflow is: their share is not ours.
IMPORT = """
import json, sys, warnings
warnings.filterwarnings("error", category=DeprecationWarning, module=r"airflow\\Z")
import airflow.providers.google.cloud.hooks.gcs, airflow.providers.google.cloud.transfers.local_to_gcs
before = set(sys.modules)
for name in sys.argv[1:]:
    __import__(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
HEAVY = {
    *("tensorflow", "keras", "jax", "numba", "sentencepiece", "tokenizers", "transformers"),
    *("numpy", "pyarrow", "safetensors"),
}


def import_all() -> set[str]:
    """Import every DAG file in a fresh interpreter: the packages that it took."""
    answer = run(IMPORT, tuple(DAG_FILES))
    assert answer.returncode == 0, answer.stderr
    assert "Deprecat" not in answer.stderr
    assert "RemovedIn" not in answer.stderr
    return set(json.loads(answer.stdout.splitlines()[-1]))


def test_importing_every_dag_file_is_light() -> None:
    """Each task's process does it again: a package of these costs it more than all of Airflow."""
    packages = import_all()
    assert not packages & HEAVY
    assert "qarib_tasks" in packages, "nothing was imported"


@pytest.fixture(scope="module")
def pretrain() -> Any:
    import qarib_pretrain

    return qarib_pretrain.DAG


def test_the_order_of_the_steps(pretrain: Any) -> None:
    upstream = {task.task_id: set(task.upstream_task_ids) for task in pretrain.tasks}
    assert upstream == {
        "preflight": set(),
        "sources": {"preflight"},
        "collect_source": {"sources"},
        "collect": {"collect_source"},
        "vocab": {"collect"},
        "split": {"collect"},
        "shard.convert": {"split", "vocab"},
        "shard.upload": {"shard.convert"},
        "shards_ended": {"shard.upload"},
        "dataset": {"split", "vocab", "shards_ended"},
        "publish": {"dataset"},
        "prepare_tpu": {"publish"},
        "train": {"prepare_tpu"},
        "delete_tpu": {"prepare_tpu", "train"},
        "evaluate": {"train"},
        "export": {"evaluate"},
        "promote": {"export"},
        "finetunings": {"promote"},
        "finetune": {"finetunings"},
        # It begins when one of them has succeeded.
        "finetuning_table": {"finetune"},
    }


def test_its_graph_has_five_boxes(pretrain: Any) -> None:
    """The first task and four groups, which Airflow's graph shows folded; the shards are one in another."""
    top = pretrain.task_group.children
    assert list(top) == ["preflight", "data", "shards", "training", "results"]
    assert set(top["shards"].children) == {"shard", "shards_ended", "dataset", "publish"}
    assert set(top["training"].children) == {"prepare_tpu", "train", "delete_tpu"}


def test_a_person_can_read_what_it_does(pretrain: Any) -> None:
    for task in pretrain.tasks:
        assert task.task_id.rpartition(".")[2] in pretrain.doc_md, f"doc_md does not mention {task.task_id}"


def test_the_tpu_goes_whatever_happens(pretrain: Any) -> None:
    teardown = pretrain.get_task("delete_tpu")
    assert teardown.is_teardown
    assert teardown.on_failure_fail_dagrun
    assert pretrain.get_task("prepare_tpu").is_setup


def test_the_reaper_runs_by_itself_and_says_what_it_does() -> None:
    import qarib_reap_tpus

    reaper = qarib_reap_tpus.qarib_reap_tpus()
    assert reaper.timetable.expression == "*/10 * * * *"
    assert not reaper.catchup
    assert "`reap`" in reaper.doc_md


def test_shards_are_called_by_their_names() -> None:
    from qarib_pretrain import shard_label

    assert shard_label("shards/shard_0007") == "shard_0007"
    assert shard_label("heldout/shards/shard_0000") == "heldout/shard_0000"
    assert shard_label("/srv/datasets/x/pretraining_data/shard_0007.tfrecord") == "shard_0007"
    assert shard_label("/w/datasets/x/heldout/data/shard_0000.tfrecord") == "heldout/shard_0000"


@pytest.mark.parametrize(
    ("process", "imported"), [("scheduler", True), ("celery", True), ("api-server", False)]
)
def test_only_processes_that_fork_tasks_import_the_provider_ahead(process: str, imported: bool) -> None:
    code = (
        f"import sys; sys.argv = ['airflow', {process!r}]\n"
        "import qarib_plugin\n"
        "print('airflow.providers.google.cloud.hooks.gcs' in sys.modules, 'qarib_airflow' in sys.modules)"
    )
    assert printed(code).split() == [str(imported), "False"]


def test_the_shards_converted_at_once_can_be_limited() -> None:
    code = (
        "import qarib_pretrain\nprint(qarib_pretrain.DAG.get_task('shard.convert').max_active_tis_per_dagrun)"
    )
    for environment, limit in (({"QARIB_SHARDS_AT_ONCE": "2"}, "2"), ({}, "None")):
        assert printed(code, **environment) == limit


@pytest.mark.parametrize("value", ["0", "-1", "abc", "²"])
@pytest.mark.parametrize("name", ["QARIB_RUNS_AT_ONCE", "QARIB_SHARDS_AT_ONCE", "QARIB_FINETUNE_AT_ONCE"])
def test_a_limit_that_would_start_nothing_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qarib_airflow import defaults

    monkeypatch.setenv(name, value)
    source = Path(defaults.__file__).read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{name}: must be a whole number above 0, not '{value}'"):
        exec(compile(source, "defaults.py", "exec"), {"__name__": "defaults"})


@pytest.mark.parametrize("name", DAG_FILES)
def test_every_task_is_tried_again_ends_in_time_and_tells_of_its_failure(name: str) -> None:
    from qarib_airflow.reporting.notifier import QaribNotifier

    dag = getattr(import_module(name), name)()
    for task in dag.tasks:
        assert task.retries == 3
        assert task.retry_exponential_backoff == 3.0, "True is no multiplier"
        assert task.retry_delay.total_seconds() == 10
        told = task.on_failure_callback  # A list, but for mapped tasks.
        assert isinstance(told[0] if isinstance(told, list) else told, QaribNotifier)
        hours = task.execution_timeout and task.execution_timeout.total_seconds() / 3600
        long = {"collect_source": 48, "collect": 48, "vocab": 48, "split": 48, "finetune": 48, "train": None}
        assert hours == long.get(task.task_id, 6), task.task_id
    assert dag.deadline is None


def test_a_deadline_and_limits_by_the_environment() -> None:
    code = (
        "import qarib_pretrain\n"
        "dag = qarib_pretrain.DAG; task = dag.get_task('shard.convert')\n"
        "print(dag.deadline[0].interval, task.execution_timeout, task.retry_delay, task.pool)"
    )
    environment = {
        "QARIB_RUN_DEADLINE_HOURS": "36",
        "QARIB_TIMEOUT_FACTOR": "0.5",
        "QARIB_RETRY_SECONDS": "2",
        "QARIB_CONVERT_POOL": "some",
    }
    assert printed(code, **environment) == "1 day, 12:00:00 3:00:00 0:00:02 some"


def test_only_who_shows_or_reads_the_form_has_it() -> None:
    code = "import qarib_pretrain\nprint(len(qarib_pretrain.DAG.params))"
    for task, shown in (("", True), ("preflight", True), ("shard.convert", False)):
        environment = {"_AIRFLOW_PARSING_CONTEXT_TASK_ID": task} if task else {}
        assert (int(printed(code, **environment)) > 50) == shown


def test_our_own_code_is_loaded_ahead_only_where_it_does_not_change() -> None:
    code = (
        "import sys; sys.argv = ['airflow', 'scheduler']\n"
        "import qarib_plugin\n"
        "print('qarib_airflow.tasks.pipeline' in sys.modules, 'numba' in sys.modules)"
    )
    assert printed(code, QARIB_PRELOAD="1") == "True True"

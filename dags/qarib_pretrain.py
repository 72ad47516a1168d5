"""Turns raw Arabic text into a trained, evaluated and exported BERT.

**To try it**, press *Trigger*, choose the preset `demo`, and keep all other fields empty. The run takes a few
minutes.

**To use your own text**, choose the preset `qarib` and list your files under *Sources*, one path a line.
Enter a bucket under *Bucket* unless your administrator has set one. Write numbers as you are used to, such as
`2,000,000` or `8e-6`. An empty field has the preset's value; the log of `preflight` shows all values.

The steps, from left to right:

1. `preflight` checks the settings, the sources and the bucket before any work starts.
2. `sources` lists the sources, `collect_source` reads and cleans each of them, and `collect` joins them into
   one text without duplicates and holds out a small part for evaluation. `data.txt.report.html`, beside the
   text, shows the result.
3. `vocab` trains the vocabulary while `split` cuts the text into shards.
4. `shard` runs for each shard: `convert` makes the pre-training data, and `upload` copies it to the bucket.
5. When all of them have ended (`shards_ended`), `dataset` checks that all shards exist and lists the missing
   ones. `publish` uploads the vocabulary, `bert_config.json` and the dataset's manifest.
6. `train` trains on a Cloud TPU, which `prepare_tpu` prepares and `delete_tpu` deletes even if the training
   fails. With *Machine* set to `local` it trains on the worker's machine. The log shows step and loss. A lost
   TPU is replaced.
7. `evaluate` measures the model on the held-out text, and `export` writes the model below `models/`.
   `promote` makes it the model that `qarib_retrain` continues from. If the model that is already promoted is
   better, the task is skipped and its log says why. With *Approval*, it asks a person first, and so does
   `prepare_tpu` above a limit of the cost.
8. With labelled tasks, `finetunings` lists a fine-tuning for each task and seed, `finetune` runs for each of
   them on the worker's machine, and `finetuning_table` writes their mean and deviation to
   `bert_evals/tasks.json` and the model card. Without tasks, or with *Fine-tune on tasks* false, they are
   skipped.

**To train again on an existing dataset**, with another model or for longer, enter its name under *Use an
existing dataset*: the steps before the training are skipped.

**If a task fails**, its log ends with what went wrong and what to do. Correct the cause and clear the task,
or trigger the DAG again with the same settings: finished work is reused.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS, RUNS_AT_ONCE, deadline
from qarib_airflow.forms.pretrain import params_in_use
from qarib_airflow.preflight.pretrain import preflight as run_preflight
from qarib_airflow.tasks.pipeline import from_sources_to_model

from qarib_tasks.layout import shard_label


@task
def preflight() -> dict[str, Any]:
    context = get_current_context()
    return run_preflight(context["params"], CONNECTION, context["ti"]).to_dict()


@dag(
    dag_display_name="QARiB: pre-train a BERT",
    description="Turns raw Arabic text into a trained, evaluated and exported BERT",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=RUNS_AT_ONCE,
    tags=["qarib"],
    user_defined_macros={"shard_label": shard_label},
    deadline=deadline(),
    default_args=DEFAULT_ARGS,
)
def qarib_pretrain() -> None:
    from_sources_to_model(preflight())


DAG = qarib_pretrain()
# The form comes last: Airflow copies the params that a DAG has for each new task.
DAG.params = params_in_use()

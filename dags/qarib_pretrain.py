"""Raw Arabic text to a trained, evaluated and exported BERT.

**To try it**, press *Trigger*, choose the preset `demo`, leave everything else empty. It takes some minutes.

**For your own text**, choose the preset `qarib`, put your files under *Sources*, and a bucket under *Bucket*
if your administrator has not set one. Every field that you leave empty has the preset's value; the log of
`preflight` shows all of them.

What happens, from left to right:

1. `preflight` checks the settings, the sources and the bucket, before anything is made.
2. `sources` names the sources, `collect_source` reads and cleans each of them, and `collect` joins them into
   one text without repeats and puts a small part of it aside for evaluation; `report.html` beside the text
   shows what came of it.
3. `vocab` learns the vocabulary; `split` cuts the text into shards. Both at once.
4. `shard` for each shard: `convert` makes the pre-training data, `upload` brings it to the bucket.
5. `dataset` judges whether all shards are there and names those that are not; `publish` uploads the
   vocabulary, `bert_config.json` and the dataset's manifest.
6. `train`: on a Cloud TPU that `prepare_tpu` prepares and `delete_tpu` removes, whatever happens; or on the
   worker's machine (*Machine*: `local`). Its log shows step and loss. A TPU that is lost is replaced.
7. `evaluate`, `export`: the model ends up below `models/`. `promote` makes it the one that `qarib_retrain`
   goes on from, unless there is one that is better; then the task is skipped and its log says why.

**To train again on a dataset that is there**, with another model or longer, give its name under *Train on a
dataset that is there*: the steps before the training are left out.

**If a task fails**, its log ends with what was wrong and what to do. Correct it and clear the task, or
trigger the DAG again with the same settings: whatever is finished is found again and left alone.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS, deadline
from qarib_airflow.errors import fails_for_good
from qarib_airflow.forms.pretrain import params_in_use
from qarib_airflow.preflight.pretrain import preflight as run_preflight
from qarib_airflow.tasks.pipeline import from_sources_to_model

from qarib_tasks.layout import shard_label


@task
@fails_for_good
def preflight() -> dict[str, Any]:
    return run_preflight(get_current_context()["params"], CONNECTION).to_dict()


@dag(
    dag_display_name="QARiB: pre-train a BERT",
    description="Raw Arabic text to a trained, evaluated and exported BERT",
    doc_md=__doc__,
    schedule=None,
    params=params_in_use(),
    max_active_runs=1,
    tags=["qarib"],
    user_defined_macros={"shard_label": shard_label},
    deadline=deadline(),
    default_args=DEFAULT_ARGS,
)
def qarib_pretrain() -> None:
    from_sources_to_model(preflight())


qarib_pretrain()

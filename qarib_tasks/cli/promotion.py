"""`qarib promote`: the DAGs' task of that name, as a command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from qarib_tasks.cli.options import FOLDER, setting_options
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.run import PromotionConfig

# Who runs the command decides.
BY_AIRFLOW = ("approval", "approval_hours")


@click.command("promote", epilog="Example: qarib promote demo-0123456789 --workspace work")
@click.argument("model")
@click.option(
    "--workspace",
    type=FOLDER,
    required=True,
    help="Folder with `models/` and `datasets/`.",
)
@setting_options(PromotionConfig, without=BY_AIRFLOW, default=None, show_default="as for the run")
@click.option("--anyway", is_flag=True, help="Promote MODEL regardless of its evaluation.")
def promote_command(model: str, workspace: Path, anyway: bool, **values: Any) -> None:
    """Promote MODEL, so that re-training starts from it, unless the promoted model is better.

    MODEL is the model's name, a folder below `models/`. The command writes the record models/promoted.json to
    the workspace and to the bucket to which the model's dataset was published.
    """
    from qarib_tasks.registry.promotion import promote, run_of_model

    run = run_of_model(workspace.absolute(), model)
    given = {name: value for name, value in values.items() if value is not None}
    promotion = from_dict(PromotionConfig, to_dict(run.config.promotion) | given)
    judged = promote(replace(run, config=replace(run.config, promotion=promotion)), anyway=anyway)
    click.echo(f"{judged.model_id}: {judged.state}, {judged.reason}")

"""`qarib promote`: the DAGs' task of that name, as a command."""

from __future__ import annotations

from pathlib import Path

import click

from qarib_tasks.cli.paths import FOLDER


@click.command("promote", epilog="Example: qarib promote demo-0123456789 --workspace work")
@click.argument("model")
@click.option(
    "--workspace",
    type=FOLDER,
    required=True,
    help="Folder with `models/` and `datasets/`.",
)
@click.option("--anyway", is_flag=True, help="Promote MODEL regardless of its evaluation.")
def promote_command(model: str, workspace: Path, anyway: bool) -> None:
    """Promote MODEL, so that re-training starts from it, unless the promoted model is better.

    MODEL is the model's name, a folder below `models/`. The command writes the record models/promoted.json to
    the workspace and to the bucket to which the model's dataset was published.
    """
    from qarib_tasks.registry.promotion import promote, run_of_model

    judged = promote(run_of_model(workspace.absolute(), model), anyway=anyway)
    click.echo(f"{judged.model_id}: {judged.state}, {judged.reason}")

"""`qarib promote`: what the DAGs' task of that name does, by hand."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("promote", epilog="Example: qarib promote demo-0123456789 --workspace work")
@click.argument("model")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder with `models/` and `datasets/`.",
)
@click.option("--anyway", is_flag=True, help="However good it is, and whatever it was evaluated on.")
def promote_command(model: str, workspace: Path, anyway: bool) -> None:
    """Make MODEL the one that re-training goes on from, unless the promoted one is better.

    MODEL is the model's name, a folder below `models/`. The record models/promoted.json is written in the
    workspace, and in the bucket where the model's dataset was published.
    """
    from qarib_tasks.registry.promotion import promote, run_of_model

    judged = promote(run_of_model(workspace.absolute(), model), anyway=anyway)
    click.echo(f"{judged.model_id}: {judged.state}, {judged.reason}")

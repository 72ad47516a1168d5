"""`qarib plan`: what a run's training takes and costs, before anything is made."""

from __future__ import annotations

import math
from pathlib import Path

import click

from qarib_tasks.cli.options import FILE
from qarib_tasks.config.loading import load_yaml


@click.command("plan", epilog="Example: qarib plan --config run.yaml --within 12")
@click.option("--config", type=FILE, required=True, help="YAML file of `qarib run`.")
@click.option("--within", type=click.FloatRange(0, 1e6, min_open=True), help="Hours the training may take.")
@click.option(
    "--text-gb",
    type=click.FloatRange(0, 1e9, min_open=True),
    help="Size of the text, if the sources are not here. Otherwise it is that of the sources.",
)
def plan_command(config: Path, within: float | None, text_gb: float | None) -> None:
    """Print what the training takes and costs on the run's TPU and on others, and advice.

    All figures are calculated. Options in the table read as many examples as the run.
    """
    from qarib_tasks.config import presets
    from qarib_tasks.corpus.collect import list_sources
    from qarib_tasks.machines.planning.advice import advice
    from qarib_tasks.machines.planning.limits import over_limits
    from qarib_tasks.machines.planning.options import plan
    from qarib_tasks.machines.planning.text import summary, table
    from qarib_tasks.runs.disk_space import size_to_read, text_bytes

    settings = presets.resolve(load_yaml(config), config)
    if math.isnan((within or 0) + (text_gb or 0)):
        raise click.UsageError("--within and --text-gb must be numbers")
    size = text_gb * 1e9 if text_gb else 0.0
    if not size and settings.collect.sources:
        listed = list_sources(settings.collect)
        size = text_bytes(file for files in listed.values() for file in files)
    found = plan(settings, size_to_read(settings, size), within)
    asked = found.asked
    if settings.tpu.machine == "local":
        click.echo(
            "The run trains on its own machine (machine: local), which has no price. On a Cloud TPU:\n"
        )
    click.echo(
        f"{asked.batch * asked.steps:,} examples on {asked.accelerator_type}, {asked.provisioning}: about "
        f"{summary(asked.estimate, asked.steps)}\n"
    )
    for fault in over_limits(settings.tpu, asked.estimate) if settings.tpu.machine != "local" else ():
        click.echo(f"No run starts with these limits: {fault.what}.\n")
    click.echo("\n".join(table(found)) + "\n")
    for sentence in advice(settings, found):
        click.echo(f"- {sentence}")

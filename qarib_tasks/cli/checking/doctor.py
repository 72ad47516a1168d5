"""Commands that check a deployment."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from qarib_tasks.cli.options import FILE


@click.command("doctor", epilog="Example: qarib doctor --config run.yaml")
@click.option(
    "--config",
    type=FILE,
    help="YAML file, as of `qarib run`. Without one: QARIB_BUCKET, QARIB_WORKSPACE, and QARIB_TPU in the "
    "environment.",
)
def doctor_command(config: Path | None) -> int:
    """Check a deployment from here: credentials, project, APIs, roles, bucket, quota, network, disk.

    Each line is ok, a warning, or a fault, with the command that fixes it. Nothing is made or changed, but a
    small object in an emulator's bucket. The exit status is 1 if there is a fault.
    """
    from qarib_tasks.doctor.deployment import of_environment
    from qarib_tasks.doctor.examine import examine
    from qarib_tasks.doctor.result import is_broken, summary

    # What cannot be reached is a line.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    results = []
    for result in examine(of_environment(config)):
        click.echo(str(result))
        results.append(result)
    click.echo(summary(results))
    return 1 if is_broken(results) else 0

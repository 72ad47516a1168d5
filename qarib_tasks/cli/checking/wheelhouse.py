"""The command that makes what TPU machines without internet access install from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from qarib_tasks.cli.options import FILE, OUTPUT


@click.command("wheelhouse", epilog="Example: qarib wheelhouse -o wheelhouse.tar")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Tar file to write.")
@click.option(
    "--requirements",
    type=FILE,
    help="Lock file with checksums.  [default: QARIB_TPU_REQUIREMENTS, or the project's tpu.txt]",
)
@click.option(
    "--python", default="3.12", show_default=True, metavar="VERSION", help="The machines' version of Python."
)
@click.option(
    "--image-python",
    is_flag=True,
    help="Include no build of Python: the machines' image has this version. Google's images of 2026 do not.",
)
def wheelhouse_command(output: Path, requirements: Path | None, python: str, image_python: bool) -> None:
    """Make what TPU machines without external addresses install from, and try it without a network.

    pip downloads the wheels and uv by the checksums of their lock files, and uv its build of Python. The
    Airflow workers find the tar by QARIB_TPU_WHEELHOUSE. If the tar is current, it is kept.
    """
    from qarib_tasks.counting import counted
    from qarib_tasks.tpu.prepare import REQUIREMENTS
    from qarib_tasks.tpu.wheelhouse.make import make_wheelhouse

    lock = requirements or Path(os.environ.get("QARIB_TPU_REQUIREMENTS") or REQUIREMENTS)
    made = make_wheelhouse(output, lock, python=python, build=not image_python)
    how = "installed without a network" if made.tried else "resolved without a network, not installed"
    click.echo(f"{output}: {counted(made.wheels, 'wheel')} and uv, {made.bytes / 1e6:,.0f} MB, {how}")
    click.echo(f"Python: {made.build or f'no build, the image must have Python {python}'}")
    if made.kept:
        click.echo("It existed, and is current.")
    click.echo(f"export QARIB_TPU_WHEELHOUSE={shlex.quote(str(made.path.absolute()))}")

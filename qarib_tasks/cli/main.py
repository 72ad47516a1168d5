"""`qarib`: every step without Airflow as a subcommand, and all of them with `qarib run`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from qarib_tasks import __version__
from qarib_tasks.cli.conversion import convert_command, inspect_command, verify_command
from qarib_tasks.cli.corpus import collect_command, split_command, vocab_command, vocab_report_command
from qarib_tasks.cli.deployment import airflow_init_command, metrics_command
from qarib_tasks.cli.emulators import emulate_group
from qarib_tasks.cli.promotion import promote_command
from qarib_tasks.cli.training import evaluate_command, export_command, fill_mask_command, train_command
from qarib_tasks.config.loading import load_yaml
from qarib_tasks.errors import QaribError

FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="qarib")
def cli() -> None:
    """Train a BERT from raw Arabic text, step by step.

    You can kill a step and run it again: it keeps what is complete and redoes only the rest.
    """


@cli.command(epilog="Example: qarib run --config run.yaml, which holds `preset: demo` and `workspace: work`.")
@click.option(
    "--config", type=FILE, required=True, help="YAML file: preset, workspace, and settings to override."
)
def run(config: Path) -> None:
    """Run all steps without Airflow: collect, vocab, split, convert, upload, train, evaluate, export."""
    from qarib_tasks import pipeline
    from qarib_tasks.config import presets
    from qarib_tasks.machines.backend import run_to_end
    from qarib_tasks.machines.local import LocalProcessBackend
    from qarib_tasks.runs.prepare import prepare
    from qarib_tasks.storage.bucket import default_client

    settings = presets.resolve(load_yaml(config), config)
    client = default_client() if settings.upload.bucket else None
    request = prepare(settings, client=client)
    backend = LocalProcessBackend()
    manifest = pipeline.run_all(request, lambda work: run_to_end(backend, work))
    click.echo(f"dataset {request.dataset_id}\nmodel   {request.model_id}\nexport  {request.model.export}")
    click.echo("".join(f"{name}: {value}\n" for name, value in manifest.statistics.items()), nl=False)


for command in (
    collect_command,
    vocab_command,
    vocab_report_command,
    emulate_group,
    airflow_init_command,
    metrics_command,
    split_command,
    convert_command,
    verify_command,
    inspect_command,
    train_command,
    evaluate_command,
    export_command,
    fill_mask_command,
    promote_command,
):
    cli.add_command(command)


def main() -> None:
    """Run the command; report an error that the user can fix as one line, without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        cli()
    except QaribError as error:
        click.echo(f"qarib: error: {error}", err=True)
        sys.exit(1)

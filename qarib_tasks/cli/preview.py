"""`qarib preview`: what sources hold, and what would be kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qarib_tasks.cli.failures import failure, with_options
from qarib_tasks.cli.options import FILE, options_of
from qarib_tasks.cli.sources import settings_of, source_options, standard_input
from qarib_tasks.corpus.sources import STANDARD_INPUT
from qarib_tasks.errors import QaribError


@click.command(
    "preview", epilog="Example: qarib preview tweets.csv --field tweet 'gs://bucket/books/*.txt.gz'"
)
@click.argument("source", nargs=-1)
@click.option("--config", type=FILE, help="YAML with the `collect` section of a run, instead of SOURCE.")
@source_options
def preview_command(source: tuple[str, ...], config: Path | None, **values: Any) -> int:
    """Show what sources hold before they are collected.

    For each SOURCE, as for `qarib collect`: format, encoding, columns, the first documents before and after
    cleaning, what cleaning drops, and an estimate of lines, words and time. Only a sample is read: 10,000
    lines from the beginning of up to five files. The status is 1 if a source cannot be read, if all
    its files are empty, or if no source has text.
    """
    from qarib_tasks.corpus.preview.preview import preview
    from qarib_tasks.corpus.preview.text import shown, text_of, title

    settings = settings_of(source, config, values)
    options = {} if config else options_of(preview_command)
    status, empty = 0, bool(settings.sources)
    with standard_input(settings) as given:
        for number, each in enumerate(settings.sources):
            files = [given] if given and each.path == STANDARD_INPUT else None
            try:
                found = preview(settings, each, files=files)
            except (QaribError, OSError) as error:
                click.echo(f"qarib: error: {failure(error, options)}", err=True)
                status = 1
                continue
            empty = empty and found.complete and not found.sample_lines
            if found.complete and not found.formats:  # All its files are empty or left out.
                status = 1
            click.echo(("\n" if number else "") + "\n".join([title(found), *text_of(found)]))
            for warning in found.warnings:
                click.echo(f"  warning: {with_options(shown(warning), options)}")
    return 1 if empty else status

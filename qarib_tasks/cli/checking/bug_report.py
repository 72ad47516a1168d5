"""The command that collects what a bug report needs."""

from __future__ import annotations

from pathlib import Path

import click

from qarib_tasks.cli.options import OUTPUT


@click.command("report-bug", epilog="Example: qarib report-bug work/models/demo-0123456789 -o report.md")
@click.argument("run")
@click.option("-o", "--output", type=OUTPUT, required=True, help="File to write.")
def report_bug_command(run: str, output: Path) -> None:
    """Collect versions, settings, records, and the last log lines of RUN for an issue, without secrets.

    RUN is the folder of the run's model: below `models/` of the workspace, or gs://bucket/models/MODEL.
    Passwords, keys, tokens, and signatures are replaced by ***. Read the file before you publish it: it has
    the names of your files and sources.
    """
    import os

    from qarib_tasks.doctor.bug_report.collect import write_report

    write_report(os.path.expanduser(run), output)
    click.echo(f"{output}: read it before you publish it")

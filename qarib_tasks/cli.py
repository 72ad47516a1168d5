"""`qarib`: every step without Airflow, a subcommand each, and the whole way with `qarib run`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from qarib_tasks import __version__
from qarib_tasks.cli_conversion import convert_command, inspect_command, verify_command
from qarib_tasks.cli_training import evaluate_command, export_command, train_command
from qarib_tasks.config import CollectConfig, ConvertConfig, SplitConfig, VocabConfig, load_yaml
from qarib_tasks.errors import QaribError

FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="qarib")
def cli() -> None:
    """Raw Arabic text to a trained BERT, step by step.

    Each step can be killed and run again: it finds what is whole and redoes only the rest.
    """


@cli.command(epilog="Example: qarib collect books/*.txt tweets.txt.gz -o data.txt")
@click.argument("source", nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="The collected text.")
@click.option("--heldout", type=FILE, help="File for a held-out part, for evaluation.")
@click.option("--heldout-share", type=float, default=CollectConfig.heldout_share, show_default=True)
@click.option(
    "--document",
    type=click.Choice(["blank_line", "line", "file"]),
    default="blank_line",
    show_default=True,
    help="What ends a document.",
)
@click.option("--random-seed", type=int, default=ConvertConfig.random_seed, show_default=True)
def collect(
    source: tuple[str, ...],
    output: Path,
    heldout: Path | None,
    heldout_share: float,
    document: str,
    random_seed: int,
) -> None:
    """Copy text files (or globs of them, plain or gzipped) into one text, documents apart."""
    from qarib_tasks import corpus
    from qarib_tasks.config import from_dict

    values = [{"name": f"source_{i}", "path": path, "document": document} for i, path in enumerate(source)]
    config = from_dict(CollectConfig, {"sources": values, "heldout_share": heldout_share})
    manifest = corpus.collect(config, output, heldout=heldout, random_seed=random_seed)
    click.echo("{lines:,} lines, {documents:,} documents".format(**manifest.statistics))


@cli.command(epilog="Example: qarib vocab -i data.txt -s 64000")
@click.option("-i", "--input", "data", type=FILE, required=True, help="The collected text.")
@click.option("-s", "--size", type=int, default=VocabConfig.vocab_size, show_default=True, help="Entries.")
@click.option("-o", "--output", type=FILE, help="The vocabulary.  [default: INPUT.vocab]")
@click.option("--sample-lines", type=int, default=VocabConfig.sample_lines, show_default=True)
@click.option("--placeholders", type=int, default=VocabConfig.placeholders, show_default=True)
@click.option("--random-seed", type=int, default=ConvertConfig.random_seed, show_default=True)
@click.option("--do-lower-case/--no-do-lower-case", default=ConvertConfig.do_lower_case, show_default=True)
def vocab(
    data: Path,
    size: int,
    output: Path | None,
    sample_lines: int,
    placeholders: int,
    random_seed: int,
    do_lower_case: bool,
) -> None:
    """Learn a BERT vocabulary; tokenizer.json and tokenizer_config.json are written beside it."""
    from qarib_tasks import vocab as step
    from qarib_tasks.config import from_dict

    config = from_dict(
        VocabConfig, {"vocab_size": size, "sample_lines": sample_lines, "placeholders": placeholders}
    )
    out = output or Path(f"{data}.vocab")
    step.build_vocab(data, out, config, do_lower_case=do_lower_case, random_seed=random_seed)
    click.echo(f"{out}: {size:,} entries")


@cli.command(epilog="Example: qarib split data.txt shards/ --lines 512000")
@click.argument("data", type=FILE)
@click.argument("folder", type=FILE)
@click.option("--lines", type=int, default=SplitConfig.shard_lines, show_default=True, help="Lines a shard.")
def split(data: Path, folder: Path, lines: int) -> None:
    """Split a text into shard_0000, shard_0001 … as GNU `split -a 4 -l LINES -d` does."""
    from qarib_tasks import shards
    from qarib_tasks.config import from_dict

    manifest = shards.split(data, folder, from_dict(SplitConfig, {"shard_lines": lines}))
    click.echo(f"{folder}: {len(manifest.outputs):,} shards")


@cli.command(epilog="Example: qarib run --config run.yaml, which holds `preset: demo` and `workspace: work`.")
@click.option("--config", type=FILE, required=True, help="YAML: preset, workspace, and settings to override.")
def run(config: Path) -> None:
    """Go the whole way without Airflow: collect, vocab, split, convert, upload, train, evaluate, export."""
    from qarib_tasks import pipeline, presets
    from qarib_tasks.tpu.backend import run_to_end
    from qarib_tasks.tpu.local import LocalProcessBackend

    request = pipeline.prepare(presets.resolve(load_yaml(config), config))
    backend = LocalProcessBackend()
    manifest = pipeline.run_all(request, lambda work: run_to_end(backend, work))
    click.echo(f"dataset {request.dataset_id}\nmodel   {request.model_id}\nexport  {request.model.export}")
    click.echo("".join(f"{name}: {value}\n" for name, value in manifest.statistics.items()), nl=False)


for command in (
    convert_command,
    verify_command,
    inspect_command,
    train_command,
    evaluate_command,
    export_command,
):
    cli.add_command(command)


def main() -> None:
    """The command's entry point: an error that is the user's to mend is one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        cli()
    except QaribError as error:
        click.echo(f"qarib: error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

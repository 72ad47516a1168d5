"""`qarib convert`, `qarib verify` and `qarib inspect`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from qarib_tasks.cli.options import FILE, OUTPUT, setting_options
from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.counting import counted
from qarib_tasks.progress import progress


@contextlib.contextmanager
def shown_progress(name: str) -> Iterator[Callable[[str, float], None]]:
    """Show the phases of a conversion on one progress bar of 100 percent."""
    spans = {"read": (0, 35), "build": (35, 25), "write": (60, 40)}
    done = 0
    with progress(name, 100, "%") as advance:

        def move(phase: str, share: float) -> None:
            nonlocal done
            first, span = spans[phase]
            now = int(first + share * span)
            advance(now - done)
            done = now

        yield move


@click.command(
    "convert", epilog="Example: qarib convert shard_0000 -o shard_0000.tfrecord --vocab data.txt.vocab"
)
@click.argument("shard", type=FILE)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The TFRecord file to write.")
@click.option("--vocab", type=FILE, required=True, help="The vocabulary, one entry per line.")
@setting_options(ConvertConfig)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Cores to use.")
def convert_command(shard: Path, output: Path, vocab: Path, threads: int, **settings: Any) -> None:
    """Convert a shard of text to BERT's pretraining examples.

    SHARD is UTF-8 text with one sentence or tweet per line and an empty line between documents. In pairs, the
    examples and their order are those of google-research/bert's create_pretraining_data.py with the same
    flags. The command writes a manifest beside the output and skips a shard that is already converted.
    """
    from qarib_tasks.conversion.convert import convert_shard
    from qarib_tasks.conversion.packing import summary

    # Defaults are left to the config: that of the duplicates depends on the format.
    context = click.get_current_context()
    given = {n: v for n, v in settings.items() if context.get_parameter_source(n) != ParameterSource.DEFAULT}
    config = from_dict(ConvertConfig, given)
    with shown_progress(shard.name) as move:
        manifest = convert_shard(shard, vocab, output, config, threads=threads, progress=move)
    made = manifest.statistics
    click.echo(f"{output}: {summary(made) if 'pieces' in made else counted(made['examples'], 'example')}")


@click.command("verify", epilog="Example: qarib verify pretraining_data/*.tfrecord")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
def verify_command(files: tuple[Path, ...]) -> None:
    """Check converted shards against their manifests.

    The command checks framing, checksums, lengths, id ranges and mask rules, and reports the first fault with
    its record number.
    """
    from qarib_tasks.conversion.verify import verify_files

    for file, examples in verify_files(files):
        click.echo(f"{file}: {counted(examples, 'example')}, intact")


@click.command(
    "inspect", epilog="Example: qarib inspect shard_0000.tfrecord --vocab data.txt.vocab --examples 3"
)
@click.argument("file", type=FILE)
@click.option("--vocab", type=FILE, help="The vocabulary.  [default: the one found near FILE]")
@click.option(
    "-n", "--examples", type=click.IntRange(min=1), default=5, show_default=True, help="Number of examples."
)
@click.option(
    "--skip", type=click.IntRange(min=0), default=0, show_default=True, help="Number of examples to skip."
)
@click.option("--visual", is_flag=True, help="For a terminal that shows Arabic from left to right.")
def inspect_command(file: Path, vocab: Path | None, examples: int, skip: int, visual: bool) -> None:
    """Show examples as text, with masked words as {original→shown}."""
    from qarib_tasks.conversion.inspection import print_examples

    print_examples(file, vocab, examples=examples, skip=skip, visual=visual)

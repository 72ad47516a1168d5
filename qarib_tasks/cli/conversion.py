"""`qarib convert`, `qarib verify` and `qarib inspect`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from qarib_tasks.cli.options import setting_options
from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.progress import progress

FILE = click.Path(path_type=Path)


@contextlib.contextmanager
def shown_progress(name: str) -> Iterator[Callable[[str, float], None]]:
    """The phases of a conversion on one bar of 100 percent, each given the share that it takes."""
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
@click.option("-o", "--output", type=FILE, required=True, help="The TFRecord file to write.")
@click.option("--vocab", type=FILE, required=True, help="The vocabulary, an entry a line.")
@setting_options(ConvertConfig)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Cores to use.")
def convert_command(shard: Path, output: Path, vocab: Path, threads: int, **settings: Any) -> None:
    """Make a shard of text into BERT's pretraining examples.

    SHARD is UTF-8 text, a sentence or tweet a line, an empty line between documents. The same examples in
    the same order as google-research/bert's create_pretraining_data.py with the same flags. Beside the
    output its manifest is written; a shard that is already converted is left as it is.
    """
    from qarib_tasks.conversion.convert import convert_shard

    config = from_dict(ConvertConfig, settings)
    with shown_progress(shard.name) as move:
        manifest = convert_shard(shard, vocab, output, config, threads=threads, progress=move)
    click.echo(f"{output}: {manifest.statistics['examples']:,} examples")


@click.command("verify", epilog="Example: qarib verify pretraining_data/*.tfrecord")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
def verify_command(files: tuple[Path, ...]) -> None:
    """Read converted shards back and check them against their manifests.

    Framing, checksums, lengths, id ranges and mask rules; the first fault is named with its record number.
    """
    from qarib_tasks.conversion.verify import verify_files

    for file, examples in verify_files(files):
        click.echo(f"{file}: {examples:,} examples, whole")


@click.command(
    "inspect", epilog="Example: qarib inspect shard_0000.tfrecord --vocab data.txt.vocab --examples 3"
)
@click.argument("file", type=FILE)
@click.option("--vocab", type=FILE, help="The vocabulary.  [default: the one found near FILE]")
@click.option("-n", "--examples", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@click.option(
    "--skip", type=click.IntRange(min=0), default=0, show_default=True, help="Examples passed over."
)
@click.option("--visual", is_flag=True, help="For a terminal that writes Arabic from left to right.")
def inspect_command(file: Path, vocab: Path | None, examples: int, skip: int, visual: bool) -> None:
    """Show examples as text, masked words as {original→shown}."""
    from qarib_tasks.conversion.inspection import print_examples

    print_examples(file, vocab, examples=examples, skip=skip, visual=visual)

"""`qarib collect`, `vocab`, `vocab-report` and `split`: text, vocabulary and shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from qarib_tasks.cli.failures import with_options
from qarib_tasks.cli.options import FILE, OUTPUT, OUTPUT_FOLDER, options_of, setting_option
from qarib_tasks.cli.sources import settings_of, source_options, standard_input, texts_of_tasks, was_given
from qarib_tasks.config.conversion import ConvertConfig, SplitConfig
from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.counting import counted
from qarib_tasks.storage.side_files import report_of


@click.command("collect", epilog="Example: qarib collect 'books/*.txt' tweets.jsonl.gz -o data.txt")
@click.argument("source", nargs=-1)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The collected text.")
@click.option("--config", type=FILE, help="YAML with the `collect` section of a run, instead of SOURCE.")
@click.option("--heldout", type=OUTPUT, help="File for the text held out for evaluation.")
@setting_option(CollectConfig, "heldout_share")
@source_options
@setting_option(CollectConfig, "deduplicate")
@setting_option(CollectConfig, "near_duplicates")
@setting_option(ConvertConfig, "random_seed")
@click.option(
    "--without-texts-of",
    type=FILE,
    help="YAML with labelled tasks: `tasks`, or the `evaluate` section of a run. Documents that contain one "
    "of their test texts are left out.",
)
def collect_command(
    source: tuple[str, ...],
    output: Path,
    config: Path | None,
    heldout: Path | None,
    heldout_share: float,
    deduplicate: bool,
    near_duplicates: float,
    random_seed: int,
    without_texts_of: Path | None,
    **values: Any,
) -> None:
    """Read, clean and deduplicate sources into one text.

    SOURCE is a file, a folder, a glob, gs://…, http://…, https://…, or - for standard input: text, JSON,
    CSV, TSV, Parquet, Arrow, WET or WikiExtractor files, also compressed (gz, bz2, xz, zst) or in zip and tar
    archives. A page beside the output, OUTPUT.report.html, shows what was collected.
    """
    from qarib_tasks.corpus import losses
    from qarib_tasks.corpus.collect import collect, list_sources

    values |= {
        "heldout_share": heldout_share,
        "deduplicate": deduplicate,
        "near_duplicates": near_duplicates,
    }
    settings = settings_of(source, config, values)
    if heldout is None and not config and was_given("heldout_share"):
        raise click.UsageError("--heldout-share needs --heldout, the file for that share.")
    without = texts_of_tasks(without_texts_of) if without_texts_of else None
    with standard_input(settings) as given:
        listed = list_sources(settings, standard_input=given)
        files = {each.name: some for each, some in listed.items() if some}
        settings = replace(settings, sources=tuple(each for each in settings.sources if each.name in files))
        manifest = collect(
            settings, output, heldout=heldout, random_seed=random_seed, files=files, without=without
        )
    figures = manifest.statistics
    click.echo(
        f"{counted(figures['lines'], 'line')}, {counted(figures['documents'], 'document')}; "
        f"{counted(figures['duplicates'] + figures['near_duplicates'], 'duplicate')} left out; "
        f"see {report_of(output)}"
    )
    options = {} if config else options_of(collect_command)
    for line in losses.lines(figures, manifest.config):
        click.echo(with_options(line, options))


@click.command("vocab", epilog="Example: qarib vocab -i data.txt -s 64000")
@click.option("-i", "--input", "data", type=FILE, required=True, help="The collected text.")
@setting_option(VocabConfig, "vocab_size", "-s", "--size")
@click.option("-o", "--output", type=OUTPUT, help="The vocabulary.  [default: INPUT.vocab]")
@setting_option(VocabConfig, "sample_lines")
@setting_option(VocabConfig, "placeholders")
@setting_option(VocabConfig, "recipe")
@setting_option(VocabConfig, "model_type")
@click.option("--replace", is_flag=True, help="Replace a vocabulary of different text or settings.")
@setting_option(ConvertConfig, "random_seed")
@setting_option(ConvertConfig, "do_lower_case")
def vocab_command(
    data: Path,
    size: int,
    output: Path | None,
    sample_lines: int,
    placeholders: int,
    recipe: str,
    model_type: str,
    replace: bool,
    random_seed: int,
    do_lower_case: bool,
) -> None:
    """Learn a BERT vocabulary, and write tokenizer.json and tokenizer_config.json beside it."""
    from qarib_tasks.vocabulary.build import build_vocab

    values = {"vocab_size": size, "sample_lines": sample_lines, "placeholders": placeholders}
    config = from_dict(VocabConfig, {**values, "recipe": recipe, "model_type": model_type})
    out = output or Path(f"{data}.vocab")
    build_vocab(data, out, config, do_lower_case=do_lower_case, random_seed=random_seed, replace=replace)
    click.echo(f"{out}: {counted(size, 'entry', 'entries')}")


@click.command("vocab-report", epilog="Example: qarib vocab-report data.txt.vocab --text heldout.txt")
@click.argument("vocab", nargs=-1, required=True, type=FILE)
@click.option(
    "--text",
    type=FILE,
    required=True,
    help="Text to tokenize, ideally text that the vocabulary was not learned from.",
)
@click.option(
    "--do-lower-case/--no-do-lower-case",
    default=None,
    help="[default: the value in tokenizer_config.json beside the vocabulary, otherwise lower case]",
)
@click.option("--examples", type=int, default=10, show_default=True, help="Number of examples of each kind.")
def vocab_report_command(
    vocab: tuple[Path, ...], text: Path, do_lower_case: bool | None, examples: int
) -> None:
    """Show dead and unused entries, the share of [UNK] and wordpieces per word, of one VOCAB or several."""
    from qarib_tasks.vocabulary.report import lower_case_of, report, side_by_side

    reports = []
    for path in vocab:
        lower = lower_case_of(path) if do_lower_case is None else do_lower_case
        reports.append(report(path, text, do_lower_case=lower is not False))
    click.echo(side_by_side(reports, [str(path)[-40:] for path in vocab], examples))


@click.command("split", epilog="Example: qarib split data.txt shards/ --lines 512000")
@click.argument("data", type=FILE)
@click.argument("folder", type=OUTPUT_FOLDER)
@setting_option(SplitConfig, "shard_lines", "--lines", "lines")
def split_command(data: Path, folder: Path, lines: int) -> None:
    """Split a text into shard_0000, shard_0001 …, like GNU `split -a 4 -l LINES -d`."""
    from qarib_tasks.dataset.split import split

    manifest = split(data, folder, from_dict(SplitConfig, {"shard_lines": lines}))
    click.echo(f"{folder}: {counted(len(manifest.outputs), 'shard')}")

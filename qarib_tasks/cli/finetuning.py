"""`qarib finetune`: models on labelled tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from qarib_tasks.cli.options import FILE, setting_option, setting_options
from qarib_tasks.cli.sources import tasks_of
from qarib_tasks.config.evaluation import EvaluateConfig, TaskConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.typed import source_names
from qarib_tasks.corpus.characters import isolated

HEADER = ("task", "metric", "mean ± sd", "seeds", "TF-IDF", "most frequent")


@click.command(
    "finetune",
    epilog="Example: qarib finetune models/demo-0123456789 --train train.csv --text tweet --label sentiment",
)
@click.argument("model")
@click.option("--task", "files", type=FILE, multiple=True, help="YAML or JSON file of `evaluate.tasks`.")
@setting_option(
    TaskConfig,
    "name",
    "--name",
    "names",
    default=(),
    multiple=True,
    show_default=False,
    help="Name of the task. Without --train: those of the model's own tasks to use.  [default: all]",
)
@setting_option(TaskConfig, "train", default=None, show_default=False)
@setting_options(TaskConfig, without=("name", "train"))
@setting_option(EvaluateConfig, "finetune_seeds", "--seeds", "seeds")
@click.option(
    "--seed",
    "only",
    type=click.IntRange(1, 2**31 - 1),
    multiple=True,
    help="Fine-tune with this seed alone, and write no table.",
)
@click.option("--table", is_flag=True, help="Only write the table of the results that exist.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the results.  [default: MODEL, if it is a model folder of qarib]",
)
@setting_option(TrainConfig, "backend")
@setting_option(TrainConfig, "precision")
@setting_option(TrainConfig, "xla")
@click.pass_context
def finetune_command(
    context: click.Context,
    /,
    model: str,
    files: tuple[Path, ...],
    names: tuple[str, ...],
    train: str | None,
    seeds: int,
    only: tuple[int, ...],
    table: bool,
    output: Path | None,
    backend: str,
    precision: str,
    xla: bool,
    **settings: Any,
) -> None:
    """Fine-tune MODEL on labelled tasks, and print its scores on their test texts beside two baselines.

    MODEL is a model folder, an export, a checkpoint, or a Hugging Face folder of a BERT. A task is read from
    --task or --train; without them, the tasks are those of the model's folder. Each seed is a fine-tuning at
    three learning rates, of which a part of the training texts chooses one.

    You can kill the command and run it again: it keeps what is complete and continues after the last epoch.
    """
    given = [one for one in settings if context.get_parameter_source(one) is not ParameterSource.DEFAULT]
    if train is None and (given or (files and names)):
        option = "--" + (given[0] if given else "name").replace("_", "-")
        raise click.UsageError(f"{option} needs --train.")
    if train is not None and files:
        raise click.UsageError("Give --task or --train, not both.")
    if train is not None and len(names) > 1:
        raise click.UsageError("Give one --name with --train.")
    if only and table:
        raise click.UsageError("Give --seed or --table, not both.")
    tasks = [task for path in files for task in tasks_of(path)]
    if train is not None:
        own = {"name": (*names, source_names([train])[0])[0], "train": train, **settings}
        tasks.append(from_dict(TaskConfig, own))
    from qarib_tasks.train import runtime

    runtime.choose_backend(backend)
    from qarib_tasks.train.finetuning.recipe import Recipe
    from qarib_tasks.train.finetuning.run import fine_tuning

    seeds = from_dict(EvaluateConfig, {"finetune_seeds": seeds}).finetune_seeds
    recipe = Recipe(precision=runtime.chosen_precision(precision), xla=xla)
    tuning = fine_tuning(model, tasks, names, output, recipe)
    numbers = range(1, seeds + 1)
    if not table:
        tuning.run(only or numbers)
    if not only:
        entries = tuning.table(numbers)
        click.echo("\n".join(_lines(entries)))
        click.echo(f"{tuning.layout.finetuning_table}: {len(entries)} task{'s' * (len(entries) > 1)}")


def _lines(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table as aligned columns, and a line for each task that misses seeds."""
    from qarib_tasks.labelled.scores import METRICS
    from qarib_tasks.train.results.finetuned import mean_of

    rows = [
        HEADER,
        *(
            (
                isolated(entry["name"]),
                METRICS[entry["metric"]],
                mean_of(entry),
                str(len(entry["seeds"])),
                f"{entry['tfidf']:.4f}",
                f"{entry['most_frequent']:.4f}",
            )
            for entry in entries
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return lines + [
        f"{isolated(entry['name'])}: no result of seed {', '.join(map(str, entry['missing']))}"
        for entry in entries
        if entry["missing"]
    ]

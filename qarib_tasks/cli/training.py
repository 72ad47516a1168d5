"""The commands of the trainer's process."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from qarib_tasks.cli.options import FILE, with_homes
from qarib_tasks.config.loading import from_dict, load_yaml
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.corpus.characters import isolated
from qarib_tasks.counting import counted
from qarib_tasks.errors import LostWorkerError, StoppedError
from qarib_tasks.layout import EXPORT

# The settings of a job that are paths or addresses.
_PATHS = (
    *("training_data", "heldout_data", "vocab_file", "output", "cache", "earlier_data"),
    "train.start_from",
)
_config = click.option(
    "--config",
    type=FILE,
    required=True,
    help="YAML file: training_data, heldout_data, vocab_file, output, and non-default settings.",
)


def _job(config: Path) -> TrainingJob:
    """Read the job and choose the backend. Call this before the first import of Keras."""
    job = with_homes(from_dict(TrainingJob, load_yaml(config), config), *_PATHS)
    from qarib_tasks.train import runtime

    runtime.choose_backend(job.train.backend)
    return job


def _epilog(command: str) -> str:
    return f"Example: qarib {command} --config models/demo-0123456789/config.yaml"


@click.command("train", epilog=_epilog("train"))
@_config
def train_command(config: Path) -> None:
    """Train a BERT, or resume from its newest checkpoint.

    On SIGTERM or Ctrl-C, the command saves its state and ends with status 75; run it again to resume.

    To train on several machines, run it on each with QARIB_TPU_WORKER (the rank, from 0), QARIB_TPU_WORKERS
    (the world size) and QARIB_TPU_COORDINATOR (host:port of rank 0; the next port must be free too). It ends
    with status 76 when another rank has ended.
    """
    job = _job(config)
    from qarib_tasks.machines.exit_status import OTHER_ENDED, STOPPED
    from qarib_tasks.train.loop import train

    try:
        train(job)
    except StoppedError as error:
        click.echo(f"qarib: {error}", err=True)
        sys.exit(STOPPED)
    except LostWorkerError as error:
        click.echo(f"qarib: {error}", err=True)
        sys.exit(OTHER_ENDED)


@click.command("evaluate", epilog=_epilog("evaluate"))
@_config
def evaluate_command(config: Path) -> None:
    """Evaluate the newest checkpoint on the held-out examples."""
    job = _job(config)
    from qarib_tasks.train.results.evaluate import evaluate
    from qarib_tasks.train.results.probe import task_line

    result = evaluate(job)
    filled, tasks = result.pop("fill_mask", []), result.pop("tasks", [])
    for name, value in result.items():
        click.echo(f"{name} = {value}")
    for task in tasks:
        click.echo(task_line(task))
    for sentence in filled:
        words = (f"{isolated(guess['word'])} {guess['probability']:.4f}" for guess in sentence["words"])
        click.echo(f"{isolated(sentence['text'])}: {', '.join(words)}")


@click.command("export", epilog=_epilog("export"))
@_config
def export_command(config: Path) -> None:
    """Write the trained model as a Hugging Face folder, and the model's manifest."""
    job = _job(config)
    from qarib_tasks.train.results.export import export, exported

    click.echo(f"{Path(job.output) / EXPORT}: {counted(len(exported(export(job))), 'file')}")


@click.command("fill-mask", epilog='Example: qarib fill-mask models/demo-0123456789 "شو عندكم يا [MASK]"')
@click.argument("model", type=FILE)
@click.argument("sentence", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(min=1), default=5, show_default=True, help="Words per [MASK].")
def fill_mask_command(model: Path, sentence: tuple[str, ...], count: int) -> None:
    """Print the most probable words for each [MASK] in a SENTENCE.

    MODEL is a folder that `qarib export` wrote, or the model's folder that contains it.
    """
    from qarib_tasks.train import runtime
    from qarib_tasks.train.results.masked_sentences import ExportedModel

    # Before the seconds that the import of Keras takes.
    exported = ExportedModel.read(model)
    for text in sentence:
        exported.sentences.encode(text)
    runtime.choose_backend()
    from qarib_tasks.train.results.fill_mask import fill_mask

    for text, masks in zip(sentence, fill_mask(exported, sentence, count), strict=True):
        click.echo(isolated(text))
        for number, guesses in enumerate(masks, start=1):
            if len(masks) > 1:
                click.echo(f"[MASK] {number}")
            for guess in guesses:
                click.echo(f"  {guess.probability:.4f}  {isolated(guess.word)}")

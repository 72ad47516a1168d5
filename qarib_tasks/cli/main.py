"""`qarib`: every step without Airflow as a subcommand, and all of them with `qarib run`."""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import sys
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from qarib_tasks import __version__
from qarib_tasks.cli.failures import INTERRUPTED, failure, show_traceback, with_options
from qarib_tasks.cli.options import FILE, options_of, with_homes
from qarib_tasks.config.loading import load_yaml
from qarib_tasks.errors import ConfigError, InputError, QaribError
from qarib_tasks.machines.exit_status import COMMANDS, REFUSED
from qarib_tasks.storage.files import check_name, shown

# The other commands, and where they are: a command imports its own settings only.
COMMANDS_OF = {
    "cli.checking.bug_report": ("report-bug",),
    "cli.checking.doctor": ("doctor",),
    "cli.checking.wheelhouse": ("wheelhouse",),
    "cli.conversion": ("convert", "verify", "inspect"),
    "cli.corpus": ("collect", "vocab", "vocab-report", "split"),
    "cli.deployment": ("airflow-init", "metrics"),
    "cli.emulators": ("emulate",),
    "cli.finetuning": ("finetune",),
    "cli.planning.plan": ("plan",),
    "cli.preview": ("preview",),
    "cli.promotion": ("promote",),
    "cli.tracking.track": ("track",),
    "cli.training": ("train", "evaluate", "export", "fill-mask"),
}


class Commands(UserDict[str, click.Command]):
    """The commands by their names. A command is imported when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._modules = {name: module for module, names in COMMANDS_OF.items() for name in names}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self.data and name in self._modules:
            module = importlib.import_module(f"qarib_tasks.{self._modules[name]}")
            self.data[name] = getattr(module, f"{name.replace('-', '_')}_command")
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.data, *self._modules]))

    def __len__(self) -> int:
        return len(list(iter(self)))


@click.group(
    commands=Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
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
    from qarib_tasks.runs.places import Places
    from qarib_tasks.runs.prepare import prepare
    from qarib_tasks.storage.bucket import default_client
    from qarib_tasks.train.results.summary import evaluations_in, result_rows

    settings = presets.resolve(load_yaml(config), config)
    settings = with_homes(settings, "workspace", "vocab.vocab_file", "train.start_from")
    places = Places.of_environment()
    settings = replace(settings, workspace=places.workspace(settings.workspace))
    places.check_prefix(settings.upload.bucket, settings.upload.prefix)
    client = default_client() if settings.upload.bucket else None
    request = prepare(settings, client=client)
    backend = LocalProcessBackend()
    manifest = pipeline.run_all(request, lambda work: run_to_end(backend, work))
    click.echo(f"dataset {request.dataset_id}\nmodel   {request.model_id}\nexport  {request.model.export}")
    evaluations = evaluations_in(request.model.bert_evals) or [manifest.statistics["evaluation"]]
    for name, text in result_rows(manifest.statistics, evaluations).items():
        click.echo(f"{name:<23}{text}")
    for line in pipeline.losses_of(request):
        click.echo(f"corpus: {line}")


def main() -> None:
    """Run the command; report an error as one line, without a traceback."""
    open_standard_streams()
    # Python's end would look for garbage among all objects of the libraries, for a second.
    atexit.register(gc.freeze)
    handler = logging.StreamHandler()
    handler.addFilter(_naming_options(_options(sys.argv[1:])))
    form = "%(asctime)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", handlers=[handler])
    sys.exit(run_command(sys.argv[1:]))


def open_standard_streams() -> None:
    """Open /dev/null where the caller closed standard input, output, or error.

    Otherwise the next file gets that number, and what a library prints is written to it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def run_command(arguments: Sequence[str]) -> int:
    """Run the command with these arguments, and return its exit status."""
    try:
        for number, argument in enumerate(arguments):
            _check_utf8(argument, arguments[number - 1] if number else "")
        status = cli.main(list(arguments), prog_name="qarib", standalone_mode=False)
        sys.stdout.flush()  # Here, an error can still be reported.
        return status if isinstance(status, int) else 0
    except (SystemExit, GeneratorExit):
        raise
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader of the output, such as `head`, has ended. Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        # click turns the end of a file into an Abort, too.
        cause = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
        show_traceback(cause)
        if isinstance(cause, KeyboardInterrupt | click.Abort):
            click.echo("qarib: interrupted", err=True)
            return INTERRUPTED
        options = {} if isinstance(cause, QaribError) and cause.in_file else _options(arguments)
        click.echo(f"qarib: error: {failure(cause, options)}", err=True)
        refused = arguments[:1] and arguments[0] in COMMANDS and isinstance(cause, ConfigError | InputError)
        return REFUSED if refused else 1


def _check_utf8(argument: str, before: str) -> None:
    """Refuse an argument that is not UTF-8: the name of a file, or another value.

    Args:
        before: the argument before it, which is perhaps the option that it is the value of.
    """
    option, equals, value = argument.partition("=")
    if not (equals and option.startswith("--")):
        option, value = before, argument
    if os.path.lexists(value):
        check_name(value)
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        where = f"{option} {shown(value)}" if option.startswith("-") else shown(value)
        do = "Write it in UTF-8; `locale` shows the encoding of your terminal"
        raise InputError("not UTF-8", where=where, do=do) from None


def _naming_options(options: Mapping[str, str]) -> Callable[[logging.LogRecord], bool]:
    """Return a filter, with which warnings name the command's options instead of settings."""

    def filtered(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            record.msg, record.args = with_options(record.getMessage(), options), ()
        return True

    return filtered


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Return the option of the command for each setting; none if the settings are in a file."""
    command = cli.commands.get(next((one for one in arguments if not one.startswith("-")), ""))
    from_file = any(one.partition("=")[0] in ("--config", "--task") for one in arguments)
    return {} if command is None or from_file else options_of(command)

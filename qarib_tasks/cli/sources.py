"""The sources and labelled tasks that a command is given: names, standard input, and files of tasks."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from qarib_tasks.cli.options import Command, SettingOption, setting_option, setting_options
from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.loading import from_dict, load_yaml, load_yaml_value
from qarib_tasks.config.typed import source_names
from qarib_tasks.corpus.sources import STANDARD_INPUT, SourceFile
from qarib_tasks.errors import ConfigError, InputError, QaribError
from qarib_tasks.storage.files import scratch_folder

if TYPE_CHECKING:
    from qarib_tasks.config.evaluation import TaskConfig
    from qarib_tasks.labelled.decontamination import TaskTexts

log = logging.getLogger(__name__)
OF_LINES = ("minimum_characters", "maximum_characters", "arabic_share")
OF_CORPUS = (*OF_LINES, "heldout_share", "deduplicate", "near_duplicates")


def source_options(command: Command) -> Command:
    """Add the options of how sources are read and cleaned."""
    clean = setting_option(
        CollectConfig,
        "cleaning",
        "--clean",
        "clean",
        type=str,
        default=",".join(CollectConfig.cleaning),
        show_default=False,
        help="Comma-separated rules; empty for none.  [default: all except the lossy rules]",
    )
    of_lines = [setting_option(CollectConfig, name) for name in OF_LINES]
    for option in reversed(
        [setting_options(SourceConfig, without=("name", "path", "sha256")), clean, *of_lines]
    ):
        command = option(command)
    return command


def settings_of(source: Sequence[str], config: Path | None, values: dict[str, Any]) -> CollectConfig:
    """Return the settings from a command's arguments.

    Args:
        config: the file that has them, instead of `source` and the options.
        values: the values of the options: those of `source_options`, and any other settings of the corpus.

    Raises:
        ConfigError: they are invalid. click.UsageError: there is no source.
    """
    if config:
        _refuse_options(config, values)
        section = load_yaml(config).get("collect")
        if source or not isinstance(section, dict):
            raise ConfigError(
                "--config needs a `collect` section and no SOURCE",
                where=config,
                do="Add the section, or remove the SOURCE arguments",
            )
        return from_dict(CollectConfig, section, config)
    if "" in source:
        raise click.UsageError("A SOURCE is empty.")
    if not source:
        raise click.UsageError("Give at least one SOURCE, or --config.")
    rules = [rule.strip() for rule in values.pop("clean").split(",") if rule.strip()]
    of_corpus = {name: values.pop(name) for name in list(values) if name in OF_CORPUS}
    if values["group"] and values["document"] not in ("group", SourceConfig.document):
        raise click.UsageError(f"--group and --document {values['document']} contradict each other.")
    shared = values | ({"document": "group"} if values["group"] else {})
    shared["field"] = shared["field"][0] if len(shared["field"]) == 1 else shared["field"]
    sources = [
        {"name": name, "path": path, **shared}
        for name, path in zip(source_names(source), source, strict=True)
    ]
    return from_dict(CollectConfig, {"sources": sources, "cleaning": rules, **of_corpus})


def was_given(name: str) -> bool:
    """Return whether the command line has this option of the running command; `name` is the parameter's."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def _refuse_options(config: Path, names: Collection[str]) -> None:
    """Refuse options that were given beside --config, which has these settings.

    Args:
        names: of the parameters of the command that --config replaces.
    """
    options = click.get_current_context().command.params
    given = [option for option in options if option.name in names and was_given(option.name)]
    if not given:
        return
    names_given = ["/".join([option.opts[-1], *option.secondary_opts]) for option in given]
    settings = [option.setting for option in given if isinstance(option, SettingOption)]
    of_source = [f"`{name}`" for name in settings if name not in (*OF_CORPUS, "cleaning")]
    of_corpus = [f"`{name}`" for name in settings if name in (*OF_CORPUS, "cleaning")]
    places = []
    if of_corpus:
        places.append(f"{', '.join(of_corpus)} in the `collect` section")
    if of_source:
        places.append(f"{', '.join(of_source)} in each source of the `collect` section")
    raise ConfigError(
        f"{', '.join(names_given)}: cannot be combined with --config",
        where=config,
        do=f"In the file, set {', and '.join(places)}",
    )


@contextmanager
def standard_input(config: CollectConfig) -> Iterator[SourceFile | None]:
    """Yield standard input as a file if a source has the path `-`; the file is removed at the end.

    Raises:
        ConfigError: two sources are standard input. InputError: there is none.
    """
    count = sum(source.path == STANDARD_INPUT for source in config.sources)
    if not count:
        yield None
        return
    if count > 1:
        raise ConfigError("standard input can be read only once", where="-", do="Give - once")
    if sys.stdin is None:
        raise InputError("there is no standard input", where="-", do="Give a file")
    if sys.stdin.isatty():
        log.info("reading from the terminal; Ctrl-D ends the text")
    with scratch_folder() as folder:
        path = folder / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        yield SourceFile(str(path), path.stat().st_size, label="standard input")


def texts_of_tasks(path: Path) -> TaskTexts:
    """Read the test texts of the tasks in a YAML file.

    Raises:
        QaribError: the file or a task in it cannot be used. Its `in_file` is set.
    """
    from qarib_tasks.labelled.decontamination import TaskTexts
    from qarib_tasks.labelled.reading import read_tasks

    with _in_file(), scratch_folder() as fetched:
        return TaskTexts.of(read_tasks(tasks_of(path), fetched))


def tasks_of(path: Path) -> tuple[TaskConfig, ...]:
    """Return the tasks in a YAML or JSON file: a list of them, one of them, or the settings of a run.

    Raises:
        ConfigError, InputError: there are none, or a setting is invalid.
    """
    from qarib_tasks.config.evaluation import EvaluateConfig

    value = load_yaml_value(path)
    if isinstance(value, dict) and "evaluate" in value:
        value = value["evaluate"]
    if isinstance(value, dict):
        value = value.get("tasks", [value])
    if not isinstance(value, list) or not value:
        raise ConfigError(
            "the file has no labelled tasks",
            where=path,
            do="Add `tasks`, a list with `name` and `train` of each, and more settings where they are needed",
        )
    return from_dict(EvaluateConfig, {"tasks": value}, path).tasks


@contextmanager
def _in_file() -> Iterator[None]:
    """Mark errors: the settings that they name are in a file, not options of the command."""
    try:
        yield
    except QaribError as error:
        error.in_file = True
        raise

"""Generate pages of the documentation from the code: every setting, and every command with its options.

mkdocs loads this file as a hook (`hooks` in mkdocs.yml). The pages exist only in the built site, so that
they cannot differ from the code.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import click
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qarib_tasks.cli.main import cli
from qarib_tasks.config.deployment.limits import Limits
from qarib_tasks.config.identity import Identity
from qarib_tasks.config.presets import PRESETS, SAMPLE
from qarib_tasks.config.run import RunConfig

# Words for pydantic's limits.
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
SETTINGS_HEAD = """# Every setting

The build of this site makes this page from the fields of `qarib_tasks/config/`. The defaults are the values
that QARiB's authors published: the preset `qarib`.

You set a value in the trigger form, or in the file of `qarib run --config`, where each section below is a
mapping:

```yaml
preset: demo
workspace: work
train:
  train_steps: 400
```

If you omit a setting, it has the preset's value. An unknown name or a value outside the limits is an error
that names the setting. The last column says whether another value makes another dataset (and so another
model), another model, or the same one under the same name. For the settings of a deployment, which are
environment variables, see [Deployment](deployment.md#settings).
"""
LIMITS_HEAD = """
## The limits of a deployment { #limits }

The environment variable `QARIB_LIMITS` of Airflow's processes is a mapping of these limits in YAML or
JSON, for example `{most_expansion: 300, page_seconds: 10}`. It holds for users of the trigger forms and of
the page, not for commands. A source or a task has a setting of the same name for each of the first six: a
value above the limit is an error before the run starts, and a default above it is lowered.

| limit | what it is | default | allowed |
|---|---|---|---|"""
COMMANDS_HEAD = """# Every command

The build of this site makes this page from the commands of `qarib_tasks/cli/`. `qarib COMMAND --help` prints
the same in a terminal. An error is one line on standard error, and the exit status is 1; `qarib train` has
[more statuses](training.md#stopping-and-resuming).
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision in the navigation, after the overview. Called by mkdocs."""
    pages = sorted(Path(config.docs_dir, "adr").glob("[0-9]*.md"))
    next(part for part in config.nav or [] if "Decisions" in part)["Decisions"] += [
        f"adr/{p.name}" for p in pages
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in docs/. Called by mkdocs."""
    for name, text in (("settings.md", settings_page()), ("commands.md", commands_page())):
        files.append(File.generated(config, name, content=text))
    return files


def settings_page() -> str:
    """Return the page of every setting of `RunConfig`, with a section for each of its parts."""
    parts = [SETTINGS_HEAD]
    for section, cls in sections(RunConfig):
        title = f"`{section}`" if section else "The run itself"
        parts.append(f"\n## {title} {{ #{section.replace('.', '-') or 'run'} }}\n\n{_first_line(cls)}\n")
        parts.append(
            "| setting | what it does | default | allowed | another value makes |\n|---|---|---|---|---|"
        )
        parts += [_setting_row(section, name, field) for name, field in fields(cls) if _plain(field)]
    demo = yaml.safe_dump(_without_folder(PRESETS["demo"]), sort_keys=False, allow_unicode=True)
    parts.append(
        f"\n## The preset `demo` {{ #demo }}\n\n`demo` differs from the defaults in:\n\n```yaml\n{demo}```\n"
    )
    parts.append(LIMITS_HEAD)
    for name, field in fields(Limits):
        cells = [_code(name, "name"), _cell(f"**{field.title}.** {field.description}"), _value(field.default)]
        parts.append(f"| {' | '.join([*cells, _cell(_allowed(field))])} |")
    return "\n".join([*parts, ""])


def sections(cls: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a config class and those of its fields, each with its name in a run's file."""
    yield name, cls
    for key, field in fields(cls):
        inner = _config_of(field.annotation)
        if inner:
            listed = "[]" if inner is not field.annotation else ""
            yield from sections(inner, f"{name}.{key}{listed}".lstrip("."))


def fields(cls: Any) -> list[tuple[str, Any]]:
    """Return the pydantic fields of a config class."""
    return list(cls.__pydantic_fields__.items())


def commands_page() -> str:
    """Return the page of every command of `qarib`."""
    parts = [COMMANDS_HEAD]
    for path, command in commands(cli):
        context = click.Context(command, info_name=" ".join(path))
        usage = " ".join([*path, *command.collect_usage_pieces(context)])
        parts.append(f"\n## `{' '.join(path)}` {{ #{'-'.join(path)} }}\n\n{_text(command.help or '')}\n")
        parts.append(f"```text\n{usage}\n```\n")
        options = [
            p.get_help_record(context) for p in command.get_params(context) if isinstance(p, click.Option)
        ]
        rows = [(flags, text) for flags, text in filter(None, options) if "--help" not in flags]
        if rows:
            parts.append("| option | what it does |\n|---|---|")
            parts += [f"| {_code(flags)} | {_cell(text)} |" for flags, text in rows]
        if command.epilog:
            example = command.epilog.removeprefix("Example: ")
            parts.append(f"\nExample:\n\n```bash\n{example}\n```\n")
    return "\n".join(parts)


def commands(group: click.Group, path: tuple[str, ...] = ("qarib",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the commands that are not groups, each with its path."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def _setting_row(section: str, name: str, field: Any) -> str:
    full = f"{section}.{name}".lstrip(".")
    what = f"**{field.title or name}.** {field.description or ''}".rstrip()
    default = "*required*" if field.is_required() else _value(field.default)
    cells = [f'<span id="{full}"></span>{_code(name, "name")}', _cell(what), default, _cell(_allowed(field))]
    return f"| {' | '.join([*cells, _identity(field)])} |"


def _identity(field: Any) -> str:
    """Return whether another value makes another dataset or model, if the field declares it."""
    makes = {"dataset": "another dataset", "model": "another model", "neither": "the same model"}
    mark = next((mark for mark in field.metadata if isinstance(mark, Identity)), None)
    return _cell(f"{makes[mark.of]}: {mark.why}") if mark else ""


def _allowed(field: Any) -> str:
    kind = field.annotation
    inner = [a for a in typing.get_args(kind) if a not in (type(None), Ellipsis)]
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(_code(choice) for choice in inner)
    if typing.get_origin(kind) is tuple:
        each = inner[0]
        if typing.get_origin(each) is typing.Literal:
            return "a list of: " + ", ".join(_code(choice) for choice in typing.get_args(each))
        return ", ".join(["a list", *_limits(field.metadata, "entries")])
    names = {bool: "`true` or `false`", int: "integer", float: "number", str: "text"}
    basic = names[inner[0] if inner else kind]
    return ", ".join(
        [basic, *(["or empty"] if type(None) in typing.get_args(kind) else []), *_limits(field.metadata)]
    )


def _limits(metadata: list[Any], parts: str = "characters") -> list[str]:
    """Describe the constraints of pydantic and annotated_types."""
    found = []
    for item in metadata:
        for name, words in LIMITS.items():
            limit = getattr(item, name, None)
            if limit is not None:
                found.append(f"{words} {limit}")
        if getattr(item, "max_length", None) is not None:
            found.append(f"at most {item.max_length} {parts}")
        if getattr(item, "pattern", None) is not None:
            found.append(f"matches {_code(item.pattern)}")
    return found


def _config_of(annotation: Any) -> Any:
    """Return the config class of a field or of a tuple's entries; None if it has none."""
    for kind in (annotation, *typing.get_args(annotation)):
        if dataclasses.is_dataclass(kind):
            return kind
    return None


def _plain(field: Any) -> bool:
    return not dataclasses.is_dataclass(field.annotation)


def _value(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "empty"
    if isinstance(value, tuple):
        return "<br>".join(_code(v) for v in value)
    if isinstance(value, bool):
        return _code(str(value).lower())
    return _code(value)


def _without_folder(preset: dict[str, Any]) -> Any:
    """Return the preset, with the sample's files by their paths in the repository."""
    return yaml.safe_load(yaml.safe_dump(preset).replace(f"{SAMPLE}/", "sample/"))


def _first_line(cls: Any) -> str:
    return _text((cls.__doc__ or "").strip())


def _text(text: str) -> str:
    """Return a docstring as Markdown, with placeholders in angle brackets escaped."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(lines).replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("\n", " ").replace("gs://…", "`gs://…`")


def _code(value: object, css: str = "") -> str:
    """Return HTML for code in a table's cell, because Markdown would keep the backslash before a bar."""
    kind = f' class="{css}"' if css else ""
    return f"<code{kind}>{escape(str(value), quote=False).replace('|', '&#124;')}</code>"

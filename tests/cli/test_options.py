"""Options that are settings follow the config: a changed default, choice or help changes the command."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.cli.main import cli
from qarib_tasks.cli.options import setting_option, setting_options
from qarib_tasks.config.conversion import ConvertConfig, SplitConfig
from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.vocabulary import VocabConfig


@dataclass(frozen=True, kw_only=True)
class Settings:
    kind: Annotated[Literal["one", "two"], Field(title="Kind", description="Which kind.")] = "two"
    some_count: Annotated[int, Field(title="Count")] = 7
    fast: Annotated[bool, Field(title="Fast")] = True


@click.command()
@setting_options(Settings)
def command(**values: Any) -> None:
    click.echo(repr(sorted(values.items())))


def test_every_field_is_an_option() -> None:
    result = CliRunner().invoke(command, [])
    assert result.output.strip() == "[('fast', True), ('kind', 'two'), ('some_count', 7)]"
    result = CliRunner().invoke(command, ["--kind", "one", "--some-count", "3", "--no-fast"])
    assert result.output.strip() == "[('fast', False), ('kind', 'one'), ('some_count', 3)]"
    assert "'three' is not one of 'one', 'two'" in CliRunner().invoke(command, ["--kind", "three"]).output
    help_text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "--kind [one|two] Which kind. [default: two]" in help_text
    assert "--some-count INTEGER Count. [default: 7]" in help_text


def test_another_name() -> None:
    @click.command()
    @setting_option(Settings, "some_count", "-n", "--number")
    def other(number: int) -> None:
        click.echo(number)

    assert CliRunner().invoke(other, ["-n", "5"]).output == "5\n"


@pytest.mark.parametrize(
    ("name", "option", "config", "field"),
    [
        ("collect", "format", SourceConfig, "format"),
        ("collect", "document", SourceConfig, "document"),
        ("collect", "limit", SourceConfig, "limit"),
        ("collect", "heldout_share", CollectConfig, "heldout_share"),
        ("vocab", "size", VocabConfig, "vocab_size"),
        ("vocab", "recipe", VocabConfig, "recipe"),
        ("vocab", "model_type", VocabConfig, "model_type"),
        ("split", "lines", SplitConfig, "shard_lines"),
        ("convert", "compression", ConvertConfig, "compression"),
    ],
)
def test_the_commands_have_the_fields_defaults(name: str, option: str, config: type, field: str) -> None:
    found = next(one for one in cli.commands[name].params if one.name == option)
    assert found.default == getattr(config, field)

"""Settings that were written, edited, and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.run import RunConfig
from qarib_tasks.errors import CorruptError
from qarib_tasks.runs.run import write_settings
from qarib_tasks.storage.records.settings import is_edited, read_settings

NAMES = ("collect", "vocab", "convert")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    write_settings(path, RunConfig(workspace="work"))
    return path


def test_settings_as_they_were_written_or_edited(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    values = read_settings(path, *NAMES)
    assert values["workspace"] == "work"
    assert not is_edited(text)
    edited = text.replace("workspace: work", "workspace: other")
    path.write_text(edited, encoding="utf-8")
    assert read_settings(path, *NAMES) == values | {"workspace": "other"}
    assert is_edited(edited)
    path.write_text("collect: {}\nvocab: {}\nconvert: {}", encoding="utf-8")  # of an earlier version
    assert read_settings(path, *NAMES).keys() == set(NAMES)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: b"", "must hold settings"),
        (lambda data: b"{}\n", "has no collect"),
        (lambda data: b"- a\n", "must hold settings"),
        (lambda data: data.replace(b"vocab:", b"words:"), "has no vocab"),
        (lambda data: data[:-4], "the end is missing"),
        (lambda data: data[: data.index(b"vocab:")], "has no vocab"),
        (lambda data: data[:200] + b"\xff" + data[200:], "not UTF-8"),
        (lambda data: b"\0" * len(data), "not valid YAML"),
        (lambda data: b"a: " + b"[" * 100_000, "not valid YAML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_settings_are_an_error_with_a_remedy(path: Path, damage: Any, what: str) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptError, match=f"is damaged: .*{what}") as error:
        read_settings(path, *NAMES)
    assert str(path) in str(error.value)
    assert error.value.do


def test_damaged_settings_of_ours_are_written_again(path: Path) -> None:
    data = path.read_bytes()
    for damaged in (data[:150], data[:200] + b"\xff" + data[200:]):
        path.write_bytes(damaged)
        write_settings(path, RunConfig(workspace="work"))
        assert path.read_bytes() == data
        kept = path.with_name("config.yaml.changed-1")
        assert kept.read_bytes() == damaged
        kept.unlink()

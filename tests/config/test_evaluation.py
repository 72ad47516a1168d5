"""Settings of labelled tasks.

Covers qarib_tasks/config/reading.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import FREE_TASKS, EvaluateConfig, TaskConfig
from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.loading import from_dict
from qarib_tasks.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"name": "a/b"}, "name: String should match"),
        ({"name": ".."}, "name: String should match"),
        ({"train": ""}, "train: String should have at least"),
        ({"test_share": 1}, "test_share: Input should be less than 1"),
        ({"metric": "f1"}, "metric: Input should be"),
        ({"metric": "f1_pn", "positive": "POS"}, "set both `positive` and `negative`"),
        (
            {"metric": "f1_pn", "positive": "POS", "negative": " pos"},
            "positive and negative are the same",
        ),
        ({"positive": "POS", "negative": "NEG"}, "only for it"),
        ({"text": "label"}, "text and label are the same field"),
        ({"encoding": "utf-9"}, "unknown encoding 'utf-9'"),
        ({"encoding": "rot13"}, "unknown encoding 'rot13'"),
        ({"encoding": "idna"}, "unknown encoding 'idna'"),
        ({"encoding": "punycode"}, "unknown encoding 'punycode'"),
        ({"delimiter": "::"}, "`delimiter` must be one character"),
        ({"sorce": "x"}, "sorce: unknown setting"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        from_dict(TaskConfig, {"name": "a", "train": "a.csv"} | values)


def test_a_column_has_a_name_or_a_number() -> None:
    task = from_dict(TaskConfig, {"name": "a", "train": "a.csv", "text": 2, "label": 1, "header": False})
    assert (task.text, task.label) == ("2", "1")


def test_every_setting_of_how_a_source_is_read_is_one_of_a_task() -> None:
    """But for those that select documents, or say what one is."""
    of_sources = {field.name for field in dataclasses.fields(SourceConfig)}
    of_tasks = {field.name for field in dataclasses.fields(TaskConfig)}
    listing = {"most_listed", "listing_seconds"}
    assert of_sources - of_tasks == {"path", "field", "document", "group", "share", "sha256"} | listing
    other = {"format": "csv", "encoding": "cp1256", "delimiter": ";", "quoting": "none", "header": False}
    source = TaskConfig(name="a", train="a.csv", label="3", **other).source("b.csv")  # type: ignore[arg-type]
    assert {name: getattr(source, name) for name in other} == other
    assert (source.path, source.fields, source.group) == ("b.csv", ("text",), "3")


def test_tasks_have_different_names_and_change_no_name_of_a_model() -> None:
    task = {"name": "a", "train": "a.csv"}
    with pytest.raises(ConfigError, match="tasks: duplicate name 'a'"):
        from_dict(EvaluateConfig, {"tasks": [task, task | {"train": "b.csv"}]})
    settings = {"tasks": [task], "probe_seconds": 7, "free_tasks": False}
    assert named_settings(from_dict(EvaluateConfig, settings)) == {}


@pytest.mark.parametrize("name", FREE_TASKS)
def test_no_task_has_the_name_of_one_that_the_corpus_gives(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        from_dict(TaskConfig, {"name": name, "train": "a.csv"})


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-32", "utf-8-sig", "windows-1256", "mac_arabic", "euc_jp"]
)
def test_an_encoding_of_text_is_taken(encoding: str) -> None:
    assert from_dict(TaskConfig, {"name": "a", "train": "a.csv", "encoding": encoding}).encoding == encoding

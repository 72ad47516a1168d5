"""The settings of a run as texts, and those that are not its preset's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qarib_tasks.views.many.settings import changed, settings_of, titles
from tests.support.browser.many_runs import demo_values


def test_a_run_of_a_preset_has_no_changed_setting(tmp_path: Path) -> None:
    """Where its files are is no setting to compare: sources of another machine are the same ones."""
    values = demo_values(tmp_path)
    for source in values["collect"]["sources"]:
        source["path"] = f"/elsewhere/{source['name']}.txt"
    values["upload"]["bucket"] = "a-bucket"
    assert changed(values) == []


def test_changed_settings_have_title_and_both_values(tmp_path: Path) -> None:
    overrides = {
        "train": {"train_steps": 2_000, "next_sentence": False},
        "collect": {"sources": [{"name": "own", "path": "/own.txt", "limit": 5}]},
        "extends": "demo-0000000001",
    }
    found = changed(demo_values(tmp_path, overrides))
    assert found is not None
    assert [tuple(one.values()) for one in found] == [
        ("extends", "Extends", "demo-0000000001", "none"),
        (
            "collect.sources",
            "Sources",
            "own (limit 5)",
            "muwatta, classical, office, udhr, tweets",
        ),
        ("train.train_steps", "Training steps", "2,000", "800"),
        ("train.next_sentence", titles()["train.next_sentence"], "no", "yes"),
    ]


def test_a_preset_that_is_not_known_is_not_compared() -> None:
    assert changed({"preset": "nonsense", "train": {"train_steps": 1}}) is None
    assert changed({}) is None


def test_a_record_can_hold_anything() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    strange = {"a": deep, "b": {"c": float("nan"), "d": {"e": deep}, "f": [1, None, {"name": 3, "x": deep}]}}
    found = settings_of(
        {"preset": "demo", **strange, "text": "x" * 10_000, "many": {f"{n}": n for n in range(9000)}}
    )
    assert len(found) <= 500
    assert all(len(text) < 400 for text in found.values())
    # Texts that differ after what is shown of them differ.
    assert settings_of({"text": "x" * 1000 + "a"}) != settings_of({"text": "x" * 1000 + "b"})

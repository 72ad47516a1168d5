"""What people read before they approve a promotion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.registry.approval import body, plain, subject
from qarib_tasks.registry.comparison import JudgedModel
from qarib_tasks.registry.promotion import Question
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import request


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return request(tmp_path)


def model(name: str, loss: float, **more: Any) -> JudgedModel:
    return JudgedModel(name, "demo-0123456789", f"/w/{name}", {"masked_lm_loss": loss, **more}, "h", 1200)


def task(value: float) -> dict[str, Any]:
    return {"name": "mood|2", "metric": "macro_f1", "value": value, "tfidf": 0.5}


def test_both_models_are_in_one_table(run: Run) -> None:
    old_words = [{"text": "a [MASK] | b", "words": [{"word": w, "probability": 0.1} for w in "*xyz"]}]
    evaluation = {"masked_lm_loss": 5.0, "step": 4, "fill_mask": old_words}
    old_manifest = Path(run.config.workspace) / "models/old/manifest.json"
    old_manifest.parent.mkdir(parents=True)
    statistics = {"evaluation": evaluation, "total_steps": 4}
    Manifest(kind="model", id="old", statistics=statistics).write(old_manifest)
    new, old = model("new", 4.0, tasks=[task(0.61)], perplexity=54.6), model("old", 5.0)
    found = body(
        run, Question(new, old, True, "not worse: 4 < 5"), "It cost 3.00 US dollars.", {"Page": "http://h/p"}
    )
    assert found.splitlines()[0] == r"The figures are for it: not worse: 4 \< 5."
    assert "|  | new (new) | old (promoted) |\n| --- | --- | --- |" in found
    assert "| masked-LM loss, nats | 4.0000 | 5.0000 |" in found
    assert "| perplexity | 54.60 | – |" in found
    assert r"| macro-F1 of mood\|2 | 0.6100 (TF-IDF 0.5000) | – |" in found
    assert r"| a \[MASK\] \| b | – | \*, x, y |" in found
    assert found.endswith("It cost 3.00 US dollars.\n\n- [Page](http://h/p)")
    assert subject(Question(new, old, False, "")) == (
        "Promote new instead of old although the figures speak against it?"
    )
    assert subject(Question(new, None, True, "")) == "Promote new?"


def test_a_first_model_without_words_has_one_column(run: Run) -> None:
    found = body(run, Question(model("new", 4.0), None, False, "below the baseline"), "No TPU.", {})
    assert "The figures are against it: below the baseline." in found
    assert "| masked-LM loss, nats | 4.0000 |" in found
    assert "Text" not in found


def test_a_text_is_no_markup() -> None:
    text = "[a](http://x) <img src=x> **b** `c`\n# d"
    assert not re.search(r"(?<!\\)[\[\]<>*`]", plain(text))
    assert "\n" not in plain(text)


def test_a_text_of_any_characters_and_length(run: Run) -> None:
    assert plain("a\0b\u202e c\x07\u200cd") == "ab c\u200cd"
    path = Path(run.config.workspace) / "models/new/manifest.json"
    path.parent.mkdir(parents=True)
    words = [
        {"text": f"{number}{100_000 * '|'} [MASK]", "words": [{"word": 10_000 * "x"}]} for number in range(5)
    ]
    statistics = {"evaluation": {"fill_mask": words}, "total_steps": 4}
    Manifest(kind="model", id="new", statistics=statistics).write(path)
    found = body(run, Question(model("new", 4.0), None, True, 10_000 * "y"), "No TPU.", {})
    assert len(found) < 10_000
    assert f"{499 * 'y'}…." in found
    assert f"| {499 * 'x'}… |" in found

"""The results of a training in a few lines."""

from __future__ import annotations

import json
from pathlib import Path

from qarib_tasks.train.results.summary import evaluations_in, result_rows, sentences, task_rows


def test_a_line_for_each_task_with_the_first_and_the_last_evaluation() -> None:
    def result(name: str, value: float, sha256: str = "1") -> dict[str, object]:
        figures = {"value": value, "tfidf": 0.9388, "most_frequent": 0.1424}
        return {"name": name, "sha256": sha256, "metric": "macro_f1", **figures}

    evaluations = [
        {"step": 0, "tasks": [result("source@corpus", 0.6151), result("mood", 0.3, "other texts")]},
        {"step": 200},
        {"step": 400, "tasks": [result("source@corpus", 0.7389)]},
        {"step": 800, "tasks": [result("source@corpus", 0.7112), result("mood", 0.5)]},
    ]
    baselines = "; TF-IDF 0.939, most frequent label 0.142"
    assert task_rows(evaluations) == {
        "Task source@corpus": "macro-F1 of the probe 0.615 after 0 steps, 0.711 after 800 steps" + baselines,
        "Task mood": "macro-F1 of the probe 0.500 after 800 steps" + baselines,
    }
    assert list(task_rows(evaluations[:2])) == ["Tasks"]


def test_each_sentence_is_shown_with_the_words_of_the_model() -> None:
    words = [{"word": "الله", "probability": 0.5}, {"word": "،", "probability": 0.1}]
    evaluation = {"fill_mask": [{"text": "السلام [MASK]", "words": words}]}
    assert sentences(evaluation) == ["\u2068السلام [MASK]\u2069   \u2068الله\u2069 | \u2068،\u2069"]
    assert sentences({}) == []


def test_evaluations_are_read_by_step_and_nothing_else(tmp_path: Path) -> None:
    figures = ("loss", "masked_lm_loss", "masked_lm_accuracy", "perplexity", "unigram_entropy")
    evaluation = dict.fromkeys((*figures, "unigram_accuracy"), 0.5) | {"examples": 1, "predictions": 1}
    for name, step in (
        ("evaluation-800", 800),
        ("evaluation-0", 0),
        ("probe_predictions", 800),
        ("tasks", 1),
    ):
        values = evaluation | {"step": step, "fill_mask": [], "name": name}
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    (tmp_path / "evaluation-400.json").write_text("{")
    assert [one["name"] for one in evaluations_in(tmp_path)] == ["evaluation-0", "evaluation-800"]


def test_the_first_and_the_last_figures() -> None:
    statistics = {"train_steps": 2080, "first_masked_lm_loss": 8.0151, "first_masked_lm_accuracy": 0.0}
    statistics |= {"last_masked_lm_loss": 3.6942, "last_masked_lm_accuracy": 0.3561}
    evaluations = [
        {"step": 0, "masked_lm_loss": 8.0162, "masked_lm_accuracy": 0.0, "unigram_entropy": 6.45},
        {"step": 2080, "masked_lm_loss": 4.1051, "masked_lm_accuracy": 0.3, "unigram_entropy": 6.454},
    ]
    assert result_rows(statistics, evaluations) == {
        "Training steps": "2,080",
        "Masked-LM, first step": "loss 8.015, accuracy 0.000",
        "Masked-LM, last steps": "loss 3.694, accuracy 0.356",
        "Held-out part, first": "loss 8.016, accuracy 0.000 after 0 steps",
        "Held-out part, last": "loss 4.105, accuracy 0.300 after 2,080 steps",
        "Word frequencies alone": "loss at least 6.454 (held-out unigram entropy)",
        "Tasks": "none: the log says why, where the text is collected",
    }

"""What people read before they approve a promotion: both models' figures, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qarib_tasks.errors import QaribError
from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.layout import ModelLayout
from qarib_tasks.registry.comparison import JudgedModel
from qarib_tasks.registry.promotion import Question
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest

# Shown of an evaluation: its key, the title, and the format.
FIGURES = (
    ("masked_lm_loss", "masked-LM loss, nats", ".4f"),
    ("masked_lm_accuracy", "masked-LM accuracy", ".2%"),
    ("perplexity", "perplexity", ",.2f"),
    ("next_sentence_accuracy", "next-sentence accuracy", ".2%"),
)
MOST_SENTENCES, MOST_WORDS = 5, 3
NONE = "–"
# What Markdown would read as markup.
_MARKUP = re.compile(r"[\\`*_\[\]<>|~]")
# Databases refuse some of them, and others turn the text after them around.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
MOST_CHARACTERS = 500  # of a text in a table, and of the reason


def subject(asked: Question) -> str:
    """The question in a line."""
    instead = f" instead of {asked.promoted.model_id}" if asked.promoted else ""
    but = "" if asked.good else " although the figures speak against it"
    return f"Promote {asked.model.model_id}{instead}{but}?"


def body(run: Run, asked: Question, cost: str, links: Mapping[str, str]) -> str:
    """The figures of both models, the words that they put in place of a mask, the cost, and links.

    Args:
        cost: of the run's training, as a sentence.
        links: addresses by title.
    """
    models = [asked.model, *([asked.promoted] if asked.promoted else [])]
    verdict = "The figures are for it" if asked.good else "The figures are against it"
    parts = [
        f"{verdict}: {plain(_short(asked.reason))}.",
        "\n".join(_table(["", *_titles(models)], _figures(models))),
    ]
    words = _words([_fill_mask(run, model) for model in models])
    if words:
        parts.append("\n".join(_table(["Text", *_titles(models)], words)))
    parts.append(plain(cost))
    parts.append("\n".join(f"- [{plain(title)}]({address})" for title, address in links.items()))
    return "\n\n".join(part for part in parts if part)


def plain(text: str) -> str:
    """A text on one line as Markdown shows it, without its being markup."""
    return _MARKUP.sub(lambda found: "\\" + found[0], " ".join(_CONTROLS.sub("", text).split()))


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _titles(models: Sequence[JudgedModel]) -> list[str]:
    return [f"{model.model_id} ({state})" for model, state in zip(models, ("new", "promoted"), strict=False)]


def _figures(models: Sequence[JudgedModel]) -> Iterator[list[str]]:
    yield ["training steps, of all its trainings", *(f"{model.total_steps:,}" for model in models)]
    for key, title, form in FIGURES:
        values = [model.evaluation.get(key) for model in models]
        if any(isinstance(value, int | float) for value in values):
            yield [title, *(format(v, form) if isinstance(v, int | float) else NONE for v in values)]
    for name in dict.fromkeys(name for model in models for name in model.tasks):
        found = [model.tasks.get(name) for model in models]
        metric = next(METRICS[task["metric"]] for task in found if task)
        scores = (f"{task['value']:.4f} (TF-IDF {task['tfidf']:.4f})" if task else NONE for task in found)
        yield [f"{metric} of {name}", *scores]


def _fill_mask(run: Run, model: JudgedModel) -> dict[str, str]:
    """The best words by sentence, from the model's manifest; none if that cannot be read here."""
    layout = ModelLayout.of(Path(run.config.workspace), model.model_id, run.config.upload)
    try:
        entries: Any = Manifest.read(layout.manifest).statistics["evaluation"].get("fill_mask") or ()
        return {
            str(entry["text"]): ", ".join(str(guess["word"]) for guess in entry["words"][:MOST_WORDS])
            for entry in entries[:MOST_SENTENCES]
        }
    except (QaribError, KeyError, TypeError, AttributeError):
        return {}


def _words(models: Sequence[Mapping[str, str]]) -> list[list[str]]:
    texts = dict.fromkeys(text for words in models for text in words)
    return [[text, *(words.get(text) or NONE for words in models)] for text in texts]


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell if cell == "---" else plain(_short(cell)) for cell in row) + " |"

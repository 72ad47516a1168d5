"""The table of a model's fine-tunings on labelled tasks, which `train.finetuning` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qarib_tasks.errors import InputError
from qarib_tasks.layout import ModelLayout
from qarib_tasks.storage.recognition import is_finetuning_table, is_ours
from qarib_tasks.storage.records.read import take_record
from qarib_tasks.storage.records.schemas import FinetuningTable


def read_table(layout: ModelLayout) -> list[dict[str, Any]]:
    """Return the entries of the table; none if there is no table.

    Each has name, metric, sha256, labels; mean, sd: of the metric over the seeds, null if there are too few;
    seeds: seed, rate, value, low, high of each; missing: seeds without a result; most_frequent, tfidf,
    tfidf_low, tfidf_high: the metric of the baselines; confusion: the sum over the seeds, unless there are
    more than 50 labels; test_texts.
    """
    path = layout.finetuning_table
    if not is_ours(path, is_finetuning_table):
        return []
    values = take_record(path, FinetuningTable, "it is written again once all fine-tunings are done")
    return list(values["tasks"]) if values else []


def mean_of(entry: Mapping[str, Any]) -> str:
    """Return the mean and the standard deviation of a task's entry, for people."""
    if entry["mean"] is None:
        return "none"
    return f"{entry['mean']:.4f}" + ("" if entry["sd"] is None else f" ± {entry['sd']:.4f}")


def require_results(entries: Sequence[Mapping[str, Any]]) -> None:
    """Require that no task misses a seed.

    Raises:
        InputError: some do; the error names all.
    """
    missing = [f"{entry['name']}, seed {seed}" for entry in entries for seed in entry["missing"]]
    if missing:
        raise InputError(f"fine-tunings without a result: {'; '.join(missing)}")

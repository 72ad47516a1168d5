"""The test texts of a task that a former model labels wrongly and a later one rightly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qarib_tasks.errors import CorruptError, QaribError
from qarib_tasks.layout import ModelLayout
from qarib_tasks.views.files import Files
from qarib_tasks.views.runs import trouble
from qarib_tasks.views.shapes import parsed
from qarib_tasks.views.tasks.results import AGAIN, Results, predictions

MOST_TEXTS = 20
MOST_CHARACTERS = 1000  # of a text
_TRAINING = b'{"part": "train",'  # the beginning of a line that is not needed


@dataclass(frozen=True)
class _Pair:
    """What two models predicted for the same texts.

    Attributes:
        own, former: for each of the first test texts an index into the task's labels.
        seed: of a fine-tuning; None for a probe.
    """

    sha256: str
    own: list[int]
    former: list[int]
    seed: int | None = None


def changed_texts(files: Files, name: str, own: Results, former: Results | None) -> dict[str, Any]:
    """Compare what two models predict for the test texts of a task.

    Returns:
        seed: of the fine-tuning, or None for the probe; right, wrong: the numbers of texts that became so;
        compared: that of all texts; texts: the first twenty that became right, each with its label and the
        one that was predicted before. Or, without these, reason: why there are none; or fault: the error.
    """
    if former is None:
        return {"reason": "There is no previous model to compare with."}
    try:
        pair = _fine_tuned(files, name, own, former) or _probed(name, own, former)
        if pair:
            path = own.model.name_of(own.model.task(name))
            key = hashlib.sha256(json.dumps([pair.sha256, pair.own, pair.former]).encode()).digest()
            if found := files.taken(path, key, lambda lines: _compared(lines, pair, files.where(path))):
                return found | {"seed": pair.seed}
            return {"reason": "The texts of this task are not stored."}
    except QaribError as error:
        return {"fault": trouble(error)}
    return {"reason": _reason(name, own, former)}


def _fine_tuned(files: Files, name: str, own: Results, former: Results) -> _Pair | None:
    """The predictions of the lowest seed that both models have."""
    mine, theirs = own.tuned.get(name), former.tuned.get(name)
    if mine is None or theirs is None or not _same(mine, theirs):
        return None
    seeds = {one["seed"] for one in mine["seeds"]} & {one["seed"] for one in theirs["seeds"]}
    for seed in sorted(seeds):
        both = [_predicted(files, results.model, name, seed) for results in (own, former)]
        if both[0] and both[1]:
            return _Pair(mine["sha256"], both[0], both[1], seed)
    return None


def _predicted(files: Files, model: ModelLayout, name: str, seed: int) -> list[int] | None:
    path = model.name_of(model.finetuning_result(name, seed))
    if (data := files.read(path, 60.0)) is None:
        return None
    found = parsed(data)
    labels = predictions(found.get("predicted")) if isinstance(found, dict) else None
    if labels is None:
        raise CorruptError("no predictions of a fine-tuned model", where=files.where(path), do=AGAIN)
    return labels


def _probed(name: str, own: Results, former: Results) -> _Pair | None:
    mine, theirs = own.predicted.get(name), former.predicted.get(name)
    if mine is None or theirs is None or not _same(mine, theirs):
        return None
    return _Pair(mine["sha256"], mine["predicted"], theirs["predicted"])


def _same(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether two results are of the same texts."""
    return bool(mine.get("sha256")) and mine["sha256"] == theirs.get("sha256")


def _reason(name: str, own: Results, former: Results) -> str:
    if name not in former.tuned and name not in former.probe:
        return "The previous model was not scored on this task."
    both = [(own.tuned.get(name), former.tuned.get(name)), (own.probe.get(name), former.probe.get(name))]
    if any(mine and theirs and _same(mine, theirs) for mine, theirs in both):
        return "The predictions of both models for the same texts are not stored."
    return "The previous model was scored on other texts, or with other labels."


def _compared(lines: Iterable[bytes], pair: _Pair, where: str) -> dict[str, Any]:
    """Read a task's file, see `labelled.staged`, up to the last text that both models labelled.

    Raises:
        CorruptError: it is not the file that the models were scored on.
    """
    digest, rows, labels = hashlib.sha256(), iter(lines), {}
    right = wrong = place = 0
    texts: list[dict[str, str]] = []
    both: Sequence[tuple[int, int]] = list(zip(pair.own, pair.former, strict=False))
    try:
        head = next(rows)
        digest.update(head)
        names = parsed(head)["labels"]
        labels = {label: number for number, label in enumerate(names)}
        for line in rows:
            digest.update(line)
            if line.startswith(_TRAINING) or place == len(both):
                continue
            row = json.loads(line)
            if row["part"] != "test":
                continue
            (own, former), truth = both[place], labels[row["label"]]
            place += 1
            wrong += former == truth != own
            if own == truth != former:
                right += 1
                if len(texts) < MOST_TEXTS:
                    texts.append({"text": _cut(row["text"]), "label": row["label"], "before": names[former]})
    except (ValueError, KeyError, IndexError, TypeError, RecursionError, StopIteration):
        raise CorruptError("not the file of a task", where=where, do="Start a new run") from None
    if digest.hexdigest() != pair.sha256 or place < len(both):
        raise CorruptError(
            "not the texts that the models were scored on (the SHA-256 differs)",
            where=where,
            do="Start a new run",
        )
    return {"right": right, "wrong": wrong, "compared": place, "texts": texts}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"

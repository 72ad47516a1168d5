"""The types that the page expects of values that others write: of any other type, they are left out.

A shape is one of: a function that says whether a value is right; `[shape]`, a list of such values; a tuple of
shapes, a list of just these; a dictionary of shapes by key, an object that may have other keys too; or
`{ANY_KEY: shape}`, an object of such values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from qarib_tasks.layout import ID

ANY_KEY = "*"
DEEPEST = 40  # lists and objects in each other; the page's own answer adds some
MOST_VALUES = 1_000_000  # in a file: more take too much memory, and stop other requests while they are read
_LARGEST = 1 << 63
_LEFT_OUT = object()


def number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # The answer has null for one that is not finite, such as the loss of a training that diverged.
    return isinstance(value, float) or -_LARGEST < value < _LARGEST


def text(value: object) -> bool:
    return isinstance(value, str)


def anything(value: object) -> bool:
    return True


def identifier(value: object) -> bool:
    """Whether a value is the id of a dataset or a model, which names a folder."""
    return isinstance(value, str) and re.fullmatch(ID, value) is not None


def folder(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


COUNTS = {ANY_KEY: number}
_FIGURES = (
    *("documents", "lines", "words", "bytes", "shards", "examples", "files", "left_out_files", "bytes_read"),
    *("text_bytes", "text_lines"),
    *("undecodable_bytes", "lines_read", "skipped", "documents_read", "duplicates", "near_duplicates"),
    *("outside_share", "heldout_documents", "wordpieces", "unknown_share", "packing_efficiency", "loss"),
    *("masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss", "next_sentence_accuracy"),
    *("learning_rate", "examples_per_second", "perplexity", "unigram_entropy", "step", "train_steps"),
)
FIGURES: dict[str, Any] = {name: number for name in _FIGURES}
SOURCE = FIGURES | {
    "left_out": {ANY_KEY: text},
    "undecodable": COUNTS,
    "samples": [(text, text)],
}
STATISTICS = FIGURES | {
    "sources": {ANY_KEY: SOURCE},
    "changed": COUNTS,
    "dropped": COUNTS,
    "changed_texts": {ANY_KEY: [(text, text, text)]},
    "dropped_texts": {ANY_KEY: [(text, text)]},
    "lost": [{"rule": text, "number": number, "total": number, "unit": text, "share": number}],
    "summary": text,
    "warnings": [text],
    "line_words": COUNTS,
    "document_lines": COUNTS,
    "contamination": {ANY_KEY: {"documents": number, "task": text}},
}
REASON = {"kind": text, "what": text, "where": text, "do": text}
MANIFEST = {
    "id": text,
    "state": text,
    "reason": text,
    "made_at": text,
    "made_by": text,
    "statistics": STATISTICS,
    "config": {"cleaning": [text]},
    "outputs": [{"name": text, "bytes": number}],
    "sample": [anything],
}
LINE = FIGURES
EVALUATION = FIGURES | {
    "fill_mask": [{"text": text, "words": [anything]}],
}
PROGRESS = FIGURES | {
    "state": text,
    "updated_at": anything,
    "evaluation": EVALUATION,
    "resumed": [anything],
    "seconds": COUNTS,
}
MEMORY = {
    "granted": number,
    "spent": number,
    "phase": text,
    "zone": number,
    "attempt": number,
    "preemptions": number,
    "reason": text,
    "history": [text],
    "since": number,
    "seconds": COUNTS,
    "emulated": anything,
    "answer": text,
    "answered": number,
    "deleted": number,
}
RUN = {
    "dataset_id": identifier,
    "model_id": identifier,
    "first_step": text,
    "config": {
        "preset": text,
        "workspace": folder,
        "extends": text,
        "collect": {"sources": [{"name": text, "path": text}]},
        "upload": {},
        "train": {"train_batch_size": number, "train_steps": number, "start_from": text},
        "convert": {"dupe_factor": number},
        "evaluate": {},
        "tpu": {"machine": text, "zones": [text], "accelerator_type": text, "provisioning": text},
    },
}


def conform(value: Any, shape: Any) -> tuple[Any, bool]:
    """Return the parts of a value that have the right types, and whether these are all.

    Null stands for a value that is not there, and is left out.
    """
    kept = _kept(value, shape)
    if kept is _LEFT_OUT:
        return ({} if isinstance(shape, dict) else None), False
    return kept, _same(value, kept)


def _kept(value: Any, shape: Any) -> Any:
    if isinstance(shape, dict):
        if not isinstance(value, Mapping):
            return _LEFT_OUT
        others = shape.get(ANY_KEY)
        found = {}
        for key, part in value.items():
            of = others or shape.get(key)
            if of is None:
                found[key] = part
            elif part is not None and (kept := _kept(part, of)) is not _LEFT_OUT:
                found[key] = kept
        return found
    if isinstance(shape, list):
        if not isinstance(value, list | tuple):
            return _LEFT_OUT
        items = (_kept(part, shape[0]) for part in value)
        return [item for item in items if item is not _LEFT_OUT]
    if isinstance(shape, tuple):
        is_right = isinstance(value, list | tuple) and len(value) == len(shape)
        return value if is_right and all(map(_is, value, shape)) else _LEFT_OUT
    return value if shape(value) else _LEFT_OUT


def _is(value: Any, shape: Any) -> bool:
    return _kept(value, shape) is not _LEFT_OUT


def _same(value: Any, kept: Any) -> bool:
    if isinstance(value, Mapping):
        return all(part is None or (key in kept and _same(part, kept[key])) for key, part in value.items())
    if isinstance(value, list | tuple):
        return len(value) == len(kept) and all(map(_same, value, kept))
    return True


def conforming(data: bytes | None, shape: Any) -> tuple[dict[str, Any], bool]:
    """The object in a file's bytes, see `as_object`, without values of wrong types, and whether it is all."""
    found = as_object(data)
    kept, complete = conform(found, shape)
    return kept, complete and (bool(found) or (data or b"").strip() == b"{}")


def as_object(data: bytes | None) -> dict[str, Any]:
    """The JSON object in `data`; empty for anything else, so that a damaged file does not break the page."""
    value = parsed(data)
    return value if isinstance(value, dict) else {}


def parsed(data: bytes | None) -> Any:
    """The value in a file of JSON; None for anything else, and for one that has too many values or levels."""
    if not data or not is_small(data):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if is_shallow(value) else None


def is_small(data: bytes) -> bool:
    """Whether JSON has not too many values. A comma or a bracket is in front of each, but the first one."""
    return sum(map(data.count, (b",", b"[", b"{"))) <= MOST_VALUES


def is_plain(line: dict[str, Any]) -> bool:
    """Whether all values are numbers: `conform` would keep all of them."""
    return all(map(number, line.values()))


def is_shallow(value: Any) -> bool:
    """Whether a value of JSON has not too many lists and objects in each other."""
    depth, level = 0, [value]
    while level:
        depth += 1
        if depth > DEEPEST:
            return False
        inner = []
        for part in level:
            for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
                if isinstance(item, dict | list):
                    inner.append(item)
        level = inner
    return True

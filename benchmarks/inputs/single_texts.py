"""Held-out texts as examples of one text each, with fixed masks, to compare models of any recipe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qarib_tasks.config.conversion import masked_positions
from qarib_tasks.layout import DatasetLayout
from qarib_tasks.vocabulary.file import ids_of, load_vocab
from qarib_tasks.vocabulary.tokenizer_files import make_tokenizer

SHARE = 0.15  # of the wordpieces masked
BATCH = 64


def single_texts(dataset: DatasetLayout, count: int, length: int) -> tuple[list[dict[str, Any]], float]:
    """Return batches of a dataset's first held-out documents, and bits per character for a loss of one nat.

    The held-out part has the sources in the order of the settings. Its last texts are left out if they do not
    fill a batch.

    Args:
        length: of an example; longer texts are cut.
    """
    tokens = load_vocab(dataset.vocab)
    ids, random = ids_of(tokens), np.random.default_rng(1)
    tokenizer = make_tokenizer(tokens, do_lower_case=True)
    texts = [text for text in dataset.heldout_data.read_text(encoding="utf-8").split("\n\n") if text][:count]
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    density = sum(len(one.ids) for one in encoded) / sum(map(len, texts))
    rows = [_row(one.ids[: length - 2], length, ids, random) for one in encoded if one.ids]
    some = [rows[start : start + BATCH] for start in range(0, len(rows) - BATCH + 1, BATCH)]
    return [{name: np.stack([row[name] for row in rows]) for name in rows[0]} for rows in some], (
        density / math.log(2)
    )


def _row(text: list[int], length: int, ids: dict[str, int], random: np.random.Generator) -> dict[str, Any]:
    """Return an example with masks as the conversion draws them."""
    most = masked_positions(length, SHARE, length)
    text = [ids["[CLS]"], *text, ids["[SEP]"]]
    count = min(masked_positions(len(text), SHARE, most), len(text) - 2)
    places = np.sort(random.permutation(np.arange(1, len(text) - 1))[:count])
    row = {name: np.zeros(length, np.int32) for name in ("input_ids", "input_mask", "segment_ids")}
    row |= {f"masked_lm_{name}": np.zeros(most, np.int32) for name in ("positions", "ids", "weights")}
    row["input_ids"][: len(text)], row["input_mask"][: len(text)] = text, 1
    before = row["input_ids"][places].copy()
    row["masked_lm_positions"][:count], row["masked_lm_ids"][:count] = places, before
    row["masked_lm_weights"][:count] = 1
    fates, others = random.random(count), random.integers(0, len(ids), count)
    after = np.where(fates < 0.8, ids["[MASK]"], np.where(fates < 0.9, before, others))
    row["input_ids"][places] = after
    return row | {"next_sentence_labels": np.int32(-1)}

"""Sentences with [MASK], and what an exported model says of them: all that needs no Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.loading import fields_of, from_dict
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import EXPORT, HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS, TOKENIZER, VOCAB
from qarib_tasks.storage.model_files import read_json
from qarib_tasks.train.weights.compare_vocabulary import difference
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, ids_of, load_vocab

MASK = "[MASK]"
AGAIN = "Export the model again"
NOT_WORDS = ("##", "[UNUSED_", "[unused")
Encoded = tuple[list[int], list[int]]  # the ids of a sentence, and the positions of its masks


@dataclass(frozen=True)
class Guess:
    """A word and its probability among all entries of the vocabulary."""

    word: str
    probability: float


# Without one of them in `config.json`, another model would be computed.
SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size"),
)


class MaskedSentences:
    """Converts sentences with [MASK] to a model's batch, and the model's logits to words.

    Args:
        tokens: the vocabulary.
        tokenizer: a `tokenizers.Tokenizer` for the vocabulary.
        limit: the model's longest input in wordpieces.
    """

    def __init__(self, tokens: Sequence[str], tokenizer: Any, limit: int) -> None:
        self.tokens = tokens
        self.tokenizer = tokenizer
        self.limit = limit
        ids = ids_of(tokens)
        self.mask = ids[MASK]
        # Only words are predicted, not continuations of words, special and unused entries, or lines that are
        # empty or that a later line repeats.
        self.is_word = np.array(
            [
                t != "" and ids[t] == n and t not in SPECIAL_TOKENS and not t.startswith(NOT_WORDS)
                for n, t in enumerate(tokens)
            ]
        )

    def encode(self, sentence: str) -> Encoded:
        """Return the ids of a sentence, and the positions of its masks.

        Raises:
            InputError: the sentence has no [MASK], or is longer than the model's longest input.
        """
        ids = self.tokenizer.encode(sentence).ids
        places = [place for place, number in enumerate(ids) if number == self.mask]
        if not places:
            raise InputError(f"the sentence has no {MASK}", where=sentence, do=f"Replace a word with {MASK}")
        if len(ids) > self.limit:
            raise InputError(
                f"the sentence is {len(ids)} wordpieces long; the model reads at most {self.limit}",
                where=sentence,
                do="Shorten the sentence",
            )
        return ids, places

    def batch(self, encoded: Sequence[Encoded]) -> dict[str, np.ndarray]:
        """Make a batch of encoded sentences.

        Returns:
            int32 arrays: input_ids, input_mask, segment_ids [sentences, length]; masked_lm_positions
            [sentences, masks].
        """
        ids = _padded([ids for ids, _ in encoded])
        return {
            "input_ids": ids,
            "input_mask": _padded([[1] * len(own) for own, _ in encoded]),
            "segment_ids": np.zeros_like(ids),
            "masked_lm_positions": _padded([places for _, places in encoded]),
        }

    def guesses(self, encoded: Sequence[Encoded], logits: Any, count: int) -> list[list[list[Guess]]]:
        """Return the most probable words for each mask of each sentence.

        Args:
            logits: the model's output for the batch [sentences × masks, entries].
            count: number of words per mask.
        """
        logits = np.asarray(logits, np.float64).reshape(len(encoded), -1, len(self.tokens))
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        count = min(count, int(self.is_word.sum()))
        best = np.argsort(-np.where(self.is_word, shares, -1.0), axis=-1, kind="stable")
        return [
            [
                [
                    Guess(self.tokens[number], float(shares[row, place, number]))
                    for number in best[row, place, :count]
                ]
                for place in range(len(own))
            ]
            for row, (_, own) in enumerate(encoded)
        ]


@dataclass(frozen=True)
class ExportedModel:
    """The files of an exported model, except for its weights.

    Attributes:
        weights: the file of the weights.
    """

    weights: Path
    config: ModelConfig
    tokens: Sequence[str]
    sentences: MaskedSentences

    @classmethod
    def read(cls, folder: Path) -> ExportedModel:
        """Read the files in a folder.

        Args:
            folder: the export, or the model's folder that contains `export/`.

        Raises:
            InputError: the folder has no exported model.
            CorruptError: a file is damaged, or does not fit the others.
        """
        folder = folder / EXPORT if (folder / EXPORT).is_dir() else folder
        for name in (HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS, TOKENIZER, VOCAB):
            if not (folder / name).is_file():
                raise InputError(
                    f"no exported model: {name} is missing", where=folder, do="Run `qarib export`"
                )
        values = read_json(folder / HUGGING_FACE_CONFIG)
        if missing := [name for name in SIZES if name not in values]:
            what = f"has no {', '.join(missing)}"
            raise CorruptError(what, where=folder / HUGGING_FACE_CONFIG, do=AGAIN)
        known = {name: values[name] for name in fields_of(ModelConfig) if name in values}
        config = from_dict(ModelConfig, known | {"hidden_act": "gelu"}, folder / HUGGING_FACE_CONFIG)
        tokens = load_vocab(folder / VOCAB)
        tokenizer = _tokenizer(folder / TOKENIZER, tokens)
        sentences = MaskedSentences(tokens, tokenizer, config.max_position_embeddings)
        return cls(folder / HUGGING_FACE_WEIGHTS, config, tokens, sentences)


def _tokenizer(path: Path, tokens: Sequence[str]) -> Any:
    """Read a `tokenizers.Tokenizer`.

    Raises:
        CorruptError: it cannot be read, or its vocabulary is another one.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library has no class of its own.
        raise CorruptError(f"not a tokenizer: {error}", where=path, do=AGAIN) from None
    if found := difference(tokenizer.get_vocab(), ids_of(tokens)):
        number, theirs, ours = found
        what = f"the entry with the id {number} is {theirs}, {VOCAB} has {ours}"
        raise CorruptError(what, where=path, do=AGAIN)
    return tokenizer


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Pad rows with zeros to the same length, as int32."""
    result = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return result

"""Predictions of the words at the [MASK]s of a sentence, most probable first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qarib_tasks.errors import CorruptError
from qarib_tasks.layout import HUGGING_FACE_CONFIG, VOCAB
from qarib_tasks.train.model.bert import PretrainingBert
from qarib_tasks.train.results.masked_sentences import AGAIN, ExportedModel, Guess
from qarib_tasks.train.weights.hugging_face import read_hugging_face

BATCH = 32


class FillMask:
    """An exported model.

    Args:
        model: its folder, see `ExportedModel.read`, or what was read of it.

    Raises:
        InputError: the folder has no exported model.
        CorruptError: a file is damaged, or does not fit the others.
    """

    def __init__(self, model: Path | ExportedModel) -> None:
        exported = ExportedModel.read(model) if isinstance(model, Path) else model
        path = exported.weights
        self.sentences = exported.sentences
        self.model = PretrainingBert(exported.config, len(exported.tokens), next_sentence=False)
        weights = read_hugging_face(path)
        for name, variable in self.model.named_variables().items():
            if name not in weights:
                raise CorruptError(f"{name} is missing", where=path, do=AGAIN)
            if weights[name].shape != tuple(variable.shape):
                what = f"{name} has the shape {list(weights[name].shape)}, expected {list(variable.shape)}"
                raise CorruptError(f"{what} by {HUGGING_FACE_CONFIG} and {VOCAB}", where=path, do=AGAIN)
            variable.assign(weights[name])

    def __call__(self, sentences: Sequence[str], count: int = 5) -> list[list[list[Guess]]]:
        """Return the `count` most probable words for every [MASK] of every sentence.

        Raises:
            InputError: a sentence has no [MASK], or is longer than the model's longest input.
        """
        encoded = [self.sentences.encode(sentence) for sentence in sentences]
        result = []
        for first in range(0, len(encoded), BATCH):
            part = encoded[first : first + BATCH]
            logits = self.model(self.sentences.batch(part), training=False)["masked_lm"]
            result += self.sentences.guesses(part, logits, count)
        return result


def fill_mask(
    model: Path | ExportedModel, sentences: Sequence[str], count: int = 5
) -> list[list[list[Guess]]]:
    """Return `FillMask(model)(sentences, count)`."""
    return FillMask(model)(sentences, count)

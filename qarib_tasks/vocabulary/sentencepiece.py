"""Trains SentencePiece, and turns its pieces into WordPiece entries."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from qarib_tasks.errors import InputError

SPACE = "\u2581"  # SentencePiece's mark of a word's start


def train_sentencepiece(**settings: Any) -> None:
    """Run SentencePiece's trainer.

    Raises:
        InputError: SentencePiece reports an error.
    """
    import sentencepiece

    try:
        sentencepiece.SentencePieceTrainer.train(**settings)
    except RuntimeError as error:
        raise InputError(
            f"SentencePiece failed to learn a vocabulary of this size: {' '.join(str(error).split())}",
            do="Set a smaller vocab_size, or collect more text",
        ) from None
    _check_written(Path(settings["model_prefix"]))


def _check_written(prefix: Path) -> None:
    """Check that the list of pieces is complete: SentencePiece does not notice when the disk is full."""
    import sentencepiece

    vocab, model = prefix.with_suffix(".vocab"), prefix.with_suffix(".model")
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(model)).get_piece_size()
    except (OSError, RuntimeError):
        pieces = -1
    if len(vocab.read_bytes().split(b"\n")) - 1 != pieces:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(vocab.parent))


def read_pieces(path: Path) -> list[str]:
    """Return the pieces in a SentencePiece `.vocab` file, without the first one, <unk>."""
    return [line.split("\t")[0] for line in path.read_text("utf-8").split("\n") if line][1:]


def as_entry(piece: str) -> str:
    """Turn a SentencePiece piece into an entry: `▁word` → `word`, `end` → `##end`."""
    return piece[1:] if piece.startswith(SPACE) else f"##{piece}"

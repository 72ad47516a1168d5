"""SentencePiece: training, and its pieces as WordPiece entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qarib_tasks.errors import InputError

SPACE = "\u2581"  # SentencePiece's mark of a word's beginning


def train_sentencepiece(**settings: Any) -> None:
    """SentencePiece's trainer, its complaints as InputError."""
    import sentencepiece

    try:
        sentencepiece.SentencePieceTrainer.train(**settings)
    except RuntimeError as error:
        raise InputError(
            f"SentencePiece cannot learn so many pieces from the text: {' '.join(str(error).split())}",
            do="Set a smaller vocab_size, or collect more text",
        ) from None


def read_pieces(path: Path) -> list[str]:
    """The pieces in a SentencePiece `.vocab` file, without <unk>, the first."""
    return [line.split("\t")[0] for line in path.read_text("utf-8").split("\n") if line][1:]


def as_entry(piece: str) -> str:
    """A SentencePiece piece as an entry: `▁word` → `word`, `end` → `##end`."""
    return piece[1:] if piece.startswith(SPACE) else f"##{piece}"

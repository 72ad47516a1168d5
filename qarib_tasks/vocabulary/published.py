"""The vocabulary that QARiB's prepare_vocab.py makes, for comparison.

Raw sentences are cleaned with the script's cleaner, and SentencePiece runs with the script's arguments. One
thing is corrected: an empty entry (SentencePiece's mark of a word's start, alone) and repeated entries, which
the tokenizer never produces, are omitted, and placeholders replace them. A vocabulary that the script itself
made is read with its lines as they are (`file.load_vocab`).
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.corpus.cleaning import Cleaner
from qarib_tasks.storage.files import temporary_folder
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS
from qarib_tasks.vocabulary.sentencepiece import as_entry, read_pieces, train_sentencepiece

INPUT_SENTENCES = 5_600_000  # in the script; the article says 5 million
LINES = 10_000  # cleaned at once


def published_arguments(text: Path, prefix: Path, pieces: int) -> dict[str, Any]:
    """Return exactly the arguments that the script passes to SentencePiece."""
    return {
        "input": str(text),
        "model_prefix": str(prefix),
        "vocab_size": pieces,
        "input_sentence_size": INPUT_SENTENCES,
        "shuffle_input_sentence": True,
        "bos_id": -1,
        "eos_id": -1,
    }


def published_vocabulary(data: Path, config: VocabConfig, out: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the entries in order, and statistics for the manifest.

    Args:
        out: the vocabulary; the cleaned text, which is as large as the text, is in a temporary folder beside
            it.

    Raises:
        InputError: the text is too small for a vocabulary of this size.
    """
    cleaner = Cleaner(CollectConfig(cleaning=("published",)))
    lines = 0
    with temporary_folder(out.with_name(f"{out.name}.published")) as folder:
        text, prefix = folder / "data.txt.proc", folder / "tokenizer"
        with data.open(encoding="utf-8", errors="replace", newline="\n") as file, text.open("wb") as proc:
            while some := [line.rstrip("\n") for line in islice(file, LINES)]:
                cleaned = [line for line in cleaner.clean(some) if line]
                proc.write("".join(line + "\n" for line in cleaned).encode())
                lines += len(cleaned)
        train_sentencepiece(
            **published_arguments(text, prefix, config.vocab_size - config.placeholders), minloglevel=2
        )
        pieces = read_pieces(prefix.with_suffix(".vocab"))
    entries = list(
        dict.fromkeys([*SPECIAL_TOKENS, *(e for e in map(as_entry, pieces) if e not in ("", "##"))])
    )
    entries = entries[: config.vocab_size]
    unused = config.vocab_size - len(entries)
    figures = {"lines": lines, "sampled_lines": min(lines, INPUT_SENTENCES), "pieces": len(pieces)}
    return [*entries, *(f"[UNUSED_{i}]" for i in range(unused))], figures

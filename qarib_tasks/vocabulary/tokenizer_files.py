"""Writes `tokenizer.json` and `tokenizer_config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qarib_tasks.layout import TOKENIZER, TOKENIZER_CONFIG
from qarib_tasks.storage.files import write_text
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, ids_of
from qarib_tasks.vocabulary.words import LONGEST_WORD


def make_tokenizer(vocabulary: list[str], *, do_lower_case: bool) -> Any:
    """Return BERT's tokenizer with this vocabulary, as a `tokenizers.Tokenizer`."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import WordPiece as WordPieceDecoder
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    ids = ids_of(vocabulary)
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    tokenizer.normalizer = BertNormalizer(lowercase=do_lower_case)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def write_tokenizer(vocabulary: list[str], folder: Path, *, do_lower_case: bool) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, which `transformers.AutoTokenizer` loads."""
    for name, text in zip(
        (TOKENIZER, TOKENIZER_CONFIG), tokenizer_texts(vocabulary, do_lower_case=do_lower_case), strict=True
    ):
        write_text(folder / name, text)


def tokenizer_texts(vocabulary: list[str], *, do_lower_case: bool) -> tuple[str, str]:
    """Return the contents of `tokenizer.json` and `tokenizer_config.json`."""
    tokenizer = make_tokenizer(vocabulary, do_lower_case=do_lower_case)
    names = {name: token for token in SPECIAL_TOKENS for name in [f"{token.strip('[]').lower()}_token"]}
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": do_lower_case, **names}
    return tokenizer.to_str(pretty=True) + "\n", json.dumps(config, indent=2, sort_keys=True) + "\n"

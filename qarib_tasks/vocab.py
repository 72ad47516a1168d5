"""Step 1: `data.txt` to a BERT vocabulary, learnt by SentencePiece from the words the tokenizer will see.

The text goes through BERT's own normalizer and pre-tokenizer first (Devlin et al. 2019; google-research/bert
`tokenization.py`), so that every learnt entry is one the tokenizer can produce. Words are counted once and
SentencePiece (Kudo & Richardson 2018, unigram) is given words with their frequencies, not text.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from qarib_tasks.config import VocabConfig, to_dict
from qarib_tasks.errors import InputError
from qarib_tasks.layout import manifest_of
from qarib_tasks.manifest import FileRecord, Manifest, finished
from qarib_tasks.progress import progress
from qarib_tasks.storage import write_text

log = logging.getLogger(__name__)
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 200  # BERT's wordpiece tokenizer makes longer ones [UNK]
SPACE = "\u2581"  # SentencePiece's mark of a word's beginning
BLOCK = 1 << 20  # lines whose hashes are in memory at once
COVERAGE = 0.99995  # share of the text's characters that get an entry of their own


def build_vocab(
    data: Path, out: Path, config: VocabConfig, *, do_lower_case: bool, random_seed: int
) -> Manifest:
    """Learn `out`, a vocabulary of exactly `config.vocab_size` lines, and write `tokenizer.json` and
    `tokenizer_config.json` beside it for `transformers`.

    Returns:
        the manifest, written last, beside `out`.

    Raises:
        InputError: `data` is missing or empty, or too small for so large a vocabulary (the error names the
            largest size that works).
    """
    source = FileRecord.of(data)
    settings = to_dict(config) | {"do_lower_case": do_lower_case, "random_seed": random_seed}
    if done := finished(manifest_of(out), config=settings, inputs=[source]):
        log.info("%s: already built", out)
        return done
    if not source.bytes:
        raise InputError("the corpus is empty", where=data, do="Check what was collected into it")
    manifest_of(out).unlink(missing_ok=True)
    total_lines, sampled_lines, raw = _count_words(data, config.sample_lines, random_seed, source.bytes)
    words = _normalize(raw, do_lower_case)
    if not words:
        raise InputError("there is no word in the corpus", where=data)
    alphabet = _alphabet(words)
    fixed = [*SPECIAL_TOKENS, *(f"[UNUSED_{i}]" for i in range(config.placeholders))]
    room = config.vocab_size - len(fixed)
    characters = list(_alphabet_entries(alphabet))
    if len(characters) > room:
        raise InputError(
            f"the {len(alphabet):,} characters of the corpus do not fit into {config.vocab_size:,} entries",
            where=data,
            do=f"Set vocab_size to {len(characters) + len(fixed)} or more",
        )
    entries = list(dict.fromkeys([*characters, *_learn(words, alphabet, config.vocab_size)]))
    if len(entries) < room:
        raise InputError(
            f"the corpus gives a vocabulary of {len(entries) + len(fixed):,} entries at most, "
            f"{config.vocab_size:,} were asked for",
            where=data,
            do=f"Set vocab_size to {len(entries) + len(fixed)} or less, or collect more text",
        )
    vocabulary = [*SPECIAL_TOKENS, *entries[:room], *fixed[len(SPECIAL_TOKENS) :]]
    write_text(out, "".join(entry + "\n" for entry in vocabulary))
    write_tokenizer(vocabulary, out.parent, do_lower_case=do_lower_case)
    manifest = Manifest(
        kind="vocabulary",
        id=out.name,
        config=settings,
        inputs=[source],
        outputs=[
            FileRecord.of(out.with_name(n)) for n in (out.name, "tokenizer.json", "tokenizer_config.json")
        ],
        statistics={
            "vocab_size": len(vocabulary),
            "lines": total_lines,
            "sampled_lines": sampled_lines,
            "words": sum(words.values()),
            "distinct_words": len(words),
            "characters": len(alphabet),
        },
        sample=vocabulary[len(SPECIAL_TOKENS) + len(characters) :][:20],
    )
    manifest.write(manifest_of(out))
    return manifest


def _count_words(data: Path, sample_lines: int, random_seed: int, size: int) -> tuple[int, int, Counter[str]]:
    """Count the space-separated words of a uniform sample of the non-blank lines.

    Returns:
        lines in all, lines in the sample, the words' counts.
    """
    with data.open("rb") as file:
        total = sum(1 for line in file if not line.isspace())
    words: Counter[str] = Counter()
    with data.open("rb") as file, progress("count words", size, "bytes") as advance:
        text = (line for line in file if not line.isspace())
        for line, chosen in zip(text, _sample(total, sample_lines, random_seed), strict=True):
            if chosen:
                words.update(line.decode("utf-8", errors="replace").split())
            advance(len(line))
    return total, min(total, sample_lines), words


def _sample(total: int, size: int, random_seed: int) -> Iterator[bool]:
    """For each of `total` lines whether it is in a uniform sample of exactly `size` of them.

    A line is in it if the hash of its number is among the `size` smallest: a function of the number and the
    seed only, so that any number of readers choose the same lines, on any version of any library. The hash is
    SplitMix64 (Steele et al. 2014), which gives no two numbers the same value. Memory grows with the sample.
    """
    if total <= size:
        yield from repeat(True, total)
        return
    import numpy as np

    def hashes(start: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        x = np.arange(start, min(start + BLOCK, total), dtype=np.uint64)
        x = (x + np.uint64(random_seed % 2**64)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    smallest = np.empty(0, dtype=np.uint64)
    for start in range(0, total, BLOCK):
        smallest = np.concatenate([smallest, hashes(start)])
        if len(smallest) > size:
            smallest = np.partition(smallest, size - 1)[:size]
    largest_chosen = smallest.max()
    for start in range(0, total, BLOCK):
        yield from (hashes(start) <= largest_chosen).tolist()


def _normalize(raw: Counter[str], do_lower_case: bool) -> Counter[str]:
    """The counts of the words that BERT's tokenizer makes of the space-separated ones."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, pre_tokenizer = BertNormalizer(lowercase=do_lower_case), BertPreTokenizer()
    words: Counter[str] = Counter()
    for text, count in raw.items():
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            if len(word) <= LONGEST_WORD and SPACE not in word:
                words[word] += count
    return words


def _alphabet(words: Counter[str]) -> list[str]:
    """The most frequent characters that make up COVERAGE of the text, by code point."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    enough = COVERAGE * sum(counts.values())
    kept, covered = [], 0
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= enough:
            break
        kept.append(character)
        covered += count
    return sorted(kept)


def _alphabet_entries(alphabet: list[str]) -> Iterator[str]:
    """Every character as the beginning of a word and, where words can go on with it, as a continuation."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    pre_tokenizer = BertPreTokenizer()
    yield from alphabet
    for character in alphabet:
        if len(pre_tokenizer.pre_tokenize_str(f"a{character}")) == 1:
            yield f"##{character}"


def _learn(words: Counter[str], alphabet: list[str], size: int) -> list[str]:
    """Wordpieces that SentencePiece learns from word frequencies, the most likely first."""
    import sentencepiece

    known = re.compile(f"[{re.escape(''.join(alphabet))}]+")
    with tempfile.TemporaryDirectory() as folder:
        table, prefix = Path(folder) / "words.tsv", Path(folder) / "pieces"
        lines = (f"{w}\t{n}\n" for w, n in sorted(words.items()) if len(w) > 1 and known.fullmatch(w))
        table.write_text("".join(lines), encoding="utf-8")
        if not table.stat().st_size:
            return []
        sentencepiece.SentencePieceTrainer.train(
            input=str(table),
            input_format="tsv",
            model_prefix=str(prefix),
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            split_by_unicode_script=False,
            split_by_number=False,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
        pieces = [
            line.split("\t")[0] for line in prefix.with_suffix(".vocab").read_text("utf-8").splitlines()
        ]
    entries = (p.removeprefix(SPACE) if p.startswith(SPACE) else f"##{p}" for p in pieces if p != "<unk>")
    return [entry for entry in entries if entry not in {"", "##"}]


def write_tokenizer(vocabulary: list[str], folder: Path, *, do_lower_case: bool) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, which `transformers.AutoTokenizer` loads."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import WordPiece as WordPieceDecoder
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    ids = {entry: number for number, entry in enumerate(vocabulary)}
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
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    names = {name: token for token in SPECIAL_TOKENS for name in [f"{token.strip('[]').lower()}_token"]}
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": do_lower_case, **names}
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")

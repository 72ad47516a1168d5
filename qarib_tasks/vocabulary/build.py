"""Step 1: `data.txt` to a BERT vocabulary, learnt by SentencePiece from the words the tokenizer will see.

The text goes through BERT's own normalizer and pre-tokenizer first (`words.py`), so that every learnt entry
is one the tokenizer can produce. Words are counted once and SentencePiece (Kudo & Richardson 2018; unigram,
or Sennrich et al.'s BPE) is given words with their frequencies, not text.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.layout import TOKENIZER, TOKENIZER_CONFIG
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, manifest_of
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, load_vocab
from qarib_tasks.vocabulary.sentencepiece import SPACE, as_entry, read_pieces, train_sentencepiece
from qarib_tasks.vocabulary.tokenizer_files import write_tokenizer
from qarib_tasks.vocabulary.words import LONGEST_WORD, count_words, split

log = logging.getLogger(__name__)
COVERAGE = 0.99995  # share of the text's characters that get an entry of their own
# A word seen once teaches little and costs as much as any other: with so many times the vocabulary's size of
# others it is left out.
ENOUGH_WORDS = 2
SEEDS = 4  # times the vocabulary's size: pieces that the unigram model starts from
THREADS = 16  # fixed: SentencePiece adds up in an order that depends on it


def build_vocab(
    data: Path,
    out: Path,
    config: VocabConfig,
    *,
    do_lower_case: bool,
    random_seed: int,
    replace: bool = False,
) -> Manifest:
    """Learn `out`, a vocabulary of exactly `config.vocab_size` lines, and write `tokenizer.json` and
    `tokenizer_config.json` beside it for `transformers`.

    Args:
        replace: whether another vocabulary at `out` may be replaced. Everything that was converted and
            trained with it would mean something else by the same numbers.

    Returns:
        the manifest, written last, beside `out`.

    Raises:
        InputError: `data` is missing or empty, or too small for so large a vocabulary (the error names the
            largest size that works; small text is soon learnt from, so this does not take long); there is
            another vocabulary already.
        ConfigError: `config.vocab_file` has another size.
    """
    settings = named_settings(config) | {"do_lower_case": do_lower_case, "random_seed": random_seed}
    del settings["vocab_file"]
    given = Path(config.vocab_file) if config.vocab_file else None
    source = FileRecord.of(given, "vocab_file") if given else FileRecord.of(data)
    if done := finished(manifest_of(out), config=settings, inputs=[source]):
        log.info("%s: already built", out)
        return done
    if not source.bytes:
        raise InputError("the corpus is empty", where=data, do="Check what was collected into it")
    if not replace:
        _refuse_another(out)
    manifest_of(out).unlink(missing_ok=True)
    sample: Sequence[str]
    if given:
        vocabulary = load_vocab(given)
        if len(vocabulary) != config.vocab_size:
            raise ConfigError(
                f"the vocabulary has {len(vocabulary):,} entries and vocab_size is {config.vocab_size:,}",
                where=given,
                do=f"Set vocab_size to {len(vocabulary)}",
            )
        figures: dict[str, Any] = {"reused": True}
        sample = vocabulary[1000:1020]
    elif config.recipe == "published":
        from qarib_tasks.vocabulary.published import published_vocabulary

        vocabulary, figures = published_vocabulary(data, config, out.parent)
        sample = vocabulary[len(SPECIAL_TOKENS) :][:20]
    else:
        vocabulary, figures = _normalized_vocabulary(data, config, do_lower_case, random_seed)
        sample = vocabulary[len(SPECIAL_TOKENS) + figures["character_entries"] :][:20]
    write_text(out, "".join(entry + "\n" for entry in vocabulary))
    write_tokenizer(vocabulary, out.parent, do_lower_case=do_lower_case)
    manifest = Manifest(
        kind="vocabulary",
        id=out.name,
        config=settings,
        inputs=[source],
        outputs=[FileRecord.of(out.with_name(n)) for n in (out.name, TOKENIZER, TOKENIZER_CONFIG)],
        statistics={"vocab_size": len(vocabulary), **figures},
        sample=sample,
    )
    manifest.write(manifest_of(out))
    return manifest


def _refuse_another(out: Path) -> None:
    """Raise InputError where a whole vocabulary of other text or other settings lies at `out`."""
    try:
        other = Manifest.read(manifest_of(out))
    except (InputError, CorruptError):
        return
    if other.state == "complete" and out.exists() and not other.faults(out.parent):
        raise InputError(
            "there is a vocabulary already, of other text or with other settings",
            where=out,
            do="Keep it for new data too (vocab_file), or replace it by saying so (--replace)",
        )


def _normalized_vocabulary(
    data: Path, config: VocabConfig, do_lower_case: bool, random_seed: int
) -> tuple[list[str], dict[str, Any]]:
    """The entries in order, and figures for the manifest."""
    total, sampled, words = count_words(
        data, do_lower_case=do_lower_case, sample_lines=config.sample_lines, random_seed=random_seed
    )
    for word in [word for word in words if len(word) > LONGEST_WORD or SPACE in word]:
        del words[word]
    if not words:
        raise InputError("there is no word in the corpus", where=data)
    alphabet = _alphabet(words)
    fixed = [*SPECIAL_TOKENS, *(f"[UNUSED_{i}]" for i in range(config.placeholders))]
    room = config.vocab_size - len(fixed)
    characters = list(_alphabet_entries(alphabet, do_lower_case))
    if len(characters) > room:
        raise InputError(
            f"the {len(alphabet):,} characters of the corpus do not fit into {config.vocab_size:,} entries",
            where=data,
            do=f"Set vocab_size to {len(characters) + len(fixed)} or more",
        )
    learnt = _learn(words, alphabet, config.vocab_size, config.model_type)
    entries = list(dict.fromkeys([*characters, *learnt]))
    if len(entries) < room:
        raise InputError(
            f"the corpus gives a vocabulary of {len(entries) + len(fixed):,} entries at most, "
            f"{config.vocab_size:,} were asked for",
            where=data,
            do=f"Set vocab_size to {len(entries) + len(fixed)} or less, or collect more text",
        )
    figures = {
        "lines": total,
        "sampled_lines": sampled,
        "words": sum(words.values()),
        "distinct_words": len(words),
        "characters": len(alphabet),
        "character_entries": len(characters),
    }
    return [*SPECIAL_TOKENS, *entries[:room], *fixed[len(SPECIAL_TOKENS) :]], figures


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


def _alphabet_entries(alphabet: list[str], do_lower_case: bool) -> Iterator[str]:
    """Every character as the beginning of a word and, where words can go on with it, as a continuation."""
    yield from alphabet
    for character in alphabet:
        if split(f"a{character}", do_lower_case=do_lower_case) == [f"a{character}"]:
            yield f"##{character}"


def _learn(words: Counter[str], alphabet: list[str], size: int, model_type: str) -> list[str]:
    """Wordpieces that SentencePiece learns from word frequencies, the most likely first."""
    known = re.compile(f"[{re.escape(''.join(alphabet))}]+")
    usable = [(word, count) for word, count in words.items() if len(word) > 1 and known.fullmatch(word)]
    repeated = [(word, count) for word, count in usable if count > 1]
    if len(repeated) >= ENOUGH_WORDS * size:
        usable = repeated
    if not usable:
        return []
    usable.sort()
    with tempfile.TemporaryDirectory() as folder:
        table, prefix = Path(folder) / "words.tsv", Path(folder) / "pieces"
        table.write_text("".join(f"{word}\t{count}\n" for word, count in usable), encoding="utf-8")
        extra: dict[str, Any] = {}
        if model_type == "unigram":
            from qarib_tasks.vocabulary.seed_pieces import seed_pieces

            seeds = seed_pieces(usable, SPACE, SEEDS * size)
            extra["seed_sentencepieces_file"] = str(Path(folder) / "seeds.tsv")
            text = "".join(f"{piece}\t{count}\n" for piece, count in seeds)
            Path(extra["seed_sentencepieces_file"]).write_text(text, encoding="utf-8")
        train_sentencepiece(
            input=str(table),
            input_format="tsv",
            model_prefix=str(prefix),
            model_type=model_type,
            vocab_size=size if model_type == "unigram" else min(size, _most_pieces(usable)),
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            split_by_unicode_script=False,
            split_by_number=False,
            num_threads=THREADS,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
            **extra,
        )
        pieces = read_pieces(prefix.with_suffix(".vocab"))
    return [entry for entry in map(as_entry, pieces) if entry not in {"", "##"}]


def _most_pieces(words: list[tuple[str, int]]) -> int:
    """A size that BPE cannot exceed: it merges once for each character of a word but the first."""
    return sum(len(word) for word, _ in words) + len({char for word, _ in words for char in word}) + 8

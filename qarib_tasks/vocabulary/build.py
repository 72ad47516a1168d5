"""Step 1: builds a BERT vocabulary from `data.txt`: SentencePiece learns it from the tokenizer's words.

BERT's own normalizer and pre-tokenizer process the text first (`words.py`), so that the tokenizer can produce
every learned entry. Words are counted once. The input of SentencePiece (Kudo & Richardson 2018; unigram, or
Sennrich et al.'s BPE) is words with their frequencies, not text.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.storage.checked_file import watched
from qarib_tasks.storage.files import scratch_folder
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, lists_all, manifest_of
from qarib_tasks.storage.ownership import Earlier, Staged, check_outputs, owned, recorded_name
from qarib_tasks.storage.side_files import tokenizer_files_of
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, load_vocab
from qarib_tasks.vocabulary.sentencepiece import SPACE, as_entry, read_pieces, train_sentencepiece
from qarib_tasks.vocabulary.tokenizer_files import tokenizer_texts
from qarib_tasks.vocabulary.words import LONGEST_WORD, count_words, split

log = logging.getLogger(__name__)
COVERAGE = 0.99995  # share of the text's characters that get their own entry
# Words that occur once add little and cost as much as others. They are omitted if at least this many times
# the vocabulary's size of other words remain.
ENOUGH_WORDS = 2
SEEDS = 4  # times the vocabulary's size: number of pieces that the unigram model starts from
THREADS = 16  # fixed, because the order in which SentencePiece adds numbers depends on it


def build_vocab(
    data: Path,
    out: Path,
    config: VocabConfig,
    *,
    do_lower_case: bool,
    random_seed: int,
    replace: bool = False,
    adopt: bool = False,
) -> Manifest:
    """Build a vocabulary of exactly `config.vocab_size` lines in `out`, and its tokenizer files.

    For `transformers`, `tokenizer.json` and `tokenizer_config.json` are written beside a `vocab.txt`. Beside
    another vocabulary, their names begin with its name.

    Args:
        replace: whether to overwrite another vocabulary at `out`. The ids in all data and models that were
            made with the old one then have other meanings.
        adopt: see `ownership.owned`.

    Returns:
        the manifest, written last, beside `out`.

    Raises:
        InputError: `data` is missing, empty, or too small for a vocabulary of this size (the error has the
            largest size that works), another vocabulary already exists, or a file that is not ours is in the
            way of an output.
        ConfigError: `config.vocab_file` has another size.
    """
    settings = named_settings(config) | {"do_lower_case": do_lower_case, "random_seed": random_seed}
    del settings["vocab_file"]
    given = Path(config.vocab_file) if config.vocab_file else None
    outputs, place = [out, *tokenizer_files_of(out)], manifest_of(out)
    check_outputs([*outputs, place], [data, given] if given else [data])
    earlier = owned("vocabulary", place, outputs, named=[out], adopt=adopt)
    require_unchanged = watched(given or data)
    source = FileRecord.of(given, "vocab_file") if given else FileRecord.of(data)
    lists = lists_all(*(recorded_name(path, place) for path in outputs))
    if done := finished(place, kind="vocabulary", config=settings, inputs=[source], lists=lists):
        log.info("%s: already built", out)
        return done
    if not source.bytes:
        raise InputError("the corpus is empty", where=data, do="Check the sources, and collect again")
    if not given:
        from qarib_tasks.corpus.content.plain import require_plain_text

        require_plain_text(data)
    if not replace:
        _refuse_another(out, earlier)
    sample: Sequence[str]
    if given:
        vocabulary = load_vocab(given)
        if len(vocabulary) != config.vocab_size:
            raise ConfigError(
                f"the vocabulary has {len(vocabulary):,} entries, but vocab_size is {config.vocab_size:,}",
                where=given,
                do=f"Set vocab_size to {len(vocabulary)}",
            )
        figures: dict[str, Any] = {"reused": True}
        sample = vocabulary[1000:1020]
    elif config.recipe == "published":
        from qarib_tasks.vocabulary.published import published_vocabulary

        vocabulary, figures = published_vocabulary(data, config, out)
        sample = vocabulary[len(SPECIAL_TOKENS) :][:20]
    else:
        vocabulary, figures = _normalized_vocabulary(data, config, do_lower_case, random_seed)
        sample = vocabulary[len(SPECIAL_TOKENS) + figures["character_entries"] :][:20]
    require_unchanged()
    with Staged(place) as staged:
        texts = (
            "".join(entry + "\n" for entry in vocabulary),
            *tokenizer_texts(vocabulary, do_lower_case=do_lower_case),
        )
        for path, text in zip(outputs, texts, strict=True):
            staged.path(path).write_text(text, encoding="utf-8", newline="\n")
        manifest = Manifest(
            kind="vocabulary",
            id=out.name,
            config=settings,
            inputs=[source],
            outputs=list(map(staged.record, outputs)),
            statistics={"vocab_size": len(vocabulary), **figures},
            sample=sample,
        )
        return staged.commit(manifest)


def _refuse_another(out: Path, earlier: Earlier) -> None:
    """Raise InputError if `out` is an intact vocabulary of other text or with other settings."""
    other = earlier.manifest
    lists = earlier.records(out)
    if other and earlier.is_complete and lists and out.exists() and not other.faults(earlier.path.parent):
        raise InputError(
            "the file is a vocabulary of other text or with other settings",
            where=out,
            do="Choose another output, or pass --replace to overwrite it",
        )


def _normalized_vocabulary(
    data: Path, config: VocabConfig, do_lower_case: bool, random_seed: int
) -> tuple[list[str], dict[str, Any]]:
    """Return the entries in order, and statistics for the manifest."""
    total, sampled, words = count_words(
        data, do_lower_case=do_lower_case, sample_lines=config.sample_lines, random_seed=random_seed
    )
    for word in [word for word in words if len(word) > LONGEST_WORD or SPACE in word]:
        del words[word]
    if not words:
        raise InputError("the corpus has no words", where=data, do="Check the sources, and collect again")
    alphabet = _alphabet(words)
    fixed = [*SPECIAL_TOKENS, *(f"[UNUSED_{i}]" for i in range(config.placeholders))]
    room = config.vocab_size - len(fixed)
    characters = list(_alphabet_entries(alphabet, do_lower_case))
    if len(characters) > room:
        raise InputError(
            f"the {len(alphabet):,} characters of the corpus do not fit in {config.vocab_size:,} entries",
            where=data,
            do=f"Set vocab_size to {len(characters) + len(fixed)} or more",
        )
    learnt = _learn(words, alphabet, config.vocab_size, config.model_type)
    entries = list(dict.fromkeys([*characters, *learnt]))
    if len(entries) < room:
        raise InputError(
            f"the corpus is too small for {config.vocab_size:,} vocabulary entries, "
            f"the maximum is {len(entries) + len(fixed):,}",
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
    """Return the most frequent characters that make up COVERAGE of the text, by code point."""
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
    """Yield every character as the start of a word and, if it can continue a word, as a continuation."""
    yield from alphabet
    for character in alphabet:
        if split(f"a{character}", do_lower_case=do_lower_case) == [f"a{character}"]:
            yield f"##{character}"


def _learn(words: Counter[str], alphabet: list[str], size: int, model_type: str) -> list[str]:
    """Return the wordpieces that SentencePiece learns from word frequencies, the most likely first."""
    known = re.compile(f"[{re.escape(''.join(alphabet))}]+")
    usable = [(word, count) for word, count in words.items() if len(word) > 1 and known.fullmatch(word)]
    repeated = [(word, count) for word, count in usable if count > 1]
    if len(repeated) >= ENOUGH_WORDS * size:
        usable = repeated
    if not usable:
        return []
    usable.sort()
    with scratch_folder() as folder:
        table, prefix = folder / "words.tsv", folder / "pieces"
        table.write_text("".join(f"{word}\t{count}\n" for word, count in usable), encoding="utf-8")
        extra: dict[str, Any] = {}
        if model_type == "unigram":
            from qarib_tasks.vocabulary.seed_pieces import seed_pieces

            seeds = seed_pieces(usable, SPACE, SEEDS * size)
            extra["seed_sentencepieces_file"] = str(folder / "seeds.tsv")
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
    """Return a size that BPE cannot exceed: it merges at most once per character after a word's first."""
    return sum(len(word) for word, _ in words) + len({char for word, _ in words for char in word}) + 8

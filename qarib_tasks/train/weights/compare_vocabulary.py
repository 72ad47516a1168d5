"""Checks that weights were trained with the vocabulary of the training that starts from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.layout import TOKENIZER, TOKENIZER_CONFIG, VOCAB
from qarib_tasks.storage.model_files import Pretrained, read_json
from qarib_tasks.train.data.shards import open_address
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.vocabulary.file import ids_of, read_entries

log = logging.getLogger(__name__)
DO = "Set vocab.vocab_file to the vocabulary that these weights were trained with"


def check_vocabulary(
    found: Pretrained,
    folder: Path,
    settings: Mapping[str, Any],
    vocabulary: Vocabulary,
    do_lower_case: bool | None,
) -> None:
    """Compare the vocabularies' contents: `vocab.txt` and `tokenizer.json`, those that there are.

    Newer versions of transformers write only the latter, so an old `vocab.txt` can stand beside it.

    If the source has neither, only shapes can be compared later, with a warning. Another setting of lower
    case is a warning.

    Args:
        folder: the source's files on this machine.
        settings: those of the source's model.
        do_lower_case: the job's; None if it is not known.

    Raises:
        ConfigError: the vocabularies differ. CorruptError: `tokenizer.json` cannot be read.
    """
    if found.kind == "checkpoint":
        if settings["vocabulary"] != vocabulary.record.sha256:
            raise ConfigError("was trained with a different vocabulary", where=found.folder, do=DO)
        return
    if VOCAB in found.files:
        _compare_lines(read_entries(folder / VOCAB), vocabulary, f"{found.folder}/{VOCAB}")
    if TOKENIZER in found.files:
        _compare_ids(_tokenizer_ids(folder / TOKENIZER), vocabulary, f"{found.folder}/{TOKENIZER}")
    if not {VOCAB, TOKENIZER} & found.files.keys():
        log.warning(
            "%s has no %s and no %s: comparing only the vocabulary's size", found.folder, VOCAB, TOKENIZER
        )
    theirs = _their_lower_case(folder, found)
    if None not in (theirs, do_lower_case) and theirs != do_lower_case:
        log.warning(
            "%s was trained with do_lower_case %s; the training data has %s: many words are split otherwise",
            found.folder,
            str(theirs).lower(),
            str(do_lower_case).lower(),
        )


def lower_case(job: TrainingJob, output: Output) -> bool | None:
    """Return `do_lower_case` of the tokenizer beside the job's vocabulary; None if it does not say."""
    folder = job.vocab_file.rpartition("/")[0]
    try:
        path = open_address(f"{folder}/{TOKENIZER_CONFIG}" if folder else TOKENIZER_CONFIG, output.cache)
    except InputError:
        return None
    return _setting(path)


def _their_lower_case(folder: Path, found: Pretrained) -> bool | None:
    if TOKENIZER_CONFIG in found.files and (value := _setting(folder / TOKENIZER_CONFIG)) is not None:
        return value
    if TOKENIZER in found.files:
        normalizer = read_json(folder / TOKENIZER).get("normalizer")
        value = normalizer.get("lowercase") if isinstance(normalizer, dict) else None
        return value if isinstance(value, bool) else None
    return None


def _setting(path: Path) -> bool | None:
    value = read_json(path).get("do_lower_case")
    return value if isinstance(value, bool) else None


def _compare_lines(theirs: list[str], vocabulary: Vocabulary, where: str) -> None:
    if theirs == vocabulary.tokens:
        return
    pairs = enumerate(zip(theirs, vocabulary.tokens, strict=False), start=1)
    differ = next(
        (f"line {n} is {a!r}, yours has {b!r}" for n, (a, b) in pairs if a != b),
        f"it has {len(theirs):,} entries, yours has {len(vocabulary):,}",
    )
    raise ConfigError(f"different vocabulary: {differ}", where=where, do=DO)


def _compare_ids(theirs: Mapping[str, int], vocabulary: Vocabulary, where: str) -> None:
    if found := difference(theirs, ids_of(vocabulary.tokens)):
        number, a, b = found
        what = f"different vocabulary: the entry with the id {number} is {a}, yours is {b}"
        raise ConfigError(what, where=where, do=DO)


def difference(one: Mapping[str, int], other: Mapping[str, int]) -> tuple[int, str, str] | None:
    """Return the lowest id with different entries in two vocabularies, and both entries for a message.

    An empty entry and the earlier lines of a repeated one have no id in a tokenizer.
    """
    first, second = ({number: entry for entry, number in ids.items() if entry} for ids in (one, other))
    for number in sorted(first.keys() | second.keys()):
        a, b = first.get(number), second.get(number)
        if a != b:
            a, b = (f"{entry!r}" if entry is not None else "missing" for entry in (a, b))
            return number, a, b
    return None


def _tokenizer_ids(path: Path) -> dict[str, int]:
    """Return the id of each entry of a `tokenizer.json`."""
    values = read_json(path)
    try:
        model = values["model"]
        if (kind := model.get("type", "WordPiece")) != "WordPiece":
            raise ConfigError(f"a tokenizer of the kind {kind}, not WordPiece", where=path, do=DO)
        ids = {str(entry): int(number) for entry, number in model["vocab"].items()}
        added = {str(token["content"]): int(token["id"]) for token in values.get("added_tokens") or ()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CorruptError("not a tokenizer of transformers", where=path, do="Download it again") from None
    return ids | added

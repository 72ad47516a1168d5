"""google-research/bert's create_pretraining_data.py in plain Python, draw for draw.

A vocabulary is a mapping from an entry to its id, in the order of the entries' first lines.

Slow and simple: the fast version is held against it, and it against the reference's own output.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.vocabulary.unicode_rules import result_of, rules
from qarib_tasks.vocabulary.words import LONGEST_WORD

# What Python's str.strip removes, as it was in Python 3.7 and is today.
WHITESPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)

Document = list[list[int]]


@dataclass(frozen=True)
class Example:
    """One example before padding.

    Attributes:
        tokens: ids after masking, [CLS] and both [SEP] included.
        segment_ids: 0 or 1 for each of `tokens`.
        positions, labels: the masked places in ascending order and the ids that stood there.
        is_random_next: the next-sentence label.
    """

    tokens: list[int]
    segment_ids: list[int]
    positions: list[int]
    labels: list[int]
    is_random_next: bool


@dataclass(frozen=True)
class CharacterTables:
    """What becomes of each code point; the rules are described in the head of unicode_tables.txt."""

    results: dict[int, str]
    space: frozenset[int]
    punctuation: frozenset[int]
    reorder: dict[int, int]
    join: frozenset[int]

    def split(self, text: str) -> list[str]:
        """Normalize a text and split it into words and punctuation marks, as BERT's BasicTokenizer does."""
        words = [""]
        for char in self._normalize(text):
            if ord(char) in self.space:
                words.append("")
            elif ord(char) in self.punctuation:
                words += [char, ""]
            else:
                words[-1] += char
        return [word for word in words if word]

    def _normalize(self, text: str) -> str:
        """Replace each code point, and sort runs of the marks that are there to be seen afterwards."""
        result: list[str] = []
        run: list[str] = []
        for char in text:
            parts = self.results.get(ord(char), char)
            if not parts and ord(char) in self.join:
                continue
            for part in parts or [""]:
                if part and ord(part) in self.reorder:
                    run.append(part)
                else:
                    result += [*sorted(run, key=lambda mark: self.reorder[ord(mark)]), part]
                    run = []
        return "".join(result + sorted(run, key=lambda mark: self.reorder[ord(mark)]))


@cache
def load_tables(*, do_lower_case: bool) -> CharacterTables:
    """The committed tables, as the compiled tokenizer reads them too."""
    results: dict[int, str] = {}
    sets: dict[str, set[int]] = {"space": set(), "punctuation": set(), "join": set()}
    reorder: dict[int, int] = {}
    for rule, first, last, value in rules(do_lower_case=do_lower_case):
        codes = range(first, last + 1)
        if rule == "result":
            results |= {code: "".join(map(chr, result_of(code, value))) for code in codes}
        elif rule == "reorder":
            reorder[first] = int(value)
        else:
            sets[rule].update(codes)
    space, punctuation, join = map(frozenset, sets.values())
    return CharacterTables(results, space, punctuation, reorder, join)


def read_vocab(path: Path) -> dict[str, int]:
    """Read a vocabulary: a line's number is its entry's id, the last line's if the entry is repeated."""
    vocab: dict[str, int] = {}
    number = 0
    rest = path.read_bytes().decode().replace("\r", "")
    while rest:
        line, _, rest = rest.partition("\n")
        vocab[line.strip(WHITESPACE)] = number
        number += 1
    return vocab


class Wordpieces:
    """A text's wordpiece ids: BERT's BasicTokenizer, then greedy longest match."""

    def __init__(self, vocab: Mapping[str, int], *, do_lower_case: bool) -> None:
        self.ids = vocab
        self.tables = load_tables(do_lower_case=do_lower_case)

    def ids_of(self, text: str) -> list[int]:
        """The ids of a line's wordpieces."""
        return [piece for word in self.tables.split(text) for piece in self._match(word)]

    def _match(self, word: str) -> list[int]:
        unknown = [self.ids["[UNK]"]]
        if len(word) > LONGEST_WORD:
            return unknown
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self.ids.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    break
            else:
                return unknown
            pieces.append(piece)
            start = end
        return pieces


def read_documents(text: str, wordpieces: Wordpieces) -> list[Document]:
    """Documents of lines of ids. Only LF ends a line, every CR is dropped, an empty line ends a document."""
    documents: list[Document] = [[]]
    lines = text.replace("\r", "").split("\n")
    for line in lines[:-1] if lines[-1] == "" else lines:
        line = line.strip(WHITESPACE)
        if not line:
            documents.append([])
        if tokens := wordpieces.ids_of(line):
            documents[-1].append(tokens)
    return [document for document in documents if document]


class Entries:
    """A vocabulary's ids, with what masking asks of all its entries, once for all examples."""

    def __init__(self, vocab: Mapping[str, int]) -> None:
        self.ids = vocab
        self.in_order = list(vocab.values())
        self.continues = {number for word, number in vocab.items() if word.startswith("##")}


def create_instances(
    documents: list[Document], vocab: Mapping[str, int], config: ConvertConfig, seed: int
) -> list[Example]:
    """All examples of a shard in the order in which they are written. `documents` is shuffled."""
    rng = random.Random(seed)
    rng.shuffle(documents)
    examples, entries = [], Entries(vocab)
    for _ in range(config.dupe_factor):
        for index in range(len(documents)):
            examples += _document_instances(documents, index, entries, config, rng)
    rng.shuffle(examples)
    return examples


def _document_instances(
    documents: list[Document],
    index: int,
    entries: Entries,
    config: ConvertConfig,
    rng: random.Random,
) -> list[Example]:
    document = documents[index]
    max_num_tokens = config.max_seq_length - 3
    target_length = max_num_tokens
    if rng.random() < config.short_seq_prob:
        target_length = rng.randint(2, max_num_tokens)
    examples = []
    chunk: Document = []
    i = 0
    while i < len(document):
        chunk.append(document[i])
        if i == len(document) - 1 or sum(map(len, chunk)) >= target_length:
            a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
            tokens_a = [token for line in chunk[:a_end] for token in line]
            is_random_next = len(chunk) == 1 or rng.random() < 0.5
            if is_random_next:
                tokens_b = _random_tokens(documents, index, target_length - len(tokens_a), rng)
                # The lines that were to be the second part are used again.
                i -= len(chunk) - a_end
            else:
                tokens_b = [token for line in chunk[a_end:] for token in line]
            _truncate(tokens_a, tokens_b, max_num_tokens, rng)
            examples.append(_masked(tokens_a, tokens_b, is_random_next, entries, config, rng))
            chunk = []
        i += 1
    return examples


def _random_tokens(documents: list[Document], index: int, length: int, rng: random.Random) -> list[int]:
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != index:
            break
    start = rng.randint(0, len(documents[other]) - 1)
    tokens: list[int] = []
    for line in documents[other][start:]:
        tokens += line
        if len(tokens) >= length:
            break
    return tokens


def _truncate(tokens_a: list[int], tokens_b: list[int], max_num_tokens: int, rng: random.Random) -> None:
    while len(tokens_a) + len(tokens_b) > max_num_tokens:
        longer = tokens_a if len(tokens_a) > len(tokens_b) else tokens_b
        longer.pop(0 if rng.random() < 0.5 else -1)


def _masked(
    tokens_a: list[int],
    tokens_b: list[int],
    is_random_next: bool,
    entries: Entries,
    config: ConvertConfig,
    rng: random.Random,
) -> Example:
    cls, sep, mask = (entries.ids[token] for token in ("[CLS]", "[SEP]", "[MASK]"))
    tokens = [cls, *tokens_a, sep, *tokens_b, sep]
    segment_ids = [0] * (len(tokens_a) + 2) + [1] * (len(tokens_b) + 1)
    candidates: list[list[int]] = []
    for position, token in enumerate(tokens):
        if token in (cls, sep):
            continue
        if config.do_whole_word_mask and candidates and token in entries.continues:
            candidates[-1].append(position)
        else:
            candidates.append([position])
    rng.shuffle(candidates)
    predictions = min(config.max_predictions_per_seq, max(1, round(len(tokens) * config.masked_lm_prob)))
    output = list(tokens)
    positions: list[int] = []
    for candidate in candidates:
        if len(positions) >= predictions:
            break
        if len(positions) + len(candidate) > predictions:
            continue
        for position in candidate:
            if rng.random() < 0.8:
                output[position] = mask
            elif rng.random() >= 0.5:
                output[position] = entries.in_order[rng.randint(0, len(entries.in_order) - 1)]
            positions.append(position)
    positions.sort()
    return Example(output, segment_ids, positions, [tokens[p] for p in positions], is_random_next)

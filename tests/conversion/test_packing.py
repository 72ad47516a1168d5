"""Packed rows: no text is lost, few places are empty, and each fault is found.

Covers qarib_tasks/conversion/compiled/packing.py.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.conversion.compiled.packing import WINDOW, pack
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.conversion.example_reader import Shape, read_rows
from qarib_tasks.conversion.verify import packed_rules, verify_file
from qarib_tasks.corpus.content.plain import other_than_text
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.storage.manifest import Manifest
from tests.support.oracle_pretraining_data import Wordpieces, read_documents, read_vocab

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
TWEETS, VOCAB = FOLDER / "tweets.txt", FOLDER / "vocab.txt"
CONFIG = ConvertConfig(format="packed")
SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
SMALL_VOCAB = [*SPECIAL, *"abcقال#", *(f"##{letter}" for letter in "abcقال"), "قال"]
LINES = st.text(st.sampled_from("abcقال ق#\u064b\u2028"), max_size=30)
SHARDS = st.lists(LINES, min_size=1, max_size=40).map(lambda lines: "\n".join(lines).encode())


def rows_of(path: Path, config: ConvertConfig) -> Any:
    return np.concatenate(list(read_rows(path, shape(config))))


def shape(config: ConvertConfig) -> Shape:
    return Shape(config.max_seq_length, config.max_predictions_per_seq)


def unpacked(rows: Any, config: ConvertConfig) -> list[list[int]]:
    """The wordpieces between the [CLS] and [SEP] of each document of each row."""
    features = shape(config).features(rows)
    documents = []
    for ids, numbers in zip(features["input_ids"], features["segment_ids"], strict=True):
        for number in range(1, numbers.max() + 1):
            document = ids[numbers == number].tolist()
            assert (document[0], document[-1]) == (SPECIAL["[CLS]"], SPECIAL["[SEP]"])
            documents.append(document[1:-1])
    return documents


def cut(tokens: list[int], longest: int) -> list[list[int]]:
    return [tokens[at : at + longest] for at in range(0, len(tokens), longest)]


def plain_rows(lengths: list[int], width: int, window: int) -> list[list[int]]:
    """The rows that `pack` makes of pieces of these lengths, as lengths."""
    waiting, held, rows = list(lengths), [], []
    while waiting or held:
        while waiting and len(held) < window:
            held.append(waiting.pop(0))
        row: list[int] = []
        while held:
            room = width - sum(length + 2 for length in row) - 2
            pairs = [
                max(one, other) for one, other in itertools.combinations(held, 2) if one + other + 2 == room
            ]
            if row and room not in held and pairs:
                chosen = max(pairs)
            else:
                chosen = max((length for length in held if length <= room), default=0)
            if not chosen:
                break
            held.remove(chosen)
            row.append(chosen)
        rows.append(row)
    return rows


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), max_size=60),
    width=st.integers(4, 40),
    window=st.sampled_from([1, 2, 5, 20, 100]),
)
def test_rows_are_those_of_the_plain_packer(lengths: list[int], width: int, window: int) -> None:
    ends = np.cumsum([7, *lengths])
    expected = [
        (at, min(at + width - 2, end))
        for start, end in itertools.pairwise(ends.tolist())
        for at in range(start, end, width - 2)
    ]
    pieces, firsts = np.zeros((len(expected), 2), np.int64), np.zeros(len(expected) + 1, np.int64)
    rows = pack(ends, width, window, pieces, firsts)
    assert firsts[rows] == len(expected)
    assert sorted((start, start + length) for start, length in pieces.tolist()) == expected
    made = [pieces[firsts[row] : firsts[row + 1], 1].tolist() for row in range(rows)]
    assert made == plain_rows([end - start for start, end in expected], width, window)


@settings(max_examples=100, deadline=None)
@given(
    text=SHARDS.filter(lambda data: not other_than_text(data)),
    length=st.sampled_from([8, 9, 16, 64, 512]),
    threads=st.integers(1, 2),
)
def test_no_text_is_lost(text: bytes, length: int, threads: int) -> None:
    config = replace(CONFIG, max_seq_length=length, max_predictions_per_seq=3)
    with tempfile.TemporaryDirectory() as name:
        shard, vocab, out = (Path(name) / file for file in ("shard", "vocab", "shard.tfrecord"))
        shard.write_bytes(text)
        vocab.write_text("\n".join(SMALL_VOCAB), encoding="utf-8")
        documents = read_documents(text.decode(), Wordpieces(read_vocab(vocab), do_lower_case=True))
        texts = [list(itertools.chain(*lines)) for lines in documents]
        expected = [piece for tokens in texts for piece in cut(tokens, length - 2)]
        if not expected:
            with pytest.raises(InputError, match=r"the shard is empty|no document in the shard has a token"):
                convert_shard(shard, vocab, out, config, threads=threads)
            return
        manifest = convert_shard(shard, vocab, out, config, threads=threads)
        rows = rows_of(out, config)
        assert verify_file(out) == len(rows)
    assert sorted(unpacked(rows, config)) == sorted(expected)
    statistics = manifest.statistics
    filled = shape(config).features(rows)["input_mask"]
    assert (statistics["examples"], statistics["pieces"]) == (len(rows), len(expected))
    assert statistics["documents"] == len(documents)
    assert statistics["packing_efficiency"] == pytest.approx(filled.mean(), abs=1e-6)
    assert statistics["mean_length"] == pytest.approx(filled.sum(axis=1).mean(), abs=1e-3)


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each line is a document, four times as many as the window holds."""
    path = tmp_path_factory.mktemp("tweets") / "shard_0000"
    lines = [line for line in TWEETS.read_text(encoding="utf-8").splitlines() if line]
    path.write_text("\n\n".join(lines * (4 * WINDOW // len(lines) + 1)), encoding="utf-8")
    return path


@pytest.mark.parametrize("length", [64, 128])
def test_padding_is_at_most_two_percent(tweets: Path, tmp_path: Path, length: int) -> None:
    config = replace(CONFIG, max_seq_length=length)
    statistics = convert_shard(tweets, VOCAB, tmp_path / "o.tfrecord", config).statistics
    assert statistics["documents"] > 4 * WINDOW
    assert statistics["packing_efficiency"] >= 0.98


def test_rows_are_shuffled_by_the_seed_and_by_nothing_else(tweets: Path, tmp_path: Path) -> None:
    made = []
    for number, (values, threads) in enumerate([({}, 1), ({}, 3), ({"random_seed": 35}, 1)]):
        out = tmp_path / f"{number}.tfrecord"
        convert_shard(tweets, VOCAB, out, replace(CONFIG, **values), threads=threads)
        made.append((out.read_bytes(), rows_of(out, CONFIG).tolist()))
    assert made[0][0] == made[1][0]
    assert made[0][1] != made[2][1]
    assert sorted(made[0][1]) == sorted(made[2][1])


def test_log_manifest_and_inspection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from qarib_tasks.conversion.inspection import example_lines

    shard, out = tmp_path / "shard", tmp_path / "shard.tfrecord"
    shard.write_text("في قال\n\nقال\nفي\n\n" + "قال " * 70, encoding="utf-8")
    with caplog.at_level("INFO"):
        manifest = convert_shard(shard, VOCAB, out, CONFIG)
    assert Manifest.read(tmp_path / "shard.tfrecord.manifest.json") == manifest
    assert manifest.config["format"] == "packed"
    # 62 + 2 places in one row; 8 + 2, 2 + 2 and 2 + 2 in the other.
    assert (
        "3 documents of 74 wordpieces, in 4 pieces, packed into 2 rows, which are 64.1% full" in caplog.text
    )
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    (sample,) = [one for one in manifest.sample if one["documents"] == 3]
    assert sample["text"].split().count("[CLS]") == 3
    lines = list(example_lines(out, VOCAB, examples=1, skip=sample["example"]))
    assert lines[0] == f"example {sample['example']}: 3 documents, 18 wordpieces"
    assert lines[2:] == ["  [CLS] في قال [SEP]", "  [CLS] قال في [SEP]"]
    assert " ".join(line.strip() for line in lines[1:]) == sample["text"]


def test_each_text_is_used_once() -> None:
    assert CONFIG.dupe_factor == 1
    assert ConvertConfig(format="packed", dupe_factor=1) == CONFIG
    for factor in (2, 5):
        with pytest.raises(ConfigError, match=f"dupe_factor {factor} must be 1 if format is packed"):
            from_dict(ConvertConfig, {"format": "packed", "dupe_factor": factor})


def at(feature: int) -> int:
    return int(shape(CONFIG).offsets[feature])


# What is done to a good row (features: ids, mask, segments, positions, labels, weights, next).
FAULTS: list[tuple[str, Callable[[Any], None]]] = [
    ("input_ids has an id outside", lambda r: r.__setitem__(1, 8000)),
    ("next_sentence_labels is not 0", lambda r: r.__setitem__(at(6), 1)),
    ("has masks", lambda r: r.__setitem__(at(3), 1)),
    ("has masks", lambda r: r.__setitem__(at(4), 1)),
    ("has masks", lambda r: r.__setitem__(at(5) + 19, 1)),
    ("input_mask is not ones", lambda r: r.__setitem__(at(1) + 3, 0)),
    ("has no document", lambda r: r.__setitem__(slice(at(1), at(2)), 0)),
    ("wordpieces after", lambda r: r.__setitem__(63, 7)),
    ("segment_ids does not rise", lambda r: r.__setitem__(slice(at(2), at(2) + 64), 0)),
    ("segment_ids does not rise", lambda r: r.__setitem__(slice(at(2), at(2) + 4), 2)),
    ("segment_ids does not rise", lambda r: r.__setitem__(slice(at(2) + 4, at(2) + 8), 3)),
    ("segment_ids does not rise", lambda r: r.__setitem__(slice(at(2) + 5, at(2) + 8), 1)),
    ("segment_ids does not rise", lambda r: r.__setitem__(at(2) + 8, 2)),
    ("does not begin with", lambda r: r.__setitem__(4, 7)),
    ("does not end with", lambda r: r.__setitem__(3, 7)),
    ("within a document", lambda r: r.__setitem__(slice(at(2) + 4, at(2) + 8), 1)),
    (
        "a document is empty",
        lambda r: r.__setitem__([*range(4, 8), at(2) + 6, at(2) + 7], [2, 3, 2, 3, 3, 3]),
    ),
]


def test_every_rule_can_be_broken(tmp_path: Path) -> None:
    shard, out = tmp_path / "shard", tmp_path / "shard.tfrecord"
    shard.write_text("في قال\n\nقال في\n\n" + "\n\n".join(["قال " * 62] * 3), encoding="utf-8")
    convert_shard(shard, VOCAB, out, CONFIG)
    good = rows_of(out, CONFIG)
    short = int(np.argmin(good[:, at(1) : at(2)].sum(axis=1)))
    assert good[short, at(2) : at(2) + 9].tolist() == [1] * 4 + [2] * 4 + [0]
    assert not any(faulty.any() for _, faulty in packed_rules(good, CONFIG, 8000, SPECIAL))
    for message, spoil in FAULTS:
        rows = good.copy()
        spoil(rows[short])
        rules = packed_rules(rows, CONFIG, 8000, SPECIAL)
        found = [what for what, faulty in rules if faulty.nonzero()[0].tolist() == [short]]
        assert any(message in what for what in found), (message, found)

"""The fast conversion equals the plain one over random documents, flags and seeds.

Covers qarib_tasks/conversion/compiled/instances.py, qarib_tasks/conversion/compiled/random_numbers.py,
qarib_tasks/conversion/examples.py.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.compiled.random_numbers import new_generator, next_below, next_float
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.conversion.example_reader import Shape, read_rows
from qarib_tasks.corpus.content.plain import other_than_text
from qarib_tasks.errors import InputError
from tests.support.oracle_pretraining_data import Wordpieces, create_instances, read_documents, read_vocab

LETTERS = [*"abcxyz", *"ابتثجحخدذرزسشصضطظعغفقكلمنهوي", *"0123٠١٢٣"]
VOCAB = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *"#.,،؟!@[]😀中",
    *["ال", "##ال", "في", "ab", "##bc", "mask", "[UNUSED_0]", "##", "قال"],
]
WORDS = st.text(st.sampled_from(LETTERS), min_size=1, max_size=6)
HOSTILE = st.one_of(
    st.sampled_from(
        ["[MASK]", "[SEP]", "##ab", "\r", "\t", "\u2028", "\x85", "\x1c", "\ufeff", "\u200d", "ـ"]
    ),
    st.sampled_from(
        ["😀👨\u200d👩", "中文", "أَكَّدَ", "İΣ", "a" * 200, "a" * 201, "ﷺ", "\u064b\u0651", "\U0001d15e\u302e"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=8),
)
# Few different lines, so that words repeat; then bytes of any kind between them.
LINES = st.lists(st.one_of(WORDS, WORDS, WORDS, HOSTILE), max_size=14).map(" ".join)
SHARDS = (
    st.lists(
        st.one_of(
            LINES.map(str.encode),
            LINES.map(str.encode),
            st.just(b""),
            st.just(b" \r"),
            st.binary(max_size=12),
        ),
        min_size=1,
        max_size=40,
    )
    .map(b"\n".join)
    .filter(lambda data: not other_than_text(data))
)

# Empty lines, repeated entries, and what becomes one or the other when CR and spaces are dropped.
MORE = st.lists(
    st.tuples(
        st.integers(1, len(VOCAB)),
        st.one_of(
            st.sampled_from(["", " ", "\r", "\u2028", "a\rb", "في\r", "x\u2028y"]), st.sampled_from(VOCAB[1:])
        ),
    ),
    max_size=4,
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    length = draw(st.one_of(st.integers(8, 40), st.sampled_from([64, 128, 130])))
    return {
        "max_seq_length": length,
        "max_predictions_per_seq": draw(st.integers(1, min(20, length))),
        "masked_lm_prob": draw(st.sampled_from([0.01, 0.15, 0.25, 0.5, 0.9])),
        "random_seed": draw(st.integers(0, 2**40)),
        "dupe_factor": draw(st.integers(1, 4)),
        "short_seq_prob": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        "do_lower_case": draw(st.booleans()),
        "do_whole_word_mask": draw(st.booleans()),
    }


def oracle_rows(text: bytes, vocab: dict[str, int], config: ConvertConfig) -> list[list[int]]:
    """The oracle's examples as `read_rows` gives them; none where a conversion has to fail."""
    wordpieces = Wordpieces(vocab, do_lower_case=config.do_lower_case)
    documents = read_documents(text.decode(errors="replace"), wordpieces)
    if not any(sum(map(len, document)) >= 2 for document in documents):
        return []

    def padded(values: list[int], length: int) -> list[int]:
        return values + [0] * (length - len(values))

    width, most = config.max_seq_length, config.max_predictions_per_seq
    return [
        padded(e.tokens, width)
        + padded([1] * len(e.tokens), width)
        + padded(e.segment_ids, width)
        + padded(e.positions, most)
        + padded(e.labels, most)
        + padded([1] * len(e.positions), most)
        + [int(e.is_random_next)]
        for e in create_instances(documents, vocab, config, config.random_seed)
    ]


@settings(max_examples=250, deadline=None)
@given(text=SHARDS, values=configs(), threads=st.integers(1, 2), more=MORE)
@example(
    text="ا ب\n\nت\n".encode(), values={"max_seq_length": 8, "max_predictions_per_seq": 8}, threads=1, more=[]
)
@example(text=b"00", values={"do_whole_word_mask": True, "max_predictions_per_seq": 1}, threads=1, more=[])
@example(text=b"a b \xe0\x80 c\xf0\x9f\n\xff\n\n\xc3\n", values={}, threads=2, more=[])
def test_fast_equals_plain(
    text: bytes, values: dict[str, Any], threads: int, more: list[tuple[int, str]]
) -> None:
    config = ConvertConfig(**values)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shard").write_bytes(text)
        entries = list(VOCAB)
        for place, entry in more:
            entries.insert(place, entry)
        (folder / "vocab.txt").write_bytes("\n".join(entries).encode())
        out = folder / "shard.tfrecord"
        expected = oracle_rows(text, read_vocab(folder / "vocab.txt"), config)
        if not expected:
            with pytest.raises(InputError, match=r"the shard is empty|two tokens"):
                convert_shard(folder / "shard", folder / "vocab.txt", out, config, threads=threads)
            assert not out.exists()
            return
        manifest = convert_shard(folder / "shard", folder / "vocab.txt", out, config, threads=threads)
        rows = np.concatenate(
            list(read_rows(out, Shape(config.max_seq_length, config.max_predictions_per_seq)))
        )
    assert rows.tolist() == expected
    assert manifest.statistics["examples"] == len(expected)
    without_cr = text.replace(b"\r", b"")
    assert manifest.statistics["lines"] == without_cr.count(b"\n") + (not text.endswith(b"\n"))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**70), bounds=st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=800))
def test_random_numbers_are_cpythons(seed: int, bounds: list[int]) -> None:
    ours, theirs = new_generator(seed), random.Random(seed)
    for bound in bounds:
        assert next_below(ours, bound) == theirs.randrange(bound)
        assert next_float(ours) == theirs.random()

"""The vocabulary: every line of it can be produced, and it is the same at each run.

Covers qarib_tasks/vocabulary/sentencepiece.py, qarib_tasks/vocabulary/tokenizer_files.py.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.vocabulary.build import SPECIAL_TOKENS, build_vocab
from qarib_tasks.vocabulary.file import load_vocab
from qarib_tasks.vocabulary.report import dead_entries
from tests.support.vocabularies import SIZE, build


def test_exactly_so_many_entries_and_no_two_alike(built: Path) -> None:
    vocabulary = load_vocab(built / "vocab.txt")
    assert len(vocabulary) == SIZE == len(set(vocabulary))
    assert tuple(vocabulary[:5]) == SPECIAL_TOKENS
    assert vocabulary[-16:] == [f"[UNUSED_{i}]" for i in range(16)]
    assert all(vocabulary)


@pytest.mark.parametrize("lower", [True, False])
def test_the_tokenizer_can_produce_every_entry(corpus: Path, tmp_path: Path, lower: bool) -> None:
    """A dead entry is one that no text whatever gives: [UNUSED_i] and special tokens aside there is none."""
    vocabulary = build(corpus, tmp_path / "vocab.txt", lower=lower)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    heads = sorted({entry for entry in vocabulary if len(entry) == 1 and entry.isalpha()})
    dead = []
    for entry in vocabulary[5:-16]:
        texts = [head + entry[2:] for head in heads] if entry.startswith("##") and len(entry) > 2 else [entry]
        if not any(entry in tokenizer.encode(text, add_special_tokens=False).tokens for text in texts):
            dead.append(entry)
    assert dead == []


def test_little_of_the_text_is_unknown(corpus: Path, built: Path) -> None:
    tokenizer = Tokenizer.from_file(str(built / "tokenizer.json"))
    tokens = Counter(tokenizer.encode(corpus.read_text(encoding="utf-8"), add_special_tokens=False).tokens)
    assert tokens["[UNK]"] / tokens.total() < 0.002


def test_the_same_bytes_at_each_run(corpus: Path, built: Path, tmp_path: Path) -> None:
    build(corpus, tmp_path / "vocab.txt")
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (built / name).read_bytes() == (tmp_path / name).read_bytes()


def test_transformers_loads_it(built: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(built)
    ids = tokenizer("قَالَ @USER [MASK] 😂!")["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert (tokens[0], tokens[1], tokens[-1]) == ("[CLS]", "قال", "[SEP]")
    assert tokenizer.mask_token_id == 4
    assert 4 in ids
    assert tokenizer.vocab_size == SIZE


def test_a_corpus_too_small_names_the_largest_size_that_works(corpus: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.txt"
    small.write_text(corpus.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    with pytest.raises(InputError, match="too small for 64,000 vocabulary entries") as error:
        build(small, tmp_path / "vocab.txt", size=64_000)
    assert not (tmp_path / "vocab.txt").exists()
    found = re.search(r"Set vocab_size to (\d+) or less", str(error.value))
    assert found
    assert len(build(small, tmp_path / "vocab.txt", size=int(found[1]))) == int(found[1])


def test_a_size_too_small_for_the_characters_and_an_empty_corpus_are_errors(
    corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="characters of the corpus do not fit"):
        build(corpus, tmp_path / "vocab.txt", size=100)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    with pytest.raises(InputError, match="the corpus is empty"):
        build(empty, tmp_path / "vocab.txt")


def test_bpe_is_an_option_with_no_dead_entry_either(corpus: Path, tmp_path: Path) -> None:
    config = VocabConfig(vocab_size=SIZE, placeholders=16, model_type="bpe")
    build_vocab(corpus, tmp_path / "vocab.txt", config, do_lower_case=True, random_seed=34)
    entries = load_vocab(tmp_path / "vocab.txt")
    assert len(entries) == SIZE
    assert dead_entries(entries, do_lower_case=True) == []


def test_a_vocabulary_is_only_replaced_by_saying_so(corpus: Path, built: Path, tmp_path: Path) -> None:
    for path in built.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = (tmp_path / "vocab.txt").read_bytes()
    more = tmp_path / "more.txt"
    more.write_bytes(corpus.read_bytes() + "نص جديد تماما\n".encode() * 100)
    with pytest.raises(InputError, match="is a vocabulary of other text or with other settings"):
        build(more, tmp_path / "vocab.txt")
    with pytest.raises(InputError, match="is a vocabulary of other text or with other settings"):
        build(corpus, tmp_path / "vocab.txt", size=SIZE - 1)
    assert (tmp_path / "vocab.txt").read_bytes() == before
    config = VocabConfig(vocab_size=SIZE - 1, placeholders=16)
    build_vocab(more, tmp_path / "vocab.txt", config, do_lower_case=True, random_seed=34, replace=True)
    assert len(load_vocab(tmp_path / "vocab.txt")) == SIZE - 1


def test_new_data_can_take_the_old_vocabulary(built: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("نص آخر\n", encoding="utf-8")
    settings = {"vocab_file": str(built / "vocab.txt"), "placeholders": 16}
    new = tmp_path / "new" / "vocab.txt"
    build_vocab(more, new, VocabConfig(vocab_size=SIZE, **settings), do_lower_case=True, random_seed=34)  # type: ignore[arg-type]
    assert new.read_bytes() == (built / "vocab.txt").read_bytes()
    assert AutoTokenizer.from_pretrained(new.parent).vocab_size == SIZE
    with pytest.raises(ConfigError, match="Set vocab_size to 1500"):
        build_vocab(more, tmp_path / "x", VocabConfig(**settings), do_lower_case=True, random_seed=34)  # type: ignore[arg-type]


def test_frequent_emoji_punctuation_and_digits_have_entries(corpus: Path, built: Path) -> None:
    entries = set(load_vocab(built / "vocab.txt"))
    text = Counter(corpus.read_text(encoding="utf-8"))
    emoji = {char for char, count in text.items() if count >= 20 and ord(char) >= 0x1F300}
    assert emoji
    assert emoji <= entries
    assert set(".،:/#@؟!؛0123456789٠١٢٣٤٥٦٧٨٩") <= entries

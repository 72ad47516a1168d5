"""The vocabulary: every line of it can be produced, and it is the same at each run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from qarib_tasks.config import VocabConfig
from qarib_tasks.errors import InputError
from qarib_tasks.presets import SAMPLE
from qarib_tasks.vocab import SPECIAL_TOKENS, build_vocab
from qarib_tasks.words import sample

SIZE = 1500


def build(
    data: Path, out: Path, *, size: int = SIZE, lower: bool = True, sample_lines: int = 10**6
) -> list[str]:
    config = VocabConfig(vocab_size=size, placeholders=16, sample_lines=sample_lines)
    build_vocab(data, out, config, do_lower_case=lower, random_seed=34)
    return out.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocab") / "data.txt"
    texts = [(SAMPLE / f"{name}.txt").read_text(encoding="utf-8") for name in ("muwatta", "tweets", "office")]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_exactly_so_many_entries_and_no_two_alike(corpus: Path, tmp_path: Path) -> None:
    vocabulary = build(corpus, tmp_path / "vocab.txt")
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


def test_little_of_the_text_is_unknown(corpus: Path, tmp_path: Path) -> None:
    build(corpus, tmp_path / "vocab.txt")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokens = Counter(tokenizer.encode(corpus.read_text(encoding="utf-8"), add_special_tokens=False).tokens)
    assert tokens["[UNK]"] / tokens.total() < 0.002


def test_the_same_bytes_at_each_run(corpus: Path, tmp_path: Path) -> None:
    build(corpus, tmp_path / "one" / "vocab.txt")
    build(corpus, tmp_path / "two" / "vocab.txt")
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_transformers_loads_it(corpus: Path, tmp_path: Path) -> None:
    build(corpus, tmp_path / "vocab.txt")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("قَالَ @USER [MASK] 😂!")["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert (tokens[0], tokens[1], tokens[-1]) == ("[CLS]", "قال", "[SEP]")
    assert tokenizer.mask_token_id == 4
    assert 4 in ids
    assert tokenizer.vocab_size == SIZE


def test_a_corpus_too_small_names_the_largest_size_that_works(corpus: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.txt"
    small.write_text(corpus.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    with pytest.raises(InputError, match="64,000 were asked for") as error:
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


@pytest.mark.parametrize("total", [1, 999, 3000])
def test_the_sample_has_exactly_its_size_spread_over_the_corpus(
    total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qarib_tasks.words.BLOCK", 700)
    chosen = list(sample(total, 600, 34))
    assert len(chosen) == total
    assert sum(chosen) == min(total, 600)
    if total == 3000:
        assert all(80 <= sum(chosen[at : at + 600]) <= 160 for at in range(0, 3000, 600))
        assert list(sample(3000, 600, 35)) != chosen


def test_the_sample_is_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(sample(5000, 100, 34))
    monkeypatch.setattr("qarib_tasks.words.BLOCK", 33)
    assert list(sample(5000, 100, 34)) == whole
    assert [i for i, chosen in enumerate(whole) if chosen][:3] == [20, 170, 221]

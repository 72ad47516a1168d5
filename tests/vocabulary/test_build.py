"""The vocabulary: every line of it can be produced, and it is the same at each run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import AutoTokenizer

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.corpus.sampling import sample
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.vocabulary.build import SPECIAL_TOKENS, build_vocab
from qarib_tasks.vocabulary.file import load_vocab
from qarib_tasks.vocabulary.report import dead_entries, report, wordpieces
from qarib_tasks.vocabulary.seed_pieces import seed_pieces
from qarib_tasks.vocabulary.words import normalized

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


@pytest.fixture(scope="module")
def built(corpus: Path) -> Path:
    """The folder of a vocabulary of the corpus."""
    build(corpus, corpus.parent / "built" / "vocab.txt")
    return corpus.parent / "built"


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
    monkeypatch.setattr("qarib_tasks.corpus.sampling.BLOCK", 700)
    chosen = list(sample(total, 600, 34))
    assert len(chosen) == total
    assert sum(chosen) == min(total, 600)
    if total == 3000:
        assert all(80 <= sum(chosen[at : at + 600]) <= 160 for at in range(0, 3000, 600))
        assert list(sample(3000, 600, 35)) != chosen


def test_the_sample_is_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(sample(5000, 100, 34))
    monkeypatch.setattr("qarib_tasks.corpus.sampling.BLOCK", 33)
    assert list(sample(5000, 100, 34)) == whole
    assert [i for i, chosen in enumerate(whole) if chosen][:3] == [20, 170, 221]


def counted(text: str, *, lower: bool = True) -> Counter[str]:
    return normalized(Counter(text.split()), do_lower_case=lower)


@pytest.mark.parametrize("lower", [True, False])
def test_words_are_those_of_the_tokenizers_library(corpus: Path, lower: bool) -> None:
    hostile = (
        "İstanbul ﷺ a\u0301\u0302b ก\u0e39\u0e38 가각 你好 a\u00adb x\u0483\u0484 e\u0f71\u0f72 ÅΣς 👍🏻"
    )
    text = corpus.read_text(encoding="utf-8") + hostile
    normalizer, pre_tokenizer = BertNormalizer(lowercase=lower), BertPreTokenizer()
    expected: Counter[str] = Counter()
    for word, count in Counter(text.split()).items():
        for part, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(word)):
            expected[part] += count
    assert counted(text, lower=lower) == expected


def test_bpe_is_an_option_with_no_dead_entry_either(corpus: Path, tmp_path: Path) -> None:
    config = VocabConfig(vocab_size=SIZE, placeholders=16, model_type="bpe")
    build_vocab(corpus, tmp_path / "vocab.txt", config, do_lower_case=True, random_seed=34)
    entries = load_vocab(tmp_path / "vocab.txt")
    assert len(entries) == SIZE
    assert dead_entries(entries, do_lower_case=True) == []


def test_the_report_knows_dead_unused_and_unknown(corpus: Path, tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    own = [
        "ق",
        "##ال",
        "قال",
        "##ق",
        "##قل",
        "Big",
        "قَال",
        "أب",
        "##أب",
        "a.b",
        "##.",
        "never",
        "ab",
        "##b",
        "[UNUSED_0]",
    ]
    vocab.write_text("\n".join([*SPECIAL_TOKENS, *own]) + "\n", encoding="utf-8")
    text = tmp_path / "text.txt"
    text.write_text("قَالَ ققل قال! a\nab. مرحبا مرحبا\n", encoding="utf-8")
    found = report(vocab, text, do_lower_case=True)
    assert found.dead == ["Big", "قَال", "أب", "##أب", "a.b", "##."]
    assert (found.entries, found.placeholders) == (20, 1)
    assert found.words == 9
    assert found.unknown_words == [("مرحبا", 2), ("!", 1), (".", 1), ("a", 1)]
    assert found.wordpieces == 2 + 2 + 1 + 5
    assert found.unknown_share == 0.5
    assert found.wordpieces_a_word == pytest.approx(10 / 9)
    assert found.never_used == ["##ال", "##ق", "never", "##b"]
    cased = report(vocab, text, do_lower_case=False)
    assert cased.dead == ["a.b", "##."]


def test_an_entry_that_a_longer_one_always_hides_is_dead(tmp_path: Path) -> None:
    # Every word that could lead to ##b begins with "ab", which is an entry.
    assert dead_entries([*SPECIAL_TOKENS, "a", "ab", "##b"], do_lower_case=True) == ["##b"]
    assert dead_entries([*SPECIAL_TOKENS, "a", "ab", "##b", "c"], do_lower_case=True) == []


def test_wordpieces_are_those_of_the_tokenizers_library(corpus: Path, built: Path) -> None:
    entries = set(load_vocab(built / "vocab.txt"))
    tokenizer = Tokenizer.from_file(str(built / "tokenizer.json"))
    for word in [*list(counted(corpus.read_text(encoding="utf-8")))[::10], "x" * 200, "x" * 201, "漢"]:
        mine = wordpieces(word, entries, max(map(len, entries)))
        assert (mine or ["[UNK]"]) == tokenizer.encode(word, add_special_tokens=False).tokens


def test_the_published_recipe_has_the_faults_that_ours_has_not(
    corpus: Path, built: Path, tmp_path: Path
) -> None:
    """design.md, section 6: punctuation is [UNK], and entries with hamza and madda are dead."""
    config = VocabConfig(vocab_size=SIZE, placeholders=16, recipe="published")
    build_vocab(corpus, tmp_path / "vocab.txt", config, do_lower_case=True, random_seed=34)
    published, ours = (report(at / "vocab.txt", corpus, do_lower_case=True) for at in (tmp_path, built))
    assert published.entries == ours.entries == SIZE
    assert (len(ours.dead), ours.unknown_share < 0.002) == (0, True)
    assert len(published.dead) > 0.05 * SIZE
    assert any("أ" in entry for entry in published.dead)
    assert published.unknown_share > 0.1
    unknown = dict(published.unknown_words)
    assert all(unknown.get(mark) for mark in ".،:/#@؟!")


def test_a_vocabulary_is_only_replaced_by_saying_so(corpus: Path, built: Path, tmp_path: Path) -> None:
    for path in built.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = (tmp_path / "vocab.txt").read_bytes()
    more = tmp_path / "more.txt"
    more.write_bytes(corpus.read_bytes() + "نص جديد تماما\n".encode() * 100)
    with pytest.raises(InputError, match="there is a vocabulary already"):
        build(more, tmp_path / "vocab.txt")
    with pytest.raises(InputError, match="there is a vocabulary already"):
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


def test_seed_pieces_are_the_substrings_that_are_there_twice() -> None:
    words = [("aba", 3), ("ab", 1), ("cabab", 1), ("once", 1)]
    expected: Counter[str] = Counter()
    for word, count in words:
        marked = "_" + word
        for start in range(len(marked)):
            for end in range(start + 2, len(marked) + 1):
                expected[marked[start:end]] += count
    found = seed_pieces(words, "_", 1000)
    assert dict(found) == {piece: count for piece, count in expected.items() if count > 1}
    scores = [len(piece) * count for piece, count in found]
    assert scores == sorted(scores, reverse=True)
    assert seed_pieces(words, "_", 3) == found[:3]
    assert seed_pieces([("a", 1)], "_", 3) == []


def test_frequent_emoji_punctuation_and_digits_have_entries(corpus: Path, built: Path) -> None:
    entries = set(load_vocab(built / "vocab.txt"))
    text = Counter(corpus.read_text(encoding="utf-8"))
    emoji = {char for char, count in text.items() if count >= 20 and ord(char) >= 0x1F300}
    assert emoji
    assert emoji <= entries
    assert set(".،:/#@؟!؛0123456789٠١٢٣٤٥٦٧٨٩") <= entries

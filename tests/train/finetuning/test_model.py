"""The models that a fine-tuning can start from: ours, and those of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError, QaribError
from qarib_tasks.train.finetuning.model import StartingModel, find_model, own_model, read_model
from tests.support.training_examples import LENGTH, TOKENS
from tests.support.tuning.small_model import make_model

TEXT = "w3 w4 Unknown w5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def foreign(trained: TrainingJob, tmp_path: Path) -> Path:
    """A Hugging Face folder, in which nothing shows that the model is ours."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(Path(trained.output) / "export" / name, folder)
    return folder


def read(address: Path | str) -> StartingModel:
    own = own_model(str(address))
    return read_model(str(address), find_model(str(address), own), Path("/nowhere"), own)


def same(one: StartingModel, other: StartingModel) -> bool:
    return one.config == other.config and all(
        np.array_equal(one.weights[name], other.weights[name]) for name in one.weights if "bert/" in name
    )


def ids(model: StartingModel) -> list[int]:
    return model.tokenizer.encode(TEXT, add_special_tokens=False).ids  # type: ignore[no-any-return]


def test_the_export_and_the_checkpoint_of_a_model_of_ours_are_the_same(trained: TrainingJob) -> None:
    root = Path(trained.output)
    found = read(root)
    assert (found.vocab_size, found.length) == (len(TOKENS), LENGTH)
    assert ids(found) == [8, 9, 1, 10]
    for part in ("export", "bert_model", "bert_model/checkpoint-4"):
        other = read(root / part)
        assert same(found, other), part
        assert ids(other) == ids(found)
        assert other.length == LENGTH
    for part, is_own in ((".", True), ("export", True), ("bert_model", True), ("bert_evals", False)):
        own = own_model(str(root / part))
        assert (own is not None) == is_own, part
        assert own is None or own.layout.root.samefile(root)
    assert own_model(str(root / "bert_model" / "checkpoint-4")) is None


def test_an_unfinished_model_is_read_from_its_newest_checkpoint(trained: TrainingJob, tmp_path: Path) -> None:
    root = tmp_path / "small"
    shutil.copytree(trained.output, root, ignore=shutil.ignore_patterns("export"))
    assert same(read(root), read(trained.output))
    (root / "config.yaml").unlink()
    with pytest.raises(
        InputError, match=r"bert_model: the vocabulary that this checkpoint .* Give the model's"
    ):
        read(root)


def test_a_folder_of_hugging_face_is_read_whole_and_in_shards(trained: TrainingJob, foreign: Path) -> None:
    expected = read(trained.output)
    assert same(read(foreign), expected)
    assert read(foreign).length == expected.config.max_position_embeddings
    tensors = load_file(foreign / "model.safetensors")
    (foreign / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: tensors[name] for name in some}, foreign / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (foreign / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(read(foreign), expected)


def test_the_tokenizer_is_tokenizer_json_or_else_vocab_txt_with_its_settings(foreign: Path) -> None:
    (foreign / "vocab.txt").unlink()
    assert ids(read(foreign)) == [8, 9, 1, 10]
    (foreign / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"foreign: no tokenizer\.json or vocab\.txt beside the weights"):
        read(foreign)
    (foreign / "vocab.txt").write_text("".join(f"{token}\n" for token in [*TOKENS[:-1], "é"]))
    settings = foreign / "tokenizer_config.json"
    for values, expected in (
        ({}, [1]),  # lower case, without accents
        ({"do_lower_case": False}, [1]),
        ({"do_lower_case": False, "strip_accents": False}, [1]),
        ({"strip_accents": False}, [63]),
    ):
        settings.write_text(json.dumps(values))
        found = read(foreign).tokenizer.encode("É", add_special_tokens=False).ids
        assert found == expected, values
    settings.unlink()
    assert read(foreign).tokenizer.encode("W3", add_special_tokens=False).ids == [8]


def test_weights_without_heads_are_enough(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = foreign / "model.safetensors"
    tensors = {
        name.removeprefix("bert."): value
        for name, value in load_file(path).items()
        if name.startswith("bert.") and "pooler" not in name
    }
    save_file(tensors, path)
    found = read(foreign)
    assert "bert/pooler/dense/kernel" not in found.weights
    assert "has no pooler: each fine-tuning starts with a new one" in caplog.text
    assert found.vocab_size == len(TOKENS)


def test_a_byte_order_mark_and_another_epsilon(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = foreign / "config.json"
    change("config.json", layer_norm_eps=1e-5)(foreign)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read(foreign).vocab_size == len(TOKENS)
    assert f"{path}: layer_norm_eps 1e-05 is not supported, 1e-12 is used" in caplog.text


def change(name: str, **values: Any) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        path = folder / name
        settings = json.loads(path.read_text()) | values
        path.write_text(json.dumps(settings))

    return changed


def without(start: str) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file({n: v for n, v in load_file(path).items() if not n.startswith(start)}, path)

    return changed


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            change("config.json", model_type="roberta"),
            ConfigError,
            "config.json: unsupported model type 'roberta'",
        ),
        (change("config.json", position_embedding_type="relative_key"), ConfigError, "unsupported position"),
        (change("config.json", hidden_act="relu"), ConfigError, "unsupported activation 'relu'"),
        (change("config.json", hidden_size=15), ConfigError, "config.json: hidden_size 15 is not a multiple"),
        (
            change("config.json", num_hidden_layers=2),
            ConfigError,
            "layer_1/attention/self/query/kernel is missing",
        ),
        (change("config.json", intermediate_size=31), ConfigError, r"has the shape \[16, 32\], expected"),
        (lambda folder: (folder / "config.json").unlink(), InputError, "no config.json or bert_config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), CorruptError, "config.json: not JSON"),
        (
            lambda folder: (folder / "config.json").write_text("[]"),
            CorruptError,
            "config.json: not a JSON object",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), CorruptError, "no weights, but"),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{}"),
            CorruptError,
            "not a tokenizer of transf",
        ),
        (without("bert.embeddings.word"), ConfigError, "has no BERT word embeddings"),
        (
            change(
                "tokenizer.json", model={"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
            ),
            ConfigError,
            "a tokenizer of the kind WordLevel, not WordPiece",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    foreign: Path, spoil: Callable[[Path], object], error: type[QaribError], message: str
) -> None:
    spoil(foreign)
    with pytest.raises(error, match=message) as raised:
        read(foreign)
    assert str(foreign) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_more_entries_than_embeddings_are_refused_and_fewer_are_not(foreign: Path) -> None:
    (foreign / "tokenizer.json").unlink()
    (foreign / "vocab.txt").write_text("".join(f"{token}\n" for token in [*TOKENS, "more"]))
    with pytest.raises(CorruptError, match="the vocabulary has 65 entries, the model 64 word embeddings"):
        read(foreign)
    (foreign / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS[:-3]))
    assert read(foreign).vocab_size == 64
    (foreign / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ConfigError, match=r"vocab\.txt: the vocabulary has no \[PAD\], \[UNK\]"):
        read(foreign)


def test_an_address_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model to start from"):
        read(tmp_path)
    assert own_model("gs://bucket/model") is None

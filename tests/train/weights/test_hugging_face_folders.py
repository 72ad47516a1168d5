"""Folders that transformers 5 saves: no `vocab.txt`, and weights in shards.

Covers qarib_tasks/train/weights/compare_vocabulary.py, qarib_tasks/train/weights/hugging_face.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import BertTokenizer

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.model_files import find
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.train.weights.compare_vocabulary import check_vocabulary, lower_case
from qarib_tasks.train.weights.pretrained import read
from tests.support.training_examples import TOKENS, make_job

KEYS = ("bert.embeddings.word_embeddings.weight", "bert.pooler.dense.weight", "bert.pooler.dense.bias")
WEIGHTS = {key: np.full((2, 3 - number), number, np.float32) for number, key in enumerate(KEYS)}


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return make_job(tmp_path / "job", examples=(1,))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save a model's folder as transformers does, with these entries of the vocabulary."""

    def save(entries: list[str], *, do_lower_case: bool = True) -> Path:
        (tmp_path / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
        folder = tmp_path / "model"
        tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=do_lower_case)
        tokenizer.save_pretrained(folder)
        save_file(WEIGHTS, folder / "model.safetensors")
        assert sorted(path.name for path in folder.iterdir()) == [
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        return folder

    return save


def check(job: TrainingJob, folder: Path) -> None:
    vocabulary = Vocabulary.read(job, Output(job))
    found = find(str(folder))
    check_vocabulary(found, found.stage(Output(job).cache), {}, vocabulary, lower_case(job, Output(job)))


def swapped(entries: list[str]) -> list[str]:
    return [*entries[:20], entries[21], entries[20], *entries[22:]]


def test_the_tokenizer_is_compared_where_there_is_no_vocab_txt(
    job: TrainingJob, saved: Callable[..., Path]
) -> None:
    check(job, saved(TOKENS))
    folder = saved(swapped(TOKENS))
    with pytest.raises(ConfigError) as raised:
        check(job, folder)
    assert str(raised.value) == (
        f"{folder}/tokenizer.json: different vocabulary: the entry with the id 20 is {TOKENS[21]!r}, yours "
        f"is {TOKENS[20]!r}. Set vocab.vocab_file to the vocabulary that these weights were trained with"
    )
    last = len(TOKENS)
    with pytest.raises(ConfigError, match=f"the entry with the id {last} is 'more', yours is missing"):
        check(job, saved([*TOKENS, "more"]))
    with pytest.raises(ConfigError, match=f"the entry with the id {last - 1} is missing, yours is"):
        check(job, saved(TOKENS[:-1]))


def test_an_old_vocab_txt_beside_the_tokenizer(job: TrainingJob, saved: Callable[..., Path]) -> None:
    """transformers 5 writes no `vocab.txt`, and leaves the one that was in the folder."""
    folder = saved(swapped(TOKENS))
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in TOKENS), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: different vocabulary: the entry with the id 20"):
        check(job, folder)
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in swapped(TOKENS)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"vocab\.txt: different vocabulary: line 21 is"):
        check(job, folder)


def test_settings_that_are_not_json(saved: Callable[..., Path]) -> None:
    folder = saved(TOKENS)
    (folder / "config.json").write_text("{")
    with pytest.raises(CorruptError, match=r"config\.json: not JSON"):
        read(find(str(folder)), folder)


def test_a_cached_file_of_another_origin_is_not_replaced(
    saved: Callable[..., Path], tmp_path: Path, bucket_name: str
) -> None:
    folder = saved(TOKENS)
    bucket = Bucket(f"gs://{bucket_name}/model/")
    for path in folder.iterdir():
        bucket.upload(path, path.name)
    found = find(f"gs://{bucket_name}/model")
    staged = found.stage(tmp_path / "cache")
    assert found.stage(tmp_path / "cache") == staged
    (staged / "tokenizer.json").write_text("mine")
    with pytest.raises(InputError, match=r"tokenizer\.json: exists and was not made by qarib"):
        found.stage(tmp_path / "cache")
    assert (staged / "tokenizer.json").read_text() == "mine"


def test_an_entry_that_was_added_later_counts(job: TrainingJob, saved: Callable[..., Path]) -> None:
    folder = saved(TOKENS)
    tokenizer = BertTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["جديد"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match=f"id {len(TOKENS)} is 'جديد', yours is missing"):
        check(job, folder)


def test_empty_and_repeated_entries_have_no_id(job: TrainingJob, saved: Callable[..., Path]) -> None:
    entries = [*TOKENS[:30], "", TOKENS[31], TOKENS[31], *TOKENS[33:]]
    Path(job.vocab_file).write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    check(job, saved(entries))


def test_another_setting_of_lower_case_is_named(
    job: TrainingJob, saved: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    settings = Path(job.vocab_file).with_name("tokenizer_config.json")
    for ours, theirs, warned in ((True, True, False), (True, False, True), (False, False, False)):
        caplog.clear()
        settings.write_text(json.dumps({"do_lower_case": ours}))
        folder = saved(TOKENS, do_lower_case=theirs)
        check(job, folder)
        (folder / "tokenizer_config.json").write_text("{}")
        check(job, folder)
        assert caplog.text.count("was trained with do_lower_case false; the training data has true") == (
            2 if warned else 0
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "tokenizer.json: not JSON"),
        ("[]", "tokenizer.json: not a JSON object"),
        ('{"model": {"vocab": ["a"]}}', "tokenizer.json: not a tokenizer of transformers"),
        ('{"model": {"type": "BPE", "vocab": {}}}', "a tokenizer of the kind BPE, not WordPiece"),
    ],
)
def test_a_tokenizer_that_cannot_be_compared_is_refused(
    job: TrainingJob, saved: Callable[..., Path], text: str, message: str
) -> None:
    folder = saved(TOKENS)
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises((ConfigError, CorruptError), match=message):
        check(job, folder)


def sharded(folder: Path) -> None:
    """Split the weights into the shards that transformers makes of a large model."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-0000{1 + (key != KEYS[0])}-of-00002.safetensors" for key in weights}
    for name in set(names.values()):
        save_file({key: weights[key] for key in weights if names[key] == name}, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_weights_in_shards(saved: Callable[..., Path], tmp_path: Path, bucket_name: str) -> None:
    folder = saved(TOKENS)
    single, _ = read(find(str(folder)), folder)
    sharded(folder)
    found = find(str(folder))
    assert found.kind == "hugging_face"
    assert {name for name in found.files if name.endswith(".safetensors")} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    weights, _ = read(found, folder)
    assert weights.keys() == single.keys()
    for name, value in single.items():
        np.testing.assert_array_equal(weights[name], value)
    bucket = Bucket(f"gs://{bucket_name}/sharded/")
    for path in folder.iterdir():
        bucket.upload(path, path.name)
    far = find(f"gs://{bucket_name}/sharded")
    assert far.digest == found.digest
    assert read(far, far.stage(tmp_path / "cache"))[0].keys() == single.keys()


def test_a_shard_that_is_missing_or_another_is_named(saved: Callable[..., Path]) -> None:
    folder = saved(TOKENS)
    sharded(folder)
    second = folder / "model-00002-of-00002.safetensors"
    save_file({KEYS[1]: WEIGHTS[KEYS[1]]}, second)
    with pytest.raises(CorruptError, match=rf"model-00002-of-00002\.safetensors: does not have {KEYS[2]}"):
        read(find(str(folder)), folder)
    second.unlink()
    with pytest.raises(InputError, match=r"index\.json: lists files that do not exist: model-00002-of-00002"):
        find(str(folder))
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../../secret.safetensors"}}')
    with pytest.raises(InputError, match=r"lists files that do not exist: \.\./\.\./secret"):
        find(str(folder))
    for text in ("{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        with pytest.raises(CorruptError, match="not an index of shards"):
            find(str(folder))


def test_names_of_models_stay_with_a_vocab_txt(saved: Callable[..., Path]) -> None:
    """A tokenizer beside `vocab.txt` never counted: the names of earlier models depend on it."""
    folder = saved(TOKENS)
    without = find(str(folder)).digest
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in TOKENS), encoding="utf-8")
    digest = find(str(folder)).digest
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer.json").unlink()
    assert find(str(folder)).digest == digest != without
    assert find(str(folder)).recorded == ["model.safetensors", "vocab.txt"]


@pytest.mark.slow
def test_pytorch_weights_in_shards(tmp_path: Path) -> None:
    import torch

    for number, key in enumerate(KEYS):
        torch.save({key: torch.from_numpy(WEIGHTS[key])}, tmp_path / f"pytorch_model-{number}.bin")
    names = {key: f"pytorch_model-{number}.bin" for number, key in enumerate(KEYS)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))
    weights, _ = read(find(str(tmp_path)), tmp_path)
    assert len(weights) == len(KEYS)

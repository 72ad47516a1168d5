"""The exported folder in transformers, with torch, gives what our model gives.

Covers qarib_tasks/train/weights/hugging_face.py.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.conversion.tokenizer import Tokenizer
from qarib_tasks.storage.model_files import find
from qarib_tasks.train.checkpoint import Checkpoints
from qarib_tasks.train.data.batches import Parser, heldout_examples
from qarib_tasks.train.data.shards import Shards
from qarib_tasks.train.loop import train
from qarib_tasks.train.model.bert import PretrainingBert, build_model
from qarib_tasks.train.model.losses import losses
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.fill_mask import FillMask
from qarib_tasks.train.weights.hugging_face import hugging_face_name, tensorflow1_name
from qarib_tasks.train.weights.pretrained import read
from qarib_tasks.vocabulary.file import load_vocab
from tests.support.training_examples import make_job


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight"),
        ("bert/embeddings/LayerNorm/gamma", "bert.embeddings.LayerNorm.weight"),
        (
            "bert/encoder/layer_11/attention/self/query/kernel",
            "bert.encoder.layer.11.attention.self.query.weight",
        ),
        ("bert/encoder/layer_0/output/LayerNorm/beta", "bert.encoder.layer.0.output.LayerNorm.bias"),
        ("bert/pooler/dense/bias", "bert.pooler.dense.bias"),
        ("cls/predictions/transform/dense/kernel", "cls.predictions.transform.dense.weight"),
        ("cls/predictions/output_bias", "cls.predictions.bias"),
        ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight"),
    ],
)
def test_names_are_those_of_transformers(ours: str, theirs: str) -> None:
    assert hugging_face_name(ours) == theirs
    assert tensorflow1_name(theirs) == ours


@pytest.mark.slow
@pytest.mark.parametrize("next_sentence", [True, False])
def test_transformers_gives_the_same_logits_and_losses(tmp_path: Path, next_sentence: bool) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

    job = make_job(tmp_path, next_sentence=next_sentence, learning_rate=5e-2, save_checkpoints_steps=12)
    train(job)
    evaluate(job)
    export(job)
    output = Output(job)
    checkpoints = Checkpoints(output, keep=3)
    index = checkpoints.newest()
    assert index is not None
    model = build_model(job, 64)
    for name, value in checkpoints.weights(index).items():
        model.named_variables()[name].assign(value)
    batch = Parser(job, 64)(heldout_examples(Shards(job.heldout_data, tmp_path), 20))
    ours = model(batch)
    kind = AutoModelForPreTraining if next_sentence else AutoModelForMaskedLM
    theirs, report = kind.from_pretrained(str(output.export), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    theirs.eval()
    inputs = {
        "input_ids": torch.tensor(batch["input_ids"]).long(),
        "attention_mask": torch.tensor(batch["input_mask"]),
        "token_type_ids": torch.tensor(batch["segment_ids"]).long(),
    }
    labels = np.full(batch["input_ids"].shape, -100)
    rows = np.arange(20)[:, None]
    labels[rows, batch["masked_lm_positions"]] = batch["masked_lm_ids"]
    with torch.no_grad():
        if next_sentence:
            sentences = torch.tensor(batch["next_sentence_labels"]).long()
            result = theirs(**inputs, labels=torch.tensor(labels), next_sentence_label=sentences)
            logits = result.prediction_logits.numpy()
            np.testing.assert_allclose(
                result.seq_relationship_logits.numpy(), np.asarray(ours["next_sentence"]), atol=1e-4
            )
        else:
            result = theirs(**inputs, labels=torch.tensor(labels))
            logits = result.logits.numpy()
    at = logits[rows, batch["masked_lm_positions"]].reshape(-1, 64)
    np.testing.assert_allclose(at, np.asarray(ours["masked_lm"]), atol=1e-4)
    assert float(result.loss) == pytest.approx(float(losses(ours, batch)["loss"]), rel=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(str(output.export))
    assert tokenizer("w1 w2")["input_ids"] == [2, 6, 7, 3]


DATA = Path(__file__).parents[2] / "data" / "pretraining_data"


@pytest.fixture(scope="module")
def arabic(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """A model exported after some steps on real text."""
    folder = tmp_path_factory.mktemp("arabic")
    settings = ConvertConfig(dupe_factor=1)
    for name in ("pretraining_data", "heldout"):
        shard = folder / name / "shard_0000"
        shard.parent.mkdir()
        shutil.copy(DATA / "documents.txt", shard)
        convert_shard(shard, DATA / "vocab.txt", shard.with_suffix(".tfrecord"), settings)
    job = make_job(folder, examples=(), learning_rate=2e-2, train_steps=40, save_checkpoints_steps=40)
    job = replace(
        job,
        vocab_file=str(DATA / "vocab.txt"),
        heldout_data=str(folder / "pretraining_data"),
        max_seq_length=settings.max_seq_length,
        max_predictions_per_seq=settings.max_predictions_per_seq,
        model=replace(job.model, num_hidden_layers=2, hidden_size=32, max_position_embeddings=128),
    )
    train(job)
    export(job)
    return Output(job)


def sentences() -> list[str]:
    """Lines of real text without typed special tokens."""
    lines = (DATA / "documents.txt").read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line.strip() and not re.search(r"\[[A-Z]+\]", line)]


@pytest.mark.slow
def test_the_exported_tokenizer_gives_the_ids_of_our_conversion(arabic: Output) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(arabic.export))
    ours = Tokenizer(load_vocab(DATA / "vocab.txt"), do_lower_case=True)
    lines = sentences()
    assert len(lines) > 1000
    for line in lines:
        assert theirs(line, add_special_tokens=False)["input_ids"] == ours.ids(line), line


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AutoModelForPreTraining", "AutoModelForMaskedLM"])
def test_logits_on_real_sentences_are_those_of_our_model(arabic: Output, kind: str) -> None:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(arabic.export))
    theirs = getattr(transformers, kind).from_pretrained(str(arabic.export)).eval()
    batch = tokenizer(sentences()[:40], padding=True, truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        result = theirs(**batch)
    length = batch["input_ids"].shape[1]
    fill = FillMask(arabic.export)
    logits = fill.model(
        {
            "input_ids": batch["input_ids"].numpy(),
            "input_mask": batch["attention_mask"].numpy(),
            "segment_ids": batch["token_type_ids"].numpy(),
            "masked_lm_positions": np.tile(np.arange(length), (40, 1)),
        }
    )["masked_lm"]
    scores = result.prediction_logits if kind == "AutoModelForPreTraining" else result.logits
    real = batch["attention_mask"].numpy() > 0
    assert np.ptp(scores.numpy()[real]) > 1  # the model has learnt something: the logits differ
    ours = np.asarray(logits).reshape(40, length, -1)
    np.testing.assert_allclose(ours[real], scores.numpy()[real], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertForMaskedLM", "BertModel"])
def test_a_model_of_transformers_is_read_whole(tmp_path: Path, kind: str) -> None:
    import torch
    import transformers
    from safetensors.numpy import load_file, save_file

    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_act="gelu_new",
    )  # fmt: skip
    theirs = getattr(transformers, kind)(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    if kind == "BertModel":
        torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
        path.unlink()
    if kind == "BertForMaskedLM":  # as transformers 2 wrote it
        old = {re.sub(r"LayerNorm\.weight", "LayerNorm.gamma", n): v for n, v in load_file(path).items()}
        old = {re.sub(r"LayerNorm\.bias", "LayerNorm.beta", n): v for n, v in old.items()}
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].copy()
        old["bert.embeddings.position_ids"] = np.arange(32)[None]
        save_file(old, path)
    found = find(str(tmp_path))
    weights, settings = read(found, tmp_path)
    assert settings["num_attention_heads"] == 2
    model = PretrainingBert(
        ModelConfig(
            num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=32,
        ),
        64,
        next_sentence=kind != "BertForMaskedLM",
    )  # fmt: skip
    variables = model.named_variables()
    heads = {name for name in variables if name.startswith("cls/")}
    if kind == "BertModel":
        assert set(weights) == set(variables) - heads
    else:
        assert set(weights) == set(variables)
    for name, value in weights.items():
        variables[name].assign(value)
    ids = np.random.default_rng(1).integers(5, 64, (3, 12))
    ones = np.ones_like(ids)
    ours = {"input_ids": ids, "input_mask": ones, "segment_ids": ones * 0, "masked_lm_positions": ids * 0 + 1}
    inputs = {"input_ids": torch.tensor(ids)}
    with torch.no_grad():
        result = theirs(**inputs)
    if kind == "BertModel":
        np.testing.assert_allclose(np.asarray(model.encode(ours)), result.last_hidden_state, atol=1e-4)
        return
    scores = result.logits if kind == "BertForMaskedLM" else result.prediction_logits
    logits = np.asarray(model(ours)["masked_lm"]).reshape(3, 12, 64)
    np.testing.assert_allclose(logits[:, 0], scores[:, 1], atol=1e-4)

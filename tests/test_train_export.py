"""The exported folder in transformers, with torch, gives what our model gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.train.checkpoint import Checkpoints  # noqa: E402
from qarib_tasks.train.data import Parser, heldout_examples  # noqa: E402
from qarib_tasks.train.evaluate import evaluate  # noqa: E402
from qarib_tasks.train.export import export  # noqa: E402
from qarib_tasks.train.hugging_face import hugging_face_name, tensorflow1_name  # noqa: E402
from qarib_tasks.train.loop import train  # noqa: E402
from qarib_tasks.train.model import build_model, losses  # noqa: E402
from qarib_tasks.train.output import Output  # noqa: E402
from qarib_tasks.train.shards import Shards  # noqa: E402
from tests.training_examples import make_job  # noqa: E402


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

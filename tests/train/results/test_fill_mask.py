"""The words for a [MASK]: from an exported model, with no torch.

Covers qarib_tasks/train/results/masked_sentences.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.cli.main import cli
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.train.checkpoint import Checkpoints
from qarib_tasks.train.loop import train
from qarib_tasks.train.model.bert import build_model
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.fill_mask import FillMask, fill_mask
from tests.support.training_examples import TOKENS, make_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(tmp_path_factory.mktemp("fill"), learning_rate=5e-2)
    train(job)
    export(job)
    return job


@pytest.fixture
def model(job: TrainingJob) -> Path:
    return Path(job.output)


def expected(job: TrainingJob, ids: list[int], place: int) -> list[tuple[str, float]]:
    """The words from the checkpoint itself, in a batch of one sentence."""
    checkpoints = Checkpoints(Output(job), keep=1)
    index = checkpoints.newest()
    assert index is not None
    bert = build_model(job, len(TOKENS))
    for name, value in checkpoints.weights(index).items():
        bert.named_variables()[name].assign(value)
    row = np.array([ids])
    batch = {"input_ids": row, "input_mask": row * 0 + 1, "segment_ids": row * 0}
    logits = np.asarray(bert(batch | {"masked_lm_positions": np.array([[place]])})["masked_lm"])[0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    words = [(TOKENS[n], float(shares[n])) for n in np.argsort(-shares) if n >= 5]
    return words[:5]


def test_words_and_shares_are_those_of_the_model_whatever_stands_beside(job: TrainingJob) -> None:
    fill = FillMask(Output(job).export)
    sentences = ["w10 w11 [MASK] w13 w14", "w31 [MASK] w33 w34 [MASK] w36 w37 w38"]
    (first,), (second, third) = fill(sentences)
    short = [2, 15, 16, 4, 18, 19, 3]
    long = [2, 36, 4, 38, 39, 4, 41, 42, 43, 3]
    for guesses, ids, place in ((first, short, 3), (second, long, 2), (third, long, 5)):
        words = expected(job, ids, place)
        assert [guess.word for guess in guesses] == [word for word, _ in words]
        np.testing.assert_allclose([g.probability for g in guesses], [p for _, p in words], rtol=1e-3)
    assert first != second != third
    every = fill(sentences[:1], count=1000)[0][0]
    assert sorted(guess.word for guess in every) == sorted(TOKENS[5:])


def test_more_sentences_than_one_batch(model: Path) -> None:
    sentences = [f"w{n} w{n + 1} [MASK] w{n + 3}" for n in range(40)]
    fill = FillMask(model)
    together = fill(sentences, count=1)
    assert len(together) == 40
    for number in (0, 31, 32, 39):
        assert fill([sentences[number]], count=1)[0][0][0].word == together[number][0][0].word


@pytest.mark.parametrize(
    ("sentence", "message"),
    [("w1 w2", r"w1 w2: the sentence has no \[MASK\]"), ("w1 " * 40 + "[MASK]", "43 wordpieces long")],
)
def test_a_sentence_that_cannot_be_answered(model: Path, sentence: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_mask(model, [sentence])


def test_what_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json is missing.*qarib export"):
        fill_mask(tmp_path, ["[MASK]"])


def without(name: str) -> Callable[[Path], None]:
    """Remove a tensor."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        del tensors[name]
        save_file(tensors, folder / "model.safetensors")

    return change


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8") and None


def replace_in(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (write("config.json", "{"), r"config\.json: not JSON"),
        (write("config.json", "[]"), r"config\.json: not a JSON object"),
        (
            replace_in("config.json", '"num_hidden_layers": 1', '"num_hidden_layers": 2'),
            "layer_1/.* is missing",
        ),
        (write("tokenizer.json", "?"), r"tokenizer\.json: not a tokenizer: "),
        (
            replace_in("vocab.txt", "w1\nw2\n", "w2\nw1\n"),
            r"the entry with the id 6 is 'w1', ",
        ),
        (replace_in("vocab.txt", "w58\n", ""), r"the entry with the id 63 is 'w58', vocab\.txt has missing"),
        (without("cls.predictions.bias"), r"model\.safetensors: cls/predictions/output_bias is missing"),
    ],
)
def test_files_that_do_not_belong_together(
    model: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(model / "export", folder)
    change(folder)
    with pytest.raises(CorruptError, match=message):
        fill_mask(folder, ["w1 [MASK]"])


def test_arguments_are_checked_before_keras_is_imported(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom qarib_tasks.cli.main import run_command\n"
        "status = [run_command(['fill-mask', *one.split('|')]) for one in sys.argv[1:]]\n"
        "print(status, sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    long = "w1 " * 40 + "[MASK]"
    calls = [f"{tmp_path}|w1 [MASK]", f"{model}|w1 [MASK]|w2", f"{model}|{long}"]
    answer = subprocess.run([sys.executable, "-c", code, *calls], capture_output=True, text=True)
    assert answer.stdout == "[1, 1, 1] []\n", answer.stderr
    messages = answer.stderr.splitlines()
    assert [message.partition(". ")[0] for message in messages] == [
        f"qarib: error: {tmp_path}: no exported model: config.json is missing",
        "qarib: error: w2: the sentence has no [MASK]",
        f"qarib: error: {long}: the sentence is 43 wordpieces long; the model reads at most 32",
    ]


def test_the_command_prints_the_words(model: Path) -> None:
    result = CliRunner().invoke(cli, ["fill-mask", str(model), "w10 w11 [MASK] w13", "[MASK] w5 [MASK]"])
    assert result.exit_code == 0, result.output
    lines = result.output.replace("\u2068", "").replace("\u2069", "").splitlines()
    assert lines[0] == "w10 w11 [MASK] w13"
    best = fill_mask(model, ["w10 w11 [MASK] w13"])[0][0]
    assert lines[1].split() == [f"{best[0].probability:.4f}", best[0].word]
    assert [len(line.split()) for line in lines[1:6]] == [2] * 5
    assert lines[6:8] == ["[MASK] w5 [MASK]", "[MASK] 1"]
    assert lines[13] == "[MASK] 2"
    assert len(lines) == 19

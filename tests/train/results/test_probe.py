"""Labelled tasks at each evaluation: what is written, when, on how many texts, and on both backends.

Covers qarib_tasks/train/results/probe.py, qarib_tasks/train/results/embedding.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.cli.main import cli
from qarib_tasks.config.evaluation import SOURCE
from qarib_tasks.config.loading import dump_yaml
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.labelled.task import LabelledPart
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.loop import train
from qarib_tasks.train.model.bert import build_model
from qarib_tasks.train.model.steps import make_steps
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.embedding import EncodedTexts
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.probe import Probe, sampled
from tests.support.training_examples import make_job, with_tasks, words_task

ROOT = Path(__file__).parents[3]
SHORT, LONG = words_task("short", train=60, test=40, seed=4), words_task("long")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A training that ran to its end, with two tasks; the tests copy it before they change anything."""
    job = with_tasks(make_job(tmp_path_factory.mktemp("probe"), train_steps=4), LONG, SHORT)
    clean, contaminated = job.tasks
    tasks = replace(clean, left_out=7, contaminated=0), replace(contaminated, left_out=1, contaminated=3)
    job = replace(job, tasks=tasks)
    train(job)
    export(job)
    return job


@pytest.fixture
def copy(trained: TrainingJob, tmp_path: Path) -> TrainingJob:
    job = replace(trained, output=str(tmp_path / "small"))
    shutil.copytree(trained.output, job.output)
    return job


def evaluation(job: TrainingJob, step: int = 4) -> Path:
    return Output(job).layout.evaluation(step)


def result(job: TrainingJob, step: int = 4) -> dict[str, Any]:
    return json.loads(evaluation(job, step).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_each_evaluation_scores_the_model_beside_the_baselines(trained: TrainingJob) -> None:
    for step in (0, 4):
        found = result(trained, step)
        assert found["probe_seconds"] == 60
        for task, staged, values in zip((LONG, SHORT), trained.tasks, found["tasks"], strict=True):
            assert (values["name"], values["sha256"]) == (task.name, staged.sha256)
            assert values["low"] <= values["value"] <= values["high"]
            assert values["tfidf_low"] <= values["tfidf"] <= values["tfidf_high"]
            assert values["labels"] == ["first", "second"]
            assert np.sum(values["confusion"]) == values["test_texts"] == len(task.test)
            assert values["train_texts"] == values["all_train_texts"] == len(task.train)
    long = result(trained)["tasks"][0]
    assert long["most_frequent"] < 0.4 < 0.65 < long["value"]
    assert result(trained, 0)["tasks"][0]["tfidf"] == long["tfidf"] > 0.6


def test_progress_events_and_model_card_have_the_results(trained: TrainingJob) -> None:
    from tensorflow.core.util.event_pb2 import Event

    from qarib_tasks.storage.tfrecord import read_records

    output, values = Output(trained), result(trained)["tasks"][0]
    assert json.loads(output.progress.read_text())["evaluation"]["tasks"][0] == values
    scalars = []
    for path in sorted(output.layout.evaluation_events.iterdir()):
        for _, _, record in read_records(path):
            scalars += [
                (event.step, value.simple_value)
                for event in [Event.FromString(record)]
                for value in event.summary.value
                if value.tag == "tasks/long"
            ]
    assert scalars[-1] == (4, pytest.approx(values["value"]))
    assert [step for step, _ in scalars] == [0, 4]
    card = output.layout.model_card.read_text(encoding="utf-8")
    assert f"| long | macro-F1 | {values['value']:.4f} | {values['low']:.4f} to " in card
    assert f"| {values['tfidf']:.4f} | {values['most_frequent']:.4f} | 300 | 200 |\n" in card


def test_test_texts_in_the_training_text_are_told(
    copy: TrainingJob, caplog: pytest.LogCaptureFixture
) -> None:
    long, short = result(copy)["tasks"]
    assert (long["left_out_documents"], long["contaminated_documents"]) == (7, 0)
    assert (short["left_out_documents"], short["contaminated_documents"]) == (1, 3)
    card = Output(copy).layout.model_card.read_text(encoding="utf-8")
    assert card.endswith(
        "|\n\n- `long`: no document of the training text contains a test text (7 were left out).\n"
        "- `short`: 3 documents of the training text contain test texts. The score may be too high.\n"
    )
    evaluation(copy).unlink()
    with caplog.at_level("INFO"):
        evaluate(copy)
    told = [line for line in caplog.messages if "documents of the training text" in line]
    assert [line.partition(": task ")[2][:5] for line in told] == ["short"]
    assert told[0].endswith(" test texts; 3 documents of the training text contain test texts")
    unknown = replace(copy, tasks=tuple(replace(task, contaminated=None) for task in copy.tasks))
    evaluation(copy).unlink()
    assert "contaminated_documents" not in evaluate(unknown)["tasks"][0]


def test_a_job_without_tasks_has_no_results(tmp_path: Path) -> None:
    job = make_job(tmp_path, train_steps=3)
    train(job)
    assert list(result(job, 3))[-1] == "fill_mask"
    assert "Labelled tasks" not in json.dumps(export(job).statistics)
    assert "Labelled tasks" not in Output(job).layout.model_card.read_text(encoding="utf-8")


def test_an_evaluation_is_made_once_and_has_the_same_bytes_when_made_again(
    copy: TrainingJob, caplog: pytest.LogCaptureFixture
) -> None:
    before = evaluation(copy).read_bytes()
    with caplog.at_level("INFO"):
        assert evaluate(copy)["tasks"] == result(copy)["tasks"]
        assert "step 4 is already evaluated" in caplog.text
        evaluation(copy).unlink()
        evaluate(copy)
    assert evaluation(copy).read_bytes() == before
    assert "evaluation after step 4: task long: macro-F1 0." in caplog.text
    assert "; 300 training texts, 200 test texts" in caplog.text


def test_an_evaluation_without_the_tasks_is_made_again(copy: TrainingJob) -> None:
    one = replace(copy, tasks=copy.tasks[:1])
    before = evaluation(copy).read_bytes()
    evaluate(one)
    assert evaluation(copy).read_bytes() == before  # it has more than the job needs
    evaluation(copy).unlink()
    assert [task["name"] for task in evaluate(one)["tasks"]] == ["long"]
    assert [task["name"] for task in evaluate(copy)["tasks"]] == ["long", "short"]
    other = with_tasks(copy, LONG, replace(SHORT, test=SHORT.test.first(30)))
    assert evaluate(other)["tasks"][1]["test_texts"] == 30


def test_what_the_newest_evaluation_predicts_is_kept(copy: TrainingJob) -> None:
    path = Output(copy).layout.probe_predictions
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["step"] == 4
    for task, row, values in zip((LONG, SHORT), kept["tasks"], result(copy)["tasks"], strict=True):
        assert (row["name"], row["sha256"]) == (task.name, values["sha256"])
        matrix = np.zeros((2, 2), int)
        np.add.at(matrix, (np.array(task.test.labels), np.array(row["predicted"])), 1)
        assert matrix.tolist() == values["confusion"]
        assert "predicted" not in values
    before = path.read_bytes()
    evaluation(copy).unlink()
    path.unlink()
    evaluate(copy)
    assert path.read_bytes() == before


def test_a_missing_or_damaged_task_is_an_error(copy: TrainingJob) -> None:
    evaluation(copy).unlink()
    path = Output(copy).layout.task("short")
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(CorruptError, match=r"tasks/short\.jsonl"):
        evaluate(copy)
    path.unlink()
    with pytest.raises(InputError, match="the task short has no file"):
        evaluate(copy)


def probe_of(job: TrainingJob, seconds: float = 60) -> Probe:
    job = replace(job, evaluate=replace(job.evaluate, probe_seconds=seconds))
    output = Output(job)
    vocabulary = Vocabulary.read(job, output)
    steps = make_steps(build_model(job, len(vocabulary)), job.train, job.random_seed)
    return Probe(job, output, vocabulary, steps)


def test_a_short_time_means_fewer_texts_which_is_said(
    copy: TrainingJob, caplog: pytest.LogCaptureFixture
) -> None:
    complete = probe_of(copy)
    needs = [complete._seconds(task) for task in complete.tasks]
    limited = probe_of(copy, 2.4 * needs[1])
    long, short = limited.tasks
    assert short == SHORT
    # The short task does not need its share of 1.2 times what it needs.
    assert len(long.train) + len(long.test) == int(500 * 1.4 * needs[1] / needs[0]) > 100
    assert long.train == LONG.train.first(len(long.train))
    text = f"task long: every evaluation uses {len(long.train)} of 300 training texts"
    assert text in caplog.text
    assert "task short" not in caplog.text
    found = limited.run()
    assert (found[0]["train_texts"], found[0]["all_train_texts"]) == (len(long.train), 300)
    assert sum(map(sum, found[0]["confusion"])) == len(long.test)
    assert found == probe_of(copy, 2.4 * needs[1]).run()
    assert found[0]["tfidf"] != result(copy)["tasks"][0]["tfidf"]


def test_a_sample_has_texts_of_every_label() -> None:
    labels = (0,) * 290 + (1,) * 10
    task = replace(LONG, train=LabelledPart(LONG.train.texts, labels))
    found = sampled(task, 20)
    assert found.train.labels == (0,) * 10 + (1,) * 3
    assert found.test == LONG.test.first(10)
    assert len(sampled(task, 450).train) == 250 + 3
    assert len(sampled(task, 0).test) == 1


def test_vectors_are_means_over_the_wordpieces_of_the_cut_text(copy: TrainingJob) -> None:
    job, output = replace(copy, max_seq_length=12), Output(copy)
    vocabulary = Vocabulary.read(job, output)
    model = build_model(job, len(vocabulary))
    steps = make_steps(model, job.train, job.random_seed)
    texts = ["w1 w2", "", *["w3"] * 20, " ".join(f"w{n}" for n in range(20)), "w4 unknown [SEP] w5"]
    found = EncodedTexts(job, vocabulary, texts).vectors(steps, texts)

    def vector(*words: str) -> np.ndarray:
        ids = np.array([[vocabulary.id(word) for word in ("[CLS]", *words, "[SEP]")]], np.int32)
        hidden = model.encode({"input_ids": ids, "input_mask": 0 * ids + 1, "segment_ids": 0 * ids})
        kept = [place for place, word in enumerate(words, 1) if word != "[SEP]"]
        return np.asarray(hidden)[0, kept].mean(axis=0)

    np.testing.assert_allclose(found[0], vector("w1", "w2"), atol=1e-6)
    assert not found[1].any()
    np.testing.assert_allclose(found[2:22], [vector("w3")] * 20, atol=1e-6)
    np.testing.assert_allclose(found[22], vector(*(f"w{n}" for n in range(10))), atol=1e-6)
    np.testing.assert_allclose(found[23], vector("w4", "[UNK]", "[SEP]", "w5"), atol=1e-6)


def test_the_results_on_both_backends_and_on_eight_devices_are_the_same(
    copy: TrainingJob, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump_yaml(replace(copy, train=replace(copy.train, backend="jax"))), encoding="utf-8")
    expected = result(copy)["tasks"]
    evaluation(copy).unlink()
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-m", "qarib_tasks.cli", "evaluate", "--config", str(config)],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "KERAS_BACKEND": "jax"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for values, same in zip(result(copy)["tasks"], expected, strict=True):
        assert values["value"] == pytest.approx(same["value"], abs=0.002)
        assert values["tfidf"] == same["tfidf"]


def test_the_command_prints_a_line_for_each_task(copy: TrainingJob, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(dump_yaml(copy), encoding="utf-8")
    result_of = CliRunner().invoke(cli, ["evaluate", "--config", str(tmp_path / "job.yaml")])
    lines = [line for line in result_of.stdout.splitlines() if line.startswith("task")]
    assert [line.partition(":")[0] for line in lines] == ["task long", "task short"]


def test_the_model_card_says_what_a_task_of_the_corpus_is(copy: TrainingJob) -> None:
    job = with_tasks(copy, LONG, replace(SHORT, name=SOURCE))
    evaluate(job)
    export(job)
    card = Output(job).layout.model_card.read_text(encoding="utf-8")
    assert f"`{SOURCE}`: which source a line of the held-out text is from." in card
    assert f"| {SOURCE} | macro-F1 |" in card
    assert "emoji" not in card

"""The whole training, small: what it writes, how it goes on, what it refuses.

Covers qarib_tasks/train/output.py, qarib_tasks/train/reporting/journal.py,
qarib_tasks/train/reporting/tensorboard.py, qarib_tasks/train/results/evaluate.py,
qarib_tasks/train/results/model_card.py, qarib_tasks/train/resume.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainedOn, TrainingJob
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import CorruptError, InputError, TrainingError
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.tfrecord import read_records
from qarib_tasks.train.assemble import warn_of_labels
from qarib_tasks.train.loop import train
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import steps_of_call
from qarib_tasks.train.results.evaluate import Unigram, evaluate
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.fill_mask import fill_mask
from tests.support.training_examples import make_job


def job_like(job: TrainingJob, output: Path) -> TrainingJob:
    return replace(job, output=str(output))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A training that ran to its end; the tests copy it before they change anything."""
    job = make_job(tmp_path_factory.mktemp("loop"))
    train(job)
    return job


@pytest.fixture
def copy(trained: TrainingJob, tmp_path: Path) -> TrainingJob:
    job = job_like(trained, tmp_path / "small")
    shutil.copytree(trained.output, job.output)
    return job


def state(job: TrainingJob, step: int = 12) -> str:
    return checksums(Output(job).checkpoints / f"checkpoint-{step}.safetensors").sha256


def history(job: TrainingJob) -> list[dict[str, float]]:
    return [json.loads(line) for line in Output(job).history.read_text().splitlines()]


def test_progress_history_and_evaluations_are_written(trained: TrainingJob) -> None:
    output = Output(trained)
    progress = json.loads(output.progress.read_text())
    assert (progress["state"], progress["step"], progress["train_steps"]) == ("finished", 12, 12)
    assert progress["first"]["step"] == 1
    assert progress["evaluation"]["step"] == 12
    figures = {"loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_accuracy", "learning_rate"}
    assert figures | {"examples_per_second", "updated_at"} <= set(progress)
    assert [line["step"] for line in history(trained)] == list(range(1, 13))
    evaluations = sorted(path.name for path in output.evaluations.glob("*.json"))
    assert evaluations == [f"evaluation-{step}.json" for step in (0, 12, 4, 8)]
    results = (output.evaluations / "eval_results.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in results] == [
        "global_step",
        "loss",
        "masked_lm_accuracy",
        "masked_lm_loss",
        "next_sentence_accuracy",
        "next_sentence_loss",
    ]


def test_progress_says_what_it_runs_on_and_how_fast(trained: TrainingJob) -> None:
    progress = json.loads(Output(trained).progress.read_text())
    assert (progress["backend"], progress["device_kind"], progress["devices"]) == ("tensorflow", "cpu", 1)
    assert progress["tokens_per_second"] == pytest.approx(16 * progress["examples_per_second"], rel=0.01)
    assert 0 <= progress["data_wait_share"] <= 1
    assert "model_flops_utilization" not in progress  # nobody knows this processor's peak


@pytest.mark.parametrize(("share", "warned"), [(None, False), (0.5, False), (1.0, True), (0.02, True)])
def test_labels_that_teach_nothing_are_warned_of(
    trained: TrainingJob, caplog: pytest.LogCaptureFixture, share: float | None, warned: bool
) -> None:
    warn_of_labels(replace(trained, random_next_share=share))
    assert ("the next-sentence task teaches nothing" in caplog.text) is warned
    assert (f"{100 * (share or 0):.1f}%" in caplog.text) is warned
    caplog.clear()
    warn_of_labels(
        replace(trained, random_next_share=share, train=replace(trained.train, next_sentence=False))
    )
    assert not caplog.text


def test_a_training_that_learns_word_frequencies_only_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(tmp_path, learning_rate=1e-9)
    train(job)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.partition(",")[0] for line in warnings if "frequencies" in line] == [
        "since step 4",
        "since step 8",
    ]
    assert any(line.startswith("train.learning_rate 1e-09 is far below") for line in warnings)


def go_on_from(job: TrainingJob, step: int) -> None:
    """Train the steps behind a checkpoint a second time."""
    for path in Output(job).checkpoints.glob("checkpoint-*"):
        if path.stem != f"checkpoint-{step}":
            path.unlink()
    for path in Output(job).evaluations.glob("evaluation-*.json"):
        if path.stem not in {"evaluation-0", f"evaluation-{step}"}:
            path.unlink()
    train(job)


def test_going_on_from_a_checkpoint_ends_with_the_same_bits(copy: TrainingJob) -> None:
    expected = state(copy)
    assert progress_of(copy)["resumed"] == []
    go_on_from(copy, 8)
    assert state(copy) == expected
    assert progress_of(copy)["resumed"] == [8]


def progress_of(job: TrainingJob) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Output(job).progress.read_text())
    return values


def test_events_hold_every_logged_step_once(copy: TrainingJob) -> None:
    from tensorflow.core.util.event_pb2 import Event

    go_on_from(copy, 4)
    for folder, steps in (("checkpoints", list(range(1, 13))), ("evaluations", [0, 4, 8, 12])):
        (file,) = (getattr(Output(copy), folder) / "tensorboard").iterdir()
        events = [Event.FromString(record) for _, _, record in read_records(file)]
        assert [event.step for event in events[1:]] == steps
        assert all("masked_lm_loss" in {v.tag for v in event.summary.value} for event in events[1:])
    assert [line["step"] for line in history(copy)] == list(range(1, 13))


def test_a_finished_training_is_left_alone(copy: TrainingJob, caplog: pytest.LogCaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(copy.output).rglob("*") if path.name != ".lock"}
    with caplog.at_level("INFO"):
        train(copy)
    assert "already trained, 12 steps" in caplog.text
    assert before == {p: p.stat().st_mtime_ns for p in Path(copy.output).rglob("*") if p.name != ".lock"}


def test_what_a_kill_after_the_last_checkpoint_left_out_is_made_up_for(copy: TrainingJob) -> None:
    output = Output(copy)
    expected = (output.evaluations / "evaluation-12.json").read_bytes()
    (output.evaluations / "evaluation-12.json").unlink()
    progress = json.loads(output.progress.read_text())
    output.progress.write_text(json.dumps(progress | {"state": "training"}))
    train(copy)
    assert (output.evaluations / "evaluation-12.json").read_bytes() == expected
    assert json.loads(output.progress.read_text())["state"] == "finished"


def test_evaluation_is_made_once_and_again_for_other_settings(copy: TrainingJob) -> None:
    path = Output(copy).evaluations / "evaluation-12.json"
    before = path.stat().st_mtime_ns
    result = evaluate(copy)
    assert path.stat().st_mtime_ns == before
    assert result["examples"] == 48
    other = replace(copy, evaluate=replace(copy.evaluate, eval_batch_size=5, max_eval_steps=2))
    assert evaluate(other)["examples"] == 10
    again = evaluate(copy)
    assert again == result


def test_evaluations_show_what_the_model_puts_for_a_mask(copy: TrainingJob) -> None:
    sentences = ("w10 w11 [MASK] w13", "w30 [MASK]")
    job = replace(copy, evaluate=replace(copy.evaluate, fill_mask_sentences=sentences))
    (Output(job).evaluations / "evaluation-12.json").unlink()
    result = evaluate(job)["fill_mask"]
    assert json.loads((Output(job).evaluations / "evaluation-12.json").read_text())["fill_mask"] == result
    export(job)
    guesses = fill_mask(Path(job.output), sentences)
    assert [entry["text"] for entry in result] == list(sentences)
    for entry, (expected,) in zip(result, guesses, strict=True):
        assert [word["word"] for word in entry["words"]] == [guess.word for guess in expected]
        found = [word["probability"] for word in entry["words"]]
        np.testing.assert_allclose(found, [guess.probability for guess in expected], rtol=1e-4)
    assert result[0]["words"] != result[1]["words"]


def test_calls_of_several_steps_end_where_something_is_to_be_done() -> None:
    train = TrainConfig(train_steps=1000, num_warmup_steps=1, save_checkpoints_steps=36, steps_per_call=5)
    step, ends = 0, [0]
    while step < 1000:
        step += steps_of_call(step, train)
        ends.append(step)
    assert {1, *range(10, 1001, 10), *range(36, 1001, 36)} <= set(ends)  # every tenth is logged
    lengths = [after - before for before, after in pairwise(ends)]
    assert set(lengths) == {1, 5}
    assert lengths.count(5) > 150
    assert all(step % 5 == 0 for step, length in zip(ends, lengths, strict=False) if length == 5)
    # And at the stable checkpoint.
    wsd = replace(train, schedule="wsd", decay_share=0.777)
    assert wsd.stable_step == 223
    assert 220 + steps_of_call(220, wsd) == 221
    assert steps_of_call(225, wsd) == 5


def test_several_steps_a_call_are_the_same_training(tmp_path: Path) -> None:
    job = make_job(tmp_path, train_steps=200, save_checkpoints_steps=100, recovery_minutes=0)
    several = replace(job, output=str(tmp_path / "several"), train=replace(job.train, steps_per_call=2))
    calls = []
    for one in (job, several):
        train(one)
        calls.append(json.loads(line) for line in Output(one).history.read_text().splitlines())
    for line, other in zip(*calls, strict=True):
        assert line["step"] == other["step"]
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
    names = sorted(path.name for path in Output(several).checkpoints.glob("*.json"))
    assert names == ["checkpoint-100.json", "checkpoint-200.json"]
    # Interrupted and gone on from the first, it ends with the same bits.
    weights = state(several, 200)
    (Output(several).checkpoints / "checkpoint-200.json").unlink()
    train(several)
    assert state(several, 200) == weights


def test_no_sentence_is_no_word(copy: TrainingJob) -> None:
    (Output(copy).evaluations / "evaluation-12.json").unlink()
    assert evaluate(replace(copy, evaluate=replace(copy.evaluate, fill_mask_sentences=())))["fill_mask"] == []


def test_a_sentence_longer_than_the_model_reads_is_found_before_training(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job = replace(job, evaluate=replace(job.evaluate, fill_mask_sentences=("w1 " * 31 + "[MASK]",)))
    with pytest.raises(InputError, match="34 wordpieces long; the model reads at most 32"):
        train(job)


def test_one_batch_size_of_the_evaluation_is_as_good_as_another(copy: TrainingJob) -> None:
    result = evaluate(copy)
    other = evaluate(replace(copy, evaluate=replace(copy.evaluate, eval_batch_size=48, max_eval_steps=1)))
    assert other["masked_lm_loss"] == pytest.approx(result["masked_lm_loss"], rel=1e-5)
    assert other["predictions"] == result["predictions"] == 48 * 2


def test_unigram_entropy_is_of_the_original_wordpieces() -> None:
    import numpy as np

    batch = {
        "input_ids": np.array([[2, 7, 4, 7, 3, 0], [2, 7, 8, 9, 4, 3]]),
        "input_mask": np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]),
        "masked_lm_positions": np.array([[2, 0], [4, 3]]),
        "masked_lm_ids": np.array([[8, 0], [8, 8]]),
        "masked_lm_weights": np.array([[1, 0], [1, 1]]),
    }
    unigram = Unigram.of(batch, [0, 2, 3])
    # 7 8 7 | 7 8 8 8: three and four of seven
    assert unigram.wordpieces == 7
    assert unigram.entropy == pytest.approx(-(3 / 7 * np.log(3 / 7) + 4 / 7 * np.log(4 / 7)))
    assert unigram.accuracy == pytest.approx(4 / 7)


def test_export_is_whole_repeatable_and_last_of_all_the_manifest(copy: TrainingJob) -> None:
    manifest = export(copy)
    output = Output(copy)
    assert (manifest.kind, manifest.id, manifest.state) == ("model", "small", "complete")
    names = [record.name for record in manifest.outputs]
    assert names == [
        "export/README.md",
        "export/bert_config.json",
        "export/bert_model.ckpt.data-00000-of-00001",
        "export/bert_model.ckpt.index",
        "export/config.json",
        "export/model.safetensors",
        "export/tokenizer.json",
        "export/tokenizer_config.json",
        "export/vocab.txt",
        "bert_evals/evaluation-12.json",
    ]
    assert manifest.faults(output.root) == []
    assert manifest.statistics["train_steps"] == 12
    before = output.manifest.stat().st_mtime_ns
    export(copy)
    assert output.manifest.stat().st_mtime_ns == before
    shutil.rmtree(output.export)
    output.manifest.unlink()
    assert list(export(copy).outputs) == list(manifest.outputs)


def test_the_card_tells_the_data_and_the_licence(copy: TrainingJob) -> None:
    made = TrainedOn(
        dataset_id="demo-0123456789", examples=1234, sources=("news", "tweets"), warnings=("x dropped 20%",)
    )
    export(replace(copy, trained_on=(made,), license="cc-by-nc-4.0"))
    card = (Output(copy).export / "README.md").read_text()
    assert card.startswith("---\nlanguage: ar\nlicense: cc-by-nc-4.0\n")
    assert "| `demo-0123456789` | 1,234 examples of news, tweets |" in card
    assert "\n\nOf the text of `demo-0123456789`: x dropped 20%.\n\n" in card


def test_export_waits_for_the_end_of_the_training(copy: TrainingJob) -> None:
    longer = replace(copy, train=replace(copy.train, train_steps=20))
    with pytest.raises(TrainingError, match="has only reached step 12 of 20"):
        export(longer)
    assert not Output(copy).manifest.exists()


@pytest.mark.parametrize("step", [evaluate, export])
def test_nothing_is_made_where_nothing_is_trained(
    tmp_path: Path, step: Callable[[TrainingJob], object]
) -> None:
    """A lock was."""
    job = make_job(tmp_path / "job", examples=(1,))
    before = sorted((tmp_path / "job").rglob("*"))
    with pytest.raises(TrainingError, match=r"no checkpoint to evaluate|has only reached step 0 of 12"):
        step(job)
    assert sorted((tmp_path / "job").rglob("*")) == before
    Path(job.output).mkdir(parents=True)
    with pytest.raises(TrainingError):
        step(job)
    assert not list(Path(job.output).iterdir())


def test_a_second_trainer_is_kept_out(copy: TrainingJob) -> None:
    with Output(copy).locked(), pytest.raises(TrainingError, match="another process"):
        train(copy)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    wild = replace(job, model=replace(job.model, initializer_range=1e30))
    with pytest.raises(TrainingError, match=r"the loss of step 1 is .* norm is (nan|inf)"):
        train(wild)
    assert not list(Output(wild).checkpoints.glob("checkpoint-*"))


def test_a_broken_record_stops_the_training(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    shard = Path(job.training_data) / "shard_0002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(CorruptError, match=r"shard_0002.tfrecord: record 49"):
        train(job)


def test_broken_records_are_passed_over_and_counted(tmp_path: Path) -> None:
    job = make_job(tmp_path, train_steps=40, max_corrupt_records=5)  # more than one epoch of 26 steps
    shard = Path(job.training_data) / "shard_0002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-3])
    train(job)
    progress = json.loads(Output(job).progress.read_text())
    assert (progress["state"], progress["corrupt_records"]) == ("finished", 1)


def test_data_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    lines = Path(job.vocab_file).read_text().splitlines()[:20]
    Path(job.vocab_file).write_text("".join(line + "\n" for line in lines))
    with pytest.raises(CorruptError, match="the vocabulary's last id is 19"):
        train(job)

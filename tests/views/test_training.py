"""A training, as the page shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.views.curves.history import NOTHING, History, parse
from qarib_tasks.views.runs import RunRecord, summary, tpu_state
from qarib_tasks.views.training import expected, first_rate, training_view
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, make_run, write_training


def past(speeds: dict[int, float]) -> History:
    """A history of examples per second by step."""
    lines = [{"step": step, "examples_per_second": speed} for step, speed in speeds.items()]
    return parse("\n".join(map(json.dumps, lines)).encode())


def test_training_here_and_elsewhere(run: MadeUpRun, bucket: FolderBucket) -> None:
    model = run.record.model
    assert model is not None
    write_training(bucket.folder / model.name, steps=10, at="2026-01-01T00:00:10+00:00")
    view = training_view(run.record, files(run, bucket), 0.0)
    assert view["progress"]["place"] == "bucket"
    assert view["history"]["loss"]["step"] == list(range(1, 11))
    assert [one["step"] for one in view["evaluations"]] == [0, 10]
    assert view["checkpoints"] == [10]
    (gap,) = view["fill_mask"]
    assert (gap["words"][0]["word"], gap["first"][0]["word"], gap["first_step"]) == ("الله", "في", 0)
    # The training goes on, and its history follows with the next checkpoint.
    path = bucket.folder / model.name / "progress.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 14, "loss": 3.5}))
    assert training_view(run.record, files(run, bucket), 0.0)["history"]["loss"]["step"][-1] == 14
    # What is newer here goes before.
    write_training(run.workspace / model.name, steps=20, at="2026-01-01T00:00:20+00:00", state="finished")
    view = training_view(run.record, files(run, bucket), 0.0)
    assert (view["progress"]["place"], view["history"]["loss"]["step"][-1], view["progress"]["state"]) == (
        "workspace",
        20,
        "finished",
    )


def test_how_much_of_the_dataset_the_training_reads(run: MadeUpRun, bucket: FolderBucket) -> None:
    """The published settings: a tenth of the examples, each text five times."""

    def view(**sections: object) -> object:
        record = replace(
            run.record, values={**run.record.values, "config": {**run.record.config, **sections}}
        )
        return training_view(record, files(run, bucket), 0.0)["reads"]

    dataset = run.record.dataset
    assert dataset is not None
    manifest = json.loads(dataset.manifest.read_text()) if dataset.manifest.is_file() else {}
    manifest["statistics"] = {"examples": 1_356_261_840, "shards": 1_172, "bytes": 1}
    dataset.manifest.write_text(json.dumps(manifest))
    words = files(run, bucket).manifest(dataset, dataset.data)["statistics"]["words"]
    sections = {"train": {"train_batch_size": 64, "train_steps": 2_000_000}, "convert": {"dupe_factor": 5}}
    found = view(**sections)
    assert found == {
        "examples": 128_000_000,
        "dataset_examples": 1_356_261_840,
        "epochs": pytest.approx(0.0944, abs=1e-4),
        "dupe_factor": 5,
        "words": int(words * 128_000_000 / 1_356_261_840),
    }
    assert view(**sections, extends="qarib-0123456789") is None
    assert view(train={}) is None


def test_the_estimate_beside_what_the_first_steps_measure(run: MadeUpRun, bucket: FolderBucket) -> None:
    def record(**sections: object) -> RunRecord:
        return replace(run.record, values={"config": {"workspace": "w", **sections}})

    published = record(tpu={"machine": "cloud_tpu", "accelerator_type": "v5litepod-8"})
    found = expected(published, NOTHING, 0)
    assert found is not None
    assert found["examples_per_second"] == (pytest.approx(2_820, rel=0.05), pytest.approx(4_200, rel=0.05))
    assert (found["measured"], found["measured_hours"]) == (None, None)
    assert found["cost_ahead"] == list(found["cost"])
    # The first line has the compilation, and later lines are not of the first steps.
    speeds = {1: 2.0, 100: 4_000.0, 200: 2_000.0, 300: 9_000.0}
    lines = past(speeds)
    assert expected(published, past({1: 2.0, 100: 4_000.0}), 0) == found
    measured = expected(published, lines, 500_000)
    assert measured is not None
    assert measured["measured"] == pytest.approx(199 / (99 / 4_000 + 100 / 2_000))
    steps = 2_000_000 * 64 / measured["measured"] / 3600
    hourly = found["cost"][0] / found["hours"][0]
    assert measured["cost_ahead"] == pytest.approx(
        [hours * hourly * 0.75 for hours in measured["measured_hours"]]
    )
    assert steps < measured["measured_hours"][0] < measured["measured_hours"][1] < steps + 2
    assert expected(record(tpu={"machine": "local"}), lines, 0) is None
    assert expected(record(tpu={"accelerator_type": "v99-8"}), lines, 0) is None
    assert expected(record(tpu={"no_such": 1}), lines, 0) is None
    assert training_view(run.record, files(run, bucket), 0.0)["expected"] is None  # on this machine


def test_a_short_training_is_measured_by_all_its_steps() -> None:
    lines = past({1: 1.0, 8: 70.0})
    assert first_rate(lines, 8) == pytest.approx(70.0)
    assert first_rate(lines, 9) is None
    assert first_rate(past({1: 1.0}), 1) is None
    assert first_rate(NOTHING, 1) is None


def test_a_long_history_is_thinned(run: MadeUpRun, bucket: FolderBucket) -> None:
    model = run.record.model
    assert model is not None
    write_training(run.workspace / model.name, steps=5000, at="2026-01-01T00:00:10+00:00")
    path = run.workspace / model.name / "bert_model/history.jsonl"
    lines = path.read_text().splitlines()
    lines[3000] = json.dumps({"step": 3001, "loss": 99.0})  # A peak of one line stays.
    path.write_text("\n".join(lines))
    curve = training_view(run.record, files(run, bucket), 0.0)["history"]["loss"]
    assert (len(curve["step"]) <= 802, curve["step"][0], curve["step"][-1]) == (True, 1, 5000)
    assert curve["value"][curve["step"].index(3001)] == 99.0


def test_the_tpu(run: MadeUpRun, bucket: FolderBucket) -> None:
    tpu = {
        "machine": "cloud_tpu",
        "accelerator_type": "v5litepod-8",
        "zones": ["us-central1-a", "us-west4-b"],
        "chip_hour_price": 0.5,
        "max_cost": 9.5,
    }
    config = {**run.record.config, "tpu": tpu, "train": {"train_batch_size": 1000}}
    record = replace(run.record, run_id="run", values={**run.record.values, "config": config})
    assert record.model is not None
    folder = bucket.folder / record.model.name / "tpu" / "run"
    folder.mkdir(parents=True)
    memory = {
        "phase": "running",
        "zone": 1,
        "granted": 1000.0,
        "spent": 1800.0,
        "preemptions": 1,
        "attempt": 2,
    }
    (folder / "memory.json").write_text(json.dumps(memory))
    facts = training_view(record, files(run, bucket), now=2800.0)["tpu"]
    assert (facts["state"], facts["zone"], facts["age_seconds"]) == ("running", "us-west4-b", 1800.0)
    assert facts["price"] == 8 * 0.5
    assert facts["cost"] == pytest.approx(4.0)  # half an hour before, half an hour now
    assert summary(record, files(run, bucket), 2800.0)["tpu"]["cost"] == pytest.approx(4.0)
    assert facts["cost_per_million"] is None
    write_training(run.workspace / record.model.name, steps=50, at="2026-01-01T00:00:10+00:00")
    facts = training_view(record, files(run, bucket), now=2800.0)["tpu"]
    assert facts["cost_per_million"] == pytest.approx(4.0 / (50 * 1000) * 1e6)
    assert (facts["budget"], facts["emulated"], facts["goodput"]) == (9.5, False, None)
    assert (facts["phase"], facts["at"]) == ("running", None)  # of an earlier version, without times
    # An emulator's TPU is said to be one, and costs nothing.
    memory |= {"emulated": True, "since": 1000.0, "seconds": {"queueing": 5.0, "running": 1800.0}}
    (folder / "memory.json").write_text(json.dumps(memory))
    facts = training_view(record, files(run, bucket), now=2800.0)["tpu"]
    assert [facts[name] for name in ("emulated", "price", "cost", "cost_per_million")] == [True, *[None] * 3]
    assert (facts["goodput"]["paid"], facts["goodput"]["unpaid"]) == (3600.0, 5.0)


def test_the_state_of_a_tpu_is_the_last_answer_of_the_service() -> None:
    def state(**memory: object) -> tuple[object, ...]:
        return tuple(tpu_state(memory)[name] for name in ("state", "at", "phase"))

    at = "1970-01-01T00:16:40+00:00"
    assert state(phase="running", since=9.0, answer="READY", answered=1000.0) == ("READY", at, "running")
    assert state(phase="deleting", since=9.0, answer="DELETING", answered=1000.0) == (
        "DELETING",
        at,
        "deleting",
    )
    assert state(phase="failed", since=9.0, answer="", deleted=1000.0) == ("deleted", at, "failed")
    # Another one is asked for.
    assert state(phase="asking", since=1000.0, answer="", deleted=9.0) == ("asking", at, "asking")
    # As an earlier version left it, and as anyone can have written it.
    assert state(phase="deleting", since=1000.0) == ("deleting", at, "deleting")
    assert state(phase="deleting", since=1e18) == ("deleting", None, "deleting")
    assert state() == (None, None, None)


@pytest.mark.parametrize(
    ("run", "train", "shown"),
    [
        ("running", {"deferred": 1}, "training"),
        ("running", {"none": 1}, "training"),
        ("running", {}, "training"),
        ("running", {"failed": 1}, "not finished"),
        ("failed", {"failed": 1}, "not finished"),
        ("failed", {}, "not finished"),
    ],
)
def test_a_training_whose_run_has_ended_is_not_at_work(
    run: str, train: dict[str, int], shown: str, bucket: FolderBucket, tmp_path: Path
) -> None:
    made = make_run(tmp_path, 1)
    record = replace(made.record, state=run, steps={"train": train} if train else {})
    assert record.model is not None
    for state, expected_state in (("training", shown), ("stopped", "stopped"), ("finished", "finished")):
        write_training(tmp_path / record.model.name, steps=5, at="2026-01-01T00:00:10+00:00", state=state)
        found = training_view(record, files(made, bucket), 0.0)["progress"]["state"]
        listed = summary(record, files(made, bucket), 0.0)["training"]["state"]
        assert (found, listed) == (expected_state, expected_state)

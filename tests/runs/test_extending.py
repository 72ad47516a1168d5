"""Datasets that extend another, the ledger of what was read, and what is promoted."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.dataset.ledger import ConsumedFile, files_of, not_taken_by, record
from qarib_tasks.errors import ChangedError, ConfigError, CorruptError, InputError, NothingNewError
from qarib_tasks.registry.promotion import JudgedModel, compare, promote, promoted_model, record_of
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import Run, ledger_of
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.storage.shared_record import SharedRecord

DOCUMENTS = (SAMPLE / "muwatta.txt").read_text(encoding="utf-8").split("\n\n")


def write_documents(path: Path, first: int, last: int) -> None:
    path.write_text("\n\n".join(DOCUMENTS[first:last]) + "\n", encoding="utf-8")


def request(folder: Path, extends: str = "", **overrides: Any) -> Run:
    values = {
        "preset": "demo",
        "workspace": str(folder / "work"),
        "collect": {"sources": [{"name": "text", "path": str(folder / "text" / "*.txt")}]},
        "vocab": {"vocab_size": 400},
        "split": {"shard_lines": 300},
        "convert": {"dupe_factor": 1},
        "extends": extends,
    }
    return prepare(resolve({**values, **overrides}))


def make(run: Run) -> list[str]:
    """The dataset, complete. Returns its shards."""
    pipeline.collect(run)
    pipeline.build_vocab(run)
    names = pipeline.split(run)
    for name in names:
        pipeline.convert(run, name)
    finish_dataset(run)
    pipeline.record_sources(run)
    return names


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run], list[list[str]]]:
    """Three datasets, each extending the one before; each month's file repeats some of the month before."""
    folder = tmp_path_factory.mktemp("months")
    (folder / "text").mkdir()
    runs: list[Run] = []
    shards = []
    for month in range(3):
        write_documents(
            folder / "text" / f"2026-0{month + 1}.txt", max(0, 200 * month - 50), 200 * month + 203
        )
        runs.append(request(folder, runs[-1].dataset_id if runs else ""))
        shards.append(make(runs[-1]))
    return folder, runs, shards


def documents(path: Path) -> list[str]:
    return [text.strip() for text in path.read_text(encoding="utf-8").split("\n\n") if text.strip()]


def test_an_extension_holds_only_what_is_new(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    _, runs, _ = months
    texts = [documents(run.dataset.data) + documents(run.dataset.heldout_data) for run in runs]
    assert all(texts)
    everything = [text for some in texts for text in some]
    assert len(everything) == len(set(everything))
    # Nothing but repeats is left out: the text all at once has the same documents.
    folder = months[0]
    whole = request(folder, workspace=str(folder / "whole"))
    pipeline.collect(whole)
    at_once = documents(whole.dataset.data) + documents(whole.dataset.heldout_data)
    assert sorted(at_once) == sorted(everything)
    # And whoever is held out is held out in both.
    assert sorted(documents(whole.dataset.heldout_data)) == sorted(
        text for run in runs for text in documents(run.dataset.heldout_data)
    )
    taken = sorted(Path(file.address).name for file in files_of(ledger_of(runs[0]).read()))
    assert taken == ["2026-01.txt", "2026-02.txt", "2026-03.txt"]


def test_its_shards_go_on_where_the_others_end(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    _, runs, shards = months
    names = [name for some in shards for name in some]
    assert len(names) == len(set(names))
    training = [name for name in names if not name.startswith("heldout/")]
    assert training == [f"shards/shard_{number:04d}" for number in range(len(training))]
    assert len({run.dataset_id for run in runs}) == 3
    for run, before in zip(runs[1:], runs, strict=False):
        assert run.dataset.vocab.read_bytes() == before.dataset.vocab.read_bytes()
        manifest = Manifest.read(run.dataset.manifest)
        assert manifest.config["extends"] == before.dataset_id
        assert {record.name for record in manifest.outputs}.isdisjoint({name for name in _tfrecords(before)})
    assert "extends" not in Manifest.read(runs[0].dataset.manifest).config


def _tfrecords(run: Run) -> set[str]:
    return {r.name for r in Manifest.read(run.dataset.manifest).outputs if r.name.endswith(".tfrecord")}


def test_the_trainer_reads_all_and_evaluates_on_the_first_one_s_held_out_part(
    months: tuple[Path, list[Run], list[list[str]]],
) -> None:
    _, runs, _ = months
    jobs = [training_job(run) for run in runs]
    folders = [str(run.dataset.training_data) for run in runs]
    assert [(*job.earlier_data, job.training_data) for job in jobs] == [
        tuple(folders[:1]),
        tuple(folders[:2]),
        tuple(folders),
    ]
    assert {job.heldout_data for job in jobs} == {str(runs[0].dataset.heldout_training_data)}
    again = prepare_training(runs[0].config, runs[2].dataset_id)
    assert training_job(again).earlier_data == jobs[2].earlier_data
    from qarib_tasks.train.data.shards import Shards

    shards = Shards(jobs[2].training_data, Path("cache"), earlier=jobs[2].earlier_data)
    everything = [name for run in runs for name in _tfrecords(run) if not name.startswith("heldout/")]
    assert [f"pretraining_data/{name}" for name in shards.names] == sorted(everything)
    assert all(shards.path(name).is_file() for name in shards.names)
    with pytest.raises(InputError, match="too"):
        Shards(folders[0], Path("cache"), earlier=folders[:1])


def test_nothing_new_is_said_so_and_the_contents_count(
    months: tuple[Path, list[Run], list[list[str]]], tmp_path: Path
) -> None:
    folder, runs, _ = months
    with pytest.raises(NothingNewError, match="all of the 3 source files"):
        request(folder, runs[2].dataset_id)
    # Under another name and date they are what they were.
    moved = {"collect": {"sources": [{"name": "moved", "path": str(tmp_path / "*.txt")}]}}
    for month in (1, 2, 3):
        (tmp_path / f"{month}.txt").write_bytes((folder / "text" / f"2026-0{month}.txt").read_bytes())
    with pytest.raises(NothingNewError):
        request(folder, runs[2].dataset_id, **moved)
    # Of a dataset that is not extended nothing is known.
    write_documents(tmp_path / "2.txt", 900, 950)
    run = request(folder, runs[0].dataset_id, **moved)
    plan = json.loads(run.dataset.sources.read_text())["files"]
    assert [Path(entry["address"]).name for entry in plan] == ["2.txt", "3.txt"]


def test_what_is_collected_is_what_was_listed(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    write_documents(tmp_path / "text" / "a.txt", 0, 100)
    run = request(tmp_path)
    write_documents(tmp_path / "text" / "b.txt", 100, 200)
    assert [record.name for record in pipeline.collect(run).inputs] == ["text/a.txt"]


def test_only_a_complete_dataset_is_extended(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    write_documents(tmp_path / "text" / "a.txt", 0, 100)
    run = request(tmp_path)
    with pytest.raises(InputError, match="not complete"):
        request(tmp_path, run.dataset_id)
    with pytest.raises(InputError, match="no dataset"):
        request(tmp_path, "demo-0123456789")
    with pytest.raises(ConfigError, match="extends"):
        resolve({"preset": "demo", "workspace": "w", "extends": "../elsewhere"})


def test_a_text_that_is_gone_cannot_be_extended(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    folder, runs, _ = months
    write_documents(folder / "text" / "2026-04.txt", 800, 900)
    try:
        run = request(folder, runs[2].dataset_id)
        hidden = runs[1].dataset.data.rename(runs[1].dataset.root / "hidden")
        with pytest.raises(InputError, match="gone"):
            pipeline.collect(run)
        hidden.rename(runs[1].dataset.data)
    finally:
        (folder / "text" / "2026-04.txt").unlink()


# The ledger


def entry(name: str, dataset: str = "", **values: Any) -> ConsumedFile:
    return ConsumedFile(**{"source": "s", "address": name, "bytes": 5, "dataset": dataset, **values})


def test_contents_are_known_wherever_they_lie() -> None:
    local = entry("/data/a.txt", "one", sha256="aa", crc32c="AAAAAA==")
    far = entry("gs://b/c.txt", "one", version="BBBBBB==", crc32c="BBBBBB==", sha256="bb")
    web = entry("https://h/d", "two", version='"tag"', sha256="dd", crc32c="DDDDDD==")
    ledger = [local, far, web]

    def new(*files: ConsumedFile) -> list[str]:
        return [file.address for file in not_taken_by({"one", "two"}, ledger, files)]

    assert new(entry("/other", sha256="aa", crc32c="AAAAAA==")) == []
    assert new(entry("/copy-of-the-object", sha256="bb", crc32c="BBBBBB==")) == []
    assert new(ConsumedFile.of("s", SourceFile("gs://b/copy", 5, "AAAAAA=="))) == []
    assert new(ConsumedFile.of("s", SourceFile("gs://b/c.txt", 6, "AAAAAA=="))) == ["gs://b/c.txt"]
    assert new(ConsumedFile.of("s", SourceFile("https://h/d", 5, '"tag"'))) == []
    assert new(ConsumedFile.of("s", SourceFile("https://h/d", 5, '"other"'))) == ["https://h/d"]
    assert new(entry("/new", sha256="ee"), entry("/again", sha256="ee")) == ["/new"]
    assert not_taken_by({"one"}, ledger, [web]) == [web]


def test_a_dataset_s_entries_are_replaced_and_nothing_is_written_twice(tmp_path: Path) -> None:
    ledger = SharedRecord(tmp_path, None, "sources.json")
    assert files_of(ledger.read()) == []
    record(ledger, "one", [entry("a", "one"), entry("b", "one")])
    record(ledger, "two", [entry("a", "two")])
    record(ledger, "one", [entry("c", "one")])
    assert [(f.dataset, f.address) for f in files_of(ledger.read())] == [("one", "c"), ("two", "a")]
    before = (tmp_path / "sources.json").stat()
    record(ledger, "one", [entry("c", "one")])
    after = (tmp_path / "sources.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (tmp_path / "sources.json").write_text("{}")
    with pytest.raises(CorruptError, match="format"):
        ledger.read()


@pytest.mark.parametrize("where", ["bucket", "workspace"])
def test_runs_at_once_lose_no_entry(where: str, tmp_path: Path, bucket_name: str) -> None:
    address = f"gs://{bucket_name}/prefix/" if where == "bucket" else None

    def take(number: int) -> None:
        # Each in a workspace of its own where the bucket is what they share.
        workspace = tmp_path / str(number) if address else tmp_path
        record(SharedRecord(workspace, address, "sources.json"), f"d{number}", [entry("a", f"d{number}")])

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = SharedRecord(tmp_path / "7" if address else tmp_path, address, "sources.json")
    assert {file.dataset for file in files_of(ledger.read())} == {f"d{number}" for number in range(8)}


def test_another_writer_between_reading_and_writing_is_seen(tmp_path: Path, bucket_name: str) -> None:
    bucket = Bucket(f"gs://{bucket_name}/")
    record = SharedRecord(tmp_path, bucket.address, "record.json")
    seen: list[Any] = []

    def change(values: Any) -> Any:
        seen.append(dict(values))
        if len(seen) == 1:
            bucket.write_text("record.json", json.dumps({"format": 1, "other": 1}))
        return {**values, "mine": 1}

    assert record.change(change) == {"format": 1, "other": 1, "mine": 1}
    assert len(seen) == 2
    generation = bucket.get("record.json").generation
    record.change(lambda values: values)
    assert bucket.get("record.json").generation == generation
    assert json.loads((tmp_path / "record.json").read_text()) == record.read()
    with pytest.raises(ChangedError):
        bucket.write_text("record.json", "", over=1)


# Promotion


def judged(name: str, loss: float, heldout: str = "h") -> JudgedModel:
    return JudgedModel(name, "demo-0123456789", f"/w/models/{name}", {"masked_lm_loss": loss}, heldout, 10)


@pytest.mark.parametrize(
    ("loss", "heldout", "good", "reason"),
    [
        (4.0, "h", True, "not worse"),
        (5.02, "h", True, "margin 0.02"),
        (5.03, "h", False, "worse: masked-LM loss 5.0300, that of old 5.0000"),
        (1.0, "other", False, "cannot be compared"),
        (float("nan"), "h", False, "is nan"),
    ],
)
def test_a_worse_model_is_not_promoted(loss: float, heldout: str, good: bool, reason: str) -> None:
    found, text = compare(judged("new", loss, heldout), judged("old", 5.0), 0.02)
    assert (found, reason in text) == (good, True)
    assert compare(judged("new", loss, heldout), None, 0)[0] == (loss == loss)


def exported(run: Run, loss: float) -> Run:
    """As if the run's model had been exported."""
    statistics = {"evaluation": {"masked_lm_loss": loss, "step": 800}, "total_steps": 800 + run.steps_before}
    Manifest(kind="model", id=run.model_id, statistics=statistics).write(run.model.manifest)
    return run


def with_steps(run: Run, steps: int, **values: Any) -> Run:
    config = replace(run.config, train=replace(run.config.train, train_steps=steps), **values)
    return prepare_training(config, run.dataset_id)


def test_the_record_of_promotions(months: tuple[Path, list[Run], list[list[str]]]) -> None:
    _, runs, _ = months
    record = record_of(Path(runs[0].config.workspace), None)
    assert promoted_model(record, "demo") is None
    with pytest.raises(InputError, match="not exported"):
        promote(runs[0])
    first = exported(with_steps(runs[0], 801), 5.0)
    assert promote(first).state == "promoted"
    text = (Path(runs[0].config.workspace) / "models" / "promoted.json").read_text()
    assert promote(first).state == "promoted"
    assert (Path(runs[0].config.workspace) / "models" / "promoted.json").read_text() == text
    assert promoted_model(record, "qarib") is None
    # On the second month, with the same held-out part.
    worse = exported(with_steps(runs[1], 802), 5.5)
    assert promote(worse).state == "candidate"
    found = promoted_model(record, "demo")
    assert found
    assert (found.model_id, found.dataset_id) == (first.model_id, first.dataset_id)
    better = exported(with_steps(runs[1], 803), 4.9)
    assert promote(better).state == "promoted"
    # The first one asked again does not take its place back, near as it is.
    near = promote(replace(first, config=replace(first.config, promotion_margin=1.0)))
    assert (near.state, better.model_id in near.reason) == ("candidate", True)
    # The candidate may, once the margin allows it, or because a person says so.
    assert promote(replace(worse, config=replace(worse.config, promotion_margin=1.0))).state == "promoted"
    assert promote(first, anyway=True).state == "promoted"
    found = promoted_model(record, "demo")
    assert found
    assert found.model_id == first.model_id
    states = {entry["model_id"]: entry["state"] for entry in record.read()["presets"]["demo"]["judged"]}
    assert states.keys() == {first.model_id, worse.model_id, better.model_id}
    assert asdict(found)["reason"] == "a person said so"


def test_two_retrainings_at_once_do_not_both_win(
    months: tuple[Path, list[Run], list[list[str]]],
) -> None:
    """The second to end has not seen the first one's text."""
    _, runs, _ = months
    workspace = Path(runs[0].config.workspace)
    first = exported(with_steps(runs[0], 811), 3.0)
    assert promote(first, anyway=True).state == "promoted"
    starting = replace(runs[1].config.train, start_from=str(first.model.root))
    config = replace(runs[1].config, train=starting)
    both = [exported(replace(with_steps(runs[1], steps), config=config), 2.9) for steps in (812, 813)]
    assert [promote(run).state for run in both] == ["promoted", "candidate"]
    found = promoted_model(record_of(workspace, None), "demo")
    assert found
    assert found.model_id == both[0].model_id
    entries = record_of(workspace, None).read()["presets"]["demo"]["judged"]
    assert "was promoted since this run began" in entries[-1]["reason"]


def test_the_audit_knows_only_a_dataset_s_own_shards(
    months: tuple[Path, list[Run], list[list[str]]],
) -> None:
    from qarib_tasks.dataset.audit import audit

    _, runs, shards = months
    for run, own in zip(runs, shards, strict=True):
        assert [state.name for state in audit(run.dataset)] == own
        assert manifest_of(run.dataset.shards(run.dataset.heldout_data)).is_file()

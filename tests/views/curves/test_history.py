"""A training's history as columns, read once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.views import files as files_module
from qarib_tasks.views.curves import history as history_module
from qarib_tasks.views.curves.history import NOTHING, History, history_of, parse, with_newest
from qarib_tasks.views.files import Cache, Files
from tests.support.made_up_run import FolderBucket, MadeUpRun, files


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in values)


def loss(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 9 - step / 100}


def test_columns_of_the_lines() -> None:
    found = parse(
        lines({"step": 1, "loss": 2.5}, {"step": 2, "loss": None, "learning_rate": 1}, {"step": 3, "loss": 1})
    )
    assert found.curves(100) == {
        "loss": {"step": [1, 3], "value": [2.5, 1.0]},
        "learning_rate": {"step": [2], "value": [1.0]},
    }
    assert (found.last_step, found.fault) == (3, "")
    assert NOTHING.last_step == 0


@pytest.mark.parametrize(
    ("data", "steps", "fault"),
    [
        (None, [], ""),
        (b"", [], ""),
        # Another process has not yet written all of the last line.
        (lines(loss(1), loss(2)) + b'{"step": 3, "lo', [1, 2], ""),
        (lines(loss(1)) + b"7\n" + lines(loss(2)), [1, 2], ""),
        (lines({"step": 1, "loss": "<b>"}, loss(2)), [2], "wrong type"),
        (lines({"step": "1", "loss": 3}, loss(2)), [2], "wrong type"),
        (lines({"loss": 3}, loss(2)), [2], ""),
        (lines({"step": 1, "loss": 3, "x": [[]] * 3}, loss(2)), [1, 2], ""),
        (b'{"step": 1, "loss": ' + b"[" * 5000 + b"]" * 5000 + b"}\n" + lines(loss(2)), [], ""),
        (b'{"step": 1e999, "loss": 3}\n' + lines(loss(2)), [2], ""),
        (b'{"step": 1, "loss": NaN}\n' + lines(loss(2)), [2], ""),
        (lines(loss(3), loss(1), loss(2)), [1, 2, 3], ""),
        (lines(loss(1)) + b'{"x": "' + b"x" * (1 << 17) + b'"}\n' + lines(loss(2)), [1], "too long"),
    ],
)
def test_lines_of_anything(data: bytes | None, steps: list[int], fault: str) -> None:
    found = parse(data)
    assert found.curves(10).get("loss", {"step": []})["step"] == steps
    assert fault in found.fault
    assert bool(fault) == bool(found.fault)


@pytest.mark.parametrize(
    "more",
    [
        b"",
        b"\n",
        lines(loss(9), loss(8)),
        lines(loss(7)).rstrip(),
        b'{"step": 7, "lo',
        b"{",
        lines({"step": 7, "loss": None, "learning_rate": 2, "x": [[{"y": "z"}]], "at": "now"}, {"loss": 3}),
        b'{"step": 7, "loss": NaN, "learning_rate": Infinity}\n',
        lines({"step": 7, "loss": "<b>"}, loss(8)),
        lines({"step": True, "loss": 2}, loss(8)),
        lines({"step": 2.5, "loss": 1e-300}),
        b'{"step": 1e999, "loss": 3}\n' + lines(loss(8)),
        b"7\n" + lines(loss(8)),
        b"{broken}\n" + lines(loss(8)),
        b'{"step": 7, "loss": 1, "loss": 2}\n',
        b'{"step": 7, "x": ' + b"[" * 500_000 + b"}\n" + lines(loss(8)),
        b'{"step": 7, "loss": ' + b'{"a":' * 500_000 + b"}\n",
        b"\xff\xfe\n" + lines(loss(8)),
    ],
)
def test_a_large_history_is_read_as_a_small_one(more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lines(*map(loss, range(1, 4))) + more
    one_by_one = parse(data)
    monkeypatch.setattr(history_module, "MANY_BYTES", 10)
    together = parse(data)
    assert together.fault == one_by_one.fault
    assert together.steps.tolist() == one_by_one.steps.tolist()
    assert together.curves(100) == one_by_one.curves(100)


def test_a_large_history_is_not_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MANY_BYTES", 10)
    monkeypatch.delattr(history_module, "_parse")
    for end in (b"", b'{"step": 40, "lo'):  # Also not while it is written.
        assert parse(lines(*map(loss, range(1, 40))) + end).last_step == 39


def test_the_newest_figures_follow_the_history() -> None:
    curves = parse(lines(loss(1))).curves(10)
    newest = {"step": 5, "loss": 3.0, "learning_rate": 0.1}
    assert with_newest(curves, newest, 1) == {
        "loss": {"step": [1, 5], "value": [8.99, 3.0]},
        "learning_rate": {"step": [5], "value": [0.1]},
    }
    assert with_newest(curves, newest, 5) == curves
    assert with_newest(curves, {}, 5) == curves
    assert curves["loss"]["step"] == [1]  # What is kept is not changed.


def test_a_history_is_read_once_until_it_changes(
    run: MadeUpRun, bucket: FolderBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    real = parse

    def counted(data: bytes | None) -> History:
        parsed.append(len(data or b""))
        return real(data)

    monkeypatch.setattr(history_module, "parse", counted)
    model = run.record.model
    assert model is not None
    name = model.name_of(model.history)
    own = files(run, bucket)

    def last(**progress: Any) -> float:
        again = Files(own.workspace, own.bucket, own.cache)  # as another request has it
        return history_of(again, model, progress).last_step

    def write(root: Path, step: int) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(lines(*map(loss, range(1, step + 1))))

    assert last(place="workspace") == 0
    bucket.asked.clear()
    write(run.workspace, 10)
    assert [last(place="workspace"), last(place="workspace")] == [10, 10]
    assert len(parsed) == 1
    write(run.workspace, 20)  # A small one that has changed is read at once.
    assert last(place="workspace") == 20
    assert len(parsed) == 2
    assert not bucket.asked
    write(bucket.folder, 30)
    own.cache.age(1000.0)
    assert [last(place="bucket"), last(place="bucket")] == [30, 30]
    assert len(parsed) == 3
    assert [one.partition(" ")[0] for one in bucket.asked].count("read") == 1
    own.cache.age(1000.0)
    assert last(place="bucket") == 30  # It is listed again, not read again.
    assert [one.partition(" ")[0] for one in bucket.asked].count("read") == 1


def test_a_large_history_that_grows_is_not_read_for_each_request(
    run: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "SMALL", 100)
    model = run.record.model
    assert model is not None
    path = run.workspace / model.name_of(model.history)
    path.parent.mkdir(parents=True)
    own = Files(run.workspace, None, Cache())
    path.write_bytes(lines(*map(loss, range(1, 30))))
    assert history_of(own, model, {}).last_step == 29
    with path.open("ab") as file:
        file.write(lines(loss(30)))
    assert history_of(own, model, {}).last_step == 29
    own.cache.age(1000.0)
    assert history_of(own, model, {}).last_step == 30
    # One that is too large is said to be.
    own.most = 200
    os.truncate(path, 201)
    assert history_of(own, model, {}) is NOTHING
    assert "too large" in str(own.fault)


def test_not_all_histories_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MOST_KEPT", 3)
    own = Files(tmp_path, None, Cache())
    for number in range(5):
        (tmp_path / f"{number}.jsonl").write_bytes(lines(loss(number)))
        assert own.kept(f"{number}.jsonl", parse, here=True) is not None
    kept = [number for number in range(5) if own.cache.last((str(tmp_path), "kept", f"{number}.jsonl"))]
    assert kept == [2, 3, 4]

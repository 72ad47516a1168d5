"""Files that others write: whatever they hold, each view has an answer, and says which file is damaged."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.curves.history import MOST_BYTES_OF_A_LINE, parse
from qarib_tasks.views.files import Cache, Files, names_in
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord, summary
from qarib_tasks.views.shapes import ANY_KEY, MANIFEST, MOST_VALUES, conform, is_shallow, number, parsed, text
from qarib_tasks.views.shards import shard_detail, shards_view
from qarib_tasks.views.tasks.view import tasks_view
from qarib_tasks.views.training import first_rate, training_view
from tests.support.made_up_run import MadeUpRun, make_run

WRONG: list[Any] = [
    7,
    -1,
    "text",
    [],
    {},
    [[]],
    [7],
    ["x"],
    {"x": 7},
    {"": {}},
    True,
    1 << 70,
    1e308,
    [{"x": []}],
]
NESTED = b'{"statistics": ' + b"[" * 500 + b"]" * 500 + b"}"
CONTENTS = [
    *(json.dumps(value).encode() for value in WRONG),
    b"", b"{", b"\xff\xfe", b"null", b'{"statistics": 7}', b'{"statistics": {"sources": {"s": 7}}}', NESTED,
    b"[" * 100_000, b'{"step": 1' + b"0" * 400 + b"}", b'{"a": ' * 900 + b"1" + b"}" * 900,
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> MadeUpRun:
    return make_run(tmp_path / "workspace", 1)


def views(record: RunRecord, files: Files) -> list[dict[str, Any]]:
    found = [
        summary(record, files, time.time()),
        shards_view(record, files, []),
        shard_detail(record, files, "shards/shard_0000"),
        corpus_view(record, files),
        training_view(record, files, time.time()),
        tasks_view(record, files, []),
        model_view(record, files, []),
    ]
    for view in found:
        json.dumps(view, default=str)
    return found


def files_of(run: MadeUpRun) -> list[Path]:
    """One file of each name: of many shards, the first."""
    names: dict[str, Path] = {}
    for path in sorted(run.workspace.rglob("*")):
        if path.suffix in (".json", ".jsonl", ".md"):
            names.setdefault(path.name, path)
    return list(names.values())


def test_any_content_of_any_file_gives_an_answer(run: MadeUpRun) -> None:
    before = views(run.record, Files(run.workspace, None, Cache()))
    assert before[0]["fault"] is None
    seen = 0
    for path in files_of(run):
        right = path.read_bytes()
        for content in CONTENTS:
            path.write_bytes(content)
            views(run.record, Files(run.workspace, None, Cache()))
            seen += 1
        path.write_bytes(right)
    assert seen > 100
    assert views(run.record, Files(run.workspace, None, Cache())) == before


def test_each_value_of_each_file_can_have_any_type(run: MadeUpRun) -> None:
    """Of every object in every file, one value after the other becomes two other ones."""
    wrongs = [7, "text", [7], {"x": {}}, None, 7]
    for path in files_of(run):
        right = path.read_text(encoding="utf-8")
        lines = right.splitlines() if path.suffix == ".jsonl" else [right]
        values = json.loads(lines[-1]) if path.suffix != ".md" else {}
        for nth, (place, change) in enumerate(places(values)):
            for wrong in wrongs[nth % 5 :][:2]:
                before = change(wrong)
                path.write_text("\n".join([*lines[:-1], json.dumps(values)]), encoding="utf-8")
                try:
                    views(run.record, Files(run.workspace, None, Cache()))
                except Exception as error:
                    raise AssertionError(f"{path.name}: {place} = {wrong!r}") from error
                change(before)
        path.write_text(right, encoding="utf-8")


def places(values: Any, name: str = "") -> list[tuple[str, Callable[[Any], Any]]]:
    """Every key and the first item of every list, each with a function that changes its value."""
    found: list[tuple[str, Callable[[Any], Any]]] = []
    keys = (
        list(values)
        if isinstance(values, dict)
        else range(min(1, len(values)))
        if isinstance(values, list)
        else ()
    )
    for key in keys:

        def change(new: Any, key: Any = key) -> Any:
            before, values[key] = values[key], new
            return before

        found.append((f"{name}.{key}", change))
        found += places(values[key], f"{name}.{key}")
    return found


def test_a_damaged_file_is_a_fault_of_its_run(run: MadeUpRun) -> None:
    path = run.workspace / run.record.dataset.name / "data.txt.manifest.json"  # type: ignore[union-attr]
    path.write_text('{"statistics": 7}')
    found = summary(run.record, Files(run.workspace, None, Cache()), time.time())
    assert found["fault"]["where"] == str(path)
    assert "wrong type" in found["fault"]["what"]
    assert found["trouble"] is None


@pytest.mark.parametrize("kind", ["pipe", "endless", "outside", "folder"])
def test_what_is_no_file_of_the_workspace_is_not_read(run: MadeUpRun, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"statistics": {"summary": "secret"}}')
    for path in files_of(run):
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero" if kind == "endless" else secret)
    found = views(run.record, Files(run.workspace, None, Cache()))
    assert found[0]["fault"]["what"].split()[0] in ("is", "leads")
    assert "secret" not in json.dumps(found[3], default=str).replace(str(secret), "")


@pytest.mark.parametrize(
    "name", ["../../../etc", "a/b-0123456789", "demo-00000000aa/..", "demo-00000000AA", 7, ["x"]]
)
def test_ids_are_names_of_ours(run: MadeUpRun, name: Any) -> None:
    """Who may write XComs can write any."""
    values = run.record.values
    for key in ("dataset_id", "model_id"):
        record = RunRecord(dag_id="d", run_id="r", state="success", values={**values, key: name})
        assert (record.dataset if key == "dataset_id" else record.model) is None
        assert record.fault is not None
        views(record, Files(run.workspace, None, Cache()))


@pytest.mark.parametrize("wrong", WRONG)
def test_any_record_of_a_run_gives_an_answer(run: MadeUpRun, wrong: Any) -> None:
    values = json.loads(json.dumps(run.record.values, default=str))
    for _, change in places(values):
        before = change(wrong)
        record = RunRecord(dag_id="d", run_id="r", state="success", values=values)
        views(record, Files(record.workspace, None, Cache()))
        change(before)


def test_what_conforms() -> None:
    shape = {"a": number, "b": [text], "c": {ANY_KEY: number}, "d": (number, text)}
    right = {"a": 1.5, "b": ["x"], "c": {"k": 2}, "d": [1, "x"], "more": object}
    assert conform(right, shape) == (right, True)
    assert conform({"a": None}, shape) == ({}, True)
    wrong = {"a": "1", "b": ["x", 7], "c": {"k": "2", "l": 3}, "d": [1]}
    assert conform(wrong, shape) == ({"b": ["x"], "c": {"l": 3}}, False)
    assert conform([], MANIFEST) == ({}, False)
    assert conform({"a": True}, shape) == ({}, False)
    assert is_shallow({"a": [{}, 3]})
    assert not is_shallow(json.loads("[" * 100 + "]" * 100))
    assert conform({"a": 1 << 70}, shape) == ({}, False)
    assert conform({"c": {"k": None}}, shape) == ({"c": {}}, True)


def test_more_values_than_the_page_can_show(run: MadeUpRun) -> None:
    assert parsed(b"[1, 2]") == [1, 2]
    for content in (b"[" + b"[]," * MOST_VALUES + b"1]", b'{"a":' * 30 + b"[" + b"1," * MOST_VALUES + b"1]"):
        assert parsed(content) is None
    path = run.workspace / run.record.model.name_of(run.record.model.history)  # type: ignore[union-attr]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"step":1,"loss":2}\n{"step":2,"x":[' + b"1," * MOST_BYTES_OF_A_LINE + b"1]}\n")
    view = training_view(run.record, Files(run.workspace, None, Cache()), time.time())
    assert "too long" in view["trouble"]["what"]
    assert view["history"]["loss"]["step"] == [1]


@pytest.mark.parametrize("speed", ["0", "-1", "1e-320", "1e999", "NaN"])
def test_a_speed_of_any_number(run: MadeUpRun, speed: str) -> None:
    path = run.workspace / run.record.model.name_of(run.record.model.history)  # type: ignore[union-attr]
    lines = [f'{{"step": {step}, "examples_per_second": {speed}, "loss": 1}}' for step in range(0, 900, 100)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    views(run.record, Files(run.workspace, None, Cache()))
    json.dumps(first_rate(parse("\n".join(lines).encode()), 1000))


def test_a_folder_with_any_number_of_names(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    assert len(names_in(tmp_path, 2)) == 2
    assert names_in(tmp_path / "none", 2) == []

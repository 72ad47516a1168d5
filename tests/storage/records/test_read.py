"""Records of ours as they are, and damaged in every way: read, or refused in one line that names the file.

Covers qarib_tasks/storage/records/aside.py, qarib_tasks/storage/records/contents.py,
qarib_tasks/storage/records/corpus.py, qarib_tasks/storage/records/record.py,
qarib_tasks/storage/records/schemas.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.manifest import Manifest, begins_as_manifest
from qarib_tasks.storage.records.read import (
    LARGEST,
    MOST_GROUPS,
    MOST_VALUES,
    parse_record,
    read_record,
    take_record,
)
from qarib_tasks.storage.records.record import Record
from qarib_tasks.storage.records.schemas import CheckpointIndex, Evaluation, Plan, Progress
from tests.support.records.damage import damaged_bytes, damaged_json
from tests.support.strangers import MADE_BEFORE

SCHEMAS: dict[str, type[Record]] = {
    "progress.json": Progress,
    "evaluation-4.json": Evaluation,
    "checkpoint-4.json": CheckpointIndex,
    "datasets/demo-e3029ea0ef/sources.json": Plan,
}


def made_before(name: str) -> Path:
    (path,) = MADE_BEFORE.rglob(name)
    return path


def faults(path: Path, read: Callable[[bytes], object]) -> dict[str, str]:
    """The errors for the file's bytes damaged in every way, by the damage."""
    found = {}
    for damage, damaged in damaged_json(path.read_bytes()).items():
        try:
            read(damaged)
        except CorruptError as error:
            found[damage] = str(error)
    return found


def check(path: Path, errors: Mapping[str, str], what: str, damages: Collection[str]) -> None:
    for damage, error in errors.items():
        assert error.startswith(f"{path}: {what}: "), damage
        assert "\n" not in error, damage
    assert errors.keys() >= {*damaged_bytes(b""), *damages}


REFUSED = {
    "progress.json": (
        "step: text",
        "step: negative",
        "state: other text",
        "resumed: number",
        "step: removed",
    ),
    "evaluation-4.json": ("loss: text", "perplexity: removed", "fill_mask: object", "step: huge"),
    "checkpoint-4.json": ("position: empty", "state: removed", "figures: object", "position.epoch: text"),
    "datasets/demo-e3029ea0ef/sources.json": (
        "files: removed",
        "files: other entries",
        "files.0.bytes: text",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_record_is_read_as_it_is_or_refused(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    path = made_before(name)

    def read(data: bytes) -> None:
        assert parse_record(data, SCHEMAS[name], path) == json.loads(data)

    read(path.read_bytes())
    check(path, faults(path, read), "is damaged", REFUSED[name])
    record_property("tried", len(damaged_json(path.read_bytes())))


@pytest.mark.parametrize("path", sorted(MADE_BEFORE.rglob("*.json")), ids=lambda path: path.name)
def test_a_manifest_is_read_or_refused(path: Path, record_property: Callable[[str, object], None]) -> None:
    if not begins_as_manifest(path):
        return
    assert not Manifest.read(path).content_fault(missing=True)
    errors = faults(path, lambda data: Manifest.parse(data, path))
    check(path, errors, "not a manifest", ("statistics: number", "kind: removed", "outputs.0.bytes: text"))
    record_property("tried", len(damaged_json(path.read_bytes())))


@pytest.mark.parametrize("value", ["[]", "{}", '""'])
def test_a_record_of_very_many_small_values_is_damaged(value: str) -> None:
    """Such values take many times their bytes in memory."""
    values = f'{{"more": [{",".join([value] * (MOST_VALUES + 2 if value[0] == chr(34) else MOST_GROUPS))}]}}'
    with pytest.raises(CorruptError, match="more values than any record"):
        parse_record(values.encode(), Progress, "progress.json")


def test_a_damaged_record_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "progress.json"
    assert take_record(path, Progress, "it is written again") is None
    for number, damaged in enumerate((b"{", b"[]", b"{"), 1):
        path.write_bytes(damaged)
        assert take_record(path, Progress, "it is written again") is None
        assert not path.exists()
        other = tmp_path / f"progress.json.damaged-{1 if number == 3 else number}"
        assert other.read_bytes() == damaged
        line = caplog.messages[-1]
        assert line.startswith(f"{path}: is damaged: ")
        assert line.endswith(f". Kept as {other.name}; it is written again")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_only_a_person_can_decide_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    (path / "folder").mkdir(parents=True)
    with pytest.raises(InputError, match=r"progress\.json: is not a regular file\. Move it"):
        take_record(path, Progress, "it is written again")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(CorruptError, match=r"large\.json: larger than"):
        read_record(large, Progress)
    large.write_bytes(b"{}")
    with pytest.raises(CorruptError, match=r"is damaged: state: Field required\. Restore it"):
        read_record(large, Progress, "Restore it")

"""What a step leaves behind it, and when it counts as done."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished


def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "out.txt").write_text("out")
    return Manifest(
        kind="corpus",
        id="x",
        config={"a": (1, 2), "b": None, "sources": []},
        inputs=[FileRecord("in", 1, "s", "c")],
        outputs=[FileRecord.of(tmp_path / "out.txt")],
        statistics={"documents_read": 3},
        sample=["نص"],
    )


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    made.write(tmp_path / "m.json")
    read = Manifest.read(tmp_path / "m.json")
    assert (read.id, read.statistics, read.sample, read.made_at) == (
        "x",
        {"documents_read": 3},
        ["نص"],
        made.made_at,
    )
    assert read.output("out.txt").bytes == 3
    with pytest.raises(CorruptError, match="has no output"):
        read.output("other")


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"kind": "corpus", "id": "x", "format": 2}', '{"kind": "corpus", "id": "x", "odd": 1}'],
)
def test_what_is_not_a_manifest_of_this_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(CorruptError, match="not a manifest"):
        Manifest.read(tmp_path / "m.json")
    assert finished(tmp_path / "m.json", config={}, inputs=[]) is None


def test_finished_means_same_inputs_same_settings_whole_outputs(tmp_path: Path) -> None:
    made, path = manifest(tmp_path), tmp_path / "m.json"
    assert finished(path, config=made.config, inputs=made.inputs) is None
    with pytest.raises(InputError, match="no such manifest"):
        Manifest.read(path)
    made.write(path)
    assert finished(path, config=made.config, inputs=made.inputs)
    assert finished(path, config={**made.config, "a": [1, 3]}, inputs=made.inputs) is None
    assert finished(path, config=made.config, inputs=[FileRecord("in", 1, "t", "c")]) is None
    (tmp_path / "out.txt").write_text("0ut")
    assert finished(path, config=made.config, inputs=made.inputs) is None
    (tmp_path / "out.txt").unlink()
    assert finished(path, config=made.config, inputs=made.inputs) is None


def test_a_failed_step_is_not_a_finished_one(tmp_path: Path) -> None:
    Manifest(kind="shard", id="s", state="failed", reason="why").write(tmp_path / "m.json")
    assert finished(tmp_path / "m.json", config={}, inputs=[]) is None
    assert Manifest.read(tmp_path / "m.json").reason == "why"

"""An export is merged with what a user has in its folder.

Covers qarib_tasks/train/results/export.py.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import InputError, TrainingError
from qarib_tasks.labelled.staged import write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.model_files import EXPORTED
from qarib_tasks.train.loop import train
from qarib_tasks.train.output import Output
from qarib_tasks.train.results import export as export_module
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export
from tests.support.training_examples import make_job


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(
        tmp_path_factory.mktemp("trained"), train_steps=2, num_warmup_steps=1, save_checkpoints_steps=2
    )
    train(job)
    return job


@pytest.fixture
def job(trained: TrainingJob, tmp_path: Path) -> TrainingJob:
    """A trained model of its own for each test."""
    shutil.copytree(trained.output, tmp_path / "small")
    return replace(trained, output=str(tmp_path / "small"))


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_a_user_added_and_edited_stays(job: TrainingJob, caplog: pytest.LogCaptureFixture) -> None:
    export(job)
    folder = Output(job).export
    made = tree(folder)
    assert set(made) == EXPORTED
    own = {"README.md": b"# My model\n", "NOTES.txt": b"notes", "onnx/model.onnx": b"1", ".git/HEAD": b"ref"}
    for name, data in own.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "config.json").write_bytes(b'{"mine": 1}')
    (folder / "model.safetensors").write_bytes(b"damaged, or fine-tuned")
    with caplog.at_level(logging.WARNING):
        export(job)
    kept = {"config.json.changed-1": b'{"mine": 1}', "model.safetensors.changed-1": b"damaged, or fine-tuned"}
    expected = made | own | kept | {"README.md.new": made["README.md"]}
    assert tree(folder) == expected
    for name in ("README.md.new", *kept):
        assert name in caplog.text
    before = Output(job).manifest.read_bytes()
    export(job)
    assert tree(folder) == expected
    assert Output(job).manifest.read_bytes() == before, "the third export has nothing to do"
    # When the user takes the edits back, so does the export.
    (folder / "README.md").unlink()
    Output(job).manifest.write_bytes(before.replace(b'"train_steps": 2', b'"train_steps": 3'))
    export(job)
    assert tree(folder) == made | {name: data for name, data in (own | kept).items() if name != "README.md"}


def test_what_an_earlier_export_made_goes_unless_it_was_edited(job: TrainingJob) -> None:
    manifest = export(job)
    output = Output(job)
    records = []
    for name in ("old.txt", "edited.txt"):
        (output.export / name).write_bytes(b"made by an earlier version")
        record = replace(manifest.outputs[0], name=f"export/{name}")
        records.append(replace(record, **vars(checksums(output.export / name))))
    (output.export / "edited.txt").write_bytes(b"edited")
    replace(manifest, config={}, outputs=[*manifest.outputs, *records]).write(output.manifest)
    export(job)
    assert set(tree(output.export)) == EXPORTED | {"edited.txt"}


@pytest.mark.parametrize("name", sorted(EXPORTED - {"README.md"}))
def test_a_file_of_another_origin_is_not_replaced(job: TrainingJob, name: str) -> None:
    folder = Output(job).export
    folder.mkdir()
    (folder / name).write_bytes(b"mine")
    before = tree(Path(job.output))
    with pytest.raises(InputError, match="not made by qarib"):
        export(job)
    assert tree(Path(job.output)) == before


@pytest.mark.parametrize("when", ["commit", "write"])
def test_a_killed_export_can_be_run_again(
    job: TrainingJob, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of an earlier version, which wrote its files before there was a manifest."""
    output = Output(job)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    if when == "commit":
        export(job)
        output.manifest.unlink()
    else:
        with monkeypatch.context() as patch:
            patch.setattr(export_module.tensorflow1, "write_checkpoint", killed)
            with pytest.raises(KeyboardInterrupt):
                export(job)
        assert not output.manifest.exists()
    export(job)
    assert Manifest.read(output.manifest).faults(output.root) == []
    assert set(tree(output.export)) == EXPORTED
    assert not [path for path in output.root.iterdir() if path.name.endswith(".tmp")]


def test_objects_of_another_origin_are_not_replaced(job: TrainingJob, bucket_name: str) -> None:
    job = replace(job, publish_to=f"gs://{bucket_name}/models/small/")
    bucket = Bucket(str(job.publish_to))
    bucket.write_text("export/NOTES.txt", "mine")
    bucket.write_text("export/vocab.txt", "mine")
    with pytest.raises(InputError, match=r"export/vocab\.txt: exists and was not made by qarib"):
        export(job)
    assert bucket.read_text("export/vocab.txt") == "mine"
    bucket.delete("export/vocab.txt")
    export(job)
    made = bucket.read_text("export/README.md")
    (Output(job).export / "README.md").write_text("# Mine\n")
    export(job)
    assert bucket.read_text("export/README.md") == "# Mine\n"
    assert bucket.read_text("export/README.md.new") == made
    bucket.write_text("export/README.md", "edited in the bucket")
    export(job)
    assert bucket.read_text("export/README.md") == "edited in the bucket"
    assert bucket.read_text("export/NOTES.txt") == "mine"


def test_a_task_makes_no_other_weights_and_is_in_card_and_manifest(
    job: TrainingJob, bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = replace(job, publish_to=f"gs://{bucket_name}/m/")
    before = export(job)
    part = LabelledPart(("نص", "آخر"), (0, 1))
    task = LabelledTask("mood", "macro_f1", ("a", "b"), part, part)
    staged = write_task(task, Output(job).layout.task("mood"))
    settings = replace(job.evaluate, tasks=(TaskConfig(name="mood", train="x.csv"),), probe_seconds=5)
    other = replace(job, tasks=(staged,), evaluate=settings)
    with pytest.raises(TrainingError, match=r"step \d+ is not evaluated"):
        export(other)
    evaluate(other)
    after = export(other)
    new = {record.name for record in after.outputs} - {record.name for record in before.outputs}
    changed = {record.name for record in after.outputs if record not in before.outputs}
    assert (new, len(changed), "export/README.md" in changed) == (set(), 2, True)
    assert "| mood | macro-F1 | " in (Output(job).export / "README.md").read_text(encoding="utf-8")
    assert after.config["tasks"] == [
        {"name": "mood", "sha256": staged.sha256, "left_out": 0, "contaminated": None}
    ]
    assert after.config["evaluate"]["tasks"][0]["train"] == "x.csv"
    assert Manifest.read(Output(job).manifest).config == after.config
    bucket = Bucket(f"gs://{bucket_name}/m/")
    assert bucket.read_text("tasks/mood.jsonl") == Output(job).layout.task("mood").read_text(encoding="utf-8")
    with caplog.at_level(logging.INFO):
        assert export(job).config["tasks"] == []
    assert "already exported" in caplog.text

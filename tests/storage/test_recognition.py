"""What a trainer writes is recognized, also by the files of an earlier version; what others write is not."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import InputError
from qarib_tasks.layout import ModelLayout
from qarib_tasks.storage import recognition
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.storage.recognition import check_model_folder, check_model_objects
from qarib_tasks.storage.records.settings import WRITTEN

STRANGERS = b'{"name": "a file of another program"}\n'
CHECKPOINT = b'{"step": 5, "position": {}, "model": {}, "state": {}, "format": 1}'
NAMES = [
    "manifest.json",
    "config.yaml",
    "progress.json",
    "bert_model/history.jsonl",
    "bert_model/checkpoint-5.json",
    "bert_model/checkpoint-5.safetensors",
    "bert_model/recovery-7.safetensors",
    "bert_evals/evaluation-5.json",
    "bert_evals/eval_results.txt",
    "bert_evals/probe_predictions.json",
]


@pytest.fixture
def layout(tmp_path: Path) -> ModelLayout:
    job = TrainingJob(training_data="d", heldout_data="h", vocab_file="v", output=str(tmp_path / "m"))
    return ModelLayout(tmp_path / "m", job)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("text", [STRANGERS, b""])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_origin_is_refused(layout: ModelLayout, name: str, text: bytes) -> None:
    path = write(layout.root / name, text)
    with pytest.raises(InputError, match="not made by qarib") as error:
        check_model_folder(layout)
    assert str(path) in str(error.value)
    assert path.read_bytes() == text


def test_a_history_without_a_line_is_of_a_training_that_had_a_lock(layout: ModelLayout) -> None:
    write(layout.lock, b"")
    write(layout.history, b"")
    check_model_folder(layout)


@pytest.mark.parametrize("name", ["export", "bert_model", "bert_evals", "bert_model/tensorboard"])
def test_a_file_in_place_of_a_folder_is_refused(layout: ModelLayout, name: str) -> None:
    write(layout.root / name, STRANGERS)
    with pytest.raises(InputError, match="not a folder"):
        check_model_folder(layout)


def test_other_files_in_the_folder_are_no_obstacle(layout: ModelLayout) -> None:
    for name in ("NOTES.txt", "bert_model/best.safetensors", "bert_model/checkpoint-five.json", "export/x"):
        write(layout.root / name, STRANGERS)
    check_model_folder(layout)


def test_the_manifest_of_a_dataset_is_not_a_models(layout: ModelLayout) -> None:
    layout.root.mkdir()
    Manifest(kind="dataset", id="demo-0123456789").write(layout.manifest)
    with pytest.raises(InputError, match="not made by qarib"):
        check_model_folder(layout)
    Manifest(kind="model", id="m").write(layout.manifest)
    check_model_folder(layout)
    layout.manifest.write_bytes(layout.manifest.read_bytes()[:30])  # as after a full disk
    check_model_folder(layout)


def test_a_damaged_state_is_ours_if_its_index_is(layout: ModelLayout) -> None:
    index = {"figures": [], "step": 5, "position": {}, "model": {}, "state": {}, "format": 1}
    write(layout.checkpoint_state("checkpoint-5"), b"damaged")
    write(layout.checkpoint_index("checkpoint-5"), json.dumps(index).encode())
    check_model_folder(layout)


@pytest.mark.parametrize(
    ("recognizer", "ours", "others"),
    [
        (recognition.is_history, [b"", b'{"step": 1}\n', b'{"st'], [b"[]", b'{"loss": 1}\n', b"step 1\n"]),
        (recognition.is_evaluation_text, [b"global_step = 5\n"], [b"", b"accuracy = 1\n"]),
        (
            recognition.is_checkpoint_state,
            [struct.pack("<Q", 18) + b'{"global_step":{}}' + b"\0" * 8],
            [b"", struct.pack("<Q", 14) + b'{"weights":{}}', b'text about "global_step":'],
        ),
        (
            recognition.is_run_config,
            [
                b"collect: {}\nvocab: {}\nconvert: {}\n",
                WRITTEN.encode() + b"0123\nworkspace: work\nextends: '",
                WRITTEN.encode() + b"0123\nworkspace: " + b"[" * 5000,
                WRITTEN.encode() + b"0123\nworkspace: \xff\xfe",
            ],
            [b"", b"- a\n", b"a: [\n", b"[" * 5000, WRITTEN.encode() + b"0123\ntraining_data: x\n"],
        ),
        (recognition.is_progress, [b'{\n "state": "trai'], [b"", b"{}", b"7", b"\xff\xfe"]),
    ],
)
def test_what_is_recognized(
    recognizer: recognition.Recognizer, ours: list[bytes], others: list[bytes]
) -> None:
    assert [head for head in ours if not recognizer(head)] == []
    assert [head for head in others if recognizer(head)] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_object_of_another_origin_is_refused(layout: ModelLayout, bucket_name: str, name: str) -> None:
    bucket = Bucket(f"gs://{bucket_name}/{layout.name}")
    bucket.write_text("NOTES.txt", "mine")
    check_model_objects(layout, bucket)
    bucket.write_text(name, STRANGERS.decode())
    with pytest.raises(InputError, match="not made by qarib") as error:
        check_model_objects(layout, bucket)
    assert name in str(error.value)


def test_an_exported_file_of_another_origin_is_refused_before_the_training(layout: ModelLayout) -> None:
    write(layout.export / "NOTES.txt", STRANGERS)
    write(layout.model_card, STRANGERS)
    check_model_folder(layout)
    path = write(layout.export / "vocab.txt", STRANGERS)
    with pytest.raises(InputError, match="not made by qarib") as error:
        check_model_folder(layout)
    assert str(path) in str(error.value)
    Manifest(kind="model", id="m", outputs=[FileRecord.of(path, "export/vocab.txt")]).write(layout.manifest)
    check_model_folder(layout)
    layout.manifest.unlink()
    write(layout.checkpoint_index("checkpoint-5"), CHECKPOINT)
    check_model_folder(layout)  # The export compares its content.


def test_an_exported_object_of_another_origin_is_refused(layout: ModelLayout, bucket_name: str) -> None:
    bucket = Bucket(f"gs://{bucket_name}/{layout.name}")
    for name in ("vocab.txt", "export/README.md", "export/NOTES.txt"):
        bucket.write_text(name, "mine")
    check_model_objects(layout, bucket)
    bucket.write_text("export/config.json", "{}")
    with pytest.raises(InputError, match=r"export/config\.json: exists and was not made by qarib"):
        check_model_objects(layout, bucket)
    bucket.write_text("bert_model/checkpoint-5.json", CHECKPOINT.decode())
    check_model_objects(layout, bucket)

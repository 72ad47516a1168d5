"""What of old runs may go, and what is kept for what it is referred to by.

Covers qarib_tasks/registry/contents.py.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import SOURCE
from qarib_tasks.corpus.sources import fetch, list_files
from qarib_tasks.errors import CorruptError, QaribError
from qarib_tasks.labelled.staged import write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.registry.clean_up import Artifact, delete, survey
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import DAY
from qarib_tasks.storage.manifest import FileRecord, Manifest
from tests.support.datasets import complete, request
from tests.support.training_examples import words_task

MADE_BEFORE = Path(__file__).parents[1] / "data" / "made_by_3ef437a" / "work"
OLD = time.time() - 100 * DAY
SETTINGS = "collect: {}\nvocab: {}\nconvert: {}\n"


def an_id(number: int) -> str:
    return f"demo-{number:010x}"


def make(workspace: Path, name: str, config: str = "", *, old: bool = True) -> None:
    folder = workspace / name
    (folder / "more").mkdir(parents=True)
    (folder / "config.yaml").write_text(SETTINGS + config, encoding="utf-8")
    (folder / "more" / "data").write_text("12345", encoding="utf-8")
    record = FileRecord.of(folder / "more" / "data", "more/data")
    Manifest(kind="model", id=folder.name, outputs=[record], made_at="").write(folder / "manifest.json")
    for file in ("config.yaml", "manifest.json", "more/data"):
        if old:
            os.utime(folder / file, (OLD, OLD))


def promote(workspace: Path, model: int, dataset: int) -> None:
    entry = {"model_id": an_id(model), "dataset_id": an_id(dataset)}
    own = {"promoted": an_id(model), "judged": [{"model_id": an_id(99), "dataset_id": an_id(98)}, entry]}
    (workspace / "models").mkdir(exist_ok=True)
    record = {"format": 1, "presets": {"demo": own}}
    (workspace / "models" / "promoted.json").write_text(json.dumps(record), encoding="utf-8")


def reasons(found: list[Artifact]) -> dict[str, str]:
    return {one.name: one.kept for one in found}


def test_what_is_kept_and_why(tmp_path: Path) -> None:
    for number in range(1, 8):
        make(
            tmp_path,
            f"datasets/{an_id(number)}",
            f"extends: {an_id(2)}\n" if number == 1 else "extends: ''\n",
        )
    make(tmp_path, f"models/{an_id(1)}")
    make(tmp_path, f"models/{an_id(2)}")
    text = f"training_data: gs://b/p/datasets/{an_id(3)}/pretraining_data\nstart_from: gs://b/p/models/{an_id(2)}/"
    make(tmp_path, f"models/{an_id(3)}", text, old=False)
    make(tmp_path, f"models/{an_id(4)}", f"training_data: /w/datasets/{an_id(4)}/pretraining_data\n")
    make(tmp_path, "models/somebody-elses")
    promote(tmp_path, 1, 1)
    found = survey(tmp_path, None, 90)
    assert {name: why for name, why in reasons(found).items() if why} == {
        f"datasets/{an_id(1)}": f"models/{an_id(1)} refers to it",
        f"datasets/{an_id(2)}": f"datasets/{an_id(1)} refers to it",
        f"datasets/{an_id(3)}": f"models/{an_id(3)} refers to it",
        f"models/{an_id(1)}": "is the promoted model of demo",
        f"models/{an_id(2)}": f"models/{an_id(3)} refers to it",
        f"models/{an_id(3)}": "changed within 90 days",
    }
    assert [one.name for one in found if not one.kept] == [
        *(f"datasets/{an_id(number)}" for number in (4, 5, 6, 7)),
        f"models/{an_id(4)}",
    ]
    size = sum(path.stat().st_size for path in (tmp_path / "datasets" / an_id(7)).rglob("*.*"))
    assert {one.bytes for one in found if one.name.endswith("7")} == {5 + size}
    assert all(why for why in reasons(survey(tmp_path, None, 101)).values())


def test_a_record_that_nobody_understands_lets_nothing_go(tmp_path: Path) -> None:
    make(tmp_path, f"models/{an_id(1)}")
    (tmp_path / "models" / "promoted.json").write_text("?")
    with pytest.raises(CorruptError):
        survey(tmp_path, None, 90)


@pytest.mark.parametrize(
    "upload", ["7", "[a]", "{bucket: b}", "{bucket: 7, prefix: p}", "{bucket: b, prefix: [", "\xff"]
)
def test_settings_that_are_damaged_let_nothing_go(tmp_path: Path, upload: str) -> None:
    make(tmp_path, f"datasets/{an_id(1)}")
    make(tmp_path, f"models/{an_id(2)}")
    path = tmp_path / "models" / an_id(2) / "config.yaml"
    path.write_bytes(f"{SETTINGS}upload: {upload}\n".encode("latin-1"))
    with pytest.raises(QaribError, match=r"config\.yaml.*\. ") as error:
        survey(tmp_path, None, 30)
    assert error.value.do


def test_a_damaged_manifest_is_no_obstacle(tmp_path: Path) -> None:
    make(tmp_path, f"models/{an_id(2)}")
    path = tmp_path / "models" / an_id(2) / "manifest.json"
    path.write_bytes(path.read_bytes()[:60] + b"\xff\xfe")
    os.utime(path, (OLD, OLD))
    assert reasons(survey(tmp_path, None, 30)) == {f"models/{an_id(2)}": ""}


def test_the_bucket(tmp_path: Path, bucket_name: str) -> None:
    """What is young in either place is young; what is deleted goes from both."""
    address = f"gs://{bucket_name}/prefix/"
    bucket = Bucket(address)
    for number in (1, 2):
        make(tmp_path, f"datasets/{an_id(number)}")
        bucket.write_text(f"datasets/{an_id(number)}/manifest.json", "{}")
    bucket.write_text(f"datasets/{an_id(1)}/pretraining_data/shard_0000.tfrecord", "12345")
    bucket.write_text("datasets/unknown/data", "12345")
    bucket.write_text(f"datasets/{an_id(1)}/NOTES.txt", "mine")
    assert [one.kept for one in survey(tmp_path, address, 90)] == ["changed within 90 days"] * 2
    later = time.time() + 91 * DAY
    first, second = survey(tmp_path, address, 90, now=later)
    assert (first.bytes - second.bytes, first.kept) == (5, "")
    delete(first, tmp_path, address)
    assert list(bucket.list()) == [
        f"datasets/{an_id(1)}/NOTES.txt",
        f"datasets/{an_id(2)}/manifest.json",
        "datasets/unknown/data",
    ]
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [an_id(2)]


def test_what_publishes_elsewhere_stays(tmp_path: Path, bucket_name: str) -> None:
    """The record of its promoted models is elsewhere too."""
    upload = "upload: {{bucket: {}, prefix: {}}}\n"
    make(tmp_path, f"datasets/{an_id(1)}", upload.format(bucket_name, "mine/"))
    make(tmp_path, f"datasets/{an_id(2)}", upload.format("other", "''"))
    make(tmp_path, f"datasets/{an_id(3)}", upload.format("''", "''"))
    make(tmp_path, f"models/{an_id(1)}", f"publish_to: gs://{bucket_name}/mine/models/{an_id(1)}/\n")
    make(tmp_path, f"models/{an_id(2)}", f"publish_to: gs://{bucket_name}/models/{an_id(2)}/\n")
    assert reasons(survey(tmp_path, f"gs://{bucket_name}/mine/", 90)) == {
        f"datasets/{an_id(1)}": "",
        f"datasets/{an_id(2)}": "publishes to gs://other/",
        f"datasets/{an_id(3)}": "",
        f"models/{an_id(1)}": "",
        f"models/{an_id(2)}": f"publishes to gs://{bucket_name}/",
    }


def test_fetched_sources(tmp_path: Path, bucket_name: str) -> None:
    """What was read lately stays, however long ago it was fetched."""
    bucket, cache = Bucket(f"gs://{bucket_name}/"), tmp_path / "cache" / "sources"
    for name in ("used.txt", "unused.txt"):
        bucket.write_text(name, "12345")
        (file,) = list_files(SourceConfig(name="text", path=f"gs://{bucket_name}/{name}"))
        path = fetch(file, cache).path
        os.utime(path, (OLD, OLD))
        if name == "used.txt":
            fetch(file, cache)
    kept, old = sorted(survey(tmp_path, None, 90), key=lambda one: not one.kept)
    assert (kept.name[-9:], kept.kept, kept.bytes) == ("-used.txt", "changed within 90 days", 5)
    assert (old.name[-11:], old.kept) == ("-unused.txt", "")
    delete(old, tmp_path, None)
    name = kept.name.removeprefix("cache/sources/")
    assert sorted(path.name for path in cache.iterdir()) == [name, f"{name}.json"]


def test_the_dag_deletes_only_when_told_to(
    tmp_path: Path,
    bucket_name: str,
    airflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import qarib_clean_up

    make(tmp_path, f"models/{an_id(1)}")
    make(tmp_path, f"models/{an_id(2)}", old=False)
    monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("QARIB_BUCKET", bucket_name)

    def run(**conf: Any) -> list[str]:
        assert qarib_clean_up.qarib_clean_up().test(run_conf=conf).state == "success"
        return sorted(path.name for path in (tmp_path / "models").iterdir())

    assert run() == [an_id(1), an_id(2)]
    assert f"models/{an_id(1)} (0.000 GB, last changed" in caplog.text
    assert "1 of 2 can be deleted" in caplog.text
    assert run(dry_run=False) == [an_id(2)]


def test_files_of_the_user_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, f"models/{an_id(1)}")
    folder = tmp_path / "models" / an_id(1)
    own = {
        "NOTES.txt": "mine",
        "export/onnx/model.onnx": "mine",
        "progress.json": '{"mine": 1}',
        "bert_model/checkpoint-5.safetensors": "mine",
        "more/data": "edited",
        "README.md": "# mine",
    }
    for name, text in own.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        os.utime(folder / name, (OLD, OLD))
    (one,) = survey(tmp_path, None, 90)
    assert "NOTES.txt" in str(one)
    assert len(one.others) == len(own)
    delete(one, tmp_path, None)
    left = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert left == own
    assert "qarib did not make" in caplog.text
    assert survey(tmp_path, None, 90) == []


def test_copies_in_folders_of_the_user_stay(tmp_path: Path, bucket_name: str) -> None:
    """What is in them looks like ours, because it was."""
    shutil.copytree(MADE_BEFORE, tmp_path, dirs_exist_ok=True)
    (model,) = (path for path in (tmp_path / "models").iterdir() if path.is_dir())
    (dataset,) = (path for path in (tmp_path / "datasets").iterdir())
    for artifact in (model, dataset):
        made = [path for path in artifact.iterdir() if path.name != "config.yaml"]
        for path in made:
            if path.is_dir():
                shutil.copytree(path, artifact / "backup" / path.name, dirs_exist_ok=True)
            else:
                (artifact / "backup").mkdir(exist_ok=True)
                shutil.copy(path, artifact / "backup")
    (model / "finetuned").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "bert_config.json"):
        shutil.copy(dataset / name, model / "finetuned")
    copies = [path for part in ("backup", "finetuned") for path in tmp_path.rglob(f"{part}/**/*")]
    own = {path: path.read_bytes() for path in copies if path.is_file()}
    address = f"gs://{bucket_name}/"
    bucket = Bucket(address)
    local = ("sources.json", "shards.json")  # are not published
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and path.name not in local):
        bucket.upload(path, path.relative_to(tmp_path).as_posix())
    for one in survey(tmp_path, address, 0, now=time.time() + DAY):
        assert one.others
        delete(one, tmp_path, address)
    left = {path: path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file()}
    left |= {path: path.read_bytes() for path in (tmp_path / "datasets").rglob("*") if path.is_file()}
    assert left == own
    names = {path.relative_to(tmp_path).as_posix() for path in own}
    assert set(bucket.list()) == {name for name in names if not name.endswith(local)}


def test_what_a_run_makes_before_and_beside_a_training_goes(tmp_path: Path) -> None:
    make(tmp_path, f"datasets/{an_id(1)}")
    make(tmp_path, f"models/{an_id(1)}")
    preview = tmp_path / "datasets" / an_id(1) / "preview.json"
    preview.write_text('[{"source": "a"}]\n')
    part = LabelledPart(("a", "b"), (0, 1))
    task = LabelledTask(name="t", metric="macro_f1", labels=("x", "y"), train=part, test=part)
    write_task(task, tmp_path / "models" / an_id(1) / "tasks" / "t.jsonl")
    (tmp_path / "models" / an_id(1) / "tasks" / "mine.jsonl").write_text("{}\n")
    left = []
    for one in survey(tmp_path, None, 0, now=time.time() + DAY):
        left += one.others
        delete(one, tmp_path, None)
    assert left == [f"models/{an_id(1)}/tasks/mine.jsonl"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.jsonl"]


def test_all_that_an_earlier_version_made_goes(tmp_path: Path) -> None:
    shutil.copytree(MADE_BEFORE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "sources.json").unlink()
    found = survey(tmp_path, None, 0, now=time.time() + DAY)
    assert [one.others for one in found] == [[], []]
    for one in found:
        delete(one, tmp_path, None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_labelled_tasks_go_and_other_files_beside_them_stay(tmp_path: Path, bucket_name: str) -> None:
    address = f"gs://{bucket_name}/prefix/"
    bucket, name = Bucket(address), f"models/{an_id(1)}"
    make(tmp_path, name)
    for task in ("mood", SOURCE):
        path = tmp_path / name / "tasks" / f"{task}.jsonl"
        write_task(words_task(task), path)
        bucket.upload(path, f"{name}/tasks/{task}.jsonl")
    own = path.with_name("mine.jsonl")
    own.write_text('{"text": "نص"}\n', encoding="utf-8")
    bucket.upload(own, f"{name}/tasks/mine.jsonl")
    (one,) = survey(tmp_path, address, 90, now=time.time() + 91 * DAY)
    delete(one, tmp_path, address)
    assert [path for path in (tmp_path / name).rglob("*") if path.is_file()] == [own]
    assert list(bucket.list()) == [f"{name}/tasks/mine.jsonl"]


def test_all_of_a_dataset_goes(tmp_path: Path) -> None:
    run = request(tmp_path)
    complete(run)
    (one,) = survey(tmp_path / "work", None, 0, now=time.time() + DAY)
    assert one.others == []
    delete(one, tmp_path / "work", None)
    assert not run.dataset.root.exists()

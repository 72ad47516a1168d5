"""The upload operator against the emulator.

Covers plugins/qarib_airflow/reporting/settings_link.py, plugins/qarib_airflow/tasks/shards.py,
plugins/qarib_airflow/tasks/training.py.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import NotFound
from qarib_airflow.errors import is_for_good
from qarib_airflow.publishing.upload import VerifiedUploadOperator

from qarib_tasks.errors import InputError, StorageError
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import FileRecord, Manifest


def upload(bucket: str, root: Path, *files: Path, **arguments: Any) -> list[str]:
    operator = VerifiedUploadOperator(
        task_id="upload",
        src=[str(file) for file in files],
        dst="prefix/",
        bucket=bucket,
        relative_to=str(root),
        **arguments,
    )
    return operator.execute({})


def generations(bucket: str) -> dict[str, int]:
    return {name: blob.generation for name, blob in Bucket(f"gs://{bucket}/").list().items()}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "pretraining_data" / name for name in ("shard_0000.tfrecord", "shard_0000.json")]
    files[0].parent.mkdir()
    for file in files:
        file.write_bytes(file.name.encode() * 1000)
    return files


def test_names_follow_the_folders(bucket_name: str, tmp_path: Path, files: list[Path]) -> None:
    names = ["prefix/pretraining_data/shard_0000.tfrecord", "prefix/pretraining_data/shard_0000.json"]
    assert upload(bucket_name, tmp_path, *files) == [f"gs://{bucket_name}/{name}" for name in names]
    assert list(generations(bucket_name)) == sorted(names)
    Bucket(f"gs://{bucket_name}/").download(names[0], tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == files[0].read_bytes()


def test_the_same_bytes_are_left_alone_and_others_are_not(
    bucket_name: str, tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    upload(bucket_name, tmp_path, *files)
    before = generations(bucket_name)
    upload(bucket_name, tmp_path, *files)
    assert generations(bucket_name) == before
    log = capsys.readouterr().out
    assert "0 files uploaded, 2 already" in log
    assert f"gs://{bucket_name}/prefix/pretraining_data/shard_0000.json already holds the same bytes" in log

    # The same size, other bytes.
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"!")
    upload(bucket_name, tmp_path, *files)
    changed = {name for name, generation in generations(bucket_name).items() if generation != before[name]}
    assert changed == {"prefix/pretraining_data/shard_0000.tfrecord"}


def test_a_missing_file_is_not_retried(bucket_name: str, tmp_path: Path, files: list[Path]) -> None:
    files[0].unlink()
    with pytest.raises(InputError, match=r"shard_0000\.tfrecord: no such file"):
        upload(bucket_name, tmp_path, *files)
    assert generations(bucket_name) == {}, "the manifest is there without what it speaks of"


def test_what_google_refuses_is_not_retried(bucket_name: str, tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(NotFound, match="404") as error:
        upload(f"{bucket_name}-not", tmp_path, *files)
    assert is_for_good(error.value)


def test_compression_on_the_way_is_refused(tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(ValueError, match="gzip"):
        upload("bucket", tmp_path, *files, gzip=True)


def test_bytes_changed_on_the_way_are_noticed(
    bucket_name: str, damaging_proxy: str, tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", damaging_proxy)
    with pytest.raises(StorageError, match="fails its checksum"):
        upload(bucket_name, tmp_path, files[0])


@pytest.fixture
def damaging_proxy(emulator_address: str) -> Iterator[str]:
    """Passes everything on to the emulator, with a byte of each upload changed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # The emulator would notice the checksum that the client sends, if it looked at it.
            body = body.replace(b"tfrecordshard_0000", b"tfrecordshard_0001", 1)
            host, _, token = emulator_address.removeprefix("http://").partition("/")
            connection = http.client.HTTPConnection(host)
            connection.request(self.command, f"/{token}{self.path}", body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"] or "")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_tfrecords_are_removed_once_they_are_up_and_then_not_missed(
    bucket_name: str, files: list[Path], tmp_path: Path
) -> None:
    tfrecord, manifest = files
    own = tmp_path / "pretraining_data" / "mine.tfrecord"
    own.write_bytes(b"of the user")
    upload(bucket_name, tmp_path, tfrecord, own, keep_local="False")
    assert (tfrecord.exists(), own.exists()) == (True, True), "no manifest of ours lists them"
    Manifest(kind="shard", id="shard_0000", outputs=[FileRecord.of(tfrecord)]).write(manifest)
    upload(bucket_name, tmp_path, *files)
    assert tfrecord.exists()
    upload(bucket_name, tmp_path, *files, keep_local="False")
    assert (tfrecord.exists(), manifest.exists()) == (False, True)
    before = generations(bucket_name)
    assert upload(bucket_name, tmp_path, *files) == [
        f"gs://{bucket_name}/prefix/pretraining_data/{file.name}" for file in files
    ]
    assert generations(bucket_name) == before

    Bucket(f"gs://{bucket_name}/").write_text("prefix/pretraining_data/shard_0000.tfrecord", "other bytes")
    with pytest.raises(InputError, match="no such file to upload"):
        upload(bucket_name, tmp_path, *files)


def test_a_published_dataset_links_to_its_settings(bucket_name: str) -> None:
    from qarib_airflow.reporting.settings_link import SavedSettingsLink
    from qarib_airflow.tasks.shards import PublishOperator

    operator = PublishOperator(
        task_id="publish",
        src=["/w/datasets/demo-0123456789/vocab.txt", "/w/datasets/demo-0123456789/manifest.json"],
        dst="a prefix/",
        bucket=bucket_name,
        relative_to="/w",
    )
    (link,) = operator.operator_extra_links
    address = "https://console.cloud.google.com/storage/browser/_details"
    assert isinstance(link, SavedSettingsLink)
    assert link.get_link(operator, ti_key=Any) == (
        f"{address}/{bucket_name}/a%20prefix/datasets/demo-0123456789/config.yaml"
    )


def test_a_trained_model_links_to_its_settings() -> None:
    from qarib_airflow.tasks.training import TrainerOperator

    config = {"workspace": "/w", "upload": {"bucket": "a-bucket", "prefix": "p/"}}
    run = {"config": config, "dataset_id": "demo-0123456789", "model_id": "demo-9876543210"}
    operator = TrainerOperator(task_id="export", command="export")
    (link,) = operator.operator_extra_links
    assert link.get_link(operator, ti_key=Any) == ""
    operator.run_values = run  # as it has read them when it ends
    assert link.get_link(operator, ti_key=Any).endswith("/a-bucket/p/models/demo-9876543210/config.yaml")

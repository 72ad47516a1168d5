"""The real command on a run with secrets everywhere: the file has none, and what helps is in it.

Covers qarib_tasks/cli/checking/bug_report.py.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from qarib_tasks.doctor.bug_report.collect import Folder
from tests.support.google.stand_in import GoogleStandIn, World
from tests.support.made_up_run import emulator_bucket
from tests.support.users.planted_secrets import FORMS, MORE, OTHER, SECRET, UNKNOWN

ROOT = Path(__file__).resolve().parents[3]
MODEL, DATASET = "demo-0123456789", "demo-00000000aa"
SAMPLE = "جملة من المدونة"
PLANTED = "hunter2-secret"  # in every text of UNKNOWN


def make(workspace: Path, publish_to: str | None = None) -> Path:
    """A model and its dataset, with secrets in settings, records, and logs."""
    model, dataset = workspace / "models" / MODEL, workspace / "datasets" / DATASET
    forms = [made(secret) for made in FORMS.values() for secret in (SECRET, OTHER)]
    log = "\n".join(f"12:00:{n % 60:02d} {text}\n" for n, text in enumerate([*forms, *UNKNOWN]))
    tpu = model / "tpu/manual__2026-11-22/qarib-manual-0123456789-1"
    job = {
        "training_data": f"https://me:{PLANTED}@example.org/data/",
        "publish_to": publish_to,
        "trained_on": [{"dataset_id": DATASET, "sources": [f"https://example.org/x?sig={PLANTED}"]}],
        "train": {"token_dropping": 0.25, "start_from": f"/models/{quote(SECRET, safe='')}"},
    }
    corpus = {"collect": {"sources": [{"name": "a", "path": f"https://h/a.txt?X-Goog-Signature={PLANTED}"}]}}
    files = {
        model / "config.yaml": yaml.safe_dump(job),
        model / "manifest.json": json.dumps({"id": MODEL, "made_by": "qarib", "sample": [SAMPLE]}),
        model / "progress.json": json.dumps(
            {"step": 1200, "error": f"cannot open {SECRET}", "state": "failed"}
        ),
        model / "train.log": f"{log}the training failed at step 1,200\n",
        model.joinpath("bert_evals/evaluation-5.json"): "{}",
        tpu.parent / "memory.json": json.dumps({"attempt": 1, "message": UNKNOWN[0]}),
        tpu / "worker-0.json": json.dumps({"name": "n", "state": "failed", "message": log}),
        tpu / "worker-0.log": f"{log}worker 0 is preempted\n",
        dataset / "manifest.json": json.dumps({"id": DATASET, "statistics": {"lines": 5}, "sample": SAMPLE}),
        dataset / "config.yaml": yaml.safe_dump(corpus),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return model


def report(run: str, output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    with_secrets = {
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps({"conn_type": "http", "password": SECRET}),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql://airflow:{OTHER}@db/airflow",
        "QARIB_SHARDS_AT_ONCE": "4",
        "NOT_ON_THE_LIST": "somebodys-value",
    }
    return subprocess.run(
        [sys.executable, "-m", "qarib_tasks.cli", "report-bug", run, "-o", str(output)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **with_secrets, **environment},
        cwd=output.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


def require_clean(text: str) -> None:
    """Fail if any secret is in a text, in any form."""
    for secret in (SECRET, OTHER):
        for name, made in FORMS.items():
            if name not in MORE:
                assert made(secret).strip("\"'") not in text, name
    assert PLANTED not in text
    for encoded in (base64.b64encode(PLANTED.encode()).decode()[:-2], PLANTED.encode().hex(), quote(PLANTED)):
        assert encoded not in text
    assert "somebodys-value" not in text
    assert SAMPLE not in text


def test_a_report_of_a_workspace_has_no_secret(tmp_path: Path) -> None:
    model, output = make(tmp_path / "work"), tmp_path / "report.md"
    answer = report(str(model), output)
    assert (answer.returncode, answer.stderr) == (0, "")
    text = output.read_text(encoding="utf-8")
    require_clean(text)
    for part in (
        *(
            "## Versions",
            "tensorflow ",
            "QARIB_SHARDS_AT_ONCE is 4",
            "GOOGLE_APPLICATION_CREDENTIALS is not set",
        ),
        *(
            '"step": 1200',
            "token_dropping: 0.25",
            "the training failed at step 1,200",
            "worker 0 is preempted",
        ),
        *(
            "tpu/manual__2026-11-22/memory.json",
            "worker-0.json",
            '"lines": 5',
            "bert_evals/evaluation-5.json",
        ),
    ):
        assert part in text, part
    assert text.count("***") > 2 * len(UNKNOWN)


def test_a_report_of_a_bucket_has_no_secret(tmp_path: Path, emulator_address: str) -> None:
    model = make(tmp_path / "work")
    bucket = emulator_bucket(emulator_address, "report-bug")
    bucket.create()
    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            bucket.blob(path.relative_to(tmp_path / "work").as_posix()).upload_from_filename(str(path))
    output = tmp_path / "report.md"
    answer = report(f"gs://report-bug/models/{model.name}", output, STORAGE_EMULATOR_HOST=emulator_address)
    assert answer.returncode == 0, answer.stderr
    text = output.read_text(encoding="utf-8")
    require_clean(text)
    assert emulator_address.rpartition("/")[2] not in text, "the token of the emulator"
    assert "worker 0 is preempted" in text
    assert f"gs://report-bug/datasets/{DATASET}/manifest.json" in text
    # From the workspace, what the TPU wrote to the bucket is found by the settings.
    local = make(tmp_path / "other", publish_to=f"gs://report-bug/models/{model.name}/")
    for path in (local / "tpu").rglob("*.log"):
        path.unlink()
    assert report(str(local), output, STORAGE_EMULATOR_HOST=emulator_address).returncode == 0
    text = output.read_text(encoding="utf-8")
    assert f"gs://report-bug/models/{MODEL}/tpu/manual__2026-11-22" in text
    require_clean(text)


def test_a_key_file_is_no_part_of_it(tmp_path: Path) -> None:
    model, output = make(tmp_path / "work"), tmp_path / "report.md"
    google = GoogleStandIn(World())
    google.server.server_close()
    key = google.key_file(tmp_path / "key.json")
    lines = json.loads(key.read_text(encoding="utf-8"))["private_key"].splitlines()[1:-1]
    (model / "train.log").write_text("Traceback\n" + "\n".join(f"  key line {line}" for line in lines))
    assert report(str(model), output, GOOGLE_APPLICATION_CREDENTIALS=str(key)).returncode == 0
    text = output.read_text(encoding="utf-8")
    assert text.count("key line ***") == len(lines)
    assert not any(line[:16] in text for line in lines)


def test_no_line_is_cut(tmp_path: Path) -> None:
    """The beginning of a secret could not be recognized."""
    model, output = make(tmp_path / "work"), tmp_path / "report.md"
    long = "x" * 7_990 + " " + OTHER
    line = f"{'y' * 60} {OTHER}\n"
    (model / "train.log").write_text(line * 1000 + f"{long}\nthe end\n")
    assert report(str(model), output).returncode == 0
    text = output.read_text(encoding="utf-8")
    assert f"(a line of {len(long):,} characters is left out)" in text
    assert "the end" in text
    assert not any(OTHER[:length] in text for length in (len(OTHER), 8))
    assert not any(OTHER[-length:] in text for length in (len(OTHER), 8))


def test_of_a_large_log_only_the_end_is_read(tmp_path: Path) -> None:
    with (tmp_path / "train.log").open("wb") as log:
        log.truncate(1 << 40)
        log.seek(0, os.SEEK_END)
        log.write(b"the end\n")
    (tmp_path / "link.log").symlink_to("/etc/passwd")
    (tmp_path / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.log")
    folder = Folder(tmp_path)
    assert folder.names() == {"train.log": (1 << 40) + 8}
    assert folder.read("train.log", 10) == b"\0\0the end\n"
    assert folder.read("pipe.log", 10) == folder.read("absent", 10) == b""


@pytest.mark.parametrize("content", ["my own notes", "# qarib bug report\n\nan older one"])
def test_only_an_older_report_is_replaced(tmp_path: Path, content: str) -> None:
    model, output = make(tmp_path / "work"), tmp_path / "report.md"
    output.write_text(content)
    answer = report(str(model), output)
    replaced = content.startswith("#")
    assert (answer.returncode == 0) == replaced, answer.stderr
    assert (output.read_text(encoding="utf-8") == content) != replaced


def test_what_is_no_run(tmp_path: Path) -> None:
    answer = report(str(tmp_path), tmp_path / "report.md")
    assert answer.returncode == 1
    assert f"qarib: error: {tmp_path}: is no folder of a model" in answer.stderr
    assert not (tmp_path / "report.md").exists()


def test_a_bucket_that_cannot_be_read_is_a_line_of_it(tmp_path: Path, emulator_address: str) -> None:
    model, output = make(tmp_path / "work", publish_to="gs://absent-bucket/models/x/"), tmp_path / "report.md"
    for environment in (
        {"NO_GCE_CHECK": "true", "HOME": str(tmp_path)},  # no credentials
        {"STORAGE_EMULATOR_HOST": emulator_address},  # no such bucket
    ):
        answer = report(str(model), output, **environment)
        assert (answer.returncode, "Traceback" in answer.stderr) == (0, False)
        text = output.read_text(encoding="utf-8")
        assert "## gs://absent-bucket/models/x/\n\n```\ncannot be read: " in text
        assert "the training failed at step 1,200" in text

"""What the preflight finds out before anything is made.

Covers plugins/qarib_airflow/errors.py.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qarib_airflow.errors import is_for_good
from qarib_airflow.preflight.checks import check_map_length
from qarib_airflow.preflight.deployment import deployment_defaults
from qarib_airflow.preflight.pretrain import preflight

from qarib_tasks.errors import ConfigError, InputError, StorageError
from qarib_tasks.runs.run import run_of_shard, save_settings
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of

CONNECTION = "google_cloud_default"


@pytest.fixture
def params(tmp_path: Path, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", f"{tmp_path}, /nowhere")
    monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path / "work"))
    monkeypatch.setenv("QARIB_ALLOWED_PREFIXES", f"gs://{bucket_name}/, gs://{bucket_name}-not")
    source = tmp_path / "source.txt"
    source.write_text("نص قصير\n" * 100, encoding="utf-8")
    return {
        "preset": "demo",
        "workspace": str(tmp_path / "work"),
        "sources": [{"name": "text", "path": str(source)}],
    }


def test_a_good_request_gets_its_names_and_leaves_nothing_in_the_bucket(
    params: dict[str, Any], bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = preflight(params | {"bucket": bucket_name, "vocab_size": 900}, CONNECTION)
    assert run.address == f"gs://{bucket_name}/"
    assert Bucket(run.address).list() == {}
    assert "vocab_size = 900   <- from the form\n" in caplog.text
    assert "max_seq_length = 64\n" in caplog.text
    assert run.dataset_id in caplog.text


def test_a_bucket_that_is_not_there_is_named(params: dict[str, Any], bucket_name: str) -> None:
    with pytest.raises(StorageError, match=f"gs://{bucket_name}-not/datasets/.*cannot write.*{CONNECTION}"):
        preflight(params | {"bucket": f"{bucket_name}-not"}, CONNECTION)


def test_a_refused_request_leaves_the_dataset_s_settings(params: dict[str, Any], bucket_name: str) -> None:
    """The tasks of its shards, the audit and the re-training read there where it is published."""
    run = preflight(params | {"bucket": bucket_name}, CONNECTION)
    assert not run.dataset.config.exists()  # Another run can be at work on the dataset.
    save_settings(run)
    saved = run.dataset.config.read_bytes()
    with pytest.raises(StorageError):
        preflight(params | {"bucket": f"{bucket_name}-not"}, CONNECTION)
    assert run.dataset.config.read_bytes() == saved
    other = preflight(params | {"bucket": bucket_name, "prefix": "other/"}, CONNECTION)
    assert other.dataset.config == run.dataset.config
    assert run.dataset.config.read_bytes() == saved
    save_settings(other)
    raw = run.dataset.shard("heldout/shards/shard_0000")
    found, name = run_of_shard(raw)
    assert (found.address, found.dataset_id, name) == (
        f"gs://{bucket_name}/other/",
        run.dataset_id,
        "heldout/shards/shard_0000",
    )
    assert found.dataset.shard(name) == raw


def test_labelled_tasks_are_checked_and_their_texts_kept(
    params: dict[str, Any], bucket_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lines = [f"{'' if number % 5 < 2 else f'نص {number}'},{'ab'[number % 2]}\n" for number in range(100)]
    (tmp_path / "good.csv").write_text("text,label\n" + "".join(lines), encoding="utf-8")
    (tmp_path / "bad.csv").write_text("text,label\n" + "".join([*lines, "وحيد,c\n"]), encoding="utf-8")
    good, bad = ({"name": name, "train": str(tmp_path / f"{name}.csv")} for name in ("good", "bad"))
    params |= {"bucket": bucket_name}
    wrong = [good, bad, {"name": "other", "train": "/etc/passwd"}]
    told = r"(?s)found 3 problems:.*bad\.csv, task bad: .*'c' \(1\).*/etc/passwd.*/missing"
    with pytest.raises(InputError, match=told):
        preflight(params | {"tasks": [*wrong, {"name": "none", "train": f"{tmp_path}/missing"}]}, CONNECTION)
    assert not list(tmp_path.rglob("*.jsonl"))
    run = preflight(params | {"tasks": [good]}, CONNECTION)
    assert "tasks = ['good']   <- from the form" in caplog.text
    assert "40 of 100 records (40.0%) have no text in field 'text'" in caplog.text
    assert "task good: 2 labels" in caplog.text
    assert run.model.task("good").is_file()
    assert "may be in the text" not in caplog.text
    assert preflight(params, CONNECTION).model_id == run.model_id
    by_task = {"tasks": [good], "promote_by": "task", "promote_task": "god"}
    with pytest.raises(
        ConfigError, match=r"by the task 'god', which the run does not have\. Set it to .* good,"
    ):
        preflight(params | by_task, CONNECTION)
    promotion = preflight(params | by_task | {"promote_task": None}, CONNECTION).config.promotion
    assert (promotion.promote_by, promotion.promote_task) == ("task", "")
    corpus = Manifest(
        kind="corpus",
        id="data",
        config={"sources": [{"name": "text"}]},
        statistics={"documents_read": 1},
    )
    corpus.write(manifest_of(run.dataset.data))
    preflight(params | {"tasks": [good]}, CONNECTION)
    assert f"test texts of the task good may be in the text of {run.dataset_id}" in caplog.text


def test_settings_far_outside_what_worked_elsewhere_are_warned_of(
    params: dict[str, Any], bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    preflight(params | {"bucket": bucket_name}, CONNECTION)
    assert "worked elsewhere" not in caplog.text
    preflight(params | {"bucket": bucket_name, "learning_rate": 1e-9}, CONNECTION)
    assert "train.learning_rate 1e-09 is far below what worked elsewhere" in caplog.text


def test_no_bucket_at_all(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="QARIB_BUCKET"):
        preflight(params, CONNECTION)


def test_a_missing_source_is_found_before_anything_is_made(params: dict[str, Any], bucket_name: str) -> None:
    params["sources"] = [{"name": "text", "path": "/nowhere/*.txt"}]
    with pytest.raises(InputError, match="/nowhere"):
        preflight(params | {"bucket": bucket_name}, CONNECTION)
    assert not Path(params["workspace"]).exists()


def test_a_form_does_not_open_the_machine(
    params: dict[str, Any], bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a source, and not by a workspace that would make it allowed."""
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", "")
    with pytest.raises(ConfigError, match=r"may not be read from .*source\.txt"):
        preflight(params | {"bucket": bucket_name}, CONNECTION)
    for workspace in ("", str(tmp_path / "deployment")):
        monkeypatch.setenv("QARIB_WORKSPACE", workspace)
        with pytest.raises(ConfigError, match="no workspace of this deployment"):
            preflight(params | {"bucket": bucket_name, "workspace": str(tmp_path)}, CONNECTION)


def test_only_the_deployment_s_workspaces_and_prefixes(
    params: dict[str, Any], bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a dataset of another team, and whatever else is at the place that is named."""
    params |= {"bucket": bucket_name}
    run = preflight(params, CONNECTION)
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "work", other)
    before = sorted(other.rglob("*"))
    asked = params | {"dataset": run.dataset_id, "first_step": "convert", "sources": None}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(other)
    told = set()
    for workspace in (
        *(str(other), str(tmp_path), "/", "/etc", "/etc/passwd", "other", "work/../other", "link", "~"),
        *(str(tmp_path / "none"), str(tmp_path / "work" / "datasets"), f"{tmp_path}/work/../other"),
    ):
        with pytest.raises(ConfigError, match="no workspace of this deployment") as error:
            preflight(asked | {"workspace": workspace}, CONNECTION)
        assert run.dataset_id not in str(error.value)
        told.add(str(error.value).partition(": ")[2])
    assert len(told) == 1, "whether the place exists is told"
    with pytest.raises(ConfigError, match="workspace: must not have a NUL character"):
        preflight(asked | {"workspace": "a\0b"}, CONNECTION)
    assert sorted(other.rglob("*")) == before
    # Another way to write an allowed one gives the same workspace.
    assert preflight(params | {"workspace": f"{tmp_path}/./work/"}, CONNECTION).config.workspace == str(
        tmp_path / "work"
    )
    monkeypatch.setenv("QARIB_ALLOWED_WORKSPACES", f"{other},")
    assert preflight(params | {"workspace": str(other)}, CONNECTION).config.workspace == str(other)


def test_only_the_deployment_s_prefixes(
    params: dict[str, Any], bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params |= {"bucket": bucket_name}
    monkeypatch.setenv("QARIB_ALLOWED_PREFIXES", f"gs://{bucket_name}/team-a")
    for prefix in ("", "team-b/", "team-ab/", "team-a", "x/team-a/"):
        with pytest.raises(ConfigError):
            preflight(params | {"prefix": prefix}, CONNECTION)
    for prefix in ("team-a/../team-b/", "team-a/./", "../"):
        with pytest.raises(ConfigError, match="plain names"):
            preflight(params | {"prefix": prefix}, CONNECTION)
    run = preflight(params | {"prefix": "team-a/one/"}, CONNECTION)
    assert run.address == f"gs://{bucket_name}/team-a/one/"
    both = r"(?s)1\. .*no workspace.*\n2\. gs://other/: .*not publish there"
    with pytest.raises(ConfigError, match=both):
        preflight(params | {"workspace": "/x", "bucket": "other"}, CONNECTION)
    # Nor is another prefix read.
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", "")
    secret = [{"name": "s", "path": f"gs://{bucket_name}/team-b/a.txt"}]
    with pytest.raises(ConfigError, match="may not be read from"):
        preflight(params | {"prefix": "team-a/", "sources": secret}, CONNECTION)


def test_the_deployment_sets_bucket_and_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployment_defaults() == {"workspace": None, "upload": {"bucket": None}, "tpu": {}}
    monkeypatch.setenv("QARIB_BUCKET", "from-environment")
    monkeypatch.setenv("QARIB_WORKSPACE", "/from/environment")
    monkeypatch.setenv("QARIB_TPU", "zones: [us-west4-a]")
    expected = {
        "workspace": "/from/environment",
        "upload": {"bucket": "from-environment"},
        "tpu": {"zones": ["us-west4-a"]},
    }
    assert deployment_defaults() == expected
    monkeypatch.setenv("AIRFLOW_VAR_QARIB_BUCKET", "from-variable")
    assert deployment_defaults()["upload"] == {"bucket": "from-variable"}
    monkeypatch.setenv("QARIB_WORKSPACE", "gs://bucket/folder")
    with pytest.raises(
        ConfigError, match=r"gs://bucket/folder: the workspace must be a folder.*qarib_bucket"
    ):
        deployment_defaults()


def test_the_deployment_limits_what_a_source_can_read(
    params: dict[str, Any], bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = params["sources"]
    given = params | {"bucket": bucket_name}
    high = given | {"sources": [source | {"most_listed": 50_000_000}]}
    with pytest.raises(ConfigError, match="`most_listed` is 50,000,000, and this deployment allows"):
        preflight(high, CONNECTION)
    tasks = [{"name": "t", "train": source["path"], "most_rows": 10**12}]
    with pytest.raises(ConfigError, match=r"`most_rows` is .*, and this deployment allows"):
        preflight(given | {"tasks": tasks}, CONNECTION)
    monkeypatch.setenv("QARIB_LIMITS", "most_listed: 50000000")
    assert preflight(high, CONNECTION).dataset_id


def test_everything_that_is_wrong_is_told_at_once(
    params: dict[str, Any], bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can never work decides that it is not tried again."""
    sources = [{"name": name, "path": f"/{name}/*.txt"} for name in ("nowhere", "neither")]
    wrong = params | {"bucket": f"{bucket_name}-not", "sources": sources}
    told = r"(?s)found 3 problems:\n1\. gs://.*\n2\. .*/nowhere.*\n3\. .*/neither"
    with pytest.raises(StorageError, match=told) as error:
        preflight(wrong, CONNECTION)
    assert is_for_good(error.value)

    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "3")
    many = params | {"bucket": bucket_name, "shard_lines": 1}
    with pytest.raises(ConfigError, match=r"found 2 problems:\n1\. .*max_map_length.*\n2\. .*GB are free"):
        preflight(many, CONNECTION)


def test_the_room_that_a_run_needs_is_logged(
    params: dict[str, Any], bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    preflight(params | {"bucket": bucket_name}, CONNECTION)
    assert re.search(r"The run needs about 0\.00 GB: text and raw shards .* GB are free", caplog.text)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"first_step": "train"}, "first_step 'train' needs an existing dataset"),
        ({"first_step": "convert"}, "first_step 'convert' needs an existing dataset"),
        (
            {"first_step": "collect", "dataset": "demo-0123456789"},
            "first_step 'collect' makes a new dataset",
        ),
        ({"dataset": "demo-0123456789"}, "no dataset 'demo-0123456789'"),
    ],
)
def test_the_first_step_and_the_dataset_go_together(
    params: dict[str, Any], bucket_name: str, typed: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, InputError), match=message):
        preflight(params | {"bucket": bucket_name} | typed, CONNECTION)


def test_too_many_shards_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    check_map_length(1024)
    with pytest.raises(ConfigError, match=r"max_map_length.*AIRFLOW__CORE__MAX_MAP_LENGTH=10000"):
        check_map_length(1172)
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "10000")
    check_map_length(1172)


def test_a_password_in_an_address_is_not_logged_and_not_saved(
    params: dict[str, Any], bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    params["sources"] = [{"name": "s", "path": "https://me:PASSWORD@host.example/a.txt?sig=SIGNATURE"}]
    with pytest.raises(ConfigError, match="has a password") as error:
        preflight(params | {"bucket": bucket_name}, CONNECTION)
    for secret in ("PASSWORD", "SIGNATURE"):
        assert secret not in caplog.text
        assert secret not in str(error.value)
    assert "https://***@host.example/a.txt?sig=***" in caplog.text
    assert not Path(params["workspace"]).exists()
    assert Bucket(f"gs://{bucket_name}/").list() == {}

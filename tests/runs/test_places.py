"""Where runs may keep and publish files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from qarib_tasks.cli.main import cli
from qarib_tasks.errors import ConfigError
from qarib_tasks.runs.places import PREFIXES_VARIABLE, WORKSPACES_VARIABLE, Places


def test_a_deployment_has_one_place_unless_it_lists_others(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places.of_deployment("/workspace", "bucket")
    assert places.workspace("/workspace/") == "/workspace"
    places.check_prefix("bucket", "")
    places.check_prefix("bucket", "any/folder/")
    places.check_prefix("", "")  # No bucket: another check says so.
    for bucket, prefix in (("bucket2", ""), ("bucke", "t/"), ("other", "bucket/")):
        with pytest.raises(ConfigError, match=f"gs://{bucket}/{prefix}: .*choose one of gs://bucket/"):
            places.check_prefix(bucket, prefix)
    monkeypatch.setenv(WORKSPACES_VARIABLE, "/a, /b/,")
    monkeypatch.setenv(PREFIXES_VARIABLE, "gs://bucket/a,gs://other/")
    places = Places.of_deployment("/workspace", "bucket")
    assert [places.workspace(one) for one in ("/workspace", "/a", "/b")] == ["/workspace", "/a", "/b/"]
    places.check_prefix("bucket", "a/")
    places.check_prefix("other", "x/")
    for prefix in ("", "ab/", "a/../b/", "b/a/", "/a/", "A/", "a"):
        with pytest.raises(ConfigError, match=PREFIXES_VARIABLE):
            places.check_prefix("bucket", prefix)
    with pytest.raises(ConfigError, match=PREFIXES_VARIABLE):
        places.check_prefix("bucket/a/..", "b/")
    for workspace in ("/a/sub", "/ab", "/", "/a\0", "/A", "a", "/a ", "/a/../c", "/workspace2", "\uff0fa"):
        with pytest.raises(ConfigError, match=WORKSPACES_VARIABLE):
            places.workspace(workspace)


def test_a_deployment_without_any_allows_none() -> None:
    places = Places.of_deployment("", "")
    with pytest.raises(ConfigError, match="qarib_workspace"):
        places.workspace("/anything")
    with pytest.raises(ConfigError, match="qarib_bucket"):
        places.check_prefix("bucket", "")


@pytest.mark.parametrize("entry", ["bucket/", "gs://", "s3://bucket/", "gs:///a/"])
def test_a_list_that_names_no_bucket(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIXES_VARIABLE, f"gs://bucket/, {entry}")
    with pytest.raises(ConfigError, match=PREFIXES_VARIABLE):
        Places.of_environment()


def test_a_command_is_restricted_only_by_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Places.of_environment().workspace("/anywhere") == "/anywhere"
    Places.of_environment().check_prefix("any", "where/")
    (tmp_path / "run.yaml").write_text(f"preset: demo\nworkspace: {tmp_path / 'work'}\n")
    monkeypatch.setenv(WORKSPACES_VARIABLE, "/elsewhere")
    ended = CliRunner().invoke(cli, ["run", "--config", str(tmp_path / "run.yaml")])
    assert "no workspace of this deployment" in str(ended.exception)
    assert not (tmp_path / "work").exists()

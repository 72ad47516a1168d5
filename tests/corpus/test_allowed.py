"""What a deployment lets sources name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.corpus.allowed import ALLOWED_VARIABLE, AllowedSources
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.sources import SourceFile, fetch, list_files
from qarib_tasks.errors import ConfigError
from qarib_tasks.labelled.reading import read_task
from qarib_tasks.runs.prepare import prepare


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "{allowed}/../secret.txt",
        "{allowed}/link.txt",
        "{allowed}/*.txt",
        "{allowed}*/secret.txt",
        "gs://other-bucket/a.txt",
        "gs://bucket-and-more/a.txt",
        "http://169.254.169.254/computeMetadata/v1/",
        "http://metadata.google.internal/",
        "https://host.example@evil.example/a.txt",
        "https://host.example.evil.example/a.txt",
        "https://host.example/%2e%2e/a.txt",
        "file:///etc/passwd",
        "local:///etc/passwd",
        "zip::file:///etc/passwd",
        "s3://bucket/a",
    ],
)
def test_what_is_not_allowed_is_not_read(tmp_path: Path, address: str) -> None:
    inside = tmp_path / "allowed"
    inside.mkdir()
    secret = tmp_path / "secret.txt"
    secret.write_text("secret\n")
    (inside / "link.txt").symlink_to(secret)
    allowed = AllowedSources.of([str(inside), "gs://bucket", "https://host.example/files"])
    source = SourceConfig(name="s", path=address.format(allowed=inside))
    with pytest.raises(ConfigError):
        list_files(source, allowed)
    config = resolve(
        {"workspace": str(tmp_path / "w"), "collect": {"sources": [{"name": "s", "path": source.path}]}}
    )
    with pytest.raises(ConfigError):
        prepare(config, allowed)


def test_the_workspace_the_sample_the_bucket_and_what_the_deployment_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOWED_VARIABLE, f"{tmp_path / 'more'}, https://host.example")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("a\n")
    allowed = AllowedSources.of_deployment([str(tmp_path / "work"), "gs://bucket/", str(SAMPLE)])
    assert list_files(SourceConfig(name="s", path=str(SAMPLE / "*.txt")), allowed)
    assert list_files(SourceConfig(name="s", path=str(tmp_path / "more" / "*.txt")), allowed)
    for good in (
        "gs://bucket/x",
        "https://host.example/x?y=1",
        "https://HOST.example",
        str(tmp_path / "work" / "x"),
    ):
        allowed.check(good)
    monkeypatch.delenv(ALLOWED_VARIABLE)
    with pytest.raises(ConfigError, match="may not be read"):
        AllowedSources.of_deployment([str(tmp_path / "work"), "gs://bucket/", str(SAMPLE)]).check(
            "https://host.example/x"
        )


@pytest.mark.parametrize(
    "address", ["gs://", "gs:///a.txt", "GS://bucket/a.txt", "http://", "https:///a.txt", "https://[1/a.txt"]
)
def test_an_address_without_a_host_is_an_error_before_anything_is_asked(address: str) -> None:
    with pytest.raises(ConfigError, match=r"missing or invalid|unsupported"):
        list_files(SourceConfig(name="s", path=address))
    assert not AllowedSources.of(["https://host.example/"]).allows(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "https://user:PASS@host.example/a.txt",
            "https://PASS@host.example/a.txt",
            "gs://u:PASS@bucket/a.txt",
        ),
        *("https://host.example/a?X-Goog-Signature=PASS", "https://host.example/a?sig=PASS&b=1"),
        *("https://host.example/a?token=PASS", "HTTP://host.example/a?Key=PASS"),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_written(address: str, tmp_path: Path) -> None:
    """Before anything is read, and wherever an address is a setting."""
    work, good = tmp_path / "work", tmp_path / "a.txt"
    good.write_text("نص\n")
    listed = ({"name": "s", "path": address},)
    values: dict[str, Any] = {"preset": "demo", "workspace": str(work)}
    for changes in (
        {"collect": {"sources": listed}},
        {"collect": {"sources": ({"name": "s", "path": str(good)},)}, "vocab": {"vocab_file": address}},
        {"collect": {"sources": ({"name": "s", "path": str(good)},)}, "train": {"start_from": address}},
    ):
        with pytest.raises(ConfigError, match="a password, a key, or a signature") as error:
            prepare(resolve(values | changes))
        assert "PASS" not in str(error.value)
    with pytest.raises(ConfigError, match="a password, a key, or a signature"):
        read_task(TaskConfig(name="t", train=address), tmp_path / "cache")
    config = resolve(values | {"collect": {"sources": listed}}).collect
    with pytest.raises(ConfigError, match="a password, a key, or a signature"):
        collect(config, tmp_path / "data.txt", heldout=None, random_seed=0)
    # An earlier version can have written it to its plan.
    with pytest.raises(ConfigError, match="a password, a key, or a signature"):
        fetch(SourceFile(address, 7), tmp_path / "cache")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"PASS" in path.read_bytes()]
    assert written == []

"""What a deployment lets sources name."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.deployment.limits import Limits
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.corpus.allowed import ALLOWED_VARIABLE, LIMITED, AllowedSources, limited
from qarib_tasks.corpus.collect import collect, collect_source
from qarib_tasks.corpus.preview.preview import preview
from qarib_tasks.corpus.sources import SourceFile, fetch, list_files
from qarib_tasks.errors import ConfigError, InputError
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
    "path",
    [
        *("../x", "%2e%2e/x", "..%2fx", ".%2E/x", "%252e%252e/x", "%25252e%25252e/x", "a/../../x", "//../x"),
        *("..\\x", "..%5cx", "a/..;b=c/x", "..;/x", ".\t./x", "%25252525252e%2e/x"),
    ],
)
def test_an_address_that_a_server_can_take_for_one_outside(path: str) -> None:
    allowed = AllowedSources.of(["https://host.example/team-a/", "gs://bucket/team-a"])
    for address in ("https://host.example/team-a/", "gs://bucket/team-a/"):
        allowed.check(f"{address}x..y/..a/%20.txt")
        assert not allowed.allows(f"{address}{path}")
        assert not allowed.allows(address.replace("team-a/", "team-ab/"))


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


@pytest.fixture
def packed(tmp_path: Path) -> SourceConfig:
    """A source that unpacks to 100,000 bytes."""
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress("كلمة وكلمة\n".encode() * 5000))
    return SourceConfig(name="s", path=str(path))


def read(source: SourceConfig, allowed: AllowedSources | None) -> None:
    """Read it as each of the steps does."""
    config = CollectConfig(sources=(source,))
    folder = Path(source.path).parent
    out = folder / "out" / "data.txt"
    out.parent.mkdir(exist_ok=True)
    preview(config, source, allowed)
    collect_source(config, "s", out, allowed=allowed)
    collect(config, out, heldout=None, random_seed=1, allowed=allowed)


def test_a_source_reads_no_more_than_the_deployment_allows(packed: SourceConfig, tmp_path: Path) -> None:
    read(packed, None)
    shutil.rmtree(tmp_path / "out")
    allowed = AllowedSources((tmp_path,), limits=Limits(most_bytes=10_000))
    config = CollectConfig(sources=(packed,))
    listed = list_files(packed, allowed)
    out = tmp_path / "out" / "data.txt"
    out.parent.mkdir()
    steps: list[Callable[[], object]] = [
        lambda: preview(config, packed, allowed, files=listed),
        lambda: collect_source(config, "s", out, allowed=allowed, files={"s": listed}),
        lambda: collect(config, out, heldout=None, random_seed=1, allowed=allowed, files={"s": listed}),
    ]
    for step in steps:
        with pytest.raises(InputError, match="unpacks to more than 10,000 bytes"):
            step()


def test_a_task_reads_no_more_than_the_deployment_allows(tmp_path: Path) -> None:
    path = tmp_path / "task.tsv.gz"
    path.write_bytes(
        gzip.compress(b"text\tlabel\n" + "".join(f"نص {n}\ta\nغير {n}\tb\n" for n in range(500)).encode())
    )
    config = TaskConfig(name="t", train=str(path), text="text", label="label")
    read_task(config, tmp_path / "cache")
    allowed = AllowedSources((tmp_path,), limits=Limits(most_bytes=1_000))
    with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
        read_task(config, tmp_path / "cache", allowed)


def test_a_limit_above_the_deployment_s_is_refused(packed: SourceConfig, tmp_path: Path) -> None:
    allowed = AllowedSources.of_deployment([str(tmp_path)])
    for name in LIMITED:
        most = getattr(Limits(), name)
        raised = replace(packed, **{name: most})
        assert limited(raised, allowed) == raised
        above = replace(packed, **{name: most + 1})
        assert limited(above, None) == above
        with pytest.raises(ConfigError, match=f"`{name}` is .* this deployment allows .*QARIB_LIMITS"):
            read(above, allowed)


def test_listing_stops_at_the_deployment_s_limit(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("نص\n")
    source = SourceConfig(name="s", path=f"{tmp_path}/*.txt")
    assert len(list_files(source, AllowedSources((tmp_path,)))) == 20
    with pytest.raises(InputError, match="more than 10 files"):
        list_files(source, AllowedSources((tmp_path,), limits=Limits(most_listed=10)))

"""The preview of the sources in the preflight's log."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from qarib_airflow.preflight import sources
from qarib_airflow.preflight.pretrain import preflight
from qarib_airflow.preflight.sources import preview_sources

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.dataset.ledger import ConsumedFile, write_plan
from qarib_tasks.errors import InputError
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import manifest_of
from tests.support.collecting import CASES, SENTENCES

CONNECTION = "google_cloud_default"


def run_on(tmp_path: Path, *paths: Path, **settings: Any) -> Run:
    listed = [{"name": f"s{i}", "path": str(path), **settings} for i, path in enumerate(paths)]
    values = {"workspace": str(tmp_path / "work"), "collect": {"sources": listed}}
    return prepare(from_dict(RunConfig, values), save=False)


def anywhere(tmp_path: Path) -> AllowedSources:
    return AllowedSources.of([str(tmp_path), str(CASES), "http://127.0.0.1/"])


def test_each_source_is_a_folded_group(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "qarib_airflow")
    paths = [CASES / "c3-quotes.tsv", CASES / "e11-mojibake.txt"]
    run = run_on(tmp_path, *paths)
    preview_sources(run, anywhere(tmp_path))
    told = [record.getMessage() for record in caplog.records if record.name == sources.__name__]
    starts = [place for place, line in enumerate(told) if line.startswith("::group::")]
    assert [told[place] for place in starts] == [
        f"::group::Preview of s0: {paths[0]}: 1 file, 572 bytes",
        f"::group::Preview of s1: {paths[1]}: 1 file, 1.2 KiB",
    ]
    assert told.count("::endgroup::") == 2
    assert f"  document 1 \u2068{SENTENCES[0]}\u2069" in told[starts[0] : starts[1]]
    # Nobody unfolds a group to find a warning.
    assert any(
        record.levelname == "WARNING" and "damaged earlier" in record.getMessage()
        for record in caplog.records
    )
    saved = json.loads(run.dataset.preview.read_text(encoding="utf-8"))
    assert [each["source"] for each in saved] == ["s0", "s1"]
    assert saved[0]["documents"][0]["before"] == SENTENCES[0]


def test_what_collecting_would_refuse_fails_the_preflight(
    tmp_path: Path, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", f"{tmp_path},{CASES}")
    monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path / "work"))
    monkeypatch.setenv("QARIB_BUCKET", bucket_name)
    listed = [
        {"name": "encoding", "path": str(CASES / "e1-cp1256.txt")},
        {"name": "column", "path": str(CASES / "c3-quotes.tsv"), "field": "tweet"},
    ]
    params = {"preset": "demo", "workspace": str(tmp_path / "work"), "bucket": bucket_name, "sources": listed}
    with pytest.raises(
        InputError, match=r"(?s)found 2 problems.*windows-1256.*no column 'tweet'.*id, lang, text"
    ):
        preflight(params, CONNECTION)


def test_a_collected_dataset_is_not_previewed(tmp_path: Path) -> None:
    run = run_on(tmp_path, CASES / "e1-cp1256.txt")
    manifest_of(run.dataset.data).write_text("{}")
    preview_sources(run, anywhere(tmp_path))
    assert not run.dataset.preview.exists()


def test_a_file_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    run = run_on(tmp_path, CASES / "c3-quotes.tsv")
    run.dataset.preview.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"preview\.json: exists and was not made by qarib"):
        preview_sources(run, anywhere(tmp_path))
    assert run.dataset.preview.read_text(encoding="utf-8") == "mine"
    run.dataset.preview.unlink()
    for _ in range(2):
        preview_sources(run, anywhere(tmp_path))


def test_time_is_bounded_and_what_is_not_previewed_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that accepts connections and never answers."""
    caplog.set_level("INFO", "qarib_airflow")
    table = CASES / "c3-quotes.tsv"
    # So that the time is not for the imports.
    preview_sources(run_on(tmp_path / "before", table, CASES / "c4-semicolon.csv"), anywhere(tmp_path))
    run = run_on(tmp_path, table, CASES / "c4-semicolon.csv", CASES / "c6-empty-cells.csv")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.txt"
        files = [ConsumedFile.of("s0", SourceFile(address, 9))]
        files += [ConsumedFile.of(name, SourceFile(str(table), 572)) for name in ("s1", "s2")]
        write_plan(run.dataset.sources, files)
        allowed = AllowedSources.of([str(CASES), address.removesuffix("a.txt")])
        start = time.monotonic()
        preview_sources(run, allowed, seconds=6)
        assert time.monotonic() - start < 60  # Without the limit, minutes.
        assert "No time for a preview of s0; qarib preview shows it" in caplog.text
        assert [each["source"] for each in json.loads(run.dataset.preview.read_text())] == ["s1", "s2"]
        preview_sources(run, allowed, seconds=0)
        assert "No time for a preview of s0, s1, s2" in caplog.text


def test_what_may_work_later_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on(tmp_path, CASES / "c3-quotes.tsv")
    address = "http://127.0.0.1:9/a.txt"
    write_plan(run.dataset.sources, [ConsumedFile.of("s0", SourceFile(address, 9))])
    preview_sources(run, AllowedSources.of(["http://127.0.0.1:9/"]))
    assert "s0: no preview: http://127.0.0.1:9/a.txt: cannot download" in caplog.text

    def broken(*arguments: Any, **settings: Any) -> None:
        raise ZeroDivisionError("a bug of the preview")

    monkeypatch.setattr("qarib_tasks.corpus.preview.preview.preview", broken)
    preview_sources(run, AllowedSources.of(["http://127.0.0.1:9/"]))
    assert "s0: no preview: a bug of the preview" in caplog.text

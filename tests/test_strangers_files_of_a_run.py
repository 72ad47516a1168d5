"""`qarib run` changes no file that is not ours: as tests/test_strangers_files.py, for a whole run."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.machines.local import LocalProcessBackend
from tests.support.strangers import MADE_BEFORE, STRANGERS, is_random, listed, place, text, texts, watched


@pytest.fixture
def run_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a run whose trainer fails at once: its files are in tests/train/test_strangers.py."""
    backend = partial(LocalProcessBackend, program=("false",))
    monkeypatch.setattr("qarib_tasks.machines.local.LocalProcessBackend", backend)
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    texts(tmp_path)
    lines = text().splitlines(keepends=True)
    documents = "\n".join("".join(lines[start : start + 6]) for start in range(0, len(lines), 6))
    (tmp_path / "in" / "a.txt").write_text(documents, encoding="utf-8")
    (tmp_path / "run.yaml").write_text(
        f"preset: demo\nworkspace: work\nvocab: {{vocab_size: 400, placeholders: 8}}\n"
        f"convert: {{dupe_factor: 1}}\nsplit: {{shard_lines: 60}}\n"
        f"collect: {{heldout_share: 0.3, sources: [{{name: a, path: {tmp_path}/in/a.txt}}]}}\n",
        encoding="utf-8",
    )
    return tmp_path / "run.yaml"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in listed(folder) if (folder / name).is_file()}


def run_in(folder: Path, config: Path, capture: pytest.CaptureFixture[str]) -> str:
    """Run in a folder; returns the path that the run is refused for, or "train" if it gets there."""
    os.chdir(folder)
    capture.readouterr()
    assert run_command(["run", "--config", str(config)]) == 1
    (error,) = [each for each in capture.readouterr().err.splitlines() if each.startswith("qarib: error: ")]
    assert "internal error" not in error
    return error.removeprefix("qarib: error: ").partition(": ")[0]


def names_of_a_run(folder: Path, config: Path, capture: pytest.CaptureFixture[str]) -> set[str]:
    """Every name that a run writes, and those of 3ef437a, also the trainer's."""
    with watched(folder) as found:
        assert run_in(folder, config, capture) == "train"
    names = {name for name in found if not any(map(is_random, Path(name).parts))}
    model, dataset = ((folder / "work" / kind).iterdir() for kind in ("models", "datasets"))
    own = {"models": next(model), "datasets": next(dataset)}
    for kind, new in own.items():
        (old,) = (each for each in (MADE_BEFORE / kind).iterdir() if each.is_dir())
        names |= {f"work/{kind}/{new.name}/{name}" for name in listed(old)}
    names |= {f"work/datasets/{own['datasets'].name}/data.sources/a.txt", "work/cache/sources/a"}
    for name in [name for name in names if "/train." in name]:
        names |= {name.replace("/train.", "/evaluate."), name.replace("/train.", "/export.")}
    return {name for name in names if not any(other.startswith(f"{name}/") for other in names)}


@pytest.mark.parametrize("content", STRANGERS[:2])
def test_a_run_is_refused_before_it_writes(
    tmp_path: Path, run_config: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    left = names_of_a_run(tmp_path / "run", run_config, capsys)
    number = len(left)
    while True:
        folder = tmp_path / str(len(left))
        folder.mkdir()
        for name in left:
            place(folder, name, content, False)
        before = contents(folder)
        where = run_in(folder, run_config, capsys)
        if where == "train":
            break
        assert contents(folder) == before, f"refused for {where} after it wrote"
        refused = {name for name in left if f"{name}/".startswith(f"{where}/")}
        assert refused, where
        left -= refused
    assert {name: (folder / name).read_bytes() for name in left} == dict.fromkeys(left, content)
    assert len(left) < number / 2


EDITED = (
    *("data.txt", "data.txt.report.html", "heldout/data.txt", "vocab.txt", "tokenizer.json"),
    *("tokenizer_config.json", "bert_config.json", "config.yaml", "sources.json", "manifest.json"),
)


def test_what_was_edited_since_a_run_stays(
    tmp_path: Path, run_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names_of_a_run(tmp_path / "run", run_config, capsys)
    for number, name in enumerate(EDITED):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "run", folder)
        (dataset,) = (folder / "work" / "datasets").iterdir()
        (dataset / name).write_bytes(STRANGERS[0])
        before = contents(folder)
        where = run_in(folder, run_config, capsys)
        after = contents(folder)
        if where == "train":
            kept = [each for each in after if (dataset / name).parent == (folder / each).parent]
            assert STRANGERS[0] in [after[each] for each in kept], name
        else:
            assert where.endswith(name), where
            assert after == before, name

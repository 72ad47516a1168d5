"""`qarib track`: trainings that ended, published with what their files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.tracking.wandb_offline import rows, written_summary
from tests.support.tracking.models import make_model, write_history


def test_trainings_that_ended_are_published_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = []
    for name, state in (("one", "finished"), ("two", "stopped")):
        _, folder = make_model(tmp_path / name)
        write_history(folder, 1, 100, state=state)
        folders.append(str(folder))
    command = ["track", *folders, "--wandb", str(tmp_path / "out")]
    assert run_command([*command[:2], *command[3:]]) == 0
    assert capsys.readouterr().out == "demo-00000000bb: finished; 10 new values for Weights & Biases\n"
    assert run_command([*command[:2], *command[3:]]) == 0
    assert capsys.readouterr().out == "demo-00000000bb: finished; 0 new values for Weights & Biases\n"
    assert [step for step, _ in rows(tmp_path / "out", "demo-00000000bb")] == [1, 100]
    other = ["track", folders[1], "--wandb", str(tmp_path / "other")]
    assert run_command(other) == 0
    assert capsys.readouterr().out.startswith("demo-00000000bb: killed; ")
    assert run_command([*other, "--state", "failed"]) == 0
    state = {"qarib.state": ""}
    assert written_summary(tmp_path / "other", "demo-00000000bb", state) == {"qarib.state": "failed"}


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QARIB_TRACKING", raising=False)
    _, folder = make_model(tmp_path)
    assert run_command(["track", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "no tracker is set" in error
    assert "QARIB_TRACKING" in error
    monkeypatch.setenv("QARIB_TRACKING", f"wandb: {tmp_path / 'out'}")
    assert run_command(["track", str(tmp_path)]) == 1
    assert f"{tmp_path}/config.yaml: no settings of a training" in capsys.readouterr().err
    assert run_command(["track", str(folder), "--mlflow", "ftp://example.org"]) == 1
    assert "--mlflow" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

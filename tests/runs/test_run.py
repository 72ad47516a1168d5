"""A run, read again from its dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.config.loading import dump_yaml
from qarib_tasks.config.run import PromotionConfig
from qarib_tasks.errors import InputError
from qarib_tasks.runs.run import run_of_dataset, write_settings
from tests.support.datasets import request


def test_a_dataset_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    run = request(tmp_path)
    with pytest.raises(InputError, match=f"Choose one of: {run.dataset_id}"):
        run_of_dataset(Path(run.config.workspace), "demo-0123456789")
    again = run_of_dataset(Path(run.config.workspace), run.dataset_id)
    assert (again.config, again.dataset_id) == (run.config, run.dataset_id)


def test_settings_that_were_edited_are_kept(tmp_path: Path) -> None:
    run = request(tmp_path)
    path = run.dataset.config
    other = replace(run.config, promotion=PromotionConfig(promotion_margin=0.5))
    written = path.read_bytes()
    write_settings(path, run.config)
    assert path.read_bytes() == written
    write_settings(path, other)
    write_settings(path, run.config)
    assert path.read_bytes() == written
    assert [file.name for file in path.parent.glob("config*")] == ["config.yaml"]
    edited = path.read_text(encoding="utf-8").replace("promotion_margin: 0.02", "promotion_margin: 0.03")
    path.write_text(edited, encoding="utf-8")
    write_settings(path, run.config)
    assert path.with_name("config.yaml.changed-1").read_text(encoding="utf-8") == edited
    # A file of an earlier version has no digest. What it wrote itself has its form.
    path.write_text(dump_yaml(other), encoding="utf-8")
    write_settings(path, run.config)
    path.write_text("# mine\n" + dump_yaml(other), encoding="utf-8")
    write_settings(path, run.config)
    kept = path.with_name("config.yaml.changed-2").read_text(encoding="utf-8")
    assert kept.startswith("# mine\n")
    assert path.read_bytes() == written


def test_settings_of_another_program_are_refused(tmp_path: Path) -> None:
    run = request(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="not made by qarib"):
        write_settings(path, run.config)
    assert path.read_text(encoding="utf-8") == "name: mine\n"

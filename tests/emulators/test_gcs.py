"""The files of the Cloud Storage emulator. Covers qarib_tasks/emulators/gcs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.emulators import gcs
from qarib_tasks.errors import InputError


def test_a_log_of_another_origin_is_refused(tmp_path: Path) -> None:
    log = gcs.open_log(tmp_path / "buckets")
    with log.open("a", encoding="utf-8") as file:
        file.write("a line\n")
    text = log.read_text(encoding="utf-8")
    assert gcs.open_log(tmp_path / "buckets") == log
    assert log.read_text(encoding="utf-8") == text
    log.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="not made by qarib"):
        gcs.open_log(tmp_path / "buckets")
    assert log.read_text(encoding="utf-8") == "mine"


def test_the_log_is_beside_the_folder_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "buckets").mkdir()
    monkeypatch.chdir(tmp_path / "buckets")
    for folder in (".", "../buckets", str(tmp_path / "buckets")):
        assert gcs.open_log(Path(folder)) == tmp_path / "buckets.qarib-emulator.log"
    with pytest.raises(InputError, match="/: is no folder for buckets"):
        gcs.open_log(Path("/"))

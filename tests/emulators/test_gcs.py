"""The files and commands of the Cloud Storage emulator.

Covers qarib_tasks/emulators/gcs.py and qarib_tasks/cli/emulators.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ports import free_ports

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


def test_the_commands_show_no_token(tmp_path: Path) -> None:
    """That of the emulator keeps it in a file, which that of another port reads."""
    (port, other), folder = free_ports(2), tmp_path / "my buckets"
    start = [sys.executable, "-c", "from qarib_tasks.cli.emulators import emulate_command; emulate_command()"]
    emulate = [*start, "gcs", "--folder", str(folder), "--port", str(port)]
    process = subprocess.Popen(emulate, stdout=subprocess.PIPE, text=True)
    gate = None
    try:
        assert process.stdout is not None
        line, path = process.stdout.readline(), gcs.token_file(folder)
        token = path.read_text().strip()
        assert path.stat().st_mode & 0o777 == 0o600
        assert token not in line
        script = f'{line}\ncurl -sf "$STORAGE_EMULATOR_HOST/storage/v1/b?project=x"'
        assert subprocess.run(["bash", "-c", script], check=True, capture_output=True).stdout
        # As in Docker Compose. This upstream wants the token, too, so that its answer shows the way.
        command = [*start, "gcs-gate", "--upstream", f"127.0.0.1:{port}", "--port", str(other)]
        gate = subprocess.Popen([*command, "--token-file", str(path)])
        url = gcs.address(other, token)
        curl = "curl -s --retry 99 --retry-connrefused --retry-delay 1"
        shell = ["bash", "-c", f"{curl} http://127.0.0.1:{other}/{token}/; {curl} {url}/{token}/storage/v1/b"]
        refused, answered = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split(
            "{", 1
        )
        assert "needs its token" in refused
        assert "storage#buckets" in answered
        for pid in (process.pid, gate.pid):
            assert token not in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        for one in filter(None, (process, gate)):
            os.kill(one.pid, signal.SIGTERM)
            one.communicate()

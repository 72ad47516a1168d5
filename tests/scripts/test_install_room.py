"""What `make install` says before it begins."""

from __future__ import annotations

from pathlib import Path

import install_room
import pytest

LOCK = """# made by make lock
a==1 \\
    --hash=sha256:0
b[c]==2 ; python_version < '3.12' \\
    --hash=sha256:1
"""


def test_the_size_is_said_and_too_small_a_disk_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "dev.txt"
    lock.write_text(LOCK)
    folder = tmp_path / "not yet" / ".venv"
    assert install_room.main(folder, lock, 0.001) == 0
    assert "Installing 2 packages into" in capsys.readouterr().out
    assert install_room.main(folder, lock, 1e9) == 1
    assert f"{tmp_path} has only " in capsys.readouterr().out

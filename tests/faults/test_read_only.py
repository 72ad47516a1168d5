"""A workspace that cannot be written: one line says which, and what to do, and nothing in it changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.loading import to_dict
from qarib_tasks.errors import TrainingError
from qarib_tasks.machines.backend import Work
from tests.support.datasets import request, write_documents

ROOT = os.geteuid() == 0
# A user who may read what root may, such as the interpreter, and write nothing: modes do not hold root.
ANOTHER = [
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
    "--inh-caps",
    "+dac_read_search",
    "--ambient-caps",
    "+dac_read_search",
    "--bounding-set",
    "-all,+dac_read_search",
]
MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def command(kind: str, workspace: Path, *words: str) -> list[str]:
    """A command of `qarib` for which the workspace is read-only."""
    own = [sys.executable, "-m", "qarib_tasks.cli", *words]
    if kind == "mount":
        return [
            "unshare",
            "--mount",
            *([] if ROOT else ["--map-root-user"]),
            "sh",
            "-c",
            MOUNTED,
            str(workspace),
            *own,
        ]
    return [*(ANOTHER if ROOT else []), *own]


def names(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder whose path every user can follow."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("kind", ["modes", "mount"])
@pytest.mark.parametrize("made", ["nothing", "the dataset"])
def test_the_error_is_one_line_with_a_remedy(shared: Path, kind: str, made: str) -> None:
    write_documents(shared / "text.txt", 0, 150)
    run = request(shared, shared / "text.txt", vocab={"vocab_size": 300}, split={"shard_lines": 300})
    workspace = Path(run.config.workspace)
    workspace.mkdir(exist_ok=True)

    def stop(work: Work) -> None:
        raise TrainingError("as far as here")

    if made == "the dataset":
        with pytest.raises(TrainingError, match="as far as here"):
            pipeline.run_all(run, stop)
        shutil.rmtree(workspace / "cache", ignore_errors=True)
    config = shared / "run.yaml"
    config.write_text(json.dumps(to_dict(run.config)))
    if not ROOT and kind == "modes":
        for path in (workspace, *workspace.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    before = names(workspace)
    ended = subprocess.run(
        command(kind, workspace, "run", "--config", str(config)),
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
        env=os.environ | {"TMPDIR": "/tmp"},
    )
    said = [line for line in ended.stderr.splitlines() if line.startswith("qarib: ")]
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert len(said) == 1, ended.stderr
    assert f"{workspace}/" in said[0]
    what, do = {
        "modes": ("Permission denied", "Change the permissions, or choose another path"),
        "mount": ("Read-only file system", "Choose a folder that you can write to"),
    }[kind]
    assert f"{what}. {do}" in said[0]
    assert names(workspace) == before

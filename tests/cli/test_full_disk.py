"""A full disk: one line with the path, and what was there before stays.

The limit on the size of files stands for the size of the disk. Covers qarib_tasks/cli/failures.py.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from qarib_tasks.config.presets import SAMPLE

BYTES = 60_000


def qarib(arguments: str, folder: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {"PYTHONPATH": str(SAMPLE.parent), "TMPDIR": str(folder / "temporary")}
    command = [sys.executable, "-m", "qarib_tasks.cli", *arguments.split()]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, preexec_fn=limited
    )


@pytest.mark.parametrize(
    ("small", "large", "where"),
    [
        (
            "collect small.txt -o out/data.txt",
            "collect small.txt large.txt -o out/data.txt --no-deduplicate",
            "out/data",
        ),
        ("split small.txt out/shards", "split large.txt out/shards", "out/shards/shard_0000"),
        (
            "vocab -i small.txt -o out/vocab.txt -s 200 --placeholders 4",
            "vocab -i large.txt -o out/vocab.txt -s 2000 --placeholders 4 --replace",
            "temporary",
        ),
        (
            "vocab -i small.txt -o out/vocab.txt -s 200 --placeholders 4",
            "vocab -i large.txt -o out/vocab.txt -s 2000 --recipe published --replace",
            "out",
        ),
    ],
    ids=["collect", "split", "vocab", "vocab published"],
)
def test_what_was_there_stays(tmp_path: Path, small: str, large: str, where: str) -> None:
    text = (SAMPLE / "muwatta.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "small.txt").write_text("".join(text[:60]), encoding="utf-8")
    (tmp_path / "large.txt").write_text("".join(text[:3000]), encoding="utf-8")
    (tmp_path / "vocab.txt").write_bytes(
        (SAMPLE.parent / "tests/data/pretraining_data/vocab.txt").read_bytes()
    )
    (tmp_path / "temporary").mkdir()
    done = qarib(small, tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = qarib(large, tmp_path, BYTES)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("qarib: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"qarib: error: {where}") or lines[0].startswith(
        f"qarib: error: {tmp_path}/{where}"
    )
    assert "File too large" in lines[0]
    assert "Traceback" not in done.stderr
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    outputs = [path for path in before if path.suffix != ".json"]
    assert {path: after.get(path) for path in outputs} == {path: before[path] for path in outputs}
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert not list((tmp_path / "temporary").iterdir())

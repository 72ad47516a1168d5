"""Where the compiled code is kept.

Covers qarib_tasks/conversion/compile_ahead.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numba
from qarib_tasks.conversion.compiled import cache_folder, source_stamp
from qarib_tasks.conversion.compiled.random_numbers import new_generator, next_word
next_word(new_generator(1))
print(cache_folder(), sum(next_word.stats.cache_hits.values()), numba.config.CPU_NAME)
"""
PACKAGE = Path(__file__).resolve().parents[3] / "qarib_tasks"


def run(root: Path, **environment: str) -> tuple[Path, int, str]:
    variables = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    variables.pop("NUMBA_CPU_NAME", None)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=variables, cwd=root
    )
    assert result.returncode == 0, result.stderr
    folder, hits, cpu = result.stdout.split()
    return Path(folder), int(hits), cpu


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what has to be there, with nothing compiled."""
    target = tmp_path / "root" / "qarib_tasks"
    needed = ("__init__", "errors", "storage/__init__", "storage/tfrecord", "conversion/__init__")
    modules = [PACKAGE / f"{name}.py" for name in needed]
    for path in [*modules, *(PACKAGE / "conversion/compiled").glob("*.py")]:
        place = target / path.relative_to(PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path / "root"


def test_compiled_once_for_any_cpu_and_found_again(copy: Path, tmp_path: Path) -> None:
    beside = copy / "qarib_tasks" / "conversion" / "compiled" / "__pycache__"
    folder, hits, cpu = run(copy)
    assert (folder.parent, hits, cpu) == (beside, 0, "generic")
    assert run(copy) == (folder, 1, "generic")
    # What is prepared is read, wherever else could be written.
    (folder / "complete").touch()
    assert run(copy, NUMBA_CACHE_DIR=str(tmp_path / "given")) == (folder, 1, "generic")
    # A change in any file of the package makes other code.
    (copy / "qarib_tasks" / "conversion" / "compiled" / "instances.py").write_text("x = 1\n")
    changed, hits, _ = run(copy)
    assert changed != folder
    assert hits == 0
    # So does a change in the module that its constants are from.
    with (copy / "qarib_tasks" / "storage" / "tfrecord.py").open("a") as file:
        file.write("# changed\n")
    again, hits, _ = run(copy)
    assert again not in (folder, changed)
    assert hits == 0


def test_where_the_sources_cannot_be_written(copy: Path, tmp_path: Path) -> None:
    # A file where the folder would be: nobody, root neither, can write there.
    (copy / "qarib_tasks" / "conversion" / "compiled" / "__pycache__").write_text("")
    given = tmp_path / "given"
    folder, hits, _ = run(copy, NUMBA_CACHE_DIR=str(given))
    assert (folder.parent, hits) == (given, 0)
    assert run(copy, NUMBA_CACHE_DIR=str(given))[1] == 1
    folder, _, _ = run(copy, XDG_CACHE_HOME=str(tmp_path / "cache"), NUMBA_CACHE_DIR="")
    assert folder.parent == tmp_path / "cache" / "qarib"
    folder, _, _ = run(copy, XDG_CACHE_HOME="/dev/null", NUMBA_CACHE_DIR="")
    assert folder.name.startswith("qarib-compiled-")
    assert not folder.exists()

"""What the import of TensorFlow and Keras leaves out, and that it can be imported afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
# Imports what is installed, as the two libraries do.
LIBRARY = """
import gc
collects, found = gc.isenabled(), []
for name in ("sklearn", "jax"):
    try:
        __import__(name)
        found.append(name)
    except ImportError:
        pass
"""
PROGRAM = """
import gc, importlib, json, sys
from qarib_tasks.train.libraries import import_quickly
import_quickly()
import_quickly()
result = {}
for name in ("keras", "tensorflow"):
    try:
        module = importlib.import_module(name)
        result[name] = [module.found, module.collects, type(module.__loader__).__name__]
    except ValueError as error:
        result[name] = str(error)
import jax, sklearn
print(json.dumps(result | {"collects": gc.isenabled(), "frozen": gc.get_freeze_count() > 0}))
"""


def run(program: str, *folders: Path, **environment: str) -> str:
    path = os.pathsep.join(map(str, (*folders, REPOSITORY)))
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def made_up(folder: Path, keras: str = LIBRARY, backend: str = "tensorflow") -> dict[str, Any]:
    files = {"keras": keras, "tensorflow": LIBRARY, "sklearn": "", "jax": ""}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return json.loads(run(PROGRAM, folder, KERAS_BACKEND=backend))


def test_installed_packages_are_left_out(tmp_path: Path) -> None:
    expected = [[], False, "SourceFileLoader"]
    assert made_up(tmp_path) == {"keras": expected, "tensorflow": expected, "collects": True, "frozen": True}


def test_on_jax_keras_gets_it(tmp_path: Path) -> None:
    assert made_up(tmp_path, backend="jax")["keras"][0] == ["jax"]


def test_an_import_that_fails_leaves_nothing_changed(tmp_path: Path) -> None:
    result = made_up(tmp_path, keras="raise ValueError('broken')")
    assert (result["keras"], result["collects"]) == ("broken", True)


def test_the_libraries_work_without_them() -> None:
    program = """
import sys
from qarib_tasks.train.runtime import choose_backend
choose_backend("tensorflow")
import keras
import tensorflow as tf
assert float(keras.ops.sum(keras.ops.ones(3))) == 3
print([name for name in ("sklearn", "jax") if name in sys.modules])
"""
    assert run(program) == "[]\n"

"""The order of the folders, their sizes, and that every module has its test."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_FILES = 14
MOST_FILES_AT_THE_TOP = 6
MOST_LINES = 400
# One import against each contract: where it is added, and what it imports.
SEEDS = {
    "no_airflow": ("qarib_tasks.progress", "airflow"),
    "tasks_layers": ("qarib_tasks.registry.clean_up", "qarib_tasks.tpu.job"),
    "bridge_layers": ("qarib_airflow.forms.retrain", "qarib_airflow.publishing.assets"),
    "trainer_alone": ("qarib_tasks.train.loop", "qarib_tasks.conversion.verify"),
    "page_reads": ("qarib_tasks.views.files", "qarib_tasks.vocabulary.words"),
    "no_circles": ("qarib_tasks.corpus.sources", "qarib_tasks.corpus.collect"),
}


def python_files() -> list[Path]:
    folders = ("qarib_tasks", "plugins", "dags", "scripts", "benchmarks", "tests")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_an_import_against_each_contract_is_found(tmp_path: Path) -> None:
    """In a copy, inside a function, where a linter that only looks at the top of a file finds nothing."""
    for package in ("qarib_tasks", "plugins/qarib_airflow"):
        shutil.copytree(ROOT / package, tmp_path / Path(package).name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    names = {contract["id"]: contract["name"] for contract in settings["contracts"]}
    assert names.keys() == SEEDS.keys()
    for place, imported in SEEDS.values():
        with (tmp_path / f"{place.replace('.', '/')}.py").open("a") as file:
            file.write(f"\n\ndef seeded() -> None:\n    import {imported}\n")
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    found = result.stdout.partition("Broken contracts")[2]
    for contract, (place, imported) in SEEDS.items():
        # The part of the report between the contract's name and the next underlined one.
        part = re.split(r"\n.*\n-+\n", found.partition(f"{names[contract]}\n-")[2])[0]
        if contract == "no_circles":
            place, imported = (f".{name.rpartition('.')[2]}" for name in (place, imported))
        assert f"{place} -> {imported} (" in part, (contract, found)


def test_no_folder_and_no_file_is_too_large() -> None:
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in python_files())
    assert folders["qarib_tasks"] <= MOST_FILES_AT_THE_TOP
    assert {folder: files for folder, files in folders.items() if files > MOST_FILES} == {}
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in python_files()}
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}


def test_every_module_has_its_test() -> None:
    """In the file of tests that mirrors it, or in one that names it: `Covers qarib_tasks/x/y.py.`"""
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    named: set[str] = set()
    for path in tests:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        named.update(re.findall(r"[\w/]+\.py", text.partition("\nCovers ")[2]))
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in python_files()
        if path.relative_to(ROOT).parts[0] in ("qarib_tasks", "plugins") and path.name != "__init__.py"
    }
    assert named <= modules, "a file of tests covers what is not there"
    mirrored = {path.relative_to(ROOT / "tests").as_posix() for path in tests}
    missing = [module for module in sorted(modules - named) if mirror(module) not in mirrored]
    assert missing == []


def mirror(module: str) -> str:
    """tests/... of a module: without qarib_tasks/, and with plugins/ for plugins/qarib_airflow/."""
    folder, _, name = module.rpartition("/")
    folder = folder.replace("plugins/qarib_airflow", "plugins").removeprefix("qarib_tasks").removeprefix("/")
    return f"{folder}/test_{name}" if folder else f"test_{name}"

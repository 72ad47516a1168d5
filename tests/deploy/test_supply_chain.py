"""What is installed is what the locks name, by checksum; base images are pinned; the SBOM lists it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.deploy.locks import locked

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
UV = REPOSITORY / "qarib_tasks" / "tpu" / "machine" / "uv.txt"
DIGEST = r"@sha256:[0-9a-f]{64}"


@pytest.mark.parametrize("path", [*LOCKS, UV], ids=lambda path: path.stem)
def test_every_package_of_a_lock_has_checksums_and_the_version_that_is_tested(path: Path) -> None:
    assert len(LOCKS) == 7
    tested = locked(REQUIREMENTS / "dev.txt")
    tested["tensorflow-cpu"] = [(version, []) for version, _ in tested["tensorflow"]]
    for name, versions in locked(path).items():
        for version, hashes in versions:
            assert hashes, f"{name} has no checksum"
            # The server has an environment and pins of its own.
            assert (
                name not in tested or path.stem == "mlflow" or version in {known for known, _ in tested[name]}
            ), name
        # A TPU's machine has its own library; the SBOM is made in an environment of its own.
        assert name in tested or path.stem in ("tpu", "sbom", "mlflow"), f"no test runs with {name}"


def test_what_is_installed_from_a_lock_is_compared_with_its_checksums() -> None:
    commands = []
    for name in ("Makefile", "Dockerfile"):
        text = (REPOSITORY / name).read_text(encoding="utf-8").replace("\\\n", " ")
        commands += re.findall(r"pip install[^&\n]*", text)
    from_locks = [command for command in commands if ".txt" in command or "$(FILE_uv)" in command]
    assert len(from_locks) == 9
    assert all("--require-hashes" in command for command in from_locks), from_locks
    # The others: this project without its dependencies, and wheels for slow tests, which differ by machine.
    others = {re.sub(r"\s+", " ", command) for command in commands if command not in from_locks}
    assert all(" --no-deps " in command or "/torch.in" in command for command in others), others


def test_the_environment_of_the_tests_has_no_grammar_that_is_read_at_each_import() -> None:
    """With it, every import of Airflow takes 2.5 seconds more."""
    assert not {"lark", "rfc3987-syntax"} & set(locked(REQUIREMENTS / "dev.txt"))


def test_base_images_are_named_by_digest_and_can_be_others() -> None:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(rf"^ARG PYTHON_IMAGE=python:3\.12-slim-bookworm{DIGEST}$", text, re.MULTILINE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages == {"${PYTHON_IMAGE}"}
    services = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    images = {service["image"] for service in services.values()}
    for image in images - {"${QARIB_IMAGE:-qarib:latest}"}:
        assert re.fullmatch(rf"\$\{{QARIB_[A-Z]+_IMAGE:-[a-z/-]+:[\w.-]+{DIGEST}\}}", image), image
    assert len(images) == 4


def test_the_sbom_lists_what_the_lock_lists(tmp_path: Path) -> None:
    """With the checksums, and with the same bytes each time."""
    made = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = ["make", "--assume-old=install", "sbom", f"VENV={sys.prefix}", f"SBOM_FOLDER={folder}"]
        command.append(f"SBOM_VENV={tmp_path / 'venv'}")
        subprocess.run(
            [*command, "SBOM_LOCKS=train", "SBOM_FLAGS=--no-validate"],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        made.append((folder / "train.json").read_bytes())
    assert made[0] == made[1]
    listed = [
        (
            component["name"],
            component["version"],
            [entry["content"] for source in component["externalReferences"] for entry in source["hashes"]],
        )
        for component in json.loads(made[0])["components"]
    ]
    wanted = locked(REQUIREMENTS / "train.txt")
    assert sorted(listed) == sorted((name, *one) for name, versions in wanted.items() for one in versions)

"""The image's and the deployment's files: linted, and by the compose specification's own schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent


def call(*command: str, **environment: str) -> str:
    ended = subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def compose(profile: str) -> dict[str, Any]:
    """docker-compose.yaml as docker-compose reads it: checked against the schema, all values filled in."""
    text = call(
        *("docker-compose", "--profile", profile, "config", "--format", "json"), QARIB_PROFILE=profile
    )
    return dict(json.loads(text))


def test_dockerfile() -> None:
    call("hadolint", "--failure-threshold", "style", "Dockerfile")


@pytest.mark.parametrize("profile", ["emulators", "gcp"])
def test_every_service_is_hardened(profile: str) -> None:
    services = compose(profile)["services"]
    assert ({"gcs", "tpu"} <= set(services)) == (profile == "emulators")
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert not [key for key in service.get("environment", {}) if key.endswith(("PASSWORD", "_KEY"))], name
    environment = services["worker-1"]["environment"]
    assert ("STORAGE_EMULATOR_HOST" in environment) == (profile == "emulators")


def test_airflow_starts_after_what_it_needs() -> None:
    services = compose("emulators")["services"]
    for name in ("scheduler", "dag-processor", "triggerer", "worker-1", "worker-2"):
        conditions = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert conditions["api-server"] == "service_healthy"
        assert conditions["postgres"] == "service_healthy"
        assert conditions["init"] == "service_completed_successfully"


def test_secrets_are_made_once(tmp_path: Path) -> None:
    for folder in ("airflow", "postgres", "redis"):
        (tmp_path / folder).mkdir()
    command = [sys.executable, str(REPOSITORY / "deploy" / "compose" / "make_secrets.py")]
    environment = os.environ | {"QARIB_SECRETS": str(tmp_path)}
    subprocess.run(command, env=environment, check=True)
    files = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 9
    # The second time after a death between two files: what was there stays, what was missing is made.
    lost = tmp_path / "airflow" / "broker_url"
    lost.unlink()
    subprocess.run(command, env=environment, check=True)
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == files
    password = (tmp_path / "postgres" / "password").read_text()
    assert f":{password}@postgres" in (tmp_path / "airflow" / "sql_alchemy_conn").read_text()
    assert (tmp_path / "airflow" / "fernet_key").stat().st_mode & 0o777 == 0o400

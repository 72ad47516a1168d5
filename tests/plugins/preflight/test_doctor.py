"""The DAG that checks the deployment, with the connection's key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qarib_airflow.preflight.doctor import check_deployment

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.errors import ConfigError
from tests.support.datasets import CONNECTION
from tests.support.google.stand_in import ACCOUNT, MACHINE, GoogleStandIn, World, standing_in

VARIABLE = "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStandIn]:
    """An Airflow whose connection has the key of a service account."""
    with standing_in(World()) as one, TpuEmulator(tmp_path / "tpu") as emulator:
        key = one.key_file(tmp_path / "key.json").read_text(encoding="utf-8")
        extra = {"keyfile_dict": json.loads(key), "project": "my-project"}
        monkeypatch.setenv(VARIABLE, json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))
        for name, value in {
            "QARIB_GOOGLE_APIS": one.address,
            "CLOUD_TPU_EMULATOR_HOST": emulator.endpoint,
            "QARIB_BUCKET": "my-bucket",
            "QARIB_WORKSPACE": str(tmp_path),
            "QARIB_TPU": f"{{zones: [us-central1-a], service_account: {MACHINE}}}",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        yield one


def run() -> Any:
    import qarib_check

    return qarib_check.qarib_check().test()


def test_the_dag_succeeds_and_its_log_has_each_line(
    google: GoogleStandIn, airflow_database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert run().state == "success"
    assert f"credentials      serviceAccount:{ACCOUNT}" in caplog.text
    assert "bucket           gs://my-bucket: can be read and written" in caplog.text
    assert "0 faults, 0 warnings, 20 ok" in caplog.text


def test_the_dag_fails_with_what_is_missing(
    google: GoogleStandIn, airflow_database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    google.world.permissions.clear()
    google.world.buckets.clear()
    assert run().state == "failed"
    assert "do: gcloud projects add-iam-policy-binding my-project" in caplog.text
    with pytest.raises(ConfigError) as found:
        check_deployment(CONNECTION)
    assert "bucket: gs://my-bucket: does not exist; roles: my-project: " in str(found.value)


def test_no_connection_and_no_key(google: GoogleStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"keyfile_dict": {"type": "service_account"}, "project": "my-project"}
    monkeypatch.setenv(VARIABLE, json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))
    with pytest.raises(ConfigError, match="default: no usable credentials: the key has no 'private_key'"):
        check_deployment(CONNECTION)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigError, match=r"no such connection.*airflow connections add google"):
        check_deployment("google_cloud_default")


def test_the_emulators_of_the_demo_are_green(
    bucket_name: str, airflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TpuEmulator(tmp_path / "tpu") as emulator:
        monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", emulator.endpoint)
        monkeypatch.setenv("QARIB_BUCKET", bucket_name)
        monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path))
        assert run().state == "success"

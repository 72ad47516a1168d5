"""Versions, disk, clock, and credentials.

Covers qarib_tasks/doctor/machine.py, qarib_tasks/doctor/connection.py, qarib_tasks/doctor/apis.py,
qarib_tasks/doctor/result.py, qarib_tasks/doctor/tpu.py.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.apis import CredentialsError, GoogleApis, RefusedError, UnreachableError
from qarib_tasks.doctor.connection import check_clock, check_credentials
from qarib_tasks.doctor.deployment import default_login
from qarib_tasks.doctor.machine import check_disk, check_versions
from qarib_tasks.doctor.result import Result, summary
from qarib_tasks.doctor.tpu import check_offers
from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.tpu.api.client import CloudTpuClient
from tests.support.google.stand_in import ACCOUNT, GoogleStandIn


def test_another_version_than_locked(tmp_path: Path) -> None:
    lock, click = tmp_path / "airflow.txt", importlib.metadata.version("click")
    lock.write_text(f"click=={click} \\\n    --hash=sha256:{'0' * 64}\nnot-installed==1\n")
    assert [(one.state, "1 package as locked" in one.what) for one in check_versions(lock, True)] == [
        ("ok", True)
    ]
    lock.write_text("click==1.2.3 \\\n")
    (one,) = check_versions(lock, True)
    assert (one.state, f"click {click}, locked 1.2.3" in one.what) == ("warning", True)
    assert "not compared" in check_versions(tmp_path / "absent.txt", False)[0].what


def test_a_folder_and_none() -> None:
    assert check_disk("", None)[0].state == "warning"
    (one,) = check_disk("/proc/absent/below", None)
    assert one.state == "fault"  # No room, or no permission: it is no disk.


@pytest.mark.parametrize(
    ("ahead", "state", "said"),
    [
        (0, "ok", ""),
        (-40, "warning", "ahead of"),
        (40, "warning", "after"),
        (-400, "fault", "400 seconds ahead"),
    ],
)
def test_the_clock(google: GoogleStandIn, ahead: int, state: str, said: str) -> None:
    google.world.ahead = ahead
    reached, clock = check_clock(GoogleApis(None, google.address))
    assert (reached.state, clock.state) == ("ok", state)
    assert said in clock.what


def test_credentials(google: GoogleStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.key_file(tmp_path / "key.json")))
    credentials, project = default_login()
    assert project == "my-project"
    (one,), member = check_credentials(credentials)
    assert (one.state, member) == ("ok", f"serviceAccount:{ACCOUNT}")
    google.world.ahead = 7200
    (one,), member = check_credentials(default_login()[0])
    assert (one.state, member) == ("fault", "")
    assert "Invalid JWT" in one.what
    assert "PRIVATE KEY" not in str(one)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(CredentialsError, match=r"absent\.json"):
        default_login()


def test_answers_that_are_errors(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.services.remove("iam.googleapis.com")
    with pytest.raises(RefusedError) as found:
        apis.get("iam", "v1/projects/-/serviceAccounts/a@b")
    assert (found.value.code, found.value.disabled) == (403, "iam.googleapis.com")
    with pytest.raises(UnreachableError, match="cannot be reached from this machine"):
        GoogleApis(None, "http://127.0.0.1:9").get("storage", "storage/v1/b/x")


def test_zones_and_types(emulated_tpu: TpuEmulator) -> None:
    client = CloudTpuClient("my-project", endpoint=emulated_tpu.endpoint)

    def states(**settings: object) -> list[tuple[str, str]]:
        return [(one.subject, one.state) for one in check_offers(client, TpuConfig(**settings))]  # type: ignore

    assert states(zones=("us-central1-b",)) == [("TPU type", "fault"), ("runtime version", "ok")]
    fitting = {"accelerator_type": "v6e-8", "zones": ("us-east5-b",)}
    assert states(**fitting, runtime_version="v2-alpha-tpuv6e") == [
        ("TPU type", "ok"),
        ("runtime version", "ok"),
    ]
    assert states(**fitting)[1] == ("runtime version", "fault")
    assert states(accelerator_type="v99-8") == [("TPU type", "fault")]
    (one, *_) = check_offers(client, TpuConfig(zones=("mars-west1-a",)))
    assert (one.state, "mars-west1-a" in str(one)) == ("fault", True)
    client.close()


def test_a_line_holds_no_secret() -> None:
    one = Result(
        "fault", "bucket", "https://me:hunter2@host/x\nnext", "where", "curl https://h/?token=hunter3"
    )
    assert str(one) == (
        "fault    bucket           where: https://***@host/x next\n"
        "                          do: curl https://h/?token=***"
    )
    assert summary([one, Result("ok", "a", "b")]) == "1 fault, 0 warnings, 1 ok"

"""The bucket: absent, another's, not shown, and the regions."""

from __future__ import annotations

from typing import Any

import pytest

from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.doctor.bucket import check_bucket, check_emulated_bucket, check_machine, check_region
from qarib_tasks.doctor.result import Result
from qarib_tasks.storage.bucket import default_client
from tests.support.google.stand_in import ACCOUNT, MACHINE, OBJECTS, GoogleStandIn

ME = f"serviceAccount:{ACCOUNT}"
NUMBER = "123456789012"
OWN: dict[str, Any] = {"location": "US-CENTRAL1", "projectNumber": NUMBER}


def checked(apis: GoogleApis, name: str = "my-bucket") -> list[Result]:
    return check_bucket(apis, name, "my-project", NUMBER, ME, ("us-central1-a",))


def test_none_and_one_that_does_not_exist(apis: GoogleApis) -> None:
    assert "QARIB_BUCKET" in checked(apis, "")[0].do
    (one,) = checked(apis, "nobodys")
    assert one.do.startswith(
        "gcloud storage buckets create gs://nobodys --location=us-central1 --project=my-pr"
    )


@pytest.mark.parametrize(
    ("permissions", "metadata", "state", "command"),
    [
        # The role Storage Object Admin does not show the bucket itself.
        (OBJECTS, None, "warning", "--role=roles/storage.legacyBucketReader"),
        # Denied by everyone looks the same: it may be the project's own.
        (set(), None, "fault", "--role=roles/storage.objectAdmin"),
        (OBJECTS - {"storage.objects.delete"}, OWN, "fault", "--role=roles/storage.objectAdmin"),
        (OBJECTS, {**OWN, "projectNumber": "999"}, "warning", "gs://my-project-qarib"),
    ],
)
def test_what_the_account_may_do(
    apis: GoogleApis,
    google: GoogleStandIn,
    permissions: set[str],
    metadata: dict[str, Any] | None,
    state: str,
    command: str,
) -> None:
    google.world.buckets["my-bucket"] = (set(permissions), metadata)
    first = checked(apis)[0]
    assert (first.state, command in first.do) == (state, True), first


@pytest.mark.parametrize(
    ("found", "zones", "states"),
    [
        ({"location": "US"}, ["us-central1-a", "us-west4-a"], ["ok"]),
        ({"location": "EU"}, ["us-central1-a"], ["fault"]),
        ({"location": "NAM4"}, ["us-east1-d"], ["ok"]),
        ({"location": "NAM4"}, ["us-west4-a"], ["fault"]),
        ({"location": "US-CENTRAL1"}, ["us-central1-a", "europe-west4-b"], ["warning"]),
        (
            {"location": "US", "customPlacementConfig": {"dataLocations": ["EUROPE-WEST4", "EUROPE-WEST1"]}},
            ["europe-west4-b"],
            ["ok"],
        ),
        ({"location": "US-CENTRAL1"}, [], []),
    ],
)
def test_regions(found: dict[str, Any], zones: list[str], states: list[str]) -> None:
    assert [one.state for one in check_region(found, zones, "my-bucket", "my-project")] == states


def test_an_emulators_bucket(emulator_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator_address)
    client = default_client()
    (absent,) = check_emulated_bucket("doctor-absent", "", client)
    assert absent.state == "fault"
    bucket = client.bucket("doctor-empty")
    bucket.create()
    states = [(one.subject, one.state) for one in check_emulated_bucket("doctor-empty", "p/", client)]
    assert states == [("bucket", "ok"), ("bucket's region", "warning")]
    assert list(bucket.list_blobs()) == [], "the object of the test stays"
    assert check_emulated_bucket("", "", client)[0].state == "fault"


def test_whether_the_machines_can_write(apis: GoogleApis, google: GoogleStandIn) -> None:
    command = f"--member=serviceAccount:{MACHINE} --role=roles/storage.objectAdmin"

    def checked() -> tuple[str, bool]:
        (one,) = check_machine(apis, "my-bucket", MACHINE)
        return one.state, command in one.do

    assert checked() == ("ok", False)
    google.world.writers = [f"serviceAccount:{ACCOUNT}"]
    assert checked() == ("warning", True)
    google.world.denied.add("storage.buckets.getIamPolicy")
    assert checked() == ("warning", True)
    google.world.denied.clear()
    assert check_machine(apis, "absent", MACHINE) == []

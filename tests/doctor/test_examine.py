"""The real command on ten broken deployments, on one that works, and on the emulators alone.

Covers qarib_tasks/cli/checking/doctor.py, qarib_tasks/doctor/deployment.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.google.deployment import Checked, lines
from tests.support.google.stand_in import ACCOUNT, MACHINE, SPOT
from tests.support.google.wheels import COMPLETE, write_lock, write_wheelhouse

FOREIGN = {"location": "US-CENTRAL1", "projectNumber": "999"}


def no_api(one: Checked) -> None:
    one.world.services.remove("tpu.googleapis.com")


def no_role(one: Checked) -> None:
    one.world.permissions.clear()


def other_region(one: Checked) -> None:
    objects, metadata = one.world.buckets["my-bucket"]
    one.world.buckets["my-bucket"] = (objects, {**(metadata or {}), "location": "EUROPE-WEST4"})


def no_quota(one: Checked) -> None:
    one.world.limits = {SPOT: {"us-central1-a": 0, "us-west4-a": 8}}


def wrong_runtime_version(one: Checked) -> None:
    one.settings["tpu"]["runtime_version"] = "v2-alpha-tpuv6e"


def no_network_route(one: Checked) -> None:
    one.world.routes = [route | {"network": "other"} for route in one.world.routes]


def stale_wheel(one: Checked) -> None:
    files = {name.replace("0.10.2", "0.9.0"): data for name, data in COMPLETE.items()}
    one.settings["tpu"]["external_ips"] = False
    one.world.private_access = True
    one.environment["QARIB_TPU_WHEELHOUSE"] = str(write_wheelhouse(one.folder / "wheelhouse.tar", files))
    one.environment["QARIB_TPU_REQUIREMENTS"] = str(write_lock(one.folder / "tpu.txt"))


def full_disk(one: Checked) -> None:
    source = one.folder / "corpus.txt"
    with source.open("wb") as file:
        file.truncate(10**13)  # A hole: 10 TB that take no room.
    one.settings["collect"] = {"sources": [{"name": "corpus", "path": str(source)}]}


def wrong_clock(one: Checked) -> None:
    one.world.ahead = 7200


def foreign_bucket(one: Checked) -> None:
    one.world.buckets["my-bucket"] = (set(), FOREIGN)


BROKEN: list[tuple[Callable[[Checked], None], dict[str, str]]] = [
    (no_api, {"APIs": "gcloud services enable tpu.googleapis.com --project=my-project"}),
    (
        no_role,
        {
            "roles": "gcloud projects add-iam-policy-binding my-project "
            f"--member=serviceAccount:{ACCOUNT} --role=roles/tpu.admin"
        },
    ),
    (
        other_region,
        {
            "bucket's region": "gcloud storage buckets create gs://my-bucket-us-central1 "
            "--location=us-central1 --project=my-project --uniform-bucket-level-access "
            "&& gcloud storage cp --recursive 'gs://my-bucket/*' gs://my-bucket-us-central1/"
        },
    ),
    (
        no_quota,
        {
            "quota": "https://console.cloud.google.com/iam-admin/quotas?project=my-project"
            "&metric=tpu.googleapis.com%2Ftpu-v5s-litepod-serving-preemptible"
        },
    ),
    (wrong_runtime_version, {"runtime version": "Set runtime_version: v2-alpha-tpuv5-lite"}),
    (
        no_network_route,
        {
            "network route": "gcloud compute routes create qarib-internet --network=default "
            "--destination-range=0.0.0.0/0 --next-hop-gateway=default-internet-gateway --project=my-project"
        },
    ),
    (stale_wheel, {"wheelhouse": "qarib wheelhouse -o wheelhouse.tar"}),
    (full_disk, {"disk": "the DAG qarib_clean_up lists what can be deleted"}),
    # Google refuses the key's times, too.
    (wrong_clock, {"clock": "sudo timedatectl set-ntp true", "credentials": "login"}),
    (
        foreign_bucket,
        {
            "bucket": "gcloud storage buckets create gs://my-project-qarib --location=us-central1 "
            "--project=my-project --uniform-bucket-level-access"
        },
    ),
]


@pytest.mark.parametrize(("broken", "expected"), BROKEN, ids=[one[0].__name__ for one in BROKEN])
def test_what_is_broken_is_named_with_its_command(
    deployment: Checked, broken: Callable[[Checked], None], expected: dict[str, str]
) -> None:
    broken(deployment)
    answer = deployment.run()
    faults = dict(lines(answer.stdout, "fault"))
    assert faults.keys() == expected.keys(), answer.stdout + answer.stderr
    for subject, command in expected.items():
        assert command in faults[subject].partition(" DO: ")[2], faults[subject]
    assert answer.returncode == 1
    assert answer.stderr == ""


def test_it_says_what_it_found(deployment: Checked) -> None:
    stale_wheel(deployment)
    wrong_runtime_version(deployment)
    foreign_bucket(deployment)
    faults = dict(lines(deployment.run().stdout, "fault"))
    assert "stale: jax 0.9.0, locked 0.10.2" in faults["wheelhouse"]
    assert "v2-alpha-tpuv6e is for v6e, not for v5e" in faults["runtime version"]
    assert (
        f"belongs to the project 999, which does not let serviceAccount:{ACCOUNT} use it" in faults["bucket"]
    )


def test_a_deployment_that_works_is_green(deployment: Checked) -> None:
    answer = deployment.run()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert lines(answer.stdout, "fault") == lines(answer.stdout, "warning") == []
    subjects = {subject for subject, _ in lines(answer.stdout, "ok")}
    assert subjects == {
        *("emulators", "versions", "disk", "wheelhouse", "route", "clock", "credentials", "project", "APIs"),
        *("bucket", "bucket's region", "roles", "service account", "network route", "subnetwork", "quota"),
        *("machines' access", "addresses"),
        *("TPU type", "runtime version"),
    }
    assert MACHINE in answer.stdout
    assert re.search(r"^0 faults, 0 warnings, 20 ok$", answer.stdout, re.MULTILINE)


def test_google_cannot_be_reached(deployment: Checked) -> None:
    deployment.environment["QARIB_GOOGLE_APIS"] = "http://127.0.0.1:9"
    answer = deployment.run()
    ((subject, text),) = lines(answer.stdout, "fault")
    assert subject == "route"
    assert "curl -sSI --max-time 10 http://127.0.0.1:9/storage.googleapis.com/" in text
    assert [subject for subject, _ in lines(answer.stdout, "warning")] == ["connection"]
    assert answer.returncode == 1


def test_the_emulators_are_green_but_for_what_they_cannot_show(
    deployment: Checked, emulator_address: str, emulated_bucket: str
) -> None:
    del deployment.environment["QARIB_GOOGLE_APIS"], deployment.environment["GOOGLE_APPLICATION_CREDENTIALS"]
    deployment.environment |= {
        "STORAGE_EMULATOR_HOST": emulator_address,
        "QARIB_BUCKET": emulated_bucket,
        "QARIB_WORKSPACE": str(deployment.folder),
        "QARIB_TPU": "zones: [us-central1-a]",
    }
    answer = deployment.run(with_config=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    hidden = " ".join(text for _, text in lines(answer.stdout, "warning"))
    for one in ("regions", "owners", "permissions", "project", "APIs", "roles", "quota", "network"):
        assert one in hidden
    seen = {subject for subject, _ in lines(answer.stdout, "ok")}
    assert seen >= {"emulators", "versions", "disk", "wheelhouse", "bucket", "TPU type", "runtime version"}
    assert deployment.world.asked == []


@pytest.fixture
def emulated_bucket(emulator_address: str) -> str:
    from tests.support.made_up_run import emulator_bucket

    if not (bucket := emulator_bucket(emulator_address, "doctor-bucket")).exists():
        bucket.create()
    return "doctor-bucket"


def test_settings_of_the_environment(deployment: Checked) -> None:
    """As Airflow's processes have them."""
    deployment.environment |= {
        "QARIB_BUCKET": "other-bucket",
        "QARIB_TPU": f"{{zones: [us-central1-a], service_account: {MACHINE}, runtime_version: v9}}",
    }
    faults = dict(lines(deployment.run(with_config=False).stdout, "fault"))
    assert faults.keys() == {"bucket", "runtime version"}
    assert "gs://other-bucket: does not exist" in faults["bucket"]
    assert "has no v9, but tpu-ubuntu2204-base" in faults["runtime version"]


def test_a_deployment_without_tpu(deployment: Checked) -> None:
    """Only the bucket is Google's."""
    deployment.settings["tpu"] = {"machine": "local"}
    deployment.world.services.remove("tpu.googleapis.com")
    deployment.world.permissions.clear()
    answer = deployment.run()
    assert answer.returncode == 0, answer.stdout
    assert not {subject for subject, _ in lines(answer.stdout, "ok")} & {"roles", "quota", "TPU type"}


def test_the_stand_in_for_tests_gets_no_token_of_another_machine(deployment: Checked) -> None:
    deployment.environment["QARIB_GOOGLE_APIS"] = "http://example.org"
    answer = deployment.run()
    assert "QARIB_GOOGLE_APIS: must be an address of this machine" in answer.stdout
    assert answer.returncode == 1


def test_without_credentials(deployment: Checked) -> None:
    del deployment.environment["GOOGLE_APPLICATION_CREDENTIALS"]
    deployment.environment["NO_GCE_CHECK"] = "true"
    answer = deployment.run()
    ((subject, text),) = lines(answer.stdout, "fault")
    assert (subject, "DO: gcloud auth application-default login" in text) == ("credentials", True)
    assert (answer.returncode, "Traceback" in answer.stderr) == (1, False)

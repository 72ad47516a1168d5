"""The project, its APIs and roles, the machines' account, and what happens when they are not shown."""

from __future__ import annotations

import pytest

from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.doctor.project import (
    check_project,
    check_roles,
    check_service_account,
    check_services,
)
from tests.support.google.stand_in import ACCOUNT, MACHINE, GoogleStandIn

ME = f"serviceAccount:{ACCOUNT}"
NUMBER = "123456789012"


def test_a_project_that_is_deleted_or_not_shown(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.state = "DELETE_REQUESTED"
    (deleted,), number = check_project(apis, "my-project", ME)
    assert (deleted.state, deleted.do, number) == ("fault", "gcloud projects undelete my-project", NUMBER)
    (other,), number = check_project(apis, "your-project", ME)
    assert (other.state, number) == ("warning", "")
    assert other.do.endswith(f"--member={ME} --role=roles/browser")
    (none,), _ = check_project(apis, "", ME)
    assert "export GOOGLE_CLOUD_PROJECT" in none.do


def test_an_api_that_only_the_doctor_asks_is_no_fault(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.services.remove("cloudresourcemanager.googleapis.com")
    (project,), _ = check_project(apis, "my-project", ME)
    assert project.state == "warning"
    assert project.do == "gcloud services enable cloudresourcemanager.googleapis.com --project=my-project"
    states = [
        (one.state, one.subject)
        for one in check_services(apis, "my-project", NUMBER, ME, ["tpu.googleapis.com"])
    ]
    assert states == [("ok", "APIs"), ("warning", "APIs")]


def test_services_that_may_not_be_seen(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.denied.add("serviceusage.services.batchGet")
    (one,) = check_services(apis, "my-project", NUMBER, ME, ["tpu.googleapis.com"])
    assert (one.state, one.do.rpartition("=")[2]) == ("warning", "roles/serviceusage.serviceUsageViewer")


def test_a_part_of_a_role(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.permissions.remove("tpu.nodes.delete")
    (one,) = check_roles(apis, "my-project", ME)
    assert one.what == f"{ME} lacks tpu.nodes.delete"


def test_the_account_of_a_user_is_found_by_the_shell(apis: GoogleApis, google: GoogleStandIn) -> None:
    from google.oauth2.credentials import Credentials

    from qarib_tasks.doctor.connection import member

    google.world.permissions.clear()
    me = member(Credentials("token"))  # type: ignore[no-untyped-call]
    (one,) = check_roles(apis, "my-project", me)
    assert '--member="user:$(gcloud config get-value account)" --role=roles/tpu.admin' in one.do


@pytest.mark.parametrize(
    ("account", "change", "command"),
    [
        (
            MACHINE,
            {"acting": False},
            f"add-iam-policy-binding {MACHINE} --member={ME} --role=roles/iam.serviceAc",
        ),
        (MACHINE, {"acting": True, "disabled": True}, f"gcloud iam service-accounts enable {MACHINE}"),
        (MACHINE, None, "gcloud iam service-accounts create qarib-tpu --project=my-project"),
        ("", None, "gcloud services enable compute.googleapis.com --project=my-project, which makes it"),
    ],
)
def test_an_account_that_no_tpu_can_run_as(
    apis: GoogleApis, google: GoogleStandIn, account: str, change: dict[str, bool] | None, command: str
) -> None:
    google.world.accounts = {account: change} if change else {}
    (one,) = check_service_account(apis, "my-project", NUMBER, ME, account)
    assert one.state == "fault"
    assert command in one.do


def test_the_default_account_is_found_by_the_number(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.accounts = {f"{NUMBER}-compute@developer.gserviceaccount.com": {"acting": True}}
    assert [one.state for one in check_service_account(apis, "my-project", NUMBER, ME, "")] == ["ok"]
    assert [one.state for one in check_service_account(apis, "my-project", "", ME, "")] == ["warning"]

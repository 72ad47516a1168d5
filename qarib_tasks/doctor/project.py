"""The project, its APIs, and what the deployment's account may do in it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from qarib_tasks.counting import counted
from qarib_tasks.doctor.apis import GoogleApis, RefusedError
from qarib_tasks.doctor.result import Result, fault, ok, warning

STORAGE, TPU, COMPUTE = "storage.googleapis.com", "tpu.googleapis.com", "compute.googleapis.com"
CONTAINER, REGISTRY = "container.googleapis.com", "artifactregistry.googleapis.com"
# What only the doctor asks.
ASKED = ("cloudresourcemanager.googleapis.com", "iam.googleapis.com")
TPU_PERMISSIONS = (
    *("tpu.nodes.create", "tpu.nodes.delete", "tpu.nodes.get", "tpu.nodes.list"),
    *("tpu.acceleratortypes.list", "tpu.runtimeversions.list", "tpu.operations.get"),
)


def enable(services: Sequence[str], project: str) -> str:
    return f"gcloud services enable {' '.join(services)} --project={shlex.quote(project)}"


def grant(project: str, member: str, role: str) -> str:
    return f"gcloud projects add-iam-policy-binding {shlex.quote(project)} --member={member} --role={role}"


def not_shown(subject: str, error: RefusedError, project: str, member: str, role: str) -> Result:
    """The line for a check that the account may not make, or whose own API is not enabled."""
    if error.disabled:
        what = f"not checked: {error.disabled} is not enabled"
        return warning(subject, what, do=enable([error.disabled], project))
    if error.code in (401, 403):
        what = f"not checked: {member.replace(chr(34), '')} may not see it ({error.what})"
        return warning(subject, what, do=grant(project, member, role))
    return warning(subject, f"not checked: {error.what}", error.where or "")


def check_project(apis: GoogleApis, project: str, member: str) -> tuple[list[Result], str]:
    """Whether the project exists and is active, and its number, or an empty string if it is not shown."""
    if not project:
        do = "export GOOGLE_CLOUD_PROJECT=my-project; in Airflow, fill in the connection's project"
        return [fault("project", "no project is set", do=do)], ""
    try:
        found = apis.get("cloudresourcemanager", f"v3/projects/{project}")
    except RefusedError as error:
        if error.code == 404:
            return [fault("project", "does not exist", project, "gcloud projects list")], ""
        return [not_shown("project", error, project, member, "roles/browser")], ""
    number = str(found.get("name", "")).removeprefix("projects/")
    if found.get("state") != "ACTIVE":
        what = f"its state is {found.get('state', 'unknown')}"
        return [fault("project", what, project, f"gcloud projects undelete {shlex.quote(project)}")], number
    return [ok("project", f"active, number {number}", project)], number


def check_services(
    apis: GoogleApis, project: str, number: str, member: str, needed: Sequence[str]
) -> list[Result]:
    """Whether the APIs are enabled."""
    parent = f"projects/{number or project}"
    names = [f"{parent}/services/{service}" for service in (*needed, *ASKED)]
    try:
        found = apis.get("serviceusage", f"v1/{parent}/services:batchGet", names=names)
    except RefusedError as error:
        role = "roles/serviceusage.serviceUsageViewer"
        return [not_shown("APIs", error, project, member, role)]
    states = {str(one["name"]).rpartition("/")[2]: one.get("state") for one in found.get("services", ())}
    off = [service for service in needed if states.get(service) != "ENABLED"]
    asked = [service for service in ASKED if states.get(service) != "ENABLED"]
    results = []
    if off:
        what = f"{', '.join(off)} {'is' if len(off) == 1 else 'are'} not enabled"
        results.append(fault("APIs", what, project, enable(off, project)))
    else:
        results.append(ok("APIs", f"enabled: {', '.join(needed)}"))
    if asked:
        what = f"{', '.join(asked)} {'is' if len(asked) == 1 else 'are'} not enabled: only the doctor asks"
        results.append(warning("APIs", what, project, enable(asked, project)))
    return results


def check_roles(apis: GoogleApis, project: str, member: str) -> list[Result]:
    """Whether the account may make and delete TPUs."""
    try:
        found = apis.post(
            "cloudresourcemanager",
            f"v3/projects/{project}:testIamPermissions",
            {"permissions": list(TPU_PERMISSIONS)},
        )
    except RefusedError as error:
        return [not_shown("roles", error, project, member, "roles/browser")]
    missing = sorted(set(TPU_PERMISSIONS) - set(found.get("permissions", ())))
    if missing:
        what = f"{member.replace(chr(34), '')} lacks {', '.join(missing)}"
        return [fault("roles", what, project, grant(project, member, "roles/tpu.admin"))]
    return [ok("roles", f"{counted(len(TPU_PERMISSIONS), 'permission')} of roles/tpu.admin")]


def default_account(number: str) -> str:
    """The email of a project's default Compute account; empty if the project's number is not known."""
    return f"{number}-compute@developer.gserviceaccount.com" if number else ""


def check_service_account(
    apis: GoogleApis, project: str, number: str, member: str, account: str
) -> list[Result]:
    """Whether the deployment's account may run a TPU as the machines' account.

    Args:
        account: its email; empty: the project's default Compute account.
    """
    subject = "service account"
    email = account or default_account(number)
    if not email:
        return [warning(subject, "not checked: the project's number is not known")]
    # With `-` instead of a project, Google answers 403 for an account that does not exist.
    local, _, host = email.partition("@")
    end = ".iam.gserviceaccount.com"
    home = host.removesuffix(end) if host.endswith(end) else project
    name = f"v1/projects/{home}/serviceAccounts/{email}"
    acting = "iam.serviceAccounts.actAs"
    try:
        found = apis.post("iam", f"{name}:testIamPermissions", {"permissions": [acting]})
    except RefusedError as error:
        if error.code != 404:
            return [not_shown(subject, error, project, member, "roles/iam.serviceAccountViewer")]
        do = f"gcloud services enable {COMPUTE} --project={shlex.quote(project)}, which makes it"
        if account:
            do = f"gcloud iam service-accounts create {shlex.quote(local)} --project={shlex.quote(home)}"
        return [fault(subject, "does not exist", email, do)]
    if acting not in found.get("permissions", ()):
        do = (
            f"gcloud iam service-accounts add-iam-policy-binding {shlex.quote(email)} --member={member} "
            f"--role=roles/iam.serviceAccountUser"
        )
        return [fault(subject, f"{member.replace(chr(34), '')} may not run TPUs as it", email, do)]
    try:
        if apis.get("iam", name).get("disabled"):
            do = f"gcloud iam service-accounts enable {shlex.quote(email)}"
            return [fault(subject, "is disabled", email, do)]
    except RefusedError:
        pass  # It may not be shown; that it can be used is known.
    return [ok(subject, "TPUs can run as it", email)]

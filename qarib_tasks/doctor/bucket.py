"""The bucket: whether it exists, is the project's, is in the TPU's region, and can be written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from qarib_tasks.doctor.apis import GoogleApis, RefusedError
from qarib_tasks.doctor.result import Result, fault, of_error, ok, warning
from qarib_tasks.errors import StorageError
from qarib_tasks.storage.bucket import Bucket

PERMISSIONS = (
    *("storage.objects.create", "storage.objects.delete"),
    *("storage.objects.get", "storage.objects.list"),
)
# Roles with which the machines can read, write, and delete objects.
WRITERS = ("roles/storage.objectAdmin", "roles/storage.objectUser", "roles/storage.admin")
# The regions of Google's own pairs, and the beginning of the regions of a continent.
_PAIRS = {
    "nam4": ("us-central1", "us-east1"),
    "eur4": ("europe-north1", "europe-west4"),
    "asia1": ("asia-northeast1", "asia-northeast2"),
}
_CONTINENTS = {"us": "us-", "eu": "europe-", "asia": "asia-"}
_NO_BUCKET = "export QARIB_BUCKET=NAME, or set the Airflow Variable qarib_bucket"


def region_of(zone: str) -> str:
    return zone.rpartition("-")[0]


def check_bucket(
    apis: GoogleApis, name: str, project: str, number: str, member: str, zones: Sequence[str]
) -> list[Result]:
    """Check a bucket of Google's, without writing to it.

    Args:
        number: of the project; empty if it is not known.
        zones: of the TPU; none: the training runs elsewhere.
    """
    location = region_of(zones[0]) if zones else "us-central1"
    if not name:
        return [
            fault("bucket", "no bucket is set", do=f"{create('NAME', project, location)}, then {_NO_BUCKET}")
        ]
    where = f"gs://{name}"
    found: dict[str, Any] | None
    try:
        found = apis.get("storage", f"storage/v1/b/{name}", projection="noAcl")
    except RefusedError as error:
        if error.code == 404:
            return [fault("bucket", "does not exist", where, create(name, project, location))]
        if error.code not in (401, 403):
            return [fault("bucket", error.what, where)]
        found = None
    try:
        allowed = apis.get(
            "storage", f"storage/v1/b/{name}/iam/testPermissions", permissions=list(PERMISSIONS)
        )
        missing = sorted(set(PERMISSIONS) - set(allowed.get("permissions", ())))
    except RefusedError as error:
        if error.code not in (401, 403, 404):
            return [fault("bucket", error.what, where)]
        missing = sorted(PERMISSIONS)
    owner = str((found or {}).get("projectNumber", ""))
    foreign = bool(number and owner and owner != number)
    own = f"{create(f'{project}-qarib', project, location)}, then {_NO_BUCKET}"
    binding = grant(name, member, "roles/storage.objectAdmin")
    if missing and (foreign or found is None):
        what = f"belongs to the project {owner}, which" if foreign else "belongs to another project, or"
        what += f" does not let {member.replace(chr(34), '')} use it: no {', '.join(missing)}"
        return [fault("bucket", what, where, f"{own}; or have its owner run: {binding}")]
    if missing:
        what = f"{member.replace(chr(34), '')} lacks {', '.join(missing)}"
        return [fault("bucket", what, where, binding)]
    if found is None:
        what = "can be written; its region and project are not shown to this account"
        do = grant(name, member, "roles/storage.legacyBucketReader")
        return [warning("bucket", what, where, do)]
    results = [ok("bucket", "can be read and written", where)]
    if foreign:
        what = f"belongs to the project {owner}, not to {project}, which does not pay for it"
        results = [warning("bucket", what, where, own)]
    return [*results, *check_region(found, zones, name, project)]


def check_machine(apis: GoogleApis, name: str, machine: str) -> list[Result]:
    """Whether the bucket's own policy lets the TPU's machines write to it, if the policy is shown.

    Args:
        machine: the email of the machines' account.
    """
    subject, where = "machines' access", f"gs://{name}"
    do = grant(name, f"serviceAccount:{machine}", "roles/storage.objectAdmin")
    try:
        policy = apis.get("storage", f"storage/v1/b/{name}/iam", optionsRequestedPolicyVersion=3)
    except RefusedError as error:
        if error.code in (401, 403):
            what = f"not checked: the bucket's policy is not shown; {machine} must be able to write"
            return [warning(subject, what, where, f"To be sure: {do}")]
        return []  # The check of the bucket says it.
    members = {
        member
        for binding in policy.get("bindings", ())
        if binding.get("role") in WRITERS
        for member in binding.get("members", ())
    }
    if f"serviceAccount:{machine}" in members:
        return [ok(subject, f"{machine} can write", where)]
    what = f"{machine} has no role to write in the bucket's policy, unless by the project or a group"
    return [warning(subject, what, where, do)]


def check_region(found: Mapping[str, Any], zones: Sequence[str], name: str, project: str) -> list[Result]:
    """Whether the bucket is in the region of the TPU's zones: other regions cost egress."""
    if not zones:
        return []
    location = str(found.get("location", "")).lower()
    far = [zone for zone in zones if not _is_in(region_of(zone), location, found)]
    if not far:
        return [ok("bucket's region", f"{location}, that of {', '.join(zones)}")]
    what = f"the bucket is in {location}, the TPU in {', '.join(far)}: each read costs egress"
    if len(far) < len(zones):
        return [warning("bucket's region", what, f"gs://{name}", f"Leave {', '.join(far)} out of zones")]
    region = region_of(zones[0])
    copy = f"{name}-{region}"
    do = (
        f"{create(copy, project, region)} && gcloud storage cp --recursive {shlex.quote(f'gs://{name}/*')} "
        f"gs://{copy}/, then {_NO_BUCKET.replace('NAME', copy)}; or set zones in {location}"
    )
    return [fault("bucket's region", what, f"gs://{name}", do)]


def _is_in(region: str, location: str, found: Mapping[str, Any]) -> bool:
    places = [str(one).lower() for one in found.get("customPlacementConfig", {}).get("dataLocations", ())]
    if region in (*places, *_PAIRS.get(location, (location,))):
        return True
    return location in _CONTINENTS and region.startswith(_CONTINENTS[location])


def create(name: str, project: str, location: str) -> str:
    return (
        f"gcloud storage buckets create gs://{name} --location={location} --project={shlex.quote(project)} "
        "--uniform-bucket-level-access"
    )


def grant(name: str, member: str, role: str) -> str:
    return f"gcloud storage buckets add-iam-policy-binding gs://{name} --member={member} --role={role}"


def check_emulated_bucket(name: str, prefix: str, client: Any) -> list[Result]:
    """Write a small object to an emulator's bucket, and delete it."""
    from google.api_core.exceptions import NotFound

    if not name:
        return [fault("bucket", "no bucket is set", do=_NO_BUCKET)]
    address = f"gs://{name}/{prefix}"
    bucket, test = Bucket(address, client), f".qarib-write-test-{uuid4().hex}"
    try:
        bucket.write_text(test, "qarib")
        bucket.delete(test)
    except NotFound:
        return [
            fault("bucket", "does not exist in the emulator", address, "mkdir it in the emulator's folder")
        ]
    except StorageError as error:
        return [of_error("bucket", error)]
    hidden = "not checked: the emulator of Cloud Storage has no regions, owners, and permissions"
    return [ok("bucket", "can be written, in the emulator", address), warning("bucket's region", hidden)]

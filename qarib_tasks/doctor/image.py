"""The image that the machines run: present in Artifact Registry, and readable for the machines' account."""

from __future__ import annotations

import re
import shlex
from urllib.parse import quote

from qarib_tasks.doctor.apis import GoogleApis, RefusedError
from qarib_tasks.doctor.project import not_shown
from qarib_tasks.doctor.result import Result, fault, ok, warning

_ADDRESS = re.compile(r"([a-z0-9-]+)-docker\.pkg\.dev/([^/]+)/([^/]+)/(.+)@(sha256:[0-9a-f]{64})")
_READER = "roles/artifactregistry.reader"
_READERS = tuple(f"roles/artifactregistry.{name}" for name in ("reader", "writer", "repoAdmin", "admin"))


def check_image(apis: GoogleApis, image: str, member: str, machine: str) -> list[Result]:
    """Look for the image, and for the role of the account that fetches it.

    Args:
        image: `TpuConfig.image`.
        machine: email of the account that fetches it; empty: not known.
    """
    subject = "image"
    matched = _ADDRESS.fullmatch(image)
    if matched is None:
        what = "not checked: it is not in Artifact Registry (LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME)"
        return [warning(subject, what, image, f"docker pull {shlex.quote(image)}, on a machine as the TPU's")]
    location, home, repository, name, digest = matched.groups()
    place = f"projects/{home}/locations/{location}/repositories/{repository}"
    try:
        found = apis.get(
            "artifactregistry",
            f"v1/{place}/dockerImages/{quote(name, safe='')}{quote('@' + digest, safe='')}",
        )
    except RefusedError as error:
        if error.code != 404:
            return [not_shown(subject, error, home, member, _READER)]
        listed = f"{location}-docker.pkg.dev/{home}/{repository}/{name}"
        do = (
            f"gcloud artifacts docker images list {listed} --include-tags shows what is there; then set image"
        )
        return [fault(subject, "no such image", image, do)]
    size = int(found.get("imageSizeBytes", 0))
    results = [ok(subject, f"in Artifact Registry, {size / 1e6:,.0f} MB", image)]
    if not machine:
        return results
    do = (
        f"gcloud artifacts repositories add-iam-policy-binding {repository} --location={location} "
        f"--project={shlex.quote(home)} --member=serviceAccount:{machine} --role={_READER}"
    )
    try:
        policy = apis.get("artifactregistry", f"v1/{place}:getIamPolicy")
    except RefusedError:
        what = f"not checked: the repository's policy is not shown; {machine} must be able to read it"
        return [*results, warning("image's access", what, repository, f"To be sure: {do}")]
    members = {
        one
        for binding in policy.get("bindings", ())
        if binding.get("role") in _READERS
        for one in binding.get("members", ())
    }
    if members & {f"serviceAccount:{machine}", "allUsers", "allAuthenticatedUsers"}:
        return [*results, ok("image's access", f"{machine} can read it", repository)]
    what = f"{machine} has no role to read it in the repository's policy, unless by the project or a group"
    return [*results, warning("image's access", what, repository, do)]
